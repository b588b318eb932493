//! Sparse files: where their data stand, and reading them with their holes filled.
//!
//! | Form | Written by | The map |
//! |---|---|---|
//! | type `S` | GNU tar's own format, star | in the header and in blocks behind it |
//! | PAX 0.0 | GNU tar 1.14 | repeated records `GNU.sparse.offset`, `GNU.sparse.numbytes` |
//! | PAX 0.1 | GNU tar 1.15 | one record `GNU.sparse.map`, the name in `GNU.sparse.name` |
//! | PAX 1.0 | GNU tar since 1.16 | decimal lines at the beginning of the content |
//!
//! In every form the content has the stretches of data one after the other, and nothing else.

use super::header::{SPARSE_PART_BYTES, sparse_part};
use super::pax::PaxValues;
use crate::tar::write::TAR_BLOCK;

/// Parts in one block behind the header of an `S` member; a byte that says whether there is another follows them.
const PARTS_IN_BLOCK: usize = 21;
/// Digits of the largest number in a map.
const DIGITS_MAX: usize = 20;

/// A stretch of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// Which form a member's PAX header announces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PaxForm {
    /// The header has the map.
    Header(Vec<Part>),
    /// The content begins with the map.
    Content,
}

/// Returns the form that PAX records announce, if they announce any.
pub(super) fn pax_form(pax: &PaxValues) -> Result<Option<PaxForm>, &'static str> {
    let version = (pax.text("GNU.sparse.major"), pax.text("GNU.sparse.minor"));
    match version {
        (Some(b"1"), Some(b"0")) => return Ok(Some(PaxForm::Content)),
        (None, None) | (Some(b"0"), Some(b"0" | b"1")) => {}
        _ => return Err("its form is of an unknown version"),
    }
    let numbers = match pax.text("GNU.sparse.map") {
        Some(map) => map.split(|byte| *byte == b',').map(decimal).collect::<Option<Vec<u64>>>(),
        None if pax.sparse_numbers.is_empty() => return Ok(None),
        None => Some(pax.sparse_numbers.clone()),
    };
    let numbers = numbers.ok_or("its map is no list of numbers")?;
    pairs(&numbers).map(|parts| Some(PaxForm::Header(parts)))
}

fn pairs(numbers: &[u64]) -> Result<Vec<Part>, &'static str> {
    let (pairs, []) = numbers.as_chunks::<2>() else { return Err("its map has half a part") };
    Ok(pairs.iter().map(|[offset, length]| Part { offset: *offset, length: *length }).collect())
}

/// Parts of one block behind the header of an `S` member, and whether another block follows.
pub(super) fn parts_of_block(block: &[u8; TAR_BLOCK]) -> Result<(Vec<Part>, bool), &'static str> {
    let fields = block.chunks_exact(SPARSE_PART_BYTES).take(PARTS_IN_BLOCK);
    let parts = fields.map_while(|field| sparse_part(field).transpose()).collect::<Result<_, _>>()?;
    Ok((parts, block[PARTS_IN_BLOCK * SPARSE_PART_BYTES] != 0))
}

/// The decimal lines at the beginning of a content, as they arrive block by block.
#[derive(Debug, Default)]
pub(super) struct MapLines {
    line: Vec<u8>,
    numbers_left: Option<u64>,
    numbers: Vec<u64>,
}

impl MapLines {
    /// Takes a block; tells whether more are needed. `parts_max` bounds what is kept.
    pub(super) fn take(&mut self, block: &[u8; TAR_BLOCK], parts_max: usize) -> Result<bool, MapProblem> {
        for byte in block {
            if self.numbers_left == Some(0) {
                break;
            }
            if *byte != b'\n' {
                if self.line.len() >= DIGITS_MAX {
                    return Err(MapProblem::Damaged("its map is no list of numbers"));
                }
                self.line.push(*byte);
                continue;
            }
            let number = decimal(&self.line).ok_or(MapProblem::Damaged("its map is no list of numbers"))?;
            self.line.clear();
            match &mut self.numbers_left {
                None if number > parts_max as u64 => return Err(MapProblem::TooMany),
                None => self.numbers_left = Some(2 * number),
                Some(left) => {
                    *left -= 1;
                    self.numbers.push(number);
                }
            }
        }
        Ok(self.numbers_left != Some(0))
    }

    /// Returns the parts, once no more blocks are needed.
    pub(super) fn parts(&self) -> Result<Vec<Part>, &'static str> {
        pairs(&self.numbers)
    }
}

/// Why a map in a content is refused.
pub(super) enum MapProblem {
    Damaged(&'static str),
    TooMany,
}

fn decimal(text: &[u8]) -> Option<u64> {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| is_number)?.parse().ok()
}

/// A sparse file that is being read: data where the map has parts, zeros elsewhere.
#[derive(Debug)]
pub(super) struct Expansion {
    parts: std::vec::IntoIter<Part>,
    part: Option<Part>,
    position: u64,
    size: u64,
    /// How many bytes lie in holes.
    pub(super) hole_bytes: u64,
}

/// What comes next of a sparse file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stretch {
    /// So many bytes of the archive.
    Data(u64),
    /// So many zeros.
    Hole(u64),
}

impl Expansion {
    /// Checks that the parts follow each other within `size` and have `data_bytes` together.
    pub(super) fn new(parts: Vec<Part>, data_bytes: u64, size: u64) -> Result<Self, &'static str> {
        let (mut end, mut sum) = (0, 0_u64);
        for part in &parts {
            if part.offset < end {
                return Err("its parts overlap");
            }
            end = part.offset.checked_add(part.length).ok_or("a part lies beyond its end")?;
            // The parts do not overlap, so their sum is no more than the last end.
            sum += part.length;
        }
        if end > size {
            return Err("a part lies beyond its end");
        }
        if sum != data_bytes {
            return Err("its map names another amount of data than there is");
        }
        let hole_bytes = size - sum;
        Ok(Self { parts: parts.into_iter(), part: None, position: 0, size, hole_bytes })
    }

    /// Returns the next stretch; none at the end.
    pub(super) fn next(&mut self) -> Option<Stretch> {
        while self.part.is_none_or(|part| part.length == 0) {
            match self.parts.next() {
                Some(part) => self.part = Some(part),
                None => return (self.position < self.size).then(|| Stretch::Hole(self.size - self.position)),
            }
        }
        self.part.map(|part| match part.offset - self.position {
            0 => Stretch::Data(part.length),
            hole => Stretch::Hole(hole),
        })
    }

    /// Says that so many bytes of the next stretch were read.
    pub(super) fn advance(&mut self, count: u64) {
        // The last part stays when it was read; what follows it is a hole.
        let is_data = |part: &&mut Part| part.offset == self.position && part.length > 0;
        if let Some(part) = self.part.as_mut().filter(is_data) {
            part.offset += count;
            part.length -= count;
        }
        self.position += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(offset: u64, length: u64) -> Part {
        Part { offset, length }
    }

    #[test]
    fn data_and_holes_follow_each_other() {
        let mut expansion =
            Expansion::new(vec![part(0, 2), part(5, 0), part(7, 3), part(20, 0)], 5, 20).unwrap();
        let mut seen = Vec::new();
        while let Some(stretch) = expansion.next() {
            let (Stretch::Data(count) | Stretch::Hole(count)) = stretch;
            expansion.advance(count.min(2));
            seen.push(match stretch {
                Stretch::Data(_) => 'd',
                Stretch::Hole(_) => '-',
            });
        }
        assert_eq!(seen.into_iter().collect::<String>(), "d---dd-----");
        assert_eq!((expansion.position, expansion.hole_bytes), (20, 15));
    }

    #[test]
    fn a_hole_may_end_the_file() {
        let mut expansion = Expansion::new(vec![part(0, 2)], 2, 10).unwrap();
        for stretch in [Stretch::Data(2), Stretch::Hole(8), Stretch::Hole(5)] {
            assert_eq!(expansion.next(), Some(stretch));
            expansion.advance(if expansion.position == 0 { 2 } else { 3 });
        }
    }

    #[test]
    fn maps_that_do_not_fit_are_refused() {
        for (parts, data, size, says) in [
            (vec![part(4, 2), part(0, 2)], 4, 10, "overlap"),
            (vec![part(0, 3), part(2, 2)], 5, 10, "overlap"),
            (vec![part(9, 2)], 2, 10, "beyond"),
            (vec![part(u64::MAX, 2)], 2, 10, "beyond"),
            (vec![part(0, 2)], 3, 10, "another amount"),
        ] {
            let what = Expansion::new(parts, data, size).err().unwrap_or_default();
            assert!(what.contains(says), "{what}");
        }
    }

    #[test]
    fn a_map_in_the_content_may_stretch_over_blocks() {
        let mut lines = MapLines::default();
        let text: String =
            std::iter::once("100\n".to_owned()).chain((0..100).map(|at| format!("{at}000\n1\n"))).collect();
        let mut bytes = text.into_bytes();
        bytes.resize(bytes.len().next_multiple_of(TAR_BLOCK), 0);
        let (blocks, []) = bytes.as_chunks::<TAR_BLOCK>() else { panic!("whole blocks") };
        let more: Vec<bool> =
            blocks.iter().map(|block| lines.take(block, 100).ok().expect("a good map")).collect();
        assert_eq!(more, [true, false]);
        assert_eq!(lines.parts().unwrap()[99], part(99_000, 1));
        assert!(matches!(MapLines::default().take(&blocks[0], 99), Err(MapProblem::TooMany)));
    }
}
