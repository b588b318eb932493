//! What is remembered of a working container, and who uses an image.

use std::ffi::OsString;

use kiln_oci::config::RunConfig;
use kiln_oci::{Digest, Platform};
use kiln_store::{ContainerFacts, ContainerId, Store, StoreError};
use serde::{Deserialize, Serialize};

/// Exit code of a container whose kiln was killed: what a shell says of a process that was.
const KILLED: u8 = 137;

/// What is remembered of a working container besides its image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// Its name.
    pub name: String,
    /// The image, as it was named.
    pub image_name: String,
    /// Digest of the image's configuration.
    pub image_id: Digest,
    /// The platform whose programs run.
    pub platform: Platform,
    /// How it runs: the image's configuration with what was asked for.
    pub config: RunConfig,
    /// Program and arguments; empty where neither the image nor anybody names one.
    pub argv: Vec<String>,
    /// What is around it.
    pub surroundings: Surroundings,
    /// What its files are.
    pub root: RootRecord,
    /// When it was made, in nanoseconds since 1970: the newest is shown first.
    pub created_ns: i64,
    /// When its command was last started, in seconds since 1970.
    pub started: Option<i64>,
    /// When that ended.
    pub ended: Option<i64>,
    /// The command's exit code.
    pub exit_code: Option<u8>,
    /// Why the command could not be started.
    pub error: Option<String>,
}

/// What is around the process of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Surroundings {
    /// Host name.
    pub hostname: String,
    /// Network.
    pub network: ContainerNetwork,
    /// Mounts, in order.
    pub mounts: Vec<ContainerMount>,
    /// Lines for `/etc/hosts`: name and address.
    pub extra_hosts: Vec<(String, String)>,
    /// Size of `/dev/shm` in bytes.
    pub shm_size_bytes: Option<u64>,
}

/// Network of a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerNetwork {
    /// The host's.
    #[default]
    Host,
    /// None but the loopback device.
    None,
}

/// A mount of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerMount {
    /// Absolute path inside.
    pub target: String,
    /// What is mounted.
    pub kind: ContainerMountKind,
}

/// What is mounted into a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerMountKind {
    /// A file or directory of the host.
    Bind {
        /// Absolute path.
        source: OsString,
        /// Whether the container may change it.
        is_read_only: bool,
    },
    /// An empty directory in memory.
    Tmpfs {
        /// Upper bound of its size.
        size_bytes: Option<u64>,
    },
}

/// What the files of a container are. They can be read only by a kiln that has the same ways.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootRecord {
    /// What its directory holds.
    pub form: RootForm,
    /// Whether owners are attributes beside the files, because the kernel would not set them.
    pub records_owners: bool,
    /// Mount points that are still in it: paths from the root.
    pub stubs: Vec<OsString>,
    /// Owners of links and pipes that the kernel would not set; `None` before a command has ended.
    pub links: Option<Vec<LinkOwner>>,
}

/// What the directory of a container holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RootForm {
    /// What an overlay was changed by.
    Overlay {
        /// Whether marks of overlayfs are those of a user namespace.
        has_user_marks: bool,
    },
    /// All files.
    Copy {
        /// The clock of its file system when all were there, in nanoseconds.
        ready_ns: i64,
        /// Devices of the image that could not be made: paths from the root.
        absent: Vec<OsString>,
    },
}

/// The owner of a link or pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkOwner {
    /// Device and inode.
    pub inode: (u64, u64),
    /// User and group.
    pub owner: (u32, u32),
}

/// What a container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerState {
    /// Nothing has run in it yet.
    Created,
    /// Its command runs.
    Running,
    /// Its command has ended with this code.
    Exited(u8),
}

impl ContainerRecord {
    /// Returns when it was made, in seconds since 1970.
    pub fn created(&self) -> i64 {
        self.created_ns.div_euclid(1_000_000_000)
    }

    /// Returns what the container does. `is_running` says whether somebody runs a command in it.
    pub fn state(&self, is_running: bool) -> ContainerState {
        match (self.started, self.ended) {
            (None, _) => ContainerState::Created,
            (Some(_), Some(_)) => ContainerState::Exited(self.exit_code.unwrap_or(KILLED)),
            (Some(_), None) if is_running => ContainerState::Running,
            (Some(_), None) => ContainerState::Exited(KILLED),
        }
    }

    /// Reads what the store keeps for it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of(facts: &ContainerFacts) -> Result<Self, String> {
        Self::deserialize(&facts.details).map_err(|error| error.to_string())
    }
}

/// A container that was found.
#[derive(Debug, Clone)]
pub struct FoundContainer {
    /// Its id.
    pub id: ContainerId,
    /// What is known of it; a damaged record says why nothing is.
    pub known: Result<KnownContainer, String>,
}

/// What is known of a container.
#[derive(Debug, Clone)]
pub struct KnownContainer {
    /// The manifest or index of its image.
    pub image: kiln_oci::Descriptor,
    /// The rest.
    pub record: ContainerRecord,
    /// What it does.
    pub state: ContainerState,
}

/// Returns all containers, by their ids.
///
/// # Errors
/// When the store cannot be read.
pub fn all(store: &Store) -> Result<Vec<FoundContainer>, StoreError> {
    let found = store.containers().list()?.into_iter().map(|entry| {
        let known = entry.record.and_then(|facts| {
            let record = ContainerRecord::of(&facts)?;
            let state = record.state(entry.is_running);
            Ok(KnownContainer { image: facts.image, record, state })
        });
        FoundContainer { id: entry.id, known }
    });
    Ok(found.collect())
}

/// Returns the containers of an image, running ones first, by the digest of its manifest or index.
///
/// # Errors
/// When the store cannot be read.
pub fn users_of(store: &Store, image: &Digest) -> Result<Vec<(ContainerId, ContainerState)>, StoreError> {
    let user = |found: FoundContainer| {
        let known = found.known.ok().filter(|known| known.image.digest == *image)?;
        Some((found.id, known.state))
    };
    let mut users: Vec<_> = all(store)?.into_iter().filter_map(user).collect();
    users.sort_by_key(|(id, state)| (*state != ContainerState::Running, *id));
    Ok(users)
}
