//! The store is looked after: what it takes, what may go, whether all is well.

mod crowd;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::mounts::{Filesystem, Mounted};
use crate::support::waiting::until;
use crate::support::{TestSpace, busybox, peers, requires, users};

fn du(path: &Path) -> u64 {
    let answer = Command::new("du").args(["-s", "-B1"]).arg(path).output().unwrap();
    assert!(answer.status.success(), "{answer:?}");
    String::from_utf8(answer.stdout).unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

fn json(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Builds with a step, a cache mount and files of other users, and returns the digest.
fn fill(space: &TestSpace) -> String {
    let dockerfile = "FROM busybox\n\
        RUN --mount=type=cache,target=/c echo kept > /c/kept\n\
        RUN mkdir /d && seq 1 5000 > /d/numbers && ln /d/numbers /d/linked && chown 7:7 /d/numbers\n\
        COPY Dockerfile /\n";
    let context = space.context("context", &[("Dockerfile", dockerfile)]);
    space.build(&context).args(["-t", "app"]).run().success().digest()
}

#[test]
fn df_adds_up_to_what_du_says() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    fill(&space);
    let rows = json(&space.kiln(["df", "--format=json"]).run().success().text());
    let size = |row: &serde_json::Value| row["size"]["allocated"].as_u64().unwrap();
    let all = rows.iter().find(|row| row["type"] == "all").unwrap();
    let parts: u64 = rows.iter().filter(|row| row["type"] != "all").map(size).sum();
    assert_eq!((size(all), parts), (du(&space.store()), du(&space.store())));
    let counts = |kind: &str| rows.iter().find(|row| row["type"] == kind).unwrap()["count"].as_u64().unwrap();
    assert_eq!((counts("images"), counts("cachemounts")), (1, 1));
    assert!(counts("cache") > 5 && counts("unpacked") >= 2 && counts("logs") == 1, "{rows:?}");
    let text = space.kiln(["system", "df", "-v"]).run().success().text();
    assert!(text.contains("docker.io/library/app") || text.contains("\napp "), "{text}");
    // Under the names of Docker's templates.
    let printed = |words: &[&str]| space.kiln(words).run().success().text();
    let table = "table {{.Type}}\\t{{.TotalCount}}\\t{{.Active}}\\t{{.Size}}\\t{{.Reclaimable}}";
    assert_eq!(printed(&["df", "--format", table]), printed(&["df"]));
    let counts = printed(&["system", "df", "--format", "{{.Type}}: {{.TotalCount}} {{.Active}}"]);
    assert!(counts.starts_with("Images: 1 1\n") && counts.contains("\nCache mounts: 1 0\n"), "{counts}");
    space.kiln(["df", "-v", "--format", "{{.Type}}"]).run().fails_with(2).says(&["no template in common"]);
    let mounts = ["cache", "mounts", "ls", "--format", "{{.ID}} {{.Slot}} {{.Files}} {{.InUse}}"];
    assert_eq!(printed(&mounts), "/c 0 1 -\n");
    drop(server);
}

#[test]
fn df_and_prune_reach_files_of_subordinate_users() {
    requires!("root", "busybox", "setpriv", "newuidmap");
    let space = TestSpace::shared();
    let server = busybox::serve(&space);
    let user = users::with_subordinate_ids(&space);
    let dockerfile = "FROM busybox\nRUN mkdir -m 0700 /d && seq 1 5000 > /d/n && chown -R 7:7 /d\n";
    let context = space.context("context", &[("Dockerfile", dockerfile)]);
    space.build(&context).user(&user).store(&user.path("store")).run().success();
    let df = space.kiln(["df", "--format=json"]).user(&user).store(&user.path("store")).run().success();
    let rows = json(&df.never_says(&["warning"]).text());
    let all = rows.iter().find(|row| row["type"] == "all").unwrap();
    assert_eq!(all["size"]["allocated"].as_u64().unwrap(), du(&user.path("store")));
    space.kiln(["prune", "-af"]).user(&user).store(&user.path("store")).run().success();
    assert_eq!(fs::read_dir(user.path("store/snapshots")).unwrap().count(), 0);
    drop(server);
}

#[test]
fn prune_asks_and_takes_what_costs_only_time() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    let digest = fill(&space);
    for (answer, flags) in [("n\n", "prune"), ("", "prune")] {
        let outcome = space.kiln([flags]).stdin(answer).run().fails_with(1);
        outcome.says(&["Are you sure you want to continue?", "nothing was removed"]);
    }
    let before = du(&space.store());
    let dry = space.kiln(["prune", "--dry-run"]).run().success().text();
    assert!(dry.contains("Total reclaimable space: "), "{dry}");
    assert_eq!(du(&space.store()), before);
    let explained = space.kiln(["prune", "--dry-run", "--explain"]).run().success().text();
    for reason in ["image app:latest needs it", "things of this kind were not asked for", "not in use"] {
        assert!(explained.contains(reason) || reason.starts_with("things"), "{reason}: {explained}");
    }
    let pruned = space.kiln(["prune"]).stdin("y\n").run().success().text();
    assert!(pruned.contains("Total reclaimed space: ") && pruned.contains("unpacked layers"), "{pruned}");
    for (folder, count) in [("snapshots", 0), ("cachemounts", 1), ("logs", 1)] {
        assert_eq!(fs::read_dir(space.store().join(folder)).unwrap().count(), count, "{folder}");
    }
    space.kiln(["inspect", "app"]).run().success();
    assert_eq!(fill(&space), digest, "what is made again is the same");
    space.kiln(["system", "prune", "-a", "--force"]).run().success();
    assert_eq!(fs::read_dir(space.store().join("logs")).unwrap().count(), 0);
    space.kiln(["fsck"]).run().success();
    drop(server);
}

#[test]
fn what_a_cached_build_stands_on_is_used_with_it() {
    requires!("find", "touch");
    let space = TestSpace::new();
    let dockerfile = "FROM scratch\nCOPY a /\nCOPY b /\nCOPY c /\n";
    let files = [("Dockerfile", dockerfile), ("a", "a"), ("b", "b"), ("c", "c")];
    let context = space.context("context", &files);
    space.build(&context).run().success();
    let records = space.store().join("records");
    peers::run(
        "find",
        [records.to_str().unwrap(), "-type", "f", "-exec", "touch", "-d", "3 days ago", "{}", "+"],
    );
    let cached = |changed: &str| {
        space.file("context/c", changed);
        let outcome = space.build(&context).run().success();
        let found = outcome.stderr.lines().filter_map(|line| line.split_once(" CACHED "));
        found.map(|(_, instruction)| instruction.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(cached("c"), ["COPY c /"], "the last step answers for all");
    space.kiln(["prune", "-f", "--filter", "until=24h"]).run().success();
    assert_eq!(cached("changed"), ["COPY b /"], "what lies below the change is there");
}

#[test]
fn a_bound_keeps_what_was_used_last_and_a_filter_what_is_young() {
    let space = TestSpace::new();
    let build = |number: u32| {
        let context = space.context(
            &format!("context{number}"),
            &[("Dockerfile", "FROM scratch\nCOPY big /\n"), ("big", &number.to_string().repeat(100_000))],
        );
        space.build(&context).run().success();
    };
    (0..4).for_each(build);
    let young = space.kiln(["prune", "-f", "--filter", "until=1h"]).run().success().text();
    assert!(young.ends_with("Total reclaimed space: 0B\n"), "{young}");
    let bound = space.kiln(["prune", "-f", "--max", "1G"]).run().success().text();
    assert!(bound.ends_with("Total reclaimed space: 0B\n"), "{bound}");
    space.kiln(["prune", "-f", "--max", "100k"]).run().success();
    let rows = json(&space.kiln(["df", "--format=json"]).run().success().text());
    // Logs go only when they are asked for.
    let bounded = rows.iter().filter(|row| row["type"] != "logs");
    let reclaimable: u64 = bounded.filter_map(|row| row["reclaimable"]["allocated"].as_u64()).sum();
    assert!(reclaimable <= 100 << 10, "{rows:?}");
    space
        .kiln(["prune", "--filter", "type=snapshots"])
        .run()
        .fails_with(2)
        .says(&["did you mean `snapshot`?"]);
}

/// Lets all records look as if nobody had used them for two hours, but for those that somebody takes away meanwhile.
fn age_records(store: &Path) {
    for record in files_in(&store.join("records")).iter().flat_map(|kind| files_in(kind)) {
        let file = match fs::File::options().write(true).open(record) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            file => file.unwrap(),
        };
        let modified = file.metadata().unwrap().modified().unwrap();
        file.set_modified(modified - Duration::from_secs(2 * 3600)).unwrap();
    }
}

#[test]
fn a_build_that_passes_the_bound_has_the_store_looked_after() {
    let space = TestSpace::new();
    space.config("[store]\nmax = \"64k\"\n");
    let context = space.context("context", &[("Dockerfile", "FROM scratch\nCOPY big /\n")]);
    let note = space.store().join("usage.json");
    for number in 0..3 {
        fs::write(context.join("big"), crate::faults::noise(300_000 + number)).unwrap();
        space.build(&context).run().success();
        // The note is old, as after a day: a disk for all does not tell what one store takes.
        fs::write(&note, "").unwrap();
        age_records(&space.store());
        let digest = space.build(&context).run().success().digest();
        until("the store is looked after", || !fs::read(&note).unwrap().is_empty());
        space.kiln(["inspect", &digest]).run().success();
        space.build(&context).run().success().says(&["CACHED"]);
    }
    let noted: serde_json::Value = serde_json::from_slice(&fs::read(&note).unwrap()).unwrap();
    assert!(noted["now_bytes"].as_u64().unwrap() <= 64 << 10, "{noted}");
    // Of three; what the last build still holds while the store is looked at counts for nobody.
    assert!(noted["some_day_bytes"].as_u64().unwrap() > 600_000, "images stay for a day: {noted}");
    space.kiln(["fsck"]).run().success();
}

/// Flips a byte in the middle of a file.
fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Ways to damage a store, with what fsck says.
fn damages(store: &Path) -> Vec<(&'static str, &'static str)> {
    let blobs = files_in(&store.join("blobs/sha256"));
    let largest = blobs.iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap().clone();
    flip(&largest);
    files_in(&store.join("records/definition")).iter().for_each(|path| flip(path));
    fs::write(store.join("records/stray"), "x").unwrap();
    let snapshot =
        files_in(&store.join("snapshots")).into_iter().find(|path| path.join("d/numbers").exists());
    flip(&snapshot.unwrap().join("d/numbers"));
    vec![
        ("damaged blob", "blob-damaged"),
        ("damaged record", "record-damaged"),
        ("stray entry", "stray"),
        ("damaged unpacked layer", "unpacked-damaged"),
        ("incomplete image: `app:latest`", "image-incomplete"),
    ]
}

#[test]
fn fsck_names_and_mends_what_is_damaged_and_the_next_build_is_right() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    let digest = fill(&space);
    space.kiln(["fsck"]).run().success();
    let expected = damages(&space.store());
    let found = space.kiln(["fsck"]).on_a_damaged_store().run().fails_with(3).text();
    for (words, _) in &expected {
        assert!(found.contains(words), "{words}: {found}");
    }
    assert!(found.contains("`kiln pull app:latest`"), "{found}");
    let objects =
        json(&space.kiln(["fsck", "-n", "--format=json"]).on_a_damaged_store().run().fails_with(3).text());
    for (_, kind) in &expected {
        assert!(objects.iter().any(|object| object["kind"] == *kind), "{kind}: {objects:?}");
    }
    // An image is whole again when it was built again.
    space.kiln(["fsck", "--repair"]).on_a_damaged_store().run().fails_with(3);
    assert_eq!(fill(&space), digest);
    space.kiln(["fsck"]).run().success();
    drop(server);
}

#[test]
fn a_damaged_list_of_images_is_mended_by_the_build_that_meets_it_and_by_fsck() {
    for mends in ["build", "fsck"] {
        let space = TestSpace::new();
        let context = space.context("context", &[("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")]);
        let digest = space.build(&context).args(["-t", "app"]).run().success().digest();
        space.build(&context).args(["-t", "last"]).run().success();
        // Cut in its last entry.
        let list = fs::read(space.store().join("index.json")).unwrap();
        fs::write(space.store().join("index.json"), &list[..list.len() - 100]).unwrap();
        space.kiln(["images"]).on_a_damaged_store().run().fails_with(1).says(&["kiln fsck --repair"]);
        if mends == "fsck" {
            space.kiln(["fsck", "-r"]).on_a_damaged_store().run().success();
        }
        assert_eq!(space.build(&context).args(["-t", "new"]).run().success().digest(), digest);
        let images = space.kiln(["images"]).run().success().text();
        let names: Vec<&str> = images.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(names, ["app", "new"], "{images}");
        let kept = files_in(&space.store().join("damaged"));
        assert!(kept[0].to_string_lossy().ends_with("index.json"), "{kept:?}");
        space.kiln(["fsck"]).run().success();
    }
}

#[test]
fn a_store_that_may_only_be_read_is_read_and_a_build_says_what_is_wrong() {
    requires!("root");
    let space = TestSpace::new();
    let disk = Mounted::new(space.path("disk"), Filesystem::Tmpfs("24m"));
    let store = disk.path.join("store");
    let context = space.context("context", &[("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")]);
    space.build(&context).args(["-t", "app"]).store(&store).run().success();
    disk.remount_read_only();
    for words in [
        &["images"][..],
        &["inspect", "app"],
        &["history", "app"],
        &["df"],
        &["fsck"],
        &["prune", "--dry-run"],
    ] {
        space.kiln(words).store(&store).run().success();
    }
    fs::write(context.join("Dockerfile"), "FROM scratch\nCOPY . /\n").unwrap();
    for call in [space.build(&context), space.kiln(["prune", "-af"]), space.kiln(["tag", "app", "b"])] {
        call.store(&store).run().fails_with(1).says(&["ead-only file system", "a place that can be written"]);
    }
    drop(disk);
}

#[test]
fn a_full_disk_is_said_and_prune_makes_room() {
    requires!("root");
    let space = TestSpace::new();
    let disk = Mounted::new(space.path("disk"), Filesystem::Tmpfs("16m"));
    let store = disk.path.join("store");
    space.config("[store]\nmax = \"none\"\n");
    let context = space.context("context", &[("Dockerfile", "FROM scratch\nCOPY big /\n")]);
    fs::write(context.join("big"), crate::faults::noise(4 << 20)).unwrap();
    let digest = space.build(&context).args(["-t", "app"]).store(&store).run().success().digest();
    fs::write(context.join("big"), crate::faults::noise(5 << 20)).unwrap();
    space.build(&context).store(&store).run().success();
    // Full to the last page.
    let filler = disk.path.join("filler");
    drop(fs::write(&filler, vec![1; 24 << 20]));
    fs::write(context.join("big"), crate::faults::noise(6 << 20)).unwrap();
    space
        .build(&context)
        .store(&store)
        .run()
        .fails_with(1)
        .says(&["o space left on device", "`kiln prune` makes room"]);
    space.kiln(["fsck"]).store(&store).run().success();
    space.kiln(["df"]).store(&store).run().success();
    space.kiln(["prune", "-f"]).store(&store).run().success();
    let inspected = space.kiln(["inspect", "app"]).store(&store).run().success().text();
    assert!(inspected.contains(&digest), "{inspected}");
    fs::write(context.join("big"), "small").unwrap();
    space.build(&context).store(&store).run().success();
    drop(disk);
}
