//! Cache mounts that travel: from the store into a far place and back, chunk by chunk.
//!
//! A mount is written as a tar *stream* in the order of its names (`stream`), which is cut by content into chunks (`chunks`);
//! chunks that the far place has not are packed into blobs. A *document* (`document`) lists them. So an entry and its blobs are
//! all that a far place has to hold ([`FarMounts`]); an archive is one as a tar file, and so is a cache that builders share
//! (`shared`), through which mounts travel with a build ([`Travels`]).
//!
//! ```text
//! entries/mounts-<sha256 of the id>     the document: zstd, postcard
//! blobs/sha256/<hex>                    packs: zstd frames of chunks
//! ```
//!
//! What steps saw (live times of `transform`) travels with the files. It compares contents, with times of the file system
//! that dated the objects, and both arrive as they were; the time of last use arrives too, so that a clock that is behind
//! gives no source a time before the objects made of it.

mod travels;
pub use travels::{Travel, Travels};

mod shared;

mod import;
pub use import::{Imported, Replace, import};

mod export;
pub use export::{Exported, LEFT_OUT, export};

mod far;
pub use far::{ArchiveWriter, Directory, FarMounts, unpack_archive};

mod packs;

mod known;

mod chunks;

mod stream;

mod document;
pub use document::entry_name;

mod show;
pub use show::{MountRow, find, list, remove};

#[cfg(test)]
mod tests;

mod error;
pub use error::{MountsError, shown_id};

pub use kiln_store::Patience;
use kiln_store::{HeldMount, SHARED_SLOT};

use crate::workshop::Workshop;

/// Holds the directory of a mount that builds share.
fn hold(workshop: &Workshop, id: &str, patience: Patience) -> Result<HeldMount, MountsError> {
    show::hold_slot(workshop, id, SHARED_SLOT, patience)
}
