//! Short ways to make trees and layers, and to show them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use kiln_layer::{
    Changes, CommitOptions, Committed, Compression, Content, Device, Entry, Item, Kind, LayerTime, Listing,
    Metadata, NoLayers, Tree, WithTime, commit, compress, read_listing,
};

pub(crate) use kiln_layer::ArchivePath;

pub(crate) fn path(text: &str) -> ArchivePath {
    ArchivePath::parse(text.as_bytes()).unwrap()
}

pub(crate) fn directory(mode: u32) -> Entry {
    Entry::directory(Metadata::with_mode(mode))
}

pub(crate) fn file(text: &str) -> Entry {
    Entry::file(Metadata::with_mode(0o644), Content::inline(text.as_bytes()))
}

pub(crate) fn symlink(target: &str) -> Entry {
    Entry { metadata: Metadata::with_mode(0o777), kind: Kind::Symlink(Arc::from(target.as_bytes())) }
}

/// Makes a tree from lines: `d/` directory, `l -> t` symlink, `h = f` hard link, `p|` fifo, `f` or `f: text` file, each with an
/// optional ` @mode` or ` @mode,uid,gid` at the end. Parents come first.
pub(crate) fn tree(lines: &[&str]) -> Tree {
    let mut tree = Tree::new();
    tree.insert(ArchivePath::root(), Entry::implied_directory());
    for line in lines {
        let (body, tail) = line.split_once(" @").map_or((*line, None), |(body, tail)| (body, Some(tail)));
        if let Some((name, target)) = body.split_once(" = ") {
            tree.link(path(name), &path(target)).unwrap();
            continue;
        }
        let (name, mut entry) = parse(body);
        if let Some(tail) = tail {
            let mut numbers = tail.split(',');
            entry.metadata.mode = u32::from_str_radix(numbers.next().unwrap(), 8).unwrap();
            entry.metadata.uid = numbers.next().map_or(0, |text| text.parse().unwrap());
            entry.metadata.gid = numbers.next().map_or(0, |text| text.parse().unwrap());
        }
        tree.insert(path(name), entry);
    }
    tree
}

fn parse(body: &str) -> (&str, Entry) {
    if let Some((name, target)) = body.split_once(" -> ") {
        (name, symlink(target))
    } else if let Some(name) = body.strip_suffix('/') {
        (name, directory(0o755))
    } else if let Some(name) = body.strip_suffix('|') {
        (name, Entry { metadata: Metadata::with_mode(0o644), kind: Kind::Fifo })
    } else if let Some(name) = body.strip_suffix('%') {
        let device = Device { major: 1, minor: 5 };
        (name, Entry { metadata: Metadata::with_mode(0o644), kind: Kind::CharDevice(device) })
    } else if let Some((name, text)) = body.split_once(": ") {
        (name, file(text))
    } else {
        (body, file(body))
    }
}

/// The reverse of [`tree`]: whole lines, with what is not usual. File contents are named by what [`tree`] was given.
pub(crate) fn show(tree: &Tree, texts: &[&str]) -> Vec<String> {
    let by_digest: BTreeMap<_, _> = texts
        .iter()
        .map(|text| (kiln_layer::ContentDigest::of(text.as_bytes()), (*text).to_owned()))
        .collect();
    let links = tree.hard_links();
    let shown = tree.iter().filter(|(path, _)| !path.is_root()).map(|(path, entry)| {
        if let Some(target) = links.get(path) {
            return format!("{path} = {target}");
        }
        let usual = if entry.is_directory() { 0o755 } else { 0o644 };
        let body = match &entry.kind {
            Kind::Directory => format!("{path}/"),
            Kind::Symlink(target) => return format!("{path} -> {}", kiln_layer::escape(target)),
            Kind::Fifo => format!("{path}|"),
            Kind::CharDevice(_) | Kind::BlockDevice(_) => format!("{path}%"),
            Kind::File(content) => {
                let text = content.digest.and_then(|digest| by_digest.get(&digest));
                format!("{path}: {}", text.map_or("?", String::as_str))
            }
        };
        let Metadata { mode, uid, gid, .. } = entry.metadata;
        match (mode == usual, uid, gid) {
            (true, 0, 0) => body,
            (_, 0, 0) => format!("{body} @{mode:o}"),
            _ => format!("{body} @{mode:o},{uid},{gid}"),
        }
    });
    shown.collect()
}

pub(crate) fn options(compression: Compression) -> CommitOptions {
    CommitOptions { time: LayerTime::Fixed(315_532_800), compression }
}

pub(crate) fn committed(changes: &Changes, compression: Compression) -> (Committed, Vec<u8>) {
    let mut blob = Vec::new();
    let done = commit(changes, &NoLayers, &options(compression), &mut blob).unwrap();
    (done, blob)
}

/// The plain tar of a layer.
pub(crate) fn tar_of(changes: &Changes) -> Vec<u8> {
    committed(changes, Compression::None).1
}

pub(crate) fn changes_of(entries: Tree) -> Changes {
    Changes { entries, deletions: std::collections::BTreeSet::new() }
}

pub(crate) fn listing_of(changes: &Changes) -> Listing {
    let (done, blob) = committed(changes, Compression::default());
    let plain = compress::decompress_layer(&blob[..], None).unwrap();
    let read = read_listing(plain, kiln_layer::tar::read::Limits::default()).unwrap();
    assert_eq!(read.listing.encode(), done.listing.encode(), "a layer reads back as it was written");
    assert_eq!(read.uncompressed_size, done.uncompressed_size);
    read.listing
}

pub(crate) fn kinds(listing: &Listing) -> Vec<String> {
    let noun = |item: &Item| match item {
        Item::Opaque => "opaque",
        Item::Whiteout => "whiteout",
        Item::HardLink { .. } => "link",
        Item::Entry(entry) => entry.kind.noun(),
    };
    listing.items.iter().map(|(path, item)| format!("{} {path}", noun(item))).collect()
}

pub(crate) fn assert_same(left: &Tree, right: &Tree, texts: &[&str]) {
    let (left_lines, right_lines) = (show(left, texts), show(right, texts));
    assert_eq!(left_lines, right_lines);
    assert!(left.is_same(right, WithTime::No), "{left_lines:#?}");
}

/// What GNU tar prints about an archive, blanks squeezed.
pub(crate) fn gnu_tar(archive: &[u8], arguments: &[&str]) -> Vec<String> {
    let space = tempfile::tempdir().unwrap();
    let at = space.path().join("layer.tar");
    std::fs::write(&at, archive).unwrap();
    gnu_tar_of_file(&at, arguments)
}

/// As [`gnu_tar`], of an archive on disk.
pub(crate) fn gnu_tar_of_file(archive: &Path, arguments: &[&str]) -> Vec<String> {
    let mut command = Command::new("tar");
    let output = command.args(arguments).arg("-f").arg(archive).env("LC_ALL", "C").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}
