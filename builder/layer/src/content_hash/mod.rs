//! Digests of contents, and of what a COPY selects.
//!
//! Contents are read once, side by side, through one buffer a thread; a [`DigestCache`] spares those whose file did not change
//! since. The digest of a selection is the content key of a COPY's source.

mod selection;

use std::io::{self, Read};

use rayon::prelude::*;

pub use selection::{
    MetadataOverrides, Naming, SELECTION_FORMAT, Selected, SelectionError, digest_of_selection,
};

use crate::content::{FileIdentity, LayerDirectories};
use crate::content_digest::{ContentDigest, ContentHasher};
use crate::digest_cache::{DigestCache, KnownFile};
use crate::entry::Entry;
use crate::path::ArchivePath;
use crate::tree::{InodeId, Tree};

const BUFFER_BYTES: usize = 256 * 1024;
/// A file from this size on is hashed by several threads, through a larger buffer.
const LARGE_BYTES: u64 = 16 << 20;
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
fn digest_of(reader: &mut impl Read, size: u64, buffer: &mut Vec<u8>) -> io::Result<Option<ContentDigest>> {
    // One byte more than expected tells in the same read whether the file ends where it should.
    let is_large = size >= LARGE_BYTES;
    let longest = if is_large { LARGE_BUFFER_BYTES } else { BUFFER_BYTES };
    let length = usize::try_from(size).unwrap_or(usize::MAX).min(longest - 1) + 1;
    if buffer.len() < length {
        buffer.resize(length.next_power_of_two().min(longest), 0);
    }
    let mut hasher = ContentHasher::new();
    let mut total: u64 = 0;
    loop {
        match reader.read(buffer) {
            Ok(0) => break,
            Ok(count) => {
                match is_large {
                    true => hasher.update_parallel(&buffer[..count]),
                    false => hasher.update(&buffer[..count]),
                }
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
