//! Ownership and devices that the kernel would not grant to a process with a single id, as its sandbox remembers them.
//!
//! | Where | Says |
//! |---|---|
//! | attribute [`OWNER_ATTRIBUTE`] of a file or directory | its owner, where that is not root |
//! | attribute [`DEVICE_ATTRIBUTE`] of an empty file | that it is a device |
//! | record of the sandbox | owner of a symlink or FIFO |
//! | nothing, and the name is new | that it belongs to the user of the step |
//!
//! Unpacked layers carry the same attributes, so that files which are copied up keep their owners.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use kiln_layer::owner::Owner;
use kiln_layer::{ArchivePath, Changes, Device, DirectoryOrigin, Kind, Metadata, Ownership, Tree};
use kiln_sandbox::{DEVICE_ATTRIBUTE, OWNER_ATTRIBUTE, OwnershipRecord};

use crate::layers;
use crate::workshop::Workshop;

/// What was remembered during one step.
pub(super) struct Recorded {
    is_needed: bool,
    links: HashMap<(u64, u64), (u32, u32)>,
    user: Owner,
    directory: Arc<DirectoryOrigin>,
}

impl Recorded {
    pub(super) fn new(
        workshop: &Workshop,
        records: &[OwnershipRecord],
        user: Owner,
        directory: &Arc<DirectoryOrigin>,
    ) -> Self {
        let owner = |record: &OwnershipRecord| (record.owner.uid, record.owner.gid);
        let links = records.iter().map(|record| ((record.device, record.inode), owner(record))).collect();
        let is_needed = layers::ownership(workshop) == Ownership::Recorded;
        Self { is_needed, links, user, directory: Arc::clone(directory) }
    }

    /// Whether what is on disk is not the whole truth.
    pub(super) fn is_needed(&self) -> bool {
        self.is_needed
    }

    /// Returns the metadata that an entry has for the step.
    pub(super) fn metadata(&self, path: &ArchivePath, mut found: Metadata, lower: &Tree) -> Metadata {
        let written = found.xattrs.remove(OWNER_ATTRIBUTE.as_bytes()).and_then(|value| parse_owner(&value));
        let below = lower.get(path);
        (found.uid, found.gid) = match (written, self.link_owner(path), below) {
            (Some(owner), _, _) | (None, Some(owner), _) => owner,
            // What carries attributes and has none belongs to root; the others keep what they had.
            (None, None, Some(below)) if below.content().is_some() || below.is_directory() => (0, 0),
            (None, None, Some(below)) => (below.metadata.uid, below.metadata.gid),
            (None, None, None) => (self.user.uid, self.user.gid),
        };
        found
    }

    /// Turns the files that stand for devices into devices.
    pub(super) fn apply_devices(&self, changes: &mut Changes) {
        if !self.is_needed {
            return;
        }
        let device = |value: &[u8]| {
            let text = std::str::from_utf8(value).ok()?;
            let mut parts = text.split(':');
            let letter = parts.next()?;
            let device = Device { major: parts.next()?.parse().ok()?, minor: parts.next()?.parse().ok()? };
            Some(if letter == "b" { Kind::BlockDevice(device) } else { Kind::CharDevice(device) })
        };
        let found: Vec<_> = changes
            .entries
            .iter()
            .filter_map(|(path, entry)| {
                let kind = device(entry.metadata.xattrs.get(DEVICE_ATTRIBUTE.as_bytes())?)?;
                Some((path.clone(), entry.clone(), kind))
            })
            .collect();
        for (path, mut entry, kind) in found {
            entry.metadata.xattrs.remove(DEVICE_ATTRIBUTE.as_bytes());
            entry.kind = kind;
            changes.entries.insert(path, entry);
        }
    }

    fn link_owner(&self, path: &ArchivePath) -> Option<(u32, u32)> {
        if self.links.is_empty() {
            return None;
        }
        // What is gone since the walk has no record either.
        let metadata = std::fs::symlink_metadata(self.directory.display(path)).ok()?;
        if metadata.is_file() || metadata.is_dir() {
            return None;
        }
        self.links.get(&(metadata.dev(), metadata.ino())).copied()
    }
}

fn parse_owner(value: &[u8]) -> Option<(u32, u32)> {
    let (uid, gid) = std::str::from_utf8(value).ok()?.split_once(':')?;
    Some((uid.parse().ok()?, gid.parse().ok()?))
}
