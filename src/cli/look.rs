//! The flags of the commands that look into images.

use clap::Args;

use super::Format;
use super::image::json_only;

/// Flags and operands of `kiln ls`.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Name or id of an image
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Directory or file of the image
    #[arg(value_name = "PATH", default_value = "/")]
    pub(crate) path: std::ffi::OsString,
    /// Show mode, links, owner, size and time
    #[arg(short, long)]
    pub(crate) long: bool,
    /// Show what is in the directories below, too
    #[arg(short = 'R', long)]
    pub(crate) recursive: bool,
    /// Platform to look at, of an image for several
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
    /// How to print: `json` for one object a line
    #[arg(long, value_name = "FORMAT", value_parser = json_only, conflicts_with = "long")]
    pub(crate) format: Option<Format>,
}

/// Flags and operands of `kiln cat`.
#[derive(Debug, Args)]
pub(crate) struct CatArgs {
    /// Name or id of an image
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Files of the image
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<std::ffi::OsString>,
    /// Platform to look at, of an image for several
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
}
