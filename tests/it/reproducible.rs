//! Same request, same bytes: one digest whatever the store, place, user, umask, zone, thread count, and cache.

use std::path::{Path, PathBuf};

use crate::support::{Invocation, TestSpace, busybox, peers, requires, users};

/// Files of a context: names that sort differently by locale, an empty file, a deep one, and enough to cut into blocks.
fn context(space: &TestSpace, name: &str, reversed: bool) -> PathBuf {
    let dockerfile =
        "FROM scratch\nCOPY . /all/\nCOPY --chown=5:6 --chmod=750 b /b/\nWORKDIR /w/x\nENV PATH=/bin\n";
    let mut files: Vec<(String, String)> =
        vec![("Dockerfile".to_owned(), dockerfile.to_owned()), ("empty".to_owned(), String::new())];
    files
        .extend((0..300).map(|number| {
            (format!("b/{}/Ä{number}", number % 7), format!("{number}\n").repeat(number * 20))
        }));
    files.extend(
        ["b/a-b", "b/a_b", "b/aB", "b/AB", "b/a/b/c/d"].map(|path| (path.to_owned(), path.to_owned())),
    );
    if reversed {
        files.reverse();
    }
    let files: Vec<(&str, &str)> =
        files.iter().map(|(path, content)| (path.as_str(), content.as_str())).collect();
    space.context(name, &files)
}

/// Every way in which the surroundings of a build may differ, by name.
fn variations(space: &TestSpace, context: &Path, other: &Path) -> Vec<(&'static str, Invocation)> {
    let build = |path: &Path, store: &str| space.build(path).store(&space.path(store));
    vec![
        ("one job", build(context, "s1").args(["-j", "1"])),
        ("four jobs", build(context, "s2").args(["-j", "4"])),
        ("warm", build(context, "s2").args(["-j", "1"])),
        ("without the cache", build(context, "s2").arg("--no-cache")),
        (
            "another zone and language",
            build(context, "s3").env("TZ", "Asia/Kolkata").env("LANG", "de_DE.UTF-8").env("LC_ALL", "C"),
        ),
        ("another umask", build(context, "s4").under(["sh", "-c", "umask 077; exec \"$@\"", "sh"])),
        ("another place, made in another order", build(other, "s5")),
        (
            "another home and directory",
            build(context, "s6").env("HOME", "/nowhere").directory(Path::new("/")),
        ),
        ("few threads", build(context, "s7").env("RAYON_NUM_THREADS", "1")),
        ("no progress", space.kiln(["build", "-q"]).arg(context).store(&space.path("s8"))),
    ]
}

#[test]
fn a_copy_only_image_has_one_digest_everywhere() {
    let space = TestSpace::new();
    let (first, other) = (context(&space, "context", false), context(&space, "deeper/down/other", true));
    let expected = space.build(&first).run().success().digest();
    for (name, call) in variations(&space, &first, &other) {
        assert_eq!(call.run().success().digest(), expected, "{name}");
    }
}

#[test]
fn times_in_the_context_do_not_count() {
    requires!("find", "touch");
    let space = TestSpace::new();
    let path = context(&space, "context", false);
    let expected = space.build(&path).run().success().digest();
    peers::run(
        "find",
        [path.to_str().unwrap(), "-exec", "touch", "-h", "-d", "2001-02-03 04:05:06.789", "{}", "+"],
    );
    assert_eq!(space.build(&path).run().success().says(&["CACHED"]).digest(), expected, "still cached");
    assert_eq!(space.build(&path).store(&space.path("fresh")).run().success().digest(), expected);
}

#[test]
fn an_image_with_steps_has_one_digest_for_root_and_users() {
    requires!("root", "busybox", "setpriv", "newuidmap");
    let space = TestSpace::shared();
    let server = busybox::serve(&space);
    let dockerfile = "FROM busybox\nRUN mkdir -p /o/d && for i in 1 2 3 4 5; do echo $i > /o/d/$i; done && ln /o/d/1 /o/h && chown 1:2 /o/d/2\n\
        COPY data /data\nRUN cp -a /data /copy && rm /data/x && touch /o/now\n";
    let files = [("Dockerfile", dockerfile), ("data/x", "x"), ("data/y", "y")];
    let path = space.context("context", &files);
    let expected = space.build(&path).args(["-j", "1"]).run().success().digest();
    let again = space
        .build(&path)
        .store(&space.path("second"))
        .args(["-j", "4"])
        .env("TZ", "Pacific/Auckland")
        .run()
        .success();
    assert_eq!(again.digest(), expected);
    let user = users::with_subordinate_ids(&space);
    let as_user = space.build(&path).user(&user).store(&user.path("store")).under([
        "sh",
        "-c",
        "umask 027; exec \"$@\"",
        "sh",
    ]);
    assert_eq!(as_user.run().success().digest(), expected);
    drop(server);
}

#[test]
fn deleting_what_is_only_a_cache_changes_nothing() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    let path =
        space.context("context", &[("Dockerfile", "FROM busybox\nRUN echo 1 > /1\nRUN echo 2 > /2\n")]);
    let expected = space.build(&path).run().success().digest();
    let snapshots = space.store().join("snapshots");
    if snapshots.exists() {
        peers::run("rm", [Path::new("-rf"), &snapshots]);
    }
    assert_eq!(space.build(&path).run().success().digest(), expected, "without snapshots");
    let longer = space.context(
        "longer",
        &[("Dockerfile", "FROM busybox\nRUN echo 1 > /1\nRUN echo 2 > /2\nRUN cat /1 /2 > /3\n")],
    );
    let warm = space.build(&longer).run().success().digest();
    assert_eq!(
        space.build(&longer).store(&space.path("fresh")).run().success().digest(),
        warm,
        "a step on rebuilt snapshots"
    );
    drop(server);
}

#[test]
fn damaging_what_is_only_a_cache_changes_nothing() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    let files = [("Dockerfile", "FROM busybox\nRUN echo 1 > /1\nCOPY f /f\n"), ("f", "text")];
    let path = space.context("context", &files);
    let expected = space.build(&path).run().success().digest();
    let mut damaged = 0;
    let mut folders = vec![space.store().join("records")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap().path();
            if entry.is_dir() {
                folders.push(entry);
                continue;
            }
            let mut bytes = std::fs::read(&entry).unwrap();
            if let Some(last) = bytes.last_mut() {
                *last ^= 1;
                damaged += 1;
            }
            std::fs::write(&entry, bytes).unwrap();
        }
    }
    assert!(damaged > 5, "a build keeps records");
    let rebuilt = space.build(&path).on_a_damaged_store().run().success();
    assert_eq!(rebuilt.digest(), expected, "with every record damaged");
    assert_eq!(space.build(&path).run().success().says(&["CACHED"]).digest(), expected, "and mended");
    drop(server);
}
