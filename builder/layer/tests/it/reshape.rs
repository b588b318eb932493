//! A directory that becomes one tree after another, as the roots of steps do.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use kiln_layer::{
    Devices, DirectoryOrigin, Entry, MaterializeOptions, Metadata, NoCache, NoLayers, Ownership,
    ReshapeOptions, Tree, Verdict, WalkOptions, WalkOwner, WalkXattrs, WithTime, hash_contents, reshape,
    walk_origin,
};

use proptest::prelude::*;

use crate::properties::trees;
use crate::support::{path, show, tree};

fn options<'a>() -> ReshapeOptions<'a> {
    ReshapeOptions {
        files: MaterializeOptions { ownership: Ownership::Recorded, devices: Devices::Record, time: None },
        layers: &NoLayers,
        note: &|_, _| Ok(()),
    }
}

/// What a directory holds, as root's.
fn found(root: &Path) -> Tree {
    let origin = Arc::new(DirectoryOrigin::open(root).unwrap());
    let options = WalkOptions { owner: WalkOwner::Root, xattrs: WalkXattrs::Layer };
    let mut tree = walk_origin(&origin, &|_, _| Verdict::Keep, options).unwrap();
    hash_contents(&mut tree, &|_| true, &NoCache, &NoLayers).unwrap();
    tree
}

#[test]
fn a_directory_becomes_each_tree_in_turn() {
    let rows: [&[&str]; 8] = [
        &["a/", "a/f: one", "a/g: two @600", "b/ @700", "b/l -> ../a/f", "c: c", "p|"],
        &["a/", "a/f: other", "b/ @755", "b/l -> elsewhere", "c/", "c/d: below a former file"],
        &["a: a former directory", "b/ @500", "b/l: a former link", "b/n: in a closed directory"],
        &["h: many names", "i = h", "j = h", "k/", "k/h = h"],
        &["h: many names", "i = h", "j: its own", "k/", "k/h = h"],
        &["h: many names", "i: many names", "k/", "k/h: many names @4755"],
        &["k/ @1777", "k/h: many names @4755", "k/m/", "k/m/n/", "k/m/n/o|"],
        &[],
    ];
    let space = tempfile::tempdir().unwrap();
    let mut held = Tree::new();
    for lines in rows {
        let wanted = tree(lines);
        reshape(space.path(), &held, &wanted, options()).unwrap();
        let found = found(space.path());
        let texts = [
            "one",
            "two",
            "c",
            "other",
            "below a former file",
            "a former directory",
            "a former link",
            "in a closed directory",
            "many names",
            "its own",
        ];
        assert_eq!(show(&found, &texts), show(&wanted, &texts));
        assert!(found.is_same(&wanted, WithTime::Yes), "{lines:?}: times, too");
        held = wanted;
    }
}

#[test]
fn what_no_tree_tells_of_is_in_nobodys_way() {
    let space = tempfile::tempdir().unwrap();
    let (first, second) = (tree(&["a/", "a/x"]), tree(&["a/", "a/s: a file", "a/t/"]));
    reshape(space.path(), &Tree::new(), &first, options()).unwrap();
    for name in ["a/s", "a/t"] {
        drop(std::os::unix::net::UnixListener::bind(space.path().join(name)).unwrap());
    }
    reshape(space.path(), &first, &second, options()).unwrap();
    assert!(found(space.path()).is_same(&second, WithTime::Yes));
}

#[test]
fn devices_that_are_only_recorded_are_empty_files_with_all_their_names() {
    let space = tempfile::tempdir().unwrap();
    reshape(space.path(), &Tree::new(), &tree(&["n%", "m = n", "f: text"]), options()).unwrap();
    assert_eq!(show(&found(space.path()), &["", "text"]), ["f: text", "m: ", "n = m"]);
}

#[test]
fn attributes_of_a_directory_that_stays_are_those_it_has_now() {
    let space = tempfile::tempdir().unwrap();
    let with = |names: &[&str]| {
        let mut metadata = Metadata::with_mode(0o755);
        for name in names {
            metadata.xattrs.insert(name.as_bytes().to_vec(), b"v".to_vec());
        }
        let mut tree = tree(&[]);
        tree.insert(path("d"), Entry::directory(metadata));
        tree
    };
    let (first, second) = (with(&["user.a", "user.b"]), with(&["user.b", "user.c"]));
    reshape(space.path(), &Tree::new(), &first, options()).unwrap();
    reshape(space.path(), &first, &second, options()).unwrap();
    assert!(found(space.path()).is_same(&second, WithTime::Yes));
}

#[test]
fn an_error_names_the_entry() {
    let space = tempfile::tempdir().unwrap();
    fs::write(space.path().join("f"), "in the way").unwrap();
    let error = reshape(space.path(), &Tree::new(), &tree(&["f"]), options()).unwrap_err();
    assert_eq!(error.to_string(), "cannot write `f`");
}

/// The same tree with modes under which its owner can look at it.
fn readable(tree: &Tree) -> Tree {
    let links = tree.hard_links();
    let mut readable = Tree::new();
    for (path, entry) in tree.iter() {
        match links.get(path) {
            Some(target) => drop(readable.link(path.clone(), target).unwrap()),
            None => {
                let mut entry = entry.clone();
                entry.metadata.mode |= 0o700;
                readable.insert(path.clone(), entry);
            }
        }
    }
    readable
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_directory_held_it_becomes_what_it_would_be_from_nothing(before in trees(), after in trees()) {
        let (before, after) = (readable(&before), readable(&after));
        let (changed, fresh) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        reshape(changed.path(), &Tree::new(), &before, options()).unwrap();
        reshape(changed.path(), &before, &after, options()).unwrap();
        reshape(fresh.path(), &Tree::new(), &after, options()).unwrap();
        prop_assert!(found(changed.path()).is_same(&found(fresh.path()), WithTime::Yes));
        prop_assert_eq!(found(fresh.path()).len(), after.len());
    }
}
