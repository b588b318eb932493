//! How much the store takes: the very bytes that `du --apparent-size` counts, by what they are for.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
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
    /// Number of directories that this user may not look into; what is in them is not counted.
    pub unreadable: usize,
}

/// Adds up what the store takes.
///
/// # Errors
/// When something cannot be read for another reason than its permissions. What vanishes meanwhile is not counted.
pub fn usage(store: &Store) -> Result<Usage> {
    usage_of(store.path())
}

/// Adds up what is below a directory, itself included; nothing when it is absent.
pub(crate) fn usage_of(root: &Path) -> Result<Usage> {
    let mut usage = Usage::default();
    let mut seen = BTreeSet::new();
    for entry in walkdir::WalkDir::new(root).follow_root_links(false) {
        let found = entry.and_then(|entry| Ok((entry.metadata()?, entry)));
        let (metadata, entry) = match found {
            Ok(found) => found,
            Err(error) => {
                usage.unreadable += usize::from(is_denied(root, error)?);
                continue;
            }
        };
        if !metadata.is_dir() && metadata.nlink() > 1 && !seen.insert((metadata.dev(), metadata.ino())) {
            continue;
        }
        let below = entry.path().strip_prefix(root).unwrap_or(entry.path());
        let name = below.iter().next().unwrap_or_default().to_string_lossy();
        usage.total_bytes += metadata.len();
        match usage.by_name.get_mut(&*name) {
            Some(bytes) => *bytes += metadata.len(),
            None => drop(usage.by_name.insert(name.into_owned(), metadata.len())),
        }
    }
    Ok(usage)
}

/// Says whether access was denied; what is gone is neither that nor an error.
fn is_denied(root: &Path, error: walkdir::Error) -> Result<bool> {
    match error.io_error().map(std::io::Error::kind) {
        Some(ErrorKind::NotFound) => Ok(false),
        Some(ErrorKind::PermissionDenied) => Ok(true),
        _ => {
            let path = error.path().unwrap_or(root).to_owned();
            Err(StoreError::Io { verb: "read", path, source: error.into() })
        }
    }
}
