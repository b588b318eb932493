//! The flags of `kiln prune`.

use clap::Args;

use super::image::{Format, format};

/// Flags of `kiln prune`.
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Take cache mounts, logs and what `kiln fsck` moved away, too
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Remove only what was unused for so long (until=24h, unused-for=7d), or is of these kinds (type=record,snapshot,…)
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
    /// Keep this much of what could go, such as 20G: that which was used last
    #[arg(long, value_name = "SIZE", visible_alias = "keep-storage")]
    pub(crate) max: Option<String>,
    /// Say what would go, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Say of each thing whether it goes, and why
    #[arg(long)]
    pub(crate) explain: bool,
    /// How to print: `table`, or `json` for one object a line
    #[arg(long, value_name = "FORMAT", value_parser = format)]
    pub(crate) format: Option<Format>,
    /// Keep what may go within so many bytes, without a word: what a build starts when it is done
    #[arg(long, hide = true, value_name = "BYTES", conflicts_with_all = ["all", "force", "filter", "max", "dry_run", "explain", "format"])]
    pub(crate) in_background: Option<u64>,
    /// Since when something was used that stays, in nanoseconds since 1970
    #[arg(long, hide = true, value_name = "TIME", requires = "in_background")]
    pub(crate) used_since: Option<u64>,
}
