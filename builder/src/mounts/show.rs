//! What mounts there are, and how one goes.

use std::os::unix::fs::MetadataExt;

use kiln_store::{HeldMount, MountSlot, Patience};

use super::MountsError;
use crate::workshop::Workshop;

/// Bytes of a block as `stat` counts them.
const BLOCK_BYTES: u64 = 512;

/// One directory of a mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountRow {
    /// The directory, and who uses it.
    pub slot: MountSlot,
    /// Bytes that it takes on the disk.
    pub disk_bytes: u64,
    /// How many files it has, directories left aside.
    pub files: u64,
}

/// Returns all directories of all mounts, by id. What goes while it is counted is not counted.
///
/// # Errors
/// What the store says.
pub fn list(workshop: &Workshop) -> Result<Vec<MountRow>, MountsError> {
    Ok(workshop.store.mount_slots()?.into_iter().map(count).collect())
}

/// Returns the store's name of the mount that the Dockerfile calls `id`: behind a namespace, which mostly is empty.
///
/// # Errors
/// When there is none.
pub fn find(workshop: &Workshop, id: &str) -> Result<String, MountsError> {
    let slots = workshop.store.mount_slots()?;
    let without_namespace = format!("/{id}");
    let candidates = [without_namespace.as_str(), id];
    let found = candidates.into_iter().find(|name| slots.iter().any(|slot| slot.id == **name));
    found.map(str::to_owned).ok_or_else(|| MountsError::Missing { id: without_namespace.clone() })
}

fn count(slot: MountSlot) -> MountRow {
    let (mut disk_bytes, mut files) = (0, 0);
    let mut linked = std::collections::HashSet::new();
    for entry in walkdir::WalkDir::new(&slot.path).into_iter().flatten() {
        // Builds that use the mount go on.
        let Ok(found) = entry.metadata() else { continue };
        files += u64::from(!found.is_dir());
        if found.is_dir() || found.nlink() == 1 || linked.insert((found.dev(), found.ino())) {
            disk_bytes += found.blocks() * BLOCK_BYTES;
        }
    }
    MountRow { slot, disk_bytes, files }
}

/// Removes all directories of the mount `id`, and returns how many went.
///
/// # Errors
/// When there is none, one is in use, or something cannot be removed. Those before it are gone then.
pub fn remove(workshop: &Workshop, id: &str, patience: Patience) -> Result<usize, MountsError> {
    let slots: Vec<u32> =
        workshop.store.mount_slots()?.iter().filter(|slot| slot.id == id).map(|slot| slot.slot).collect();
    if slots.is_empty() {
        return Err(MountsError::Missing { id: id.to_owned() });
    }
    for slot in &slots {
        hold_slot(workshop, id, *slot, patience)?.remove()?;
    }
    Ok(slots.len())
}

/// Keeps all others away from a directory.
pub(super) fn hold_slot(
    workshop: &Workshop,
    id: &str,
    slot: u32,
    patience: Patience,
) -> Result<HeldMount, MountsError> {
    if let Some(held) = workshop.store.hold_mount(id, slot, patience)? {
        return Ok(held);
    }
    let slots = workshop.store.mount_slots()?.into_iter();
    let users = slots.filter(|found| found.id == id && found.slot == slot).flat_map(|found| found.users);
    Err(MountsError::InUse { id: id.to_owned(), users: users.collect() })
}
