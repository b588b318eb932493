//! Digests of contents, and of what a COPY selects.
//!
//! Contents are read once, side by side, through one buffer a thread, and a large file is hashed by all threads; a
//! [`DigestCache`] spares those whose file did not change since. The digest of a selection is the content key of a COPY's source.

mod selection;

use std::io::{self, Read};

use rayon::prelude::*;

pub use selection::{
    MetadataOverrides, Naming, SELECTION_FORMAT, Selected, SelectionError, digest_of_selection,
    selected_names,
};

use crate::content::{ContentReader, FileIdentity, LayerDirectories};
use crate::content_digest::{ContentDigest, ContentHasher};
use crate::digest_cache::{DigestCache, KnownFile};
use crate::entry::Entry;
use crate::path::ArchivePath;
use crate::tree::{InodeId, Tree};

const BUFFER_BYTES: usize = 256 * 1024;
/// A file from this size on is hashed by several threads, while one of them reads on.
const LARGE_BYTES: u64 = 16 << 20;
/// It goes through two buffers of this size.
const LARGE_BUFFER_BYTES: usize = 4 << 20;

/// What hashing did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HashStats {
    /// Files that were read.
    pub files_read: u64,
    /// Bytes that were read.
    pub bytes_read: u64,
    /// Files whose digest the cache had.
    pub files_cached: u64,
}

/// Why a content has no digest.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// It cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: ArchivePath,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It changed between being found and being read, or while it was read.
    #[error("`{path}` changed while it was read; a build needs files that hold still")]
    Changed {
        /// The file.
        path: ArchivePath,
    },
}

/// Gives every selected file of `tree` its digest, reading those that neither have one nor are in `cache`. The tree has its
/// files' attributes, which the cache remembers, too.
///
/// # Errors
/// When a file cannot be read, or changes. The first in the order of the tree is reported.
pub fn hash_contents(
    tree: &mut Tree,
    selected: &(dyn Fn(&ArchivePath) -> bool + Sync),
    cache: &dyn DigestCache,
    layers: &dyn LayerDirectories,
) -> Result<HashStats, HashError> {
    let mut seen = std::collections::HashSet::new();
    let is_wanted = |path: &ArchivePath, inode: InodeId| {
        tree.entry(inode).content().is_some_and(|content| content.digest.is_none()) && selected(path)
    };
    let wanted: Vec<(ArchivePath, InodeId)> = tree
        .names()
        .filter(|(path, inode)| is_wanted(path, *inode) && seen.insert(*inode))
        .map(|(path, inode)| (path.clone(), inode))
        .collect();
    let shared: &Tree = tree;
    let results: Vec<Result<(ContentDigest, HashStats), HashError>> = wanted
        .par_iter()
        .map_init(Vec::new, |buffer, (path, inode)| {
            hash_content(path, shared.entry(*inode), cache, layers, buffer)
        })
        .collect();
    let mut total = HashStats::default();
    for ((_, inode), result) in wanted.iter().zip(results) {
        let (digest, stats) = result?;
        tree.set_digest(*inode, digest);
        total.files_read += stats.files_read;
        total.bytes_read += stats.bytes_read;
        total.files_cached += stats.files_cached;
    }
    Ok(total)
}

fn hash_content(
    path: &ArchivePath,
    entry: &Entry,
    cache: &dyn DigestCache,
    layers: &dyn LayerDirectories,
    buffer: &mut Vec<u8>,
) -> Result<(ContentDigest, HashStats), HashError> {
    let content = entry.content().expect("only files are hashed");
    if let Some(known) = content.identity.as_deref().and_then(|identity| cache.get(identity)) {
        return Ok((known.digest, HashStats { files_cached: 1, ..HashStats::default() }));
    }
    let read = |source| HashError::Read { path: path.clone(), source };
    let mut reader = content.open(layers).map_err(read)?;
    let before = reader.file().map(FileIdentity::of).transpose().map_err(read)?;
    if let (Some(found), Some(now)) = (content.identity.as_deref(), before.as_ref())
        && found != now
    {
        return Err(HashError::Changed { path: path.clone() });
    }
    let digest = digest_of(&mut reader, content.size, buffer).map_err(read)?;
    let after = reader.file().map(FileIdentity::of).transpose().map_err(read)?;
    let Some(digest) = digest.filter(|_| before == after) else {
        return Err(HashError::Changed { path: path.clone() });
    };
    if let Some(identity) = &before {
        cache.put(identity, KnownFile { digest, is_plain: entry.metadata.xattrs.is_empty() });
    }
    let stats = HashStats { files_read: 1, bytes_read: content.size, files_cached: 0 };
    Ok((digest, stats))
}

/// The digest of exactly `size` bytes, or none when there are more or fewer.
fn digest_of(
    reader: &mut ContentReader,
    size: u64,
    buffer: &mut Vec<u8>,
) -> io::Result<Option<ContentDigest>> {
    if size >= LARGE_BYTES {
        return digest_of_large(reader, size, buffer);
    }
    // One byte more than expected tells in the same read whether the file ends where it should.
    let length = usize::try_from(size).unwrap_or(usize::MAX).min(BUFFER_BYTES - 1) + 1;
    let buffer = at_least(buffer, length.next_power_of_two());
    let mut hasher = ContentHasher::new();
    let mut total: u64 = 0;
    loop {
        match reader.read(buffer) {
            Ok(0) => break,
            Ok(count) => {
                hasher.update(&buffer[..count]);
                total += count as u64;
                if total > size {
                    return Ok(None);
                }
                // A regular file that leaves room in the buffer has ended; the caller looks at its size once more.
                if total == size && count < buffer.len() {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok((total == size).then(|| hasher.finish()))
}

/// As [`digest_of`], in two halves of the buffer: one is hashed while the other is read.
fn digest_of_large(
    reader: &ContentReader,
    size: u64,
    buffer: &mut Vec<u8>,
) -> io::Result<Option<ContentDigest>> {
    let buffer = at_least(buffer, 2 * LARGE_BUFFER_BYTES);
    let (mut current, mut next) = buffer.split_at_mut(LARGE_BUFFER_BYTES);
    let mut hasher = ContentHasher::new();
    let mut total: u64 = 0;
    let mut count = reader.read_at(current, 0)?;
    while count > 0 && total <= size {
        total += count as u64;
        let ((), read) =
            rayon::join(|| hasher.update_parallel(&current[..count]), || reader.read_at(next, total));
        count = read?;
        (current, next) = (next, current);
    }
    Ok((total == size).then(|| hasher.finish()))
}

/// The beginning of a buffer that is reused: `length` bytes, whatever they are.
fn at_least(buffer: &mut Vec<u8>, length: usize) -> &mut [u8] {
    if buffer.len() < length {
        buffer.resize(length, 0);
    }
    &mut buffer[..length]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_file_has_the_digest_of_its_bytes_and_none_when_it_is_shorter_or_longer() {
        let beginning = LARGE_BYTES as usize + 1;
        for length in [beginning, beginning + LARGE_BUFFER_BYTES - 1, beginning + LARGE_BUFFER_BYTES] {
            let bytes = b"some text ".repeat(length / 10 + 1)[..length].to_vec();
            let expected = ContentDigest::of(&bytes);
            let mut reader = ContentReader::Inline(io::Cursor::new(bytes.into()));
            let mut buffer = vec![7; 10];
            let mut digest = |size: usize| digest_of(&mut reader, size as u64, &mut buffer).unwrap();
            assert_eq!(digest(length), Some(expected), "{length}");
            assert_eq!(digest(length - 1), None, "longer than {} bytes", length - 1);
            assert_eq!(digest(length + 1), None, "shorter than {} bytes", length + 1);
        }
    }
}
