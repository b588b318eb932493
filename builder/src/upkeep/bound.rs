//! The bound of the store: after a build somebody looks whether what may go has grown too large, and takes away what was unused
//! longest.
//!
//! To look takes long. [`may_exceed`] takes microseconds: it compares the room on the disk with that of the last look. Only when
//! so much is gone that the bound may be passed, or the last look is old, [`keep_within`] is worth its time.
//!
//! What the build has used stays, and so do images without a name for a day, even where these alone take more: without them the next
//! build would begin with nothing, and fill the disk as far once more. They are noted, and looked at again when they have aged.

use std::path::Path;
use std::time::{Duration, SystemTime};

use kiln_store::{Noted, Room, Store};

use super::{Fate, Kind, Policy, Report, prune};
use crate::catalog::CatalogError;

/// A look is good for so long, since others may have made room on the disk meanwhile.
const LOOK_AGE_MAX: Duration = Duration::from_secs(24 * 3600);
/// What stayed because it was used lately, and takes more than the bound, is looked at again after so long.
const AGAIN_MIN: Duration = Duration::from_secs(600);
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
    let Some(age) = now.checked_sub(noted.at).map(Duration::from_secs) else { return true };
    let grown = noted.free_bytes.saturating_sub(room.free_bytes);
    let passes = |bytes: u64| bytes.saturating_add(grown) > max;
    age >= LOOK_AGE_MAX
        || passes(noted.left.now_bytes)
        || (age >= AGAIN_MIN && passes(noted.left.some_day_bytes))
}

/// Takes away what was unused longest, if what may go takes more than `max` bytes, and notes what is left. What was used since
/// `began`, the beginning of the build after which this is done, stays. Returns `None` when another process is at it, or the store
/// is not there any more: it is not made again.
///
/// # Errors
/// What the store says.
pub fn keep_within(store: &Path, max: u64, began: SystemTime) -> Result<Option<Report>, CatalogError> {
    let Some(store) = Store::open_existing(store)? else { return Ok(None) };
    let Some(_alone) = store.try_lock("keep within the bound")? else { return Ok(None) };
    let kinds = Kind::ALL.into_iter().filter(|kind| !kind.is_irreplaceable()).collect();
    let look = Policy {
        kinds,
        used_since: Some(began),
        image_age_min: IMAGE_AGE_MIN,
        keep_bytes: Some(max),
        is_dry_run: true,
        ..Policy::default()
    };
    let mut report = prune(&store, &look)?;
    if report.gone().any(|verdict| verdict.fate == Fate::Unused) {
        let keep_bytes = Some(max - max / SLACK);
        report = prune(&store, &Policy { keep_bytes, is_dry_run: false, ..look })?;
    }
    store.note(report.left)?;
    Ok(Some(report))
}

#[cfg(test)]
mod tests {
    use kiln_oci::Digest;
    use kiln_store::Left;

    use super::*;

    #[test]
    fn a_look_is_due_when_the_disk_has_lost_more_than_is_left_to_the_bound_or_the_last_is_old() {
        let left = Left { now_bytes: 60, some_day_bytes: 90 };
        let noted = Noted { left, free_bytes: 500, at: 1000 };
        for (noted, free_bytes, now, expected) in [
            (Some(noted), 500, 1000, false),
            (Some(noted), 460, 1000, false),
            (Some(noted), 459, 1000, true),
            (Some(noted), 900, 1000, false),
            (Some(noted), 500, 1000 + 24 * 3600, true),
            (Some(noted), 500, 999, true),
            (Some(noted), 489, 1000 + 599, false),
            (Some(noted), 489, 1000 + 600, true),
            (Some(noted), 490, 1000 + 600, false),
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

    /// A time after which nothing was used yet.
    fn later() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 33)
    }

    /// Puts a blob of `size` bytes with a record into a store, both used `age` ago.
    fn put(root: &Path, size: usize, age: Duration) -> Digest {
        let store = Store::open(root).unwrap();
        let blob = store.blobs().put_bytes(&vec![7; size]).unwrap();
        store.records().put("steps", &blob, b"", &[blob]).unwrap();
        for path in ["records/steps", "blobs/sha256"] {
            let file = std::fs::File::options().write(true).open(root.join(path).join(blob.hex())).unwrap();
            let written = file.metadata().unwrap().modified().unwrap();
            file.set_modified(written - age).unwrap();
        }
        blob
    }

    #[test]
    fn what_passes_the_bound_goes_and_what_is_left_is_noted() {
        let space = tempfile::tempdir().unwrap();
        let root = space.path().join("store");
        for number in 0..4 {
            put(&root, 40_000 + number, Duration::ZERO);
        }
        let noted = || Store::open(&root).unwrap().noted().unwrap().unwrap().left;
        assert!(keep_within(&root, 1 << 30, later()).unwrap().unwrap().gone().next().is_none());
        let all = noted();
        assert!(all.now_bytes >= 4 * 40_000 && all.now_bytes == all.some_day_bytes, "{all:?}");
        let report = keep_within(&root, all.now_bytes - 1, later()).unwrap().unwrap();
        assert_eq!(report.gone_blobs().len(), 1);
        assert_eq!(noted().now_bytes, all.now_bytes - report.bytes().allocated);
        let other = Store::open(&root).unwrap();
        let _at_it = other.try_lock("keep within the bound").unwrap().unwrap();
        assert!(keep_within(&root, 0, later()).unwrap().is_none());
    }

    #[test]
    fn what_the_build_has_used_stays_whatever_the_bound_and_goes_after_the_next() {
        let space = tempfile::tempdir().unwrap();
        let root = space.path().join("store");
        let hour = Duration::from_secs(3600);
        let (old, young) = (put(&root, 30_000, 2 * hour), put(&root, 40_000, Duration::ZERO));
        let image = put(&root, 50_000, 48 * hour);
        let now =
            std::fs::metadata(root.join("records/steps").join(young.hex())).unwrap().modified().unwrap();
        let store = Store::open(&root).unwrap();
        store.records().remove("steps", &image).unwrap();
        let listed = kiln_oci::Descriptor::new(kiln_oci::MediaType::OCI_LAYER, image, 50_000);
        // A build of what is there writes no manifest, and says anew that it is wanted.
        store.names().add_untagged(&listed).unwrap();
        drop(store);
        let report = keep_within(&root, 0, now - hour).unwrap().unwrap();
        assert_eq!(report.gone_blobs(), [old]);
        assert_eq!(report.left.now_bytes, 0);
        assert!(report.left.some_day_bytes >= 90_000, "{:?}", report.left);
        let report = keep_within(&root, 0, now + hour).unwrap().unwrap();
        assert_eq!(report.gone_blobs(), [young], "an image without a name stays for a day");
    }

    #[test]
    fn a_store_that_is_gone_is_not_made_again() {
        let space = tempfile::tempdir().unwrap();
        let root = space.path().join("store");
        assert!(keep_within(&root, 0, later()).unwrap().is_none());
        assert!(!root.exists());
        let store = Store::open(&root).unwrap();
        std::fs::remove_dir_all(&root).unwrap();
        assert!(store.blobs().put_bytes(b"late").is_err() && store.try_lock("late").is_err());
        assert!(!root.exists());
    }
}
