//! Compares an unpacked layer with its listing: names, kinds, contents, links. Owners and modes may be recorded instead of set,
//! where the kernel would not set them, so they are not compared.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use kiln_layer::{ArchivePath, ContentHasher, Entry, Item, Kind};
use kiln_oci::DiffId;

use crate::layers;
use crate::workshop::Workshop;

const READ_BYTES: usize = 256 * 1024;

/// Returns what differs first between a layer and its directory. Without a listing nothing is known, and nothing said.
pub(super) fn difference(workshop: &Workshop, layer: &DiffId, directory: &DiffId) -> Option<String> {
    let listing = layers::known_listing(workshop, layer)?;
    let root = workshop.store.path().join("snapshots").join(directory.0.hex());
    let mut names: BTreeSet<&[u8]> = BTreeSet::new();
    for (path, item) in &listing.items {
        names.insert(path.as_bytes());
        for parent in path.as_bytes().iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            names.insert(&path.as_bytes()[..parent.0]);
        }
        if let Some(reason) = differs(&root, path, item) {
            return Some(format!("`{path}` {reason}"));
        }
    }
    unlisted(&root, &names)
}

fn differs(root: &Path, path: &ArchivePath, item: &Item) -> Option<String> {
    let place = root.join(path.as_path());
    match item {
        // How overlayfs has them is a device or an attribute; what is below is hidden either way.
        Item::Opaque | Item::Whiteout => None,
        Item::HardLink { .. } | Item::Entry(_) => match (std::fs::symlink_metadata(&place), item) {
            (Ok(metadata), Item::Entry(entry)) => differs_from(entry, &place, &metadata),
            (Err(error), _) if error.kind() == ErrorKind::NotFound => Some("is missing".to_owned()),
            // A name of a layer may be longer than any path: then it is there, and out of reach.
            (Ok(_) | Err(_), _) => None,
        },
    }
}

fn differs_from(entry: &Entry, place: &Path, metadata: &Metadata) -> Option<String> {
    let kind = metadata.file_type();
    let is_same = match &entry.kind {
        Kind::Directory => kind.is_dir(),
        Kind::Fifo => kind.is_fifo(),
        // Where the kernel would not make one, a file stands for it.
        Kind::CharDevice(_) => kind.is_char_device() || kind.is_file(),
        Kind::BlockDevice(_) => kind.is_block_device() || kind.is_file(),
        Kind::Symlink(target) => {
            kind.is_symlink()
                && std::fs::read_link(place)
                    .is_ok_and(|found| found.as_os_str().as_encoded_bytes() == &**target)
        }
        Kind::File(content) => {
            if !kind.is_file() || metadata.len() != content.size {
                return Some("has another size".to_owned());
            }
            let digest = content.digest?;
            return match digest_of(place) {
                Ok(found) => (found != digest).then(|| "has another content".to_owned()),
                Err(error) => Some(format!("cannot be read: {error}")),
            };
        }
    };
    (!is_same).then(|| "is of another kind".to_owned())
}

fn digest_of(place: &Path) -> std::io::Result<kiln_layer::ContentDigest> {
    let (mut file, mut hasher) = (std::fs::File::open(place)?, ContentHasher::new());
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            count => hasher.update(&buffer[..count]),
        }
    }
}

/// Returns the first name that the listing does not have.
fn unlisted(root: &Path, names: &BTreeSet<&[u8]>) -> Option<String> {
    let walk = walkdir::WalkDir::new(root).min_depth(1).sort_by_file_name();
    for entry in walk {
        // What is out of reach is no reason to doubt.
        let Ok(entry) = entry else { continue };
        let path = entry.path().strip_prefix(root).unwrap_or(entry.path()).as_os_str().as_encoded_bytes();
        // Whiteouts, and marks of what is hidden, are ours.
        if !names.contains(path) && entry.file_type().is_file() {
            return Some(format!("`{}` is not of the layer", String::from_utf8_lossy(path).escape_default()));
        }
    }
    None
}
