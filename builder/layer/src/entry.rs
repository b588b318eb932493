//! What one entry of a tree is: [`Metadata`] and a [`Kind`].
//!
//! Sockets have no kind: they never enter a layer. Unaware of names and of the tree around.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::content::Content;

/// One entry: what it is and what is said about it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Mode, owner, time and extended attributes.
    pub metadata: Metadata,
    /// What it is.
    pub kind: Kind,
}

/// Everything an entry has besides its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Permission bits with set-id and sticky bits, never more than `0o7777`. Symlinks have `0o777`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of the last change of the content.
    pub mtime: Timestamp,
    /// Extended attributes that belong in a layer.
    pub xattrs: Xattrs,
}

/// A point in time, in seconds and nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Timestamp {
    /// Whole seconds; negative before 1970.
    pub seconds: i64,
    /// Nanoseconds after those, below 1,000,000,000.
    pub nanoseconds: u32,
}

/// What an entry is.
#[derive(Debug, Clone)]
pub enum Kind {
    /// A directory; what is in it are entries of their own.
    Directory,
    /// A regular file.
    File(Content),
    /// A symbolic link with its target's raw bytes, never interpreted here.
    Symlink(Arc<[u8]>),
    /// A character device.
    CharDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A named pipe.
    Fifo,
}

/// The number of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Device {
    /// The driver's number.
    pub major: u32,
    /// The device's number within the driver.
    pub minor: u32,
}

/// Extended attributes by name. The usual empty set takes no memory of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Xattrs(Option<Arc<BTreeMap<Vec<u8>, Vec<u8>>>>);

impl Timestamp {
    /// Returns the time of whole `seconds`.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self { seconds, nanoseconds: 0 }
    }
}

impl Metadata {
    /// Returns metadata of root's with `mode`, at time zero, without attributes.
    pub fn with_mode(mode: u32) -> Self {
        Self { mode, uid: 0, gid: 0, mtime: Timestamp::default(), xattrs: Xattrs::default() }
    }

    /// Returns what a new directory has of its parent: below a set-group-id directory that bit and the group, as `mkdir(2)` gives
    /// them, else nothing. Permissions are for the caller to add.
    pub fn inherited(parent: Option<&Entry>) -> Self {
        match parent.filter(|parent| parent.has_set_gid()) {
            Some(parent) => Self { gid: parent.metadata.gid, ..Self::with_mode(0o2000) },
            None => Self::with_mode(0),
        }
    }

    /// Returns what a directory has that nothing describes: 0755, owned by root.
    pub fn implied_directory() -> Self {
        Self::with_mode(0o755)
    }

    /// Tells whether all but the time is equal.
    pub fn same_but_time(&self, other: &Self) -> bool {
        self.mode == other.mode
            && self.uid == other.uid
            && self.gid == other.gid
            && self.xattrs == other.xattrs
    }
}

impl Xattrs {
    /// Returns the attribute `name`.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.0.as_ref()?.get(name).map(Vec::as_slice)
    }

    /// Sets the attribute `name`.
    pub fn insert(&mut self, name: Vec<u8>, value: Vec<u8>) {
        Arc::make_mut(self.0.get_or_insert_default()).insert(name, value);
    }

    /// Removes the attribute `name` and returns what it was.
    pub fn remove(&mut self, name: &[u8]) -> Option<Vec<u8>> {
        let map = self.0.as_mut()?;
        map.get(name)?;
        let value = Arc::make_mut(map).remove(name);
        if map.is_empty() {
            self.0 = None;
        }
        value
    }

    /// Returns all attributes, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().flat_map(|map| map.iter()).map(|(name, value)| (name.as_slice(), value.as_slice()))
    }

    /// Tells whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl FromIterator<(Vec<u8>, Vec<u8>)> for Xattrs {
    fn from_iter<I: IntoIterator<Item = (Vec<u8>, Vec<u8>)>>(pairs: I) -> Self {
        let map: BTreeMap<_, _> = pairs.into_iter().collect();
        Self((!map.is_empty()).then(|| Arc::new(map)))
    }
}

impl Entry {
    /// Returns a directory.
    pub fn directory(metadata: Metadata) -> Self {
        Self { metadata, kind: Kind::Directory }
    }

    /// Returns the directory that stands where nothing was said: 0755, owned by root.
    pub fn implied_directory() -> Self {
        Self::directory(Metadata::implied_directory())
    }

    /// Returns a regular file.
    pub fn file(metadata: Metadata, content: Content) -> Self {
        Self { metadata, kind: Kind::File(content) }
    }

    /// Tells whether this is a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self.kind, Kind::Directory)
    }

    /// Tells whether this is a directory whose new entries inherit its group.
    pub fn has_set_gid(&self) -> bool {
        self.is_directory() && self.metadata.mode & 0o2000 != 0
    }

    /// Returns the target of a symlink.
    pub fn symlink_target(&self) -> Option<&[u8]> {
        match &self.kind {
            Kind::Symlink(target) => Some(target),
            _ => None,
        }
    }

    /// Returns the content of a regular file.
    pub fn content(&self) -> Option<&Content> {
        match &self.kind {
            Kind::File(content) => Some(content),
            _ => None,
        }
    }

    /// Tells whether both are the same in a layer. Files whose digests are not both known are compared by where their bytes
    /// lie. Times count only when `with_time`.
    pub fn is_same(&self, other: &Self, with_time: WithTime) -> bool {
        let metadata = match with_time {
            WithTime::Yes => self.metadata == other.metadata,
            WithTime::No => self.metadata.same_but_time(&other.metadata),
        };
        metadata && self.kind.is_same(&other.kind)
    }
}

/// Whether times count in a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithTime {
    /// They do.
    Yes,
    /// They do not: the layer will hold a fixed time.
    No,
}

impl Kind {
    /// Tells whether both are the same kind with the same payload.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Directory, Self::Directory) | (Self::Fifo, Self::Fifo) => true,
            (Self::File(left), Self::File(right)) => left.is_same(right),
            (Self::Symlink(left), Self::Symlink(right)) => left == right,
            (Self::CharDevice(left), Self::CharDevice(right))
            | (Self::BlockDevice(left), Self::BlockDevice(right)) => left == right,
            _ => false,
        }
    }

    /// Tells whether this is a device node.
    pub fn is_device(&self) -> bool {
        matches!(self, Self::CharDevice(_) | Self::BlockDevice(_))
    }

    /// Returns a word for messages.
    pub fn noun(&self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::File(_) => "file",
            Self::Symlink(_) => "symlink",
            Self::CharDevice(_) => "character device",
            Self::BlockDevice(_) => "block device",
            Self::Fifo => "fifo",
        }
    }
}
