//! Brings a mount from a far place into the store.

use std::io::Read;
use std::path::Path;

use kiln_layer::tar::read::Limits;
use kiln_layer::{
    ArchivePath, Devices, DirectoryOrigin, Entry, Item, Listing, Ownership, UnpackForm, UnpackOptions, unpack,
};
use kiln_sandbox::OWNER_ATTRIBUTE;
use kiln_store::Patience;
use rustix::fs::XattrFlags;

use super::chunks::Assembly;
use super::document::{Document, Stream};
use super::far::FarMounts;
use super::{MountsError, hold};
use crate::layers;
use crate::workshop::Workshop;

/// What is remembered where nobody knows what steps saw. It reads as damaged, so that everything is new once, and its time counts.
const SEEN_UNKNOWN: &[u8] = b"unknown";

/// What happens to a mount that is here already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// It stays, and importing fails.
    No,
    /// It goes.
    Yes,
}

/// What importing a mount did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Which mount it was.
    pub id: String,
    /// How many names it has.
    pub names: u64,
    /// Bytes that came, without the entry.
    pub fetched_bytes: u64,
}

/// Brings the mount of an entry, or returns none when there is no such entry. It appears as a whole, with owners as its steps saw
/// them, or not at all.
///
/// # Errors
/// When the mount is in use, or here and to stay; when what is there is damaged or hostile; when the disk refuses.
pub fn import(
    workshop: &Workshop,
    name: &str,
    far: &mut dyn FarMounts,
    replace: Replace,
) -> Result<Option<Imported>, MountsError> {
    let got = far.get(name).map_err(|source| MountsError::Far {
        verb: "ask for",
        name: name.to_owned(),
        source,
    })?;
    let Some(bytes) = got else { return Ok(None) };
    let document = Document::decode(name, &bytes)?;
    let id = document.id.clone();
    let held = hold(workshop, &id, Patience::None)?;
    if replace == Replace::No && held.directory()?.is_some() {
        return Err(MountsError::AlreadyHere { id });
    }
    let new = workshop.store.scratch("cachemount")?;
    let mut files = Assembly::new(far, &document, &document.files);
    let listing = unpack_into(workshop, &id, &mut files, new.path())?;
    let mut fetched_bytes = files.fetched_bytes;
    let seen = match &document.seen {
        Some(stream) => {
            let (seen, fetched) = read_seen(&document, stream, far)?;
            fetched_bytes += fetched;
            seen
        }
        None => SEEN_UNKNOWN.to_vec(),
    };
    held.replace(&id, new, &seen, document.used_ns)?;
    Ok(Some(Imported { id, names: listing.items.len() as u64, fetched_bytes }))
}

fn read_seen(
    document: &Document,
    stream: &Stream,
    far: &mut dyn FarMounts,
) -> Result<(Vec<u8>, u64), MountsError> {
    let mut seen = Vec::new();
    let mut assembly = Assembly::new(far, document, stream);
    let read = assembly.read_to_end(&mut seen);
    read.map_err(|source| MountsError::Read { id: document.id.clone(), source })?;
    Ok((seen, assembly.fetched_bytes))
}

fn unpack_into(
    workshop: &Workshop,
    id: &str,
    files: &mut Assembly<'_>,
    directory: &Path,
) -> Result<Listing, MountsError> {
    let read = |source| MountsError::Read { id: id.to_owned(), source };
    let origin = DirectoryOrigin::open(directory).map_err(read)?;
    let ownership = layers::ownership(workshop);
    let options = UnpackOptions {
        form: UnpackForm::Flat,
        ownership,
        devices: Devices::Record,
        lower: None,
        limits: Limits::default(),
    };
    let unpacked = unpack(files, &origin, options);
    let listing = unpacked.map_err(|source| MountsError::Unpack { id: id.to_owned(), source })?.listing;
    for (path, item) in &listing.items {
        let refused = |what| Err(MountsError::Refused { path: path.clone(), what });
        match item {
            Item::Entry(entry) if entry.kind.is_device() => return refused("a device"),
            Item::Opaque | Item::Whiteout => return refused("the mark of a deletion"),
            Item::Entry(entry) if ownership == Ownership::Recorded => note_owner(directory, path, entry)?,
            Item::Entry(_) | Item::HardLink { .. } => {}
        }
    }
    Ok(listing)
}

/// Notes an owner that the kernel would not set. Every directory on the way was made by unpacking, in a place of our own.
fn note_owner(directory: &Path, path: &ArchivePath, entry: &Entry) -> Result<(), MountsError> {
    let (uid, gid) = (entry.metadata.uid, entry.metadata.gid);
    let carries_attributes = entry.is_directory() || entry.content().is_some();
    if (uid, gid) == (0, 0) || !carries_attributes {
        return Ok(());
    }
    let place = if path.is_root() { directory.to_owned() } else { directory.join(path.as_path()) };
    let value = format!("{uid}:{gid}");
    let noted = rustix::fs::lsetxattr(&place, OWNER_ATTRIBUTE, value.as_bytes(), XattrFlags::empty());
    noted.map_err(|error| MountsError::Owner { path: path.clone(), source: error.into() })
}
