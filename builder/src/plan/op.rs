//! The operations of a plan. Plain data: everything a step depends on, after expansion, and nothing about how it is done.

use kiln_oci::{Digest, Platform, Reference};
use kiln_registry::WebUrl;

use super::StepId;
use crate::git_reference::GitReference;
use crate::rootfs::Layer;

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// The empty file system.
    Scratch,
    /// The layers of an image that was resolved.
    Image(Box<ImageOp>),
    /// The files of a local directory.
    Context(ContextOp),
    /// A file fetched over HTTP.
    Http(HttpOp),
    /// The files of a git repository.
    Git(Box<GitOp>),
    /// A process run in a file system.
    Run(Box<RunOp>),
    /// Files put into a file system.
    Copy(Box<CopyOp>),
    /// A directory made in a file system.
    MakeDir(MakeDirOp),
}

/// An image, resolved to its layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageOp {
    /// The name it was asked for by.
    pub reference: Reference,
    /// Digest of its manifest.
    pub manifest: Digest,
    /// Its platform.
    pub platform: Platform,
    /// Its layers, base first.
    pub layers: Vec<Layer>,
}

/// A local directory, by its name in the request: `context` or a named context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextOp {
    /// Name of the context.
    pub name: String,
}

/// A file fetched over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpOp {
    /// Where it is.
    pub url: WebUrl,
    /// What it must be.
    pub checksum: Option<Digest>,
}

/// The files of a git repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitOp {
    /// Where it is, and what of it is wanted.
    pub reference: GitReference,
}

/// A process run in a file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunOp {
    /// The file system.
    pub parent: StepId,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Environment, in order; part of the key.
    pub env: Vec<(String, String)>,
    /// Which of these variables are arguments of the build; not part of the key.
    pub arguments: Vec<String>,
    /// Variables that reach the process and not the key: undeclared proxies.
    pub unkeyed_env: Vec<(String, String)>,
    /// Working directory.
    pub cwd: String,
    /// User and group, as written; resolved in the file system when the step runs.
    pub user: String,
    /// Network the process sees.
    pub network: Network,
    /// Mounts, in order.
    pub mounts: Vec<RunMount>,
    /// Host name.
    pub hostname: String,
    /// Lines for `/etc/hosts`: name and address.
    pub extra_hosts: Vec<(String, String)>,
    /// Limits: name, soft, hard.
    pub ulimits: Vec<Ulimit>,
    /// Size of `/dev/shm` in bytes.
    pub shm_size_bytes: Option<u64>,
    /// Platform whose programs run.
    pub platform: Platform,
    /// The stage's SHELL; not part of the key, `argv` has what of it counts.
    pub shell: Vec<String>,
    /// A script that is executed itself (heredoc with `#!`), readable at `/dev/pipes/<name>`.
    pub script: Option<Script>,
}

/// Network of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// The host's.
    Host,
    /// None but the loopback device.
    None,
}

/// A resource limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ulimit {
    /// Docker's name of it: `nofile`.
    pub name: String,
    /// Soft limit; `None` is unlimited.
    pub soft: Option<u64>,
    /// Hard limit; `None` is unlimited.
    pub hard: Option<u64>,
}

/// A script given with the instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// File name.
    pub name: String,
    /// The text.
    pub text: String,
}

/// One mount of a RUN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunMount {
    /// Absolute path in the step. Empty for a secret that is only a variable.
    pub target: String,
    /// What is mounted there.
    pub kind: MountKind,
}

/// What a mount of a RUN shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountKind {
    /// Files of another step.
    Bind {
        /// The step.
        from: StepId,
        /// Path in it.
        source: String,
        /// Whether the process may write; what it writes is discarded.
        writable: bool,
    },
    /// A directory that outlives the build.
    Cache {
        /// Its name.
        id: String,
        /// Who may use it at once.
        sharing: Sharing,
        /// Files it starts with.
        seed: Option<(StepId, String)>,
        /// Whether the process may only read.
        readonly: bool,
        /// Mode of a new directory.
        mode: u32,
        /// Owner of a new directory.
        uid: u32,
        /// Group of a new directory.
        gid: u32,
    },
    /// Memory.
    Tmpfs {
        /// Largest size in bytes.
        size_bytes: Option<u64>,
    },
    /// A secret, as a file or a variable.
    Secret {
        /// Its id.
        id: String,
        /// Variable that holds it, too or instead.
        env: Option<String>,
        /// Whether the step fails without it.
        required: bool,
        /// Mode of the file.
        mode: u32,
        /// Owner of the file.
        uid: u32,
        /// Group of the file.
        gid: u32,
    },
    /// The socket of an agent of the secure shell.
    Agent {
        /// Its id.
        id: String,
        /// Whether the step fails without it.
        required: bool,
        /// Mode of the socket.
        mode: u32,
        /// Owner of the socket.
        uid: u32,
        /// Group of the socket.
        gid: u32,
    },
}

/// Who may use a cache mount at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Everybody.
    Shared,
    /// Everybody, each with a directory of their own.
    Private,
    /// One step at a time.
    Locked,
}

/// Files put into a file system: COPY and ADD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyOp {
    /// The file system.
    pub parent: StepId,
    /// What is copied.
    pub sources: Vec<CopySource>,
    /// Absolute destination; a final `/` counts.
    pub destination: String,
    /// Owner, as written.
    pub chown: Option<String>,
    /// Mode, as written.
    pub chmod: Option<String>,
    /// Whether the layer must not depend on the file system below.
    pub link: bool,
    /// Whether the directories of the source's path are kept.
    pub parents: bool,
    /// Patterns of what is left out.
    pub exclude: Vec<String>,
    /// Which archives are unpacked.
    pub unpack: Unpack,
}

/// Which archives are unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unpack {
    /// None: COPY, and `ADD --unpack=false`.
    Never,
    /// Local ones: ADD.
    Local,
    /// Remote ones too: `ADD --unpack`.
    All,
}

/// One source of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopySource {
    /// Files of another step, by path or pattern.
    Path {
        /// The step.
        from: StepId,
        /// Path or pattern within it.
        pattern: String,
    },
    /// A text given with the instruction.
    Inline {
        /// File name.
        name: String,
        /// The text.
        text: String,
    },
    /// A file fetched over HTTP.
    Remote {
        /// The step that fetches it.
        from: StepId,
    },
}

/// A directory made in a file system: WORKDIR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MakeDirOp {
    /// The file system.
    pub parent: StepId,
    /// Absolute path.
    pub path: String,
    /// Who owns what has to be made, as USER has it.
    pub user: String,
}

impl Op {
    /// Returns what kind of operation it is, for records.
    pub fn noun(&self) -> &'static str {
        match self {
            Self::Scratch => "scratch",
            Self::Image(_) => "image",
            Self::Context(_) => "context",
            Self::Http(_) => "http",
            Self::Git(_) => "git",
            Self::Run(_) => "run",
            Self::Copy(_) => "copy",
            Self::MakeDir(_) => "make dir",
        }
    }

    /// Returns the file system the operation changes, if it changes one.
    pub fn parent(&self) -> Option<StepId> {
        match self {
            Self::Run(op) => Some(op.parent),
            Self::Copy(op) => Some(op.parent),
            Self::MakeDir(op) => Some(op.parent),
            Self::Scratch | Self::Image(_) | Self::Context(_) | Self::Http(_) | Self::Git(_) => None,
        }
    }

    /// Returns the steps whose results the operation reads besides its parent, each with its place, in a fixed order.
    pub fn reads(&self) -> Vec<StepId> {
        match self {
            Self::Run(op) => op.mounts.iter().filter_map(|mount| mount.kind.reads()).collect(),
            Self::Copy(op) => op.sources.iter().filter_map(CopySource::reads).collect(),
            _ => Vec::new(),
        }
    }

    /// Returns all steps whose results the operation needs.
    pub fn inputs(&self) -> Vec<StepId> {
        self.parent().into_iter().chain(self.reads()).collect()
    }
}

impl MountKind {
    /// Returns the step whose files are mounted.
    pub fn reads(&self) -> Option<StepId> {
        match self {
            Self::Bind { from, .. } | Self::Cache { seed: Some((from, _)), .. } => Some(*from),
            _ => None,
        }
    }

    /// Returns the path in that step.
    pub fn source(&self) -> Option<&str> {
        match self {
            Self::Bind { source, .. } | Self::Cache { seed: Some((_, source)), .. } => Some(source),
            _ => None,
        }
    }
}

impl CopySource {
    /// Returns the step whose files are copied.
    pub fn reads(&self) -> Option<StepId> {
        match self {
            Self::Path { from, .. } | Self::Remote { from } => Some(*from),
            Self::Inline { .. } => None,
        }
    }
}
