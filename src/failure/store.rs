//! The store: its disk, its locks, damage, cache mounts.

use std::error::Error;
use std::io;

use kiln_builder::catalog::CatalogError;
use kiln_builder::mounts::MountsError;
use kiln_builder::upkeep::StoreError;

use super::unboxed;

/// Returns what to do about something that the store cannot keep or give.
pub(super) fn hint(error: &(dyn Error + 'static)) -> Option<String> {
    let of_disk = error.downcast_ref().and_then(hint_of_disk);
    let of_mounts = || error.downcast_ref().and_then(hint_of_mounts);
    of_disk.or_else(|| hint_of_content(error)).or_else(of_mounts)
}

fn hint_of_disk(error: &io::Error) -> Option<String> {
    let hint = match error.kind() {
        io::ErrorKind::StorageFull => {
            "the disk is full; nothing half-written is left. `kiln prune` makes room, `--store DIR` or KILN_HOME can name a larger one"
        }
        io::ErrorKind::QuotaExceeded => "your quota on this disk is used up; nothing half-written is left",
        io::ErrorKind::ReadOnlyFilesystem => {
            "`--store DIR` or KILN_HOME can name a place that can be written"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

fn hint_of_content(error: &(dyn Error + 'static)) -> Option<String> {
    let of_catalog = match unboxed(error) {
        Some(CatalogError::Store(error)) => Some(error),
        _ => None,
    };
    let error: &StoreError = error.downcast_ref().or(of_catalog)?;
    if matches!(error, StoreError::NoLocks { .. }) {
        let hint = "`--store DIR` or KILN_HOME can name a place on a local disk; for NFS, the mount option `nolock` \
            or `local_lock=flock` is enough where a single machine uses the store";
        return Some(hint.to_owned());
    }
    let is_damage = matches!(
        error,
        StoreError::DocumentDamaged { .. } | StoreError::Expand { .. } | StoreError::WrongDigest { .. }
    );
    is_damage.then(|| "`kiln fsck --repair` moves away what is damaged, and says what to do".to_owned())
}

fn hint_of_mounts(error: &MountsError) -> Option<String> {
    let hint = match error {
        MountsError::Missing { .. } => "`kiln cache mounts ls` lists those that there are",
        MountsError::InUse { .. } => {
            "try again when that build has ended; `export` and `rm` wait for it with `--wait`"
        }
        MountsError::AlreadyHere { .. } => "`--replace` puts the other one in its place",
        _ => return None,
    };
    Some(hint.to_owned())
}
