//! The workshop: the store, the registries, the lanes and the identity that all work of a process shares.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use kiln_layer::{DirectoryOrigin, Listing, Tree};
use kiln_oci::{DiffId, Digest};
use kiln_registry::{Client, ClientConfig};
use kiln_sandbox::Identity;
use kiln_store::{Store, StoreError};

use crate::doubts::Doubts;
use crate::lanes::Lanes;

/// What a [`Workshop`] is made from.
pub struct WorkshopOptions {
    /// Directory of the store.
    pub store: PathBuf,
    /// Registries, credentials, proxies.
    pub registry: ClientConfig,
    /// Who this process is to the kernel; an error says why no step can be run.
    pub identity: Result<Identity, String>,
    /// The host's `/etc/resolv.conf`, for steps.
    pub resolv_conf: Option<Vec<u8>>,
    /// What git may use.
    pub git: GitSurroundings,
    /// What the roots of steps are made of.
    pub roots: Roots,
    /// Steps that run at once.
    pub jobs: usize,
    /// Now, in nanoseconds since 1970: tells files that are too young for their times to be trusted.
    pub started_ns: i128,
}

/// What the roots of steps are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Roots {
    /// Overlays where they can be mounted, else copies.
    #[default]
    Detected,
    /// Overlays only.
    Overlay,
    /// Copies only.
    Copy,
}

/// What the root of a step is, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootKind {
    /// An overlay over the unpacked layers.
    Overlay,
    /// A directory with copies of their files.
    Copy {
        /// Why not an overlay.
        reason: String,
    },
}

/// What of the surroundings the program git may use. Nothing else reaches it.
#[derive(Clone)]
pub struct GitSurroundings {
    /// Where programs are, in the form of `PATH`.
    pub search_path: OsString,
    /// The user's home: settings for credentials, `.netrc`, keys and known hosts of the secure shell.
    pub home: Option<PathBuf>,
    /// Where the user's configuration is, if not in the home.
    pub config_home: Option<PathBuf>,
    /// The command of the secure shell, in the place of `ssh`.
    pub shell_command: Option<OsString>,
    /// Variables for calls that speak to a server: the agent's socket, proxies.
    pub variables: Vec<(String, OsString)>,
    /// How long a server may say nothing.
    pub silence_max: Duration,
}

/// The variable with the socket of the agent that has keys for the secure shell.
pub const AGENT_VARIABLE: &str = "SSH_AUTH_SOCK";

impl GitSurroundings {
    /// Returns the same with another agent.
    #[must_use]
    pub fn with_agent(&self, socket: &Path) -> Self {
        let mut changed = self.clone();
        changed.variables.retain(|(name, _)| name != AGENT_VARIABLE);
        changed.variables.push((AGENT_VARIABLE.to_owned(), socket.into()));
        changed
    }
}

impl Default for GitSurroundings {
    fn default() -> Self {
        Self {
            search_path: OsString::new(),
            home: None,
            config_home: None,
            shell_command: None,
            variables: Vec::new(),
            silence_max: Duration::from_secs(180),
        }
    }
}

/// Everything that the commands of one process work with. Cheap to share behind an [`Arc`].
pub struct Workshop {
    /// Content on disk.
    pub store: Store,
    /// Content elsewhere.
    pub registry: Client,
    /// Where work runs.
    pub lanes: Lanes,
    /// Who this process is to the kernel.
    pub identity: Result<Identity, String>,
    /// The host's `/etc/resolv.conf`, for steps.
    pub resolv_conf: Option<Vec<u8>>,
    /// What git may use.
    pub git: GitSurroundings,
    /// What the roots of steps are to be made of.
    pub roots: Roots,
    /// When this process started, in nanoseconds since 1970.
    pub started_ns: i128,
    /// What was found to be wrong with caches that builders share.
    pub doubts: Doubts,
    /// Whether owners and devices are recorded although there are subordinate ids.
    pub(crate) records_owners: bool,
    pub(crate) root_kind: OnceLock<RootKind>,
    pub(crate) listings: Mutex<HashMap<DiffId, Arc<Listing>>>,
    pub(crate) trees: Mutex<HashMap<Digest, Arc<Tree>>>,
    pub(crate) unpacked: Mutex<HashMap<Digest, PathBuf>>,
    pub(crate) directories: Mutex<HashMap<DiffId, Arc<DirectoryOrigin>>>,
    /// Layers whose owners this process can set.
    pub(crate) can_be_set: Mutex<HashSet<DiffId>>,
}

impl Workshop {
    /// Opens the store, creating it when it is not there.
    ///
    /// # Errors
    /// What the store says.
    pub fn open(options: WorkshopOptions) -> Result<Self, StoreError> {
        Ok(Self {
            store: Store::open(&options.store)?,
            registry: Client::new(options.registry),
            lanes: Lanes::new(options.jobs),
            identity: options.identity,
            resolv_conf: options.resolv_conf,
            git: options.git,
            roots: options.roots,
            started_ns: options.started_ns,
            doubts: Doubts::default(),
            records_owners: false,
            root_kind: OnceLock::new(),
            listings: Mutex::default(),
            trees: Mutex::default(),
            unpacked: Mutex::default(),
            directories: Mutex::default(),
            can_be_set: Mutex::default(),
        })
    }

    /// Returns the same workshop for what subordinate ids cannot express: it records owners and devices. `None` where it is no other.
    pub fn recording(&self) -> Option<Self> {
        let Ok(Identity::Subordinate { uid_count, gid_count }) = self.identity else { return None };
        if self.records_owners {
            return None;
        }
        Some(Self {
            store: self.store.clone(),
            registry: self.registry.clone(),
            lanes: self.lanes.clone(),
            identity: Ok(Identity::Subordinate { uid_count, gid_count }),
            resolv_conf: self.resolv_conf.clone(),
            git: self.git.clone(),
            roots: self.roots,
            started_ns: self.started_ns,
            doubts: self.doubts.clone(),
            records_owners: true,
            root_kind: self.root_kind.clone(),
            listings: Mutex::default(),
            trees: Mutex::default(),
            // Directories of layers are others there.
            unpacked: Mutex::default(),
            directories: Mutex::default(),
            can_be_set: Mutex::default(),
        })
    }
}

impl fmt::Debug for Workshop {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Workshop").field("store", &self.store.path()).finish_non_exhaustive()
    }
}
