//! Other tools read the store in place, and write into it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use kiln_oci::{Descriptor, Digest, MediaType, Reference};
use kiln_store::Store;
use kiln_store::fsck::fsck;
use kiln_store::gc::{Policy, gc};

/// Runs a tool and returns what it printed, or `None` when it is not installed.
fn peer(program: &str, arguments: &[&str]) -> Option<String> {
    let output = match Command::new(program).args(arguments).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        output => output.unwrap(),
    };
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    Some(String::from_utf8(output.stdout).unwrap())
}

/// Puts an image of one empty layer into the store.
fn put_image(store: &Store, name: &str) -> Descriptor {
    let layer = store.blobs().put_bytes(&[0; 1024]).unwrap();
    let config = format!(
        r#"{{"architecture":"amd64","config":{{}},"os":"linux","rootfs":{{"diff_ids":["{layer}"],"type":"layers"}}}}"#
    );
    let config_digest = store.blobs().put_bytes(config.as_bytes()).unwrap();
    let manifest = format!(
        r#"{{"config":{{"digest":"{config_digest}","mediaType":"{}","size":{}}},"layers":[{{"digest":"{layer}","mediaType":"{}","size":1024}}],"mediaType":"{}","schemaVersion":2}}"#,
        MediaType::OCI_CONFIG.as_str(),
        config.len(),
        MediaType::OCI_LAYER.as_str(),
        MediaType::OCI_MANIFEST.as_str(),
    );
    let digest = store.blobs().put_bytes(manifest.as_bytes()).unwrap();
    let descriptor = Descriptor::new(MediaType::OCI_MANIFEST, digest, manifest.len() as u64);
    let reference: Reference = name.parse().unwrap();
    store.names().set(&reference, &descriptor).unwrap();
    descriptor
}

fn at(root: &Path, name: &str) -> String {
    format!("oci:{}:{name}", root.display())
}

#[test]
fn skopeo_reads_an_image_by_its_full_name_and_copies_into_the_store() {
    let space = tempfile::tempdir().unwrap();
    let (root, other) = (space.path().join("store"), space.path().join("other"));
    let store = Store::open(&root).unwrap();
    let image = put_image(&store, "app:1");
    let second = put_image(&store, "127.0.0.1:5000/team/app");
    assert_eq!(image.digest, second.digest);
    let Some(inspected) = peer("skopeo", &["inspect", &at(&root, "docker.io/library/app:1")]) else {
        eprintln!("skipped: skopeo is not installed");
        return;
    };
    assert!(inspected.contains(&image.digest.to_string()), "{inspected}");
    peer("skopeo", &["copy", &at(&root, "127.0.0.1:5000/team/app"), &at(&other, "latest")]).unwrap();
    peer("skopeo", &["copy", &at(&other, "latest"), &at(&root, "latest")]).unwrap();
    let listed = store.names().list().unwrap();
    let names: BTreeSet<String> = listed
        .iter()
        .map(|image| {
            image.reference.as_ref().map(Reference::familiar).or(image.foreign_name.clone()).unwrap()
        })
        .collect();
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["127.0.0.1:5000/team/app", "app:1", "latest"]);
    assert!(fsck(&store).unwrap().problems.is_empty());
    drop(store);
    let store = Store::open(&root).unwrap();
    let all: Vec<Digest> = store.blobs().list().unwrap();
    assert_eq!(gc(&store, &Policy::default(), &|_, _| Ok(all.clone())).unwrap().gone_blobs(), []);
}

#[test]
fn umoci_lists_and_reads_the_store() {
    let space = tempfile::tempdir().unwrap();
    let store = Store::open(space.path().join("store")).unwrap();
    put_image(&store, "example.org/app:1");
    let layout = store.path().display().to_string();
    let Some(listed) = peer("umoci", &["list", "--layout", &layout]) else {
        eprintln!("skipped: umoci is not installed");
        return;
    };
    assert_eq!(listed.trim_end(), "example.org/app:1");
    let image = format!("{layout}:example.org/app:1");
    let stat = peer("umoci", &["stat", "--image", &image]).unwrap();
    assert!(!stat.is_empty());
}
