//! The flags of the commands around working containers.

use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand, ValueEnum};

use super::deferred::Deferred;
use super::image::{DiffArgs, TEMPLATES};

/// How a container is made of an image.
#[derive(Debug, Args)]
pub(crate) struct ContainerArgs {
    /// Name or id of an image; fetched where it is not here
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Name of the container [default: an adjective and a surname]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Variable of the command; without a value, that of the environment
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// File with a variable on each line
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,
    /// Working directory of the command
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// User, and group, of the command
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<String>,
    /// Program in the place of the image's entrypoint; an empty one is none
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) entrypoint: Option<String>,
    /// Label of the container
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(crate) label: Vec<String>,
    /// Host name that the command sees [default: the beginning of the container's id]
    #[arg(long, value_name = "NAME")]
    pub(crate) hostname: Option<String>,
    /// Network that the command sees: host, or none
    #[arg(
        long,
        visible_alias = "net",
        value_name = "NAME",
        default_value = "host",
        hide_default_value = true
    )]
    pub(crate) network: String,
    /// A file or directory of this machine, and where the command sees it; a path alone is kept out of images of the container
    #[arg(short, long, value_name = "SOURCE:TARGET[:ro]")]
    pub(crate) volume: Vec<String>,
    /// The same, spelled out: type=bind|tmpfs,source=PATH,target=PATH[,readonly]
    #[arg(long, value_name = "SPEC")]
    pub(crate) mount: Vec<String>,
    /// An empty directory in memory
    #[arg(long, value_name = "PATH[:size=SIZE]")]
    pub(crate) tmpfs: Vec<String>,
    /// Line for /etc/hosts
    #[arg(long, value_name = "NAME:ADDRESS")]
    pub(crate) add_host: Vec<String>,
    /// Size of /dev/shm, such as 64m
    #[arg(long, value_name = "SIZE")]
    pub(crate) shm_size: Option<String>,
    /// Platform of the image, if it is for several
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
    /// Whether the image is fetched
    #[arg(long, value_enum, value_name = "WHEN", default_value = "missing")]
    pub(crate) pull: PullWord,
    /// Show no progress of fetching
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Program and arguments in the place of the image's command
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

/// Words of `--pull`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PullWord {
    /// Always
    Always,
    /// When the image is not here
    Missing,
    /// Never
    Never,
}

/// What becomes of signals while a command runs.
#[derive(Debug, Args)]
pub(crate) struct SignalArgs {
    /// Whether the command gets the signals that kiln gets
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value_t = true,
        default_missing_value = "true",
        action = ArgAction::Set
    )]
    pub(crate) sig_proxy: bool,
}

/// Flags and operands of `kiln run`.
#[derive(Debug, Args)]
#[command(override_usage = "kiln run [OPTIONS] <IMAGE> [COMMAND [ARGUMENT]...]")]
pub(crate) struct RunArgs {
    /// Remove the container when its command has ended
    #[arg(long)]
    pub(crate) rm: bool,
    /// Hand standard input to the command
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    #[command(flatten)]
    pub(crate) signals: SignalArgs,
    #[command(flatten)]
    pub(crate) container: ContainerArgs,
}

/// Flags and operands of `kiln create`, which `kiln from` is, too.
#[derive(Debug, Args)]
#[command(override_usage = "kiln create [OPTIONS] <IMAGE> [COMMAND [ARGUMENT]...]")]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    pub(crate) container: ContainerArgs,
}

/// Flags and operands of `kiln start`.
#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// Name or id of a container
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
    /// Stay until the command ends, with its output; kiln has no daemon that could stay instead
    #[arg(short, long)]
    pub(crate) attach: bool,
    /// Hand standard input to the command
    #[arg(short, long)]
    pub(crate) interactive: bool,
    #[command(flatten)]
    pub(crate) signals: SignalArgs,
}

/// Flags of `kiln ps`.
#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// Show containers that do not run, too
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Print ids and nothing else
    #[arg(short, long, conflicts_with = "format")]
    pub(crate) quiet: bool,
    /// Show only some: id=, name=, label=NAME[=VALUE], status=created|running|exited, exited=CODE, ancestor=IMAGE, before=, since=
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
    #[arg(long, value_name = "FORMAT", help = TEMPLATES)]
    pub(crate) format: Option<String>,
    /// Show how much was written into each container
    #[arg(short, long, conflicts_with = "quiet")]
    pub(crate) size: bool,
    /// Do not shorten ids and commands
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Show the newest N containers, also those that do not run
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) last: Option<usize>,
    /// Show the newest container, also when it does not run
    #[arg(short, long, conflicts_with = "last")]
    pub(crate) latest: bool,
}

/// Flags and operands of `kiln rm`.
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Names or ids of containers
    #[arg(value_name = "CONTAINER", required = true)]
    pub(crate) containers: Vec<String>,
    /// Do not fail when a container does not exist
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// Flags and operands of `kiln commit`.
#[derive(Debug, Args)]
pub(crate) struct CommitArgs {
    /// Name or id of a container
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
    /// Name of the image
    #[arg(value_name = "NAME[:TAG]")]
    pub(crate) name: Option<String>,
    /// Who made it
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) author: Option<String>,
    /// Remark of the history
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// Insist that nothing runs in the container meanwhile; kiln cannot pause it [default: take it as it is, with a warning]
    #[arg(
        short,
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        action = ArgAction::Set
    )]
    pub(crate) pause: Option<bool>,
    /// Take a container whose command runs as it is: each file as at one moment
    #[arg(long, conflicts_with = "pause")]
    pub(crate) no_pause: bool,
    /// Instruction for the configuration, such as 'CMD ["sh"]'
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub(crate) change: Vec<String>,
    /// Show no progress of fetching
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Flags and operands of `kiln export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Name or id of a container
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
    /// File to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// Flags and operands of `kiln cp`.
#[derive(Debug, Args)]
pub(crate) struct CpArgs {
    /// What to copy: CONTAINER:PATH, a path of this machine, or `-` for a tar archive on standard input
    #[arg(value_name = "SOURCE")]
    pub(crate) source: String,
    /// Where it goes: CONTAINER:PATH, a path of this machine, or `-` for a tar archive on standard output
    #[arg(value_name = "TARGET")]
    pub(crate) target: String,
    /// Keep the owners of files
    #[arg(short, long)]
    pub(crate) archive: bool,
    /// Follow a symlink in SOURCE
    #[arg(short = 'L', long)]
    pub(crate) follow_link: bool,
}

/// Flags of `kiln container prune`.
#[derive(Debug, Args)]
pub(crate) struct ContainerPruneArgs {
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Take only what is meant: until=24h (unused for so long)
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
}

/// Operands of `kiln container inspect`.
#[derive(Debug, Args)]
pub(crate) struct ContainerInspectArgs {
    /// Names or ids of containers
    #[arg(value_name = "CONTAINER", required = true)]
    pub(crate) containers: Vec<String>,
}

/// `kiln container …`: the same commands under their long names.
#[derive(Debug, Args)]
pub(crate) struct ContainerGroup {
    /// What to do
    #[command(subcommand)]
    pub(crate) command: ContainerCommand,
}

/// What is done with containers.
#[derive(Debug, Subcommand)]
pub(crate) enum ContainerCommand {
    /// Run a command in a new container of an image
    Run(Deferred<RunArgs>),
    /// Make a container of an image, and run nothing in it
    Create(Deferred<CreateArgs>),
    /// Run the command of a container again
    Start(Deferred<StartArgs>),
    /// List containers
    #[command(visible_aliases = ["list", "ps"])]
    Ls(Deferred<PsArgs>),
    /// Show all that is known about containers, as JSON
    Inspect(Deferred<ContainerInspectArgs>),
    /// Remove containers
    #[command(visible_alias = "remove")]
    Rm(Deferred<RmArgs>),
    /// Remove all containers that do not run
    Prune(Deferred<ContainerPruneArgs>),
    /// Make an image of what was changed in a container
    Commit(Deferred<CommitArgs>),
    /// Show what was changed in a container
    Diff(Deferred<DiffArgs>),
    /// Write all files of a container as a tar archive
    Export(Deferred<ExportArgs>),
    /// Copy files into a container, or out of one
    Cp(Deferred<CpArgs>),
}
