//! A directory that somebody changes while it is read: what is made of it is whole all the same.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kiln_layer::{
    ArchivePath, Compression, DiffOptions, DirectoryOrigin, Entry, Hold, Metadata, Tree, WithTime,
    changes_from_overlay_upper, diff::walk_for_diff,
};

use crate::support::{committed, show};

const TEXTS: [&str; 5] = ["first", "first and second", "1", "secret", "kept"];

/// Makes a layer of a directory that `meanwhile` changes after it was walked and before its first file is copied; returns what it holds.
fn layer_while(root: &Path, meanwhile: &(dyn Fn() + Sync)) -> Vec<String> {
    let aside = tempfile::tempdir().unwrap();
    let held = Arc::new(DirectoryOrigin::open(aside.path()).unwrap());
    let has_changed = AtomicBool::new(false);
    let wanted = |_: &ArchivePath, _: &Entry| {
        if !has_changed.swap(true, Ordering::SeqCst) {
            meanwhile();
        }
        true
    };
    let hold = Hold { aside: &held, wanted: &wanted };
    let origin = Arc::new(DirectoryOrigin::open(root).unwrap().moving());
    let as_root = |_: &ArchivePath, metadata: Metadata| Metadata { uid: 0, gid: 0, ..metadata };
    let options =
        DiffOptions { ignore: None, metadata: Some(&as_root), with_time: WithTime::No, hold: Some(hold) };
    let changes = changes_from_overlay_upper(&origin, &Tree::new(), options).unwrap();
    let (layer, _) = committed(&changes, Compression::None);
    show(&Tree::from_listings([&layer.listing]).unwrap(), &TEXTS)
}

/// A directory `root` with files, which are all the same but for their names.
fn place(files: &[&str]) -> tempfile::TempDir {
    let space = tempfile::tempdir().unwrap();
    for name in files {
        let file = space.path().join("root").join(name);
        let directory = file.parent().unwrap();
        fs::create_dir_all(directory).unwrap();
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(&file, "first").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    }
    space
}

#[test]
fn a_file_that_grows_shrinks_goes_or_is_replaced_is_held_as_it_was_at_one_moment() {
    type Change = fn(&Path);
    let rows: [(&str, Change, &str); 8] = [
        ("nothing", |_| {}, "d/f: first @640"),
        ("grows", |f| fs::write(f, "first and second").unwrap(), "d/f: first and second @640"),
        ("shrinks", |f| fs::write(f, "1").unwrap(), "d/f: 1 @640"),
        ("goes", |f| fs::remove_file(f).unwrap(), ""),
        (
            "is replaced",
            |f| {
                let new = f.with_file_name("new");
                fs::write(&new, "secret").unwrap();
                fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
                fs::rename(&new, f).unwrap();
            },
            "d/f: secret @600",
        ),
        (
            "becomes a directory",
            |f| {
                fs::remove_file(f).unwrap();
                fs::create_dir(f).unwrap();
            },
            "",
        ),
        (
            "becomes a link",
            |f| {
                fs::remove_file(f).unwrap();
                symlink("/etc/passwd", f).unwrap();
            },
            "",
        ),
        ("goes with its directory", |f| fs::remove_dir_all(f.parent().unwrap()).unwrap(), ""),
    ];
    for (what, change, expected) in rows {
        let space = place(&["d/f", "g"]);
        let root = space.path().join("root");
        let found = layer_while(&root, &|| change(&root.join("d/f")));
        let expected: Vec<&str> =
            ["d/", expected, "g: first @640"].into_iter().filter(|line| !line.is_empty()).collect();
        assert_eq!(found, expected, "{what}");
    }
}

#[test]
fn names_of_one_file_stay_names_of_one_file() {
    let space = place(&["a/f", "b/g"]);
    let root = space.path().join("root");
    fs::hard_link(root.join("a/f"), root.join("h")).unwrap();
    let grown = layer_while(&root, &|| fs::write(root.join("h"), "kept").unwrap());
    assert_eq!(grown, ["a/", "a/f: kept @640", "b/", "b/g: first @640", "h = a/f"]);
}

#[test]
fn what_vanishes_while_a_moving_directory_is_walked_is_not_there_and_of_another_it_is_an_error() {
    let walk = |is_moving: bool| {
        let space = place(&["d/e/f", "d/g", "h", "kept"]);
        let root = space.path().join("root");
        let origin = DirectoryOrigin::open(&root).unwrap();
        let origin = Arc::new(if is_moving { origin.moving() } else { origin });
        // Whichever name is judged first, others are gone when they are looked at.
        let ignore = |_: &ArchivePath, _: bool| {
            fs::remove_dir_all(root.join("d")).unwrap_or_default();
            fs::remove_file(root.join("h")).unwrap_or_default();
            false
        };
        let options =
            DiffOptions { ignore: Some(&ignore), metadata: None, with_time: WithTime::No, hold: None };
        walk_for_diff(&origin, options).map(|tree| show(&tree, &TEXTS))
    };
    assert_eq!(walk(true).unwrap(), ["kept: ? @640"]);
    assert!(walk(false).unwrap_err().to_string().starts_with("cannot look at `"));
}
