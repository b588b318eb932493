//! What a step changed, from directories like those a step leaves behind.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use kiln_layer::tar::read::Limits;
use kiln_layer::{
    Changes, Devices, DiffOptions, DirectoryOrigin, Metadata, Ownership, Tree, UnpackForm, UnpackOptions,
    WithTime, changes_from_directory, changes_from_overlay_upper, diff, unpack,
};
use rustix::fs::{CWD, FileType, Mode, XattrFlags};

use crate::support::{changes_of, path, show, tar_of, tree};

/// Everything belongs to this test's user; layers of the tests are root's.
fn as_root(_: &kiln_layer::ArchivePath, metadata: Metadata) -> Metadata {
    Metadata { uid: 0, gid: 0, ..metadata }
}

fn options<'a>() -> DiffOptions<'a> {
    DiffOptions { ignore: None, metadata: Some(&as_root), with_time: WithTime::No, hold: None }
}

fn open(path: &Path) -> Arc<DirectoryOrigin> {
    Arc::new(DirectoryOrigin::open(path).unwrap())
}

fn summary(changes: &Changes) -> Vec<String> {
    let deletions = changes.deletions.iter().map(|path| format!("gone {path}"));
    deletions.chain(show_places(&changes.entries)).collect()
}

fn show_places(entries: &Tree) -> Vec<String> {
    show(entries, &[]).into_iter().map(|line| line.replace(": ?", "")).collect()
}

fn write(root: &Path, name: &str, text: &str) {
    fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
    fs::write(root.join(name), text).unwrap();
    fs::set_permissions(root.join(name), fs::Permissions::from_mode(0o644)).unwrap();
}

#[test]
fn an_upper_directory_is_read_as_overlayfs_wrote_it() {
    let lower = listing_tree(&["a/", "a/same: same", "a/other: one", "b/", "b/x: x", "b/y: y", "c: c", "k/"]);
    let space = tempfile::tempdir().unwrap();
    let root = space.path();
    write(root, "a/same", "same");
    write(root, "a/other", "two");
    write(root, "b/y", "y");
    write(root, "n/new", "new");
    fs::create_dir(root.join("k")).unwrap();
    for directory in ["", "a", "b", "n", "k"] {
        fs::set_permissions(root.join(directory), fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(root.join("k"), fs::Permissions::from_mode(0o700)).unwrap();
    rustix::fs::setxattr(root.join("b"), "user.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
    for name in ["c", "never"] {
        rustix::fs::mknodat(CWD, root.join(name), FileType::CharacterDevice, Mode::empty(), 0).unwrap();
    }
    let changes = changes_from_overlay_upper(&open(root), &lower, options()).unwrap();
    assert_eq!(summary(&changes), ["gone b/x", "gone c", "a/other", "k/ @700", "n/", "n/new"]);
}

#[test]
fn ignored_stubs_are_no_change() {
    let space = tempfile::tempdir().unwrap();
    write(space.path(), "etc/resolv.conf", "");
    write(space.path(), "etc/mine", "");
    for directory in ["", "etc"] {
        fs::set_permissions(space.path().join(directory), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let lower = listing_tree(&["etc/"]);
    let ignore = |path: &kiln_layer::ArchivePath, _: bool| path.as_bytes() == b"etc/resolv.conf";
    let options = DiffOptions { ignore: Some(&ignore), ..options() };
    let changes = changes_from_overlay_upper(&open(space.path()), &lower, options).unwrap();
    assert_eq!(summary(&changes), ["etc/mine"]);
}

#[test]
fn a_whole_root_is_compared_with_what_it_was() {
    let lower = listing_tree(&["a/", "a/same: same", "a/other: one", "gone/", "gone/x: x", "t: t", "l: l"]);
    let space = tempfile::tempdir().unwrap();
    let root = space.path();
    let unpacking = UnpackOptions {
        form: UnpackForm::Flat,
        ownership: Ownership::Recorded,
        devices: Devices::Record,
        lower: None,
        limits: Limits::default(),
    };
    unpack(
        &tar_of(&changes_of(tree(&[
            "a/",
            "a/same: same",
            "a/other: one",
            "gone/",
            "gone/x: x",
            "t: t",
            "l: l",
        ])))[..],
        &open(root),
        unpacking,
    )
    .unwrap();
    let before = kiln_layer::diff::walk_for_diff(&open(root), options()).unwrap();
    write(root, "a/other", "two");
    write(root, "a/same", "same");
    fs::remove_dir_all(root.join("gone")).unwrap();
    fs::remove_file(root.join("t")).unwrap();
    write(root, "t/now", "a directory");
    fs::set_permissions(root.join("t"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::hard_link(root.join("l"), root.join("m")).unwrap();
    let (changes, _) = changes_from_directory(&open(root), &lower, &before, options()).unwrap();
    assert_eq!(summary(&changes), ["gone gone", "a/other", "l", "m = l", "t/", "t/now"]);
}

/// Makes a root that holds `lines` but for devices, as in a container that allows none, has `step` change it, and returns what that is as a layer.
fn changed_in_copy(lines: &[&str], step: impl FnOnce(&Path)) -> Vec<String> {
    let space = tempfile::tempdir().unwrap();
    let root = space.path();
    let files = kiln_layer::MaterializeOptions {
        ownership: Ownership::Recorded,
        devices: Devices::Record,
        time: None,
    };
    let reshaping = kiln_layer::ReshapeOptions { files, layers: &kiln_layer::NoLayers, note: &|_, _| Ok(()) };
    let made: Vec<&str> = lines.iter().filter(|line| !line.ends_with('%')).copied().collect();
    kiln_layer::reshape(root, &Tree::new(), &tree(&made), reshaping).unwrap();
    let mut before = kiln_layer::walk_for_diff(&open(root), options()).unwrap();
    // As if the clock had stood still since: what may have changed in the same tick is told by its bytes.
    before.distrust_since(kiln_layer::latest_change_ns(&before));
    step(root);
    summary(&changes_from_directory(&open(root), &listing_tree(lines), &before, options()).unwrap().0)
}

#[test]
fn a_change_within_one_tick_of_the_clock_is_not_missed() {
    let changes = changed_in_copy(&["a: one", "b: same"], |root| {
        let kept = fs::metadata(root.join("a")).unwrap().modified().unwrap();
        fs::write(root.join("a"), "two").unwrap();
        fs::File::options().write(true).open(root.join("a")).unwrap().set_modified(kept).unwrap();
    });
    assert_eq!(changes, ["a"]);
}

#[test]
fn names_of_one_file_change_as_they_do_in_an_overlay() {
    let lines = ["a: a", "b = a", "c = a"];
    let mode = |root: &Path, name: &str| {
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    };
    let changes = changed_in_copy(&lines, |root| mode(root, "b"));
    assert_eq!(changes, ["a @600", "b @600", "c @600"]);
    let changes = changed_in_copy(&lines, |root| fs::remove_file(root.join("c")).unwrap());
    assert_eq!(changes, ["gone c"]);
    let changes = changed_in_copy(&lines, |root| {
        fs::remove_file(root.join("c")).unwrap();
        mode(root, "a");
    });
    assert_eq!(changes, ["gone c", "a @600", "b @600"]);
}

#[test]
fn a_device_that_could_not_be_made_is_not_gone() {
    assert_eq!(changed_in_copy(&["n%", "d/", "d/n%"], |_| ()), Vec::<String>::new());
    let changes = changed_in_copy(&["n%", "d/", "d/n%"], |root| {
        write(root, "n", "a file");
        fs::remove_dir(root.join("d")).unwrap();
    });
    assert_eq!(changes, ["gone d", "n"]);
}

#[test]
fn attributes_are_changes_and_times_are_not() {
    let changes = changed_in_copy(&["a: a", "d/", "d/b: b", "e/"], |root| {
        for name in ["a", "e"] {
            rustix::fs::setxattr(root.join(name), "user.note", b"v", XattrFlags::empty()).unwrap();
        }
        fs::File::open(root.join("d/b")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    });
    assert_eq!(changes, ["a", "e/"]);
}

fn listing_tree(lines: &[&str]) -> Tree {
    Tree::from_listings([&crate::support::listing_of(&changes_of(tree(lines)))]).unwrap()
}

#[test]
fn a_directory_in_place_of_a_file_is_no_deletion() {
    let changes = diff(&tree(&["a: f", "b/", "b/c: f"]), &tree(&["a/", "a/x: f", "b: f"]), WithTime::No);
    assert_eq!(summary(&changes), ["a/", "a/x", "b"]);
    assert_eq!(changes.entries.get(&path("b")).map(|entry| entry.is_directory()), Some(false));
}
