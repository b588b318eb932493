//! The flags of the commands about the program itself.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Words of `version --format`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum VersionFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

/// Flags of `kiln version`.
#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    /// How to print
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: VersionFormat,
}

/// Operands of `kiln completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

/// Operands of `kiln man`.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Directory to write one page a command to, made where it is not there
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
}
