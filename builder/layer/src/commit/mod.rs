//! From [`Changes`] to a layer, in one pass: tar → diff id → compression → digest → `out`.
//!
//! ```text
//!  entries ──► blocks of tar (cut by content) ──┬──► diff id
//!             contents hashed while read        └──► compressed side by side ──► in order ──► digest, out
//! ```
//!
//! While one batch of blocks is compressed the next is read and the one before is written; a batch is bounded, so memory does
//! not depend on the layer. A content is hashed while it is read, unless it has a digest already and its file provably did not
//! change since. Blocks are cut where entries begin, at places that depend only on what is near: a block for a run of entries that did not change is
//! the same as before, whatever changed around it. Number of threads and speed of anything never reach the bytes.

mod pack;

use std::io::{self, Read, Write};

use flate2::Crc;
use kiln_oci::{DiffId, Digest};

use crate::compress::Compression;
use crate::content::{Content, ContentReader, FileIdentity, LayerDirectories, Origin};
use crate::content_digest::{ContentDigest, ContentHasher};
use crate::entry::{Entry, Kind, Timestamp};
use crate::listing::{Item, Listing};
use crate::path::{ArchivePath, PathError};
use crate::tar::write::{self, HeaderError, Member, TAR_BLOCK, WHITEOUT_PREFIX};
use crate::tree::Changes;
use pack::{Packer, Sink};

/// A block of tar is never longer, but for one header.
const BLOCK_BYTES: usize = 512 * 1024;
/// A block is not cut before this, unless a large entry begins.
const BLOCK_BYTES_MIN: usize = 128 * 1024;
/// An entry from this size on has blocks of its own.
const LARGE_ENTRY_BYTES: u64 = 256 * 1024;
/// One in so many entries is a place where a block of at least the minimum is cut.
const CUT_MODULUS: u32 = 16;
const BATCH_BLOCKS_MAX: usize = 32;

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
    let mut tar = TarBlocks::new(changes, layers, options.time)?;
    let mut packer = Packer::new(options.compression);
    let mut sink = Sink::new(options.compression, out)?;
    let batch_blocks = (4 * rayon::current_num_threads()).min(BATCH_BLOCKS_MAX);
    let mut batch = tar.next_batch(batch_blocks)?;
    let mut packed = Vec::new();
    while !batch.is_empty() {
        let (next, (written, done)) = rayon::join(
            || tar.next_batch(batch_blocks),
            || rayon::join(|| sink.write_all(&packed), || packer.pack(&batch)),
        );
        written?;
        packed = done?;
        batch = next?;
    }
    sink.write_all(&packed)?;
    let digests = std::mem::take(&mut tar.digests);
    let (diff_id, uncompressed_size) = packer.finish();
    let (digest, size) = sink.finish(diff_id)?;
    let listing = listing_with(changes, diff_id, &digests, options.time);
    Ok(Committed { diff_id, digest, size, uncompressed_size, listing })
}

/// The listing of `changes` with the digests found while writing (in the order of the files) and the times written.
fn listing_with(changes: &Changes, diff_id: DiffId, digests: &[ContentDigest], time: LayerTime) -> Listing {
    let mut listing = changes.listing(diff_id);
    let mut digests = digests.iter();
    for (_, item) in &mut listing.items {
        if let Item::Entry(entry) = item {
            if let LayerTime::Fixed(seconds) = time {
                entry.metadata.mtime = Timestamp::from_seconds(seconds);
            }
            match &mut entry.kind {
                Kind::File(content) => {
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

/// Produces the tar of a layer block by block.
struct TarBlocks<'a> {
    layers: &'a dyn LayerDirectories,
    time: LayerTime,
    members: std::vec::IntoIter<(ArchivePath, Member<'a>)>,
    open: Option<OpenFile<'a>>,
    block: Vec<u8>,
    digests: Vec<ContentDigest>,
    ended: bool,
}

struct OpenFile<'a> {
    path: ArchivePath,
    content: &'a Content,
    reader: ContentReader,
    left: u64,
    check: Check,
}

/// How the digest of a content comes about.
enum Check {
    /// From its bytes; a digest that was known must agree.
    Hash(Box<ContentHasher>),
    /// It was computed before, of a file that had this identity and must have it still.
    Identity(FileIdentity, ContentDigest),
}

impl Check {
    fn of(content: &Content, reader: &ContentReader) -> io::Result<Self> {
        let (Some(digest), Some(hashed), Some(file), Origin::Directory(directory)) =
            (content.digest, content.identity.as_deref(), reader.file(), &content.origin)
        else {
            return Ok(Self::Hash(Box::default()));
        };
        if directory.is_settled(hashed) && FileIdentity::of(file)? == *hashed {
            return Ok(Self::Identity(*hashed, digest));
        }
        Ok(Self::Hash(Box::default()))
    }
}

impl<'a> TarBlocks<'a> {
    fn new(
        changes: &'a Changes,
        layers: &'a dyn LayerDirectories,
        time: LayerTime,
    ) -> Result<Self, CommitError> {
        let members = members(changes)?.into_iter();
        let block = Vec::with_capacity(BLOCK_BYTES);
        Ok(Self { layers, time, members, open: None, block, digests: Vec::new(), ended: false })
    }

    /// Returns up to `count` blocks, none at the end.
    fn next_batch(&mut self, count: usize) -> Result<Vec<Vec<u8>>, CommitError> {
        let mut batch = Vec::with_capacity(count);
        while batch.len() < count && !self.ended {
            if let Some(open) = self.open.take() {
                self.copy_content(open, &mut batch)?;
            } else if let Some((path, member)) = self.members.next() {
                self.start_member(path, member, &mut batch)?;
            } else {
                write::append_end(&mut self.block);
                self.cut(&mut batch);
                self.ended = true;
            }
        }
        Ok(batch)
    }

    fn start_member(
        &mut self,
        path: ArchivePath,
        member: Member<'a>,
        batch: &mut Vec<Vec<u8>>,
    ) -> Result<(), CommitError> {
        let mut header = Vec::with_capacity(TAR_BLOCK);
        write::append_header(&mut header, &path, member, self.mtime(member))?;
        let content = match member {
            Member::Entry(entry) => entry.content(),
            Member::HardLink(..) | Member::Whiteout => None,
        };
        let size = content.map_or(0, |content| content.size);
        if self.cuts_before(&path, header.len() as u64 + size) {
            self.cut(batch);
        }
        self.block.extend_from_slice(&header);
        if let Some(content) = content {
            let reader = content
                .open(self.layers)
                .map_err(|source| CommitError::ReadContent { path: path.clone(), source })?;
            let check = Check::of(content, &reader)
                .map_err(|source| CommitError::ReadContent { path: path.clone(), source })?;
            self.open = Some(OpenFile { path, content, reader, left: size, check });
        }
        Ok(())
    }

    /// Decides by what is near only: the block so far, this entry's size and name.
    fn cuts_before(&self, path: &ArchivePath, size: u64) -> bool {
        let so_far = self.block.len();
        if size >= LARGE_ENTRY_BYTES || so_far as u64 + size > BLOCK_BYTES as u64 {
            return so_far > 0;
        }
        so_far >= BLOCK_BYTES_MIN && {
            let mut crc = Crc::new();
            crc.update(path.as_bytes());
            crc.sum().is_multiple_of(CUT_MODULUS)
        }
    }

    /// Copies until the block is full or the file ends.
    fn copy_content(&mut self, mut open: OpenFile<'a>, batch: &mut Vec<Vec<u8>>) -> Result<(), CommitError> {
        let room = BLOCK_BYTES.saturating_sub(self.block.len()).max(TAR_BLOCK);
        let want = usize::try_from(open.left).unwrap_or(usize::MAX).min(room);
        let start = self.block.len();
        self.block.resize(start + want, 0);
        let got = read_full(&mut open.reader, &mut self.block[start..])
            .map_err(|source| CommitError::ReadContent { path: open.path.clone(), source })?;
        if got < want {
            let found = open.content.size - open.left + got as u64;
            return Err(CommitError::SizeChanged { path: open.path, expected: open.content.size, found });
        }
        if let Check::Hash(hasher) = &mut open.check {
            hasher.update(&self.block[start..]);
        }
        open.left -= got as u64;
        if open.left == 0 {
            self.close(open, batch)
        } else {
            self.cut(batch);
            self.open = Some(open);
            Ok(())
        }
    }

    fn close(&mut self, mut open: OpenFile<'a>, batch: &mut Vec<Vec<u8>>) -> Result<(), CommitError> {
        let expected = open.content.size;
        let failed = |source| CommitError::ReadContent { path: open.path.clone(), source };
        let more = read_full(&mut open.reader, &mut [0]).map_err(failed)?;
        if more > 0 {
            return Err(CommitError::SizeChanged { path: open.path, expected, found: expected + 1 });
        }
        let found = match open.check {
            Check::Hash(hasher) => {
                let found = hasher.finish();
                if let Some(expected) = open.content.digest.filter(|digest| *digest != found) {
                    return Err(CommitError::ContentChanged { path: open.path, expected, found });
                }
                found
            }
            Check::Identity(hashed, digest) => {
                let now = open.reader.file().map(FileIdentity::of).transpose().map_err(failed)?;
                if now != Some(hashed) {
                    return Err(CommitError::ChangedMeanwhile { path: open.path });
                }
                digest
            }
        };
        self.digests.push(found);
        write::append_padding(&mut self.block, expected);
        if expected >= LARGE_ENTRY_BYTES || self.block.len() >= BLOCK_BYTES {
            self.cut(batch);
        }
        Ok(())
    }

    fn cut(&mut self, batch: &mut Vec<Vec<u8>>) {
        if !self.block.is_empty() {
            batch.push(std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK_BYTES)));
        }
    }

    fn mtime(&self, member: Member<'_>) -> Timestamp {
        match (self.time, member) {
            (LayerTime::Fixed(seconds), _) => Timestamp::from_seconds(seconds),
            (LayerTime::Preserve, Member::Entry(entry) | Member::HardLink(entry, _)) => entry.metadata.mtime,
            (LayerTime::Preserve, Member::Whiteout) => Timestamp::default(),
        }
    }
}

/// All members in the order of their names in the archive.
fn members(changes: &Changes) -> Result<Vec<(ArchivePath, Member<'_>)>, CommitError> {
    let mut members = Vec::with_capacity(changes.entries.len() + changes.deletions.len());
    let both = |path: &&ArchivePath| changes.entries.get(path).is_some_and(Entry::is_directory);
    if let Some(path) = changes.deletions.iter().find(both) {
        return Err(CommitError::DeletedAndSet { path: path.clone() });
    }
    for path in changes.whiteouts() {
        members.push((whiteout_name(path)?, Member::Whiteout));
    }
    let links = changes.entries.hard_links();
    for (path, entry) in changes.entries.iter() {
        if path.file_name().is_some_and(|name| name.starts_with(WHITEOUT_PREFIX)) {
            return Err(CommitError::ReservedName { path: path.clone() });
        }
        let member = match links.get(path) {
            Some(target) => Member::HardLink(entry, target),
            None => Member::Entry(entry),
        };
        members.push((path.clone(), member));
    }
    members.sort_by(|left, right| left.0.cmp(&right.0));
    Ok(members)
}

fn whiteout_name(path: &ArchivePath) -> Result<ArchivePath, CommitError> {
    let name = [WHITEOUT_PREFIX, path.file_name().unwrap_or_default()].concat();
    let parent = path.parent().unwrap_or_else(ArchivePath::root);
    parent.join(&name).map_err(|source| CommitError::Name { path: path.clone(), source })
}

/// Reads until `buffer` is full or the reader ends.
fn read_full(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
