//! The flags of the commands that speak with registries about what is there.

use clap::{Args, Subcommand, ValueEnum};

/// Words of `tags --sort`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum TagSort {
    /// By name
    #[default]
    Name,
    /// Highest version first, then what is no version
    Semver,
}

/// Flags and operands of `kiln tags`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(disable_help_subcommand = true)]
pub(crate) struct TagsArgs {
    /// What to do besides listing
    #[command(subcommand)]
    pub(crate) command: Option<TagsCommand>,
    /// Name of a repository, without a tag
    #[arg(value_name = "REPOSITORY", required = true)]
    pub(crate) repository: Option<String>,
    /// Print tags and nothing else, one a line; digests are not asked for
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Order of the tags
    #[arg(long, value_enum, value_name = "ORDER", default_value = "name")]
    pub(crate) sort: TagSort,
    /// Show only tags that fit `tag=PATTERN`; `*` matches anything
    #[arg(short, long, value_name = "FILTER")]
    pub(crate) filter: Vec<String>,
    /// Show no more tags than so many, the first in order
    #[arg(long, value_name = "COUNT")]
    pub(crate) limit: Option<usize>,
    /// Do not shorten digests
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// How to print: `table`, `json` for one object a line, or a template, perhaps after `table`
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
}

/// One thing to do with the tags of a registry.
#[derive(Debug, Subcommand)]
pub(crate) enum TagsCommand {
    /// Remove tags at their registry, and no other tags of the same images
    Rm(TagsRmArgs),
}

/// Operands of `kiln tags rm`.
#[derive(Debug, Args)]
pub(crate) struct TagsRmArgs {
    /// Names with their tags
    #[arg(value_name = "REPOSITORY:TAG", required = true)]
    pub(crate) names: Vec<String>,
}

/// Flags and operands of `kiln search`.
#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    /// What to look for, perhaps after the registry that is asked: `registry.example/TERM`
    #[arg(value_name = "TERM")]
    pub(crate) term: String,
    /// Show only what fits: `stars=COUNT` or more, `is-official=BOOL`, `is-automated=BOOL`
    #[arg(short, long, value_name = "FILTER")]
    pub(crate) filter: Vec<String>,
    /// Ask for so many repositories, at most 100
    #[arg(long, value_name = "COUNT", default_value_t = 25)]
    pub(crate) limit: usize,
    /// Do not shorten descriptions
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// How to print: `table`, `json` for one object a line, or a template, perhaps after `table`
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
}

/// Flags and operands of `kiln copy`.
#[derive(Debug, Args)]
pub(crate) struct CopyArgs {
    /// Name of an image at a registry, or `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]`, `docker-archive:FILE[:NAME]` for one in
    /// files; `@DIGEST` instead of a tag or name is possible everywhere
    #[arg(value_name = "SOURCE")]
    pub(crate) source: String,
    /// Where it goes, in the same words; without a tag or name it keeps that which it has
    #[arg(value_name = "DESTINATION")]
    pub(crate) destination: String,
    /// Copy only the image for this platform, of an image for several
    #[arg(long, value_name = "OS/ARCH", conflicts_with = "all_tags")]
    pub(crate) platform: Option<String>,
    /// Copy all tags of the repository or layout
    #[arg(short, long)]
    pub(crate) all_tags: bool,
    /// Print the digest and nothing else
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Operands of `kiln manifest`.
#[derive(Debug, Args)]
pub(crate) struct ManifestArgs {
    /// What to do
    #[command(subcommand)]
    pub(crate) command: ManifestCommand,
}

/// One thing to do with lists of manifests.
#[derive(Debug, Subcommand)]
pub(crate) enum ManifestCommand {
    /// Make a list of images for several platforms, under a name of this store
    Create(ManifestCreateArgs),
    /// Add images to a list
    Add(ManifestAddArgs),
    /// Say which platform an image of a list is for
    Annotate(ManifestAnnotateArgs),
    /// Show a manifest or list: that of this store, else the registry's, byte for byte
    Inspect(ManifestInspectArgs),
    /// Send a list to its registry, with all that it names
    Push(ManifestPushArgs),
    /// Remove lists from this store
    Rm(ManifestRmArgs),
}

impl ManifestCommand {
    /// Whether it may delete what the store has.
    pub(super) fn removes(&self) -> bool {
        match self {
            Self::Rm(_) => true,
            Self::Push(args) => args.purge,
            _ => false,
        }
    }
}

/// Flags and operands of `kiln manifest create`.
#[derive(Debug, Args)]
pub(crate) struct ManifestCreateArgs {
    /// Name of the list
    #[arg(value_name = "LIST")]
    pub(crate) list: String,
    /// Names of images, of this store or at a registry
    #[arg(value_name = "IMAGE", required = true)]
    pub(crate) images: Vec<String>,
    /// Add to a list that is there
    #[arg(short, long)]
    pub(crate) amend: bool,
}

/// Operands of `kiln manifest add`.
#[derive(Debug, Args)]
pub(crate) struct ManifestAddArgs {
    /// Name of the list
    #[arg(value_name = "LIST")]
    pub(crate) list: String,
    /// Names of images, of this store or at a registry
    #[arg(value_name = "IMAGE", required = true)]
    pub(crate) images: Vec<String>,
}

/// Flags and operands of `kiln manifest annotate`.
#[derive(Debug, Args)]
pub(crate) struct ManifestAnnotateArgs {
    /// Name of the list
    #[arg(value_name = "LIST")]
    pub(crate) list: String,
    /// Name or digest of an image of the list
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Architecture, such as `arm64`
    #[arg(long, value_name = "ARCH")]
    pub(crate) arch: Option<String>,
    /// Operating system
    #[arg(long, value_name = "OS")]
    pub(crate) os: Option<String>,
    /// Variant of the architecture, such as `v7`
    #[arg(long, value_name = "VARIANT")]
    pub(crate) variant: Option<String>,
    /// Version of the operating system
    #[arg(long, value_name = "VERSION")]
    pub(crate) os_version: Option<String>,
    /// Features that the operating system must have
    #[arg(long, value_name = "FEATURE", value_delimiter = ',')]
    pub(crate) os_features: Vec<String>,
}

/// Flags and operands of `kiln manifest inspect`.
#[derive(Debug, Args)]
pub(crate) struct ManifestInspectArgs {
    /// Name of an image or list
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    pub(crate) name: String,
    /// Show the manifests of all images, with their descriptors
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

/// Flags and operands of `kiln manifest push`.
#[derive(Debug, Args)]
pub(crate) struct ManifestPushArgs {
    /// Name of the list
    #[arg(value_name = "LIST")]
    pub(crate) list: String,
    /// Remove the list from this store when it is sent
    #[arg(short, long)]
    pub(crate) purge: bool,
}

/// Operands of `kiln manifest rm`.
#[derive(Debug, Args)]
pub(crate) struct ManifestRmArgs {
    /// Names of lists
    #[arg(value_name = "LIST", required = true)]
    pub(crate) lists: Vec<String>,
}
