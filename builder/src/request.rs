//! Everything a build depends on, as plain data.
//!
//! No function below reads a clock, the environment, a locale or a home directory: what they would say arrives here.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

pub use kiln_layer::Compression;

use kiln_oci::{Platform, Reference};
pub use kiln_registry::WebUrl;
use kiln_sandbox::Streams;

use crate::agents::AgentSources;
pub use crate::cache_place::{
    Bucket, BucketCache, CacheExtent, CachePlace, CacheSource, CacheTarget, PREFIX_CHARS_MAX, RepositoryCache,
};
use crate::git_reference::GitReference;
use crate::plan::{Network, Ulimit};
use crate::secrets::Secrets;

/// Time written in layers, history and configuration when nothing else is asked for: 1980-01-01T00:00:00Z.
pub const DEFAULT_EPOCH: i64 = 315_532_800;

/// A request to build images.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// Where COPY and ADD read from.
    pub context: ContextPlace,
    /// The Dockerfile.
    pub dockerfile: DockerfilePlace,
    /// Names for the result.
    pub tags: Vec<Reference>,
    /// Values for ARGs.
    pub build_args: BTreeMap<String, String>,
    /// Stage to build; the last one when absent.
    pub target: Option<String>,
    /// Labels of the result.
    pub labels: BTreeMap<String, String>,
    /// Platforms to build for, in order. Empty means the host's.
    pub platforms: Vec<Platform>,
    /// Contexts by name.
    pub named_contexts: BTreeMap<String, NamedContext>,
    /// Secrets by id.
    pub secrets: Secrets,
    /// Agents of the secure shell by id.
    pub agents: AgentSources,
    /// Which steps may not be taken from the cache.
    pub no_cache: NoCache,
    /// Whether names are resolved again at the registry.
    pub pull: bool,
    /// What to do with the result. The store always gets it, unless only other outputs are asked for.
    pub outputs: Vec<OutputSpec>,
    /// Network of RUN steps that do not say.
    pub network: Network,
    /// Lines for `/etc/hosts`: name and address.
    pub extra_hosts: Vec<(String, String)>,
    /// Limits of RUN steps.
    pub ulimits: Vec<Ulimit>,
    /// Size of `/dev/shm` in RUN steps.
    pub shm_size_bytes: Option<u64>,
    /// Times of files and documents.
    pub timestamp: Timestamp,
    /// Compression of new layers.
    pub compression: Compression,
    /// Whose texts the history has.
    pub compat: Compat,
    /// Which arguments of the build a RUN sees, and its key has.
    pub arguments: Arguments,
    /// Whether the build fails before its first step if one would have to be done.
    pub fail_on_miss: bool,
    /// Which steps are done a second time after the build, to see whether they make the same.
    pub repeat: Repeat,
    /// Steps that run at once.
    pub jobs: usize,
    /// Who is given a shell in a RUN that fails; nobody when absent.
    pub on_error: Option<Attendant>,
    /// Caches that are asked for what the store does not have, in this order.
    pub cache_from: Vec<CacheSource>,
    /// Caches that are given what is found out.
    pub cache_to: Vec<CacheTarget>,
}

impl BuildRequest {
    /// Returns a request for the Dockerfile in a directory, with nothing asked for besides.
    pub fn new(context: impl Into<PathBuf>) -> Self {
        Self {
            context: ContextPlace::Directory(context.into()),
            dockerfile: DockerfilePlace::Default,
            tags: Vec::new(),
            build_args: BTreeMap::new(),
            target: None,
            labels: BTreeMap::new(),
            platforms: Vec::new(),
            named_contexts: BTreeMap::new(),
            secrets: Secrets::default(),
            agents: AgentSources::default(),
            no_cache: NoCache::default(),
            pull: false,
            outputs: Vec::new(),
            network: Network::Host,
            extra_hosts: Vec::new(),
            ulimits: Vec::new(),
            shm_size_bytes: None,
            timestamp: Timestamp::Epoch(DEFAULT_EPOCH),
            compression: Compression::default(),
            compat: Compat::default(),
            arguments: Arguments::default(),
            fail_on_miss: false,
            repeat: Repeat::default(),
            jobs: 1,
            on_error: None,
            cache_from: Vec::new(),
            cache_to: Vec::new(),
        }
    }

    /// Whether its Dockerfile lies in an archive, a git repository or on the web, so that it cannot be read without a store.
    pub fn needs_store(&self) -> bool {
        matches!(self.context, ContextPlace::Archive(_) | ContextPlace::Git(_) | ContextPlace::Web(_))
            || matches!(self.dockerfile, DockerfilePlace::Web(_))
    }
}

/// The build argument that asks for the git directory of a context, as in BuildKit.
const KEEP_GIT_ARGUMENT: &str = "BUILDKIT_CONTEXT_KEEP_GIT_DIR";

impl BuildRequest {
    /// Returns the git repository that is the main context, if one is, with what a build argument says about it.
    pub fn git_context(&self) -> Option<GitReference> {
        let ContextPlace::Git(reference) = &self.context else { return None };
        let mut reference = GitReference::clone(reference);
        let argument = self.build_args.get(KEEP_GIT_ARGUMENT).map(String::as_str);
        // The words of Go's `strconv.ParseBool`; others count for nothing there, too.
        if matches!(argument, Some("1" | "t" | "T" | "true" | "TRUE" | "True")) {
            reference.keep_git_directory = Some(true);
        }
        Some(reference)
    }
}

/// Who attends, and by what.
#[derive(Debug, Clone)]
pub struct Attendant {
    /// Where the process reads and writes.
    pub streams: Streams,
    /// What kind of terminal it is, where the step's environment does not say.
    pub terminal_kind: Option<OsString>,
}

/// Where a context is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContextPlace {
    /// A directory.
    Directory(PathBuf),
    /// A tar archive, perhaps compressed, in a file. A context on standard input is put there first.
    Archive(PathBuf),
    /// A tar archive of the web, or a Dockerfile without files.
    Web(WebUrl),
    /// A git repository.
    Git(Box<GitReference>),
    /// No files.
    Empty,
}

/// Where the Dockerfile is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DockerfilePlace {
    /// `Dockerfile` in the context, or `dockerfile`.
    Default,
    /// A path: beneath the context, or anywhere on this machine.
    Path(PathBuf),
    /// A text that was given itself (standard input).
    Text(Vec<u8>),
    /// A file of the web.
    Web(WebUrl),
}

/// What a name stands for in `FROM`, `COPY --from` and mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// The files of a directory.
    Directory(PathBuf),
    /// The files of a tar archive.
    Archive(PathBuf),
    /// The files of a tar archive of the web; what is none is the only file, `context`.
    Web(WebUrl),
    /// The files of a git repository.
    Git(Box<GitReference>),
    /// Another image.
    Image(Reference),
    /// An image in an OCI layout: directory, and tag or digest.
    OciLayout {
        /// The layout's directory.
        path: PathBuf,
        /// What follows the path: `:tag` or `@digest`, without the sign; `None` when the layout has one image.
        name: Option<String>,
    },
}

/// Which steps may not be taken from the cache.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum NoCache {
    /// Every step may.
    #[default]
    Nothing,
    /// No step may.
    Everything,
    /// No step of these stages may.
    Stages(BTreeSet<String>),
}

impl fmt::Display for NoCache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => Ok(()),
            Self::Everything => formatter.write_str("--no-cache"),
            Self::Stages(stages) => {
                let stages: Vec<&str> = stages.iter().map(String::as_str).collect();
                write!(formatter, "--no-cache={}", stages.join(","))
            }
        }
    }
}

/// Which steps are done a second time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Repeat {
    /// No step is.
    #[default]
    Nothing,
    /// Every RUN, COPY and ADD that the result needs is.
    Everything,
    /// Those of these stages are.
    Stages(BTreeSet<String>),
}

/// Times of files and documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timestamp {
    /// This instant, in seconds since 1970.
    Epoch(i64),
    /// Files keep their own times; documents have this instant.
    Preserve {
        /// Time of the documents, in seconds since 1970.
        documents: i64,
    },
}

impl Timestamp {
    /// Returns the instant of documents, in seconds since 1970.
    pub fn documents(self) -> i64 {
        match self {
            Self::Epoch(seconds) | Self::Preserve { documents: seconds } => seconds,
        }
    }

    /// Returns the instant of files, or `None` when they keep their own.
    pub fn files(self) -> Option<i64> {
        match self {
            Self::Epoch(seconds) => Some(seconds),
            Self::Preserve { .. } => None,
        }
    }
}

/// Whose texts the history has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compat {
    /// kiln's: the instruction.
    #[default]
    Kiln,
    /// BuildKit's: with its suffix and comment.
    BuildKit,
}

/// Which arguments of the build a RUN sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Arguments {
    /// All that are declared before it in its stage.
    #[default]
    Declared,
    /// Those of them whose names stand in its text.
    Referenced,
}

/// What to do with a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputSpec {
    /// Keep it in the store under the request's names, and push it if asked.
    Image {
        /// Names besides the request's.
        names: Vec<Reference>,
        /// Whether to push it to the names' registries.
        push: bool,
    },
    /// Write an OCI layout.
    Oci {
        /// Names besides the request's.
        names: Vec<Reference>,
        /// Where to.
        destination: Destination,
        /// Whether it is one tar file, and not a directory.
        tar: bool,
    },
    /// Write an archive for `docker load`.
    Docker {
        /// Names besides the request's.
        names: Vec<Reference>,
        /// Where to.
        destination: Destination,
    },
    /// Write the files of the result into a directory.
    Local {
        /// The directory.
        directory: PathBuf,
    },
    /// Write the files of the result as one tar archive.
    Tar {
        /// Where to.
        destination: Destination,
    },
    /// Fill the cache, and nothing else.
    CacheOnly,
}

/// Where an output goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A path: appears when it is whole.
    Path(PathBuf),
    /// Standard output.
    Stdout,
}
