//! What a context promises: what changes while it is read is noticed, a changed file is never taken for the old one, an
//! unchanged one is never read again, and what no step can select costs nothing.

use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::layer::Kind;
use crate::support::mounts::{Filesystem, Mounted};
use crate::support::{Outcome, TestSpace, image, requires, sha256, users};

/// Long enough to be read for a while.
const LARGE_BYTES: usize = 24 << 20;
/// Later than any filesystem's clock can blur.
const SETTLED: Duration = Duration::from_millis(2100);

/// Runs `disturb` over and over beside `work`.
fn beside<T>(disturb: impl Fn(u32) + Sync, work: impl FnOnce() -> T) -> T {
    let (stop, started) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0;
            while !stop.load(Ordering::Relaxed) {
                disturb(round);
                started.store(true, Ordering::Relaxed);
                round += 1;
            }
        });
        while !started.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        let _end = End(&stop);
        work()
    })
}

/// Says that what is beside is to stop, whether the work went well or not.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn build(space: &TestSpace, layout: &str) -> Outcome {
    let output = format!("type=oci,tar=false,dest={}", space.path(layout).display());
    space.build(&space.path("context")).args(["-o", &output]).run()
}

/// Returns the digest of the only file of the only layer.
fn only_file(space: &TestSpace, layout: &str) -> String {
    let image = image::read_one(&space.path(layout));
    let files = image.layers.iter().flat_map(|layer| &layer.entries).filter_map(|entry| match &entry.kind {
        Kind::File(_, digest, _) => Some(digest.clone()),
        _ => None,
    });
    let files: Vec<String> = files.collect();
    assert_eq!(files.len(), 1, "one file");
    files[0].clone()
}

#[test]
fn a_file_that_somebody_writes_to_is_noticed_and_named() {
    type Disturb = fn(&File, u32);
    let rows: [(&str, Disturb); 2] = [
        ("appended to", |file, _| (&*file).write_all(b"more").unwrap()),
        ("written over", |file, round| file.write_all_at(&round.to_le_bytes(), 12 << 20).unwrap()),
    ];
    for (name, disturb) in rows {
        let space = TestSpace::new();
        space.context("context", &[("Dockerfile", "FROM scratch\nCOPY large /\n")]);
        let path = space.file("context/large", vec![b'x'; LARGE_BYTES]);
        let file = match name {
            "appended to" => OpenOptions::new().append(true).open(&path).unwrap(),
            _ => OpenOptions::new().write(true).open(&path).unwrap(),
        };
        let outcome = beside(|round| disturb(&file, round), || build(&space, "layout"));
        assert_eq!(outcome.status.code(), Some(1), "{name}: {outcome}");
        outcome.says(&["`large` changed"]);
        // When it holds still, it is what it is now.
        build(&space, "after").success();
        assert_eq!(only_file(&space, "after"), sha256::of_file(&path), "{name}");
    }
}

#[test]
fn a_file_that_is_replaced_or_goes_is_whole_or_an_error_that_names_it() {
    let versions = [b'a', b'b'].map(|letter| vec![letter; 1 << 20]);
    let cut = vec![b'a'; 1000];
    let filled = [&cut[..], &vec![0; (1 << 20) - 1000]].concat();
    let states = [&versions[0], &versions[1], &cut, &filled].map(|state| sha256::of(state));
    type Disturb = fn(&Path, &[u8]);
    let rows: [(&str, Disturb); 4] = [
        ("cut and filled", |path, version| {
            let file = OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(1000).unwrap();
            file.set_len(version.len() as u64).unwrap();
        }),
        ("replaced", |path, version| {
            let other = path.with_extension("new");
            fs::write(&other, version).unwrap();
            fs::rename(other, path).unwrap();
        }),
        ("deleted", |path, version| {
            fs::remove_file(path).unwrap();
            let other = path.with_extension("new");
            fs::write(&other, version).unwrap();
            fs::rename(other, path).unwrap();
        }),
        ("in a directory that goes", |path, _| {
            let (directory, away) = (path.parent().unwrap(), path.parent().unwrap().with_extension("away"));
            fs::rename(directory, &away).unwrap();
            fs::rename(&away, directory).unwrap();
        }),
    ];
    for (name, disturb) in rows {
        let space = TestSpace::new();
        let dockerfile = "FROM scratch\nCOPY [\"sub/f\", \"/\"]\n";
        space.context("context", &[("Dockerfile", dockerfile), (".dockerignore", "**/*.new\n*.away\n")]);
        let path = space.file("context/sub/f", &versions[0]);
        let rounds: u32 = 6;
        for round in 0..rounds {
            let disturb = |turn: u32| disturb(&path, &versions[turn as usize % 2]);
            let outcome = beside(disturb, || build(&space, &format!("layout{round}")));
            if outcome.status.success() {
                let found = only_file(&space, &format!("layout{round}"));
                assert!(states.contains(&found), "{name}: a mixture, {found}");
            } else {
                let outcome = outcome.fails_with(1);
                let named = ["sub", "/f"].iter().any(|part| outcome.stderr.contains(part));
                assert!(named && outcome.stderr.contains("error"), "{name}: {outcome}");
            }
        }
    }
}

#[test]
fn an_edit_that_times_cannot_tell_is_never_missed() {
    edits_are_seen(&TestSpace::new());
}

#[test]
fn an_edit_on_a_filesystem_with_coarse_times_is_never_missed() {
    requires!("loop", "mkfs.ext4");
    let space = TestSpace::new();
    let mounted = Mounted::new(space.path("context"), Filesystem::CoarseExt4);
    edits_are_seen(&space);
    drop(mounted);
}

/// Edits a file between builds, keeping its size and its time, sometimes twice at once and sometimes when it had settled.
fn edits_are_seen(space: &TestSpace) {
    space.context("context", &[("Dockerfile", "FROM scratch\nCOPY f /\n"), ("f", "0000")]);
    let path = space.path("context/f");
    let kept = fs::metadata(&path).unwrap().modified().unwrap();
    let edit = |text: &str| {
        let mut file = File::create(&path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.set_times(FileTimes::new().set_modified(kept)).unwrap();
    };
    for round in 0..16 {
        if round % 5 == 4 {
            std::thread::sleep(SETTLED);
            build(space, "settled").success();
        }
        edit(&format!("{:04}", 9999 - round));
        if round % 2 == 1 {
            // Both edits may well lie in one tick of the clock, with a build between them.
            build(space, "between").success();
        }
        let text = format!("{round:04}");
        edit(&text);
        let layout = format!("layout{round}");
        build(space, &layout).success();
        assert_eq!(only_file(space, &layout), sha256::of(text.as_bytes()), "round {round}");
    }
}

#[test]
fn other_times_of_a_file_change_nothing_and_its_steps_stay_cached() {
    let space = TestSpace::new();
    let context = space.context("context", &[("Dockerfile", "FROM scratch\nCOPY f /\n"), ("f", "text")]);
    let expected = space.build(&context).run().success().digest();
    let file = File::options().write(true).open(space.path("context/f")).unwrap();
    file.set_times(FileTimes::new().set_modified(std::time::SystemTime::UNIX_EPOCH)).unwrap();
    assert_eq!(space.build(&context).run().success().says(&["CACHED"]).digest(), expected);
}

#[test]
fn an_unchanged_file_is_never_read_again() {
    requires!("root");
    let space = TestSpace::new();
    let mounted = Mounted::new(space.path("context"), Filesystem::Watched);
    space.context("context", &[("Dockerfile", "FROM scratch\nCOPY f /\n"), ("f", "text"), ("other", "x")]);
    let read = || fs::metadata(space.path("context/f")).unwrap();
    let time = |metadata: fs::Metadata| (metadata.atime(), metadata.atime_nsec());
    std::thread::sleep(SETTLED);
    let before = time(read());
    let expected = space.build(&space.path("context")).run().success().digest();
    let first = time(read());
    assert_ne!(first, before, "the first build reads it");
    space.file("context/other", "changed beside it");
    assert_eq!(space.build(&space.path("context")).run().success().digest(), expected);
    // Another definition with the same content, and a build that forgets everything but what files are.
    space.file("context/Dockerfile", "FROM scratch\nLABEL a=b\nCOPY f /\n");
    space.build(&space.path("context")).run().success().says(&["CACHED"]);
    assert_eq!(time(read()), first, "no later one does");
    space.file("context/f", "TEXT");
    assert_ne!(space.build(&space.path("context")).run().success().digest(), expected);
    assert_ne!(time(read()), first, "until it changes");
    drop(mounted);
}

#[test]
fn what_no_step_can_select_costs_nothing() {
    requires!("root", "setpriv", "timeout");
    let space = TestSpace::shared();
    let user = users::with_single_id(&space);
    let context = user.path("context");
    fs::create_dir_all(context.join("secret")).unwrap();
    fs::create_dir(context.join("src")).unwrap();
    fs::write(context.join("Dockerfile"), "FROM scratch\nCOPY src/*.txt /\nCOPY src /all/\n").unwrap();
    fs::write(context.join(".dockerignore"), "secret\n").unwrap();
    fs::write(context.join("src/a.txt"), "a").unwrap();
    fs::write(context.join("unreadable"), "x").unwrap();
    // To read it would take longer than anybody waits.
    File::create(context.join("sparse")).unwrap().set_len(1 << 42).unwrap();
    user.own(&context);
    for name in ["unreadable", "secret"] {
        fs::set_permissions(context.join(name), fs::Permissions::from_mode(0o000)).unwrap();
    }
    let call = space.kiln(["build", "--progress=plain"]).arg(&context).store(&user.path("store"));
    let started = Instant::now();
    call.under(["timeout", "100"]).user(&user).run().success();
    assert!(started.elapsed() < Duration::from_secs(100));
    fs::write(context.join("Dockerfile"), "FROM scratch\nCOPY unreadable /\n").unwrap();
    let call = space.kiln(["build", "--progress=plain"]).arg(&context).store(&user.path("store"));
    call.user(&user).run().fails_with(1).says(&["unreadable", "ermission denied"]);
}
