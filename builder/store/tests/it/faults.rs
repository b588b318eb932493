//! Every operation fails once, and the disk fills up at every point.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use kiln_store::disk::Disk;
use kiln_store::fsck::fsck;
use kiln_store::gc::{Policy, gc};
use kiln_store::{Result, Store, StoreError};
use rustix::io::Errno;

use crate::disks::{FailAfter, quick};
use crate::scenario;

/// What is done to the store at a path, on a disk.
type Scenario = dyn Fn(&Path, Arc<dyn Disk>) -> Result<()>;

fn check(errno: Errno, stays: bool) {
    let whole = |root: &Path, disk: Arc<dyn Disk>| scenario::run(root, disk, &|_| {});
    check_scenario(&|_| {}, &whole, errno, stays);
    let make = |root: &Path| drop(Store::open_on(root, quick()).unwrap());
    check_scenario(&make, &scenario::run_the_rest, errno, stays);
}

fn check_scenario(prepare: &dyn Fn(&Path), scenario: &Scenario, errno: Errno, stays: bool) {
    let mut failures = 0;
    for good in 0.. {
        let space = tempfile::tempdir().unwrap();
        let root = space.path().join("store");
        prepare(&root);
        let disk =
            Arc::new(FailAfter { good, errno, stays, spares_empty_files: false, done: AtomicU64::new(0) });
        let outcome = scenario(&root, disk.clone());
        let was_reached = disk.done.load(std::sync::atomic::Ordering::Relaxed) > good;
        if let Err(error) = &outcome {
            failures += 1;
            assert!(was_reached, "operation {good}: {error}");
            check_error(error, &root, errno);
        }
        check_store(&root, scenario, good);
        if !was_reached {
            outcome.unwrap();
            break;
        }
    }
    assert!(failures > 20, "only {failures} operations failed");
}

fn check_error(error: &StoreError, root: &Path, errno: Errno) {
    let (StoreError::Io { path, .. } | StoreError::Unremovable { first: path, .. }) = error else {
        panic!("not an I/O error: {error}");
    };
    assert!(path.starts_with(root) || root.starts_with(path), "{} is not in the store", path.display());
    assert_eq!(error.is_disk_full(), errno == Errno::NOSPC);
    assert_eq!(error.is_permission_denied(), errno == Errno::ACCESS);
}

fn check_store(root: &Path, scenario: &Scenario, good: u64) {
    let store = Store::open_on(root, quick()).unwrap();
    assert!(store.collect_dead_scratch().unwrap().kept.is_empty());
    let report = fsck(&store).unwrap();
    assert!(report.problems.is_empty(), "operation {good}: {:?}", report.problems);
    drop(store);
    scenario(root, quick()).unwrap();
    let left: Vec<_> = std::fs::read_dir(root.join("scratch")).unwrap().collect();
    assert!(left.is_empty(), "operation {good}: {left:?}");
}

#[test]
fn each_operation_may_fail_once_and_the_store_stays_sound() {
    check(Errno::IO, false);
}

#[test]
fn each_operation_may_be_denied_and_the_error_says_where() {
    check(Errno::ACCESS, false);
}

#[test]
fn the_disk_may_fill_up_at_any_point_and_says_so() {
    check(Errno::NOSPC, true);
}

#[test]
fn gc_works_on_a_full_disk() {
    let space = tempfile::tempdir().unwrap();
    let garbage = Store::open(space.path()).unwrap().blobs().put_bytes(b"garbage").unwrap();
    // As on ext4, where an empty file in an existing directory still fits.
    let disk = FailAfter {
        good: 0,
        errno: Errno::NOSPC,
        stays: true,
        spares_empty_files: true,
        done: AtomicU64::new(0),
    };
    let full = Store::open_on(space.path(), Arc::new(disk)).unwrap();
    let report = gc(&full, &Policy::default(), &|_, _| Ok(vec![])).unwrap();
    assert_eq!(report.gone_blobs(), [garbage]);
    assert!(report.kept.is_empty() && !full.blobs().contains(&garbage).unwrap());
}
