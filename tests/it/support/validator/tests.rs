//! Is a lie found? One good layout, and every way to spoil it.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::files::Files;
use super::image::{Asked, check_layout};
use super::layer::Times;
use super::{archive, store};
use crate::support::{TestSpace, image, sha256};

const ASKED: Asked = Asked { may_be_elsewhere: false, times: Times::Fixed };

fn findings(layout: &Path) -> String {
    let mut wrong = Vec::new();
    check_layout(&Files::Directory(layout.to_owned()), ASKED, &mut wrong);
    wrong.join("\n")
}

/// A layout with one image of one layer.
fn layout(space: &TestSpace) -> std::path::PathBuf {
    let dockerfile = "FROM scratch\nCOPY a /\nLABEL l=1\n";
    let context = space.context("context", &[("Dockerfile", dockerfile), ("a", "alpha\n")]);
    space.build_layout(&context, "layout", &["-t", "app:1"]).0
}

/// A change of manifest and configuration.
type Edit<'a> = dyn Fn(&mut Value, &mut Value) + 'a;

/// Changes manifest and configuration, and everything that names them.
fn change(layout: &Path, edit: &Edit<'_>) {
    let mut index = image::json_file(&layout.join("index.json"));
    let mut manifest = image::json_file(&blob(layout, &index["manifests"][0]));
    let mut config = image::json_file(&blob(layout, &manifest["config"]));
    edit(&mut manifest, &mut config);
    let put = |descriptor: &mut Value, document: &Value| {
        let bytes = serde_json::to_vec(document).unwrap();
        let hex = sha256::of(&bytes);
        fs::write(layout.join("blobs/sha256").join(&hex), &bytes).unwrap();
        descriptor["digest"] = format!("sha256:{hex}").into();
        descriptor["size"] = bytes.len().into();
    };
    put(&mut manifest["config"], &config);
    put(&mut index["manifests"][0], &manifest);
    fs::write(layout.join("index.json"), serde_json::to_vec(&index).unwrap()).unwrap();
}

fn blob(layout: &Path, descriptor: &Value) -> std::path::PathBuf {
    layout.join("blobs/sha256").join(descriptor["digest"].as_str().unwrap().trim_start_matches("sha256:"))
}

/// Puts another layer in the place of the first, with everything that names it.
fn with_layer(layout: &Path, tar: &[u8]) {
    let digest = format!("sha256:{}", sha256::of(tar));
    fs::write(layout.join("blobs/sha256").join(&digest[7..]), tar).unwrap();
    change(layout, &|manifest, config| {
        manifest["layers"][0] = json!({
            "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": tar.len(),
        });
        config["rootfs"]["diff_ids"][0] = digest.clone().into();
    });
}

#[test]
fn every_lie_of_a_document_is_found() {
    let hex = "0".repeat(64);
    let other = format!("sha256:{hex}");
    let rows: [(&str, &Edit<'_>); 12] = [
        ("", &|_, _| {}),
        ("its diff id is", &|_, config| config["rootfs"]["diff_ids"][0] = other.clone().into()),
        ("1 layers, 2 diff ids", &|_, config| {
            config["rootfs"]["diff_ids"].as_array_mut().unwrap().push(other.clone().into());
        }),
        ("2 history entries that are not empty", &|_, config| {
            config["history"].as_array_mut().unwrap().push(json!({"created_by": "more"}));
        }),
        ("is not of the type `layers`", &|_, config| config["rootfs"]["type"] = "other".into()),
        ("no architecture", &|_, config| config["architecture"] = "".into()),
        ("no instant", &|_, config| config["created"] = "yesterday".into()),
        ("its media type is not", &|manifest, _| {
            manifest["mediaType"] = "application/vnd.oci.image.index.v1+json".into();
        }),
        ("schemaVersion", &|manifest, _| manifest["schemaVersion"] = 1.into()),
        ("is gzip, and its type", &|manifest, _| {
            manifest["layers"][0]["mediaType"] = "application/vnd.oci.image.layer.v1.tar+zstd".into();
        }),
        ("bytes, not 7", &|manifest, _| manifest["layers"][0]["size"] = 7.into()),
        ("is not there", &|manifest, _| manifest["layers"][0]["digest"] = other.clone().into()),
    ];
    for (expected, edit) in rows {
        let space = TestSpace::new();
        let layout = layout(&space);
        change(&layout, edit);
        let found = findings(&layout);
        assert!(found.contains(expected) && (found.is_empty() == expected.is_empty()), "{expected}: {found}");
    }
}

#[test]
fn every_lie_of_a_layer_is_found() {
    let space = TestSpace::new();
    let good = {
        let context = space.context("plain", &[("Dockerfile", "FROM scratch\nCOPY a /\n"), ("a", "alpha\n")]);
        let (layout, _) = space.build_layout(&context, "plain-layout", &["--compression=none"]);
        let image = image::read_one(&layout);
        fs::read(blob(&layout, &image.manifest["layers"][0])).unwrap()
    };
    assert_eq!(archive::read(&mut &good[..]).unwrap().len(), 1);
    type Spoil = fn(&mut Vec<u8>);
    let rows: [(&str, Spoil); 8] = [
        ("", |_| {}),
        ("checksum", |tar| tar[0] ^= 1),
        ("something else than zeros", |tar| tar[600] = 1),
        ("exactly two blocks", |tar| tar.resize(tar.len() + 512, 0)),
        ("exactly two blocks", |tar| tar.truncate(tar.len() - 512)),
        ("failed to fill", |tar| tar.truncate(700)),
        ("names of owners", |tar| tar[265] = b'r'),
        ("junk", |tar| (tar[0], tar[50]) = (tar[0] - 1, 1)),
    ];
    for (expected, spoil) in rows {
        let mut tar = good.clone();
        spoil(&mut tar);
        let fresh = TestSpace::new();
        let layout = layout(&fresh);
        with_layer(&layout, &tar);
        let found = findings(&layout);
        assert!(found.contains(expected) && (found.is_empty() == expected.is_empty()), "{expected}: {found}");
    }
}

#[test]
fn what_is_wrong_with_a_store_is_found() {
    type Spoil = fn(&Path);
    let rows: [(&str, Spoil); 6] = [
        ("", |_| {}),
        ("does not belong", |store| fs::write(store.join("stray"), "").unwrap()),
        ("has the digest", |store| fs::write(any_file(&store.join("blobs/sha256")), "other").unwrap()),
        ("was left behind", |store| fs::write(store.join("scratch/0123456789abcdef.0.tmp"), "").unwrap()),
        ("is torn", |store| {
            let record = any_file(&store.join("records/definition"));
            let bytes = fs::read(&record).unwrap();
            fs::write(record, &bytes[..bytes.len() - 1]).unwrap();
        }),
        ("which is not there", |store| {
            let blobs = store.join("blobs/sha256");
            fs::remove_dir_all(&blobs).unwrap();
            fs::create_dir(blobs).unwrap();
        }),
    ];
    for (expected, spoil) in rows {
        let space = TestSpace::new();
        let context =
            space.context("context", &[("Dockerfile", "FROM scratch\nCOPY a /\n"), ("a", "alpha\n")]);
        space.build(&context).args(["-t", "app"]).run().success();
        spoil(&space.store());
        let mut wrong = Vec::new();
        store::check(&space.store(), ASKED, true, &mut wrong);
        let found = wrong.join("\n");
        assert!(found.contains(expected) && (found.is_empty() == expected.is_empty()), "{expected}: {found}");
    }
}

fn any_file(folder: &Path) -> std::path::PathBuf {
    fs::read_dir(folder).unwrap().next().unwrap().unwrap().path()
}
