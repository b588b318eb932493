//! Sends a mount to a far place.

use kiln_store::Patience;

use super::chunks::{Packer, Sent};
use super::document::{Document, entry_name};
use super::far::FarMounts;
use super::stream::Content;
use super::{MountsError, hold, known};
use crate::workshop::Workshop;

/// What cannot travel.
pub const LEFT_OUT: &str =
    "devices, names that begin with `.wh.`, and files with an attribute whose name has a `=`";

/// What exporting a mount did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// How many names it has.
    pub names: u64,
    /// How many were left out: devices, and names that a stream cannot have.
    pub left_out: u64,
    /// Bytes that went, entry and blobs.
    pub sent_bytes: u64,
    /// Whether the far place had all of it.
    pub is_same: bool,
}

/// Sends the mount `id`, which nobody uses meanwhile, as the newest of its name. What the far place has is not sent again; what it
/// has of another version or damaged counts as nothing.
///
/// # Errors
/// When the mount is missing or in use, and when it cannot be read or sent; then the far place has what it had.
pub fn export(
    workshop: &Workshop,
    id: &str,
    patience: Patience,
    far: &mut dyn FarMounts,
) -> Result<Exported, MountsError> {
    let held = hold(workshop, id, patience)?;
    let directory = held.directory()?.ok_or_else(|| MountsError::Missing { id: id.to_owned() })?;
    let content =
        Content::of(workshop, directory).map_err(|source| MountsError::Walk { id: id.to_owned(), source })?;
    let memory = held.memory()?.read()?;
    let read = |source| MountsError::Read { id: id.to_owned(), source };
    let outline = content.outline(memory.as_ref().map(|(seen, _)| seen.as_slice())).map_err(read)?;
    let name = entry_name(id);
    let got =
        far.get(&name).map_err(|source| MountsError::Far { verb: "ask for", name: name.clone(), source })?;
    // One that cannot be read is written anew.
    let before = got.and_then(|bytes| Document::decode(&name, &bytes).ok());
    let exported = |sent_bytes, is_same| Exported {
        names: content.names(),
        left_out: content.left_out,
        sent_bytes,
        is_same,
    };
    let is_there = |before: &Document| {
        before.outline == outline && known::has_files_of(&workshop.store, id, content.fingerprint, before)
    };
    if before.as_ref().is_some_and(is_there) {
        return Ok(exported(0, true));
    }
    let used_ns = memory.as_ref().map_or_else(|| content.newest_ns(), |(_, used)| *used);
    let mut packer = Packer::new(far, Document::new(id, used_ns, outline), before);
    let files = packer.stream(content.read()).map_err(read)?;
    let seen = memory.map(|(seen, _)| packer.stream(&*seen)).transpose().map_err(read)?;
    let Sent { document, bytes, is_same } = packer.finish(&name, files, seen)?;
    known::remember(&workshop.store, id, content.fingerprint, &document);
    Ok(exported(bytes, is_same))
}
