//! Images from one registry to another, without the store.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::{Arc, Mutex, mpsc};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{closed_registry, push, raw};
use crate::support::http::{HttpServer, Request, Response, plain_config};
use crate::support::registry::{ACCOUNT, Registry};
use crate::support::served::Served;
use crate::support::{TestSpace, peers, requires, sha256};

/// Two registries, the second with an account, that this space's kiln reaches.
fn two(space: &TestSpace) -> (Registry, Registry) {
    let from = Registry::start(&space.path("from"));
    let to = closed_registry(space);
    space.config(&(plain_config(&from.host()) + &plain_config(&to.host())));
    (from, to)
}

fn raw_closed(name: &str) -> String {
    let account = format!("{}:{}", ACCOUNT.0, ACCOUNT.1);
    let name = format!("docker://{name}");
    peers::run("skopeo", ["inspect", "--raw", "--tls-verify=false", "--creds", &account, &name])
}

#[test]
fn an_index_is_copied_to_another_registry_as_it_stands() {
    requires!("docker-registry", "skopeo");
    let space = TestSpace::new();
    let (from, to) = two(&space);
    let source = format!("{}/team/app:1", from.host());
    // Larger than what goes in one request.
    let content = "content of no kind in particular, ".repeat(80_000);
    let digest = push(&space, &source, &content, &["--platform", "linux/amd64,linux/arm64"]);
    let destination = format!("{}/copied/app:2", to.host());
    let nowhere = space.path("no-store");
    let copied = space.kiln(["copy", &source, &destination]).store(&nowhere).run().success().text();
    assert!(copied.starts_with(&format!("{destination}: digest: {digest} size: ")), "{copied}");
    assert!(!nowhere.exists(), "nothing is kept");
    assert_eq!(raw_closed(&destination), raw(&source));
    // What is there is not sent again.
    let puts = |registry: &Registry| {
        registry.asked().iter().filter(|asked| asked.contains("/blobs/uploads/")).count()
    };
    let before = puts(&to);
    let again = format!("{}/copied/app:3", to.host());
    space.kiln(["copy", &source, &again]).store(&nowhere).run().success().says(&["all already there"]);
    assert_eq!(puts(&to), before);
    // One platform of it is the manifest itself.
    let one = format!("{}/copied/app:arm", to.host());
    space.kiln(["copy", "--platform", "linux/arm64", &source, &one]).store(&nowhere).run().success();
    let index: Value = serde_json::from_str(&raw(&source)).unwrap();
    let arm = index["manifests"][1]["digest"].as_str().unwrap();
    assert_eq!(raw_closed(&one), raw(&format!("{}@{arm}", source.strip_suffix(":1").unwrap())));
    let absent = ["copy", "--platform", "linux/s390x", &source, &one];
    space
        .kiln(absent)
        .run()
        .fails_with(1)
        .says(&["not available for linux/s390x", "linux/amd64, linux/arm64"]);
}

#[test]
fn blobs_are_mounted_within_a_registry() {
    requires!("docker-registry", "skopeo");
    let space = TestSpace::new();
    let registry = super::registry(&space);
    let source = format!("{}/team/app:1", registry.host());
    push(&space, &source, "content", &[]);
    let destination = format!("docker://{}/other/app", registry.host());
    let sent =
        |asked: &String| asked.starts_with("PATCH") || asked.contains("GET") && asked.contains("/blobs/");
    let before = registry.asked().iter().filter(|asked| sent(asked)).count();
    space.kiln(["copy", &source, &destination]).run().success().says(&["2 mounted"]);
    assert_eq!(registry.asked().iter().filter(|asked| sent(asked)).count(), before);
    assert_eq!(raw(&format!("{}/other/app:1", registry.host())), raw(&source));
    let all =
        ["copy", "-a", &format!("{}/team/app", registry.host()), &format!("{}/third/app", registry.host())]
            .map(str::to_owned);
    space.kiln(&all).run().success();
    assert_eq!(raw(&format!("{}/third/app:1", registry.host())), raw(&source));
}

#[test]
fn a_blob_that_is_damaged_at_the_source_makes_no_copy() {
    requires!("docker-registry", "skopeo");
    let space = TestSpace::new();
    let (from, to) = two(&space);
    let source = format!("{}/team/app:1", from.host());
    // Long enough to be sent in parts.
    let content: String = noise(3 << 20).iter().map(|byte| char::from(b'!' + byte % 90)).collect();
    push(&space, &source, &content, &[]);
    let manifest: Value = serde_json::from_str(&raw(&source)).unwrap();
    let layer = manifest["layers"][0]["digest"].as_str().unwrap();
    let blob = from.blob(layer);
    let mut bytes = fs::read(&blob).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&blob, bytes).unwrap();
    let destination = format!("{}/copied/app", to.host());
    let failed = space.kiln(["copy", &source, &format!("{destination}:1")]).run().fails_with(1);
    failed.says(&[&source, "wrong digest"]);
    space.kiln(["tags", &destination]).run().fails_with(1);
    assert!(!to.blob(layer).exists());
}

/// Bytes that do not shrink, the same each time.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 1u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// A registry with an image of one layer, which is sent in parts.
fn serve_noise() -> HttpServer {
    let noise = noise(5 << 20);
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(noise.len() as u64);
    archive.append_data(&mut header, "noise", noise.as_slice()).unwrap();
    let archive = archive.into_inner().unwrap();
    let mut served = Served::default();
    let config = json!({"architecture": "amd64", "os": "linux", "config": {}});
    served.add_archives("team/app:1", config, &[archive]);
    served.start()
}

/// Lets this space's kiln reach servers without TLS.
fn reach(space: &TestSpace, servers: [&HttpServer; 2]) {
    let hosts: BTreeSet<String> = servers.into_iter().map(HttpServer::host).collect();
    space.config(&hosts.iter().map(|host| plain_config(host)).collect::<String>());
}

/// What a registry took.
#[derive(Default)]
struct Taken {
    /// What has come by each upload, of which several go on at once.
    uploads: Vec<Vec<u8>>,
    breaks_left: usize,
    blobs: BTreeMap<String, Vec<u8>>,
    manifests: Vec<String>,
}

/// A registry that takes only a part of what it is sent, twice, and goes on from there.
fn forgetful() -> (HttpServer, Arc<Mutex<Taken>>) {
    let taken = Arc::new(Mutex::new(Taken { breaks_left: 2, ..Taken::default() }));
    let shared = Arc::clone(&taken);
    (HttpServer::start(move |request| take(&mut shared.lock().unwrap(), request)), taken)
}

fn take(taken: &mut Taken, request: &Request) -> Response {
    const UPLOADS: &str = "/v2/copied/app/blobs/uploads/";
    let number = request.path.strip_prefix(UPLOADS).and_then(|number| number.parse::<usize>().ok());
    let at = |number: usize| format!("{UPLOADS}{number}");
    let range = |upload: &[u8]| format!("0-{}", upload.len().saturating_sub(1));
    match (request.method.as_str(), number) {
        ("POST", _) => {
            taken.uploads.push(Vec::new());
            Response::new(202, "").header("Location", &at(taken.uploads.len() - 1))
        }
        ("PATCH", Some(number)) => {
            let upload = &mut taken.uploads[number];
            let start: usize = request.headers["content-range"].split('-').next().unwrap().parse().unwrap();
            assert_eq!(start, upload.len(), "parts follow each other");
            let is_cut = taken.breaks_left > 0;
            let length = if is_cut { request.body.len() / 2 + 13 } else { request.body.len() };
            upload.extend_from_slice(&request.body[..length]);
            taken.breaks_left -= usize::from(is_cut);
            let status = if is_cut { 503 } else { 202 };
            Response::new(status, "").header("Location", &at(number)).header("Range", &range(upload))
        }
        ("GET", Some(number)) => {
            let range = range(&taken.uploads[number]);
            Response::new(204, "").header("Location", &at(number)).header("Range", &range)
        }
        ("PUT", Some(number)) => {
            let bytes = if request.body.is_empty() { &taken.uploads[number] } else { &request.body };
            let digest = format!("sha256:{}", sha256::of(bytes));
            let is_right = request.query.contains(&digest.replace(':', "%3A"));
            taken.blobs.insert(digest, bytes.clone());
            Response::new(if is_right { 201 } else { 400 }, "")
        }
        ("PUT", None) => {
            taken.manifests.push(request.path.clone());
            Response::new(201, "")
        }
        ("GET", None) if request.path == "/v2/" => Response::new(200, "{}"),
        _ => Response::new(404, "{}"),
    }
}

#[test]
fn an_upload_that_has_to_go_back_gets_the_same_bytes_again() {
    let space = TestSpace::new();
    let from = serve_noise();
    let name = format!("{}/team/app:1", from.host());
    reach(&space, [&from, &from]);
    space.kiln(["copy", &name, "oci:layout"]).run().success();
    space.kiln(["copy", &name, "oci-archive:app.tar"]).run().success();
    for source in [&name, "oci:layout", "oci-archive:app.tar"] {
        let (to, taken) = forgetful();
        reach(&space, [&from, &to]);
        let before = from.asked().len();
        space.kiln(["copy", source, &format!("{}/copied/app:1", to.host())]).run().success();
        let taken = taken.lock().unwrap();
        assert_eq!((taken.blobs.len(), taken.breaks_left), (2, 0), "{source}");
        assert_eq!(taken.manifests, ["/v2/copied/app/manifests/1"]);
        // A part that came twice is all that was asked for twice.
        let asked = from.asked().split_off(before);
        let layers = asked.iter().filter(|asked| asked.contains("/blobs/")).count();
        assert!(layers <= 4, "{asked:?}");
    }
}

#[test]
fn a_copy_that_is_interrupted_ends_at_once_and_makes_no_name() {
    let space = TestSpace::new();
    let from = serve_noise();
    let (begun, begins) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let (begun, released, taken) = (Mutex::new(begun), Mutex::new(released), Mutex::<Taken>::default());
    let to = HttpServer::start(move |request| {
        if request.method == "PATCH" {
            begun.lock().unwrap().send(()).unwrap();
            // Until the test ends.
            assert!(released.lock().unwrap().recv().is_err());
        }
        take(&mut taken.lock().unwrap(), request)
    });
    reach(&space, [&from, &to]);
    let (source, destination) =
        (format!("{}/team/app:1", from.host()), format!("{}/copied/app:1", to.host()));
    let running = space.kiln(["copy", &source, &destination]).start();
    begins.recv().unwrap();
    kill_process(Pid::from_child(&running.child), Signal::INT).unwrap();
    running.wait().fails_with(130).says(&["interrupted"]);
    assert!(!to.asked().iter().any(|asked| asked.contains("/manifests/") && asked.starts_with("PUT")));
    drop(release);
}
