//! A read-only registry in memory: what a real server will not do on demand, and a base image server that needs nothing installed.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::busybox::{CONFIG_TYPE, LAYER_TYPE, MANIFEST_TYPE};
use super::http::{HttpServer, Request, Response, plain_config};
use super::sha256;
use super::sketch;
use super::validator::foreign;

/// Images to be served.
#[derive(Default, Clone)]
pub(crate) struct Served {
    blobs: BTreeMap<String, Vec<u8>>,
    manifests: BTreeMap<String, (String, Vec<u8>)>,
}

/// One platform's image, to be added.
pub(crate) struct NewImage {
    /// The manifest's media type.
    pub(crate) media_type: String,
    /// The configuration's media type.
    pub(crate) config_type: String,
    /// The configuration; its `rootfs` is filled in.
    pub(crate) config: Value,
    /// The layers: media type, blob, digest of the uncompressed bytes in hex.
    pub(crate) layers: Vec<(String, Vec<u8>, String)>,
}

impl Served {
    /// Adds an image and returns the descriptor of its manifest.
    pub(crate) fn add(&mut self, image: NewImage) -> Value {
        let mut config = image.config;
        let diff_ids: Vec<String> = image.layers.iter().map(|(_, _, hex)| format!("sha256:{hex}")).collect();
        config["rootfs"] = json!({"type": "layers", "diff_ids": diff_ids});
        let config = self.blob(&image.config_type, serde_json::to_vec(&config).unwrap());
        let layers: Vec<Value> =
            image.layers.into_iter().map(|(media_type, bytes, _)| self.blob(&media_type, bytes)).collect();
        let manifest =
            json!({"schemaVersion": 2, "mediaType": image.media_type, "config": config, "layers": layers});
        self.manifest(&image.media_type, serde_json::to_vec(&manifest).unwrap())
    }

    /// Adds an OCI image of archives, base first, under a name.
    pub(crate) fn add_archives(&mut self, name: &str, config: Value, archives: &[Vec<u8>]) {
        let layer = |tar: &Vec<u8>| {
            let blob = sketch::compressed("layer.gz", tar);
            (LAYER_TYPE.to_owned(), blob, sha256::of(tar))
        };
        let descriptor = self.add(NewImage {
            media_type: MANIFEST_TYPE.to_owned(),
            config_type: CONFIG_TYPE.to_owned(),
            config,
            layers: archives.iter().map(layer).collect(),
        });
        self.name(name, &descriptor);
    }

    /// Adds an index over manifests (with `platform` in each) and returns its descriptor.
    pub(crate) fn add_index(&mut self, media_type: &str, manifests: &[Value]) -> Value {
        let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests});
        self.manifest(media_type, serde_json::to_vec(&index).unwrap())
    }

    /// Gives a name (`library/busybox:latest`) to what a descriptor says.
    pub(crate) fn name(&mut self, name: &str, descriptor: &Value) {
        let (repository, tag) = name.rsplit_once(':').unwrap();
        let digest = descriptor["digest"].as_str().unwrap();
        let document = self.manifests[digest].clone();
        self.manifests.insert(format!("{repository} {tag}"), document);
    }

    /// Returns the digest of a layer's blob, counted from the base, of an image that has a name.
    pub(crate) fn blob_of(&self, name: &str, layer: usize) -> String {
        let (repository, tag) = name.rsplit_once(':').unwrap();
        let (_, bytes) = &self.manifests[&format!("{repository} {tag}")];
        let manifest: Value = serde_json::from_slice(bytes).unwrap();
        manifest["layers"][layer]["digest"].as_str().unwrap().to_owned()
    }

    fn blob(&mut self, media_type: &str, bytes: Vec<u8>) -> Value {
        let digest = format!("sha256:{}", sha256::of(&bytes));
        let descriptor = json!({"mediaType": media_type, "digest": digest, "size": bytes.len()});
        foreign::remember(&digest);
        self.blobs.insert(digest, bytes);
        descriptor
    }

    fn manifest(&mut self, media_type: &str, bytes: Vec<u8>) -> Value {
        let digest = format!("sha256:{}", sha256::of(&bytes));
        let descriptor = json!({"mediaType": media_type, "digest": digest, "size": bytes.len()});
        foreign::remember(&digest);
        self.manifests.insert(digest, (media_type.to_owned(), bytes));
        descriptor
    }

    /// Answers one request of the distribution protocol.
    pub(crate) fn answer(&self, request: &Request) -> Response {
        let parts: Vec<&str> = request.path.trim_start_matches("/v2/").split('/').collect();
        let [repository @ .., kind, name] = parts.as_slice() else { return Response::new(200, "{}") };
        let known = match *kind {
            "manifests" => self
                .manifests
                .get(*name)
                .or_else(|| self.manifests.get(&format!("{} {name}", repository.join("/"))))
                .cloned(),
            "blobs" => {
                self.blobs.get(*name).map(|bytes| ("application/octet-stream".to_owned(), bytes.clone()))
            }
            _ => return Response::new(200, "{}"),
        };
        let Some((media_type, bytes)) = known else {
            return Response::new(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"not here"}]}"#);
        };
        let digest = format!("sha256:{}", sha256::of(&bytes));
        Response::new(200, bytes).header("Content-Type", &media_type).header("Docker-Content-Digest", &digest)
    }

    /// Starts a server for these images.
    pub(crate) fn start(self) -> HttpServer {
        let served = Arc::new(self);
        HttpServer::start(move |request| served.answer(request))
    }
}

/// Returns configuration that makes a server on loopback the mirror of docker.io.
pub(crate) fn mirror_config(host: &str) -> String {
    format!("[registry.\"docker.io\"]\nmirrors = [\"{host}\"]\n\n{}", plain_config(host))
}
