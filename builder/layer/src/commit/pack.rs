//! What becomes of blocks: read and compressed side by side, then hashed and written in order.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kiln_oci::{DiffId, Digest, Hasher};
use rayon::prelude::*;

use super::CommitError;
use super::cut::{Block, Part, Piece};
use super::earlier::{BlockIndex, BlockLine, EarlierBlocks, Found, Recipe, Span, recipe};
use super::fill::{self, Filled, fill};
use crate::compress::{Compression, Compressor};
use crate::content::LayerDirectories;
use crate::content_digest::{ContentDigest, ContentHasher};

/// What blocks are made with.
pub(super) struct Press<'a> {
    layers: &'a dyn LayerDirectories,
    compression: Compression,
    earlier: &'a EarlierBlocks,
    /// Compressors and buffers that nobody uses at the moment; to make them anew costs more than a small block.
    compressors: Mutex<Vec<Compressor>>,
    buffers: Mutex<Vec<Vec<u8>>>,
}

/// A block that is ready to be written.
pub(super) struct Packed<'a> {
    block: Block<'a>,
    filled: Filled,
    crc: u32,
    bytes: Vec<u8>,
    recipe: Option<Recipe>,
}

impl<'a> Press<'a> {
    pub(super) fn new(
        layers: &'a dyn LayerDirectories,
        compression: Compression,
        earlier: &'a EarlierBlocks,
    ) -> Self {
        Self { layers, compression, earlier, compressors: Mutex::default(), buffers: Mutex::default() }
    }

    /// Makes blocks, side by side; a single one here and now.
    pub(super) fn pack<'b>(&self, batch: Vec<Block<'b>>) -> Result<Vec<Packed<'b>>, CommitError> {
        if batch.len() <= 1 {
            return batch.into_iter().map(|block| self.pack_one(block)).collect();
        }
        batch.into_par_iter().with_max_len(1).map(|block| self.pack_one(block)).collect()
    }

    /// Takes back the buffers of blocks that were written.
    pub(super) fn recycle(&self, packed: Vec<Packed<'_>>) {
        let buffers = packed.into_iter().flat_map(|packed| [packed.filled.bytes, packed.bytes]);
        locked(&self.buffers).extend(buffers.filter(|buffer| buffer.capacity() > 0));
    }

    fn pack_one<'b>(&self, block: Block<'b>) -> Result<Packed<'b>, CommitError> {
        let known = recipe(&block, self.compression, |piece| piece.content.digest);
        let mut bytes = self.buffer();
        let earlier = self.earlier.find(known).filter(|earlier| earlier.read(&mut bytes));
        if let Some(earlier) = earlier.as_ref().filter(|_| Found::is_of_small_files(&block)) {
            let mut plain = self.buffer();
            if earlier.decompress(&bytes, self.compression, &mut plain) {
                let digests = known_digests(&block);
                let filled = Filled { bytes: plain, digests, unhashed: Vec::new() };
                let crc = crc32fast::hash(&filled.bytes);
                return Ok(Packed { block, filled, crc, bytes, recipe: known });
            }
        }
        let filled = fill(&block, self.layers, self.buffer())?;
        // Small files that were not hashed before are now.
        let recipe = known.or_else(|| recipe(&block, self.compression, |piece| filled.digest_of(piece.file)));
        let late = recipe.filter(|_| known.is_none());
        let earlier = earlier.or_else(|| self.earlier.find(late).filter(|earlier| earlier.read(&mut bytes)));
        if earlier.is_none() {
            let mut compressor =
                locked(&self.compressors).pop().unwrap_or_else(|| Compressor::new(self.compression));
            let packed = compressor.block(&filled.bytes, &mut bytes);
            packed.map_err(|source| CommitError::Compress { source })?;
            locked(&self.compressors).push(compressor);
        }
        let crc = crc32fast::hash(&filled.bytes);
        Ok(Packed { block, filled, crc, bytes, recipe })
    }

    fn buffer(&self) -> Vec<u8> {
        locked(&self.buffers).pop().unwrap_or_default()
    }
}

fn locked<T>(mutex: &Mutex<Vec<T>>) -> MutexGuard<'_, Vec<T>> {
    // Only whole things are pushed and popped, so a panic elsewhere harmed nothing.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Returns the digest of the tar, how many bytes it has, and the digests of all files in order.
    pub(super) fn finish(self) -> (DiffId, u64, Vec<ContentDigest>) {
        let mut digests = self.digests;
        digests.sort_unstable_by_key(|(file, _)| *file);
        let digests = digests.into_iter().map(|(_, digest)| digest).collect();
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
