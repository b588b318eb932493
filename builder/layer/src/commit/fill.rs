//! The bytes of a block: literal ones and pieces of files, each file checked to be what it was when its digest was found.
//!
//! | The digest of the content | A file whose times prove that it holds still | Any other file |
//! |---|---|---|
//! | known | its identity after reading is the one it was hashed with | hashed again: it must come out the same |
//! | not known | hashed | hashed |
//!
//! A file that lies in one block is hashed here, side by side with others; one that spans blocks is hashed by whoever has its
//! blocks in order.

use std::io;

use super::CommitError;
use super::cut::{Block, Part, Piece};
use crate::content::{Content, ContentReader, LayerDirectories, Origin};
use crate::content_digest::ContentDigest;
use crate::path::ArchivePath;

/// A block whose bytes are there.
#[derive(Debug, Default)]
pub(super) struct Filled {
    /// The bytes.
    pub(super) bytes: Vec<u8>,
    /// Digests that are certain now, with the numbers of the files, in order.
    pub(super) digests: Vec<(usize, ContentDigest)>,
    /// Pieces of larger files that are still to be hashed in order: where in [`Filled::bytes`], and of what.
    pub(super) unhashed: Vec<(usize, usize)>,
}

impl Filled {
    /// Returns the digest of a file, if it is certain.
    pub(super) fn digest_of(&self, file: usize) -> Option<ContentDigest> {
        let at = self.digests.binary_search_by_key(&file, |(file, _)| *file).ok()?;
        Some(self.digests[at].1)
    }
}

/// Reads the contents of a block.
pub(super) fn fill(
    block: &Block<'_>,
    layers: &dyn LayerDirectories,
    buffer: Vec<u8>,
) -> Result<Filled, CommitError> {
    let mut filled = Filled { bytes: buffer, ..Filled::default() };
    // What was in the buffer need not be cleared, as every byte is written over.
    filled.bytes.resize(block.length + 1, 0);
    let mut start = 0;
    for (index, part) in block.parts.iter().enumerate() {
        match part {
            Part::Literal(range) => {
                filled.bytes[start..start + range.len()].copy_from_slice(&block.literal[range.clone()]);
                start += range.len();
            }
            Part::Zeros(count) => {
                filled.bytes[start..start + count].fill(0);
                start += count;
            }
            Part::Piece(piece) => {
                read_piece(piece, (start, index), layers, &mut filled)?;
                start += piece.length;
            }
        }
    }
    assert!(start == block.length, "a block is as long as its parts");
    filled.bytes.truncate(start);
    Ok(filled)
}

fn read_piece(
    piece: &Piece<'_>,
    (start, index): (usize, usize),
    layers: &dyn LayerDirectories,
    filled: &mut Filled,
) -> Result<(), CommitError> {
    let failed = |source| CommitError::ReadContent { path: piece.path.clone(), source };
    let reader = piece.content.open(layers).map_err(failed)?;
    let end = start + piece.length;
    // One byte more than expected tells in the same call whether the file ends where it should.
    let extra = usize::from(piece.is_last());
    let count = reader.read_at(&mut filled.bytes[start..end + extra], piece.offset).map_err(failed)?;
    if count != piece.length {
        let (expected, found) = (piece.content.size, piece.offset + count as u64);
        return Err(CommitError::SizeChanged { path: piece.path.clone(), expected, found });
    }
    if let Some(digest) = settled_digest(piece.content, &reader).map_err(failed)? {
        if piece.is_last() {
            filled.digests.push((piece.file, digest));
        }
    } else if piece.is_whole() {
        let found = ContentDigest::of(&filled.bytes[start..end]);
        check(piece.path, piece.content, found)?;
        filled.digests.push((piece.file, found));
    } else {
        filled.unhashed.push((start, index));
    }
    Ok(())
}

/// The digest of a file that has the same identity after reading as when it was hashed, where that proves equal bytes.
fn settled_digest(content: &Content, reader: &ContentReader) -> io::Result<Option<ContentDigest>> {
    let (Some(digest), Some(hashed), Origin::Directory(directory)) =
        (content.digest, content.identity.as_deref(), &content.origin)
    else {
        return Ok(None);
    };
    let holds_still = directory.is_settled(hashed) && reader.identity()? == Some(*hashed);
    Ok(holds_still.then_some(digest))
}

/// Compares the digest of what was read with the one known before.
pub(super) fn check(path: &ArchivePath, content: &Content, found: ContentDigest) -> Result<(), CommitError> {
    match content.digest {
        Some(expected) if expected != found => {
            Err(CommitError::ContentChanged { path: path.clone(), expected, found })
        }
        _ => Ok(()),
    }
}
