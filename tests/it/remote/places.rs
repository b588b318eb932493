//! `kiln copy` between registries, OCI layouts and archives.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, mpsc};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::push;
use crate::support::http::HttpServer;
use crate::support::image::check_blobs;
use crate::support::served::Served;
use crate::support::{TestSpace, peers, requires, sha256};

/// Returns the names of the images that a layout lists, as its own entries have them.
fn listed(layout: &Path) -> Vec<String> {
    let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    let entries = index["manifests"].as_array().unwrap().iter();
    let mut names: Vec<String> = entries
        .map(|entry| {
            entry["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap_or("-").to_owned()
        })
        .collect();
    names.sort();
    names
}

/// Copies, and returns the digest.
#[track_caller]
fn copied(space: &TestSpace, from: &str, to: &str) -> String {
    let nowhere = space.path("no-store");
    let digest = space.kiln(["copy", "-q", from, to]).store(&nowhere).run().success().digest();
    assert!(!nowhere.exists(), "nothing is kept");
    digest
}

/// Returns the manifest or index of an image as skopeo gets it.
#[track_caller]
fn raw(image: &str) -> String {
    peers::run("skopeo", ["inspect", "--raw", "--tls-verify=false", image])
}

#[track_caller]
fn config(image: &str) -> String {
    peers::run("skopeo", ["inspect", "--config", "--raw", "--tls-verify=false", image])
}

#[test]
fn every_place_takes_an_image_from_every_other() {
    requires!("docker-registry", "skopeo", "umoci");
    let space = TestSpace::new();
    let registry = super::registry(&space);
    let at = |name: &str| space.path(name).display().to_string();
    let name = format!("{}/team/app:1", registry.host());
    let digest = push(&space, &name, "content", &[]);
    let docker = format!("docker://{name}");
    peers::skopeo_copy(&docker, &format!("oci:{}:1", at("theirs")));
    // Without a manifest: kiln makes one, always the same.
    peers::skopeo_copy(&docker, &format!("docker-archive:{}:app:1", at("old.tar")));
    let of_old =
        copied(&space, &format!("docker-archive:{}", at("old.tar")), &format!("oci:{}", at("of-old")));
    copied(&space, &name, &format!("oci-archive:{}", at("oci.tar")));
    copied(&space, &name, &format!("docker-archive:{}", at("docker.tar")));
    peers::run("gzip", ["-k", &at("old.tar")]);
    let theirs = format!("oci:{}:1", at("theirs"));
    let of_digest = format!("oci:{}@{digest}", at("theirs"));
    let old = format!("docker-archive:{}:app:1", at("old.tar"));
    let compressed = format!("docker-archive:{}", at("old.tar.gz"));
    let oci = format!("oci-archive:{}:1", at("oci.tar"));
    let new = format!("docker-archive:{}:{name}", at("docker.tar"));
    // As kiln is told it, as skopeo is, and the digest.
    let sources = [
        (&name, &docker, &digest),
        (&theirs, &theirs, &digest),
        (&oci, &oci, &digest),
        (&new, &new, &digest),
        (&old, &old, &of_old),
    ];
    for (number, (source, theirs, expected)) in sources.into_iter().enumerate() {
        let made = config(theirs);
        let name = format!("{}/copied/app:{number}", registry.host());
        let layout = format!("oci:{}:{number}", at("layout"));
        let archive = format!("oci-archive:{}:x", at("to.tar"));
        for (destination, theirs) in
            [(&name, &format!("docker://{name}")), (&layout, &layout), (&archive, &archive)]
        {
            assert_eq!(&copied(&space, source, destination), expected, "{source} to {destination}");
            let found = format!("sha256:{}", sha256::of(raw(theirs).as_bytes()));
            assert_eq!(&found, expected, "{source} to {destination}");
        }
        // Skopeo makes a manifest of its own.
        let archive = format!("docker-archive:{}:x:2", at("to.docker.tar"));
        assert_eq!(&copied(&space, source, &archive), expected);
        assert_eq!(config(&archive), made, "{source}");
    }
    for (source, expected) in [(&docker, &digest), (&of_digest, &digest), (&compressed, &of_old)] {
        assert_eq!(&copied(&space, source, &format!("oci:{}:last", at("layout"))), expected, "{source}");
    }
    let tags: Vec<String> =
        (0..sources.len()).map(|number| number.to_string()).chain(["last".to_owned()]).collect();
    assert_eq!(listed(&space.path("layout")), tags);
    let umoci = peers::run("umoci", ["ls", "--layout", &at("layout")]);
    assert_eq!(umoci.lines().count(), tags.len(), "{umoci}");
}

#[test]
fn all_platforms_go_along_and_one_where_no_more_is_possible() {
    requires!("skopeo");
    let space = TestSpace::new();
    let context = space.context("context", &[("Dockerfile", "FROM scratch\nCOPY f /f\n"), ("f", "content")]);
    let both = ["--platform", "linux/amd64,linux/arm64", "-t", "app:1", "-o", "type=oci,dest=both.tar"];
    let index = space.build(&context).args(both).run().success().digest();
    assert_eq!(copied(&space, "oci-archive:both.tar", "oci:both"), index);
    let arm =
        space.kiln(["copy", "-q", "--platform", "linux/arm64", "oci:both", "oci-archive:arm.tar"]).run();
    let arm = arm.success().digest();
    assert!(raw(&format!("oci:{}:1", space.path("both").display())).contains(&arm));
    let says = ["holds one platform"];
    let one =
        space.kiln(["copy", "--platform", "linux/arm64", "oci:both", "docker-archive:arm.docker.tar"]).run();
    one.success().never_says(&says);
    assert_eq!(copied(&space, "docker-archive:arm.docker.tar", "oci:again"), arm);
    space.kiln(["copy", "oci:both", "docker-archive:host.tar"]).run().success().says(&says);
    let absent = space.kiln(["copy", "--platform", "linux/s390x", "oci:both", "oci:other"]).run();
    absent
        .fails_with(1)
        .says(&["`oci:both` is not available for linux/s390x: it has linux/amd64, linux/arm64"]);
    assert!(!space.path("other").exists());
}

#[test]
fn what_is_wrong_with_a_place_is_said_and_leaves_nothing() {
    let space = TestSpace::new();
    let context = space.context("context", &[("Dockerfile", "FROM scratch\nCOPY f /f\n"), ("f", "content")]);
    space.build(&context).args(["-t", "app:1", "-o", "type=oci,dest=one.tar"]).run().success();
    for to in ["oci:few:a", "oci:few:b", "oci:line\nbreak:a"] {
        copied(&space, "oci-archive:one.tar", to);
    }
    let line = space.kiln(["copy", "oci:line\nbreak", "oci:few:c"]).run().success();
    line.says(&["Blobs: 2 already there"]);
    assert_eq!(listed(&space.path("few")), ["a", "b", "c"]);
    let all = space.kiln(["copy", "-a", "oci:few", "oci:all"]).run().success();
    assert_eq!(all.text().lines().count(), 3, "{all}");
    assert_eq!(listed(&space.path("all")), ["a", "b", "c"]);
    // A layer that has another byte, in a layout and in an archive.
    copied(&space, "oci:few:a", "oci:bad");
    let layer = fs::read_dir(space.path("bad/blobs/sha256")).unwrap().map(|entry| entry.unwrap().path());
    let layer = layer.max_by_key(|path| !fs::read(path).unwrap().starts_with(b"{")).unwrap();
    let mut bytes = fs::read(&layer).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&layer, bytes).unwrap();
    peers::run(
        "tar",
        [
            "-C",
            &space.path("bad").display().to_string(),
            "-cf",
            &space.path("bad.tar").display().to_string(),
            ".",
        ],
    );
    fs::write(space.path("no.tar"), "no archive").unwrap();
    for (from, to, code, says) in [
        ("oci:few", "oci:new", 1, "`few` has several images: a, b, c; name one"),
        ("oci:few:d", "oci:new", 1, "`few` has no image `d`; it has a, b, c"),
        ("oci:line\nbreak:d", "oci:new", 1, "break` has no image `d`"),
        ("oci:nowhere", "oci:new", 1, "cannot read `nowhere`"),
        ("oci-archive:no.tar", "oci:new", 1, "cannot read the images of `no.tar`"),
        ("oci:bad", "oci-archive:new", 1, "wrong digest"),
        ("oci:bad", "docker-archive:new", 1, "cannot copy `oci:bad`"),
        ("oci-archive:bad.tar", "oci-archive:new", 1, "wrong digest"),
        ("dir:few", "oci:new", 2, "`dir:` is no place"),
        ("oci:few:a", "oci:new:a b", 2, "is no tag of an OCI layout"),
        ("oci:few:a", "docker-archive:new:UPPER", 2, "must be lowercase"),
    ] {
        space.kiln(["copy", from, to]).run().fails_with(code).says(&[says]);
        assert!(!space.path("new").exists(), "{from} to {to}");
    }
    space.kiln(["copy", "-a", "oci:few", "oci-archive:new"]).run().fails_with(2).says(&["one image"]);
    // A layout keeps what it had, and the damaged layer never comes into it.
    space.kiln(["copy", "oci:bad", "oci:kept"]).run().fails_with(1).says(&["wrong digest"]);
    check_blobs(&space.path("kept"));
    assert_eq!(listed(&space.path("kept")), Vec::<String>::new());
}

#[test]
fn copies_into_one_layout_at_once_lose_nothing() {
    let space = TestSpace::new();
    let context = space.context("context", &[("Dockerfile", "FROM scratch\nCOPY f /f\n"), ("f", "content")]);
    space.build(&context).args(["-t", "app:1", "-o", "type=oci,dest=one.tar"]).run().success();
    let copies = (0..6)
        .map(|number| space.kiln(["copy", "oci-archive:one.tar", &format!("oci:layout:{number}")]).start());
    for copy in copies.collect::<Vec<_>>() {
        copy.wait().success();
    }
    assert_eq!(listed(&space.path("layout")), ["0", "1", "2", "3", "4", "5"]);
    check_blobs(&space.path("layout"));
}

#[test]
fn a_copy_that_ends_early_leaves_files_as_they_were() {
    let space = TestSpace::new();
    let context = space.context("context", &[("Dockerfile", "FROM scratch\nCOPY f /f\n"), ("f", "content")]);
    space.build(&context).args(["-t", "app:1", "-o", "type=oci,dest=one.tar"]).run().success();
    for (signal, destination) in [
        (Signal::INT, "oci:layout"),
        (Signal::KILL, "oci:layout"),
        (Signal::INT, "oci-archive:kept.tar"),
        (Signal::KILL, "docker-archive:kept.tar"),
    ] {
        copied(&space, "oci-archive:one.tar", "oci:layout:old");
        fs::write(space.path("kept.tar"), "kept").unwrap();
        let (begun, begins) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let (begun, released) = (Mutex::new(begun), Mutex::new(released));
        let mut served = Served::default();
        served.add_archives(
            "team/app:1",
            json!({"architecture": "amd64", "os": "linux", "config": {}}),
            &[vec![0; 1024]],
        );
        let blobs = Mutex::new(0);
        let server = HttpServer::start(move |request| {
            if request.path.contains("/blobs/") {
                let mut blobs = blobs.lock().unwrap();
                *blobs += 1;
                let is_last = *blobs == 2;
                drop(blobs);
                if is_last {
                    begun.lock().unwrap().send(()).unwrap();
                    // Until the test ends.
                    assert!(released.lock().unwrap().recv().is_err());
                }
            }
            served.answer(request)
        });
        space.config(&format!("[registry.\"{}\"]\nhttp = true\n", server.host()));
        let running = space.kiln(["copy", &format!("{}/team/app:1", server.host()), destination]).start();
        begins.recv().unwrap();
        kill_process(Pid::from_child(&running.child), signal).unwrap();
        let ended = running.wait();
        if signal == Signal::INT {
            ended.fails_with(130).says(&["interrupted"]).never_says(&["panicked"]);
        }
        drop(release);
        assert_eq!(listed(&space.path("layout")), ["old"], "{destination}");
        check_blobs(&space.path("layout"));
        assert_eq!(fs::read_to_string(space.path("kept.tar")).unwrap(), "kept", "{destination}");
    }
}
