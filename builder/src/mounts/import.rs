//! Brings a mount from a far place into the store.

use std::io::Read;
use std::path::Path;

use kiln_layer::tar::read::Limits;
use kiln_layer::{
    ArchivePath, Devices, DirectoryOrigin, Entry, Item, Listing, Ownership, UnpackForm, UnpackOptions, unpack,
};
use kiln_sandbox::{DEVICE_ATTRIBUTE, OWNER_ATTRIBUTE};
use kiln_store::Patience;

use super::document::Document;
use super::far::FarMounts;
use super::packs::Packs;
use super::stream::survey;
use super::{MountsError, hold, known};
use crate::workshop::Workshop;
use crate::{layers, upper};

/// What is remembered where nobody knows what steps saw. It reads as damaged, so that everything is new once, and its time counts.
const SEEN_UNKNOWN: &[u8] = b"unknown";

/// What happens to a mount that is here already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// It stays, and importing fails, unless nothing is in it.
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
    if replace == Replace::No && held.has_content()? {
        return Err(MountsError::AlreadyHere { id });
    }
    let new = workshop.store.scratch("cachemount")?;
    let mut packs = Packs::new(far, &document, &workshop.store);
    let listing = unpack_into(workshop, &id, packs.read(&document.files), new.path())?;
    let seen = match &document.seen {
        Some(stream) => {
            let mut seen = Vec::new();
            let read = packs.read(stream).read_to_end(&mut seen);
            read.map_err(|source| MountsError::Read { id: id.clone(), source })?;
            seen
        }
        None => SEEN_UNKNOWN.to_vec(),
    };
    let fetched_bytes = packs.fetched_bytes;
    held.replace(&id, new, &seen, document.used_ns)?;
    // What was written here is what would be sent back; where it cannot be told it is read first.
    let survey = held.directory()?.and_then(|directory| survey(workshop, directory).ok());
    known::remember(&workshop.store, &id, survey.and_then(|survey| survey.fingerprint()), &document);
    Ok(Some(Imported { id, names: listing.items.len() as u64, fetched_bytes }))
}

fn unpack_into(
    workshop: &Workshop,
    id: &str,
    files: impl Read,
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
            Item::Entry(entry) if is_marked(entry) => {
                return refused("what stands for a device or another owner");
            }
            Item::Opaque | Item::Whiteout => return refused("the mark of a deletion"),
            Item::Entry(entry) if ownership == Ownership::Recorded => note_owner(directory, path, entry)?,
            Item::Entry(_) | Item::HardLink { .. } => {}
        }
    }
    Ok(listing)
}

/// Whether an entry has attributes that steps with recorded owners take for more than attributes.
fn is_marked(entry: &Entry) -> bool {
    let marks = [OWNER_ATTRIBUTE, DEVICE_ATTRIBUTE];
    marks.iter().any(|name| entry.metadata.xattrs.get(name.as_bytes()).is_some())
}

/// Notes an owner that the kernel would not set. Every directory on the way was made by unpacking, in a place of our own.
fn note_owner(directory: &Path, path: &ArchivePath, entry: &Entry) -> Result<(), MountsError> {
    let place = if path.is_root() { directory.to_owned() } else { directory.join(path.as_path()) };
    upper::write_owner(&place, entry).map_err(|source| MountsError::Owner { path: path.clone(), source })
}
