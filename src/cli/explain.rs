//! The flags of `kiln explain`.

use clap::{Args, ValueEnum};

/// Flags and operands of `kiln explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Name or number of a stage, with `:LINE` the step that begins there [default: all steps that ran]
    #[arg(value_name = "STAGE[:LINE]")]
    pub(crate) step: Option<String>,
    /// How it is printed
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: ExplainFormat,
}

/// Forms of an explanation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExplainFormat {
    /// For people
    Text,
    /// One JSON object
    Json,
}
