//! Snapshots: unpacked layers, in `snapshots/<hex of an id>/`. How the id is made of the diff id and the way of unpacking is the caller's.
//!
//! A snapshot is a cache: it may go at any time nobody holds it, and comes back by unpacking. It appears by one rename of a
//! scratch directory. When it was last used is the directory's access time; its other times belong to the layer.
//!
//! Syncing thousands of files would cost more than unpacking them, so a snapshot is published unsynced. A note `<hex>.boot`
//! beside it says in which run of the machine it was made:
//!
//! | The note has | The snapshot is |
//! |---|---|
//! | the kernel's boot id | trusted until the machine starts again: then the boot id is another one |
//! | the word `settled` | trusted for good: [`Snapshots::settle`] has synced the file system since |
//! | anything else, or there is none | not trusted, and moved away when the layer is unpacked again |
//!
//! So a note that a power cut takes or tears costs a snapshot and nothing else. One that says `settled` comes after the sync that makes
//! it true; where it comes before its snapshot, or goes for a new one, it is synced itself.

use std::fs::{File, FileTimes};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kiln_oci::{DiffId, Digest};

use crate::disk::LockMode;
use crate::error::{IoContext, Result, optional};
use crate::leases::{Pin, Session};
use crate::lock::{LockGuard, lock, named_lock_path};
use crate::records::is_to_be_noted;
use crate::scratch::{Scratch, TempFile, replace_file};

/// Folder of snapshots below the store.
pub(crate) const SNAPSHOTS: &str = "snapshots";
/// End of the name of the note that says when a snapshot was made.
pub(crate) const NOTE: &str = ".boot";
/// What the note of a snapshot says that is on the disk.
const SETTLED: &str = "settled";
/// A boot id has 36.
const NOTE_BYTES_MAX: u64 = 256;

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
    /// When it was last used, to within a minute.
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
        let found = self.session.pin_and(&[Pin::Snapshot(*diff_id)], || {
            optional(std::fs::symlink_metadata(&path)).on("inspect", &path)
        })?;
        let Some(metadata) = found else { return Ok(None) };
        if !self.is_trusted(diff_id)? {
            return Ok(None);
        }
        let last_used = metadata.accessed().on("inspect", &path)?;
        if is_to_be_noted(last_used, self.session.disk().now()) {
            self.mark_used(&path);
        }
        Ok(Some(path))
    }

    fn mark_used(&self, path: &Path) {
        // A layer may give its root to another owner; then its age is that of the layer.
        drop(self.session.disk().touch(path));
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
        let _alone = self.lock(diff_id)?;
        if let Some(path) = self.get(diff_id)? {
            directory.close()?;
            return Ok(path);
        }
        let path = self.path(diff_id);
        // Snapshots are only a cache, so somebody may have removed the whole folder.
        let folder = self.session.path(SNAPSHOTS);
        self.session.disk().make_directory(&folder).on("create directory", &folder)?;
        self.move_away(&path)?;
        self.note_made(diff_id)?;
        directory.publish(&path)?;
        self.mark_used(&path);
        Ok(path)
    }

    /// Brings snapshots to the disk that were published so long ago or earlier, all at once, and returns an iterator that notes
    /// one of them as settled with each step. One whose note says so outlives a power cut.
    ///
    /// # Errors
    /// What the disk says.
    pub fn settle(&self, age_min: Duration) -> Result<impl Iterator<Item = Result<DiffId>>> {
        let unsettled = self.unsettled(age_min)?;
        if !unsettled.is_empty() {
            let folder = self.session.path(SNAPSHOTS);
            self.session.disk().sync_file_system(&folder).on("sync", &folder)?;
        }
        let own = self.clone();
        Ok(unsettled.into_iter().filter_map(move |found| own.note_settled(&found).transpose()))
    }

    /// Returns the snapshots of this run of the machine that nobody has settled.
    fn unsettled(&self, age_min: Duration) -> Result<Vec<Unsettled>> {
        let disk = self.session.disk();
        let folder = self.session.path(SNAPSHOTS);
        let boot_id = disk.boot_id().on("read the boot id for", &folder)?;
        let mut unsettled = Vec::new();
        for name in disk.list(&folder).on("list", &folder)? {
            let hex = name.to_str().and_then(|name| name.strip_suffix(NOTE));
            let Some(digest) = hex.and_then(|hex| Digest::from_hex(hex).ok()) else { continue };
            let found = DiffId(digest);
            // Most are settled, and to look at them costs less than to read them.
            let Some(state) = self.state(&found)?.filter(|state| state.size_bytes != SETTLED.len() as u64)
            else {
                continue;
            };
            let is_old = disk.now().duration_since(state.written).unwrap_or_default() >= age_min;
            // The note of an earlier boot stays: what it is about was not synced in time.
            if is_old && read_note(&self.note(&found))?.is_some_and(|noted| noted == boot_id.as_bytes()) {
                unsettled.push(Unsettled { diff_id: found, state });
            }
        }
        Ok(unsettled)
    }

    /// Notes that a snapshot is on the disk, unless another one has taken its place meanwhile. A power cut may take the new note
    /// or tear it: then the snapshot is not trusted, which is no worse than before.
    fn note_settled(&self, found: &Unsettled) -> Result<Option<DiffId>> {
        let _alone = self.lock(&found.diff_id)?;
        if self.state(&found.diff_id)?.as_ref() != Some(&found.state) {
            return Ok(None);
        }
        let file = TempFile::new(&self.session)?;
        file.write_all(SETTLED.as_bytes())?;
        file.publish(&self.note(&found.diff_id))?;
        Ok(Some(found.diff_id))
    }

    fn state(&self, diff_id: &DiffId) -> Result<Option<NoteState>> {
        let note = self.note(diff_id);
        let Some(metadata) = optional(std::fs::symlink_metadata(&note)).on("inspect", &note)? else {
            return Ok(None);
        };
        Ok(Some(NoteState {
            size_bytes: metadata.len(),
            written: metadata.modified().on("inspect", &note)?,
            inode: metadata.ino(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }))
    }

    fn lock(&self, diff_id: &DiffId) -> Result<LockGuard> {
        let path = named_lock_path(self.session.root(), &format!("snapshot {diff_id}"));
        lock(self.session.disk(), &path, LockMode::Exclusive)
    }

    fn is_trusted(&self, diff_id: &DiffId) -> Result<bool> {
        let Some(noted) = read_note(&self.note(diff_id))? else { return Ok(false) };
        let is_of_this_boot = || self.session.disk().boot_id().is_ok_and(|id| id.as_bytes() == noted);
        Ok(noted == SETTLED.as_bytes() || is_of_this_boot())
    }

    /// Notes that the snapshot which is about to appear is of this run of the machine.
    fn note_made(&self, diff_id: &DiffId) -> Result<()> {
        let (disk, note) = (self.session.disk(), self.note(diff_id));
        let Ok(boot_id) = disk.boot_id() else {
            // Where /proc is hidden, only syncing everything is safe.
            let folder = self.session.path(SNAPSHOTS);
            disk.sync_file_system(&folder).on("sync", &folder)?;
            return replace_file(&self.session, &note, SETTLED.as_bytes());
        };
        // A power cut must not bring back what was settled once, and went.
        if read_note(&note)?.is_some_and(|noted| noted == SETTLED.as_bytes()) {
            return replace_file(&self.session, &note, boot_id.as_bytes());
        }
        let file = TempFile::new(&self.session)?;
        file.write_all(boot_id.as_bytes())?;
        file.publish(&note)
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
        self.session.path(SNAPSHOTS).join(format!("{}{NOTE}", diff_id.0.hex()))
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

    /// Lets a snapshot be as old as it was in a listing, for whoever has read it and not used it.
    pub fn restore_last_used(&self, entry: &SnapshotEntry) {
        let times = FileTimes::new().set_accessed(entry.last_used);
        // Only its age depends on it.
        drop(File::open(self.path(&entry.diff_id)).and_then(|directory| directory.set_times(times)));
    }

    pub(crate) fn path(&self, diff_id: &DiffId) -> PathBuf {
        self.session.path(SNAPSHOTS).join(diff_id.0.hex())
    }
}

/// A snapshot that is not settled, with its note as it was before the file system was synced.
#[derive(Debug)]
struct Unsettled {
    diff_id: DiffId,
    state: NoteState,
}

/// What tells one note from another in its place: each is a new file that gets its name by a rename.
#[derive(Debug, PartialEq, Eq)]
struct NoteState {
    size_bytes: u64,
    written: SystemTime,
    inode: u64,
    changed: (i64, i64),
}

/// Reads a note, or as much of a longer one as tells that it is none of ours.
fn read_note(path: &Path) -> Result<Option<Vec<u8>>> {
    let Some(file) = optional(File::open(path)).on("open", path)? else { return Ok(None) };
    let mut noted = Vec::new();
    file.take(NOTE_BYTES_MAX).read_to_end(&mut noted).on("read", path)?;
    Ok(Some(noted))
}
