//! Snapshots: unpacked layers, in `snapshots/<hex of the diff id>/`.
//!
//! A snapshot is a cache: it may go at any time nobody holds it, and comes back by unpacking. It appears by one rename of a
//! scratch directory. When it was last used is the directory's access time; its other times belong to the layer.
//!
//! Syncing thousands of files would cost more than unpacking them, so a snapshot is published unsynced, with a durable note
//! `<hex>.unsynced` beside it that holds the kernel's boot id. After a power cut the boot id is another one, and a snapshot
//! that still has its note is not trusted. [`Snapshots::settle`] syncs the file system and removes the notes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use kiln_oci::{DiffId, Digest};

use crate::disk::LockMode;
use crate::error::{IoContext, Result, optional};
use crate::leases::{Pin, Session};
use crate::lock::{lock, named_lock_path};
use crate::scratch::{Scratch, replace_file};

/// Folder of snapshots below the store.
pub(crate) const SNAPSHOTS: &str = "snapshots";
/// End of the name of a note that a snapshot is not on the disk yet.
pub(crate) const UNSYNCED: &str = ".unsynced";

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
        if !is_there || !self.is_trusted(diff_id)? {
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
        let lock_path = named_lock_path(self.session.root(), &format!("snapshot {diff_id}"));
        let _alone = lock(self.session.disk(), &lock_path, LockMode::Exclusive)?;
        if let Some(path) = self.get(diff_id)? {
            directory.close()?;
            return Ok(path);
        }
        let path = self.path(diff_id);
        // Snapshots are only a cache, so somebody may have removed the whole folder.
        let folder = self.session.path(SNAPSHOTS);
        self.session.disk().make_directory(&folder).on("create directory", &folder)?;
        self.move_away(&path)?;
        self.note_unsynced(diff_id)?;
        directory.publish(&path)?;
        Ok(path)
    }

    /// Brings all snapshots to the disk, so that they outlive a power cut; returns how many were not there yet.
    ///
    /// # Errors
    /// What the disk says.
    pub fn settle(&self) -> Result<usize> {
        let disk = self.session.disk();
        let folder = self.session.path(SNAPSHOTS);
        let names = disk.list(&folder).on("list", &folder)?;
        let boot_id = disk.boot_id().on("read the boot id for", &folder)?;
        let mut settled = Vec::new();
        for name in names.into_iter().filter(|name| name.as_encoded_bytes().ends_with(UNSYNCED.as_bytes())) {
            let note = folder.join(name);
            // The note of an earlier boot stays: what it is about was not synced in time.
            if optional(std::fs::read_to_string(&note)).on("read", &note)?.as_ref() == Some(&boot_id) {
                settled.push(note);
            }
        }
        if !settled.is_empty() {
            disk.sync_file_system(&folder).on("sync", &folder)?;
        }
        for note in &settled {
            optional(disk.unlink(note)).on("remove", note)?;
        }
        Ok(settled.len())
    }

    fn is_trusted(&self, diff_id: &DiffId) -> Result<bool> {
        let note = self.note(diff_id);
        let Some(noted) = optional(std::fs::read_to_string(&note)).on("read", &note)? else {
            return Ok(true);
        };
        Ok(self.session.disk().boot_id().is_ok_and(|boot_id| boot_id == noted))
    }

    fn note_unsynced(&self, diff_id: &DiffId) -> Result<()> {
        let disk = self.session.disk();
        match disk.boot_id() {
            Ok(boot_id) => replace_file(&self.session, &self.note(diff_id), boot_id.as_bytes()),
            Err(_) => {
                // Where /proc is hidden, only syncing everything is safe.
                let folder = self.session.path(SNAPSHOTS);
                disk.sync_file_system(&folder).on("sync", &folder)?;
                let note = self.note(diff_id);
                optional(disk.unlink(&note)).on("remove", &note).map(|_| ())
            }
        }
    }

    /// Moves away what is not trusted.
    fn move_away(&self, path: &Path) -> Result<()> {
        if optional(std::fs::symlink_metadata(path)).on("inspect", path)?.is_none() {
            return Ok(());
        }
        let grave = Scratch::new(&self.session, "snapshot")?;
        self.session.disk().rename(path, &grave.path().join("snapshot")).on("move away", path)?;
        grave.close()
    }

    pub(crate) fn note(&self, diff_id: &DiffId) -> PathBuf {
        self.session.path(SNAPSHOTS).join(format!("{}{UNSYNCED}", diff_id.0.hex()))
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
