//! Logs: the full output of each step, in `logs/<build>/<step>.log`. Never clipped; the oldest builds go first.
//!
//! Beside them lies `logs/<build>/journal.jsonl`, what the build did, in lines that only the builder understands. While
//! something is written there the folder is locked, so that nobody removes it; the kernel frees the lock however the process ends.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::blobs::into_io;
use crate::disk::{LockMode, plain_name, write_all};
use crate::error::{IoContext, Result, optional};
use crate::leases::Session;
use crate::lock::{LockGuard, is_held, leads_to};
use crate::remove::remove_tree;

/// Folder of logs below the store.
pub(crate) const LOGS: &str = "logs";
const SUFFIX: &str = ".log";
const JOURNAL: &str = "journal.jsonl";
/// What `st_blocks` counts in.
const BLOCK_BYTES: u64 = 512;

/// The logs of a store.
#[derive(Debug, Clone)]
pub struct Logs {
    session: Arc<Session>,
}

/// The logs of one build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildLogs {
    /// The build's id.
    pub build_id: String,
    /// When its last step began to write.
    pub modified: SystemTime,
    /// The ids of its steps, sorted.
    pub step_ids: Vec<String>,
}

/// Appends to one log. Writes are not buffered, so that a killed build loses nothing.
#[derive(Debug)]
pub struct LogWriter {
    session: Arc<Session>,
    file: File,
    path: PathBuf,
    _held: LockGuard,
}

/// Appends to the journal of a build. As long as this value lives, the build counts as living.
#[derive(Debug)]
pub struct JournalWriter {
    session: Arc<Session>,
    file: File,
    path: PathBuf,
    _held: LockGuard,
}

impl Logs {
    pub(crate) fn new(session: &Arc<Session>) -> Self {
        Self { session: Arc::clone(session) }
    }

    /// Opens the log of a step for appending.
    ///
    /// # Errors
    /// [`crate::StoreError::InvalidName`], or what the disk says.
    pub fn writer(&self, build_id: &str, step_id: &str) -> Result<LogWriter> {
        let path = self.path(build_id, step_id)?;
        let held = self.hold(&self.session.path(LOGS).join(build_id))?;
        let file = self.session.disk().open_append(&path).on("open", &path)?;
        Ok(LogWriter { session: Arc::clone(&self.session), file, path, _held: held })
    }

    /// Makes the folder of a build, and says to gc that it is in use as long as the guard lives.
    fn hold(&self, folder: &Path) -> Result<LockGuard> {
        let disk = self.session.disk();
        loop {
            self.session.make_directories(folder)?;
            let Some(directory) = optional(disk.open(folder)).on("open", folder)? else { continue };
            disk.lock(&directory, folder, LockMode::Shared, true).on("lock", folder)?;
            // Gc may have taken it between the two.
            if leads_to(folder, &directory)? {
                return Ok(LockGuard::of(directory, folder.to_owned()));
            }
        }
    }

    /// Opens the log of a step for reading, if there is one.
    ///
    /// # Errors
    /// As for [`Logs::writer`].
    pub fn open(&self, build_id: &str, step_id: &str) -> Result<Option<File>> {
        let path = self.path(build_id, step_id)?;
        optional(self.session.disk().open(&path)).on("open", &path)
    }

    /// Begins the journal of a build.
    ///
    /// # Errors
    /// As for [`Logs::writer`].
    pub fn begin_journal(&self, build_id: &str) -> Result<JournalWriter> {
        let path = self.journal_path(build_id)?;
        let held = self.hold(&self.session.path(LOGS).join(build_id))?;
        let file = self.session.disk().open_append(&path).on("open", &path)?;
        Ok(JournalWriter { session: Arc::clone(&self.session), file, path, _held: held })
    }

    /// Opens the journal of a build for reading, if there is one.
    ///
    /// # Errors
    /// As for [`Logs::writer`].
    pub fn journal(&self, build_id: &str) -> Result<Option<File>> {
        let path = self.journal_path(build_id)?;
        optional(self.session.disk().open(&path)).on("open", &path)
    }

    /// Whether some process still writes logs of a build, or its journal.
    ///
    /// # Errors
    /// As for [`Logs::writer`].
    pub fn is_living(&self, build_id: &str) -> Result<bool> {
        plain_name("build id", build_id)?;
        is_held(self.session.disk(), &self.session.path(LOGS).join(build_id))
    }

    /// Returns the ids of the builds that have logs, newest first: an id begins with the time.
    ///
    /// # Errors
    /// What the disk says.
    pub fn build_ids(&self) -> Result<Vec<String>> {
        let folder = self.session.path(LOGS);
        let names = optional(self.session.disk().list(&folder)).on("list", &folder)?.unwrap_or_default();
        // What has no plain name was not put there by a store.
        let ids = names.into_iter().filter_map(|name| name.into_string().ok());
        Ok(ids.filter(|id| plain_name("build id", id).is_ok()).rev().collect())
    }

    /// Returns the builds that have logs, newest first.
    ///
    /// # Errors
    /// What the disk says.
    pub fn builds(&self) -> Result<Vec<BuildLogs>> {
        let mut builds = Vec::new();
        for build_id in self.build_ids()? {
            let path = self.session.path(LOGS).join(&build_id);
            let Some(metadata) = optional(std::fs::symlink_metadata(&path)).on("inspect", &path)? else {
                continue; // Pruned since.
            };
            let modified = metadata.modified().on("inspect", &path)?;
            let steps = optional(self.session.disk().list(&path)).on("list", &path)?.unwrap_or_default();
            let step_id = |name: std::ffi::OsString| Some(name.to_str()?.strip_suffix(SUFFIX)?.to_owned());
            let step_ids = steps.into_iter().filter_map(step_id).collect();
            builds.push(BuildLogs { build_id, modified, step_ids });
        }
        Ok(builds)
    }

    /// Removes all but the newest `keep` builds' logs and returns how many went. Those of living builds stay.
    ///
    /// # Errors
    /// What could not be removed.
    pub fn prune(&self, keep: usize) -> Result<usize> {
        self.bound(keep, u64::MAX)
    }

    /// Removes the oldest builds' logs until there are at most `builds_max` with at most `bytes_max` bytes on the disk, and
    /// returns how many went. The newest stays, and so do those of living builds.
    ///
    /// # Errors
    /// What could not be removed.
    pub fn bound(&self, builds_max: usize, bytes_max: u64) -> Result<usize> {
        let (mut bytes, mut removed) = (0_u64, 0);
        for (index, build_id) in self.build_ids()?.iter().enumerate() {
            let path = self.session.path(LOGS).join(build_id);
            if bytes_max < u64::MAX && index < builds_max {
                bytes = bytes.saturating_add(self.bytes_of(&path)?);
            }
            let is_kept = index == 0 || (index < builds_max && bytes <= bytes_max);
            if is_kept || !self.remove(build_id)? {
                continue;
            }
            removed += 1;
        }
        Ok(removed)
    }

    /// Returns the bytes that the files in a folder take on the disk.
    fn bytes_of(&self, folder: &Path) -> Result<u64> {
        let mut bytes = 0_u64;
        for name in optional(self.session.disk().list(folder)).on("list", folder)?.unwrap_or_default() {
            let path = folder.join(name);
            if let Some(metadata) = optional(std::fs::symlink_metadata(&path)).on("inspect", &path)? {
                bytes = bytes.saturating_add(metadata.blocks() * BLOCK_BYTES);
            }
        }
        Ok(bytes)
    }

    fn journal_path(&self, build_id: &str) -> Result<PathBuf> {
        plain_name("build id", build_id)?;
        Ok(self.session.path(LOGS).join(build_id).join(JOURNAL))
    }

    /// Removes the logs of a build, and returns whether they went: not while some are being written.
    pub(crate) fn remove(&self, build_id: &str) -> Result<bool> {
        let (disk, folder) = (self.session.disk(), self.session.path(LOGS).join(build_id));
        let Some(directory) = optional(disk.open(&folder)).on("open", &folder)? else { return Ok(true) };
        if !disk.lock(&directory, &folder, LockMode::Exclusive, false).on("lock", &folder)? {
            return Ok(false);
        }
        remove_tree(&folder).map(|()| true)
    }

    fn path(&self, build_id: &str, step_id: &str) -> Result<PathBuf> {
        plain_name("build id", build_id)?;
        plain_name("step id", step_id)?;
        Ok(self.session.path(LOGS).join(build_id).join(format!("{step_id}{SUFFIX}")))
    }
}

impl JournalWriter {
    /// Appends some lines, in one write where the disk has room.
    ///
    /// # Errors
    /// What the disk says.
    pub fn append(&self, lines: &[u8]) -> Result<()> {
        write_all(self.session.disk(), &self.file, &self.path, lines)
    }
}

impl LogWriter {
    /// Returns the log's path, to show to the user.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }
}

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write_all(self.session.disk(), &self.file, &self.path, bytes).map_err(into_io)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    fn logs_in(space: &std::path::Path) -> Logs {
        crate::Store::open(space).unwrap();
        Logs::new(&Arc::new(Session::new(space.to_owned(), Arc::new(RealDisk))))
    }

    fn age(space: &std::path::Path, build: &str) {
        let folder = File::open(space.join(LOGS).join(build)).unwrap();
        folder.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    }

    #[test]
    fn the_oldest_builds_are_pruned() {
        let space = tempfile::tempdir().unwrap();
        let logs = logs_in(space.path());
        for build in ["1-old", "2-new"] {
            logs.writer(build, "1").unwrap().write_all(b"hello\n").unwrap();
            logs.writer(build, "1").unwrap().write_all(b"again\n").unwrap();
            age(space.path(), build);
        }
        assert_eq!(logs.prune(1).unwrap(), 1);
        let left = logs.builds().unwrap();
        assert_eq!(
            (left.len(), left[0].build_id.as_str(), &*left[0].step_ids),
            (1, "2-new", &["1".to_owned()][..])
        );
        let text = io::read_to_string(logs.open("2-new", "1").unwrap().unwrap()).unwrap();
        assert_eq!(text, "hello\nagain\n");
        assert!(logs.open("1-old", "1").unwrap().is_none());
    }

    #[test]
    fn logs_of_a_living_build_stay_whatever_the_bound() {
        let space = tempfile::tempdir().unwrap();
        let logs = logs_in(space.path());
        let living = logs.begin_journal("1").unwrap();
        living.append(b"{}\n").unwrap();
        for build in ["2", "3"] {
            logs.begin_journal(build).unwrap().append(b"{}\n").unwrap();
        }
        let step = logs.writer("0", "1").unwrap();
        assert_eq!(["1", "2"].map(|id| logs.is_living(id).unwrap()), [true, false]);
        assert_eq!(logs.prune(1).unwrap(), 1);
        assert_eq!(logs.build_ids().unwrap(), ["3", "1", "0"]);
        drop((living, step));
        assert_eq!(logs.bound(0, 0).unwrap(), 2, "the newest stays");
        assert_eq!(logs.build_ids().unwrap(), ["3"]);
    }

    #[test]
    fn as_many_builds_are_kept_as_there_is_room_for() {
        let space = tempfile::tempdir().unwrap();
        let logs = logs_in(space.path());
        for build in ["1", "2", "3"] {
            logs.begin_journal(build).unwrap().append(&[b' '; 10_000]).unwrap();
        }
        let each = logs.bytes_of(&space.path().join(LOGS).join("1")).unwrap();
        assert_eq!(logs.bound(100, 2 * each).unwrap(), 1);
        assert_eq!(logs.build_ids().unwrap(), ["3", "2"]);
        assert_eq!(logs.bound(100, 1).unwrap(), 1);
        assert_eq!(logs.build_ids().unwrap(), ["3"]);
    }
}
