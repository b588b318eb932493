//! The workshop: the store, the registries, the lanes and the identity that all work of a process shares.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use kiln_layer::{DirectoryOrigin, Listing, Tree};
use kiln_oci::{DiffId, Digest};
use kiln_registry::{Client, ClientConfig};
use kiln_sandbox::Identity;
use kiln_store::{Store, StoreError};

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
    /// Steps that run at once.
    pub jobs: usize,
    /// Now, in nanoseconds since 1970: tells files that are too young for their times to be trusted.
    pub started_ns: i128,
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
    /// When this process started, in nanoseconds since 1970.
    pub started_ns: i128,
    pub(crate) listings: Mutex<HashMap<DiffId, Arc<Listing>>>,
    pub(crate) trees: Mutex<HashMap<Digest, Arc<Tree>>>,
    pub(crate) unpacked: Mutex<HashMap<Digest, PathBuf>>,
    pub(crate) directories: Mutex<HashMap<DiffId, Arc<DirectoryOrigin>>>,
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
            started_ns: options.started_ns,
            listings: Mutex::default(),
            trees: Mutex::default(),
            unpacked: Mutex::default(),
            directories: Mutex::default(),
        })
    }
}

impl fmt::Debug for Workshop {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Workshop").field("store", &self.store.path()).finish_non_exhaustive()
    }
}
