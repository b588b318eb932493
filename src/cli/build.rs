//! The flags of `kiln build`.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};

use super::explain::ExplainFormat;
use crate::ui::ProgressWord;

/// Flags and operands of `kiln build`.
#[derive(Debug, Args)]
#[command(override_usage = "kiln build [OPTIONS] <CONTEXT>")]
pub(crate) struct BuildArgs {
    /// Directory or git repository with the files to copy from; an address (https://…), or `-` for standard input: a tar archive or a Dockerfile
    #[arg(value_name = "CONTEXT")]
    pub(crate) context: Option<OsString>,
    /// The Dockerfile, its address (https://…), or `-` for standard input [default: CONTEXT/Dockerfile]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Stage to build [default: the last one]
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Option<String>,
    /// Name of the result
    #[arg(short, long, value_name = "NAME")]
    pub(crate) tag: Vec<String>,
    /// Value of an ARG; without a value, that of the environment
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub(crate) build_arg: Vec<String>,
    /// Label of the result
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) label: Vec<String>,
    /// Platforms to build for, separated by commas
    #[arg(long, value_name = "OS/ARCH", value_delimiter = ',')]
    pub(crate) platform: Vec<String>,
    /// Another source for FROM and --from: a directory, a git repository, docker-image://NAME or oci-layout://DIR[:TAG|@DIGEST]
    #[arg(long, value_name = "NAME=SOURCE")]
    pub(crate) build_context: Vec<OsString>,
    /// A secret that steps can mount: id=ID[,src=FILE|,env=VARIABLE]
    #[arg(long, value_name = "SPEC")]
    pub(crate) secret: Vec<String>,
    /// An agent of the secure shell that steps can mount, and git repositories are fetched with: default, ID=SOCKET, or ID=KEY[,KEY...]
    #[arg(long, value_name = "ID[=PLACE]")]
    pub(crate) ssh: Vec<String>,
    /// Take nothing from the cache, or nothing of these stages
    #[arg(long, value_name = "STAGE,…", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) no_cache: Vec<String>,
    /// Stages that take nothing from the cache
    #[arg(long, value_name = "STAGE,…", value_delimiter = ',')]
    pub(crate) no_cache_filter: Vec<String>,
    /// A cache to ask for what the store does not have: type=registry|local|s3[,mounts=true][,…], or a repository
    #[arg(long, value_name = "SPEC")]
    pub(crate) cache_from: Vec<String>,
    /// A cache to give what this build finds out: type=registry|local|s3[,mode=max][,mounts=true][,ignore-error=true][,…], or a repository
    #[arg(long, value_name = "SPEC")]
    pub(crate) cache_to: Vec<String>,
    /// Which ARGs a RUN sees, and is made again for: those that are declared before it, or only those that its text names [default: declared]
    #[arg(long, value_enum, value_name = "WHICH")]
    pub(crate) args: Option<ArgumentsWord>,
    /// Ask the registry again what names stand for
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value = "false", action = ArgAction::Set, hide_default_value = true, hide_possible_values = true)]
    pub(crate) pull: bool,
    /// Steps that run at once [default: the number of processors]
    #[arg(short, long, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,

    /// Where the result goes: type=oci|docker|tar|local|image|cacheonly[,dest=PATH][,…], a directory, or `-`
    #[arg(short, long, value_name = "SPEC", help_heading = "Results")]
    pub(crate) output: Vec<String>,
    /// Send the result to the registries of its names: -o type=image,push=true
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value = "false", action = ArgAction::Set, hide_default_value = true, hide_possible_values = true,
          help_heading = "Results")]
    pub(crate) push: bool,
    /// Keep the result in the store, also beside other outputs: -o type=image
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value = "false", action = ArgAction::Set, hide_default_value = true, hide_possible_values = true,
          help_heading = "Results")]
    pub(crate) load: bool,
    /// Compression of new layers: gzip[:0-9], zstd[:1-22] or none
    #[arg(long, value_name = "NAME[:LEVEL]", help_heading = "Results")]
    pub(crate) compression: Option<String>,
    /// Write the digest of the result here
    #[arg(long, value_name = "FILE", help_heading = "Results")]
    pub(crate) iidfile: Option<PathBuf>,
    /// Write what is known about the result here, as JSON
    #[arg(long, value_name = "FILE", help_heading = "Results")]
    pub(crate) metadata_file: Option<PathBuf>,
    /// Time of files: seconds since 1970, or `preserve` to keep their own (gives up reproducibility)
    #[arg(long, value_name = "TIME", help_heading = "Results")]
    pub(crate) timestamp: Option<String>,
    /// Write history texts as another builder does
    #[arg(long, value_enum, value_name = "NAME", help_heading = "Results")]
    pub(crate) compat: Option<CompatWord>,

    /// Say which steps would run, why, how long they took last, and what would be fetched, and run nothing
    #[arg(long, value_enum, value_name = "FORMAT", num_args = 0..=1, require_equals = true,
          default_missing_value = "text", help_heading = "Checks")]
    pub(crate) plan: Option<ExplainFormat>,
    /// Fail before the first step, and say why it is not in the cache, if a step would run
    #[arg(long, help_heading = "Checks")]
    pub(crate) fail_on_miss: bool,
    /// Do every RUN, COPY and ADD a second time after the build, or those of these stages, and say what is not the same
    #[arg(long, value_name = "STAGE,…", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          help_heading = "Checks")]
    pub(crate) check_repro: Vec<String>,
    /// Ask about the build instead of running it: check, outline or targets[,format=json][,ignorestatus=true]
    #[arg(long, value_name = "METHOD", help_heading = "Checks")]
    pub(crate) call: Option<String>,
    /// Report what is wrong and what is doubtful, and run nothing: --call=check
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value = "false", action = ArgAction::Set, hide_default_value = true, hide_possible_values = true,
          help_heading = "Checks")]
    pub(crate) check: bool,
    /// How --check and --call print: text or json
    #[arg(long, value_name = "FORMAT", help_heading = "Checks")]
    pub(crate) format: Option<String>,

    /// How progress is shown [default: auto]
    #[arg(long, value_enum, value_name = "HOW", help_heading = "Progress")]
    pub(crate) progress: Option<ProgressWord>,
    /// Say of every step that runs why it is not in the cache
    #[arg(long, help_heading = "Progress")]
    pub(crate) explain: bool,
    /// Print nothing but the digest, and the output of a step that fails
    #[arg(short, long, help_heading = "Progress", conflicts_with = "progress")]
    pub(crate) quiet: bool,

    /// What happens when a RUN step fails: `shell` opens one in it, as it is, on this terminal [default: fail]
    #[arg(long, value_enum, value_name = "WHAT", help_heading = "RUN steps")]
    pub(crate) on_error: Option<OnErrorWord>,
    /// Network of RUN steps that do not say: default is the host's
    #[arg(long, value_enum, value_name = "NAME", help_heading = "RUN steps")]
    pub(crate) network: Option<NetworkWord>,
    /// Line for /etc/hosts
    #[arg(long, value_name = "NAME:ADDRESS", help_heading = "RUN steps")]
    pub(crate) add_host: Vec<String>,
    /// Limit of a resource: NAME=SOFT[:HARD]
    #[arg(long, value_name = "LIMIT", help_heading = "RUN steps")]
    pub(crate) ulimit: Vec<String>,
    /// Size of /dev/shm, such as 64m
    #[arg(long, value_name = "SIZE", help_heading = "RUN steps")]
    pub(crate) shm_size: Option<String>,
}

/// Words of `--on-error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnErrorWord {
    /// The build fails
    Fail,
    /// A shell opens in the step, and when it ends the build fails
    Shell,
}

/// Words of `--args`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ArgumentsWord {
    /// All that are declared before the RUN
    Declared,
    /// Those that the RUN names
    Referenced,
}

/// Words of `--network`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum NetworkWord {
    /// The host's network
    Default,
    /// No network but the loopback device
    None,
    /// The host's network
    Host,
}

/// Words of `--compat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompatWord {
    /// History lines with BuildKit's suffix and comment
    Buildkit,
}
