//! The flags of `kiln df`.

use clap::Args;

use super::image::{Format, format};

/// Flags of `kiln df`.
#[derive(Debug, Args)]
pub(crate) struct DfArgs {
    /// Show each image, and each thing of the cache
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// How to print: `table`, or `json` for one object a line
    #[arg(long, value_name = "FORMAT", value_parser = format)]
    pub(crate) format: Option<Format>,
}
