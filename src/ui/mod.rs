//! What the user sees while something goes on.

use clap::ValueEnum;

/// Words of `--progress`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressWord {
    /// `tty` on a terminal, else `plain`
    Auto,
    /// One line an event, for logs
    Plain,
    /// A view that is redrawn
    Tty,
    /// One JSON object a line, for programs
    Json,
    /// Nothing but what fails
    #[value(alias = "none")]
    Quiet,
}
