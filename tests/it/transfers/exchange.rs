//! What kiln pushed others pull, and what they pushed kiln pulls and pushes on, over TLS.

use crate::support::image::check_blobs;
use crate::support::registry::Registry;
use crate::support::space::repository;
use crate::support::{TestSpace, peers, requires};

#[test]
fn images_of_every_form_go_between_kiln_and_others_unchanged() {
    requires!("root", "docker-registry", "skopeo", "buildah");
    let space = TestSpace::new();
    let registry = Registry::start_with_tls(&space.path("registry"));
    let ca = repository().join("builder/registry/testdata/tls/ca.pem");
    space.config(&format!("[registry.\"{}\"]\nca = [\"{}\"]\n", registry.host(), ca.display()));
    let own = format!("{}/team/app:own", registry.host());
    let context = space.context(
        "context",
        &[("Dockerfile", "FROM scratch\nCOPY a /\nLABEL l=1\n"), ("a", &"alpha\n".repeat(1000))],
    );
    let platforms = ["--platform", "linux/amd64,linux/arm64", "-t", &own, "--push"];
    space.build(&context).args(platforms).run().success();

    let zstd = format!("{}/team/app:zstd", registry.host());
    let output = format!("type=image,name={zstd},push=true,compression=zstd");
    space.build(&context).args(["-o", &output]).run().success();

    for (tag, flags, manifest_type, layer_type) in [
        ("index", vec!["--all"], "application/vnd.oci.image.index.v1+json", ""),
        (
            "docker",
            vec!["--format", "v2s2"],
            "application/vnd.docker.distribution.manifest.v2+json",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
        ),
        (
            "zstd",
            // Else it may take a copy that it knows of, compressed in another way.
            vec!["--preserve-digests"],
            "application/vnd.oci.image.manifest.v1+json",
            "application/vnd.oci.image.layer.v1.tar+zstd",
        ),
    ] {
        let theirs = format!("{}/theirs/app:{tag}", registry.host());
        let (from, to) =
            (format!("docker://{}", if tag == "zstd" { &zstd } else { &own }), format!("docker://{theirs}"));
        let tls =
            ["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false"];
        peers::run("skopeo", tls.into_iter().chain(flags).chain([from.as_str(), &to]));
        let manifest = |name: &str| -> serde_json::Value {
            let text =
                peers::run("skopeo", ["inspect", "--tls-verify=false", "--raw", &format!("docker://{name}")]);
            serde_json::from_str(&text).unwrap()
        };
        let document = manifest(&theirs);
        assert_eq!(document["mediaType"].as_str().unwrap_or(manifest_type), manifest_type);
        assert_eq!(document["layers"][0]["mediaType"].as_str().unwrap_or_default(), layer_type, "{tag}");

        let store = space.path(&format!("store-{tag}"));
        let again = format!("{}/again/app:{tag}", registry.host());
        space.kiln(["pull", &theirs]).store(&store).run().success();
        check_blobs(&store);
        space.kiln(["tag", &theirs, &again]).store(&store).run().success();
        space.kiln(["push", &again]).store(&store).run().success();
        // Of an index only the image of this platform was pulled.
        if tag != "index" {
            assert_eq!(manifest(&again), document, "{tag}");
        }
        let root = space.path(&format!("buildah-{tag}"));
        let (root, run) = (root.display().to_string(), format!("{}-run", root.display()));
        let storage = ["--root", &root, "--runroot", &run, "--storage-driver", "vfs"];
        let pull = ["pull", "--quiet", "--tls-verify=false", &format!("docker://{again}")].map(str::to_owned);
        peers::run("buildah", storage.map(str::to_owned).into_iter().chain(pull));
    }
}
