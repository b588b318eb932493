//! The flags of `kiln fsck`.

use clap::{Args, ValueEnum};

/// Words of `fsck --format`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum FsckFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// Flags of `kiln fsck`.
#[derive(Debug, Args)]
pub(crate) struct FsckArgs {
    /// Move away what is damaged, and remove what leads nowhere
    #[arg(short, long, visible_short_alias = 'y')]
    pub(crate) repair: bool,
    /// Change nothing, which is the default
    #[arg(short = 'n', long, conflicts_with = "repair")]
    pub(crate) no_repair: bool,
    /// How to print
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: FsckFormat,
}
