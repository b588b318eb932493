//! From directories to trees, and digests of what is in them.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use kiln_layer::content_hash::{HashError, MetadataOverrides, Naming, Selected, SelectionError};
use kiln_layer::{
    NoCache, NoLayers, PathMatcher, StatCache, Tree, Verdict, WalkError, WalkOptions, WalkOwner, WalkXattrs,
    digest_of_selection, hash_contents, walk,
};

use crate::support::{ArchivePath, directory, path, show, tree};

const OPTIONS: WalkOptions = WalkOptions { owner: WalkOwner::Root, xattrs: WalkXattrs::Layer };

fn walk_all(root: &Path) -> Tree {
    walk(root, &|_, _| Verdict::Keep, OPTIONS).unwrap()
}

fn fill(root: &Path) {
    fs::create_dir_all(root.join("d/e")).unwrap();
    fs::write(root.join("d/f"), "f").unwrap();
    fs::set_permissions(root.join("d/f"), fs::Permissions::from_mode(0o4750)).unwrap();
    fs::hard_link(root.join("d/f"), root.join("d/e/link")).unwrap();
    symlink("../nowhere", root.join("d/l")).unwrap();
    fs::write(root.join(std::ffi::OsStr::from_bytes(b"raw\n\xff")), "g").unwrap();
    std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    for directory in ["", "d", "d/e"] {
        fs::set_permissions(root.join(directory), fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(
        root.join(std::ffi::OsStr::from_bytes(b"raw\n\xff")),
        fs::Permissions::from_mode(0o644),
    )
    .unwrap();
}

#[test]
fn a_walk_sees_names_modes_links_and_no_sockets() {
    let space = tempfile::tempdir().unwrap();
    fill(space.path());
    let mut tree = walk_all(space.path());
    hash_contents(&mut tree, &|_| true, &NoCache, &NoLayers).unwrap();
    assert_eq!(
        show(&tree, &["f", "g"]),
        ["d/", "d/e/", "d/e/link: f @4750", "d/f = d/e/link", "d/l -> ../nowhere", "raw\\x0a\\xff: g"]
    );
}

#[test]
fn a_filter_prunes_and_brings_parents_back() {
    let space = tempfile::tempdir().unwrap();
    fill(space.path());
    let filter = |path: &ArchivePath, is_directory: bool| match path.as_bytes() {
        b"d/e/link" => Verdict::Keep,
        _ if is_directory => Verdict::Skip,
        _ => Verdict::Prune,
    };
    let tree = walk(space.path(), &filter, OPTIONS).unwrap();
    let names: Vec<String> = tree.iter().map(|(path, _)| path.to_string()).collect();
    assert_eq!(names, [".", "d", "d/e", "d/e/link"]);
    let nothing = walk(space.path(), &|_, _| Verdict::Skip, OPTIONS).unwrap();
    assert_eq!(nothing.len(), 1);
}

#[test]
fn a_missing_root_is_named() {
    let space = tempfile::tempdir().unwrap();
    let error = walk(&space.path().join("none"), &|_, _| Verdict::Keep, OPTIONS).unwrap_err();
    assert!(matches!(error, WalkError::Root { .. }), "{error}");
}

#[test]
fn a_file_that_changes_after_the_walk_is_an_error() {
    let space = tempfile::tempdir().unwrap();
    fs::write(space.path().join("f"), "1").unwrap();
    let mut tree = walk_all(space.path());
    fs::write(space.path().join("f"), "22").unwrap();
    let error = hash_contents(&mut tree, &|_| true, &NoCache, &NoLayers).unwrap_err();
    assert!(matches!(error, HashError::Changed { .. }), "{error}");
}

#[test]
fn a_file_swapped_for_a_symlink_is_not_followed() {
    let space = tempfile::tempdir().unwrap();
    fs::write(space.path().join("f"), "1").unwrap();
    fs::write(space.path().join("secret"), "2").unwrap();
    let mut tree = walk_all(space.path());
    fs::remove_file(space.path().join("f")).unwrap();
    symlink("secret", space.path().join("f")).unwrap();
    let error = hash_contents(&mut tree, &|path| path.as_bytes() == b"f", &NoCache, &NoLayers).unwrap_err();
    assert!(matches!(error, HashError::Read { .. }), "{error}");
}

#[test]
fn an_unchanged_file_is_not_read_again() {
    let space = tempfile::tempdir().unwrap();
    fs::write(space.path().join("f"), "1").unwrap();
    let later = i128::MAX;
    let cache = StatCache::new(later);
    let first = hash_contents(&mut walk_all(space.path()), &|_| true, &cache, &NoLayers).unwrap();
    assert_eq!((first.files_read, first.files_cached), (1, 0));
    let cache = StatCache::decode(cache.encode(), later).unwrap();
    let mut tree = walk_all(space.path());
    let second = hash_contents(&mut tree, &|_| true, &cache, &NoLayers).unwrap();
    assert_eq!((second.files_read, second.files_cached), (0, 1));
    assert_eq!(show(&tree, &["1"]), ["f: 1"]);
}

#[test]
fn the_digest_of_a_selection_is_about_what_would_be_copied() {
    let make = |change: &dyn Fn(&Path)| {
        let space = tempfile::tempdir().unwrap();
        fill(space.path());
        change(space.path());
        let mut tree = walk_all(space.path());
        hash_contents(&mut tree, &|_| true, &NoCache, &NoLayers).unwrap();
        tree
    };
    let digest = |tree: &Tree, overrides: MetadataOverrides<'_>| {
        digest_of_selection(tree, &[path("d").into()], Naming::FileName, overrides, None).unwrap()
    };
    let plain = MetadataOverrides::default();
    let same = digest(&make(&|_| {}), plain);
    assert_eq!(same, digest(&make(&|root| fs::write(root.join("other"), "").unwrap()), plain));
    let changes: [&dyn Fn(&Path); 5] = [
        &|root| fs::write(root.join("d/new"), "").unwrap(),
        &|root| fs::remove_file(root.join("d/l")).unwrap(),
        &|root| fs::write(root.join("d/f"), "F").unwrap(),
        &|root| fs::set_permissions(root.join("d/e"), fs::Permissions::from_mode(0o700)).unwrap(),
        &|root| {
            fs::remove_file(root.join("d/e/link")).unwrap();
            fs::write(root.join("d/e/link"), "f").unwrap();
            fs::set_permissions(root.join("d/e/link"), fs::Permissions::from_mode(0o4750)).unwrap();
        },
    ];
    for (at, change) in changes.iter().enumerate() {
        assert_ne!(same, digest(&make(change), plain), "change {at}");
    }
    let chmod = |_: u32, _: bool| 0o755;
    let overrides = MetadataOverrides { owner: Some((1, 1)), mode: Some(&chmod) };
    assert_eq!(digest(&make(changes[3]), overrides), digest(&make(&|_| {}), overrides));
}

#[test]
fn the_digest_of_a_selection_has_the_name_of_a_link_and_the_directories_on_the_way() {
    let mut tree = tree(&["d/", "d/e/", "d/e/link: f", "d/x/"]);
    hash_contents(&mut tree, &|_| true, &NoCache, &NoLayers).unwrap();
    let digest = |tree: &Tree, at: &str, named: &str, wanted: Option<&PathMatcher<'_>>| {
        let selected = Selected { path: path(at), named: path(named) };
        let plain = MetadataOverrides::default();
        digest_of_selection(tree, &[selected], Naming::FileName, plain, wanted).unwrap()
    };
    assert_ne!(digest(&tree, "d/e/link", "a", None), digest(&tree, "d/e/link", "b", None));
    assert_eq!(digest(&tree, "d", "a", None), digest(&tree, "d", "b", None));
    let wanted: &PathMatcher<'_> = &|path, _| path.as_bytes() == b"e/link";
    let one = digest(&tree, "d", "d", Some(wanted));
    let with_mode = |at: &str| {
        let mut changed = tree.clone();
        changed.insert(path(at), directory(0o700));
        digest(&changed, "d", "d", Some(wanted))
    };
    assert_ne!(one, with_mode("d/e"));
    assert_eq!(one, with_mode("d/x"));
}

#[test]
fn a_selection_that_was_not_hashed_has_no_digest() {
    let space = tempfile::tempdir().unwrap();
    fs::write(space.path().join("f"), "1").unwrap();
    let tree = walk_all(space.path());
    let result =
        digest_of_selection(&tree, &[path("f").into()], Naming::FileName, MetadataOverrides::default(), None);
    assert_eq!(result, Err(SelectionError::NotHashed { path: path("f") }));
}
