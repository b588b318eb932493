//! Where a store lies: a place without locks, a copy without what was empty, a place that is gone.

use kiln_oci::Digest;
use kiln_store::fsck::fsck;
use kiln_store::{Store, StoreError};

use crate::disks::{Recorder, quick};
use crate::parts::space;
use crate::scenario;

#[test]
fn a_file_system_without_locks_is_named_as_such() {
    let (_space, store) = space();
    let without = Store::open_on(store.path(), Recorder::without_locks()).unwrap();
    let error = without.blobs().put_bytes(b"x").unwrap_err();
    assert!(matches!(&error, StoreError::NoLocks { .. }), "{error}");
    assert!(error.to_string().ends_with("its file system has no locks"), "{error}");
}

#[test]
fn a_copy_of_a_store_that_lacks_what_was_empty_is_made_whole_and_keeps_its_data() {
    let space = tempfile::tempdir().unwrap();
    scenario::run(space.path(), quick(), &|_| {}).unwrap();
    let mut count = 0;
    // As tools copy that know files only.
    for entry in walkdir::WalkDir::new(space.path()).contents_first(true) {
        let entry = entry.unwrap();
        let is_removed = entry.file_type().is_dir() && std::fs::remove_dir(entry.path()).is_ok();
        count += usize::from(is_removed);
    }
    assert!(count > 3, "only {count} folders were empty");
    let note = std::fs::read(space.path().join("usage.json")).unwrap();
    let store = Store::open(space.path()).unwrap();
    assert_eq!(std::fs::read(space.path().join("usage.json")).unwrap(), note);
    store.blobs().verify(&Digest::of(scenario::LAYER)).unwrap();
    assert!(fsck(&store).unwrap().problems.is_empty());
    scenario::run(space.path(), quick(), &|_| {}).unwrap();
}

#[test]
fn a_store_that_is_gone_stays_gone_whatever_is_still_written() {
    for is_place_left in [false, true] {
        let (space, store) = space();
        let digest = store.blobs().put_bytes(b"there").unwrap();
        let root = store.path().to_owned();
        std::fs::remove_dir_all(&root).unwrap();
        if is_place_left {
            // As where a disk was mounted that has vanished.
            std::fs::create_dir(&root).unwrap();
        }
        let failed = [
            store.blobs().put_bytes(b"late").map(drop),
            store.records().put("steps", &digest, b"", &[]),
            store.logs().begin_journal("build").map(drop),
            store.lock("late").map(drop),
            store.take_turn("late").map(drop),
            store.try_repository("far").map(drop),
            store.blobs().partial(&Digest::of(b"far"), 3).map(drop),
            store.scratch("late").map(drop),
            store.note(kiln_store::Left::default()),
        ];
        for outcome in failed {
            assert!(outcome.unwrap_err().is_not_found());
        }
        assert!(Store::open_existing(&root).unwrap().is_none());
        drop(store);
        let left: Vec<_> = walkdir::WalkDir::new(space.path()).min_depth(1).into_iter().collect();
        assert_eq!(left.len(), usize::from(is_place_left), "{left:?}");
    }
}
