//! Where a layer's tar is cut into blocks, decided by names, sizes and headers alone: nothing is read yet.

use std::ops::Range;

use super::members::{Members, Named};
use super::{CommitError, LayerTime};
use crate::content::Content;
use crate::entry::Timestamp;
use crate::path::ArchivePath;
use crate::tar::write::{self, Member, TAR_BLOCK};
use crate::tree::Changes;

/// A block of tar is never longer, but for one header.
pub(super) const BLOCK_BYTES: usize = 512 * 1024;
/// A block is not cut before this, unless a large entry begins.
const BLOCK_BYTES_MIN: usize = 128 * 1024;
/// An entry from this size on has blocks of its own.
const LARGE_ENTRY_BYTES: u64 = 256 * 1024;
/// One in so many entries is a place where a block of at least the minimum is cut.
const CUT_MODULUS: u32 = 16;

/// A block of tar before contents are read.
#[derive(Debug, Default)]
pub(super) struct Block<'a> {
    /// What it consists of, in order.
    pub(super) parts: Vec<Part<'a>>,
    /// Headers, one after the other.
    pub(super) literal: Vec<u8>,
    /// How many bytes it has.
    pub(super) length: usize,
}

/// A part of a block.
#[derive(Debug)]
pub(super) enum Part<'a> {
    /// Headers: bytes of [`Block::literal`].
    Literal(Range<usize>),
    /// So many zeros: padding, and the end.
    Zeros(usize),
    /// A piece of a file.
    Piece(Piece<'a>),
}

/// A piece of a file's content.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece<'a> {
    /// The number of the file among the files of the layer.
    pub(super) file: usize,
    pub(super) path: &'a ArchivePath,
    pub(super) content: &'a Content,
    pub(super) offset: u64,
    pub(super) length: usize,
}

impl Piece<'_> {
    /// Tells whether it is all of the file.
    pub(super) fn is_whole(&self) -> bool {
        self.length as u64 == self.content.size
    }

    /// Tells whether the file ends here.
    pub(super) fn is_last(&self) -> bool {
        self.offset + self.length as u64 == self.content.size
    }
}

impl<'a> Block<'a> {
    pub(super) fn pieces(&self) -> impl Iterator<Item = &Piece<'a>> {
        self.parts.iter().filter_map(|part| match part {
            Part::Literal(_) | Part::Zeros(_) => None,
            Part::Piece(piece) => Some(piece),
        })
    }

    fn add_header(&mut self, header: &[u8]) {
        let start = self.literal.len();
        self.literal.extend_from_slice(header);
        let end = self.literal.len();
        self.length += header.len();
        match self.parts.last_mut() {
            Some(Part::Literal(before)) => before.end = end,
            _ => self.parts.push(Part::Literal(start..end)),
        }
    }

    fn add_zeros(&mut self, count: usize) {
        if count > 0 {
            self.parts.push(Part::Zeros(count));
            self.length += count;
        }
    }
}

/// Cuts the members of a layer into blocks.
pub(super) struct Cutter<'a> {
    members: Members<'a>,
    time: LayerTime,
    open: Option<Piece<'a>>,
    block: Block<'a>,
    /// Blocks that were used up, for their memory: fresh pages cost more than what is written to them.
    spare: Vec<Block<'a>>,
    header: Vec<u8>,
    files: usize,
    is_ended: bool,
}

impl<'a> Cutter<'a> {
    pub(super) fn new(changes: &'a Changes, time: LayerTime) -> Result<Self, CommitError> {
        let members = Members::of(changes)?;
        let (block, spare, header) = (Block::default(), Vec::new(), Vec::new());
        Ok(Self { members, time, open: None, block, spare, header, files: 0, is_ended: false })
    }

    /// Takes back blocks that nobody needs any more.
    pub(super) fn recycle(&mut self, blocks: impl IntoIterator<Item = Block<'a>>) {
        self.spare.extend(blocks.into_iter().map(|mut block| {
            block.parts.clear();
            block.literal.clear();
            Block { length: 0, ..block }
        }));
    }

    /// Returns up to `count` blocks, none at the end.
    pub(super) fn next_batch(&mut self, count: usize) -> Result<Vec<Block<'a>>, CommitError> {
        let mut batch = Vec::with_capacity(count);
        while batch.len() < count && !self.is_ended {
            if let Some(piece) = self.open.take() {
                self.add_piece(piece, &mut batch);
            } else if let Some(named) = self.members.next().transpose()? {
                self.start_member(&named, &mut batch)?;
            } else {
                self.block.add_zeros(write::END_BYTES);
                self.cut(&mut batch);
                self.is_ended = true;
            }
        }
        Ok(batch)
    }

    fn start_member(&mut self, named: &Named<'a>, batch: &mut Vec<Block<'a>>) -> Result<(), CommitError> {
        self.header.clear();
        let mtime = self.mtime(named.member);
        write::append_header(&mut self.header, &named.name, named.member, mtime)?;
        let size = named.file.map_or(0, |(_, content)| content.size);
        if self.cuts_before(&named.name, self.header.len() as u64 + size) {
            self.cut(batch);
        }
        self.block.add_header(&self.header);
        if let Some((path, content)) = named.file {
            self.open = Some(Piece { file: self.files, path, content, offset: 0, length: 0 });
            self.files += 1;
        }
        Ok(())
    }

    /// Decides by what is near only: the block so far, this entry's size and name.
    fn cuts_before(&self, path: &ArchivePath, size: u64) -> bool {
        let so_far = self.block.length;
        if size >= LARGE_ENTRY_BYTES || so_far as u64 + size > BLOCK_BYTES as u64 {
            return so_far > 0;
        }
        so_far >= BLOCK_BYTES_MIN && crc32fast::hash(path.as_bytes()).is_multiple_of(CUT_MODULUS)
    }

    /// Adds as much of a file as the block has room for; what is left stays open.
    fn add_piece(&mut self, start: Piece<'a>, batch: &mut Vec<Block<'a>>) {
        let (size, room) = (start.content.size, BLOCK_BYTES.saturating_sub(self.block.length).max(TAR_BLOCK));
        let length = usize::try_from(size - start.offset).unwrap_or(usize::MAX).min(room);
        let piece = Piece { length, ..start };
        // An empty file is looked at, too: it may have grown.
        if length > 0 || size == 0 {
            self.block.parts.push(Part::Piece(piece));
            self.block.length += length;
        }
        if !piece.is_last() {
            self.cut(batch);
            self.open = Some(Piece { offset: piece.offset + length as u64, ..start });
            return;
        }
        self.block.add_zeros(write::padding_of(size));
        if size >= LARGE_ENTRY_BYTES || self.block.length >= BLOCK_BYTES {
            self.cut(batch);
        }
    }

    fn cut(&mut self, batch: &mut Vec<Block<'a>>) {
        if self.block.length > 0 {
            let next = self.spare.pop().unwrap_or_default();
            batch.push(std::mem::replace(&mut self.block, next));
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
