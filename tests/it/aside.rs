//! What lies between the end of a step and the disk: blobs that are on their way or gone, a disk that fails, and kiln killed there.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::support::http::HttpServer;
use crate::support::image::check_blobs;
use crate::support::mounts::{Filesystem, Mounted};
use crate::support::served::mirror_config;
use crate::support::waiting::until;
use crate::support::{Outcome, TestSpace, busybox, peers, requires, users};

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

/// Serves the base to a place whose store nobody looks after in the background: a test takes it away and puts another one there.
fn serve(space: &TestSpace) -> HttpServer {
    let server = busybox::serve(space);
    space.config(&format!("{}\n[store]\nmax = \"none\"\n", mirror_config(&server.host())));
    server
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
    let server = serve(&space);
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
            // The more threads share the work, the fewer calls one of them makes.
            assert!(number > 1, "no call of {calls} was hit");
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
fn a_disk_that_is_full_after_any_page_is_told_and_leaves_nothing_wrong() {
    requires!("root", "busybox", "cp");
    let space = TestSpace::new();
    let server = serve(&space);
    let context = space.context("context", &[("Dockerfile", STEPS), ("a", "content")]);
    let expected = space.build(&context).store(&space.path("sound")).run().success().digest();
    let first = space.context("first", &[("Dockerfile", "FROM busybox\nRUN true\n")]);
    space.build(&first).args(["-o", "type=cacheonly"]).run().success();
    let disk = Mounted::new(space.path("disk"), Filesystem::Tmpfs("24m"));
    let (store, filler) = (disk.path.join("store"), disk.path.join("filler"));
    let build = || space.build(&context).store(&store);
    for pages in (0..).step_by(3) {
        peers::run("cp", ["-a".as_ref(), space.store().as_os_str(), store.as_os_str()]);
        let free = rustix::fs::statvfs(&disk.path).unwrap();
        let size = (free.f_bavail.saturating_sub(pages) * free.f_frsize).try_into().unwrap();
        fs::write(&filler, vec![0; size]).unwrap();
        let outcome = build().on_a_damaged_store().run();
        let is_enough = outcome.status.success();
        match is_enough {
            true => assert_eq!(outcome.digest(), expected, "{pages}: {outcome}"),
            false => drop(outcome.fails_with(1).says(&["o space left on device"])),
        }
        check_blobs(&store);
        fs::remove_file(&filler).unwrap();
        assert_eq!(build().run().success().digest(), expected, "{pages}");
        fs::remove_dir_all(&store).unwrap();
        if is_enough {
            assert!(pages > 30, "too few pages were written: {pages}");
            break;
        }
    }
    drop((server, disk));
}

#[test]
fn a_kill_at_any_sync_or_rename_of_a_build_leaves_a_store_that_the_next_one_can_use() {
    check_faults("fsync,fdatasync,rename,renameat,renameat2", "signal=KILL", None);
}

/// Returns the files of a name in all slots of cache mounts.
pub(crate) fn files_named(mounts: &Path, name: &str) -> Vec<PathBuf> {
    let inside = |path: PathBuf| fs::read_dir(path).into_iter().flatten().map(|entry| entry.unwrap().path());
    let slots = inside(mounts.to_owned()).flat_map(inside);
    slots.map(|slot| slot.join(name)).filter(|path| path.exists()).collect()
}

/// Returns the inode of each snapshot, which is another one when it was unpacked again, and the text of its note.
fn snapshots(store: &Path) -> BTreeMap<String, (u64, String)> {
    let names = fs::read_dir(store.join("snapshots")).unwrap().map(|entry| entry.unwrap().path());
    let found = names.filter(|path| path.is_dir()).map(|path| {
        let note = fs::read_to_string(path.with_extension("boot")).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, (fs::symlink_metadata(path).unwrap().ino(), note))
    });
    found.collect()
}

#[test]
fn layers_that_were_unpacked_a_while_ago_are_unpacked_no_more_when_the_machine_starts_again() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    let start = |lines: &str| {
        let context = space.context("context", &[("Dockerfile", &format!("FROM busybox\n{lines}"))]);
        space.build(&context).start()
    };
    let build = |lines: &str| {
        start(lines).wait().success();
        snapshots(&space.store())
    };
    let notes = || {
        snapshots(&space.store()).into_keys().map(|name| space.store().join("snapshots").join(name + ".boot"))
    };
    let first = build("RUN echo first > /first\n");
    assert!(first.values().all(|(_, note)| note.len() == 36), "young ones are not settled: {first:?}");
    let minutes = Duration::from_secs(300);
    for note in notes() {
        let written = fs::metadata(&note).unwrap().modified().unwrap() - minutes;
        fs::File::options().write(true).open(&note).unwrap().set_modified(written).unwrap();
    }
    // They are settled beside the step, which waits for it.
    let lines = "RUN echo first > /first\nRUN --mount=type=cache,target=/gate touch /gate/closed; echo second > /second; \
        while [ -e /gate/closed ]; do sleep 0.05; done\n";
    let running = start(lines);
    let is_settled = || first.keys().all(|name| snapshots(&space.store())[name].1 == "settled");
    until("snapshots are settled", is_settled);
    let gate = || files_named(&space.store().join("cachemounts"), "closed");
    until("the step runs", || !gate().is_empty());
    gate().iter().for_each(|gate| fs::remove_file(gate).unwrap());
    running.wait().success();
    let second = snapshots(&space.store());
    assert_eq!(second.len(), first.len() + 1);
    // The machine starts again.
    notes()
        .filter(|note| fs::read(note).unwrap() != b"settled")
        .for_each(|note| fs::write(note, "another").unwrap());
    let third =
        build("RUN echo first > /first\nRUN echo second > /second; sleep 2\nRUN cat /first /second\n");
    for (name, (inode, _)) in &second {
        assert_eq!(third[name].0 == *inode, first.contains_key(name), "{name}: {second:?} {third:?}");
    }
    drop(server);
}

#[test]
fn layers_that_were_unpacked_with_fewer_rights_are_unpacked_again_with_more() {
    requires!("root", "busybox", "setpriv", "newuidmap");
    let space = TestSpace::shared();
    let server = busybox::serve(&space);
    let user = users::with_subordinate_ids(&space);
    let made = "FROM busybox\nRUN touch /file; chown 5:6 /file\n";
    let seen = format!("{made}RUN stat -c %u:%g /file > /seen; chmod 600 /file\n");
    let [before, after] = [("before", made), ("after", &*seen)]
        .map(|(name, lines)| space.context(name, &[("Dockerfile", lines)]));
    let call = |context: &Path, store: &str| space.build(context).user(&user).store(&user.path(store));
    let expected = call(&after, "fresh").run().success().digest();
    // Where newuidmap may not become root there is one id only.
    call(&before, "store").under(["setpriv", "--no-new-privs"]).run().success();
    assert_eq!(call(&after, "store").run().success().digest(), expected);
    drop(server);
}

#[test]
fn a_build_beside_one_that_is_killed_makes_what_is_right() {
    requires!("root", "busybox", "cp");
    let space = TestSpace::new();
    let server = serve(&space);
    let context = space.context("context", &[("Dockerfile", STEPS), ("a", "content")]);
    let expected = space.build(&context).store(&space.path("sound")).run().success().digest();
    let build = || space.build(&context).args(["-t", "app"]);
    let mut killed = 0;
    for turn in 0..12 {
        // What the dead leaves in scratch is collected by the next build.
        let (mut dying, living) =
            (build().on_a_damaged_store().start(), build().on_a_damaged_store().start());
        std::thread::sleep(Duration::from_millis(turn * 50));
        dying.child.kill().unwrap();
        killed += u32::from(dying.wait().status.code().is_none());
        assert_eq!(living.wait().success().digest(), expected, "turn {turn}");
        assert_eq!(build().run().success().digest(), expected, "turn {turn}");
        check_blobs(&space.store());
        fs::remove_dir_all(space.store()).unwrap();
    }
    assert!(killed > 0, "no build was killed");
    drop(server);
}
