//! Layers on disk: overlay-ready and flat, compared with what the listings say.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use kiln_layer::tar::read::Limits;
use kiln_layer::{
    Changes, Devices, DirectoryOrigin, Lower, NoCache, NoLayers, OverlayMarks, Ownership, Tree, UnpackForm,
    UnpackOptions, Unpacked, Verdict, WalkOptions, WalkOwner, WalkXattrs, hash_contents, unpack, walk,
};

use crate::support::{assert_same, changes_of, kinds, listing_of, path, tar_of, tree};

fn unpack_into(root: &Path, changes: &Changes, form: UnpackForm, lower: Option<&Tree>) -> Unpacked {
    let options = UnpackOptions {
        form,
        ownership: Ownership::Recorded,
        devices: Devices::Record,
        lower: lower.map(|tree| Lower { tree, layers: &NoLayers }),
        limits: Limits::default(),
    };
    unpack(&tar_of(changes)[..], &DirectoryOrigin::open(root).unwrap(), options).unwrap()
}

fn walk_hashed(root: &Path) -> Tree {
    let options = WalkOptions { owner: WalkOwner::Root, xattrs: WalkXattrs::Layer };
    let mut tree = walk(root, &|_, _| Verdict::Keep, options).unwrap();
    hash_contents(&mut tree, &|_| true, &NoCache, &NoLayers).unwrap();
    tree
}

const OVERLAY: UnpackForm = UnpackForm::Overlay(OverlayMarks::User);

#[test]
fn a_layer_unpacks_to_what_its_listing_says() {
    let space = tempfile::tempdir().unwrap();
    let entries = tree(&["d/ @555", "d/f: f @4755", "d/g = d/f", "d/l -> f", "e/ @1777", "p|"]);
    let changes = changes_of(entries.clone());
    let unpacked = unpack_into(space.path(), &changes, OVERLAY, None);
    assert_eq!(unpacked.listing.encode(), listing_of(&changes).encode());
    assert_same(&walk_hashed(space.path()), &entries, &["f"]);
    let time = fs::metadata(space.path().join("d")).unwrap();
    assert_eq!(time.mtime(), 315_532_800);
}

#[test]
fn merging_listings_is_unpacking_on_top_of_each_other() {
    let space = tempfile::tempdir().unwrap();
    let base = changes_of(tree(&[
        "a/", "a/x: f", "a/y: g", "b: f", "c/", "c/d/", "c/d/e: f", "l -> a", "k: f", "m = k",
    ]));
    let mut second = changes_of([(path("a"), crate::support::file("now a file"))].into_iter().collect());
    second.entries.insert(path("c/d/new"), crate::support::file("g"));
    second.entries.insert(path("l"), crate::support::directory(0o711));
    second.deletions.extend([path("b"), path("c/d/e"), path("k")]);
    let layers = [base, second];
    for layer in &layers {
        unpack_into(space.path(), layer, UnpackForm::Flat, None);
    }
    let merged = Tree::from_listings(&layers.each_ref().map(listing_of)).unwrap();
    assert_same(&walk_hashed(space.path()), &merged, &["f", "g", "now a file"]);
}

#[test]
fn deletions_become_overlay_marks() {
    let space = tempfile::tempdir().unwrap();
    let lower = tree(&["d/ @711", "d/gone: f", "other: f"]);
    let mut changes = Changes::new();
    changes.deletions.extend([path("d/gone"), path("never")]);
    changes.entries.insert(path("d/new"), crate::support::file("f"));
    let unpacked = unpack_into(space.path(), &changes, OVERLAY, Some(&lower));
    assert_eq!(kinds(&unpacked.listing), ["whiteout d/gone", "file d/new", "whiteout never"]);
    let mark = fs::symlink_metadata(space.path().join("d/gone")).unwrap();
    assert!(mark.file_type().is_char_device() && mark.rdev() == 0);
    assert_eq!(fs::metadata(space.path().join("d")).unwrap().mode() & 0o7777, 0o711);
    assert!(!space.path().join("never").exists());
}

#[test]
fn whiteouts_and_opaque_marks_count_for_lower_layers_wherever_they_stand() {
    let space = tempfile::tempdir().unwrap();
    let mut archive = tar_of(&changes_of(tree(&["d/", "d/new: f", "e: g"])));
    archive.truncate(archive.len() - 1024);
    let mut marks = Vec::new();
    for name in ["d/.wh..wh..opq", ".wh.e"] {
        let before = marks.len();
        kiln_layer::tar::write::append_header(
            &mut marks,
            &path(name),
            kiln_layer::tar::write::Member::Whiteout,
            kiln_layer::Timestamp::default(),
        )
        .unwrap();
        assert_eq!(marks.len() - before, 512);
    }
    archive.extend_from_slice(&marks);
    archive.resize(archive.len() + 1024, 0);
    fs::create_dir(space.path().join("d")).unwrap();
    fs::write(space.path().join("d/old"), "").unwrap();
    let options = UnpackOptions {
        form: UnpackForm::Flat,
        ownership: Ownership::Recorded,
        devices: Devices::Record,
        lower: None,
        limits: Limits::default(),
    };
    let directory = Arc::new(DirectoryOrigin::open(space.path()).unwrap());
    let unpacked = unpack(&archive[..], &directory, options).unwrap();
    assert!(!space.path().join("d/old").exists());
    assert!(space.path().join("d/new").exists() && space.path().join("e").exists());
    let lower = listing_of(&changes_of(tree(&["d/", "d/old: f", "e: f"])));
    let merged = Tree::from_listings([&lower, &unpacked.listing]).unwrap();
    assert_same(&walk_hashed(space.path()), &merged, &["f", "g"]);
}

#[test]
fn a_hard_link_into_a_lower_layer_gets_the_content() {
    let space = tempfile::tempdir().unwrap();
    let lower = tree(&["f: f @640"]);
    let mut archive = Vec::new();
    let (entry, target) = (lower.get(&path("f")).unwrap(), path("f"));
    let member = kiln_layer::tar::write::Member::HardLink(entry, &target);
    kiln_layer::tar::write::append_header(&mut archive, &path("g"), member, kiln_layer::Timestamp::default())
        .unwrap();
    archive.resize(archive.len() + 1024, 0);
    let options = UnpackOptions {
        form: OVERLAY,
        ownership: Ownership::Recorded,
        devices: Devices::Record,
        lower: Some(Lower { tree: &lower, layers: &NoLayers }),
        limits: Limits::default(),
    };
    let directory = DirectoryOrigin::open(space.path()).unwrap();
    let unpacked = unpack(&archive[..], &directory, options).unwrap();
    assert_eq!(fs::read_to_string(space.path().join("g")).unwrap(), "f");
    let merged = Tree::from_listings([&listing_of(&changes_of(lower)), &unpacked.listing]).unwrap();
    assert_same(&merged, &tree(&["f: f @640", "g = f"]), &["f"]);
}

/// What the sparse archives among the fuzzers' inputs hold: GNU tar made them of one file, in each form it knows.
fn sparse_content() -> Vec<u8> {
    let mut content = vec![0; 600_000];
    for at in 0..8 {
        content[at * 65_536..][..10].fill(b'd');
    }
    content
}

#[test]
fn sparse_files_of_every_form_have_their_real_content_and_stay_sparse() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus/tar_read");
    for form in ["gnu", "pax-0.0", "pax-0.1", "pax-1.0"] {
        let archive = fs::read(folder.join(format!("sparse-{form}"))).unwrap();
        let space = tempfile::tempdir().unwrap();
        let options = UnpackOptions {
            form: OVERLAY,
            ownership: Ownership::Recorded,
            devices: Devices::Record,
            lower: None,
            limits: Limits::default(),
        };
        let directory = DirectoryOrigin::open(space.path()).unwrap();
        let unpacked = unpack(&archive[..], &directory, options).unwrap();
        assert_eq!(kinds(&unpacked.listing), ["file s"], "{form}");
        assert_eq!(unpacked.listing.content_bytes(), 600_000, "{form}");
        assert!(fs::read(space.path().join("s")).unwrap() == sparse_content(), "{form}");
        let blocks = fs::metadata(space.path().join("s")).unwrap().blocks();
        assert!(blocks * 512 < 100_000, "{form}: {blocks} blocks");
        let tree = Tree::from_listings([&unpacked.listing]).unwrap();
        let digest = tree.get(&path("s")).unwrap().content().unwrap().digest;
        assert_eq!(digest, Some(kiln_layer::ContentDigest::of(&sparse_content())), "{form}");
    }
}

#[test]
fn more_names_than_a_file_system_allows_continue_on_a_copy() {
    // ext4 allows 65,000.
    const NAMES: u32 = 65_010;
    let lower = tree(&["f: content"]);
    let (entry, target) = (lower.get(&path("f")).unwrap(), path("f"));
    let mut archive = tar_of(&changes_of([(path("f"), entry.clone())].into_iter().collect()));
    archive.truncate(archive.len() - 1024);
    for at in 0..NAMES {
        let member = kiln_layer::tar::write::Member::HardLink(entry, &target);
        let time = kiln_layer::Timestamp::default();
        kiln_layer::tar::write::append_header(&mut archive, &path(&format!("h{at}")), member, time).unwrap();
    }
    archive.resize(archive.len() + 1024, 0);
    let space = tempfile::tempdir().unwrap();
    let options = UnpackOptions {
        form: OVERLAY,
        ownership: Ownership::Recorded,
        devices: Devices::Record,
        lower: None,
        limits: Limits::default(),
    };
    let unpacked = unpack(&archive[..], &DirectoryOrigin::open(space.path()).unwrap(), options).unwrap();
    assert_eq!(unpacked.listing.items.len() as u32, NAMES + 1);
    for name in ["f", "h0", "h64997", "h64998", "h64999", "h65009"] {
        assert_eq!(fs::read_to_string(space.path().join(name)).unwrap(), "content", "{name}");
    }
    let inodes: std::collections::BTreeSet<u64> = fs::read_dir(space.path())
        .unwrap()
        .map(|entry| fs::symlink_metadata(entry.unwrap().path()).unwrap().ino())
        .collect();
    assert!(inodes.len() <= 2, "one copy is enough: {}", inodes.len());
}

#[test]
fn what_a_step_cannot_see_twice_is_marked_once() {
    let space = tempfile::tempdir().unwrap();
    let lower = tree(&["d/", "d/e: f", "o/", "o/x: f"]);
    let mut changes = Changes::new();
    changes.deletions.extend([path("d"), path("d/e"), path("o")]);
    changes.entries.insert(path("o/new"), crate::support::file("f"));
    let unpacked = unpack_into(space.path(), &changes, OVERLAY, Some(&lower));
    assert_eq!(kinds(&unpacked.listing), ["whiteout d", "whiteout d/e", "whiteout o", "file o/new"]);
    let mark = fs::symlink_metadata(space.path().join("d")).unwrap();
    assert!(mark.file_type().is_char_device() && mark.rdev() == 0, "the upper of two whiteouts stays");
    let mut value = [0; 1];
    let length = rustix::fs::getxattr(space.path().join("o"), "user.overlay.opaque", &mut value).unwrap();
    assert_eq!((length, value), (1, *b"y"), "what was deleted and has something new in it is opaque");
}
