//! Images between kiln and other programs, both ways, by way of real registries.
//!
//! | | |
//! |---|---|
//! | transports | plain HTTP; TLS with an authority of its own; TLS and a password; tokens of a server of their own |
//! | forms | OCI manifest, Docker manifest, OCI index, Docker list, OCI manifest with zstd |
//! | peers | skopeo, buildah; podman where it is installed |

mod peer;
mod transport;

use serde_json::{Value, json};

use crate::support::image::{self, LayerCache, check_blobs, json_file};
use crate::support::layer::Kind;
use crate::support::validator::foreign;
use crate::support::{TestSpace, requires};
use peer::Peer;
use transport::Transport;

/// The architecture of this machine, and one that it is not, as registries call them.
const NATIVE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
const FOREIGN: &str = if cfg!(target_arch = "aarch64") { "amd64" } else { "arm64" };

/// The documents and layers that an image is made of.
struct Form {
    /// Its name, and the tag of what has it.
    name: &'static str,
    /// Whether it is for both architectures.
    is_list: bool,
    /// Whether its media types are Docker's.
    is_docker: bool,
    /// Whether layers are compressed by zstd, else by gzip.
    is_zstd: bool,
}

const FORMS: [Form; 5] = [
    Form { name: "oci", is_list: false, is_docker: false, is_zstd: false },
    Form { name: "docker", is_list: false, is_docker: true, is_zstd: false },
    Form { name: "oci-index", is_list: true, is_docker: false, is_zstd: false },
    Form { name: "docker-list", is_list: true, is_docker: true, is_zstd: false },
    Form { name: "oci-zstd", is_list: false, is_docker: false, is_zstd: true },
];

impl Form {
    /// Returns the name of the file that an image of this form has. A layer that is known by one compression may be taken for what
    /// another one would make of it, so what is compressed by zstd is another layer.
    fn file(&self) -> &'static str {
        if self.is_zstd { "zstd" } else { "gzip" }
    }

    /// Returns the media types of the list, of a manifest and of a layer.
    fn media_types(&self) -> [&'static str; 3] {
        if self.is_docker {
            return [
                "application/vnd.docker.distribution.manifest.list.v2+json",
                "application/vnd.docker.distribution.manifest.v2+json",
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
            ];
        }
        [
            "application/vnd.oci.image.index.v1+json",
            "application/vnd.oci.image.manifest.v1+json",
            match self.is_zstd {
                true => "application/vnd.oci.image.layer.v1.tar+zstd",
                false => "application/vnd.oci.image.layer.v1.tar+gzip",
            },
        ]
    }
}

/// What the file of an image holds.
fn content(maker: &str, file: &str) -> String {
    format!("{file} of {maker}\n")
}

/// Writes the context of somebody's images; the argument `FILE` says which.
fn context(space: &TestSpace, maker: &str) -> String {
    let dockerfile =
        format!("FROM scratch\nARG FILE\nCOPY $FILE /content\nLABEL made.by={maker}\nCMD [\"/content\"]\n");
    let [gzip, zstd] = ["gzip", "zstd"].map(|file| content(maker, file));
    let files = [("Dockerfile", dockerfile.as_str()), ("gzip", &gzip), ("zstd", &zstd)];
    space.context(&format!("context-of-{maker}"), &files).display().to_string()
}

/// An image as a registry has it.
struct Stored {
    /// The digest of what the tag stands for, and that document.
    digest: String,
    document: Value,
    /// The digest of the manifest for this machine, and that document.
    manifest_digest: String,
    manifest: Value,
}

impl Stored {
    fn read(transport: &Transport, repository: &str, form: &Form) -> Self {
        let (digest, document) = transport.registry.tagged(repository, form.name);
        let manifest_digest = native(&document).map_or(digest.clone(), digest_of);
        let manifest = json_file(&transport.registry.blob(&manifest_digest));
        Self { digest, document, manifest_digest, manifest }
    }

    /// Asserts that its documents and its layer are of a form.
    fn assert_form(&self, form: &Form, what: &str) {
        let found = [&self.document, &self.manifest, &self.manifest["layers"][0]]
            .map(|described| described["mediaType"].as_str().unwrap());
        let [list, manifest, layer] = form.media_types();
        assert_eq!(found, [if form.is_list { list } else { manifest }, manifest, layer], "{what}");
    }

    /// Returns the digest of the configuration, which is what images are known by.
    fn id(&self) -> String {
        digest_of(&self.manifest["config"])
    }
}

/// Returns the descriptor of the manifest for this machine if a document is a list.
fn native(document: &Value) -> Option<&Value> {
    let members = document["manifests"].as_array()?;
    members.iter().find(|member| member["platform"]["architecture"] == NATIVE)
}

fn digest_of(descriptor: &Value) -> String {
    descriptor["digest"].as_str().unwrap().to_owned()
}

/// Each form meets each peer, and each peer each transport, both ways. How a form is asked for does not depend on how its registry
/// is reached, so these two do not meet in all pairs; kiln's own images go to every registry in all the forms that it makes.
#[test]
fn images_of_every_form_go_both_ways_between_kiln_and_others_whatever_the_registry_wants() {
    requires!("root", "docker-registry", "openssl", "skopeo", "buildah");
    let space = TestSpace::new();
    let (transports, _tokens) = transport::start(&space);
    let peers = Peer::all(&space);
    build(&space, &transports);
    for (number, transport) in transports.iter().enumerate() {
        let mut pairs = Vec::new();
        for (row, form) in FORMS.iter().enumerate() {
            let of_this = |column: &usize| (row + column) % transports.len() == number;
            pairs.extend((0..peers.len()).filter(of_this).map(|column| (form, &peers[column])));
        }
        receive(&space, transport, &pairs);
        send(&space, transport, &pairs);
    }
}

/// Builds what kiln makes itself, and pushes it to every registry in the same call.
fn build(space: &TestSpace, transports: &[Transport]) {
    let context = context(space, "kiln");
    for form in FORMS.iter().filter(|form| !form.is_docker) {
        let file = format!("FILE={}", form.file());
        let platforms = format!("linux/{NATIVE},linux/{FOREIGN}");
        let flags: &[&str] = match (form.is_list, form.is_zstd) {
            (true, _) => &["--platform", &platforms, "--push"],
            (_, true) => &["-o", "type=image,push=true,compression=zstd"],
            _ => &["-o", "type=image,push=true"],
        };
        let names = transports
            .iter()
            .flat_map(|transport| ["-t".to_owned(), format!("{}/ours/app:{}", transport.host(), form.name)]);
        let call = space.build(context.as_ref()).args(["--build-arg", &file]).args(names).args(flags);
        let digest = call.run().success().digest();
        for transport in transports {
            let stored = Stored::read(transport, "ours/app", form);
            assert_eq!(stored.digest, digest, "{} over {}", form.name, transport.name);
            stored.assert_form(form, transport.name);
        }
    }
}

/// What peers push is what kiln pulls.
fn receive(space: &TestSpace, transport: &Transport, pairs: &[(&Form, &Peer)]) {
    let repository = format!("{}/theirs/app", transport.host());
    let stored: Vec<Stored> = pairs
        .iter()
        .map(|(form, peer)| {
            peer.push(form, &format!("{repository}:{}", form.name), transport);
            let stored = Stored::read(transport, "theirs/app", form);
            let layers = stored.manifest["layers"].as_array().unwrap();
            layers.iter().for_each(|layer| foreign::remember(&digest_of(layer)));
            stored
        })
        .collect();
    let store = transport.store(space);
    space.kiln(["pull", "--all-tags", &repository]).store(&store).run().success();
    check_blobs(&store);
    let names = pairs.iter().map(|(form, _)| format!("{repository}:{}", form.name));
    let inspected = space.kiln(["inspect"]).args(names).store(&store).run().success().text();
    let inspected: Vec<Value> = serde_json::from_str(&inspected).unwrap();
    for ((form, peer), (stored, told)) in pairs.iter().zip(stored.iter().zip(&inspected)) {
        let what = format!("{} by {} over {}", form.name, peer.name(), transport.name);
        stored.assert_form(form, &what);
        assert_eq!(told["Id"], stored.id(), "{what}");
        assert_eq!(told["RepoDigests"], json!([format!("{repository}@{}", stored.digest)]), "{what}");
        assert_eq!(told["Descriptor"]["digest"], stored.digest, "{what}");
        let descriptor = native(&stored.document).unwrap_or(&told["Descriptor"]);
        let image = image::read(&store, descriptor, &mut LayerCache::new());
        let Some(Kind::File(_, _, Some(file))) =
            image.flatten().get(b"content").map(|node| node.kind.clone())
        else {
            panic!("{what}: no file")
        };
        assert_eq!(String::from_utf8(file).unwrap(), content(peer.name(), form.file()), "{what}");
        assert_eq!(image.config["config"]["Labels"]["made.by"], peer.name(), "{what}");
        assert_eq!(told["Config"]["Cmd"], image.config["config"]["Cmd"], "{what}");
    }
}

/// What kiln made, and what it passes on from its store and from registry to registry, is what peers pull.
fn send(space: &TestSpace, transport: &Transport, pairs: &[(&Form, &Peer)]) {
    let [theirs, again, copied] =
        ["theirs", "again", "copied"].map(|name| format!("{}/{name}/app", transport.host()));
    let store = transport.store(space);
    space.kiln(["copy", "--all-tags", &theirs, &copied]).store(&space.path("no-store")).run().success();
    for (form, _) in pairs {
        let [from, to] = [&theirs, &again].map(|name| format!("{name}:{}", form.name));
        space.kiln(["tag", &from, &to]).store(&store).run().success();
    }
    space.kiln(["push", "--all-tags", &again]).store(&store).run().success();
    for (form, peer) in pairs {
        let what = format!("{} for {} over {}", form.name, peer.name(), transport.name);
        let read = |repository| Stored::read(transport, repository, form);
        let (theirs, again, copied) = (read("theirs/app"), read("again/app"), read("copied/app"));
        assert_eq!(copied.digest, theirs.digest, "{what}");
        // Of a list the store has the image for this machine only.
        assert_eq!(again.digest, theirs.manifest_digest, "{what}");
        let (maker, repository, sent) = match (form.is_docker, form.is_list) {
            (true, true) => (peer.name(), "copied/app", copied),
            (true, false) => (peer.name(), "again/app", again),
            (false, _) => ("kiln", "ours/app", read("ours/app")),
        };
        let seen = peer.pull(form, &format!("{}/{repository}:{}", transport.host(), form.name), transport);
        assert_eq!(seen.id, sent.id(), "{what}");
        assert!(seen.digests.contains(&sent.manifest_digest), "{what}: {:?}", seen.digests);
        assert_eq!(seen.content, content(maker, form.file()), "{what}");
    }
}
