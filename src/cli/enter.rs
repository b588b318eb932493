//! The flags of `kiln enter`.

use clap::Args;

/// Flags and operands of `kiln enter`.
#[derive(Debug, Args)]
pub(crate) struct EnterArgs {
    /// Name or number of a stage, with `:LINE` the step that stands there [default: the step that failed, else the last RUN]
    #[arg(value_name = "STAGE[:LINE]")]
    pub(crate) step: Option<String>,
    /// Program that runs instead of a shell; kiln ends with its exit code
    #[arg(value_name = "CMD", last = true)]
    pub(crate) command: Vec<String>,
    /// A secret that the step mounts, besides those of the build that still are where they were
    #[arg(long, value_name = "SPEC")]
    pub(crate) secret: Vec<String>,
    /// An agent of the secure shell that the step mounts: default, ID=SOCKET, or ID=KEY[,KEY...]
    #[arg(long, value_name = "ID[=PLACE]")]
    pub(crate) ssh: Vec<String>,
}
