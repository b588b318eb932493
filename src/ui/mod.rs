//! What the user sees while something goes on.

pub(crate) mod diagnostic;
pub(crate) mod human;
pub(crate) mod lines;
pub(crate) mod style;
pub(crate) mod table;
pub(crate) mod transcript;

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
