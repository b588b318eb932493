//! Contexts and Dockerfiles that are no directory: archives and texts of the web and of standard input.

use std::path::Path;
use std::process::Command;

use crate::support::files::{File, FileServer};
use crate::support::image::read_one;
use crate::support::{TestSpace, peers, requires, users};

const FILES: [(&str, &str); 4] = [
    ("Dockerfile", "FROM scratch\nCOPY . /srv/\n"),
    (".dockerignore", "sub\n"),
    ("a.txt", "alpha\n"),
    ("sub/b.txt", "beta\n"),
];

/// Archives a directory as it is, owned by root.
fn tar(directory: &Path, more: &[&str]) -> Vec<u8> {
    let mut command = Command::new("tar");
    command.args(["-c", "--owner=0", "--group=0", "--numeric-owner"]).args(more);
    let output = command.arg("-C").arg(directory).arg(".").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn a_context_of_the_web_is_an_archive_of_any_kind_and_no_ignore_file_applies() {
    requires!("gzip", "bzip2", "xz", "zstd");
    let space = TestSpace::new();
    let context = space.context("context", &FILES);
    let whole = space.context("whole", &FILES);
    // What an ignore file hides from a directory is there in an archive.
    space.file("whole/.dockerignore", "#\n");
    let server = FileServer::start();
    let mut digests = Vec::new();
    for compression in ["", "--gzip", "--bzip2", "--xz", "--zstd"] {
        let flags: Vec<&str> = Some(compression).filter(|flag| !flag.is_empty()).into_iter().collect();
        server.put("/context", File::new(tar(&context, &flags), compression));
        let outcome =
            space.kiln(["build", "--progress=plain", &server.url("/context?x=1#y")]).run().success();
        digests.push(outcome.says(&["fetch http://", "load build context"]).digest());
        let piped = space.kiln(["build", "-"]).stdin(tar(&context, &flags)).run().success();
        digests.push(piped.digest());
    }
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
    let (layout, _) = space.build_layout(&whole, "layout", &[]);
    let expected: Vec<Vec<u8>> = read_one(&layout).flatten().iter().map(|(path, ..)| path.to_vec()).collect();
    let output = format!("type=oci,tar=false,dest={}", space.path("of-web").display());
    space.kiln(["build", "-o", &output, &server.url("/context")]).run().success();
    let found: Vec<Vec<u8>> =
        read_one(&space.path("of-web")).flatten().iter().map(|(path, ..)| path.to_vec()).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_context_of_the_web_that_is_no_archive_is_a_dockerfile_without_files() {
    let space = TestSpace::new();
    let server = FileServer::start();
    server.put("/Dockerfile", File::new("FROM scratch\nCOPY <<EOF /hello\nhello\nEOF\n", "1"));
    let url = server.url("/Dockerfile");
    let first = space.kiln(["build", &url]).run().success();
    let second = space.kiln(["build", &url]).run().success();
    assert_eq!(
        (server.asked(), second.digest()),
        (vec![format!("/Dockerfile 200 41"), "/Dockerfile 304 0".to_owned()], first.digest())
    );
    let context = space.context("context", &[("Dockerfile", "")]);
    assert_eq!(space.build(&context).args(["-f", &url]).run().success().digest(), first.digest());
    space.kiln(["build", "-f", "Other", &url]).run().fails_with(1).says(&["names another one", &url]);
    server.put("/Dockerfile", File::new("FROM scratch\nCOPY a.txt /\n", "2"));
    space.kiln(["build", &url]).run().fails_with(1).says(&[&format!("{url}:2"), "a.txt"]);
    server.put("/Dockerfile", File::new("FROM scratch\nCOPY", "3"));
    space.kiln(["build", "--check", &url]).run().fails_with(1);
    space.kiln(["build", &server.url("/nothing")]).run().fails_with(1).says(&["404"]);
}

#[test]
fn a_dockerfile_of_the_web_builds_a_directory_with_its_own_ignore_file() {
    let space = TestSpace::new();
    let context = space.context("context", &FILES);
    let server = FileServer::start();
    server.put("/recipe", File::new(FILES[0].1, "1"));
    let expected = space.build(&context).run().success().digest();
    let url = server.url("/recipe");
    assert_eq!(space.build(&context).args(["-f", &url]).run().success().digest(), expected);
    // Both from the web, and the Dockerfile of an archive by its path in there.
    server.put("/context.tar", File::new(tar(&context, &[]), "1"));
    let whole = space.kiln(["build", &server.url("/context.tar")]).run().success().digest();
    assert_eq!(
        space.kiln(["build", "-f", &url, &server.url("/context.tar")]).run().success().digest(),
        whole
    );
    space.file("context/sub/Other", FILES[0].1);
    let inside = tar(&context, &[]);
    let by_path = |inside: Vec<u8>| space.kiln(["build", "-f", "sub/Other", "-"]).stdin(inside).run();
    by_path(inside.clone()).success();
    // A file of this machine by that name is another one, unless it is named by its absolute path.
    space.file("sub/Other", "not a Dockerfile");
    by_path(inside.clone()).success();
    let outside = space.file("outside", "FROM scratch\nCOPY a.txt /\n").display().to_string();
    space.kiln(["build", "-f", &outside, "-"]).stdin(inside.clone()).run().success();
    let missing = space.kiln(["build", "-f", "outside", "-"]).stdin(inside).run();
    missing.fails_with(1).says(&["`outside`", "absolute path"]);
}

#[test]
fn named_contexts_come_from_the_web_when_a_step_needs_them() {
    let space = TestSpace::new();
    let files = space.context("files", &FILES);
    let server = FileServer::start();
    server.put("/files.tar.gz", File::new(tar(&files, &["--gzip"]), "1"));
    server.put("/plain", File::new("plain", "1"));
    let dockerfile = "FROM scratch AS used\nCOPY --from=web sub/b.txt /\nCOPY --from=plain context /\n\
        FROM scratch AS unused\nCOPY Dockerfile /\n";
    let context = space.context("context", &[("Dockerfile", dockerfile)]);
    let named = |target: &str| {
        let call = space.build(&context).args(["--target", target]);
        let call = call.args(["--build-context", &format!("web={}", server.url("/files.tar.gz"))]);
        call.args(["--build-context", &format!("plain={}", server.url("/plain"))])
    };
    named("unused").run().success();
    assert_eq!(server.asked(), Vec::<String>::new());
    let output = format!("type=oci,tar=false,dest={}", space.path("layout").display());
    named("used").args(["-o", &output]).run().success().says(&["load context web"]);
    let flat = read_one(&space.path("layout")).flatten();
    assert!(flat.get(b"b.txt").is_some() && flat.get(b"context").is_some());
    named("used").run().success().says(&["CACHED"]);
}

/// An archive with all that a directory of an ordinary user cannot have.
fn special(space: &TestSpace) -> Vec<u8> {
    let root = space.context("special", &[("Dockerfile", "FROM scratch\nCOPY . /srv/\n"), ("owned", "x")]);
    let long = "long-".repeat(45);
    space.file(&format!("special/{long}/{long}"), "long");
    let at = |name: &str| root.join(name).display().to_string();
    std::fs::hard_link(root.join("owned"), root.join("linked")).unwrap();
    let odd = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"odd-\xff");
    std::fs::write(root.join(odd), "odd").unwrap();
    peers::run("mknod", [&at("device"), "c", "7", "8"]);
    peers::run("mkfifo", ["--mode=0620", &at("fifo")]);
    peers::run("setfattr", ["-n", "user.note", "-v", "kept", &at("owned")]);
    peers::run("chown", ["-h", "1234:70000", &at("owned"), &at("device")]);
    peers::run("chmod", ["4751", &at("owned")]);
    let mut command = Command::new("tar");
    command.args(["-c", "--format=pax", "--numeric-owner", "--xattrs", "--sort=name", "-C"]);
    command.arg(&root).arg(".").output().unwrap().stdout
}

#[test]
fn an_archive_keeps_owners_modes_links_and_devices_whoever_builds() {
    requires!("root", "mknod", "setfattr");
    let space = TestSpace::shared();
    let archive = special(&space);
    let output = format!("type=oci,tar=false,dest={}", space.path("layout").display());
    space.kiln(["build", "-o", &output, "-"]).stdin(archive.clone()).run().success();
    let image = read_one(&space.path("layout"));
    let flat = image.flatten();
    let owned = flat.get(b"srv/owned").unwrap();
    assert_eq!((owned.uid, owned.gid, owned.mode & 0o7777), (1234, 70000, 0o4751));
    let device = flat.get(b"srv/device").unwrap();
    assert_eq!((device.uid, device.gid), (1234, 70000));
    assert!(flat.get(b"srv/odd-\xff").is_some() && flat.get(b"srv/linked").is_some());
    for user in [users::with_subordinate_ids(&space), users::with_single_id(&space)] {
        let store = user.path("store");
        let call = space.kiln(["build", "-"]).store(&store).directory(&user.home).user(&user);
        assert_eq!(call.stdin(archive.clone()).run().success().digest(), image.digest, "{}", user.name);
    }
}

#[test]
fn broken_and_hostile_archives_are_errors() {
    let space = TestSpace::new();
    let context = space.context("context", &FILES);
    let (plain, gzip) = (tar(&context, &[]), tar(&context, &["--gzip"]));
    let escaping = tar(&context, &["--transform=s,./a.txt,../escaped,", "-P"]);
    for (what, archive) in [
        ("cut", plain[..2000].to_vec()),
        ("cut gzip", gzip[..gzip.len() / 2].to_vec()),
        ("escaping", escaping),
    ] {
        let outcome = space.kiln(["build", "-"]).stdin(archive).run().fails_with(1);
        assert!(outcome.stderr.contains("cannot unpack the build context"), "{what}: {outcome}");
    }
    assert!(!space.path("escaped").exists() && !space.path("store/scratch/escaped").exists());
    space.kiln(["build", "-"]).stdin(tar(&context, &[])).run().success();
}
