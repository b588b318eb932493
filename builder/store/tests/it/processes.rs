//! Several users of one store at once: threads with their own handles (locks are per open file), and a killed process.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use kiln_oci::{Digest, Reference};
use kiln_store::fsck::fsck;
use kiln_store::gc::{Kind, Policy, gc};
use kiln_store::{Partial, Sharing, Store};

use crate::scenario::descriptor;

#[test]
fn names_set_at_the_same_time_are_all_kept() {
    let space = tempfile::tempdir().unwrap();
    let root = space.path().join("store");
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let root = &root;
            scope.spawn(move || {
                let store = Store::open(root).unwrap();
                for number in 0..5 {
                    let bytes = format!("{thread} {number}").into_bytes();
                    store.blobs().put_bytes(&bytes).unwrap();
                    let name: Reference = format!("example.org/app:{thread}-{number}").parse().unwrap();
                    store.names().set(&name, &descriptor(&bytes)).unwrap();
                }
            });
        }
    });
    assert_eq!(Store::open(&root).unwrap().names().list().unwrap().len(), 20);
}

#[test]
fn builds_and_a_gc_at_once_lose_nothing() {
    let space = tempfile::tempdir().unwrap();
    let root = space.path().join("store");
    Store::open(&root).unwrap();
    std::thread::scope(|scope| {
        let builds: Vec<_> = (0..2).map(|_| scope.spawn(|| build_often(&root))).collect();
        while builds.iter().any(|build| !build.is_finished()) {
            let store = Store::open(&root).unwrap();
            let oldest = Policy { kinds: Kind::ALL.into(), ..Policy::default() };
            gc(&store, &oldest, &|_, _| Ok(vec![])).unwrap();
        }
    });
    assert!(fsck(&Store::open(&root).unwrap()).unwrap().problems.is_empty());
}

fn build_often(root: &std::path::Path) {
    for round in 0..15_u8 {
        let store = Store::open(root).unwrap();
        let digests: Vec<Digest> =
            (0..4).map(|number| store.blobs().put_bytes(&[round / 3, number]).unwrap()).collect();
        let key = Digest::of(&[round / 3]);
        store.records().put("steps", &key, b"", &digests).unwrap();
        for digest in &digests {
            store.blobs().verify(digest).unwrap();
        }
        if let Some(record) = store.records().get("steps", &key).unwrap().hit() {
            for digest in &record.blobs {
                store.blobs().verify(digest).unwrap();
            }
        }
    }
}

#[test]
fn who_only_looks_whether_a_private_cache_mount_or_a_repository_is_in_use_takes_it_from_nobody() {
    let space = tempfile::tempdir().unwrap();
    let store = Store::open(space.path()).unwrap();
    let open = || store.cache_mount("pip", Sharing::Private, &mut |_| Ok(())).unwrap().path().to_owned();
    let first = open();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let other = Store::open(space.path()).unwrap();
            let look = Policy { kinds: Kind::ALL.into(), is_dry_run: true, ..Policy::default() };
            while !is_over.load(Ordering::Relaxed) {
                for _ in 0..100 {
                    other.mount_slots().unwrap();
                }
                gc(&other, &look, &|_, _| Ok(vec![])).unwrap();
                gc(&other, &Policy::default(), &|_, _| Ok(vec![])).unwrap();
            }
        });
        let taken = (0..1000).filter(|_| open() != first || store.try_repository("git").unwrap().is_none());
        let taken = taken.count();
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(taken, 0);
    });
}

#[test]
fn a_blob_fetched_by_two_at_once_arrives_once() {
    let space = tempfile::tempdir().unwrap();
    let store = Store::open(space.path()).unwrap();
    let bytes = b"far away";
    let fetched: usize = std::thread::scope(|scope| {
        let fetch = || {
            let store = Store::open(space.path()).unwrap();
            match store.blobs().partial(&Digest::of(bytes), bytes.len() as u64).unwrap() {
                Partial::There => 0,
                Partial::Resume(mut partial) => {
                    partial.append(bytes).unwrap();
                    partial.commit().unwrap();
                    1
                }
            }
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(fetch)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(fetched, 1);
    store.blobs().verify(&Digest::of(bytes)).unwrap();
}

#[test]
fn a_killed_process_leaves_a_sound_store_and_its_scratch_goes() {
    let space = tempfile::tempdir().unwrap();
    let root = space.path().join("store");
    let store = Store::open(&root).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "processes::child_that_writes_until_it_is_killed", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{}", root.display()).unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("round 20")), "the child ended early");
    assert!(!store.blobs().list().unwrap().is_empty());
    // Alive, its blobs and scratch stay.
    assert_eq!(gc(&store, &Policy::default(), &|_, _| Ok(vec![])).unwrap().gone_blobs(), []);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(store.collect_dead_scratch().unwrap().removed >= 1);
    assert!(fsck(&store).unwrap().problems.is_empty());
    assert!(gc(&store, &Policy::default(), &|_, _| Ok(vec![])).unwrap().gone_blobs().len() >= 20);
    assert_eq!(std::fs::read_dir(root.join("scratch")).unwrap().count(), 0);
}

/// Does nothing unless its parent, the test above, tells it where.
#[test]
fn child_that_writes_until_it_is_killed() {
    let mut root = String::new();
    std::io::stdin().read_line(&mut root).unwrap();
    if root.trim_end().is_empty() || !std::path::Path::new(root.trim_end()).join("kiln.json").exists() {
        return;
    }
    let store = Store::open(root.trim_end()).unwrap();
    let scratch = store.scratch("child").unwrap();
    std::fs::write(scratch.path().join("file"), "x").unwrap();
    for round in 1_u32.. {
        store.blobs().put_bytes(&round.to_le_bytes()).unwrap();
        println!("round {round}");
    }
}
