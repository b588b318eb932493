//! Logs: the full output of each step, in `logs/<build>/<step>.log`. Never clipped; the oldest builds go first.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::blobs::into_io;
use crate::disk::{LockMode, make_directories, plain_name, write_all};
use crate::error::{IoContext, Result, optional};
use crate::leases::Session;
use crate::lock::{LockGuard, is_held, leads_to};
use crate::remove::remove_tree;

/// Folder of logs below the store.
pub(crate) const LOGS: &str = "logs";
const SUFFIX: &str = ".log";

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
            make_directories(disk, folder)?;
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

    /// Returns the builds that have logs, newest first.
    ///
    /// # Errors
    /// What the disk says.
    pub fn builds(&self) -> Result<Vec<BuildLogs>> {
        let folder = self.session.path(LOGS);
        let mut builds = Vec::new();
        for name in self.session.disk().list(&folder).on("list", &folder)? {
            let path = folder.join(&name);
            let Some(metadata) = optional(std::fs::symlink_metadata(&path)).on("inspect", &path)? else {
                continue; // Pruned since.
            };
            let modified = metadata.modified().on("inspect", &path)?;
            let steps = optional(self.session.disk().list(&path)).on("list", &path)?.unwrap_or_default();
            let step_id = |name: std::ffi::OsString| Some(name.to_str()?.strip_suffix(SUFFIX)?.to_owned());
            let step_ids = steps.into_iter().filter_map(step_id).collect();
            builds.push(BuildLogs { build_id: name.to_string_lossy().into_owned(), modified, step_ids });
        }
        builds.sort_by(|a, b| (b.modified, &b.build_id).cmp(&(a.modified, &a.build_id)));
        Ok(builds)
    }

    /// Removes all but the newest `keep` builds' logs and returns how many went.
    ///
    /// # Errors
    /// What could not be removed.
    pub fn prune(&self, keep: usize) -> Result<usize> {
        let builds = self.builds()?;
        let old = builds.get(keep..).unwrap_or_default();
        for build in old {
            remove_tree(&self.session.path(LOGS).join(&build.build_id))?;
        }
        Ok(old.len())
    }

    /// Whether some log of a build is being written.
    pub(crate) fn is_being_written(&self, build_id: &str) -> Result<bool> {
        is_held(self.session.disk(), &self.session.path(LOGS).join(build_id))
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

    #[test]
    fn the_oldest_builds_are_pruned() {
        let space = tempfile::tempdir().unwrap();
        let logs = Logs::new(&Arc::new(Session::new(space.path().to_owned(), Arc::new(RealDisk))));
        for (age, build) in ["old", "new"].iter().enumerate() {
            logs.writer(build, "1").unwrap().write_all(b"hello\n").unwrap();
            logs.writer(build, "1").unwrap().write_all(b"again\n").unwrap();
            let folder = File::open(space.path().join(LOGS).join(build)).unwrap();
            folder.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(age as u64)).unwrap();
        }
        assert_eq!(logs.prune(1).unwrap(), 1);
        let left = logs.builds().unwrap();
        assert_eq!(
            (left.len(), left[0].build_id.as_str(), &*left[0].step_ids),
            (1, "new", &["1".to_owned()][..])
        );
        let text = io::read_to_string(logs.open("new", "1").unwrap().unwrap()).unwrap();
        assert_eq!(text, "hello\nagain\n");
        assert!(logs.open("old", "1").unwrap().is_none());
    }
}
