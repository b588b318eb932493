//! The bound of the store: after a build somebody looks whether what may go has grown too large, and takes away what was unused
//! longest.
//!
//! To look takes long. [`may_exceed`] takes microseconds: it compares the room on the disk with that of the last look. Only when
//! so much is gone that the bound may be passed, or the last look is old, [`keep_within`] is worth its time.

use std::time::Duration;

use kiln_store::{Noted, Room, Store};

use super::{Fate, Kind, Policy, Report, prune};
use crate::catalog::CatalogError;

/// A look is good for so long, since others may have made room on the disk meanwhile.
const LOOK_AGE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Whoever has built without a name knows the digest, and may still want the image.
const IMAGE_AGE_MIN: Duration = Duration::from_secs(24 * 3600);
/// Where the bound is passed, a tenth more goes, so that the next build does not pass it again.
const SLACK: u64 = 10;

/// How much what may go can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// As much as there is.
    None,
    /// So many bytes.
    Bytes(u64),
    /// So many hundredths of the disk.
    Percent(u8),
}

impl Bound {
    /// Returns the bound in bytes on a disk.
    pub fn bytes(self, room: Room) -> Option<u64> {
        match self {
            Self::None => None,
            Self::Bytes(bytes) => Some(bytes),
            Self::Percent(percent) => Some(room.total_bytes / 100 * u64::from(percent)),
        }
    }
}

/// Returns the bound in bytes if the store may have passed it; `now` is in seconds since 1970. What cannot be found out is no
/// reason to look.
pub fn may_exceed(store: &Store, bound: Bound, now: u64) -> Option<u64> {
    let (Ok(room), Ok(noted)) = (store.room(), store.noted()) else { return None };
    bound.bytes(room).filter(|max| is_look_due(noted, room, *max, now))
}

fn is_look_due(noted: Option<Noted>, room: Room, max: u64, now: u64) -> bool {
    let Some(noted) = noted else { return true };
    let is_fresh = now.checked_sub(noted.at).is_some_and(|age| age < LOOK_AGE_MAX.as_secs());
    let grown = noted.free_bytes.saturating_sub(room.free_bytes);
    !is_fresh || noted.cache_bytes.saturating_add(grown) > max
}

/// Takes away what was unused longest, if what may go takes more than `max` bytes, and notes what is left. Returns `None` when
/// another process is at it.
///
/// # Errors
/// What the store says.
pub fn keep_within(store: &Store, max: u64) -> Result<Option<Report>, CatalogError> {
    let Some(_alone) = store.try_lock("keep within the bound")? else { return Ok(None) };
    let kinds = Kind::ALL_BUT_CONTAINERS.into_iter().collect();
    let look = Policy {
        kinds,
        image_age_min: IMAGE_AGE_MIN,
        keep_bytes: Some(max),
        is_dry_run: true,
        ..Policy::default()
    };
    let mut report = prune(store, &look)?;
    if report.gone().any(|verdict| verdict.fate == Fate::Unused) {
        let keep_bytes = Some(max - max / SLACK);
        report = prune(store, &Policy { keep_bytes, is_dry_run: false, ..look })?;
    }
    let may_go = |fate: &Fate| matches!(fate, Fate::Fits | Fate::Recorded);
    let left = report.verdicts.iter().filter(|verdict| may_go(&verdict.fate));
    store.note(left.map(|verdict| verdict.bytes.allocated).sum())?;
    Ok(Some(report))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_is_due_when_the_disk_has_lost_more_than_is_left_to_the_bound_or_the_last_is_old() {
        let noted = Noted { cache_bytes: 60, free_bytes: 500, at: 1000 };
        for (noted, free_bytes, now, expected) in [
            (Some(noted), 500, 1000, false),
            (Some(noted), 460, 1000, false),
            (Some(noted), 459, 1000, true),
            (Some(noted), 900, 1000, false),
            (Some(noted), 500, 1000 + 24 * 3600, true),
            (Some(noted), 500, 999, true),
            (None, 500, 1000, true),
        ] {
            let room = Room { total_bytes: 1000, free_bytes };
            assert_eq!(is_look_due(noted, room, 100, now), expected, "{noted:?} {free_bytes} {now}");
        }
    }

    #[test]
    fn a_bound_is_a_number_or_a_part_of_the_disk() {
        let room = Room { total_bytes: 1000, free_bytes: 1 };
        let bytes = [Bound::None, Bound::Bytes(7), Bound::Percent(10)].map(|bound| bound.bytes(room));
        assert_eq!(bytes, [None, Some(7), Some(100)]);
    }

    #[test]
    fn what_passes_the_bound_goes_and_what_is_left_is_noted() {
        let space = tempfile::tempdir().unwrap();
        let open = || Store::open(space.path().join("store")).unwrap();
        for age in 0..4_u8 {
            let store = open();
            let blob = store.blobs().put_bytes(&vec![age; 40_000]).unwrap();
            store.records().put("steps", &blob, b"", &[blob]).unwrap();
        }
        let store = open();
        assert!(keep_within(&store, 1 << 30).unwrap().unwrap().gone().next().is_none());
        let all = store.noted().unwrap().unwrap().cache_bytes;
        assert!(all >= 4 * 40_000, "{all}");
        let report = keep_within(&store, all - 1).unwrap().unwrap();
        assert_eq!(report.gone_blobs().len(), 1);
        let left = store.noted().unwrap().unwrap().cache_bytes;
        assert_eq!(left, all - report.bytes().allocated);
        let _other = open().try_lock("keep within the bound").unwrap().unwrap();
        assert!(keep_within(&store, 0).unwrap().is_none());
    }
}
