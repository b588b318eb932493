//! Ownership and devices that the kernel would not grant to a process with a single id, or with too few, as its sandbox remembers
//! them.
//!
//! | Where | Says |
//! |---|---|
//! | attribute [`OWNER_ATTRIBUTE`] of a file or directory | its owner, where that is not root |
//! | attribute [`DEVICE_ATTRIBUTE`] of an empty file | that it is a device |
//! | record of the sandbox | owner of a symlink or FIFO |
//! | nothing, and it is a symlink or FIFO that an overlay had there before | that it belongs to whom it belonged |
//! | nothing else | that it belongs to root |
//!
//! Unpacked layers carry the same attributes, so that files which are copied up keep their owners; what carries none is told
//! to the sandbox with the step.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use kiln_layer::{
    ArchivePath, Changes, Device, Devices, DirectoryOrigin, Entry, Kind, Metadata, Ownership, Tree, WithTime,
};
use kiln_sandbox::{DEVICE_ATTRIBUTE, OWNER_ATTRIBUTE, Owner, OwnershipRecord, Owning, Remembered};

use crate::layers;
use crate::recording::may_record;
use crate::upper::parse_owner;
use crate::workshop::Workshop;

/// What was remembered during one step.
pub(crate) struct Recorded {
    is_needed: bool,
    has_devices: bool,
    is_overlay: bool,
    links: HashMap<(u64, u64), (u32, u32)>,
    directory: Arc<DirectoryOrigin>,
}

/// Returns what the sandbox must be told of owners.
pub(crate) fn remembered(workshop: &Workshop, tree: &Tree) -> Remembered {
    let owners = match layers::ownership(workshop) {
        Ownership::Recorded => Owning::Remember,
        Ownership::Real if may_record(workshop) => Owning::SetOrEnd,
        Ownership::Real => Owning::Set,
    };
    let mut remembered = Remembered { owners, ..Remembered::default() };
    if owners != Owning::Remember {
        return remembered;
    }
    for (path, entry) in tree.iter() {
        let owner = Owner { uid: entry.metadata.uid, gid: entry.metadata.gid };
        if is_link_like(&entry.kind) && owner != Owner::default() {
            remembered.links.push((path.as_path().as_os_str().to_owned(), owner));
        }
        remembered.has_any |= owner != Owner::default() || entry.kind.is_device();
    }
    remembered
}

/// Whether a file of this kind carries no attributes.
fn is_link_like(kind: &Kind) -> bool {
    matches!(kind, Kind::Symlink(_) | Kind::Fifo)
}

impl Recorded {
    pub(crate) fn new(
        workshop: &Workshop,
        records: &[OwnershipRecord],
        directory: &Arc<DirectoryOrigin>,
        is_overlay: bool,
    ) -> Self {
        let owner = |record: &OwnershipRecord| (record.owner.uid, record.owner.gid);
        let links = records.iter().map(|record| ((record.device, record.inode), owner(record))).collect();
        let is_needed = layers::ownership(workshop) == Ownership::Recorded;
        let has_devices = layers::devices(workshop) == Devices::Record;
        Self { is_needed, has_devices, is_overlay, links, directory: Arc::clone(directory) }
    }

    /// Whether what is on disk is not the whole truth.
    pub(crate) fn is_needed(&self) -> bool {
        self.is_needed
    }

    /// Returns the metadata that an entry has for the step.
    pub(crate) fn metadata(&self, path: &ArchivePath, mut found: Metadata, lower: &Tree) -> Metadata {
        let written = found.xattrs.remove(OWNER_ATTRIBUTE.as_bytes()).and_then(|value| parse_owner(&value));
        let owner = written.or_else(|| self.link_owner(path, lower)).unwrap_or_default();
        (found.uid, found.gid) = owner;
        found
    }

    /// Turns the files that stand for devices into devices, and drops those that `lower` has already: until now they were files
    /// to whoever compared them.
    pub(crate) fn apply_devices(&self, changes: &mut Changes, lower: &Tree, with_time: WithTime) {
        if !self.has_devices {
            return;
        }
        let device = |value: Vec<u8>| {
            let text = std::str::from_utf8(&value).ok()?;
            let mut parts = text.split(':');
            let letter = parts.next()?;
            let device = Device { major: parts.next()?.parse().ok()?, minor: parts.next()?.parse().ok()? };
            Some(if letter == "b" { Kind::BlockDevice(device) } else { Kind::CharDevice(device) })
        };
        let mut found: BTreeMap<_, Vec<ArchivePath>> = BTreeMap::new();
        for (path, inode) in changes.entries.names() {
            if changes.entries.entry(inode).metadata.xattrs.get(DEVICE_ATTRIBUTE.as_bytes()).is_some() {
                found.entry(inode).or_default().push(path.clone());
            }
        }
        for (inode, names) in found {
            let mut entry = changes.entries.entry(inode).clone();
            let Some(kind) = entry.metadata.xattrs.remove(DEVICE_ATTRIBUTE.as_bytes()).and_then(device)
            else {
                continue;
            };
            entry.kind = kind;
            let [first, others @ ..] = names.as_slice() else { continue };
            if is_as_below(lower, &names, &entry, with_time) {
                for name in &names {
                    changes.entries.remove(name);
                }
                continue;
            }
            changes.entries.insert(first.clone(), entry);
            for other in others {
                changes.entries.link(other.clone(), first).expect("the first name was just inserted");
            }
        }
    }

    /// Returns the owner of what carries no attributes.
    fn link_owner(&self, path: &ArchivePath, lower: &Tree) -> Option<(u32, u32)> {
        // In a copy there are records of all: without one it is root's, moved there perhaps.
        let below = lower.get(path).filter(|below| self.is_overlay && is_link_like(&below.kind));
        if self.links.is_empty() && below.is_none() {
            return None;
        }
        // What is gone since the walk has no record either.
        let metadata = std::fs::symlink_metadata(self.directory.display(path)).ok()?;
        if metadata.is_file() || metadata.is_dir() {
            return None;
        }
        let recorded = self.links.get(&(metadata.dev(), metadata.ino())).copied();
        recorded.or_else(|| below.map(|below| (below.metadata.uid, below.metadata.gid)))
    }
}

/// Whether all names of a device lead to the same device below, and to one.
fn is_as_below(lower: &Tree, names: &[ArchivePath], device: &Entry, with_time: WithTime) -> bool {
    let inodes: BTreeSet<_> = names.iter().map(|name| lower.inode(name)).collect();
    let [Some(inode)] = inodes.into_iter().collect::<Vec<_>>()[..] else { return false };
    // One of several names that was copied up alone is no change on overlays either.
    let is_group = names.len() == 1 || lower.link_count(inode) as usize == names.len();
    is_group && lower.entry(inode).is_same(device, with_time)
}
