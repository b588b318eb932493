//! The flags of `kiln df`.

use clap::Args;

use super::image::TEMPLATES;

/// Flags of `kiln df`.
#[derive(Debug, Args)]
pub(crate) struct DfArgs {
    /// Show each image, and each thing of the cache
    #[arg(short, long)]
    pub(crate) verbose: bool,
    #[arg(long, value_name = "FORMAT", help = TEMPLATES)]
    pub(crate) format: Option<String>,
}
