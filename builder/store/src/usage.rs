//! How much the store takes: the very bytes that `du --apparent-size` counts, by what they are for.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::{Result, StoreError};
use crate::store::Store;

/// The bytes of a store. The parts add up to the total.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Everything, directories included, hard links once.
    pub total_bytes: u64,
    /// The same, by top-level name (`blobs`, `records`, …); the store's own directory entry is under an empty name.
    pub by_name: BTreeMap<String, u64>,
}

/// Adds up what the store takes.
///
/// # Errors
/// When a directory cannot be read. What vanishes meanwhile is not counted.
pub fn usage(store: &Store) -> Result<Usage> {
    let mut usage = Usage::default();
    for (path, bytes) in sizes(store.path())? {
        let name = path.iter().next().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        *usage.by_name.entry(name).or_default() += bytes;
        usage.total_bytes += bytes;
    }
    Ok(usage)
}

/// Adds up what is below one directory, itself included; nothing when it is absent.
pub(crate) fn size_of_tree(root: &Path) -> Result<u64> {
    Ok(sizes(root)?.iter().map(|(_, bytes)| bytes).sum())
}

/// Sums file sizes by the first component below `root`, so that memory does not grow with the number of files.
fn sizes(root: &Path) -> Result<Vec<(std::path::PathBuf, u64)>> {
    let mut sums: BTreeMap<std::path::PathBuf, u64> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for entry in walkdir::WalkDir::new(root).follow_root_links(false) {
        let metadata = entry.and_then(|entry| Ok((entry.metadata()?, entry)));
        let (metadata, entry) = match metadata {
            Ok(found) => found,
            Err(error) if is_gone(&error) => continue,
            Err(error) => return Err(unreadable(root, error)),
        };
        if !metadata.is_dir() && metadata.nlink() > 1 && !seen.insert((metadata.dev(), metadata.ino())) {
            continue;
        }
        let below = entry.path().strip_prefix(root).unwrap_or(entry.path());
        let first = below.iter().next().unwrap_or_default();
        *sums.entry(first.into()).or_default() += metadata.len();
    }
    Ok(sums.into_iter().collect())
}

fn is_gone(error: &walkdir::Error) -> bool {
    error.io_error().is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

fn unreadable(root: &Path, error: walkdir::Error) -> StoreError {
    let path = error.path().unwrap_or(root).to_owned();
    StoreError::Io { verb: "read", path, source: error.into() }
}
