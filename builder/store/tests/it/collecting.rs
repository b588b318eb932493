//! What gc takes and leaves, and what the store takes in all.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use kiln_oci::{DiffId, Digest};
use kiln_store::gc::{Fate, Item, Kind, Policy, gc, survey};
use kiln_store::{ContainerFacts, Partial, Sharing, SnapshotEntry, Store, StoreError};
use serde_json::Value;

use crate::parts::{name, space};
use crate::scenario::descriptor;

#[test]
fn gc_removes_what_was_unused_longest_until_the_rest_fits() {
    let (_space, store) = space();
    let hour = Duration::from_secs(3600);
    for (age, content) in ["oldest", "middle", "newest"].iter().enumerate() {
        let blob = store.blobs().put_bytes(content.as_bytes()).unwrap();
        let key = Digest::of(content.as_bytes());
        store.records().put("steps", &key, b"", &[blob]).unwrap();
        let file =
            std::fs::File::options().write(true).open(store.path().join("records/steps").join(key.hex()));
        file.unwrap().set_modified(SystemTime::UNIX_EPOCH + age as u32 * hour).unwrap();
    }
    let root = store.path().to_owned();
    drop(store);
    let store = Store::open(root).unwrap();
    let records = Policy { kinds: [Kind::Record].into(), ..Policy::default() };
    let all = survey(&store, &|_, _| Ok(vec![])).unwrap().verdicts;
    let everything: u64 = all.iter().map(|verdict| verdict.bytes.allocated).sum();
    let policy = Policy { keep_bytes: Some(everything / 3 * 2), ..records.clone() };
    let dry = gc(&store, &Policy { is_dry_run: true, ..policy.clone() }, &|_, _| Ok(vec![])).unwrap();
    assert_eq!(store.blobs().list().unwrap().len(), 3);
    let report = gc(&store, &policy, &|_, _| Ok(vec![])).unwrap();
    assert_eq!(report.verdicts, dry.verdicts);
    assert_eq!((report.gone_blobs(), report.count(Kind::Record)), (vec![Digest::of(b"oldest")], 1));
    // A record of one blob takes 56 + 32 bytes, each blob 6.
    assert_eq!(report.bytes().apparent, 94);
    // Between the middle one and the newest, however long this test takes.
    let since_1970 = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let old = Policy { unused_for_min: since_1970 - hour, ..records };
    assert_eq!(gc(&store, &old, &|_, _| Ok(vec![])).unwrap().count(Kind::Record), 1);
    assert_eq!(store.blobs().list().unwrap(), [Digest::of(b"newest")]);
}

#[test]
fn what_a_wrong_clock_has_dated_goes_first_and_is_dated_anew_by_the_next_hit() {
    let (_space, store) = space();
    let now = SystemTime::UNIX_EPOCH + SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let day = Duration::from_secs(24 * 3600);
    let path = |text: &str| store.path().join("records/steps").join(Digest::of(text.as_bytes()).hex());
    for (text, used) in
        [("old", now - day), ("far", now + 900 * day), ("hit", now + day), ("near", now + day)]
    {
        store.records().put("steps", &Digest::of(text.as_bytes()), b"", &[]).unwrap();
        std::fs::File::options().write(true).open(path(text)).unwrap().set_modified(used).unwrap();
    }
    assert!(store.records().get("steps", &Digest::of(b"hit")).unwrap().hit().is_some());
    let records = Policy { kinds: [Kind::Record].into(), ..Policy::default() };
    let young = Policy { unused_for_min: day / 2, is_dry_run: true, ..records.clone() };
    let gone = |policy: &Policy| -> Vec<Item> {
        gc(&store, policy, &|_, _| Ok(vec![])).unwrap().gone().map(|verdict| verdict.item.clone()).collect()
    };
    let record = |text: &str| Item::Record { kind: "steps".to_owned(), key: Digest::of(text.as_bytes()) };
    // Of what age they are nobody knows.
    assert_eq!(gone(&young), [record("old")]);
    // All take the same.
    let each = gc(&store, &Policy { is_dry_run: true, ..records.clone() }, &|_, _| Ok(vec![])).unwrap();
    let each = each.bytes().allocated / 4;
    for expected in ["near", "far", "old", "hit"] {
        let left = std::fs::read_dir(store.path().join("records/steps")).unwrap().count() as u64;
        let policy = Policy { keep_bytes: Some((left - 1) * each), ..records.clone() };
        assert_eq!(gone(&policy), [record(expected)]);
    }
}

#[test]
fn gc_removes_old_snapshots_and_partial_blobs_that_nobody_uses() {
    let (_space, store) = space();
    let (used, unused) = (DiffId(Digest::of(b"used")), DiffId(Digest::of(b"unused")));
    for diff_id in [&used, &unused] {
        store.publish_snapshot(store.scratch("unpack").unwrap(), diff_id).unwrap();
    }
    store.blobs().partial(&Digest::of(b"free"), 9).unwrap();
    let root = store.path().to_owned();
    drop(store);
    let (user, store) = (Store::open(&root).unwrap(), Store::open(&root).unwrap());
    let held = user.blobs().partial(&Digest::of(b"held"), 9).unwrap();
    user.snapshots().get(&used).unwrap().unwrap();
    let all = Policy { kinds: Kind::ALL.into(), ..Policy::default() };
    let report = gc(&store, &all, &|_, _| Ok(vec![])).unwrap();
    let gone: Vec<&Item> = report.gone().map(|verdict| &verdict.item).collect();
    let name = Digest::of(b"free").hex().into();
    assert_eq!(gone, [&Item::Snapshot(unused), &Item::Partial(name)]);
    assert!(report.kept.is_empty(), "{:?}", report.kept);
    let left: Vec<_> = std::fs::read_dir(root.join("snapshots")).unwrap().collect();
    assert_eq!(left.len(), 2, "the snapshot in use and its note: {left:?}");
    drop(held);
}

#[test]
fn gc_keeps_all_that_a_named_image_needs_and_stops_when_it_cannot_know() {
    let (_space, store) = space();
    for bytes in [&b"manifest"[..], b"layer", b"garbage"] {
        store.blobs().put_bytes(bytes).unwrap();
    }
    store.names().set(&name("app"), &descriptor(b"manifest")).unwrap();
    let root = store.path().to_owned();
    drop(store);
    let store = Store::open(root).unwrap();
    let cannot = gc(&store, &Policy::default(), &|_, _| Err("not a manifest".into()));
    assert!(matches!(cannot, Err(StoreError::Expand { digest, .. }) if digest == Digest::of(b"manifest")));
    let report = gc(&store, &Policy::default(), &|_, _| Ok(vec![Digest::of(b"layer")])).unwrap();
    assert_eq!(report.gone_blobs(), [Digest::of(b"garbage")]);
}

/// Opens a store again, so that nothing of the first handle is in use any more.
fn reopened(store: Store) -> Store {
    let root = store.path().to_owned();
    drop(store);
    Store::open(root).unwrap()
}

/// Puts one thing of each kind into a store, and returns it with no lease left.
fn filled(store: Store) -> Store {
    let blobs = [&b"named"[..], b"nameless", b"recorded", b"orphan"]
        .map(|bytes| store.blobs().put_bytes(bytes).unwrap());
    store.names().set(&name("app"), &descriptor(b"named")).unwrap();
    store.names().add_untagged(&descriptor(b"nameless")).unwrap();
    store.records().put("steps", &Digest::of(b"key"), b"payload", &blobs[2..3]).unwrap();
    let unpacked = store.scratch("unpack").unwrap();
    std::fs::write(unpacked.path().join("a"), [1; 5000]).unwrap();
    std::fs::hard_link(unpacked.path().join("a"), unpacked.path().join("b")).unwrap();
    // Of what du counts once, and of what takes less than its length.
    let second = store.scratch("unpack").unwrap();
    std::fs::hard_link(unpacked.path().join("a"), second.path().join("c")).unwrap();
    let sparse = std::fs::File::create(second.path().join("sparse")).unwrap();
    sparse.set_len(1 << 30).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, &[1; 5000], 1 << 29).unwrap();
    store.publish_snapshot(unpacked, &DiffId(blobs[0])).unwrap();
    store.publish_snapshot(second, &DiffId(blobs[1])).unwrap();
    drop(store.try_repository("far").unwrap());
    let container = store.containers().begin().unwrap();
    std::fs::write(container.changes().join("a"), [1; 5000]).unwrap();
    let facts = ContainerFacts { image: descriptor(b"named"), details: Value::Null };
    drop(container.publish(&facts).unwrap());
    drop(store.cache_mount("/cache", Sharing::Shared, &mut |_| Ok(())).unwrap());
    store.logs().writer("1-2", "0001").unwrap().write_all(b"said").unwrap();
    assert!(matches!(store.blobs().partial(&Digest::of(b"far"), 3).unwrap(), Partial::Resume(_)));
    std::fs::write(store.path().join("scratch/0123456789abcdef.0.file"), "left").unwrap();
    std::fs::create_dir(store.path().join("damaged")).unwrap();
    std::fs::write(store.path().join("damaged/0-x"), "bad").unwrap();
    reopened(store)
}

fn du(flag: &str, path: &Path) -> u64 {
    let answer = Command::new("du").args(["-s", flag]).arg(path).output().unwrap();
    String::from_utf8(answer.stdout).unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn a_survey_is_what_du_says_and_changes_no_time_of_use() {
    let (_space, store) = space();
    let store = filled(store);
    let is_named = |entry: &SnapshotEntry| entry.diff_id == DiffId(Digest::of(b"named"));
    let last_used =
        |store: &Store| store.snapshots().list().unwrap().into_iter().find(is_named).unwrap().last_used;
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    let snapshot = store.path().join("snapshots").join(Digest::of(b"named").hex());
    let times = std::fs::FileTimes::new().set_accessed(long_ago);
    std::fs::File::open(&snapshot).unwrap().set_times(times).unwrap();
    let survey = survey(&store, &|_, _| Ok(vec![])).unwrap();
    // Before `du` has looked at it.
    assert_eq!(last_used(&store), long_ago);
    assert_eq!(survey.total.allocated, du("-B1", store.path()));
    assert_eq!(survey.total.apparent, du("-b", store.path()));
    assert!(survey.rest().allocated > 0);
    let kinds: std::collections::BTreeSet<Kind> =
        survey.verdicts.iter().map(|verdict| verdict.item.kind()).collect();
    assert_eq!(kinds, Kind::ALL.into());
}

#[test]
fn without_a_kind_only_what_nothing_refers_to_goes() {
    let (_space, store) = space();
    let store = filled(store);
    let report = gc(&store, &Policy::default(), &|_, _| Ok(vec![])).unwrap();
    let gone: Vec<&Item> = report.gone().map(|verdict| &verdict.item).collect();
    let left = Item::Scratch("0123456789abcdef.0.file".into());
    assert_eq!(gone, [&left, &Item::Blob(Digest::of(b"orphan"))]);
}

#[test]
fn what_is_asked_for_goes_with_the_blobs_that_only_it_needs() {
    for (kind, also) in [
        (Kind::Image, Some("nameless")),
        (Kind::Record, Some("recorded")),
        (Kind::Snapshot, None),
        (Kind::Repository, None),
        (Kind::CacheMount, None),
        (Kind::Log, None),
        (Kind::Partial, None),
        (Kind::Damaged, None),
    ] {
        let (_space, store) = space();
        let store = filled(store);
        gc(&store, &Policy::default(), &|_, _| Ok(vec![])).unwrap();
        let report =
            gc(&store, &Policy { kinds: [kind].into(), ..Policy::default() }, &|_, _| Ok(vec![])).unwrap();
        assert!(report.kept.is_empty(), "{kind:?}: {:?}", report.kept);
        assert_eq!(report.count(kind), if kind == Kind::Snapshot { 2 } else { 1 }, "{kind:?}");
        assert_eq!(report.gone_blobs(), also.map(|text| Digest::of(text.as_bytes())).as_slice(), "{kind:?}");
        let left = survey(&store, &|_, _| Ok(vec![])).unwrap();
        assert!(left.verdicts.iter().all(|verdict| verdict.item.kind() != kind), "{kind:?}");
        assert_eq!(left.total.allocated, du("-B1", store.path()));
    }
}

#[test]
fn a_record_about_a_blob_that_an_image_needs_stays_with_the_image() {
    let (_space, store) = space();
    let far = Digest::of(b"far away");
    store.records().put("origin", &far, b"registry", &[]).unwrap();
    store.records().put("origin", &Digest::of(b"nobody's"), b"registry", &[]).unwrap();
    store.blobs().put_bytes(b"manifest").unwrap();
    store.names().set(&name("app"), &descriptor(b"manifest")).unwrap();
    let store = reopened(store);
    let all = Policy { kinds: Kind::ALL.into(), ..Policy::default() };
    let collect = |store: &Store| gc(store, &all, &|_, _| Ok(vec![far])).unwrap().count(Kind::Record);
    assert_eq!(collect(&store), 1);
    assert!(store.records().get("origin", &far).unwrap().hit().is_some());
    store.names().remove(&name("app")).unwrap();
    assert_eq!(collect(&reopened(store)), 1);
}

#[test]
fn what_living_processes_use_stays_and_the_verdict_says_so() {
    let (_space, store) = space();
    let (user, store) = (store.clone(), filled(store));
    let user = Store::open(user.path()).unwrap();
    user.blobs().hold(&Digest::of(b"nameless")).unwrap();
    user.blobs().hold(&Digest::of(b"recorded")).unwrap();
    for name in [b"named".as_slice(), b"nameless"] {
        user.snapshots().get(&DiffId(Digest::of(name))).unwrap();
    }
    let _held = (
        user.try_repository("far").unwrap(),
        user.cache_mount("/cache", Sharing::Shared, &mut |_| Ok(())).unwrap(),
        user.logs().writer("1-2", "0002").unwrap(),
        user.blobs().partial(&Digest::of(b"far"), 3).unwrap(),
    );
    let all = Policy { kinds: Kind::ALL.into(), ..Policy::default() };
    let report = gc(&store, &all, &|_, _| Ok(vec![])).unwrap();
    let stays: Vec<Kind> = report
        .verdicts
        .iter()
        .filter(|verdict| verdict.fate == Fate::InUse)
        .map(|verdict| verdict.item.kind())
        .collect();
    let expected = [
        Kind::Image,
        Kind::Snapshot,
        Kind::Snapshot,
        Kind::Repository,
        Kind::CacheMount,
        Kind::Log,
        Kind::Partial,
    ];
    assert_eq!(stays[..7], expected);
    user.blobs().verify(&Digest::of(b"recorded")).unwrap();
}
