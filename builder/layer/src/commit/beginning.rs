//! The beginning that a layer has in common with an earlier version of it: copied as it lies there, never unpacked or read.
//!
//! While block after block has the recipe that the same version had at this place, the tar so far is the same, and so is the
//! blob. The [index](super::BlockIndex) tells two things for the end of each block: the state of the tar's SHA-256, from where
//! hashing goes on behind the beginning, and the digest of the blob so far.
//!
//! | Trusted | Because |
//! |---|---|
//! | equal recipes are equal plain bytes | a recipe is the BLAKE3 hash of headers and of content digests |
//! | the state belongs to these recipes | whoever hashed the bytes wrote the index; the store keeps it under a SHA-256 of its own |
//! | the blob has there what it had | its bytes are hashed before one of them is used, and have the digest in the index |
//!
//! So nothing rests on a CRC-32. Whatever differs, there is no beginning, and the blocks are looked at one by one.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;

use kiln_oci::Hasher;
use rayon::prelude::*;

use super::cut::{Block, Cutter};
use super::earlier::{BlockLine, EarlierBlocks, Ends, Version, recipe};
use super::pack::known_digests;
use super::{CommitError, CommitOptions};
use crate::compress::Compression;
use crate::content_digest::ContentDigest;
use crate::tree::Changes;

const COPY_BYTES: usize = 256 * 1024;

/// What of a layer is there already, and what is not.
pub(super) struct Begun<'a, 'e> {
    /// The beginning, if there is one.
    pub(super) beginning: Option<Beginning<'e>>,
    /// Blocks that follow it and were cut already.
    pub(super) blocks: Vec<Block<'a>>,
    /// Cuts those after.
    pub(super) cutter: Cutter<'a>,
}

/// A beginning that was found in a blob, and whose bytes are those that were written.
pub(super) struct Beginning<'e> {
    blob: &'e File,
    /// How many bytes of the blob it has.
    pub(super) size: u64,
    /// Its blocks.
    pub(super) lines: &'e [BlockLine],
    /// What is known at its end.
    pub(super) ends: Ends,
    /// The digests of its files, with their numbers.
    pub(super) digests: Vec<(usize, ContentDigest)>,
    /// The hash of its bytes.
    pub(super) hasher: Hasher,
}

/// Cuts the layer until it is no longer that of an earlier version, `count` blocks at a time.
pub(super) fn begin<'a, 'e>(
    changes: &'a Changes,
    options: &CommitOptions,
    earlier: &'e EarlierBlocks,
    count: usize,
) -> Result<Begun<'a, 'e>, CommitError> {
    let nothing = || {
        let cutter = Cutter::new(changes, options.time)?;
        Ok(Begun { beginning: None, blocks: Vec::new(), cutter })
    };
    // What is not compressed is hashed as tar, and not once more as blob.
    if earlier.versions.is_empty() || options.compression == Compression::None {
        return nothing();
    }
    let mut cutter = Cutter::new(changes, options.time)?;
    let mut search = Search { versions: earlier.versions.iter().collect(), length: 0, digests: Vec::new() };
    let mut batch = cutter.next_batch(count)?;
    while !batch.is_empty() {
        let (equal, next) = rayon::join(|| search.count_equal(&batch, options), || cutter.next_batch(count));
        let rest = batch.split_off(equal);
        cutter.recycle(batch);
        batch = next?;
        if !rest.is_empty() {
            batch.splice(..0, rest);
            break;
        }
    }
    // Who reads the end of a large file must have read its beginning, to know its digest.
    let cuts_file =
        batch.first().and_then(|block| block.pieces().next()).is_some_and(|piece| piece.offset > 0);
    match search.found(options.compression).filter(|_| !cuts_file) {
        Some(beginning) => Ok(Begun { beginning: Some(beginning), blocks: batch, cutter }),
        None => nothing(),
    }
}

/// Looks for the version that has the most blocks in common.
struct Search<'e> {
    /// Those that have all blocks so far.
    versions: Vec<&'e Version>,
    /// How many these are.
    length: usize,
    digests: Vec<(usize, ContentDigest)>,
}

impl<'e> Search<'e> {
    /// Returns how many blocks at the beginning of a batch go on as some version does.
    fn count_equal(&mut self, batch: &[Block<'_>], options: &CommitOptions) -> usize {
        let recipe = |block| recipe(block, options.compression, |piece| piece.content.digest);
        let recipes: Vec<_> = batch.par_iter().with_max_len(1).map(recipe).collect();
        let mut equal = 0;
        for (block, recipe) in batch.iter().zip(recipes) {
            let at = self.length;
            let goes_on = |version: &&&Version| {
                let end = version.end_before(at, options.compression);
                let line = version.index.0.get(at);
                line.is_some_and(|line| Some(line.recipe) == recipe && Some(line.offset) == end)
            };
            let versions: Vec<_> = self.versions.iter().filter(goes_on).copied().collect();
            if versions.is_empty() {
                break;
            }
            self.versions = versions;
            self.length += 1;
            self.digests.extend(known_digests(block));
            equal += 1;
        }
        equal
    }

    /// Returns what was found, if its bytes are still those that were written.
    fn found(self, compression: Compression) -> Option<Beginning<'e>> {
        let version = self.versions.first()?;
        let lines = version.index.0.get(..self.length)?;
        let ends = lines.last()?.ends?;
        let size = version.end_before(self.length, compression)?;
        let mut hasher = Hasher::new();
        let hash = |bytes: &[u8]| {
            hasher.update(bytes);
            Ok(())
        };
        // A blob that cannot be read is as good as none.
        each_piece(&version.blob, size, hash).ok()?;
        let is_sound = hasher.clone().finish() == ends.blob;
        let blob = &version.blob;
        is_sound.then_some(Beginning { blob, size, lines, ends, digests: self.digests, hasher })
    }
}

impl Beginning<'_> {
    /// Writes it to `out`.
    pub(super) fn copy_to(&self, out: &mut (dyn Write + Send)) -> Result<(), CommitError> {
        let write = |bytes: &[u8]| out.write_all(bytes).map_err(|source| CommitError::Write { source });
        each_piece(self.blob, self.size, write)
    }
}

/// Reads the first `size` bytes of a blob, piece by piece.
fn each_piece(
    blob: &File,
    size: u64,
    mut take: impl FnMut(&[u8]) -> Result<(), CommitError>,
) -> Result<(), CommitError> {
    let mut buffer = vec![0; COPY_BYTES.min(usize::try_from(size).unwrap_or(COPY_BYTES))];
    let mut at = 0;
    while at < size {
        let length = buffer.len().min(usize::try_from(size - at).unwrap_or(buffer.len()));
        let piece = &mut buffer[..length];
        blob.read_exact_at(piece, at).map_err(|source| CommitError::ReadEarlier { source })?;
        take(piece)?;
        at += length as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit::{BlockIndex, Committed, LayerTime, commit, commit_with};
    use crate::content::{Content, NoLayers};
    use crate::entry::{Entry, Metadata};
    use crate::path::ArchivePath;
    use crate::tree::Tree;

    const OPTIONS: CommitOptions =
        CommitOptions { time: LayerTime::Fixed(0), compression: Compression::Gzip(1) };

    /// Small files and a large one, of which those named `changed` say something else.
    fn layer(changed: &[usize]) -> Changes {
        let mut entries = Tree::new();
        for number in 0..3000 {
            let path = ArchivePath::parse(format!("f{number:04}").as_bytes()).unwrap();
            let text = if changed.contains(&number) { "something else" } else { "text" };
            let size = if number == 700 { 900_000 } else { number % 500 };
            let content = Content::inline(text.repeat(size).into_bytes());
            entries.insert(path, Entry::file(Metadata::with_mode(0o644), content));
        }
        Changes { entries, ..Changes::new() }
    }

    fn written(changes: &Changes) -> (Committed, Vec<u8>) {
        let mut blob = Vec::new();
        (commit(changes, &NoLayers, &OPTIONS, &mut blob).unwrap(), blob)
    }

    fn versions(versions: &[(&[u8], &BlockIndex)]) -> EarlierBlocks {
        let mut earlier = EarlierBlocks::default();
        for (blob, index) in versions {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(blob).unwrap();
            earlier.add(file, (*index).clone());
        }
        earlier
    }

    /// How many blocks the beginning has; also checks that the layer comes out as it does without any.
    fn blocks_begun(changes: &Changes, earlier: &EarlierBlocks) -> usize {
        let (fresh, expected) = written(changes);
        let mut blob = Vec::new();
        let done = commit_with(changes, &NoLayers, &OPTIONS, earlier, &mut blob).unwrap();
        assert!(blob == expected);
        assert_eq!((done.diff_id, done.digest, done.size), (fresh.diff_id, fresh.digest, fresh.size));
        assert_eq!(done.uncompressed_size, fresh.uncompressed_size);
        assert_eq!(done.listing.encode(), fresh.listing.encode());
        assert_eq!(done.blocks, fresh.blocks);
        let begun = begin(changes, &OPTIONS, earlier, 8).unwrap();
        begun.beginning.map_or(0, |beginning| beginning.lines.len())
    }

    #[test]
    fn the_beginning_ends_where_no_version_goes_on_as_the_layer_does() {
        let ((old, old_blob), (new, new_blob)) = (written(&layer(&[])), written(&layer(&[2100])));
        let equal = old.blocks.0.iter().zip(&new.blocks.0).take_while(|(left, right)| left == right).count();
        assert!(equal > 5 && equal < old.blocks.0.len());
        let one = versions(&[(&old_blob, &old.blocks)]);
        let two = versions(&[(&new_blob, &new.blocks), (&old_blob, &old.blocks)]);
        let rows = [
            ("nothing changed", layer(&[]), &one, old.blocks.0.len()),
            ("one file changed", layer(&[2100]), &one, equal),
            ("changed back", layer(&[]), &two, old.blocks.0.len()),
            ("changed once more", layer(&[2100, 2999]), &two, new.blocks.0.len() - 1),
            ("the first changed", layer(&[1]), &two, 0),
        ];
        for (what, changes, earlier, expected) in rows {
            assert_eq!(blocks_begun(&changes, earlier), expected, "{what}");
        }
    }

    #[test]
    fn there_is_no_beginning_where_a_blob_or_an_index_is_not_what_it_was() {
        let ((old, blob), (other, _)) = (written(&layer(&[])), written(&layer(&[2999])));
        let index = |change: fn(&mut Vec<BlockLine>)| {
            let mut index = old.blocks.clone();
            change(&mut index.0);
            index
        };
        let mut damaged = blob.clone();
        damaged[20_000] ^= 1;
        let rows: [(&str, &[u8], BlockIndex); 9] = [
            ("damaged", &damaged, old.blocks.clone()),
            ("another head", &[&b"X"[..], &blob[1..]].concat(), old.blocks.clone()),
            ("cut short", &blob[..blob.len() / 2], old.blocks.clone()),
            ("gone", b"", old.blocks.clone()),
            ("the blob of another version", &blob, other.blocks),
            ("a block is not in the index", &blob, index(|lines| lines.retain(|line| line.offset > 10))),
            ("the index ends within a large file", &blob, index(|lines| lines.truncate(9))),
            ("no states", &blob, index(|lines| lines.iter_mut().for_each(|line| line.ends = None))),
            ("lengths without end", &blob, index(|lines| lines[0].packed.length = u64::MAX)),
        ];
        for (what, bytes, index) in rows {
            let earlier = versions(&[(bytes, &index)]);
            let changes = layer(&[2998]);
            let found = blocks_begun(&changes, &earlier);
            let expected = if what.starts_with("the blob of another") { old.blocks.0.len() - 1 } else { 0 };
            assert!(found == 0 || found == expected, "{what}: {found}");
        }
    }

    #[test]
    fn damage_that_no_checksum_of_a_block_tells_makes_no_beginning() {
        let (mut old, mut blob) = written(&layer(&[]));
        let line = &mut old.blocks.0[0];
        let (start, end) = (line.offset as usize, (line.offset + line.packed.length) as usize);
        blob[start + 100] ^= 1;
        line.packed.crc = crc32fast::hash(&blob[start..end]);
        let (changes, earlier) = (layer(&[2998]), versions(&[(&blob, &old.blocks)]));
        assert_eq!(blocks_begun(&changes, &earlier), 0);
    }
}
