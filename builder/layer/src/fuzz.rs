//! What fuzzers run: functions of bytes that panic where something is not as promised. Built for fuzzers and tests alone; the
//! tests replay every input that is kept in `tests/fuzz/corpus`.

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use crate::archive::{extract_archive, is_archive};
use crate::compress::{decompress_layer, detect};
use crate::content::{Content, DirectoryOrigin, NoLayers};
use crate::content_hash::hash_contents;
use crate::digest_cache::NoCache;
use crate::entry::{Entry, Kind, Metadata};
use crate::limits::Limits;
use crate::listing::{Item, Listing};
use crate::path::ArchivePath;
use crate::tar::read::{MemberKind, TarReader};
use crate::tar::write::TAR_BLOCK;
use crate::tree::Tree;
use crate::unpack::{
    Devices, Lower, OverlayMarks, Ownership, UnpackError, UnpackForm, UnpackOptions, read_listing,
    unpack as unpack_layer,
};
use crate::walk::{Verdict, WalkOptions, WalkOwner, WalkXattrs, walk};

/// Small, so that every limit is met.
const LIMITS: Limits = Limits {
    members_max: 200,
    held_bytes_max: 1 << 16,
    pax_bytes_max: 1 << 12,
    xattr_bytes_max: 1 << 10,
    archive_bytes_max: 1 << 20,
    hole_bytes_max: 1 << 20,
    sparse_parts_max: 100,
};

/// Returns the bytes with the checksums of what looks like headers set right, which nobody finds by chance.
fn repaired(bytes: &[u8]) -> Vec<u8> {
    let mut repaired = bytes.to_vec();
    for block in repaired.as_chunks_mut::<TAR_BLOCK>().0 {
        if &block[257..262] == b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    repaired
}

/// Reads an archive: sizes are true, names are plain, limits hold, and a listing survives its encoding.
pub fn tar_read(bytes: &[u8]) {
    read_members(bytes);
    read_members(&repaired(bytes));
}

fn read_members(bytes: &[u8]) {
    let mut tar = TarReader::new(bytes, LIMITS);
    let mut members = 0;
    let mut held = 0;
    while let Ok(Some(member)) = tar.next_member() {
        members += 1;
        held += member.path.as_bytes().len();
        assert_eq!(ArchivePath::parse(member.path.as_bytes()).as_ref(), Ok(&member.path), "a plain name");
        let mut content = Vec::new();
        let read = tar.content().take(1 << 22).read_to_end(&mut content);
        match member.kind {
            MemberKind::File(size) if read.is_ok() => assert_eq!(content.len() as u64, size, "the true size"),
            MemberKind::File(size) => assert!((content.len() as u64) < size, "what is cut short is shorter"),
            _ => {}
        }
    }
    assert!(members <= LIMITS.members_max && held as u64 <= LIMITS.held_bytes_max, "limits hold");
    if let Ok(read) = read_listing(bytes, LIMITS) {
        check_listing(&read.listing);
    }
}

/// Unpacks a layer in every form: nothing outside changes, and what is on the disk is what the listing says.
pub fn unpack(bytes: &[u8]) {
    let bytes = &repaired(bytes)[..];
    let space = tempfile::tempdir().expect("a scratch directory");
    let outside = space.path().join("outside");
    fs::create_dir(&outside).and_then(|()| fs::write(outside.join("victim"), "safe")).expect("a canary");
    let listing = read_listing(bytes, LIMITS).map(|read| read.listing);
    let nothing = Tree::new();
    let lower = lower_tree();
    let cases = [
        ("flat", UnpackForm::Flat, &nothing),
        ("alone", UnpackForm::Overlay(OverlayMarks::User), &nothing),
        ("over", UnpackForm::Overlay(OverlayMarks::User), &lower),
    ];
    for (name, form, lower) in cases {
        let root = space.path().join(name);
        fs::create_dir(&root).expect("a root");
        let directory = DirectoryOrigin::open(&root).expect("a root");
        let options = UnpackOptions {
            form,
            ownership: Ownership::Recorded,
            devices: Devices::Record,
            lower: Some(Lower { tree: lower, layers: &NoLayers }),
            limits: LIMITS,
        };
        match (unpack_layer(bytes, &directory, options), &listing) {
            (Ok(unpacked), Ok(listing)) => {
                assert_eq!(unpacked.listing.encode(), listing.encode(), "{name}: one listing");
                compare(&root, listing, lower);
            }
            (Ok(_), Err(error)) => panic!("{name}: only reading it fails: {error}"),
            // The disk takes fewer names than a listing, and only it must know what lies below.
            (Err(UnpackError::Write { .. } | UnpackError::Link(_)), _) => {}
            (Err(error), Ok(_)) => panic!("{name}: only unpacking it fails: {error}"),
            (Err(_), Err(_)) => {}
        }
        let left = fs::read_dir(space.path()).expect("the scratch directory").count();
        let victims = fs::read_dir(&outside).expect("the canary").count();
        let safe = fs::read(outside.join("victim")).expect("the canary") == b"safe";
        assert!(safe && victims == 1 && left <= 4, "{name}: something outside has changed");
        drop(directory);
    }
}

/// Looks whether bytes are an archive of any compression, and extracts it: contents are where the tree says.
pub fn archive(bytes: &[u8]) {
    if let Ok(mut plain) = decompress_layer(bytes, None) {
        // Whether it decodes does not matter, as long as it ends.
        drop(io::copy(&mut plain.by_ref().take(1 << 22), &mut io::sink()));
    }
    let is_one = is_archive(bytes).expect("memory can be read");
    let space = tempfile::tempdir().expect("a scratch directory");
    let scratch = Arc::new(DirectoryOrigin::open(space.path()).expect("a scratch directory"));
    let Ok(mut tree) = extract_archive(bytes, &scratch, LIMITS) else { return };
    assert!(is_one || tree.is_empty(), "what has members is an archive, {:?}", detect(bytes));
    let before = tree.clone();
    for (_, inode) in before.names() {
        let Some(content) = before.entry(inode).content() else { continue };
        let mut reader = content.open(&NoLayers).expect("an extracted content");
        let mut read = Vec::new();
        reader.read_to_end(&mut read).expect("an extracted content");
        assert_eq!(Some(crate::ContentDigest::of(&read)), content.digest, "the digest is that of the bytes");
    }
    hash_contents(&mut tree, &|_| true, &NoCache, &NoLayers).expect("extracted contents");
    for file in fs::read_dir(space.path()).expect("the scratch directory") {
        let name = file.expect("the scratch directory").file_name();
        assert!(name.as_encoded_bytes().iter().all(u8::is_ascii_digit), "no name of the archive is used");
    }
}

fn check_listing(listing: &Listing) {
    let decoded = Listing::decode(&listing.encode()).expect("a listing of ours");
    assert_eq!(decoded.encode(), listing.encode(), "a listing reads back");
    assert!(listing.items.is_sorted_by(|left, right| left.0 <= right.0), "listings are sorted");
}

/// What lies below in one of the cases.
fn lower_tree() -> Tree {
    let path = |text: &str| ArchivePath::parse(text.as_bytes()).expect("a plain name");
    let directory = || Entry::directory(Metadata::with_mode(0o755));
    let file = |text: &str| Entry::file(Metadata::with_mode(0o644), Content::inline(text.as_bytes()));
    let link = Entry { metadata: Metadata::with_mode(0o777), kind: Kind::Symlink(Arc::from(&b"d"[..])) };
    let entries =
        [("", directory()), ("d", directory()), ("d/f", file("lower")), ("f", file("below")), ("l", link)];
    entries.into_iter().map(|(name, entry)| (path(name), entry)).collect()
}

/// Asserts that a directory holds what a listing says. Marks of overlayfs are no entries, and devices are only recorded.
fn compare(root: &Path, listing: &Listing, lower: &Tree) {
    let options = WalkOptions { owner: WalkOwner::Root, xattrs: WalkXattrs::Layer };
    let mut found = walk(root, &|_, _| Verdict::Keep, options).expect("what was unpacked can be walked");
    hash_contents(&mut found, &|_| true, &NoCache, &NoLayers).expect("what was unpacked can be read");
    let mut expected = if lower.is_empty() {
        Tree::from_listings([]).expect("nothing fits together")
    } else {
        lower.clone()
    };
    expected.add_layer(listing).expect("what could be unpacked can be merged");
    // What lies below and is not touched is in no directory of this layer.
    let is_own = |path: &ArchivePath| {
        let touches = |(name, item): &(ArchivePath, Item)| {
            name.is_within(path) && (!matches!(item, Item::Whiteout) || lower.get(name).is_some())
        };
        listing.items.iter().any(touches)
    };
    let lines = |tree: &Tree| -> Vec<String> {
        let entries = tree.iter().filter(|(path, entry)| !path.is_root() && !entry.kind.is_device());
        entries.filter(|(path, _)| is_own(path)).map(|(path, entry)| shown(path, entry)).collect()
    };
    assert_eq!(lines(&found), lines(&expected), "the disk and the listing");
    if lower.is_empty() {
        let links = expected.hard_links();
        let recorded = links.keys().filter(|path| is_device(&expected, path)).count();
        assert_eq!(found.hard_links().len(), links.len() - recorded, "hard links");
    }
}

fn shown(path: &ArchivePath, entry: &Entry) -> String {
    let content = match &entry.kind {
        Kind::File(content) => format!("{} {:?}", content.size, content.digest),
        Kind::Symlink(target) => crate::path::escape(target),
        _ => String::new(),
    };
    format!("{path} {} {:o} {content}", entry.kind.noun(), entry.metadata.mode)
}

fn is_device(tree: &Tree, path: &ArchivePath) -> bool {
    tree.get(path).is_some_and(|entry| entry.kind.is_device())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Runs a target on every input that is kept for it. What unpacks layers shares those of the reader.
    fn replay(target: fn(&[u8]), name: &str) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus").join(name);
        let mut files: Vec<_> = folder.read_dir().unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "{name} has inputs");
        for file in files {
            target(&std::fs::read(&file).unwrap());
        }
    }

    #[test]
    fn kept_inputs_of_the_reader_hold() {
        replay(super::tar_read, "tar_read");
    }

    #[test]
    fn kept_inputs_of_unpacking_hold() {
        replay(super::unpack, "tar_read");
        replay(super::unpack, "unpack");
    }

    #[test]
    fn kept_inputs_of_archives_hold() {
        replay(super::archive, "archive");
    }
}
