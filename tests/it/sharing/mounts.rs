//! Cache mounts that travel with a cache: `mounts=true`.

use std::fs;
use std::path::{Path, PathBuf};

use super::places::Place;
use super::{build_in, with_each_place};
use crate::support::mounts::{Filesystem, Mounted};
use crate::support::sha256;
use crate::support::{Invocation, Outcome, TestSpace, busybox, requires};

/// Objects made of sources, each said when it is made: one of some size, that does not shrink, and a small one.
const STEP: &str = "for name in a b; do \
    if [ ! -e /objects/$name ] || ! cmp -s /src/$name /objects/$name.src; then \
    echo made-$name; cp /src/$name /objects/$name.src; cat /src/$name /src/$name > /objects/$name; fi; done; \
    cat /objects/a /objects/b | md5sum > /result";

/// Bytes of the source that is not small.
const A_BYTES: usize = 1 << 20;

/// Bytes that do not shrink.
fn noise(count: usize, seed: u64) -> Vec<u8> {
    let mut word = seed;
    let next = |_| {
        word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (word >> 33).to_le_bytes()[0]
    };
    (0..count).map(next).collect()
}

/// A project with a step that keeps objects.
fn project(space: &TestSpace) -> PathBuf {
    let dockerfile = format!(
        "FROM scratch\nADD base.tar /\nCOPY src /src\n\
         RUN --mount=type=cache,id=objects,target=/objects {STEP}\n"
    );
    let context = space.context("context", &[("Dockerfile", &*dockerfile)]);
    space.file("context/base.tar", busybox::rootfs());
    space.file("context/src/a", noise(A_BYTES, 1));
    space.file("context/src/b", "b1");
    context
}

/// Builds without a cache of results, so that all depends on the objects.
fn build(space: &TestSpace, place: &Place, store: &str) -> Invocation {
    let call = space.kiln(["build", "--progress=json", "--no-cache"]).arg(space.path("context"));
    call.store(&space.path(store))
        .env("AWS_PROFILE", "builders")
        .arg(format!("--cache-from={},mounts=true", place.from))
        .arg(format!("--cache-to={},mounts=true", place.to))
}

/// What the step said it made.
fn made(outcome: &Outcome) -> Vec<&str> {
    let words = outcome.stderr.split(|letter: char| letter == '"' || letter.is_whitespace());
    let mut made: Vec<&str> = words.filter_map(|word| word.strip_prefix("made-")).collect();
    made.retain(|name| *name != "$name;");
    made
}

/// How many bytes a journey moved.
fn moved(outcome: &Outcome, journey: &str) -> u64 {
    let lines =
        outcome.stderr.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut of_journey = lines.filter(|line| line["event"] == "task-moved");
    let is_it = |line: &serde_json::Value| line["task"].as_str().unwrap().starts_with(journey);
    let done = of_journey.by_ref().filter(is_it).filter_map(|line| line["done"].as_u64());
    done.last().unwrap_or(0)
}

#[test]
fn what_one_store_has_made_another_does_not_make_again_and_only_what_changed_moves() {
    requires!("root", "busybox");
    with_each_place(|space, place| {
        project(space);
        let build = |store| build(space, &place, store).run().success();
        let first = build("first");
        assert_eq!(made(&first), ["a", "b"], "{first}");
        let all = moved(&first, "export cache mount objects");
        assert!(all > A_BYTES as u64, "{first}");
        let second = build("second");
        assert_eq!(made(&second), [""; 0], "{second}");
        assert!(moved(&second, "import cache mount objects") > A_BYTES as u64, "{second}");
        space.file("context/src/b", "b2");
        let third = build("second");
        assert_eq!(made(&third), ["b"], "{third}");
        assert_eq!(moved(&third, "import"), 0, "it was here: {third}");
        let changed = moved(&third, "export cache mount objects");
        assert!((1..all / 4).contains(&changed), "{changed} of {all}: {third}");
        let fourth = build("fourth");
        assert_eq!(made(&fourth), [""; 0], "{fourth}");
    });
}

#[test]
fn a_step_that_is_known_asks_for_no_mount() {
    requires!("root", "busybox", "docker-registry");
    let space = TestSpace::new();
    let place = Place::registry(&space, "registry");
    let registry = place.registry.as_ref().unwrap();
    let context = project(&space);
    let build = |store| {
        let call = build_in(&space, &context, store).arg(format!("--cache-from={},mounts=true", place.from));
        call.arg(format!("--cache-to={},mounts=true", place.to)).run().success()
    };
    build("first");
    for store in ["first", "second"] {
        let before = registry.asked().len();
        let outcome = build(store);
        let asked = registry.asked().split_off(before);
        assert!(asked.len() <= 3, "{asked:#?}{outcome}");
        assert!(asked.iter().all(|line| !line.contains("mounts-")), "{asked:#?}");
        outcome.never_says(&["cache mount"]);
    }
}

#[test]
fn mounts_stay_where_they_are_unless_they_are_to_travel() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let place = Place::directory(&space, "cache");
    let context = project(&space);
    let call = |store| place.asking(place.filling(build_in(&space, &context, store))).arg("--no-cache");
    call("first").run().success().never_says(&["cache mount"]);
    assert_eq!(documents(&place), Vec::<PathBuf>::new());
    build(&space, &place, "first").run().success();
    assert_eq!(documents(&place).len(), 1);
    call("second").run().success().says(&["made-a", "made-b"]);
}

/// The documents of mounts in a directory.
fn documents(place: &Place) -> Vec<PathBuf> {
    let mut paths = files(&place.directory.as_ref().unwrap().join("entries"));
    paths.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with("mounts-"));
    paths
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
}

/// Packs of mounts begin as zstd frames do, and so do no layers that are packed by gzip.
fn packs(place: &Place) -> Vec<PathBuf> {
    let mut paths = files(&place.directory.as_ref().unwrap().join("blobs/sha256"));
    paths.retain(|path| fs::read(path).unwrap().starts_with(&[0x28, 0xb5, 0x2f, 0xfd]));
    paths
}

/// Puts another document in the place of one, as whoever may write the cache can.
fn seal(path: &Path, document: &[u8]) {
    let mut bytes = format!("kiln-entry sha256:{}\n", sha256::of(document)).into_bytes();
    bytes.extend_from_slice(document);
    fs::write(path, bytes).unwrap();
}

/// A way to damage a cache, and what is said about it.
type Damage = (fn(&Place), &'static str);

const DAMAGES: [Damage; 6] = [
    (|place| documents(place).iter().for_each(|path| fs::write(path, "").unwrap()), "has no first line"),
    (|place| documents(place).iter().for_each(|path| seal(path, b"{}")), "cannot be used"),
    (
        |place| documents(place).iter().for_each(|path| seal(path, &[0x28, 0xb5, 0x2f, 0xfd, 0])),
        "cannot be used",
    ),
    (|place| packs(place).iter().for_each(|path| fs::remove_file(path).unwrap()), "is not there"),
    (|place| packs(place).iter().for_each(|path| fs::write(path, "short").unwrap()), "is damaged"),
    (
        |place| {
            for path in packs(place) {
                let mut bytes = fs::read(&path).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                fs::write(path, bytes).unwrap();
            }
        },
        "is damaged",
    ),
];

#[test]
fn what_is_damaged_is_told_the_mount_is_empty_and_the_cache_is_whole_again() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    project(&space);
    for (number, (damage, says)) in DAMAGES.iter().enumerate() {
        let place = Place::directory(&space, &format!("cache-{number}"));
        let build = |name: &str| build(&space, &place, &format!("{name}-{number}")).run().success();
        build("first");
        damage(&place);
        let second = build("second").says(&["cache mount `objects` does not come from cache", says]);
        assert_eq!(made(&second), ["a", "b"], "{second}");
        let third = build("third").never_says(&["warning"]);
        assert_eq!(made(&third), [""; 0], "{third}");
    }
}

#[test]
fn a_cache_that_is_down_or_full_is_told_once_and_fails_no_build() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let context = project(&space);
    let full = Mounted::new(space.path("full"), Filesystem::Tmpfs("600k"));
    let place = Place::directory(&space, "full");
    // Nor do the layers fit.
    let outcome = build(&space, &place, "first").run();
    let outcome = outcome.says(&["cache mount `objects` does not go to cache", "No space left on device"]);
    assert_eq!(documents(&place), Vec::<PathBuf>::new(), "{outcome}");
    assert_eq!(files(&full.path.join("unfinished")), Vec::<PathBuf>::new(), "{outcome}");
    let missing = Place::directory(&space, "missing");
    let call = build_in(&space, &context, "second").arg("--no-cache");
    let outcome = call.arg(format!("--cache-from={},mounts=true", missing.from)).run().success();
    assert_eq!(outcome.stderr.matches("warning:").count(), 1, "{outcome}");
}

#[test]
fn two_that_build_at_once_leave_a_mount_that_is_whole() {
    requires!("root", "busybox");
    with_each_place(|space, place| {
        project(space);
        let running: Vec<_> = (0..4)
            .map(|number| {
                // Two share a store, and so the mount itself.
                let store = format!("store-{}", number % 3);
                build(space, &place, &store).start()
            })
            .collect();
        running.into_iter().for_each(|builder| drop(builder.wait().success()));
        let last = build(space, &place, "last").run().success();
        assert_eq!(made(&last), [""; 0], "{last}");
        last.never_says(&["warning"]);
    });
}

#[test]
fn a_builder_that_is_killed_leaves_no_mount_and_no_document_that_is_not_whole() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let place = Place::directory(&space, "cache");
    project(&space);
    let mut filled = 0;
    for round in 0..KILLS {
        // A new store imports, and then exports what it changed.
        space.file("context/src/b", round.to_string());
        let store = format!("store-{round}");
        let mut running = build(&space, &place, &store).start();
        std::thread::sleep(std::time::Duration::from_millis(200 + 100 * round));
        running.child.kill().unwrap();
        running.wait();
        filled += documents(&place).len();
        // What is there is whole: in the store, and in the cache for another store.
        let check = |store: &str| build(&space, &place, store).run().success();
        check(&store).never_says(&["warning"]);
        let other = check("other").never_says(&["warning"]);
        assert!(made(&other).len() <= 1 || round == 0, "{other}");
        fs::remove_dir_all(space.path("other")).unwrap();
    }
    assert!(filled > 0);
}

/// Rounds of the test that kills.
const KILLS: u64 = 3;
