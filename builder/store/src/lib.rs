//! The store: content on disk, shared by many processes, sound after any crash.
//!
//! - **Does**: keeps blobs, image names, records, unpacked layers, logs and cache mounts below one directory, which is an OCI
//!   image layout that other tools read in place; knows what may go ([`gc`]) and whether all is well ([`fsck`]).
//! - **Does not**: parse images, or speak to anyone. It is the only writer below its directory, except inside the
//!   [`Scratch`] directories and cache mounts it hands out.
//! - **Main type**: [`Store`]. Its handle is also a lease: what it has written, held or hit stays until it is dropped.
//! - **Main function**: [`Store::open`].
//!
//! ```text
//! oci-layout index.json blobs/sha256/<hex>     the OCI image layout
//! kiln.json                                    the format number
//! records/<kind>/<hex>                         small facts under a key
//! snapshots/<diff id hex>/ <hex>.boot          unpacked layers, a cache; in which run of the machine each was made
//! partial/<hex>                                blobs half fetched
//! logs/<build>/<step>.log                      full output of steps
//! cachemounts/<hash>/<slot>/                   directories of RUN --mount=type=cache
//! cachemounts/<hash>/<slot>.seen, .shown       what the steps that used one saw, and copies of files that they saw
//! repositories/<hash>/                         what was fetched of git repositories, a cache
//! containers/<id>/                             working containers: a record, and what was changed in each
//! scratch/<lease>.<n>.<what>                   what is being made; nothing here is referred to
//! leases/<lease>  leases/locks/<name>          who is alive, and what they use
//! damaged/                                     what fsck moved away
//! usage.json                                   what the store took when somebody last looked
//! ```
//!
//! ```
//! # let space = tempfile::tempdir()?;
//! use kiln_store::Store;
//!
//! let store = Store::open(space.path().join("store"))?;
//! let digest = store.blobs().put_bytes(b"hello")?;
//! assert_eq!(store.blobs().read_bytes(&digest, 100)?, b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod gc;

pub mod fsck;

mod store;
pub use store::{FORMAT, Store};

mod noted;
pub use noted::{Left, Noted, Room};

mod containers;
pub use containers::{
    CONTAINER_RECORD_BYTES_MAX, ContainerEntry, ContainerFacts, ContainerId, ContainerUse, Containers,
    HeldContainer, NewContainer,
};

mod repositories;
pub use repositories::Repository;

mod mount_slots;
pub use mount_slots::{HeldMount, MountSlot, Patience, SHARED_SLOT};

mod cachemounts;
pub use cachemounts::{CacheMount, Sharing};

mod memory;
pub use memory::{MEMORY_BYTES_MAX, Memory, Presence};

mod snapshots;
pub use snapshots::{SnapshotEntry, Snapshots};

mod logs;
pub use logs::{BuildLogs, JournalWriter, LogWriter, Logs};

mod records;
pub use records::{Lookup, RECORD_BLOBS_MAX, RECORD_BYTES_MAX, RecordDamage, RecordEntry, Records};

mod record_format;
pub use record_format::{DamageReason, Record};

mod names;
pub use names::{INDEX_BYTES_MAX, NamedImage, Names, NamesEdit};

mod partial;
pub use partial::{Partial, PartialBlob};

mod blobs;
pub use blobs::{BlobWriter, Blobs, HashedBlobWriter};

mod scratch;
pub use scratch::{Leftovers, Scratch};

mod usage;
pub use usage::Bytes;

mod remove;

mod flights;
pub use flights::{Flight, Turn};

mod leases;

mod lock;
pub use lock::LockGuard;

pub mod disk;

mod error;
pub use error::{PLAIN_NAME_BYTES_MAX, Result, StoreError};
