//! [`Changes`]: what one layer does to a tree, before it is written.

use std::collections::{BTreeMap, BTreeSet};

use kiln_oci::DiffId;

use crate::entry::{Entry, WithTime};
use crate::listing::{Item, Listing};
use crate::path::ArchivePath;
use crate::tree::{InodeId, Tree};

/// What a layer contains: entries to set and names to remove.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// New and changed entries; a partial tree. A parent that is missing here is as it was, or an implied directory.
    pub entries: Tree,
    /// Names that go, with everything below them. Removed before `entries` are set.
    pub deletions: BTreeSet<ArchivePath>,
}

impl Changes {
    /// Returns no changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.deletions.is_empty()
    }

    /// Returns the deletions that need a whiteout: those that no entry of the same name makes needless.
    pub fn whiteouts(&self) -> impl Iterator<Item = &ArchivePath> {
        self.deletions.iter().filter(|path| self.entries.get(path).is_none())
    }

    /// Adds the directories on the way to every change, as they are in `before`; the root is left out.
    ///
    /// A layer that lists them means the same over any base, and its unpacked form needs nothing from below. BuildKit's layers
    /// list them too.
    pub fn record_parents(&mut self, before: &Tree) {
        let mut parents: BTreeSet<ArchivePath> = BTreeSet::new();
        let mut known: Option<ArchivePath> = None;
        for path in self.entries.iter().map(|(path, _)| path).chain(&self.deletions) {
            // What lies in one directory follows each other.
            if known.as_ref().is_some_and(|directory| path.is_child_of(directory)) {
                continue;
            }
            known = path.parent();
            // Upwards, until one that was met before: its own parents were, too.
            let mut next = path.parent();
            while let Some(parent) = next.filter(|path| !path.is_root() && !parents.contains(path)) {
                next = parent.parent();
                parents.insert(parent);
            }
        }
        for path in parents {
            if self.entries.get(&path).is_some() {
                continue;
            }
            if let Some(entry) = before.get(&path).filter(|entry| entry.is_directory()) {
                self.entries.insert(path, entry.clone());
            }
        }
    }

    /// Returns the listing of the layer that holds these changes and has this diff id.
    pub fn listing(&self, diff_id: DiffId) -> Listing {
        let mut items: Vec<(ArchivePath, Item)> =
            self.whiteouts().map(|path| (path.clone(), Item::Whiteout)).collect();
        let links = self.entries.hard_links();
        for (path, entry) in self.entries.iter() {
            let item = match links.get(path) {
                Some(target) => Item::HardLink { target: (*target).clone() },
                None => Item::Entry(entry.clone()),
            };
            items.push((path.clone(), item));
        }
        let mut listing = Listing::sorted(diff_id, items);
        listing.locate_contents();
        listing
    }
}

impl Tree {
    /// Removes and sets what `changes` say. A non-directory replaces a directory with all that is below it; a directory over
    /// a directory only replaces its metadata; a parent that exists nowhere becomes an implied directory.
    pub fn apply(&mut self, changes: &Changes) {
        for path in &changes.deletions {
            self.remove(path);
        }
        let mut inodes: BTreeMap<InodeId, InodeId> = BTreeMap::new();
        for (path, inode) in changes.entries.names() {
            self.imply_parents(path);
            if let Some(existing) = inodes.get(&inode).filter(|id| self.link_count(**id) > 0) {
                let existing = *existing;
                self.remove_below(path);
                self.link_inode(path.clone(), existing);
            } else {
                let id = self.insert(path.clone(), changes.entries.entry(inode).clone());
                inodes.insert(inode, id);
            }
        }
    }

    /// Puts an implied directory wherever an ancestor of `path` is missing or is not a directory.
    pub fn imply_parents(&mut self, path: &ArchivePath) {
        let Some(parent) = path.parent() else { return };
        if self.get(&parent).is_some_and(Entry::is_directory) {
            return;
        }
        for ancestor in path.ancestors() {
            if !self.get(&ancestor).is_some_and(Entry::is_directory) {
                self.insert(ancestor, Entry::implied_directory());
            }
        }
    }
}

/// Returns the changes that turn `before` into `after`. Entries that are the same are not recorded, directories included;
/// a group of hard links is recorded whole when any of it changed.
pub fn diff(before: &Tree, after: &Tree, with_time: WithTime) -> Changes {
    let mut changes = Changes { entries: Tree::new(), deletions: deletions(before, after) };
    let before_links = before.hard_links();
    let after_links = after.hard_links();
    let mut groups: BTreeSet<InodeId> = BTreeSet::new();
    for (path, inode) in after.names() {
        let entry = after.entry(inode);
        let same = before.get(path).is_some_and(|old| old.is_same(entry, with_time))
            && before_links.get(path) == after_links.get(path);
        if !same {
            groups.insert(inode);
        }
    }
    let mut written: BTreeMap<InodeId, ArchivePath> = BTreeMap::new();
    for (path, inode) in after.names().filter(|(_, inode)| groups.contains(inode)) {
        if let Some(first) = written.get(&inode) {
            let linked = changes.entries.link(path.clone(), first);
            assert!(linked.is_ok(), "the first name of a group was just written");
        } else {
            changes.entries.insert(path.clone(), after.entry(inode).clone());
            written.insert(inode, path.clone());
        }
    }
    changes
}

/// The topmost names of `before` that `after` lacks and that no non-directory of `after` hides.
fn deletions(before: &Tree, after: &Tree) -> BTreeSet<ArchivePath> {
    let mut gone = BTreeSet::new();
    let mut skip: Option<ArchivePath> = None;
    for (path, _) in before.iter() {
        if skip.as_ref().is_some_and(|top| path.is_within(top)) {
            continue;
        }
        match after.get(path) {
            Some(entry) if entry.is_directory() => {}
            Some(_) => skip = Some(path.clone()),
            None => {
                gone.insert(path.clone());
                skip = Some(path.clone());
            }
        }
    }
    gone
}
