//! Compressed blocks of layers that were written before, by what they are made of.
//!
//! A block's *recipe* is the hash of its headers and of the digests of the contents in it, so it is known before anything is
//! read. A block of the same recipe has the same plain bytes and, under the same compression, the same compressed ones: they
//! are copied instead of made again. Where it is made of many small files, its plain bytes are decompressed instead of read
//! file by file. Checksums tell a damaged block, which counts as none. Blocks before the first change go a shorter way still:
//! [`super::beginning`].

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use kiln_oci::{Digest, HasherState};
use serde::{Deserialize, Serialize};

use super::cut::{Block, Part, Piece};
use crate::compress::{COMPRESS_FORMAT, Compression};
use crate::content_digest::{ContentDigest, ContentHasher};

/// Blocks whose files have on average fewer bytes than this are decompressed rather than read.
const BYTES_A_FILE_READ_MIN: usize = 16 * 1024;
/// What stands for other parts in a recipe, where a header has its length.
const PIECE: u64 = u64::MAX;
const ZEROS: u64 = u64::MAX - 1;
/// A part of a block takes no more of what its recipe is the hash of.
const PART_BYTES_MAX: usize = 56;
/// No block is longer, compressed or not.
const BLOCK_BYTES_MAX: u64 = 64 << 20;

/// What a block is made of. Equal recipes are equal blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Recipe([u8; 32]);

/// Where the blocks of one layer's blob are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockIndex(pub(super) Vec<BlockLine>);

/// One block in a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BlockLine {
    pub(super) recipe: Recipe,
    pub(super) offset: u64,
    pub(super) packed: Span,
    pub(super) plain: Span,
    /// What is known of all bytes up to its end, unless the tar was hashed without telling.
    pub(super) ends: Option<Ends>,
}

/// What is known of a layer up to the end of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ends {
    /// The state of the tar's hash.
    pub(super) tar: HasherState,
    /// The digest of the blob so far.
    pub(super) blob: Digest,
}

/// Length and CRC-32 of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Span {
    pub(super) length: u64,
    pub(super) crc: u32,
}

/// Blocks that may be used again.
#[derive(Debug, Default)]
pub struct EarlierBlocks {
    pub(super) versions: Vec<Version>,
    places: HashMap<Recipe, (usize, BlockLine)>,
}

/// An earlier version of a layer.
#[derive(Debug)]
pub(super) struct Version {
    pub(super) blob: File,
    pub(super) index: BlockIndex,
}

/// A block that was found.
pub(super) struct Found<'a> {
    blob: &'a File,
    /// What is known of it.
    pub(super) line: BlockLine,
}

impl Span {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self { length: bytes.len() as u64, crc: crc32fast::hash(bytes) }
    }
}

impl EarlierBlocks {
    /// Adds the blocks of a layer. `blob` is its open blob; blocks that are known already stay those.
    pub fn add(&mut self, blob: File, index: BlockIndex) {
        let number = self.versions.len();
        for line in &index.0 {
            self.places.entry(line.recipe).or_insert((number, *line));
        }
        self.versions.push(Version { blob, index });
    }

    pub(super) fn find(&self, recipe: Option<Recipe>) -> Option<Found<'_>> {
        let (version, line) = self.places.get(&recipe?)?;
        Some(Found { blob: &self.versions[*version].blob, line: *line })
    }
}

impl Version {
    /// Returns where in the blob the block `number` begins when all before it are in the index.
    pub(super) fn end_before(&self, number: usize, compression: Compression) -> Option<u64> {
        let Some(before) = number.checked_sub(1) else { return Some(compression.head().len() as u64) };
        let line = self.index.0.get(before)?;
        line.offset.checked_add(line.packed.length)
    }
}

impl Found<'_> {
    /// Puts the compressed bytes into `packed`; tells whether they are sound.
    pub(super) fn read(&self, packed: &mut Vec<u8>) -> bool {
        let BlockLine { packed: Span { length, .. }, plain, .. } = self.line;
        if length > BLOCK_BYTES_MAX || plain.length > BLOCK_BYTES_MAX {
            return false;
        }
        packed.resize(length as usize, 0);
        // A blob that cannot be read is as good as none: the block is made anew.
        self.blob.read_exact_at(packed, self.line.offset).is_ok() && Span::of(packed) == self.line.packed
    }

    /// Tells whether to decompress the block is quicker than to read its files.
    pub(super) fn is_of_small_files(block: &Block<'_>) -> bool {
        block.length / block.pieces().count().max(1) < BYTES_A_FILE_READ_MIN
    }

    /// Decompresses `packed` into `plain`; tells whether that is sound.
    pub(super) fn decompress(&self, packed: &[u8], compression: Compression, plain: &mut Vec<u8>) -> bool {
        let length = self.line.plain.length as usize;
        compression.plain_block(packed, length, plain).is_ok() && Span::of(plain) == self.line.plain
    }
}

/// Returns the recipe of a block, given the digest of each of its contents; none when one is not known. What it is made of is hashed
/// in two long pieces, which costs a sixth of as many short ones.
pub(super) fn recipe(
    block: &Block<'_>,
    compression: Compression,
    digest_of: impl Fn(&Piece<'_>) -> Option<ContentDigest>,
) -> Option<Recipe> {
    let mut shape = format!("{COMPRESS_FORMAT} {compression} {}\n", block.literal.len()).into_bytes();
    shape.reserve(block.parts.len() * PART_BYTES_MAX);
    for part in &block.parts {
        match part {
            Part::Literal(range) => shape.extend_from_slice(&(range.len() as u64).to_le_bytes()),
            Part::Zeros(count) => {
                shape.extend_from_slice(&ZEROS.to_le_bytes());
                shape.extend_from_slice(&(*count as u64).to_le_bytes());
            }
            Part::Piece(piece) => {
                shape.extend_from_slice(&PIECE.to_le_bytes());
                shape.extend_from_slice(digest_of(piece)?.as_bytes());
                shape.extend_from_slice(&piece.offset.to_le_bytes());
                shape.extend_from_slice(&(piece.length as u64).to_le_bytes());
            }
        }
    }
    let mut hasher = ContentHasher::new();
    hasher.update(&shape);
    hasher.update(&block.literal);
    Some(Recipe(*hasher.finish().as_bytes()))
}
