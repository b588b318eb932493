//! The things in a store that can go, and what becomes of each.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::SystemTime;

use kiln_oci::{DiffId, Digest};

use crate::cachemounts::CACHE_MOUNTS;
use crate::containers::{self, ContainerId};
use crate::fsck::DAMAGED;
use crate::logs::LOGS;
use crate::memory;
use crate::partial::PARTIAL;
use crate::repositories;
use crate::scratch::SCRATCH;
use crate::store::Store;
use crate::usage::Bytes;

/// A kind of thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A blob. It is never asked for: it goes when nothing needs it.
    Blob,
    /// An image without a name.
    Image,
    /// A record.
    Record,
    /// An unpacked layer.
    Snapshot,
    /// What was fetched of a git repository.
    Repository,
    /// A directory of `RUN --mount=type=cache`.
    CacheMount,
    /// The logs of a build.
    Log,
    /// A blob half fetched.
    Partial,
    /// What a dead process left behind. It always goes.
    Scratch,
    /// What fsck moved away.
    Damaged,
    /// A working container.
    Container,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 11] = [
        Self::Blob,
        Self::Image,
        Self::Record,
        Self::Snapshot,
        Self::Repository,
        Self::CacheMount,
        Self::Log,
        Self::Partial,
        Self::Scratch,
        Self::Damaged,
        Self::Container,
    ];

    /// Whether nobody can make such a thing again, so that it goes only when its kind is named.
    pub fn is_irreplaceable(self) -> bool {
        self == Self::Container
    }
}

/// A thing in the store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Item {
    /// A blob.
    Blob(Digest),
    /// An image without a name, by its manifest or index; its blobs are things of their own.
    Image(Digest),
    /// A record.
    Record {
        /// Its kind.
        kind: String,
        /// Its key.
        key: Digest,
    },
    /// An unpacked layer.
    Snapshot(DiffId),
    /// A repository, by the hash of its name.
    Repository(Digest),
    /// A directory of a cache mount.
    CacheMount {
        /// The mount's id.
        id: String,
        /// Which of its directories.
        slot: u32,
    },
    /// The logs of a build.
    Log(String),
    /// A blob half fetched.
    Partial(OsString),
    /// Something in scratch.
    Scratch(OsString),
    /// Something in `damaged`.
    Damaged(OsString),
    /// A working container.
    Container(ContainerId),
}

impl Item {
    /// Returns its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Blob(_) => Kind::Blob,
            Self::Image(_) => Kind::Image,
            Self::Record { .. } => Kind::Record,
            Self::Snapshot(_) => Kind::Snapshot,
            Self::Repository(_) => Kind::Repository,
            Self::CacheMount { .. } => Kind::CacheMount,
            Self::Log(_) => Kind::Log,
            Self::Partial(_) => Kind::Partial,
            Self::Scratch(_) => Kind::Scratch,
            Self::Damaged(_) => Kind::Damaged,
            Self::Container(_) => Kind::Container,
        }
    }

    /// Returns where it is.
    pub(crate) fn paths(&self, store: &Store) -> Vec<PathBuf> {
        let below = |folder: &str| store.path().join(folder);
        match self {
            Self::Blob(digest) => vec![store.blobs().path(digest)],
            Self::Image(_) => Vec::new(),
            Self::Record { kind, key } => vec![store.records().place(kind, key)],
            Self::Snapshot(diff_id) => {
                vec![store.snapshots().path(diff_id), store.snapshots().note(diff_id)]
            }
            Self::Repository(name) => vec![repositories::path_of(store.session(), name)],
            Self::CacheMount { id, slot } => {
                let folder = below(CACHE_MOUNTS).join(Digest::of(id.as_bytes()).hex());
                memory::paths_of(&folder.join(slot.to_string())).into()
            }
            Self::Log(build) => vec![below(LOGS).join(build)],
            Self::Partial(name) => vec![below(PARTIAL).join(name)],
            Self::Scratch(name) => vec![below(SCRATCH).join(name)],
            Self::Damaged(name) => vec![below(DAMAGED).join(name)],
            Self::Container(id) => vec![containers::path_of(store.session(), id)],
        }
    }
}

/// What becomes of a thing, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The thing.
    pub item: Item,
    /// What it takes.
    pub bytes: Bytes,
    /// When it was last used, to within a minute; unknown of blobs.
    pub last_used: Option<SystemTime>,
    /// What becomes of it.
    pub fate: Fate,
}

/// What becomes of a thing, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It goes: nothing refers to it.
    Unneeded,
    /// It goes: it is a record that can never be a hit again.
    Useless,
    /// It goes: it was unused longest among what was asked for.
    Unused,
    /// It stays: a process that is alive uses it.
    InUse,
    /// It stays: an image needs it, or a container of one. The image's name, if it has one.
    Image(Option<String>),
    /// It stays: records that stay name it.
    Recorded,
    /// It stays: it was used lately.
    Recent,
    /// It stays: what is left fits.
    Fits,
    /// It stays: nobody asked for things of its kind.
    NotAsked,
}

impl Fate {
    /// Whether the thing goes.
    pub fn goes(&self) -> bool {
        matches!(self, Self::Unneeded | Self::Useless | Self::Unused)
    }
}
