//! The flags of `kiln lint`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Flags and operands of `kiln lint`.
#[derive(Debug, Args)]
pub(crate) struct LintArgs {
    /// Dockerfiles, directories with one, or `-` for standard input [default: the current directory]
    #[arg(value_name = "FILE|DIR")]
    pub(crate) places: Vec<OsString>,
    /// The Dockerfile of the one directory that is given, or `-` for standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: LintFormat,
    /// Mend what can be mended without changing the image
    #[arg(long)]
    pub(crate) fix: bool,
    /// Ask no registry about base images
    #[arg(long)]
    pub(crate) offline: bool,
    /// List the rules instead
    #[arg(long, conflicts_with_all = ["places", "file", "fix", "offline", "skip", "enable", "experimental", "target",
          "build_arg", "platform", "build_context"])]
    pub(crate) rules: bool,

    /// Rules to leave out, or `all` that are on by default
    #[arg(long, value_name = "RULE,…", value_delimiter = ',', help_heading = "Rules")]
    pub(crate) skip: Vec<String>,
    /// Rules to add that are off by default or experimental
    #[arg(long, value_name = "RULE,…", value_delimiter = ',', help_heading = "Rules")]
    pub(crate) enable: Vec<String>,
    /// Add all experimental rules
    #[arg(long, help_heading = "Rules")]
    pub(crate) experimental: bool,

    /// Stage to look at, with those it needs [default: all]
    #[arg(long, value_name = "STAGE", help_heading = "The build that it is for")]
    pub(crate) target: Option<String>,
    /// Value of an ARG; without a value, that of the environment
    #[arg(long, value_name = "NAME[=VALUE]", help_heading = "The build that it is for")]
    pub(crate) build_arg: Vec<String>,
    /// Platforms to build for, separated by commas
    #[arg(long, value_name = "OS/ARCH", value_delimiter = ',', help_heading = "The build that it is for")]
    pub(crate) platform: Vec<String>,
    /// Another source for FROM and --from, as in `kiln build`
    #[arg(long, value_name = "NAME=SOURCE", help_heading = "The build that it is for")]
    pub(crate) build_context: Vec<OsString>,
}

/// Words of `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LintFormat {
    /// Findings with excerpts
    Text,
    /// One JSON document
    Json,
    /// One SARIF 2.1.0 document
    Sarif,
}
