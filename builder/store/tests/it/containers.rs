//! Working containers: made by one rename, held by who changes them or read by several, kept with the blobs of their images.

use kiln_oci::{Descriptor, MediaType};
use kiln_store::fsck::{Problem, fsck, mend};
use kiln_store::gc::{Kind, Policy, gc};
use kiln_store::{ContainerFacts, ContainerId, ContainerUse, HeldContainer, Store};
use serde_json::json;

fn store_in(space: &tempfile::TempDir) -> Store {
    Store::open(space.path().join("store")).unwrap()
}

fn facts(store: &Store, text: &str) -> ContainerFacts {
    let digest = store.blobs().put_bytes(text.as_bytes()).unwrap();
    let image = Descriptor::new(MediaType::OCI_MANIFEST, digest, text.len() as u64);
    ContainerFacts { image, details: json!({ "name": "web\n\u{1f980}" }) }
}

fn made(store: &Store) -> HeldContainer {
    let new = store.containers().begin().unwrap();
    std::fs::write(new.changes().join("file"), "x").unwrap();
    new.publish(&facts(store, "manifest")).unwrap()
}

#[test]
fn a_container_appears_with_its_record_and_belongs_to_who_changes_it() {
    let space = tempfile::tempdir().unwrap();
    let (store, other) = (store_in(&space), store_in(&space));
    let new = store.containers().begin().unwrap();
    assert_eq!(other.containers().list().unwrap().len(), 0);
    let id = new.id();
    let held = new.publish(&facts(&store, "manifest")).unwrap();
    let listed = || other.containers().list().unwrap().into_iter().map(|entry| (entry.id, entry.is_in_use));
    assert_eq!(listed().collect::<Vec<_>>(), [(id, true)]);
    for purpose in [ContainerUse::Reading, ContainerUse::Changing] {
        assert!(other.containers().hold(&id, purpose).unwrap().is_none(), "{purpose:?}");
    }
    let changed = ContainerFacts { details: json!({ "ended": 1 }), ..facts(&store, "manifest") };
    held.write(&changed).unwrap();
    drop(held);
    assert_eq!(listed().collect::<Vec<_>>(), [(id, false)]);
    let reading = store.containers().hold(&id, ContainerUse::Reading).unwrap().unwrap();
    let with = other.containers().hold(&id, ContainerUse::Reading).unwrap().unwrap();
    assert_eq!(with.facts().unwrap(), changed);
    assert!(other.containers().hold(&id, ContainerUse::Changing).unwrap().is_none());
    assert_eq!(listed().collect::<Vec<_>>(), [(id, false)], "whoever reads does not run it");
    drop((reading, with));
    store.containers().hold(&id, ContainerUse::Changing).unwrap().unwrap().remove().unwrap();
    assert!(other.containers().hold(&id, ContainerUse::Reading).unwrap_err().is_not_found());
    assert_eq!((listed().count(), std::fs::read_dir(store.path().join("scratch")).unwrap().count()), (0, 0));
}

#[test]
fn a_container_in_which_a_command_runs_is_read_by_all_and_changed_by_nobody() {
    let space = tempfile::tempdir().unwrap();
    let (store, other) = (store_in(&space), store_in(&space));
    let mut held = made(&store);
    let id = held.id();
    let state = || other.containers().list().unwrap().remove(0);
    let hold = |purpose| other.containers().hold(&id, purpose).unwrap();
    assert_eq!((state().is_running, state().is_in_use), (false, true), "it is made, and nothing runs yet");
    held.begin_command().unwrap();
    assert_eq!((state().is_running, state().is_in_use), (true, true));
    let readers = [hold(ContainerUse::Reading).unwrap(), hold(ContainerUse::Reading).unwrap()];
    assert!(readers.iter().all(HeldContainer::is_moving));
    assert!(hold(ContainerUse::Changing).is_none());
    drop(held);
    assert_eq!((state().is_running, state().is_in_use), (false, false));
    assert!(!hold(ContainerUse::Reading).unwrap().is_moving());
    assert!(hold(ContainerUse::Changing).is_none(), "they still read");
    drop(readers);
    let mut again = hold(ContainerUse::Changing).unwrap();
    assert!(!state().is_running, "it may be about to be removed");
    again.begin_command().unwrap();
    // Who runs it waits for who reads it, and then it goes.
    let reader = store.containers().hold(&id, ContainerUse::Reading).unwrap().unwrap();
    let again = again.try_remove().unwrap().unwrap();
    assert!(state().is_running && hold(ContainerUse::Changing).is_none(), "it is still held");
    std::thread::scope(|scope| {
        let removing = scope.spawn(|| again.remove());
        assert!(reader.changes().join("file").exists());
        drop(reader);
        removing.join().unwrap().unwrap();
    });
    assert!(other.containers().list().unwrap().is_empty());
}

#[test]
fn a_container_that_is_not_published_leaves_nothing() {
    let space = tempfile::tempdir().unwrap();
    let store = store_in(&space);
    drop(store.containers().begin().unwrap());
    let count = |name: &str| std::fs::read_dir(store.path().join(name)).map_or(0, Iterator::count);
    assert_eq!((count("scratch"), count("containers")), (0, 0));
}

#[test]
fn gc_keeps_containers_and_their_images_until_containers_are_asked_for() {
    let space = tempfile::tempdir().unwrap();
    let ids: Vec<ContainerId> = {
        let store = store_in(&space);
        let (held, free) = (made(&store), made(&store));
        [held.id(), free.id()].into()
    };
    let (store, other) = (store_in(&space), store_in(&space));
    let held = other.containers().hold(&ids[0], ContainerUse::Changing).unwrap().unwrap();
    let collect = |kinds: &[Kind]| {
        let policy = Policy { kinds: kinds.iter().copied().collect(), ..Policy::default() };
        let report = gc(&store, &policy, &|_, _| Ok(Vec::new())).unwrap();
        assert!(report.kept.is_empty());
        [report.count(Kind::Container), report.count(Kind::Blob)]
    };
    assert_eq!(collect(&[]), [0, 0]);
    let others: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| !kind.is_irreplaceable()).collect();
    assert_eq!(collect(&others), [0, 0]);
    assert_eq!(collect(&[Kind::Container]), [1, 0], "the one that nobody has");
    drop(held);
    assert_eq!(collect(&[Kind::Container]), [1, 0]);
    assert_eq!(collect(&[]), [0, 1], "and then its image");
}

#[test]
fn fsck_names_containers_whose_records_or_images_are_gone_and_moves_damaged_ones_away() {
    let space = tempfile::tempdir().unwrap();
    let store = store_in(&space);
    let (torn, lost) = (made(&store), store.containers().begin().unwrap());
    let digest = kiln_oci::Digest::of(b"nowhere");
    let image = Descriptor::new(MediaType::OCI_MANIFEST, digest, 1);
    let lost = lost.publish(&ContainerFacts { image, details: json!({}) }).unwrap();
    let place = |id: ContainerId| store.path().join("containers").join(id.to_string());
    std::fs::write(place(torn.id()).join("container.json"), "{\"format\":1").unwrap();
    std::fs::write(store.path().join("containers/stray"), "").unwrap();
    let report = fsck(&store).unwrap();
    let word = |problem: &Problem| match problem {
        Problem::ContainerDamaged { id, .. } if *id == torn.id() => "damaged",
        Problem::ContainerDangling { id, .. } if *id == lost.id() => "dangling",
        Problem::Stray { .. } => "stray",
        _ => "something else",
    };
    let mut words: Vec<&str> = report.problems.iter().map(word).collect();
    words.sort_unstable();
    assert_eq!(words, ["damaged", "dangling", "stray"]);
    assert_eq!(mend(&store, &report).unwrap(), 2);
    assert!(!place(torn.id()).exists());
    assert_eq!(fsck(&store).unwrap().problems.len(), 1, "an image is the user's to bring");
}

#[test]
fn records_that_are_too_large_or_of_another_format_are_damaged() {
    let space = tempfile::tempdir().unwrap();
    let store = store_in(&space);
    let held = made(&store);
    let path = store.path().join("containers").join(held.id().to_string()).join("container.json");
    for (text, says) in [
        (b"{\"format\":2}".to_vec(), "it has the format 2, this kiln reads 1"),
        (b"{}".to_vec(), "it has no whole number `format`"),
        (vec![b' '; (kiln_store::CONTAINER_RECORD_BYTES_MAX + 1) as usize], "it is larger than"),
    ] {
        std::fs::write(&path, text).unwrap();
        let reason = store.containers().list().unwrap().remove(0).record.unwrap_err();
        assert!(reason.starts_with(says), "{reason}");
    }
}
