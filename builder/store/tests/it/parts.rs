//! Each part of the store by itself.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use kiln_oci::{DiffId, Digest, Reference};
use kiln_store::fsck::{Problem, fsck, mend, mend_held};
use kiln_store::{DamageReason, Lookup, Partial, Sharing, Store, StoreError};

use crate::scenario::descriptor;

pub(crate) fn space() -> (tempfile::TempDir, Store) {
    let space = tempfile::tempdir().unwrap();
    let store = Store::open(space.path().join("store")).unwrap();
    (space, store)
}

pub(crate) fn name(text: &str) -> Reference {
    text.parse().unwrap()
}

#[test]
fn a_store_of_another_format_or_none_is_refused_with_its_reason() {
    let cases = [
        (Some("{\"format\":0}"), "store format is too old"),
        (Some("{\"format\":2}"), "store format is too new"),
        (Some("{}"), "damaged document"),
        (Some(""), "damaged document"),
        (None, "not a kiln store"),
    ];
    for (version, expected) in cases {
        let (_space, store) = space();
        let path = store.path().join("kiln.json");
        match version {
            Some(text) => std::fs::write(&path, text).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        let error = Store::open(store.path()).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{version:?}: {error}");
    }
}

#[test]
fn modes_do_not_depend_on_the_umask_and_what_steps_leave_is_closed_to_others() {
    let space = tempfile::tempdir().unwrap();
    let root = space.path().join("store");
    let mut child = Command::new("sh")
        .args(["-c", "umask 077; exec \"$0\" --exact parts::child_that_fills_a_store"])
        .arg(std::env::current_exe().unwrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{}", root.display()).unwrap();
    assert!(child.wait().unwrap().success());
    let mut count = 0;
    for entry in walkdir::WalkDir::new(&root) {
        let entry = entry.unwrap();
        let is_closed = ["snapshots", "cachemounts", "scratch"]
            .map(|name| root.join(name))
            .contains(&entry.path().into());
        let expected = if is_closed {
            0o700
        } else if entry.file_type().is_dir() {
            0o755
        } else {
            0o644
        };
        let mode = entry.metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, expected, "{}", entry.path().display());
        count += 1;
    }
    assert!(count > 15, "only {count} entries");
}

/// Does nothing unless its parent, the test above, tells it where.
#[test]
fn child_that_fills_a_store() {
    let mut root = String::new();
    std::io::stdin().read_line(&mut root).unwrap();
    if !root.trim_end().ends_with("/store") {
        return;
    }
    let store = Store::open(root.trim_end()).unwrap();
    let blob = store.blobs().put_bytes(b"x").unwrap();
    store.records().put("steps", &blob, b"", &[blob]).unwrap();
    store.logs().writer("build", "step").unwrap().write_all(b"x").unwrap();
    store.cache_mount("id", Sharing::Shared, &mut |_| Ok(())).unwrap();
    assert!(matches!(store.blobs().partial(&Digest::of(b"far"), 3).unwrap(), Partial::Resume(_)));
    store.publish_snapshot(store.scratch("unpack").unwrap(), &DiffId(blob)).unwrap();
}

#[test]
fn a_blob_with_the_wrong_digest_is_refused_and_leaves_nothing() {
    let (_space, store) = space();
    let mut writer = store.blobs().writer();
    writer.write_all(b"bad").unwrap();
    let error = writer.commit(Some(&Digest::of(b"good"))).unwrap_err();
    assert!(matches!(error, StoreError::WrongDigest { .. }), "{error}");
    assert_eq!(store.blobs().list().unwrap(), []);
    assert_eq!(std::fs::read_dir(store.path().join("scratch")).unwrap().count(), 0);
}

#[test]
fn a_blob_is_read_only_as_far_as_it_is_good_and_small_enough() {
    let (_space, store) = space();
    let digest = store.blobs().put_bytes(b"hello").unwrap();
    assert_eq!(store.blobs().read_bytes(&digest, 5).unwrap(), b"hello");
    assert!(matches!(store.blobs().read_bytes(&digest, 4), Err(StoreError::BlobTooLarge { .. })));
    std::fs::write(store.path().join("blobs/sha256").join(digest.hex()), "hellO").unwrap();
    assert!(matches!(store.blobs().read_bytes(&digest, 5), Err(StoreError::WrongDigest { .. })));
    let mut bytes = Vec::new();
    assert!(store.blobs().open_verified(&digest).unwrap().read_to_end(&mut bytes).is_err());
    assert!(store.blobs().read_bytes(&Digest::of(b""), 5).unwrap_err().is_not_found());
}

#[test]
fn a_damaged_blob_is_replaced_when_it_is_written_again() {
    let (_space, store) = space();
    let digest = Digest::of(b"hello");
    let path = store.path().join("blobs/sha256").join(digest.hex());
    for damaged in ["", "he", "hellO"] {
        std::fs::write(&path, damaged).unwrap();
        store.blobs().put_bytes(b"hello").unwrap();
        store.blobs().verify(&digest).unwrap();
        std::fs::write(&path, damaged).unwrap();
        let mut writer = store.blobs().writer();
        writer.write_all(b"hello").unwrap();
        assert_eq!(writer.commit(None).unwrap(), (digest, 5));
        store.blobs().verify(&digest).unwrap();
    }
}

#[test]
fn a_dropped_pull_resumes_and_a_bad_one_starts_again() {
    let (_space, store) = space();
    let (good, digest) = (b"0123456789", Digest::of(b"0123456789"));
    let resume = || match store.blobs().partial(&digest, 10).unwrap() {
        Partial::Resume(partial) => partial,
        Partial::There => panic!("it is not there yet"),
    };
    resume().append(&good[..4]).unwrap();
    assert_eq!(resume().len_bytes(), 4);
    assert!(matches!(resume().commit(), Err(StoreError::WrongSize { actual: 4, .. })));
    assert!(matches!(resume().append(&good[..7]), Err(StoreError::WrongSize { actual: 11, .. })));
    let mut partial = resume();
    partial.append(b"999999").unwrap();
    assert!(matches!(partial.commit(), Err(StoreError::WrongDigest { .. })));
    let mut partial = resume();
    assert_eq!(partial.len_bytes(), 0);
    let (first, rest) = good.split_at(4);
    partial.append(first).unwrap();
    let mut hasher = partial.hasher();
    hasher.update(rest);
    partial.append_hashed(rest, hasher).unwrap();
    partial.commit().unwrap();
    assert!(matches!(store.blobs().partial(&digest, 10).unwrap(), Partial::There));
}

#[test]
fn names_keep_what_other_tools_wrote() {
    let (_space, store) = space();
    let manifest = store.blobs().put_bytes(b"{}").unwrap();
    let foreign = format!(
        r#"{{"schemaVersion":2,"custom":[1],"manifests":[
            {{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{manifest}","size":2,
              "annotations":{{"org.opencontainers.image.ref.name":"latest"}},"note":"kept"}},
            {{"mediaType":"x/y","digest":"sha512:00","size":1}}]}}"#
    );
    std::fs::write(store.path().join("index.json"), foreign).unwrap();
    store.names().set(&name("app:1"), &descriptor(b"{}")).unwrap();
    let listed = store.names().list().unwrap();
    assert_eq!(listed.len(), 2, "the entry with another digest algorithm is not shown");
    assert_eq!((&listed[0].reference, listed[0].foreign_name.as_deref()), (&None, Some("latest")));
    assert_eq!(listed[1].reference, Some(name("app:1")));
    let text = std::fs::read_to_string(store.path().join("index.json")).unwrap();
    for kept in ["\"custom\":[1]", "\"note\":\"kept\"", "sha512:00", "docker.io/library/app:1"] {
        assert!(text.contains(kept), "{kept} in {text}");
    }
    assert_eq!(store.names().remove(&name("app:1")).unwrap(), Some(descriptor(b"{}")));
    assert_eq!(store.names().get(&name("app:1")).unwrap(), None);
}

#[test]
fn a_name_that_moves_answers_what_had_it() {
    let (_space, store) = space();
    for bytes in [b"old", b"new"] {
        store.blobs().put_bytes(bytes).unwrap();
    }
    assert_eq!(store.names().set(&name("app"), &descriptor(b"old")).unwrap(), None);
    assert_eq!(store.names().set(&name("app"), &descriptor(b"new")).unwrap(), Some(descriptor(b"old")));
    store.names().add_untagged(&descriptor(b"old")).unwrap();
    store.names().add_untagged(&descriptor(b"old")).unwrap();
    assert_eq!(store.names().list().unwrap().len(), 2);
    assert!(store.names().remove_untagged(&Digest::of(b"old")).unwrap());
    assert!(!store.names().remove_untagged(&Digest::of(b"new")).unwrap(), "it has a name");
}

#[test]
fn an_unchanged_name_writes_nothing() {
    let (_space, store) = space();
    store.blobs().put_bytes(b"x").unwrap();
    store.names().set(&name("app"), &descriptor(b"x")).unwrap();
    let inode =
        || std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(store.path().join("index.json")).unwrap());
    let before = inode();
    store.names().set(&name("app"), &descriptor(b"x")).unwrap();
    assert_eq!(inode(), before);
}

#[test]
fn a_record_is_a_hit_only_while_its_blobs_are_there() {
    let (_space, store) = space();
    let (key, blob) = (Digest::of(b"key"), store.blobs().put_bytes(b"blob").unwrap());
    store.records().put("steps", &key, b"payload", &[blob]).unwrap();
    let record = store.records().get("steps", &key).unwrap().hit().unwrap();
    assert_eq!((&*record.payload, &*record.blobs), (&b"payload"[..], &[blob][..]));
    std::fs::remove_file(store.path().join("blobs/sha256").join(blob.hex())).unwrap();
    assert_eq!(store.records().get("steps", &key).unwrap(), Lookup::Miss);
    let missing = store.records().put("steps", &key, b"", &[blob]);
    assert!(matches!(missing, Err(StoreError::BlobMissing { digest }) if digest == blob));
    assert!(matches!(store.records().get("../x", &key), Err(StoreError::InvalidName { .. })));
}

#[test]
fn a_record_that_is_not_what_was_written_is_a_damaged_one() {
    let (_space, store) = space();
    let key = Digest::of(b"key");
    store.records().put("steps", &key, b"payload", &[]).unwrap();
    let path = store.path().join("records/steps").join(key.hex());
    let good = std::fs::read(&path).unwrap();
    let changed = |at: usize, to: u8| {
        let mut bytes = good.clone();
        bytes[at] = to;
        bytes
    };
    let cases = [
        (vec![], DamageReason::NoHeader),
        (vec![0; good.len()], DamageReason::NoHeader),
        (changed(8, 0), DamageReason::TooOld(0)),
        (changed(8, 9), DamageReason::TooNew(9)),
        (good[..good.len() - 1].to_vec(), DamageReason::Torn),
        (changed(15, 255), DamageReason::Torn),
        (changed(good.len() - 1, 0), DamageReason::Checksum),
        (changed(30, 0), DamageReason::Checksum),
    ];
    for (bytes, reason) in cases {
        std::fs::write(&path, bytes).unwrap();
        match store.records().get("steps", &key).unwrap() {
            Lookup::Damaged(damage) => assert_eq!(damage.reason, reason),
            other => panic!("{reason}: {other:?}"),
        }
    }
    // A good record under another key or kind is no better.
    for other in
        [path.with_file_name(Digest::of(b"other").hex()), store.path().join("records/kinds").join(key.hex())]
    {
        std::fs::create_dir_all(other.parent().unwrap()).unwrap();
        std::fs::write(other, &good).unwrap();
    }
    assert!(matches!(store.records().get("steps", &Digest::of(b"other")).unwrap(), Lookup::Damaged(_)));
    assert!(matches!(store.records().get("kinds", &key).unwrap(), Lookup::Damaged(_)));
}

#[test]
fn a_snapshot_is_published_once_and_distrusted_after_a_power_cut() {
    let (_space, store) = space();
    let diff_id = DiffId(Digest::of(b"layer"));
    let publish = |content: &str| {
        let scratch = store.scratch("unpack").unwrap();
        std::fs::write(scratch.path().join("file"), content).unwrap();
        store.publish_snapshot(scratch, &diff_id).unwrap()
    };
    assert_eq!(store.snapshots().get(&diff_id).unwrap(), None);
    let path = publish("first");
    assert_eq!(
        (publish("second"), std::fs::read_to_string(path.join("file")).unwrap()),
        (path.clone(), "first".into())
    );
    let note = store.path().join("snapshots").join(format!("{}.boot", diff_id.0.hex()));
    for uncertain in [Some("another boot"), Some(""), None] {
        match uncertain {
            Some(text) => std::fs::write(&note, text).unwrap(),
            None => std::fs::remove_file(&note).unwrap(),
        }
        assert_eq!(store.snapshots().get(&diff_id).unwrap(), None, "{uncertain:?}");
        publish(&format!("{uncertain:?}"));
        assert_eq!(std::fs::read_to_string(path.join("file")).unwrap(), format!("{uncertain:?}"));
    }
}

#[test]
fn cache_mounts_are_shared_locked_or_private_and_filled_once() {
    let (_space, store) = space();
    let mut fills = 0;
    let mut open = |sharing| {
        let mut fill = |path: &Path| {
            fills += 1;
            std::fs::write(path.join("seed"), "x")
        };
        store.cache_mount("pip\ncache", sharing, &mut fill).unwrap()
    };
    let first = open(Sharing::Shared);
    let second = open(Sharing::Shared);
    assert_eq!(first.path(), second.path());
    let private = open(Sharing::Private);
    assert_ne!(private.path(), first.path());
    drop((first, second));
    let locked = open(Sharing::Locked);
    let also_private = open(Sharing::Private);
    assert_ne!(also_private.path(), locked.path());
    assert_ne!(also_private.path(), private.path());
    assert_eq!(store.cache_mounts().unwrap()[0].0, "pip\ncache");
    drop((locked, private));
    assert_eq!(store.remove_cache_mount("pip\ncache").unwrap(), 2, "one of three is in use");
    assert!(also_private.path().join("seed").exists());
    assert_eq!(fills, 3);
}

#[test]
fn what_is_remembered_of_a_cache_mount_goes_with_it() {
    let (_space, store) = space();
    let open = || store.cache_mount("id", Sharing::Shared, &mut |_| Ok(())).unwrap();
    let read = |mount: &kiln_store::CacheMount| {
        mount.memory().unwrap().read().unwrap().map(|(bytes, _)| String::from_utf8(bytes).unwrap())
    };
    let mount = open();
    assert_eq!(read(&mount).as_deref(), Some(""), "a new mount was seen by nobody");
    mount.memory().unwrap().write(b"seen").unwrap();
    let shown = store.scratch("shown").unwrap();
    std::fs::write(shown.path().join("file"), "x").unwrap();
    mount.memory().unwrap().give_shown(shown).unwrap();
    drop(mount);

    let mount = open();
    assert_eq!(read(&mount).as_deref(), Some("seen"));
    let scratch = store.scratch("taken").unwrap();
    let taken = scratch.path().join("taken");
    assert!(mount.memory().unwrap().take_shown(&taken).unwrap());
    assert_eq!(std::fs::read_to_string(taken.join("file")).unwrap(), "x");
    assert!(!mount.memory().unwrap().take_shown(&taken.join("again")).unwrap(), "there is one");
    std::fs::write(taken.join("boot"), "another start of the machine").unwrap();
    let folder = mount.path().parent().unwrap().to_owned();
    std::fs::rename(taken, folder.join("0.shown")).unwrap();
    assert!(!mount.memory().unwrap().take_shown(&scratch.path().join("old")).unwrap(), "it was not synced");
    std::fs::remove_file(folder.join("0.seen")).unwrap();
    assert_eq!(read(&mount), None, "lost");
    mount.memory().unwrap().write(b"seen").unwrap();
    drop(mount);

    assert_eq!(store.remove_cache_mount("id").unwrap(), 1);
    assert_eq!(
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>(),
        ["id"]
    );
    std::fs::write(folder.join("0.seen"), "left by somebody who was killed").unwrap();
    assert_eq!(read(&open()).as_deref(), Some(""));
}

#[test]
fn who_works_in_a_cache_mount_knows_of_company() {
    let (_space, store) = space();
    let mount = store.cache_mount("id", Sharing::Shared, &mut |_| Ok(())).unwrap();
    let enter = || mount.memory().unwrap().enter().unwrap();
    let first = enter();
    let second = enter();
    assert!(!first.has_company && second.has_company);
    drop(first);
    assert!(enter().has_company, "the second is there still");
    drop(second);
    assert!(!enter().has_company);
}

#[test]
fn a_failed_fill_leaves_no_cache_mount() {
    let (_space, store) = space();
    let mut fail = |_: &Path| Err(std::io::ErrorKind::StorageFull.into());
    assert!(store.cache_mount("id", Sharing::Shared, &mut fail).unwrap_err().is_disk_full());
    let mount = store.cache_mount("id", Sharing::Shared, &mut |_| Ok(())).unwrap();
    assert_eq!(std::fs::read_dir(mount.path()).unwrap().count(), 0);
}

#[test]
fn locks_by_name_exclude_each_other() {
    let (_space, store) = space();
    let held = store.lock("pull docker.io/library/debian").unwrap();
    assert!(store.try_lock("pull docker.io/library/debian").unwrap().is_none());
    assert!(store.try_lock("another").unwrap().is_some());
    drop(held);
    assert!(store.try_lock("pull docker.io/library/debian").unwrap().is_some());
}

#[test]
fn many_records_are_looked_up_in_order() {
    let (_space, store) = space();
    let [first, second, third] = [b"1", b"2", b"3"].map(|bytes| Digest::of(bytes));
    let gone = store.blobs().put_bytes(b"gone").unwrap();
    store.records().put("steps", &first, b"first", &[gone]).unwrap();
    store.records().put("steps", &third, b"third", &[]).unwrap();
    std::fs::remove_file(store.path().join("blobs/sha256").join(gone.hex())).unwrap();
    let found = store.records().get_many("steps", &[third, second, first]).unwrap();
    let payloads: Vec<_> = found.into_iter().map(|found| found.hit().map(|record| record.payload)).collect();
    assert_eq!(payloads, [Some(b"third".to_vec()), None, None]);
}

#[test]
fn fsck_finds_all_kinds_of_damage_and_mends_it() {
    let (_space, store) = space();
    let (rotten, gone) =
        (store.blobs().put_bytes(b"rotten").unwrap(), store.blobs().put_bytes(b"gone").unwrap());
    let blobs = store.path().join("blobs/sha256");
    store.names().set(&name("app"), &descriptor(b"gone")).unwrap();
    store.records().put("steps", &Digest::of(b"dangling"), b"", &[gone]).unwrap();
    store.records().put("steps", &Digest::of(b"torn"), b"payload", &[]).unwrap();
    std::fs::write(store.path().join("records/steps").join(Digest::of(b"torn").hex()), "x").unwrap();
    std::fs::write(blobs.join(rotten.hex()), "Rotten").unwrap();
    std::fs::remove_file(blobs.join(gone.hex())).unwrap();
    std::fs::write(blobs.join("stray"), "").unwrap();
    std::fs::create_dir(store.path().join("snapshots/stray")).unwrap();
    let report = fsck(&store).unwrap();
    let kinds: Vec<&str> = report.problems.iter().map(kind_of).collect();
    let mut sorted = kinds.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, ["blob", "dangling", "manifest", "record", "stray", "stray"], "{:?}", report.problems);
    assert_eq!(mend(&store, &report).unwrap(), 6);
    assert!(fsck(&store).unwrap().problems.is_empty());
    std::fs::write(store.path().join("index.json"), "[]").unwrap();
    let report = fsck(&store).unwrap();
    assert_eq!(report.problems.iter().map(kind_of).collect::<Vec<_>>(), ["index"]);
    mend(&store, &report).unwrap();
    assert!(fsck(&store).unwrap().problems.is_empty());
}

fn kind_of(problem: &Problem) -> &'static str {
    match problem {
        Problem::BlobDamaged { .. } => "blob",
        Problem::Unchecked(_) => "unchecked",
        Problem::Stray { .. } => "stray",
        Problem::IndexDamaged(_) => "index",
        Problem::ManifestMissing { .. } => "manifest",
        Problem::RecordDamaged(_) => "record",
        Problem::RecordDangling { .. } => "dangling",
        Problem::ContainerDamaged { .. } | Problem::ContainerDangling { .. } => "container",
    }
}

#[test]
fn an_error_names_the_path() {
    let space = tempfile::tempdir().unwrap();
    let blocked = space.path().join("file");
    std::fs::write(&blocked, "").unwrap();
    let error = Store::open(blocked.join("store")).unwrap_err();
    assert!(error.to_string().contains(blocked.to_str().unwrap()), "{error}");
}

#[test]
fn damage_is_moved_away_where_it_is_in_use_or_suspected_and_nowhere_else() {
    let (space, store) = space();
    let [held, suspected, other, good] =
        [b"held", b"susp", b"othe", b"good"].map(|bytes| store.blobs().put_bytes(bytes).unwrap());
    drop(store);
    let store = Store::open(space.path().join("store")).unwrap();
    for digest in [held, good] {
        assert!(store.blobs().hold(&digest).unwrap());
    }
    for digest in [held, suspected, other] {
        std::fs::write(store.path().join("blobs/sha256").join(digest.hex()), "else").unwrap();
    }
    assert_eq!(mend_held(&store, &[suspected]).unwrap(), [suspected, held]);
    let there = [held, suspected, other, good].map(|digest| store.blobs().contains(&digest).unwrap());
    assert_eq!(there, [false, false, true, true]);
}

#[test]
fn blobs_are_written_and_fetched_after_somebody_cleared_the_folder_or_cut_one_short() {
    let (_space, store) = space();
    let folder = store.path().join("blobs/sha256");
    let digest = store.blobs().put_bytes(b"text").unwrap();
    std::fs::remove_dir_all(store.path().join("blobs")).unwrap();
    assert_eq!(store.blobs().put_bytes(b"text").unwrap(), digest);
    std::fs::write(folder.join(digest.hex()), "te").unwrap();
    let Partial::Resume(mut partial) = store.blobs().partial(&digest, 4).unwrap() else {
        panic!("a blob that is too short is not there")
    };
    partial.append(b"text").unwrap();
    partial.commit().unwrap();
    store.blobs().verify(&digest).unwrap();
}
