//! `kiln cache`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::image::TEMPLATES;

/// Operands of `kiln cache`.
#[derive(Debug, Args)]
pub(crate) struct CacheArgs {
    /// Which part of the cache
    #[command(subcommand)]
    pub(crate) part: CachePart,
}

/// A part of the cache.
#[derive(Debug, Subcommand)]
pub(crate) enum CachePart {
    /// The directories of RUN --mount=type=cache
    Mounts(MountsArgs),
}

/// Operands of `kiln cache mounts`.
#[derive(Debug, Args)]
pub(crate) struct MountsArgs {
    /// What to do with them
    #[command(subcommand)]
    pub(crate) command: MountsCommand,
}

/// One thing to do with cache mounts.
#[derive(Debug, Subcommand)]
pub(crate) enum MountsCommand {
    /// List the cache mounts of this store
    Ls(MountsLsArgs),
    /// Write cache mounts into an archive, or what changed into a directory
    Export(MountsExportArgs),
    /// Read cache mounts from an archive or a directory
    Import(MountsImportArgs),
    /// Remove cache mounts that no build uses
    Rm(MountsRmArgs),
}

/// Flags of `kiln cache mounts ls`.
#[derive(Debug, Args)]
pub(crate) struct MountsLsArgs {
    #[arg(long, value_name = "FORMAT", help = TEMPLATES)]
    pub(crate) format: Option<String>,
}

/// Flags and operands of `kiln cache mounts export`.
#[derive(Debug, Args)]
pub(crate) struct MountsExportArgs {
    /// Ids as in the Dockerfile; without `id=` it is the target
    #[arg(value_name = "ID", required = true)]
    pub(crate) ids: Vec<String>,
    /// File to write, or a directory that is there, which gets what changed; `-` is standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Wait for the builds that use them
    #[arg(long)]
    pub(crate) wait: bool,
}

/// Flags and operands of `kiln cache mounts import`.
#[derive(Debug, Args)]
pub(crate) struct MountsImportArgs {
    /// Archive or directory that `export` wrote; `-` is standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Replace the mounts that are here already
    #[arg(long)]
    pub(crate) replace: bool,
}

/// Flags and operands of `kiln cache mounts rm`.
#[derive(Debug, Args)]
pub(crate) struct MountsRmArgs {
    /// Ids as in the Dockerfile
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    pub(crate) ids: Vec<String>,
    /// Remove all
    #[arg(long)]
    pub(crate) all: bool,
    /// Wait for the builds that use them
    #[arg(long)]
    pub(crate) wait: bool,
}
