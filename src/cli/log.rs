//! The flags of `kiln log`.

use std::path::PathBuf;

use clap::Args;

use super::image::{Format, format};

/// Flags and operands of `kiln log`.
#[derive(Debug, Args)]
#[command(override_usage = "kiln log [OPTIONS] [BUILD [STEP]]")]
pub(crate) struct LogArgs {
    /// The build: its id or the beginning of it, `last`, -1 for the last one, -2 for the one before, or a name that it gave [default: list all]
    #[arg(value_name = "BUILD", allow_negative_numbers = true)]
    pub(crate) build: Option<String>,
    /// The step whose whole output is printed: its number, STAGE:LINE, or a part of its text
    #[arg(value_name = "STEP")]
    pub(crate) step: Option<String>,
    /// Go on as long as the build does [default BUILD: the last one]
    #[arg(short, long, conflicts_with_all = ["format", "html", "quiet"])]
    pub(crate) follow: bool,
    /// Only builds that did not end well; with BUILD only steps that did not
    #[arg(long, conflicts_with_all = ["step", "html", "follow"])]
    pub(crate) failed: bool,
    /// Write a page with the graph of the steps, a timeline and all outputs here, or to standard output (`-`) [default BUILD: the last one]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["step", "format"])]
    pub(crate) html: Option<PathBuf>,
    /// How builds are printed: table, or json for one object each
    #[arg(long, value_name = "FORMAT", value_parser = format, conflicts_with = "step")]
    pub(crate) format: Option<Format>,
    /// Print only ids
    #[arg(short, long, conflicts_with_all = ["build", "format", "html"])]
    pub(crate) quiet: bool,
}

impl LogArgs {
    /// Whether JSON is wanted.
    pub(crate) fn is_json(&self) -> bool {
        self.format == Some(Format::Json)
    }
}
