//! What the user sees while something goes on: implements the builder's `Progress`.
//!
//! Everything here goes to standard error; results go to standard output, by the commands. The forms of the displays are
//! in [`plain`], [`tty`] and [`json`]; what they have in common is pure and lies in the modules below them.

pub(crate) mod diagnostic;
mod display;
pub(crate) mod file_json;
mod frame;
pub(crate) mod human;
mod json;
mod label;
mod layers;
mod lines;
mod plain;
mod quiet;
pub(crate) mod repeated;
mod repeated_json;
mod shell;
pub(crate) mod style;
pub(crate) mod table;
mod transcript;
mod tty;

use clap::ValueEnum;
use kiln_oci::Digest;

pub(crate) use display::{Display, Mode, is_hangup_ignored, show_failure, show_text, stderr_style};
use lines::block;
pub(crate) use lines::{Lines, clean, for_terminal, heading, visible};

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

/// Whether people are told why steps run. Programs always are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Explains {
    /// They are not.
    No,
    /// They are.
    Yes,
}

/// Returns the first twelve digits of a digest.
pub(crate) fn short(digest: Digest) -> String {
    digest.hex()[..12].to_owned()
}
