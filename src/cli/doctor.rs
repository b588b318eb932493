//! The flags of `kiln doctor`.

use clap::{Args, ValueEnum};

/// Words of `doctor --format`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum DoctorFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object
    Json,
}

/// Flags of `kiln doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// How to print
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: DoctorFormat,
}
