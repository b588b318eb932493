//! What becomes of blocks: read and compressed side by side, then hashed and written in order.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kiln_oci::{DiffId, Digest, Hasher, HasherState, ResumableHasher};
use rayon::prelude::*;

use super::CommitError;
use super::beginning::Beginning;
use super::cut::{Block, Part, Piece};
use super::earlier::{BlockIndex, BlockLine, EarlierBlocks, Ends, Found, Recipe, Span, recipe};
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
    plain_buffers: Mutex<Vec<Vec<u8>>>,
    packed_buffers: Mutex<Vec<Vec<u8>>>,
}

/// A block that is ready to be written.
pub(super) struct Packed<'a> {
    block: Block<'a>,
    filled: Filled,
    bytes: Vec<u8>,
    recipe: Option<Recipe>,
    /// Checksums of the bytes before and after compression.
    plain: Span,
    packed: Span,
}

impl<'a> Press<'a> {
    pub(super) fn new(
        layers: &'a dyn LayerDirectories,
        compression: Compression,
        earlier: &'a EarlierBlocks,
    ) -> Self {
        Self {
            layers,
            compression,
            earlier,
            compressors: Mutex::default(),
            plain_buffers: Mutex::default(),
            packed_buffers: Mutex::default(),
        }
    }

    /// Makes blocks, side by side; a single one here and now.
    pub(super) fn pack<'b>(&self, batch: Vec<Block<'b>>) -> Result<Vec<Packed<'b>>, CommitError> {
        if batch.len() <= 1 {
            return batch.into_iter().map(|block| self.pack_one(block)).collect();
        }
        batch.into_par_iter().with_max_len(1).map(|block| self.pack_one(block)).collect()
    }

    /// Takes back the buffers of blocks that were written, and returns the blocks.
    pub(super) fn recycle<'b>(&self, packed: Vec<Packed<'b>>) -> Vec<Block<'b>> {
        let (mut plain_buffers, mut packed_buffers) =
            (locked(&self.plain_buffers), locked(&self.packed_buffers));
        let take = |Packed { block, filled, bytes, .. }: Packed<'b>| {
            plain_buffers.push(filled.bytes);
            packed_buffers.push(bytes);
            block
        };
        packed.into_iter().map(take).collect()
    }

    fn pack_one<'b>(&self, block: Block<'b>) -> Result<Packed<'b>, CommitError> {
        let known = recipe(&block, self.compression, |piece| piece.content.digest);
        let mut bytes = reused(&self.packed_buffers);
        let mut earlier = self.earlier.find(known).filter(|earlier| earlier.read(&mut bytes));
        if let Some(earlier) = earlier.take_if(|_| Found::is_of_small_files(&block)) {
            let mut plain = reused(&self.plain_buffers);
            if earlier.decompress(&bytes, self.compression, &mut plain) {
                let digests = known_digests(&block);
                let filled = Filled { bytes: plain, digests, unhashed: Vec::new() };
                let BlockLine { plain, packed, .. } = earlier.line;
                return Ok(Packed { block, filled, bytes, recipe: known, plain, packed });
            }
        }
        let filled = fill(&block, self.layers, reused(&self.plain_buffers))?;
        // Small files that were not hashed before are now.
        let recipe = known.or_else(|| recipe(&block, self.compression, |piece| filled.digest_of(piece.file)));
        let late = recipe.filter(|_| known.is_none());
        let earlier = earlier.or_else(|| self.earlier.find(late).filter(|earlier| earlier.read(&mut bytes)));
        let plain = Span::of(&filled.bytes);
        let packed = if let Some(earlier) = earlier {
            earlier.line.packed
        } else {
            let mut compressor =
                locked(&self.compressors).pop().unwrap_or_else(|| Compressor::new(self.compression));
            let packed = compressor.block(&filled.bytes, &mut bytes);
            packed.map_err(|source| CommitError::Compress { source })?;
            locked(&self.compressors).push(compressor);
            Span::of(&bytes)
        };
        Ok(Packed { block, filled, bytes, recipe, plain, packed })
    }
}

fn reused(buffers: &Mutex<Vec<Vec<u8>>>) -> Vec<u8> {
    locked(buffers).pop().unwrap_or_default()
}

fn locked<T>(mutex: &Mutex<Vec<T>>) -> MutexGuard<'_, Vec<T>> {
    // Only whole things are pushed and popped, so a panic elsewhere harmed nothing.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The digests of the files that end in a block, all known before.
pub(super) fn known_digests(block: &Block<'_>) -> Vec<(usize, ContentDigest)> {
    let last = block.pieces().filter(|piece| piece.is_last());
    last.filter_map(|piece| Some((piece.file, piece.content.digest?))).collect()
}

/// Takes blocks in order: finds the diff id and the digests of large files.
#[derive(Default)]
pub(super) struct PlainSide {
    hasher: ResumableHasher,
    bytes: u64,
    large: Option<(usize, u64, ContentHasher)>,
    digests: Vec<(usize, ContentDigest)>,
    /// The state of the hash after each block.
    states: Vec<Option<HasherState>>,
}

/// What [`PlainSide`] found.
pub(super) struct Plain {
    /// The digest of the tar.
    pub(super) diff_id: DiffId,
    /// How many bytes it has.
    pub(super) bytes: u64,
    /// The digests of all files in order.
    pub(super) digests: Vec<ContentDigest>,
    states: Vec<Option<HasherState>>,
}

impl PlainSide {
    /// Starts behind the beginning of the tar that is known already.
    pub(super) fn behind(beginning: Option<&mut Beginning<'_>>) -> Self {
        let Some(beginning) = beginning else { return Self::default() };
        Self {
            hasher: ResumableHasher::resume(&beginning.ends.tar),
            bytes: beginning.lines.iter().map(|line| line.plain.length).sum(),
            digests: std::mem::take(&mut beginning.digests),
            ..Self::default()
        }
    }

    pub(super) fn take(&mut self, packed: &[Packed<'_>]) -> Result<(), CommitError> {
        for Packed { block, filled, .. } in packed {
            self.hasher.update(&filled.bytes);
            self.states.push(self.hasher.state());
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

    pub(super) fn finish(self) -> Plain {
        let mut digests = self.digests;
        digests.sort_unstable_by_key(|(file, _)| *file);
        let digests = digests.into_iter().map(|(_, digest)| digest).collect();
        Plain { diff_id: DiffId(self.hasher.finish()), bytes: self.bytes, digests, states: self.states }
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
    /// The blocks of the beginning.
    known: Vec<BlockLine>,
    /// Each block after it, with the digest of the blob up to its end.
    lines: Vec<(Option<BlockLine>, Digest)>,
}

impl<'a> Sink<'a> {
    /// Starts with the head of the stream, or with the beginning that is there already.
    pub(super) fn new(
        compression: Compression,
        beginning: Option<&Beginning<'_>>,
        out: &'a mut (dyn Write + Send),
    ) -> Result<Self, CommitError> {
        let mut sink = Self {
            compression,
            out,
            hasher: Hasher::new(),
            crc: crc32fast::Hasher::new(),
            plain_bytes: 0,
            size: 0,
            known: Vec::new(),
            lines: Vec::new(),
        };
        let Some(beginning) = beginning else {
            sink.write(compression.head())?;
            return Ok(sink);
        };
        beginning.copy_to(sink.out)?;
        beginning.lines.iter().for_each(|line| sink.count(line.plain));
        sink.known = beginning.lines.to_vec();
        (sink.hasher, sink.size) = (beginning.hasher.clone(), beginning.size);
        Ok(sink)
    }

    pub(super) fn take(&mut self, packed: &[Packed<'_>]) -> Result<(), CommitError> {
        for Packed { bytes, recipe, plain, packed, .. } in packed {
            self.count(*plain);
            let (offset, packed, plain) = (self.size, *packed, *plain);
            let line = recipe.map(|recipe| BlockLine { recipe, offset, packed, plain, ends: None });
            self.write(bytes)?;
            self.lines.push((line, self.hasher.clone().finish()));
        }
        Ok(())
    }

    /// Counts plain bytes.
    fn count(&mut self, plain: Span) {
        self.crc.combine(&crc32fast::Hasher::new_with_initial_len(plain.crc, plain.length));
        self.plain_bytes += plain.length;
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), CommitError> {
        if self.compression != Compression::None {
            self.hasher.update(bytes);
        }
        self.size += bytes.len() as u64;
        self.out.write_all(bytes).map_err(|source| CommitError::Write { source })
    }

    /// Ends the stream; returns its digest and size, and where its blocks are. Uncompressed, the bytes are those of the tar.
    pub(super) fn finish(mut self, plain: &Plain) -> Result<(Digest, u64, BlockIndex), CommitError> {
        let tail = self.compression.tail(self.crc.clone().finalize(), self.plain_bytes);
        self.write(&tail)?;
        self.out.flush().map_err(|source: io::Error| CommitError::Write { source })?;
        let is_plain = self.compression == Compression::None;
        let digest = if is_plain { plain.diff_id.0 } else { self.hasher.finish() };
        let lines = self.lines.into_iter().zip(&plain.states).filter_map(|((line, blob), tar)| {
            let ends = tar.filter(|_| !is_plain).map(|tar| Ends { tar, blob });
            Some(BlockLine { ends, ..line? })
        });
        let index = self.known.into_iter().chain(lines).collect();
        Ok((digest, self.size, BlockIndex(index)))
    }
}
