//! Disks that misbehave: one that fails at a chosen operation, one that remembers everything for a simulated crash.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use kiln_store::disk::{Disk, LockMode, RealDisk};

/// Fails at the n-th operation, or from the n-th on. Syncs nothing: no test pulls the plug of this machine.
#[derive(Debug)]
pub(crate) struct FailAfter {
    pub(crate) good: u64,
    pub(crate) errno: rustix::io::Errno,
    pub(crate) stays: bool,
    pub(crate) spares_empty_files: bool,
    pub(crate) done: AtomicU64,
}

impl FailAfter {
    fn step(&self) -> io::Result<()> {
        let number = self.done.fetch_add(1, Ordering::Relaxed);
        let fails = if self.stays { number >= self.good } else { number == self.good };
        if fails { Err(self.errno.into()) } else { Ok(()) }
    }

    /// A full disk still opens, lists, locks and removes.
    fn growing(&self) -> io::Result<()> {
        self.step()
    }

    fn other(&self) -> io::Result<()> {
        if self.stays { Ok(()) } else { self.step() }
    }
}

impl Disk for FailAfter {
    fn create(&self, path: &Path) -> io::Result<File> {
        self.growing()?;
        RealDisk.create(path)
    }
    fn open(&self, path: &Path) -> io::Result<File> {
        self.other()?;
        RealDisk.open(path)
    }
    fn open_append(&self, path: &Path) -> io::Result<File> {
        if !self.spares_empty_files {
            self.growing()?;
        }
        RealDisk.open_append(path)
    }
    fn write(&self, file: &File, path: &Path, bytes: &[u8]) -> io::Result<usize> {
        // A disk that fills up takes a part of the bytes first.
        if let Err(error) = self.growing() {
            RealDisk.write(file, path, &bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        RealDisk.write(file, path, bytes)
    }
    fn truncate(&self, file: &File, path: &Path, len: u64) -> io::Result<()> {
        self.other()?;
        RealDisk.truncate(file, path, len)
    }
    fn sync(&self, _file: &File, _path: &Path) -> io::Result<()> {
        self.growing()
    }
    fn sync_directory(&self, _path: &Path) -> io::Result<()> {
        self.growing()
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.growing()?;
        RealDisk.rename(from, to)
    }
    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.other()?;
        RealDisk.unlink(path)
    }
    fn make_directory(&self, path: &Path) -> io::Result<()> {
        self.growing()?;
        RealDisk.make_directory(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.other()?;
        RealDisk.list(path)
    }
    fn lock(&self, file: &File, path: &Path, mode: LockMode, wait: bool) -> io::Result<bool> {
        self.other()?;
        RealDisk.lock(file, path, mode, wait)
    }
    fn touch(&self, path: &Path) -> io::Result<()> {
        self.other()?;
        RealDisk.touch(path)
    }
    fn sync_file_system(&self, _path: &Path) -> io::Result<()> {
        self.growing()
    }
    fn boot_id(&self) -> io::Result<String> {
        self.other()?;
        RealDisk.boot_id()
    }
    fn now(&self) -> SystemTime {
        RealDisk.now()
    }
}

/// Returns a disk that works, and syncs nothing.
pub(crate) fn quick() -> Arc<dyn Disk> {
    Arc::new(Recorder::default())
}

/// What was done to a disk, in order.
#[derive(Debug, Clone)]
pub(crate) enum Done {
    Create(PathBuf),
    Append(PathBuf, Vec<u8>),
    Truncate(PathBuf, u64),
    Sync(PathBuf),
    SyncDirectory(PathBuf),
    Rename(PathBuf, PathBuf),
    Unlink(PathBuf),
    MakeDirectory(PathBuf),
    /// The scenario was promised something.
    Promised(&'static str),
}

/// Does everything for real, and remembers it.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    pub(crate) done: Mutex<Vec<Done>>,
    boot_id: Option<String>,
    has_no_locks: bool,
}

impl Recorder {
    /// A disk of a machine in one of its runs.
    pub(crate) fn booted(boot_id: &str) -> Arc<dyn Disk> {
        Arc::new(Self { boot_id: Some(boot_id.to_owned()), ..Self::default() })
    }

    /// A disk as that of a network file system without a lock manager.
    pub(crate) fn without_locks() -> Arc<dyn Disk> {
        Arc::new(Self { has_no_locks: true, ..Self::default() })
    }

    pub(crate) fn note(&self, done: Done) {
        self.done.lock().unwrap().push(done);
    }
}

impl Disk for Recorder {
    fn create(&self, path: &Path) -> io::Result<File> {
        let file = RealDisk.create(path)?;
        self.note(Done::Create(path.to_owned()));
        Ok(file)
    }
    fn open(&self, path: &Path) -> io::Result<File> {
        RealDisk.open(path)
    }
    fn open_append(&self, path: &Path) -> io::Result<File> {
        let is_new = !path.exists();
        let file = RealDisk.open_append(path)?;
        if is_new {
            self.note(Done::Create(path.to_owned()));
        }
        Ok(file)
    }
    fn write(&self, file: &File, path: &Path, bytes: &[u8]) -> io::Result<usize> {
        let written = RealDisk.write(file, path, bytes)?;
        self.note(Done::Append(path.to_owned(), bytes[..written].to_vec()));
        Ok(written)
    }
    fn truncate(&self, file: &File, path: &Path, len: u64) -> io::Result<()> {
        self.note(Done::Truncate(path.to_owned(), len));
        RealDisk.truncate(file, path, len)
    }
    fn sync(&self, _file: &File, path: &Path) -> io::Result<()> {
        self.note(Done::Sync(path.to_owned()));
        Ok(())
    }
    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.note(Done::SyncDirectory(path.to_owned()));
        Ok(())
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)?;
        self.note(Done::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }
    fn unlink(&self, path: &Path) -> io::Result<()> {
        RealDisk.unlink(path)?;
        self.note(Done::Unlink(path.to_owned()));
        Ok(())
    }
    fn make_directory(&self, path: &Path) -> io::Result<()> {
        RealDisk.make_directory(path)?;
        self.note(Done::MakeDirectory(path.to_owned()));
        Ok(())
    }
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        RealDisk.list(path)
    }
    fn lock(&self, file: &File, path: &Path, mode: LockMode, wait: bool) -> io::Result<bool> {
        if self.has_no_locks {
            return Err(rustix::io::Errno::NOLCK.into());
        }
        RealDisk.lock(file, path, mode, wait)
    }
    fn touch(&self, path: &Path) -> io::Result<()> {
        RealDisk.touch(path)
    }
    fn sync_file_system(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }
    fn boot_id(&self) -> io::Result<String> {
        self.boot_id.clone().map_or_else(|| RealDisk.boot_id(), Ok)
    }
    fn now(&self) -> SystemTime {
        RealDisk.now()
    }
}
