//! Sends a mount to a far place.

use kiln_layer::Ownership;
use kiln_store::Patience;

use super::chunks::Packer;
use super::document::{Document, entry_name};
use super::far::FarMounts;
use super::stream::Content;
use super::{MountsError, hold};
use crate::layers;
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
    let is_recorded = layers::ownership(workshop) == Ownership::Recorded;
    let content = Content::of(directory, is_recorded)
        .map_err(|source| MountsError::Walk { id: id.to_owned(), source })?;
    let memory = held.memory()?.read()?;
    let read = |source| MountsError::Read { id: id.to_owned(), source };
    let outline = content.outline(memory.as_ref().map(|(seen, _)| seen.as_slice())).map_err(read)?;
    let name = entry_name(id);
    let got =
        far.get(&name).map_err(|source| MountsError::Far { verb: "ask for", name: name.clone(), source })?;
    // One that cannot be read is written anew.
    let before = got.and_then(|bytes| Document::decode(&name, &bytes).ok());
    let names = content.names();
    if before.as_ref().is_some_and(|before| before.outline == outline) {
        return Ok(Exported { names, left_out: content.left_out, sent_bytes: 0, is_same: true });
    }
    let used_ns = memory.as_ref().map_or_else(|| content.newest_ns(), |(_, used)| *used);
    let mut packer = Packer::new(far, Document::new(id, used_ns, outline), before);
    let files = packer.stream(content.read()).map_err(read)?;
    let seen = memory.map(|(seen, _)| packer.stream(&*seen)).transpose().map_err(read)?;
    let sent_bytes = packer.finish(&name, |document| (document.files, document.seen) = (files, seen))?;
    Ok(Exported { names, left_out: content.left_out, sent_bytes, is_same: false })
}
