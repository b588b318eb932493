//! [`Tree`]: paths → entries, in order, in memory, with contents by reference.
//!
//! Names that are hard links of each other share one inode. A tree holds about 200 bytes an entry besides its name, so a
//! million files stay far below a GiB. A tree is *whole* (every directory has an entry) or *partial* (part of a [`Changes`]:
//! a missing parent means "as it is below"). Unaware of file systems and of tar.

mod changes;
mod compare;
mod merge;
mod resolve;

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

pub use changes::{Changes, diff};
pub use compare::{Aspect, Difference};
pub(crate) use resolve::resolve_by;
pub use resolve::{Resolution, ResolveError, SYMLINKS_MAX};

use crate::content_digest::ContentDigest;
use crate::entry::{Entry, Kind, Metadata, Timestamp, WithTime};
use crate::path::ArchivePath;

/// The number of an inode within one tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InodeId(u32);

/// An ordered map from paths to entries; names that are hard links share an entry.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    names: BTreeMap<ArchivePath, InodeId>,
    inodes: Vec<Inode>,
}

#[derive(Debug, Clone)]
struct Inode {
    entry: Entry,
    links: u32,
}

/// Why a tree refused a change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// A hard link to a name that is not there.
    #[error("hard link `{path}` names `{target}`, which does not exist")]
    NoLinkTarget {
        /// The new name.
        path: ArchivePath,
        /// The name that is missing.
        target: ArchivePath,
    },
    /// A hard link to a directory.
    #[error("hard link `{path}` names `{target}`, which is a directory")]
    LinkToDirectory {
        /// The new name.
        path: ArchivePath,
        /// The directory.
        target: ArchivePath,
    },
}

impl Tree {
    /// Returns a tree without entries, not even the root's.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns how many names there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Tells whether there are no names.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Returns the entry at `path`, without following anything.
    pub fn get(&self, path: &ArchivePath) -> Option<&Entry> {
        self.inode(path).map(|inode| self.entry(inode))
    }

    /// Returns the inode at `path`.
    pub fn inode(&self, path: &ArchivePath) -> Option<InodeId> {
        self.names.get(path).copied()
    }

    /// Returns the entry of an inode of this tree.
    pub fn entry(&self, inode: InodeId) -> &Entry {
        &self.inodes[inode.0 as usize].entry
    }

    /// Returns how many names an inode has.
    pub fn link_count(&self, inode: InodeId) -> u32 {
        self.inodes[inode.0 as usize].links
    }

    /// Records the digest of a file's content once it was read.
    pub fn set_digest(&mut self, inode: InodeId, digest: ContentDigest) {
        if let Kind::File(content) = &mut self.inodes[inode.0 as usize].entry.kind {
            content.digest = Some(digest);
        }
    }

    /// Sets the time of an inode.
    pub fn set_time(&mut self, inode: InodeId, time: Timestamp) {
        self.inodes[inode.0 as usize].entry.metadata.mtime = time;
    }

    /// Takes files that last changed at `since_ns` (nanoseconds since 1970) or later for changed since: a change in the same tick of
    /// the clock would not show in their identity.
    pub fn distrust_since(&mut self, since_ns: i64) {
        for inode in &mut self.inodes {
            if let Kind::File(content) = &mut inode.entry.kind
                && let Some(identity) = &mut content.identity
                && identity.ctime_ns >= since_ns
            {
                Arc::make_mut(identity).ctime_ns = i64::MIN;
            }
        }
    }

    /// Gives an inode what the header of a further name says: extracting a hard link sets owner, mode and time of the file, and
    /// adds attributes. A symlink has no mode.
    pub(crate) fn dress(&mut self, inode: InodeId, metadata: Metadata) {
        let Entry { metadata: current, kind } = &mut self.inodes[inode.0 as usize].entry;
        let mode = if matches!(kind, Kind::Symlink(_)) { current.mode } else { metadata.mode };
        let xattrs = if metadata.xattrs.is_empty() { current.xattrs.clone() } else { metadata.xattrs };
        *current = Metadata { mode, xattrs, ..metadata };
    }

    /// Gives the name `path` a new inode with `entry`. Other names of the inode it had keep that; what was below `path` goes
    /// when `entry` is not a directory.
    pub fn insert(&mut self, path: ArchivePath, entry: Entry) -> InodeId {
        if !entry.is_directory() {
            self.remove_below(&path);
        }
        let inode = self.add_inode(entry);
        self.set_name(path, inode);
        inode
    }

    /// Gives the new name `path` an inode. For makers of trees that know that nothing lies below it.
    pub(crate) fn append(&mut self, path: ArchivePath, entry: Entry) -> InodeId {
        let inode = self.add_inode(entry);
        self.set_name(path, inode);
        inode
    }

    /// Makes a tree of names in order, each with a new inode or the one that an earlier name (by its index) has.
    /// `count` says how many.
    pub(crate) fn from_sorted(
        items: impl Iterator<Item = (ArchivePath, Result<Entry, usize>)>,
        count: usize,
    ) -> Self {
        let mut inodes: Vec<Inode> = Vec::with_capacity(count);
        let mut names: Vec<(ArchivePath, InodeId)> = Vec::with_capacity(count);
        for (path, item) in items {
            let inode = match item {
                Ok(entry) => {
                    inodes.push(Inode { entry, links: 1 });
                    InodeId(u32::try_from(inodes.len() - 1).expect("a tree has fewer than 2^32 entries"))
                }
                Err(earlier) => {
                    let inode = names[earlier].1;
                    inodes[inode.0 as usize].links += 1;
                    inode
                }
            };
            names.push((path, inode));
        }
        Self { names: names.into_iter().collect(), inodes }
    }

    /// Adds names in order, none of which is there; otherwise as [`Self::from_sorted`].
    pub(crate) fn append_sorted(&mut self, items: Vec<(ArchivePath, Result<Entry, usize>)>) {
        let count = items.len();
        let mut part = Self::from_sorted(items.into_iter(), count);
        let shift = u32::try_from(self.inodes.len()).expect("a tree has fewer than 2^32 entries");
        part.names.values_mut().for_each(|inode| inode.0 += shift);
        self.inodes.append(&mut part.inodes);
        self.names.append(&mut part.names);
    }

    /// Makes `path` another name of what is at `target`.
    ///
    /// # Errors
    /// When `target` is missing or a directory.
    pub fn link(&mut self, path: ArchivePath, target: &ArchivePath) -> Result<InodeId, TreeError> {
        let Some(inode) = self.inode(target) else {
            return Err(TreeError::NoLinkTarget { path, target: target.clone() });
        };
        if self.entry(inode).is_directory() {
            return Err(TreeError::LinkToDirectory { path, target: target.clone() });
        }
        if &path != target {
            self.remove_below(&path);
            self.link_inode(path, inode);
        }
        Ok(inode)
    }

    /// Makes `path` another name of `inode`.
    pub(crate) fn link_inode(&mut self, path: ArchivePath, inode: InodeId) {
        self.inodes[inode.0 as usize].links += 1;
        self.set_name(path, inode);
    }

    /// Removes `path` and everything below it; tells whether something was there.
    pub fn remove(&mut self, path: &ArchivePath) -> bool {
        let below = self.remove_below(path);
        match self.names.remove(path) {
            Some(inode) => {
                self.inodes[inode.0 as usize].links -= 1;
                true
            }
            None => below,
        }
    }

    /// Removes everything below `path`, but not `path`; tells whether something was there.
    pub fn remove_below(&mut self, path: &ArchivePath) -> bool {
        if self.below(path).next().is_none() {
            return false;
        }
        let names: Vec<ArchivePath> = self.below(path).map(|(name, _)| name.clone()).collect();
        for name in &names {
            if let Some(inode) = self.names.remove(name) {
                self.inodes[inode.0 as usize].links -= 1;
            }
        }
        !names.is_empty()
    }

    /// Returns all names with their entries, parents first.
    pub fn iter(&self) -> impl Iterator<Item = (&ArchivePath, &Entry)> {
        self.names.iter().map(|(path, inode)| (path, self.entry(*inode)))
    }

    /// Returns all names with their inodes, parents first.
    pub fn names(&self) -> impl Iterator<Item = (&ArchivePath, InodeId)> {
        self.names.iter().map(|(path, inode)| (path, *inode))
    }

    /// Returns everything below `path`, parents first, `path` itself not included.
    pub fn below<'a>(&'a self, path: &ArchivePath) -> impl Iterator<Item = (&'a ArchivePath, &'a Entry)> {
        self.names_below(path).map(|(name, inode)| (name, self.entry(inode)))
    }

    /// Returns the names below `path` with their inodes, parents first.
    pub fn names_below<'a>(
        &'a self,
        path: &ArchivePath,
    ) -> impl Iterator<Item = (&'a ArchivePath, InodeId)> + use<'a> {
        let root = path.clone();
        self.names
            .range((Bound::Excluded(path.clone()), Bound::Unbounded))
            .take_while(move |(name, _)| name.is_within(&root))
            .map(|(name, inode)| (name, *inode))
    }

    /// Returns `path`, when it is there, and everything below it.
    pub fn within<'a>(&'a self, path: &ArchivePath) -> impl Iterator<Item = (&'a ArchivePath, &'a Entry)> {
        self.names_within(path).map(|(name, inode)| (name, self.entry(inode)))
    }

    /// Returns the name `path`, when it is there, and the names below it, with their inodes.
    pub fn names_within<'a>(
        &'a self,
        path: &ArchivePath,
    ) -> impl Iterator<Item = (&'a ArchivePath, InodeId)> + use<'a> {
        let own = self.names.get_key_value(path).map(|(name, inode)| (name, *inode));
        own.into_iter().chain(self.names_below(path))
    }

    /// Returns what lies directly in the directory `path`.
    pub fn children<'a>(&'a self, path: &ArchivePath) -> impl Iterator<Item = (&'a ArchivePath, &'a Entry)> {
        let depth = path.components().count() + 1;
        self.below(path).filter(move |(name, _)| name.components().count() == depth)
    }

    /// Returns, for every name but the first of its inode, that first name.
    pub fn hard_links(&self) -> HashMap<&ArchivePath, &ArchivePath> {
        let mut first: HashMap<InodeId, &ArchivePath> = HashMap::new();
        let mut links = HashMap::new();
        for (path, inode) in &self.names {
            if self.link_count(*inode) > 1 {
                match first.get(inode) {
                    Some(target) => {
                        links.insert(path, *target);
                    }
                    None => {
                        first.insert(*inode, path);
                    }
                }
            }
        }
        links
    }

    /// Tells whether both trees have the same names, entries and groups of hard links.
    pub fn is_same(&self, other: &Self, with_time: WithTime) -> bool {
        self.len() == other.len()
            && self.hard_links() == other.hard_links()
            && self.iter().zip(other.iter()).all(|((left_path, left), (right_path, right))| {
                left_path == right_path && left.is_same(right, with_time)
            })
    }

    fn add_inode(&mut self, entry: Entry) -> InodeId {
        let inode = InodeId(u32::try_from(self.inodes.len()).expect("a tree has fewer than 2^32 entries"));
        self.inodes.push(Inode { entry, links: 1 });
        inode
    }

    fn set_name(&mut self, path: ArchivePath, inode: InodeId) {
        if let Some(old) = self.names.insert(path, inode) {
            self.inodes[old.0 as usize].links -= 1;
        }
    }
}

impl FromIterator<(ArchivePath, Entry)> for Tree {
    fn from_iter<I: IntoIterator<Item = (ArchivePath, Entry)>>(entries: I) -> Self {
        let mut tree = Self::new();
        for (path, entry) in entries {
            tree.insert(path, entry);
        }
        tree
    }
}
