//! Layers that registries do not distribute: kept by reference, fetched from the addresses that their image names when a step must
//! read them, and never uploaded.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::http::{HttpServer, Request, Response};
use crate::support::image::check_blobs;
use crate::support::{TestSpace, busybox, requires, sha256};

const FOREIGN_TYPE: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
const MANIFEST_TYPE: &str = "application/vnd.docker.distribution.manifest.v2+json";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The layer that the registry lacks, uncompressed.
fn foreign_layer() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_path("licensed").unwrap();
    header.set_mode(0o644);
    header.set_size(6);
    header.set_cksum();
    builder.append(&header, &b"words\n"[..]).unwrap();
    builder.into_inner().unwrap()
}

/// A registry that has `app:1` without its foreign layer, and takes what is pushed. It keeps the queries it was asked.
struct Registry {
    server: HttpServer,
    queries: Arc<Mutex<Vec<String>>>,
}

impl Registry {
    fn start(urls: &[String]) -> Self {
        let mut blobs = BTreeMap::new();
        let mut blob = |media_type: &str, bytes: Vec<u8>| {
            let digest = format!("sha256:{}", sha256::of(&bytes));
            let descriptor = json!({"mediaType": media_type, "digest": digest, "size": bytes.len()});
            blobs.insert(digest, bytes);
            descriptor
        };
        let (base, foreign) = (busybox::rootfs(), foreign_layer());
        let diff_ids = [&base, &foreign].map(|bytes| format!("sha256:{}", sha256::of(bytes)));
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = blob("application/vnd.docker.container.image.v1+json", config.to_string().into_bytes());
        let base = blob("application/vnd.docker.image.rootfs.diff.tar.gzip", gzip(&base));
        let mut absent = blob(FOREIGN_TYPE, gzip(&foreign));
        absent["urls"] = json!(urls);
        blobs.remove(absent["digest"].as_str().unwrap());
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": [base, absent],
        });
        let queries = Arc::new(Mutex::new(Vec::new()));
        let (manifest, log) = (manifest.to_string().into_bytes(), Arc::clone(&queries));
        let server = HttpServer::start(move |request| {
            log.lock().unwrap().push(request.query.clone());
            answer(request, &manifest, &blobs)
        });
        Self { server, queries }
    }

    fn name(&self) -> String {
        format!("{}/app:1", self.server.host())
    }

    fn place(&self) -> TestSpace {
        let space = TestSpace::new();
        space.config(&format!("[registry.\"{}\"]\nhttp = true\n", self.server.host()));
        space
    }
}

fn answer(request: &Request, manifest: &[u8], blobs: &BTreeMap<String, Vec<u8>>) -> Response {
    let last = request.path.rsplit('/').next().unwrap();
    match request.method.as_str() {
        "POST" => Response::new(202, "").header("Location", "/v2/other/blobs/uploads/1"),
        "PATCH" => Response::new(202, "").header("Location", "/v2/other/blobs/uploads/1"),
        "PUT" => Response::new(201, ""),
        _ if request.path.contains("/other/") => Response::new(404, "{}"),
        _ if request.path.contains("/manifests/") => {
            let digest = format!("sha256:{}", sha256::of(manifest));
            let response = Response::new(200, manifest).header("Content-Type", MANIFEST_TYPE);
            response.header("Docker-Content-Digest", &digest)
        }
        _ if request.path.contains("/blobs/") => match blobs.get(last) {
            Some(bytes) => Response::new(200, bytes.clone()),
            None => Response::new(404, "{}"),
        },
        _ => Response::new(200, "{}"),
    }
}

/// A server that has the foreign layer, or something else in its place.
fn serve_layer(bytes: Vec<u8>) -> HttpServer {
    HttpServer::start(move |request| {
        assert!(!request.headers.contains_key("authorization"), "an address gets no credentials");
        Response::new(200, bytes.clone())
    })
}

#[test]
fn a_foreign_layer_is_needed_by_nothing_but_a_step_that_reads_it() {
    requires!("root", "busybox");
    let layers = serve_layer(gzip(&foreign_layer()));
    let registry = Registry::start(&[format!("{}/layer.tar.gz", layers.url())]);
    let (space, name) = (registry.place(), registry.name());
    let foreign = sha256::of(&gzip(&foreign_layer()));
    space.kiln(["pull", &name]).run().success();
    let archive = space.path("saved.tar");
    space.kiln(["save", "-o"]).arg(&archive).arg(&name).run().success();
    space.kiln(["load", "-i"]).arg(&archive).store(&space.path("other-store")).run().success();
    let pushed = format!("{}/other:1", registry.server.host());
    space.kiln(["tag", &name, &pushed]).run().success();
    space.kiln(["push", &pushed]).run().success();
    let queries = registry.queries.lock().unwrap().join("\n");
    assert!(queries.contains("digest=") && !queries.contains(&foreign), "it is not uploaded: {queries}");
    let label = space.context("label", &[("Dockerfile", &format!("FROM {name}\nLABEL a=b\n"))]);
    let layout = space.path("layout");
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    space.build(&label).args(["-o", &output]).run().success();
    assert_eq!(layers.asked(), Vec::<String>::new(), "nobody had to read it");
    assert!(manifest_of(&layout).contains("/layer.tar.gz"), "the image made of it names the address");

    let run = space.context("run", &[("Dockerfile", &format!("FROM {name}\nRUN cat /licensed\n"))]);
    space.build(&run).run().success().says(&["words"]);
    assert_eq!(layers.asked(), ["GET /layer.tar.gz"]);
    space.build(&run).arg("--no-cache").run().success();
    assert_eq!(layers.asked().len(), 1, "it is here now");
    check_blobs(&space.store());
}

/// The text of the only manifest of a layout.
fn manifest_of(layout: &std::path::Path) -> String {
    let index: Value = serde_json::from_slice(&std::fs::read(layout.join("index.json")).unwrap()).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap().replace("sha256:", "");
    std::fs::read_to_string(layout.join("blobs/sha256").join(digest)).unwrap()
}

#[test]
fn a_foreign_layer_that_cannot_be_had_is_named_with_its_address() {
    requires!("busybox");
    let digest = sha256::of(&gzip(&foreign_layer()));
    let (other, gone) =
        (serve_layer(b"something else".to_vec()), HttpServer::start(|_| Response::new(410, "")));
    let long = serve_layer([gzip(&foreign_layer()), vec![0; 100_000]].concat());
    let rows = [
        (Vec::new(), vec!["names no address"]),
        (vec!["file:///etc/passwd".to_owned()], vec!["names no address"]),
        (vec![format!("{}/x?token=secret", other.url())], vec!["other bytes", "/x`"]),
        (vec![format!("{}/x", gone.url())], vec!["410", "/x`"]),
        (vec![format!("{}/x", long.url())], vec!["other bytes", "/x`"]),
    ];
    for (urls, says) in rows {
        let registry = Registry::start(&urls);
        let space = registry.place();
        let dockerfile = format!("FROM scratch\nCOPY --from={} /licensed /\n", registry.name());
        let context = space.context("context", &[("Dockerfile", &dockerfile)]);
        let outcome = space.build(&context).run().fails_with(1).says(&says).never_says(&["secret"]);
        outcome.says(&[&digest, "Dockerfile:2"]);
        check_blobs(&space.store());
    }
}
