//! What becomes of blocks: read and compressed side by side, then hashed and written in order.

use std::io::{self, Write};

use kiln_oci::{DiffId, Digest, Hasher};
use rayon::prelude::*;

use super::CommitError;
use super::cut::{Block, Part, Piece};
use super::earlier::{BlockIndex, BlockLine, EarlierBlocks, Recipe, Span, recipe};
use super::fill::{self, Filled, fill};
use crate::compress::Compression;
use crate::content::LayerDirectories;
use crate::content_digest::{ContentDigest, ContentHasher};

/// What blocks are made with.
#[derive(Clone, Copy)]
pub(super) struct Press<'a> {
    pub(super) layers: &'a dyn LayerDirectories,
    pub(super) compression: Compression,
    pub(super) earlier: &'a EarlierBlocks,
}

/// A block that is ready to be written.
pub(super) struct Packed<'a> {
    block: Block<'a>,
    filled: Filled,
    crc: u32,
    bytes: Vec<u8>,
    recipe: Option<Recipe>,
}

impl Press<'_> {
    /// Makes blocks, side by side.
    pub(super) fn pack<'b>(&self, batch: Vec<Block<'b>>) -> Result<Vec<Packed<'b>>, CommitError> {
        batch.into_par_iter().with_max_len(1).map(|block| self.pack_one(block)).collect()
    }

    fn pack_one<'b>(&self, block: Block<'b>) -> Result<Packed<'b>, CommitError> {
        let known = recipe(&block, self.compression, |part| match &block.parts[part] {
            Part::Piece(piece) => piece.content.digest,
            Part::Literal(_) => None,
        });
        let found = self.earlier.find(known).and_then(|found| Some((found.packed()?, found)));
        if let Some((packed, found)) = &found
            && let Some(plain) = found.plain(&block, packed, self.compression)
        {
            let filled = Filled { bytes: plain, digests: known_digests(&block), unhashed: Vec::new() };
            let crc = crc32fast::hash(&filled.bytes);
            return Ok(Packed { block, filled, crc, bytes: packed.clone(), recipe: known });
        }
        let filled = fill(&block, self.layers)?;
        // Small files that were not hashed before are now.
        let recipe = known.or_else(|| {
            recipe(&block, self.compression, |part| match &block.parts[part] {
                Part::Piece(piece) => filled.digest_of(piece.file),
                Part::Literal(_) => None,
            })
        });
        let again = found.map(|(packed, _)| packed);
        let again = again.or_else(|| self.earlier.find(recipe.filter(|_| known.is_none()))?.packed());
        let bytes = match again {
            Some(packed) => packed,
            None => {
                self.compression.block(&filled.bytes).map_err(|source| CommitError::Compress { source })?
            }
        };
        let crc = crc32fast::hash(&filled.bytes);
        Ok(Packed { block, filled, crc, bytes, recipe })
    }
}

/// The digests of the files that end in a block, all known before.
fn known_digests(block: &Block<'_>) -> Vec<(usize, ContentDigest)> {
    let last = block.pieces().filter(|piece| piece.is_last());
    last.filter_map(|piece| Some((piece.file, piece.content.digest?))).collect()
}

/// Takes blocks in order: finds the diff id and the digests of large files.
#[derive(Default)]
pub(super) struct PlainSide {
    hasher: Hasher,
    bytes: u64,
    large: Option<(usize, u64, ContentHasher)>,
    digests: Vec<(usize, ContentDigest)>,
}

impl PlainSide {
    pub(super) fn take(&mut self, packed: &[Packed<'_>]) -> Result<(), CommitError> {
        for Packed { block, filled, .. } in packed {
            self.hasher.update(&filled.bytes);
            self.bytes += filled.bytes.len() as u64;
            for (start, index) in &filled.unhashed {
                if let Part::Piece(piece) = &block.parts[*index] {
                    self.hash_piece(piece, &filled.bytes[*start..*start + piece.length])?;
                }
            }
            self.digests.extend_from_slice(&filled.digests);
        }
        Ok(())
    }

    /// Hashes the next piece of a file that spans blocks.
    fn hash_piece(&mut self, piece: &Piece<'_>, bytes: &[u8]) -> Result<(), CommitError> {
        let (file, offset, mut hasher) = match self.large.take() {
            Some(large) if large.0 == piece.file => large,
            _ => (piece.file, 0, ContentHasher::new()),
        };
        // Pieces before were taken for unchanged, and this one is not.
        if offset != piece.offset {
            return Err(CommitError::ChangedMeanwhile { path: piece.path.clone() });
        }
        hasher.update(bytes);
        if piece.is_last() {
            let found = hasher.finish();
            fill::check(piece.path, piece.content, found)?;
            self.digests.push((file, found));
        } else {
            self.large = Some((file, offset + bytes.len() as u64, hasher));
        }
        Ok(())
    }

    /// Returns the digest of the tar, how many bytes it has, and the digests of all files by their number.
    pub(super) fn finish(self) -> (DiffId, u64, Vec<(usize, ContentDigest)>) {
        let mut digests = self.digests;
        digests.sort_unstable_by_key(|(file, _)| *file);
        (DiffId(self.hasher.finish()), self.bytes, digests)
    }
}

/// Takes blocks in order: hashes and writes their compressed form.
pub(super) struct Sink<'a> {
    compression: Compression,
    out: &'a mut (dyn Write + Send),
    hasher: Hasher,
    crc: crc32fast::Hasher,
    plain_bytes: u64,
    size: u64,
    index: Vec<BlockLine>,
}

impl<'a> Sink<'a> {
    pub(super) fn new(
        compression: Compression,
        out: &'a mut (dyn Write + Send),
    ) -> Result<Self, CommitError> {
        let mut sink = Self {
            compression,
            out,
            hasher: Hasher::new(),
            crc: crc32fast::Hasher::new(),
            plain_bytes: 0,
            size: 0,
            index: Vec::new(),
        };
        sink.write(compression.head())?;
        Ok(sink)
    }

    pub(super) fn take(&mut self, packed: &[Packed<'_>]) -> Result<(), CommitError> {
        for block in packed {
            let length = block.filled.bytes.len();
            self.crc.combine(&crc32fast::Hasher::new_with_initial_len(block.crc, length as u64));
            self.plain_bytes += length as u64;
            let plain = u32::try_from(length).ok().map(|length| Span { length, crc: block.crc });
            if let (Some(recipe), Some(plain), Some(packed)) = (block.recipe, plain, Span::of(&block.bytes)) {
                self.index.push(BlockLine { recipe, offset: self.size, packed, plain });
            }
            self.write(&block.bytes)?;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), CommitError> {
        if self.compression != Compression::None {
            self.hasher.update(bytes);
        }
        self.size += bytes.len() as u64;
        self.out.write_all(bytes).map_err(|source| CommitError::Write { source })
    }

    /// Ends the stream; returns its digest and size, and where its blocks are. Uncompressed, the bytes are those of the tar.
    pub(super) fn finish(mut self, diff_id: DiffId) -> Result<(Digest, u64, BlockIndex), CommitError> {
        let tail = self.compression.tail(self.crc.clone().finalize(), self.plain_bytes);
        self.write(&tail)?;
        self.out.flush().map_err(|source: io::Error| CommitError::Write { source })?;
        let digest = if self.compression == Compression::None { diff_id.0 } else { self.hasher.finish() };
        Ok((digest, self.size, BlockIndex(self.index)))
    }
}
