//! Repositories: held by one at a time, kept between builds, collected when nobody needs them.

use kiln_store::Store;
use kiln_store::fsck::fsck;
use kiln_store::gc::{Kind, Policy, gc};

#[test]
fn a_repository_belongs_to_one_holder_at_a_time_and_keeps_what_it_has() {
    let space = tempfile::tempdir().unwrap();
    let store = Store::open(space.path().join("store")).unwrap();
    let held = store.try_repository("https://h/a.git").unwrap().unwrap();
    std::fs::write(held.path().join("file"), "x").unwrap();
    assert!(store.try_repository("https://h/a.git").unwrap().is_none());
    assert!(store.try_repository("https://h/b.git").unwrap().is_some());
    let claim = held.claim().unwrap();
    drop(held);
    assert!(store.try_repository("https://h/a.git").unwrap().is_none(), "a child still has it");
    drop(claim);
    let again = store.try_repository("https://h/a.git").unwrap().unwrap();
    assert!(again.path().join("file").is_file());
    again.clear().unwrap();
    assert_eq!(std::fs::read_dir(again.path()).unwrap().count(), 0);
}

#[test]
fn gc_takes_repositories_that_nobody_holds_when_there_is_no_room() {
    let space = tempfile::tempdir().unwrap();
    let store = Store::open(space.path().join("store")).unwrap();
    let held = store.try_repository("held").unwrap().unwrap();
    drop(store.try_repository("free").unwrap());
    let collect = |policy: &Policy| gc(&store, policy, &|_, _| Ok(Vec::new())).unwrap();
    let count = || std::fs::read_dir(store.path().join("repositories")).unwrap().count();
    assert_eq!((collect(&Policy::default()).count(Kind::Repository), count()), (0, 2));
    let report = collect(&Policy { kinds: Kind::ALL.into(), ..Policy::default() });
    assert_eq!((report.count(Kind::Repository), report.kept.len(), count()), (1, 0, 1));
    assert!(held.path().is_dir());
}

#[test]
fn fsck_knows_repositories_and_stores_that_have_none() {
    let space = tempfile::tempdir().unwrap();
    let store = Store::open(space.path().join("store")).unwrap();
    drop(store.try_repository("a").unwrap());
    let folder = store.path().join("repositories");
    std::fs::write(folder.join("stray"), "").unwrap();
    assert_eq!(fsck(&store).unwrap().problems.len(), 1);
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(fsck(&store).unwrap().problems.len(), 0);
    assert!(store.try_repository("a").unwrap().is_some());
}
