//! From [`Changes`] to a layer, in one pass: tar → diff id → compression → digest → `out`.
//!
//! ```text
//!  entries ──► blocks, cut by     ──► bytes read and          ──┬──► in order ──► diff id
//!              names and sizes        compressed side by side   └──► in order ──► digest, out
//! ```
//!
//! While one batch of blocks is made, the one before is hashed and written; a batch is bounded, so memory does not depend on
//! the layer. Blocks are cut where entries begin, at places that depend only on what is near: a block for a run of entries that
//! did not change is the same as before, whatever changed around it, and its compressed form is copied from the layer
//! that had it. What comes before the first change is neither unpacked nor hashed as tar (`beginning.rs`). Number of threads,
//! speed of anything, and what was there to be copied never reach the bytes.

mod beginning;
mod cut;
mod earlier;
mod fill;
mod members;
mod pack;

use std::io::{self, Write};

use kiln_oci::{DiffId, Digest};

use crate::compress::Compression;
use crate::content::{LayerDirectories, Origin};
use crate::content_digest::ContentDigest;
use crate::entry::{Kind, Timestamp};
use crate::listing::{Item, Listing};
use crate::path::{ArchivePath, PathError};
use crate::tar::write::HeaderError;
use crate::tree::Changes;
use beginning::{Begun, begin};
pub use earlier::{BlockIndex, EarlierBlocks};
use pack::{Plain, PlainSide, Press, Sink};

/// A thread has so many blocks of a batch…
const BATCH_BLOCKS_A_THREAD: usize = 8;
/// …and a batch at most so many.
const BATCH_BLOCKS_MAX: usize = 32;
/// The listing of so many entries is put together in less time than another thread takes to wake up.
const FEW_ENTRIES: usize = 100;

/// How a layer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitOptions {
    /// The times of its entries.
    pub time: LayerTime,
    /// Its compression.
    pub compression: Compression,
}

/// The times of a layer's entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerTime {
    /// All have this, in seconds since 1970.
    Fixed(i64),
    /// Each keeps its own.
    Preserve,
}

/// A layer that was written.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The digest of the tar.
    pub diff_id: DiffId,
    /// The digest of what went to `out`.
    pub digest: Digest,
    /// How many bytes went to `out`.
    pub size: u64,
    /// How many bytes the tar has.
    pub uncompressed_size: u64,
    /// What the layer contains, with the digests of all contents.
    pub listing: Listing,
    /// Where its blocks are, for the next version of the layer.
    pub blocks: BlockIndex,
}

/// Why a layer could not be written.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A content could not be read.
    #[error("cannot read the content of `{path}`")]
    ReadContent {
        /// The entry.
        path: ArchivePath,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file became shorter or longer since it was found.
    #[error("`{path}` changed while it was read: {expected} bytes were expected, {found} found")]
    SizeChanged {
        /// The entry.
        path: ArchivePath,
        /// Its size when it was found.
        expected: u64,
        /// How many bytes there were: one more means at least that.
        found: u64,
    },
    /// A file has other bytes than when it was hashed.
    #[error("`{path}` changed since it was read: its content is {found}, it was {expected}")]
    ContentChanged {
        /// The entry.
        path: ArchivePath,
        /// The digest known before.
        expected: ContentDigest,
        /// The digest of what was read now.
        found: ContentDigest,
    },
    /// A file changed while it was read.
    #[error("`{path}` changed while it was read; a build needs files that hold still")]
    ChangedMeanwhile {
        /// The entry.
        path: ArchivePath,
    },
    /// A name that would read back as a deletion.
    #[error("`{path}` cannot be stored in a layer: names beginning with `.wh.` mark deletions")]
    ReservedName {
        /// The entry.
        path: ArchivePath,
    },
    /// A directory that is both removed and set cannot be said without an opaque marker.
    #[error("`{path}` is both removed and set by one layer")]
    DeletedAndSet {
        /// The entry.
        path: ArchivePath,
    },
    /// A whiteout's name is no path.
    #[error("cannot name the deletion of `{path}`")]
    Name {
        /// The entry.
        path: ArchivePath,
        /// What is wrong.
        #[source]
        source: PathError,
    },
    /// Something a tar header cannot say.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The compressor failed.
    #[error("cannot compress the layer")]
    Compress {
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// A block of an earlier version, found to be sound before, could not be read.
    #[error("cannot read an earlier version of the layer")]
    ReadEarlier {
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// `out` failed.
    #[error("cannot write the layer")]
    Write {
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Writes `changes` as one layer to `out`. Work runs on rayon's current pool and on the calling thread.
///
/// # Errors
/// When a content cannot be read or changed, or `out` fails. `out` then holds the beginning of a layer.
pub fn commit(
    changes: &Changes,
    layers: &dyn LayerDirectories,
    options: &CommitOptions,
    out: &mut (dyn Write + Send),
) -> Result<Committed, CommitError> {
    commit_with(changes, layers, options, &EarlierBlocks::default(), out)
}

/// As [`commit`], copying what blocks of earlier layers have already. The bytes are the same.
///
/// # Errors
/// As [`commit`].
pub fn commit_with(
    changes: &Changes,
    layers: &dyn LayerDirectories,
    options: &CommitOptions,
    earlier: &EarlierBlocks,
    out: &mut (dyn Write + Send),
) -> Result<Committed, CommitError> {
    let list = || changes.listing(DiffId(Digest::of(b"")));
    // The listing is put together beside the writing, which waits for the digest of the tar most of the time.
    let (written, listing) = match changes.entries.len() <= FEW_ENTRIES {
        true => (write(changes, layers, options, earlier, out), list()),
        false => rayon::join(|| write(changes, layers, options, earlier, out), list),
    };
    let Written { diff_id, digest, size, uncompressed_size, digests, blocks } = written?;
    let listing = completed(listing, diff_id, &digests, options.time);
    Ok(Committed { diff_id, digest, size, uncompressed_size, listing, blocks })
}

/// What writing a layer gave.
struct Written {
    diff_id: DiffId,
    digest: Digest,
    size: u64,
    uncompressed_size: u64,
    /// Digests of all files, in order.
    digests: Vec<ContentDigest>,
    blocks: BlockIndex,
}

fn write(
    changes: &Changes,
    layers: &dyn LayerDirectories,
    options: &CommitOptions,
    earlier: &EarlierBlocks,
    out: &mut (dyn Write + Send),
) -> Result<Written, CommitError> {
    let count = (BATCH_BLOCKS_A_THREAD * rayon::current_num_threads()).min(BATCH_BLOCKS_MAX);
    let Begun { mut beginning, blocks, mut cutter } = begin(changes, options, earlier, count)?;
    let press = Press::new(layers, options.compression, earlier);
    let mut plain_side = PlainSide::behind(beginning.as_mut());
    let mut sink = Sink::new(options.compression, beginning.as_ref(), out)?;
    let first = if blocks.is_empty() { cutter.next_batch(count)? } else { blocks };
    let mut packed = press.pack(first)?;
    let mut batch = cutter.next_batch(count)?;
    while !packed.is_empty() {
        // What a step changes is mostly small: one block is hashed in less time than it takes to have company.
        if packed.len() == 1 && batch.is_empty() {
            plain_side.take(&packed)?;
            sink.take(&packed)?;
            break;
        }
        // What cannot be divided is begun first, and packing fills the threads up to the end of the round.
        let (hashed, (written, (next_packed, next_batch))) = rayon::join(
            || plain_side.take(&packed),
            || {
                let pack = || rayon::join(|| press.pack(batch), || cutter.next_batch(count));
                rayon::join(|| sink.take(&packed), pack)
            },
        );
        hashed?;
        written?;
        cutter.recycle(press.recycle(packed));
        (packed, batch) = (next_packed?, next_batch?);
    }
    let plain = plain_side.finish();
    let (digest, size, blocks) = sink.finish(&plain)?;
    let Plain { diff_id, bytes, digests, .. } = plain;
    Ok(Written { diff_id, digest, size, uncompressed_size: bytes, digests, blocks })
}

/// Completes a listing with what was found while writing: the digests of its files, in their order, and the times written.
fn completed(mut listing: Listing, diff_id: DiffId, digests: &[ContentDigest], time: LayerTime) -> Listing {
    listing.diff_id = diff_id;
    let mut digests = digests.iter();
    for (_, item) in &mut listing.items {
        if let Item::Entry(entry) = item {
            if let LayerTime::Fixed(seconds) = time {
                entry.metadata.mtime = Timestamp::from_seconds(seconds);
            }
            match &mut entry.kind {
                Kind::File(content) => {
                    content.origin = Origin::Layer(diff_id);
                    content.digest = digests.next().copied();
                    assert!(content.digest.is_some(), "every file was read once");
                }
                Kind::Symlink(_) => entry.metadata.mode = 0o777,
                _ => {}
            }
        }
    }
    listing
}
