//! Files of images, listed and printed without unpacking.

use std::io::Read;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::TestSpace;
use crate::support::http::HttpServer;
use crate::support::served::{Served, mirror_config};

/// Larger than what is checked before it is printed.
const LARGE_BYTES: usize = 3 << 20;

fn member(
    archive: &mut tar::Builder<Vec<u8>>,
    path: &str,
    kind: tar::EntryType,
    mode: u32,
    content: &[u8],
    link: &str,
) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(1_714_557_600);
    header.set_uid(7);
    header.set_gid(8);
    let is_link = matches!(kind, tar::EntryType::Link | tar::EntryType::Symlink);
    header.set_size(if is_link { 0 } else { content.len() as u64 });
    match is_link {
        true => archive.append_link(&mut header, path, link).unwrap(),
        false => archive.append_data(&mut header, path, content).unwrap(),
    }
}

/// Two layers: links inside and out of the root, a name with a newline, a large file; whiteouts and a changed file above.
fn serve() -> HttpServer {
    use tar::EntryType::{Directory, Fifo, Link, Regular, Symlink};
    let mut lower = tar::Builder::new(Vec::new());
    let mut add =
        |path, kind, mode, content: &[u8], link| member(&mut lower, path, kind, mode, content, link);
    add("etc/", Directory, 0o755, b"", "");
    add("etc/gone", Regular, 0o644, b"gone", "");
    add("etc/passwd", Regular, 0o644, b"root:x:0:0\n", "");
    add("etc/same", Link, 0o644, b"", "etc/passwd");
    add("etc/a\nb", Regular, 0o4711, b"newline", "");
    add("old/", Directory, 0o700, b"", "");
    add("old/file", Regular, 0o600, b"old", "");
    add("up", Symlink, 0o777, b"", "../../../etc/passwd");
    add("dir", Symlink, 0o777, b"", "/etc");
    add("loop", Symlink, 0o777, b"", "loop");
    add("pipe", Fifo, 0o644, b"", "");
    add("large", Regular, 0o644, &large(), "");
    let mut upper = tar::Builder::new(Vec::new());
    let mut add = |path, kind, mode, content: &[u8]| member(&mut upper, path, kind, mode, content, "");
    add("etc/.wh.gone", Regular, 0o644, b"");
    add("etc/passwd", Regular, 0o640, b"first\n");
    // An archive may have a name twice: the last counts.
    add("etc/passwd", Regular, 0o640, b"later\n");
    add(".wh.old", Regular, 0o644, b"");
    let mut served = Served::default();
    let config = json!({"architecture": "amd64", "os": "linux", "config": {}});
    let archives = [lower.into_inner().unwrap(), upper.into_inner().unwrap()];
    served.add_archives("library/files:latest", config, &archives);
    served.start()
}

fn large() -> Vec<u8> {
    (0..LARGE_BYTES).map(|number| (number % 251) as u8).collect()
}

fn pulled() -> (TestSpace, HttpServer) {
    let space = TestSpace::new();
    let server = serve();
    space.config(&mirror_config(&server.host()));
    space.kiln(["pull", "--platform", "linux/amd64", "files"]).run().success();
    (space, server)
}

#[test]
fn files_of_merged_layers_are_listed() {
    let (space, _server) = pulled();
    let list = |words: &[&str]| space.kiln([&["ls"], words].concat()).run().success().text();
    assert_eq!(list(&["files"]), "dir\netc\nlarge\nloop\npipe\nup\n");
    let etc = "a\\x0ab\npasswd\nsame\n";
    for path in ["/etc", "etc/", "dir", "/dir/../etc/.", "../../dir/"] {
        assert_eq!(list(&["files", path]), etc, "{path}");
    }
    assert_eq!(list(&["files", "/etc/passwd"]), "/etc/passwd\n");
    assert_eq!(
        list(&["-R", "files"]),
        "dir\netc\netc/a\\x0ab\netc/passwd\netc/same\nlarge\nloop\npipe\nup\n"
    );
    assert_eq!(
        list(&["-l", "files", "/etc"]),
        "-rws--x--x 1 7 8  7 2024-05-01 10:00 a\\x0ab\n\
         -rw-r----- 1 7 8  6 2024-05-01 10:00 passwd\n\
         -rw-r--r-- 1 7 8 11 2024-05-01 10:00 same\n"
    );
    assert_eq!(list(&["-l", "files", "dir"]), "lrwxrwxrwx 1 7 8 0 2024-05-01 10:00 dir -> /etc\n");
    let json = list(&["--format", "json", "files", "up"]);
    let row: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&row["kind"], &row["target"]), (&json!("symlink"), &json!("../../../etc/passwd")));
    for (path, says) in [
        ("/etc/gone", "image `files` has no `/etc/gone`"),
        ("/old", "has no `/old`"),
        ("/etc/passwd/x", "is a file, not a directory"),
        ("/etc/passwd/", "is a file"),
        ("/loop", "symlinks"),
    ] {
        space.kiln(["ls", "files", path]).run().fails_with(1).says(&[says]);
    }
    space.kiln(["ls", "absent"]).run().fails_with(1).says(&["no such image: `absent`", "kiln pull"]);
}

#[test]
fn files_are_printed_as_the_last_layer_has_them() {
    let (space, _server) = pulled();
    let print = |paths: &[&str]| space.kiln([&["cat", "files"], paths].concat()).run().success().stdout;
    // The link out of the root ends at the root, as in a container.
    for path in ["/etc/passwd", "up", "dir/passwd", "etc/../up"] {
        assert_eq!(print(&[path]), b"later\n", "{path}");
    }
    // A hard link keeps the content that the name it was made of had.
    assert_eq!(print(&["/etc/same", "/etc/a\nb"]), b"root:x:0:0\nnewline");
    assert!(print(&["large"]) == large());
    for (path, says) in [("/etc", "is a directory"), ("pipe", "is a fifo"), ("/none", "has no `/none`")] {
        let failed = space.kiln(["cat", "files", "/etc/passwd", path]).run().fails_with(1);
        assert_eq!(failed.text(), "", "nothing is printed where something is missing");
        failed.says(&[says]);
    }
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let (space, _server) = pulled();
    let program = crate::support::space::program();
    let mut child = std::process::Command::new(program)
        .args([
            "--store".as_ref(),
            space.store().as_os_str(),
            "cat".as_ref(),
            "files".as_ref(),
            "large".as_ref(),
        ])
        .env_clear()
        .env("HOME", space.path("home"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut first = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(first[..], large()[..10]);
    assert!(child.wait().unwrap().success());
}

#[test]
fn layers_that_are_not_here_are_fetched_when_they_are_needed() {
    let space = TestSpace::new();
    let server = serve();
    space.config(&mirror_config(&server.host()));
    // A build on top of an image knows its layers without having them.
    let dockerfile = "FROM files\nLABEL l=1\n";
    let context = space.context("context", &[("Dockerfile", dockerfile)]);
    space.build(&context).args(["-t", "above", "--platform", "linux/amd64"]).run().success();
    assert_eq!(space.kiln(["cat", "above", "/etc/passwd"]).run().success().text(), "later\n");
}
