//! ADD of files of the web: asked for once, transferred once, kept by content; who is told who we are.

use std::fs;
use std::path::Path;

use crate::support::files::{File, FileServer};
use crate::support::image::{check_blobs, read_one};
use crate::support::{TestSpace, requires, sha256};

/// A server with one file, a context that adds it, and the address.
fn served(space: &TestSpace, file: File) -> (FileServer, std::path::PathBuf) {
    let server = FileServer::start();
    server.put("/file", file);
    let context = add(space, &[&format!("{} /x/", server.url("/file"))]);
    (server, context)
}

fn add(space: &TestSpace, operands: &[&str]) -> std::path::PathBuf {
    let lines: String = operands.iter().map(|operands| format!("ADD {operands}\n")).collect();
    space.context("context", &[("Dockerfile", &format!("FROM scratch\n{lines}"))])
}

fn blob(store: &Path, bytes: &[u8]) -> std::path::PathBuf {
    store.join("blobs/sha256").join(sha256::of(bytes))
}

#[test]
fn the_second_build_asks_whether_the_file_changed_and_nothing_is_sent() {
    let space = TestSpace::new();
    let (server, context) = served(&space, File::new("one", "1"));
    let first = space.build(&context).run().success().says(&["fetch http://", "(3B)"]);
    assert_eq!(server.asked(), ["/file 200 3"]);
    let second = space.build(&context).run().success().says(&["CACHED", "(not modified)"]);
    assert_eq!((second.digest(), server.asked()), (first.digest(), vec!["/file 304 0".to_owned()]));
    server.put("/file", File::new("two", "2"));
    let third = space.build(&context).run().success();
    assert_ne!(third.digest(), first.digest());
    assert_eq!(server.asked(), ["/file 200 3"]);
    // The same bytes under another name for them are the same step.
    server.put("/file", File::new("two", "3"));
    space.build(&context).run().success().says(&["CACHED"]);
    server.put("/file", File::new("two", "2"));
    space.build(&context).run().success().says(&["CACHED"]);
    assert_eq!(server.asked(), ["/file 200 3", "/file 304 0"]);
}

#[test]
fn an_address_is_asked_for_once_a_build() {
    let space = TestSpace::new();
    let server = FileServer::start();
    server.put("/file", File::new("same", "1"));
    let url = server.url("/file");
    add(&space, &[&format!("{url} /a/"), &format!("{url} /b/"), &format!("--chmod=0755 {url} /c")]);
    let told = space.kiln(["build", "--progress=json"]).arg(space.path("context")).run().success();
    told.says(&[&format!(r#""event":"task-moved","task":"fetch {url}","done":4,"total":4"#)]);
    assert_eq!(server.asked(), ["/file 200 4"]);
}

#[test]
fn a_file_whose_digest_is_known_is_not_asked_for_again() {
    let space = TestSpace::new();
    let server = FileServer::start();
    server.put("/file", File { etag: None, ..File::new("known", "") });
    let line = format!("--checksum=sha256:{} {} /x/", sha256::of(b"known"), server.url("/file"));
    let context = add(&space, &[&line]);
    let first = space.build(&context).run().success();
    assert_eq!(server.asked(), ["/file 200 5"]);
    let second = space.build(&context).run().success().says(&["CACHED"]);
    let third = space.build(&context).args(["--no-cache"]).run().success().never_says(&["CACHED"]);
    assert_eq!((second.digest(), third.digest()), (first.digest(), first.digest()));
    assert_eq!(server.asked(), Vec::<String>::new());
    // What is kept of it may be damaged, or gone: then it is fetched again.
    let blob = blob(&space.store(), b"known");
    fs::write(&blob, "other").unwrap();
    assert_eq!(space.build(&context).args(["--no-cache"]).run().success().digest(), first.digest());
    fs::remove_file(&blob).unwrap();
    assert_eq!(space.build(&context).args(["--no-cache"]).run().success().digest(), first.digest());
    assert_eq!(server.asked(), ["/file 200 5", "/file 200 5"]);
    // Without it, too, what was built from it is still known.
    fs::remove_file(&blob).unwrap();
    space.build(&context).on_a_damaged_store().run().success().says(&["CACHED"]);
    assert_eq!(server.asked(), Vec::<String>::new());
}

#[test]
fn a_damaged_file_is_fetched_again_whatever_the_server_says_of_changes() {
    let space = TestSpace::new();
    let (server, context) = served(&space, File::new("sound", "1"));
    let first = space.build(&context).run().success();
    fs::write(blob(&space.store(), b"sound"), "wrong").unwrap();
    let second = space.build(&context).args(["--no-cache"]).run().success();
    assert_eq!(second.digest(), first.digest());
    assert_eq!(server.asked(), ["/file 200 5", "/file 304 0", "/file 200 5"]);
    check_blobs(&space.store());
}

#[test]
fn wrong_bytes_are_an_error_at_the_line_and_leave_nothing() {
    let space = TestSpace::new();
    let server = FileServer::start();
    server.put("/file", File::new("actual", "1"));
    let digest = sha256::of(b"expected");
    let context = add(&space, &[&format!("--checksum=sha256:{digest} {} /x/", server.url("/file"))]);
    let actual = format!("sha256:{}", sha256::of(b"actual"));
    space.build(&context).run().fails_with(1).says(&["Dockerfile:2", &digest, &actual]);
    assert!(!blob(&space.store(), b"actual").exists());
}

#[test]
fn a_connection_that_breaks_is_continued() {
    let space = TestSpace::new();
    let bytes: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    let file = File { cut_once: Some(500_000), ..File::new(bytes.clone(), "1") };
    let (server, context) = served(&space, file);
    space.build(&context).run().success().says(&["trying again", "(1.2MB)"]);
    assert_eq!(server.asked(), ["/file 200 500000", "/file 206 700000"]);
    assert_eq!(fs::read(blob(&space.store(), &bytes)).unwrap(), bytes);
}

#[test]
fn a_file_that_is_shorter_than_it_says_is_an_error_that_names_the_host() {
    let space = TestSpace::new();
    let headers = vec![("Content-Length".to_owned(), "100".to_owned())];
    let (server, context) = served(&space, File { headers, ..File::new("short", "1") });
    space
        .build(&context)
        .under(["timeout", "100"])
        .run()
        .fails_with(1)
        .says(&[&server.host(), "Dockerfile:2"]);
    assert!(!blob(&space.store(), b"short").exists());
}

/// Asserts that no file below a place has a text in it.
fn assert_nowhere(place: &Path, text: &str) {
    for entry in fs::read_dir(place).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            assert_nowhere(&path, text);
        } else if metadata.is_file() {
            let bytes = fs::read(&path).unwrap();
            let found = bytes.windows(text.len()).any(|window| window == text.as_bytes());
            assert!(!found, "{} has the secret", path.display());
        }
    }
}

#[test]
fn a_secret_opens_its_host_and_is_told_nobody_else_and_kept_nowhere() {
    let space = TestSpace::new();
    let (server, other) = (FileServer::start(), FileServer::start());
    let bearer = "Bearer canary-5c1f";
    server.put("/file", File { authorization: Some(bearer.to_owned()), ..File::new("private", "1") });
    server.put("/away", File::redirect(&other.url("/there")));
    other.put("/there", File::new("public", "1"));
    let context =
        add(&space, &[&format!("{} /x/", server.url("/file")), &format!("{} /y/", server.url("/away"))]);
    space.build(&context).run().fails_with(1).says(&["401", "HTTP_AUTH_TOKEN_HOST", "Dockerfile:2"]);
    server.authorizations();
    other.authorizations();
    let secret = space.file("home/token", "canary-5c1f\n").display().to_string();
    let layout = space.path("layout").display().to_string();
    let output = format!("type=oci,tar=false,dest={layout}");
    for flags in [["-o", &output], ["--no-cache", "--progress=plain"], ["--no-cache", "--progress=json"]] {
        let call = space
            .kiln(["build"])
            .arg(&context)
            .args(["--secret", &format!("id=HTTP_AUTH_TOKEN_127.0.0.1,src={secret}")]);
        call.args(flags).run().success().never_says(&["canary"]);
    }
    assert!(server.authorizations().iter().all(|told| told.as_deref() == Some(bearer)));
    assert!(other.authorizations().iter().all(Option::is_none));
    assert_nowhere(&space.store(), "canary");
    assert_nowhere(Path::new(&layout), "canary");
    // The other kind is the whole header; a value that is none is an error that does not repeat it.
    let header = |value: &str| {
        let call = space.build(&context).env("AUTH", value);
        call.args(["--secret", "id=HTTP_AUTH_HEADER_127.0.0.1,env=AUTH"])
    };
    header(bearer).run().success().never_says(&["canary"]);
    header("canary\u{1}").run().fails_with(1).says(&["HTTP_AUTH_HEADER_127.0.0.1"]).never_says(&["canary"]);
}

#[test]
fn user_and_password_of_an_address_are_used_and_never_shown_or_kept() {
    let space = TestSpace::new();
    let server = FileServer::start();
    let basic = "Basic bWU6Y2FuYXJ5"; // me:canary
    server.put("/file", File { authorization: Some(basic.to_owned()), ..File::new("private", "1") });
    let url = server.url("/file").replace("http://", "http://$LOGIN@");
    let dockerfile = format!("FROM scratch\nARG LOGIN\nADD {url} /x/\n");
    let context = space.context("context", &[("Dockerfile", &dockerfile)]);
    let (layout, outcome) = space.build_layout(&context, "layout", &["--build-arg", "LOGIN=me:canary"]);
    outcome.never_says(&["canary"]);
    let history = read_one(&layout).config["history"].to_string();
    assert!(history.contains(&format!("ADD {} /x/", server.url("/file"))), "{history}");
    server.put("/file", File { authorization: Some("other".to_owned()), ..File::default() });
    let call = space.build(&context).args(["--build-arg", "LOGIN=me:canary"]);
    call.run().fails_with(1).says(&["401"]).never_says(&["canary"]);
}

#[test]
fn what_a_server_compresses_unasked_is_the_file_without_it() {
    requires!("gzip");
    use std::io::Write;
    let space = TestSpace::new();
    let mut gzip = std::process::Command::new("gzip");
    let mut child =
        gzip.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"plain text").unwrap();
    let compressed = child.wait_with_output().unwrap().stdout;
    let headers = vec![("Content-Encoding".to_owned(), "gzip".to_owned())];
    let server = FileServer::start();
    server.put("/file", File { headers, ..File::new(compressed, "1") });
    let digest = sha256::of(b"plain text");
    let context = add(&space, &[&format!("--checksum=sha256:{digest} {} /x/", server.url("/file"))]);
    let (layout, _) = space.build_layout(&context, "layout", &[]);
    let flat = read_one(&layout).flatten();
    assert!(flat.get(b"x/file").is_some());
}

#[test]
fn names_of_files_stay_in_their_directory() {
    let space = TestSpace::new();
    let server = FileServer::start();
    for path in ["/a%0Ab", "/..%2F..%2Fescaped", "/%2e%2e", "/nul%00nul"] {
        server.put(path, File::new("x", "1"));
        // To go up from the root leads there.
        server.put("/", File::new("x", "1"));
        let context = add(&space, &[&format!("[\"{}\", \"/dir/\"]", server.url(path))]);
        let (layout, _) = space.build_layout(&context, "layout", &[]);
        let flat = read_one(&layout).flatten();
        let names = flat.iter().map(|(path, ..)| String::from_utf8_lossy(path).into_owned());
        let names: Vec<String> = names.filter(|name| !name.is_empty()).collect();
        let expected = match path {
            "/a%0Ab" => "dir/a\nb",
            "/..%2F..%2Fescaped" => "dir/escaped",
            _ => "dir/__unnamed__",
        };
        assert_eq!(names, ["dir", expected], "{path}");
        fs::remove_dir_all(layout).unwrap();
    }
}
