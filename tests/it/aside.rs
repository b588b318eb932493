//! What lies between the end of a step and the disk: blobs that are on their way or gone, a disk that fails, and kiln killed there.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::support::image::check_blobs;
use crate::support::served::mirror_config;
use crate::support::{Outcome, TestSpace, busybox, peers, requires};

/// Returns an archive of regular files and, where a target is given, hard links.
fn archive(members: &[(&str, Option<&str>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, target) in members {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        match target {
            Some(target) => {
                header.set_entry_type(tar::EntryType::Link);
                header.set_size(0);
                builder.append_link(&mut header, name, target).unwrap();
            }
            None => {
                header.set_size(name.len() as u64);
                builder.append_data(&mut header, name, name.as_bytes()).unwrap();
            }
        }
    }
    builder.into_inner().unwrap()
}

/// Clears folders of a store, or parts of them.
fn clear(store: &Path, folders: &[&str]) {
    for folder in folders {
        fs::remove_dir_all(store.join(folder)).unwrap();
        fs::create_dir_all(store.join(folder)).unwrap();
    }
}

#[test]
fn whatever_reads_a_layer_fetches_it_again_when_it_is_gone_and_its_listing_is_not() {
    requires!("root", "busybox");
    let mut served = busybox::images();
    let config = || json!({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]}});
    let (base, added) = (busybox::rootfs(), archive(&[("here/file", None)]));
    let linked = [base.clone(), archive(&[("link", Some("etc/passwd"))])];
    served.add_archives("library/linked:latest", config(), &linked);
    served.add_archives("library/free:latest", config(), &[base.clone(), added.clone()]);
    let mut directory = tar::Header::new_ustar();
    directory.set_entry_type(tar::EntryType::Directory);
    directory.set_mode(0o755);
    directory.set_size(0);
    let mut below = tar::Builder::new(Vec::new());
    below.append_data(&mut directory, "here", &[][..]).unwrap();
    let covered = [base, below.into_inner().unwrap(), added];
    served.add_archives("library/covered:latest", config(), &covered);
    let mut failed = Vec::new();
    let everything = &["blobs/sha256", "snapshots"][..];
    for (known, goes, lines) in [
        ("FROM busybox", everything, "FROM busybox\nCOPY --chown=nobody Dockerfile /"),
        ("FROM busybox", everything, "FROM busybox\nUSER nobody\nWORKDIR /new"),
        ("FROM busybox", everything, "FROM scratch\nCOPY --from=busybox /etc/passwd /"),
        ("FROM busybox", everything, "FROM busybox\nUSER nobody\nRUN true"),
        ("FROM linked", everything, "FROM scratch\nCOPY --from=linked /link /"),
        ("FROM linked", everything, "FROM busybox\nRUN --mount=from=linked,target=/m cat /m/link"),
        // Over another base the layer is unpacked to another directory.
        ("FROM free", &["blobs/sha256"], "FROM covered\nRUN cat /here/file"),
        ("FROM free", &["blobs/sha256"], "FROM scratch\nCOPY --from=covered /here/file /"),
    ] {
        let space = TestSpace::new();
        let server = served.clone().start();
        space.config(&mirror_config(&server.host()));
        let call = |name: &str, lines: &str| {
            let context = space.context(name, &[("Dockerfile", lines)]);
            space.build(&context).args(["-o", "type=cacheonly"]).on_a_damaged_store()
        };
        call("before", &format!("{known}\nRUN true\n")).run().success();
        clear(&space.store(), goes);
        let outcome = call("after", &format!("{lines}\n")).run();
        failed.extend((!outcome.status.success()).then(|| format!("{lines}: {outcome}")));
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Steps of every kind that makes layers, some of which read those before.
const STEPS: &str = "FROM busybox\nCOPY a /a\nRUN cat /a > /b\nUSER nobody\nWORKDIR /w\nUSER root\n\
    COPY --chown=nobody a /w/\nRUN cat /w/a /b > /c\nFROM busybox\nCOPY --from=0 /b /c /w /\n";

/// Lets calls of one build fail, in each thread the one of this number; returns how it ended and whether there was such a call.
fn build_with(space: &TestSpace, context: &Path, calls: &str, what: &str, number: usize) -> (Outcome, bool) {
    let trace = space.path("trace");
    let inject = format!("inject={calls}:{what}:when={number}");
    let is_kill = what.starts_with("signal");
    // With its filter strace 6.1 loses signals.
    let filter = if is_kill { &[][..] } else { &["--seccomp-bpf"] };
    let words = ["strace", "-f", "-qq"].iter().chain(filter).map(|word| (*word).to_owned());
    let more = [
        "-e".into(),
        format!("trace={calls}"),
        "-e".into(),
        inject,
        "-o".into(),
        trace.display().to_string(),
    ];
    let outcome =
        space.build(context).args(["-t", "app"]).under(words.chain(more)).on_a_damaged_store().run();
    let trace = fs::read_to_string(trace).unwrap();
    // A signal is not marked in the trace, but nobody can miss that one.
    let is_hit = trace.contains("(INJECTED)") || is_kill && !outcome.status.success();
    (outcome, is_hit)
}

/// A build whose n-th call fails ends well or with an error that says why, and the next one makes what is right.
fn check_faults(calls: &str, what: &str, says: Option<&str>) {
    requires!("root", "busybox", "strace", "cp");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    let context = space.context("context", &[("Dockerfile", STEPS), ("a", "content")]);
    let expected = space.build(&context).store(&space.path("sound")).run().success().digest();
    space.kiln(["pull", "busybox"]).run().success();
    let (store, pulled) = (space.store(), space.path("pulled"));
    fs::rename(&store, &pulled).unwrap();
    for number in 1.. {
        peers::run("cp", ["-a".as_ref(), pulled.as_os_str(), store.as_os_str()]);
        let (outcome, is_hit) = build_with(&space, &context, calls, what, number);
        match says {
            _ if outcome.status.success() => assert_eq!(outcome.digest(), expected, "{number}: {outcome}"),
            Some(text) => drop(outcome.fails_with(1).says(&[text])),
            None => assert!(is_hit, "{number}: {outcome}"),
        }
        check_blobs(&store);
        let next = space.build(&context).args(["-t", "app"]).run().success();
        assert_eq!(next.digest(), expected, "{calls} {what} {number}");
        fs::remove_dir_all(&store).unwrap();
        if !is_hit {
            assert!(number > 5, "too few calls of {calls}: {number}");
            break;
        }
    }
    drop(server);
}

#[test]
fn a_sync_that_fails_anywhere_in_a_build_is_told_and_leaves_nothing_wrong() {
    check_faults("fsync,fdatasync", "error=EIO", Some("nput/output error"));
}

#[test]
fn a_disk_that_is_full_at_any_sync_is_told_and_leaves_nothing_wrong() {
    check_faults("fsync,fdatasync", "error=ENOSPC", Some("o space left on device"));
}

#[test]
fn a_rename_that_fails_anywhere_in_a_build_is_told_and_leaves_nothing_wrong() {
    check_faults("rename,renameat,renameat2", "error=EROFS", Some("ead-only file system"));
}

#[test]
fn a_kill_at_any_sync_or_rename_of_a_build_leaves_a_store_that_the_next_one_can_use() {
    check_faults("fsync,fdatasync,rename,renameat,renameat2", "signal=KILL", None);
}
