//! Lists of images for several platforms.

use serde_json::Value;

use super::{build, push, raw, registry};
use crate::support::{TestSpace, peers, requires};

#[test]
fn a_list_of_images_of_registry_and_store_is_made_annotated_pushed_and_removed() {
    requires!("docker-registry", "skopeo");
    let space = TestSpace::new();
    let registry = registry(&space);
    let name = |text: &str| format!("{}/team/{text}", registry.host());
    let [amd, arm, docker, list] = ["app:amd", "app:arm", "app:docker", "app:1"].map(name);
    let amd_digest = push(&space, &amd, "amd", &["--platform", "linux/amd64"]);
    let arm_digest = build(&space, &arm, "arm", &["--platform", "linux/arm64"]);
    space.kiln(["rmi", &amd]).run().success();
    let created = space.kiln(["manifest", "create", &list, &amd]).run().success().text();
    assert_eq!(created, format!("Created manifest list {list}\n"));
    space.kiln(["manifest", "create", &list, &arm]).run().fails_with(1).says(&["already", "--amend"]);
    space.kiln(["manifest", "create", "--amend", &list, &arm]).run().success();
    push_as_docker(&space, &docker);
    space.kiln(["manifest", "add", &list, &docker]).run().success();
    let annotate = ["manifest", "annotate", &list, &arm, "--os-version", "6.1", "--os-features", "a,b"];
    space.kiln(annotate).run().success();
    let pushed = space.kiln(["manifest", "push", &list]).run().success().text();
    // What skopeo gets is what kiln shows, and what was made.
    let theirs = raw(&list);
    assert_eq!(peers::skopeo_inspect(&format!("docker://{list}"))["Digest"], pushed.trim_end());
    assert_eq!(space.kiln(["manifest", "inspect", &list]).run().success().text(), theirs);
    let index: Value = serde_json::from_str(&theirs).unwrap();
    let entry = |number: usize| &index["manifests"][number];
    assert_eq!(
        (&entry(0)["digest"], &entry(1)["digest"]),
        (&Value::from(amd_digest), &Value::from(arm_digest))
    );
    let platform = serde_json::json!({
        "os": "linux", "architecture": "arm64", "os.version": "6.1", "os.features": ["a", "b"],
    });
    assert_eq!(entry(1)["platform"], platform);
    let purged = space.kiln(["manifest", "push", "--purge", &list]).run().success().text();
    assert_eq!(purged, pushed);
    space.kiln(["manifest", "rm", &list]).run().fails_with(1).says(&["there is no list"]);
    // Of what is not here any more the registry's is shown, byte for byte.
    assert_eq!(space.kiln(["manifest", "inspect", &list]).run().success().text(), theirs);
    assert_eq!(space.kiln(["manifest", "inspect", &amd]).run().success().text(), raw(&amd));
    let verbose: Value =
        serde_json::from_str(&space.kiln(["manifest", "inspect", "-v", &list]).run().success().text())
            .unwrap();
    assert_eq!(verbose[1]["Descriptor"], *entry(1));
    assert_eq!(verbose[0]["OCIManifest"], serde_json::from_str::<Value>(&raw(&amd)).unwrap());
    assert_eq!(verbose[2]["SchemaV2Manifest"], serde_json::from_str::<Value>(&raw(&docker)).unwrap());
    // Others take the whole of it, with what is Docker's, as it stands.
    let copied = space.path("copied");
    skopeo_copy(&["--all", "--preserve-digests"], &list, &format!("dir:{}", copied.display()));
    assert_eq!(std::fs::read_to_string(copied.join("manifest.json")).unwrap(), theirs);
}

#[test]
fn a_list_has_the_media_type_of_docker_while_all_its_images_have() {
    requires!("docker-registry", "skopeo");
    let space = TestSpace::new();
    let registry = registry(&space);
    let name = |text: &str| format!("{}/team/{text}", registry.host());
    let [docker, list] = ["app:docker", "app:1"].map(name);
    push_as_docker(&space, &docker);
    build(&space, "arm:1", "arm", &["--platform", "linux/arm64"]);
    let (of_docker, of_oci) = (
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.index.v1+json",
    );
    // The first makes a list, the others change one that came from the registry.
    for (words, expected) in [
        (&["create", &list, &docker][..], of_docker),
        (&["annotate", &list, &docker, "--os-version", "6.1"], of_docker),
        (&["add", &list, "arm:1"], of_oci),
    ] {
        space.kiln(["manifest"].iter().chain(words)).run().success();
        space.kiln(["manifest", "push", "--purge", &list]).run().success();
        let index: Value = serde_json::from_str(&raw(&list)).unwrap();
        assert_eq!(index["mediaType"], expected, "{words:?}");
        space.kiln(["pull", &list, "--platform", "linux/s390x"]).run().success();
    }
}

/// Sends an image that has Docker's media types, and keeps none of it.
fn push_as_docker(space: &TestSpace, name: &str) {
    push(space, name, "docker", &["--platform", "linux/s390x"]);
    skopeo_copy(&["--dest-tls-verify=false", "--format=v2s2"], name, &format!("docker://{name}"));
    space.kiln(["rmi", name]).run().success();
}

/// Copies an image of the registry by skopeo.
fn skopeo_copy(flags: &[&str], from: &str, to: &str) {
    let always = ["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"];
    let from = format!("docker://{from}");
    peers::run("skopeo", always.iter().chain(flags).chain(&[from.as_str(), to]));
}

#[test]
fn an_image_replaces_that_of_its_platform_and_a_list_gives_all_its_images() {
    let space = TestSpace::new();
    build(&space, "both:1", "both", &["--platform", "linux/amd64,linux/arm64"]);
    let newer = build(&space, "newer:1", "newer", &["--platform", "linux/arm64"]);
    space.kiln(["manifest", "create", "list", "both:1"]).run().success();
    space.kiln(["manifest", "add", "list", "newer:1"]).run().success();
    let shown: Value =
        serde_json::from_str(&space.kiln(["manifest", "inspect", "list"]).run().success().text()).unwrap();
    let entries = shown["manifests"].as_array().unwrap();
    assert_eq!((entries.len(), &entries[1]["digest"]), (2, &Value::from(newer)));
    space
        .kiln(["manifest", "add", "none", "newer:1"])
        .run()
        .fails_with(1)
        .says(&["there is no list `none:latest`"]);
    space.kiln(["manifest", "rm", "newer:1"]).run().fails_with(1).says(&["no list but a single image"]);
    space.kiln(["manifest", "annotate", "list", "newer:1"]).run().fails_with(2).says(&["nothing is said"]);
    let absent = format!("sha256:{}", "0".repeat(64));
    let annotate = ["manifest", "annotate", "list", &absent, "--os", "linux"];
    space.kiln(annotate).run().fails_with(1).says(&["list `list:latest` has no image"]);
    space.kiln(["manifest", "rm", "list"]).run().success();
    assert!(!space.kiln(["images", "--format", "{{.Repository}}"]).run().success().text().contains("list"));
}
