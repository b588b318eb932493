//! Layers that registries do not distribute: kept by reference, fetched from the addresses that their image names when a step must
//! read them, and never uploaded.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::busybox::archive_of;
use crate::support::http::{HttpServer, Request, Response, plain_config};
use crate::support::image::check_blobs;
use crate::support::{TestSpace, busybox, requires, sha256, validator};

const FOREIGN_TYPE: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
const MANIFEST_TYPE: &str = "application/vnd.docker.distribution.manifest.v2+json";
const INDEX_TYPE: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

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

/// A registry that has `app:1`, an index of one image, without its foreign layer, and takes what is pushed. It keeps the queries it
/// was asked, and the manifests it was sent.
struct Registry {
    server: HttpServer,
    queries: Arc<Mutex<Vec<String>>>,
    sent: Arc<Mutex<Vec<Vec<u8>>>>,
    /// The image's own manifest.
    manifest: Vec<u8>,
}

impl Registry {
    fn start(urls: &[String]) -> Self {
        let platform = json!({"architecture": "amd64", "os": "linux"});
        Self::start_for(&platform, &busybox::rootfs(), urls)
    }

    fn start_for(platform: &Value, base: &[u8], urls: &[String]) -> Self {
        let mut blobs = BTreeMap::new();
        let mut blob = |media_type: &str, bytes: Vec<u8>| {
            let digest = format!("sha256:{}", sha256::of(&bytes));
            validator::foreign::remember(&digest);
            let descriptor = json!({"mediaType": media_type, "digest": digest, "size": bytes.len()});
            blobs.insert(digest, bytes);
            descriptor
        };
        let foreign = foreign_layer();
        let diff_ids = [base, &foreign].map(|bytes| format!("sha256:{}", sha256::of(bytes)));
        let mut config = platform.clone();
        config["config"] = json!({});
        config["rootfs"] = json!({"type": "layers", "diff_ids": diff_ids});
        config["history"] = json!([{"created_by": "first"}, {"created_by": "second"}]);
        let config = blob("application/vnd.docker.container.image.v1+json", config.to_string().into_bytes());
        let base = blob("application/vnd.docker.image.rootfs.diff.tar.gzip", gzip(base));
        let mut absent = blob(FOREIGN_TYPE, gzip(&foreign));
        absent["urls"] = json!(urls);
        let gone = absent["digest"].as_str().unwrap().to_owned();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": [base, absent],
        });
        let manifest = manifest.to_string().into_bytes();
        let mut entry = blob(MANIFEST_TYPE, manifest.clone());
        entry["platform"] = platform.clone();
        let index = json!({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [entry]});
        let index = index.to_string().into_bytes();
        blob(INDEX_TYPE, index.clone());
        blobs.remove(&gone);
        let (queries, sent) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<Mutex<Vec<_>>>::default());
        let (log, kept) = (Arc::clone(&queries), Arc::clone(&sent));
        let server = HttpServer::start(move |request| {
            log.lock().unwrap().push(request.query.clone());
            if request.method == "PUT" && request.path.contains("/manifests/") {
                kept.lock().unwrap().push(request.body.clone());
            }
            answer(request, &index, &blobs)
        });
        Self { server, queries, sent, manifest }
    }

    fn name(&self) -> String {
        format!("{}/app:1", self.server.host())
    }

    fn place(&self) -> TestSpace {
        let space = TestSpace::new();
        space.config(&plain_config(&self.server.host()));
        space
    }
}

fn answer(request: &Request, index: &[u8], blobs: &BTreeMap<String, Vec<u8>>) -> Response {
    let last = request.path.rsplit('/').next().unwrap();
    match request.method.as_str() {
        "POST" => Response::new(202, "").header("Location", "/v2/other/blobs/uploads/1"),
        "PATCH" => Response::new(202, "").header("Location", "/v2/other/blobs/uploads/1"),
        "PUT" => Response::new(201, ""),
        _ if request.path.contains("/other/") => Response::new(404, "{}"),
        _ if request.path.contains("/manifests/") => {
            let bytes = blobs.get(last).map_or(index, Vec::as_slice);
            let media_type = if bytes == index { INDEX_TYPE } else { MANIFEST_TYPE };
            let response = Response::new(200, bytes).header("Content-Type", media_type);
            response.header("Docker-Content-Digest", &format!("sha256:{}", sha256::of(bytes)))
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

#[test]
fn an_image_of_another_system_is_looked_at_and_goes_on_as_it_came() {
    let platform = json!({"architecture": "amd64", "os": "windows", "os.version": "10.0.17763.1"});
    let layers = serve_layer(gzip(&foreign_layer()));
    let base = archive_of("Files/license.txt", b"words\n");
    let registry = Registry::start_for(&platform, &base, &[format!("{}/base", layers.url())]);
    let (space, name) = (registry.place(), registry.name());
    space.kiln(["pull", &name]).run().fails_with(1).says(&["it has windows/amd64"]);
    space.kiln(["pull", "--platform", "windows/amd64", &name]).run().success();
    let archive = space.path("saved.tar");
    space.kiln(["save", "-o"]).arg(&archive).arg(&name).run().success();
    let other = space.path("other-store");
    space.kiln(["load", "-i"]).arg(&archive).store(&other).run().success();
    for store in [space.store(), other] {
        let format = "{{.Os}}/{{.Architecture}} {{.OsVersion}} {{len .RootFS.Layers}}";
        let shown = space.kiln(["inspect", "--format", format, &name]).store(&store).run().success();
        assert_eq!(shown.text(), "windows/amd64 10.0.17763.1 2\n");
        let history = space.kiln(["history", "--format", "{{.CreatedBy}}", &name]).store(&store);
        assert_eq!(history.run().success().text(), "second\nfirst\n");
        let pushed = format!("{}/other:1", registry.server.host());
        space.kiln(["tag", &name, &pushed]).store(&store).run().success();
        space.kiln(["push", &pushed]).store(&store).run().success();
        let sent = std::mem::take(&mut *registry.sent.lock().unwrap());
        assert!(sent.contains(&registry.manifest), "byte for byte");
        check_blobs(&store);
    }
    let queries = registry.queries.lock().unwrap().join("\n");
    let foreign = sha256::of(&gzip(&foreign_layer()));
    assert!(queries.contains("digest=") && !queries.contains(&foreign), "it is not uploaded: {queries}");
    assert_eq!(layers.asked(), Vec::<String>::new(), "nobody had to read it");
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
        (vec![format!("{}/x?token=secret", other.url())], vec!["other bytes", "/x?…`"]),
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
