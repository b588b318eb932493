//! Snapshots: unpacked layers, in `snapshots/<hex of the diff id>/`.
//!
//! A snapshot is a cache: it may go at any time nobody holds it, and comes back by unpacking. It appears by one rename of a
//! scratch directory. When it was last used is the directory's access time; its other times belong to the layer.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use kiln_oci::{DiffId, Digest};

use crate::error::{IoContext, Result, optional};
use crate::leases::{Pin, Session};
use crate::scratch::Scratch;

/// Folder of snapshots below the store.
pub(crate) const SNAPSHOTS: &str = "snapshots";

/// The unpacked layers of a store.
#[derive(Debug, Clone)]
pub struct Snapshots {
    session: Arc<Session>,
}

/// A snapshot in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotEntry {
    /// The layer.
    pub diff_id: DiffId,
    /// When it was last used.
    pub last_used: SystemTime,
}

impl Snapshots {
    pub(crate) fn new(session: &Arc<Session>) -> Self {
        Self { session: Arc::clone(session) }
    }

    /// Returns the directory of an unpacked layer, and keeps it there until this store handle and its clones are dropped.
    ///
    /// # Errors
    /// What the disk says.
    pub fn get(&self, diff_id: &DiffId) -> Result<Option<PathBuf>> {
        let path = self.path(diff_id);
        let is_there = self.session.pin_and(&[Pin::Snapshot(*diff_id)], || {
            Ok(optional(std::fs::symlink_metadata(&path)).on("inspect", &path)?.is_some())
        })?;
        if !is_there {
            return Ok(None);
        }
        // A layer may give its root to another owner; then its age counts from when it was made.
        drop(self.session.disk().touch(&path));
        Ok(Some(path))
    }

    /// Publishes an unpacked layer and returns its directory. Where another process was faster, ours is removed.
    ///
    /// # Errors
    /// What the disk says.
    pub fn publish(&self, directory: Scratch, diff_id: &DiffId) -> Result<PathBuf> {
        if let Some(path) = self.get(diff_id)? {
            directory.close()?;
            return Ok(path);
        }
        let path = self.path(diff_id);
        match directory.publish(&path) {
            Ok(()) => Ok(path),
            // The scratch directory removes itself.
            Err(error) => self.get(diff_id)?.ok_or(error),
        }
    }

    /// Returns all snapshots, sorted by diff id.
    ///
    /// # Errors
    /// What the disk says.
    pub fn list(&self) -> Result<Vec<SnapshotEntry>> {
        let folder = self.session.path(SNAPSHOTS);
        let mut entries = Vec::new();
        for name in self.session.disk().list(&folder).on("list", &folder)? {
            let Some(digest) = name.to_str().and_then(|name| Digest::from_hex(name).ok()) else {
                continue; // Not a snapshot; fsck reports it.
            };
            let path = folder.join(name);
            if let Some(metadata) = optional(std::fs::symlink_metadata(&path)).on("inspect", &path)? {
                let last_used = metadata.accessed().on("inspect", &path)?;
                entries.push(SnapshotEntry { diff_id: DiffId(digest), last_used });
            }
        }
        Ok(entries)
    }

    pub(crate) fn path(&self, diff_id: &DiffId) -> PathBuf {
        self.session.path(SNAPSHOTS).join(diff_id.0.hex())
    }
}
