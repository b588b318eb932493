//! Reads one layer blob into its entries, by the ordinary tar, gzip and zstd libraries.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use base64::Engine;
use ring::digest::{Context, SHA256};

use super::sha256::{Hashing, hex};

/// One entry of a layer, as its header says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LayerEntry {
    /// The path without leading `/` or `./` and without trailing `/`; empty for the root.
    pub(crate) path: Vec<u8>,
    /// What it is.
    pub(crate) kind: Kind,
    /// Permission bits with set-id and sticky.
    pub(crate) mode: u32,
    /// The owner.
    pub(crate) uid: u64,
    /// The group.
    pub(crate) gid: u64,
    /// Whole seconds.
    pub(crate) mtime: i64,
    /// `security.capability`, in base64.
    pub(crate) capability: Option<String>,
    /// All extended attributes.
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    /// A regular file: size, digest in hex, and the content when it is short.
    File(u64, String, Option<Vec<u8>>),
    /// A directory.
    Directory,
    /// A symbolic link and its target.
    Symlink(Vec<u8>),
    /// A further name of the file at this path.
    Hardlink(Vec<u8>),
    /// A named pipe.
    Fifo,
    /// A character device: major, minor.
    Char(u32, u32),
    /// A block device: major, minor.
    Block(u32, u32),
}

/// Contents up to this size are kept, for showing them and for normalising them.
const KEPT_BYTES_MAX: u64 = 64 << 10;

/// A layer's entries and the digest of its uncompressed bytes, in hex.
pub(crate) struct Layer {
    /// The entries in the order of the archive.
    pub(crate) entries: Vec<LayerEntry>,
    /// The digest of the uncompressed archive.
    pub(crate) diff_id: String,
}

/// Reads a layer blob; compression is told by its first bytes.
pub(crate) fn read(path: &Path) -> Layer {
    let mut start = [0; 4];
    let mut file =
        File::open(path).unwrap_or_else(|error| panic!("cannot open layer {}: {error}", path.display()));
    let count = file.read(&mut start).unwrap();
    let file = BufReader::with_capacity(1 << 16, File::open(path).unwrap());
    match &start[..count] {
        [0x1f, 0x8b, ..] => read_tar(flate2::bufread::MultiGzDecoder::new(file)),
        [0x28, 0xb5, 0x2f, 0xfd] => read_tar(zstd::Decoder::with_buffer(file).unwrap()),
        _ => read_tar(file),
    }
}

/// Reads a layer that is not compressed.
pub(crate) fn read_tar(reader: impl Read) -> Layer {
    let mut reader = Hashing::new(reader);
    let mut archive = tar::Archive::new(&mut reader);
    let entries = archive.entries().unwrap().map(|entry| read_entry(entry.unwrap())).collect();
    std::io::copy(&mut reader, &mut std::io::sink()).unwrap();
    Layer { entries, diff_id: reader.finish() }
}

/// What extended headers say, where they say it.
#[derive(Default)]
struct Extended {
    mtime: Option<i64>,
    uid: Option<u64>,
    gid: Option<u64>,
    capability: Option<String>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

fn read_entry(mut entry: tar::Entry<'_, impl Read>) -> LayerEntry {
    let extended = read_extended(&mut entry);
    let path = clean(&entry.path_bytes());
    let target = entry.link_name_bytes().map(|target| target.into_owned());
    let header = entry.header();
    let device =
        || (header.device_major().unwrap().unwrap_or(0), header.device_minor().unwrap().unwrap_or(0));
    let (mode, mtime) = (header.mode().unwrap() & 0o7777, header.mtime().unwrap().cast_signed());
    let (uid, gid) = (header.uid().unwrap(), header.gid().unwrap());
    let kind = match header.entry_type() {
        tar::EntryType::Directory => Kind::Directory,
        tar::EntryType::Symlink => Kind::Symlink(target.unwrap()),
        tar::EntryType::Link => Kind::Hardlink(clean(&target.unwrap())),
        tar::EntryType::Fifo => Kind::Fifo,
        tar::EntryType::Char => Kind::Char(device().0, device().1),
        tar::EntryType::Block => Kind::Block(device().0, device().1),
        tar::EntryType::Regular | tar::EntryType::Continuous => read_content(&mut entry),
        other => panic!("entry of a type that no layer should have: {other:?}"),
    };
    LayerEntry {
        path,
        kind,
        mode,
        uid: extended.uid.unwrap_or(uid),
        gid: extended.gid.unwrap_or(gid),
        mtime: extended.mtime.unwrap_or(mtime),
        capability: extended.capability,
        xattrs: extended.xattrs,
    }
}

fn read_extended(entry: &mut tar::Entry<'_, impl Read>) -> Extended {
    let mut found = Extended::default();
    let Some(extensions) = entry.pax_extensions().unwrap() else { return found };
    for extension in extensions {
        let extension = extension.unwrap();
        let number = || extension.value().unwrap();
        if let Some(name) = extension.key_bytes().strip_prefix(b"SCHILY.xattr.") {
            found.xattrs.insert(name.to_vec(), extension.value_bytes().to_vec());
        }
        match extension.key_bytes() {
            b"mtime" => found.mtime = Some(number().split('.').next().unwrap().parse().unwrap()),
            b"uid" => found.uid = Some(number().parse().unwrap()),
            b"gid" => found.gid = Some(number().parse().unwrap()),
            b"SCHILY.xattr.security.capability" => {
                found.capability =
                    Some(base64::engine::general_purpose::STANDARD.encode(extension.value_bytes()));
            }
            _ => {}
        }
    }
    found
}

fn read_content(entry: &mut tar::Entry<'_, impl Read>) -> Kind {
    let mut context = Context::new(&SHA256);
    let (mut size, mut kept, mut buffer) = (0, Vec::new(), vec![0; 1 << 16]);
    loop {
        let count = entry.read(&mut buffer).unwrap();
        if count == 0 {
            let kept = (size <= KEPT_BYTES_MAX).then_some(kept);
            return Kind::File(size, hex(context.finish().as_ref()), kept);
        }
        context.update(&buffer[..count]);
        size += count as u64;
        if size <= KEPT_BYTES_MAX {
            kept.extend_from_slice(&buffer[..count]);
        }
    }
}

/// Returns a path's components joined, without `.` and empty ones.
fn clean(path: &[u8]) -> Vec<u8> {
    let parts: Vec<&[u8]> =
        path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    parts.join(&b'/')
}
