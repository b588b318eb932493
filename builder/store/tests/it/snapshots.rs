//! Snapshots and power cuts: what is settled outlives a start of the machine, and nothing else does.

use std::path::Path;
use std::time::Duration;

use kiln_oci::{DiffId, Digest};
use kiln_store::Store;

use crate::disks::Recorder;

fn store(root: &Path, boot_id: &str) -> Store {
    Store::open_on(root, Recorder::booted(boot_id)).unwrap()
}

fn layer(name: &str) -> DiffId {
    DiffId(Digest::of(name.as_bytes()))
}

fn publish(store: &Store, name: &str, content: &str) {
    let scratch = store.scratch("unpack").unwrap();
    std::fs::write(scratch.path().join("file"), content).unwrap();
    store.publish_snapshot(scratch, &layer(name)).unwrap();
}

/// Returns what a snapshot holds, if it is trusted.
fn held(store: &Store, name: &str) -> Option<String> {
    let path = store.snapshots().get(&layer(name)).unwrap()?;
    Some(std::fs::read_to_string(path.join("file")).unwrap())
}

fn settle(store: &Store, age_min: Duration) -> Vec<DiffId> {
    store.snapshots().settle(age_min).unwrap().map(|settled| settled.unwrap()).collect()
}

#[test]
fn what_was_settled_is_used_after_a_start_of_the_machine_and_what_was_not_is_made_again() {
    let space = tempfile::tempdir().unwrap();
    let first = store(space.path(), "first");
    publish(&first, "settled", "1");
    assert_eq!(settle(&first, Duration::ZERO), [layer("settled")]);
    assert_eq!(settle(&first, Duration::ZERO), [], "once is enough");
    publish(&first, "unsettled", "1");
    let second = store(space.path(), "second");
    assert_eq!((held(&second, "settled"), held(&second, "unsettled")), (Some("1".into()), None));
    assert_eq!(settle(&second, Duration::ZERO), [], "the sync comes too late for what an earlier run made");
    publish(&second, "settled", "2");
    publish(&second, "unsettled", "2");
    let third = store(space.path(), "third");
    assert_eq!((held(&third, "settled"), held(&third, "unsettled")), (Some("1".into()), None));
}

#[test]
fn only_what_is_old_enough_is_settled() {
    let space = tempfile::tempdir().unwrap();
    let store = store(space.path(), "first");
    publish(&store, "old", "1");
    publish(&store, "young", "1");
    let note = space.path().join(format!("snapshots/{}.boot", layer("old").0.hex()));
    let hour = Duration::from_secs(3600);
    let written = std::fs::metadata(&note).unwrap().modified().unwrap() - hour;
    std::fs::File::options().write(true).open(&note).unwrap().set_modified(written).unwrap();
    assert_eq!(settle(&store, hour / 2), [layer("old")]);
}

#[test]
fn a_snapshot_that_came_after_the_sync_is_not_taken_for_the_one_that_was_there() {
    let space = tempfile::tempdir().unwrap();
    let store = store(space.path(), "first");
    publish(&store, "layer", "1");
    let mut settled = store.snapshots().settle(Duration::ZERO).unwrap();
    std::fs::write(space.path().join(format!("snapshots/{}.boot", layer("layer").0.hex())), "torn").unwrap();
    publish(&store, "layer", "2");
    assert!(settled.next().is_none());
    assert_eq!(held(&self::store(space.path(), "second"), "layer"), None);
}
