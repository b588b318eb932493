//! Locks between processes: one file, one `flock`.
//!
//! The kernel frees a lock when its process ends, however it ends. Lock files may be removed by gc: whoever locks a file
//! checks that the path still leads to it, and opens it again otherwise.
//!
//! A lock can only be looked at by taking it for a moment. For who waits for the lock that is a moment; who goes elsewhere when it is
//! taken would go for nothing. So such a lock is tried with [`try_lock_unlooked`] and looked at with [`is_held_unnoticed`]: these
//! two keep out of each other's way.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use kiln_oci::Digest;
use rustix::io::Errno;

use crate::disk::{Disk, LockMode};
use crate::error::{IoContext, Result, StoreError, optional};

/// Where a store has its lock files.
const FOLDER: &str = "leases/locks";
/// The lock that lets either one look, or many try.
const LOOKS: &str = "look at locks";
/// How often a lock file that vanishes while it is being locked is opened again.
const REOPEN_MAX: u32 = 1000;

/// A held lock; dropping it frees it.
#[derive(Debug)]
pub struct LockGuard {
    file: File,
    path: PathBuf,
}

impl LockGuard {
    /// Wraps a file that is already locked.
    pub(crate) fn of(file: File, path: PathBuf) -> Self {
        Self { file, path }
    }

    /// Returns the locked file.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Returns the path of the locked file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Returns the path of the lock called `name`, which may be any text.
pub(crate) fn named_lock_path(root: &Path, name: &str) -> PathBuf {
    root.join(FOLDER).join(Digest::of(name.as_bytes()).hex())
}

/// Locks the file at `path`, creating it when absent, but never its folder, and waits for it.
pub(crate) fn lock(disk: &dyn Disk, path: &Path, mode: LockMode) -> Result<LockGuard> {
    loop {
        if let Some(guard) = attempt(disk, path, mode, true)? {
            return Ok(guard);
        }
    }
}

/// Locks the file at `path`, creating it when absent, or returns `None` when someone else holds it.
pub(crate) fn try_lock(disk: &dyn Disk, path: &Path, mode: LockMode) -> Result<Option<LockGuard>> {
    attempt(disk, path, mode, false)
}

fn attempt(disk: &dyn Disk, path: &Path, mode: LockMode, wait: bool) -> Result<Option<LockGuard>> {
    for _ in 0..REOPEN_MAX {
        let file = disk.open_append(path).on("open", path)?;
        if !locked(disk, &file, path, mode, wait)? {
            return Ok(None);
        }
        if leads_to(path, &file)? {
            return Ok(Some(LockGuard { file, path: path.to_owned() }));
        }
    }
    Err(std::io::ErrorKind::ResourceBusy.into()).on("lock", path)
}

/// Locks an open file; without `wait`, returns false when someone else holds it.
fn locked(disk: &dyn Disk, file: &File, path: &Path, mode: LockMode, wait: bool) -> Result<bool> {
    disk.lock(file, path, mode, wait).map_err(|source| match Errno::from_io_error(&source) {
        // Network file systems whose server or mount has none.
        Some(Errno::NOLCK | Errno::NOSYS | Errno::OPNOTSUPP) => {
            StoreError::NoLocks { path: path.to_owned(), source }
        }
        _ => StoreError::Io { verb: "lock", path: path.to_owned(), source },
    })
}

/// The same, while nobody only looks whether the lock is held.
pub(crate) fn try_lock_unlooked(
    disk: &dyn Disk,
    root: &Path,
    path: &Path,
    mode: LockMode,
) -> Result<Option<LockGuard>> {
    let _nobody_looks = lock(disk, &named_lock_path(root, LOOKS), LockMode::Shared)?;
    try_lock(disk, path, mode)
}

/// Says whether somebody holds the lock file at `path`, without making it. Whoever only tries the lock in this moment finds it taken.
pub(crate) fn is_held(disk: &dyn Disk, path: &Path) -> Result<bool> {
    match optional(disk.open(path)).on("open", path)? {
        Some(file) => Ok(!disk.lock(&file, path, LockMode::Exclusive, false).on("lock", path)?),
        None => Ok(false),
    }
}

/// The same, and whoever calls [`try_lock_unlooked`] in this moment waits for it.
pub(crate) fn is_held_unnoticed(disk: &dyn Disk, root: &Path, path: &Path) -> Result<bool> {
    let _nobody_tries = begin_look(disk, root)?;
    is_held(disk, path)
}

/// Keeps away who calls [`try_lock_unlooked`]. Where the store cannot be written nobody is kept away: to look is allowed there.
fn begin_look(disk: &dyn Disk, root: &Path) -> Result<Option<LockGuard>> {
    match lock(disk, &named_lock_path(root, LOOKS), LockMode::Exclusive) {
        Err(error) if error.is_permission_denied() => Ok(None),
        guard => guard.map(Some),
    }
}

/// Says whether `path` still names the open file.
pub(crate) fn leads_to(path: &Path, file: &File) -> Result<bool> {
    let Some(named) = optional(std::fs::symlink_metadata(path)).on("inspect", path)? else {
        return Ok(false);
    };
    let open = file.metadata().on("inspect", path)?;
    Ok((named.dev(), named.ino()) == (open.dev(), open.ino()))
}

/// Returns the processes that the kernel names as holders of a lock; those of other process namespaces are not known.
pub(crate) fn holders(path: &Path) -> Vec<u32> {
    // Nobody depends on the answer: it is shown.
    let Ok(found) = std::fs::metadata(path) else { return Vec::new() };
    let Ok(locks) = std::fs::read_to_string("/proc/locks") else { return Vec::new() };
    let inode = found.ino().to_string();
    let holder = |line: &str| {
        // `1: FLOCK ADVISORY WRITE 1234 08:01:5678 0 EOF`, as in proc_locks(5); the devices of some file systems have two numbers.
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let is_this = words.get(5)?.rsplit(':').next() == Some(&inode);
        (words.get(1) == Some(&"FLOCK") && is_this).then(|| words.get(4)?.parse::<u32>().ok())?
    };
    let mut processes: Vec<u32> = locks.lines().filter_map(holder).filter(|process| *process > 0).collect();
    processes.sort_unstable();
    processes.dedup();
    processes
}

/// Removes the lock files that nobody holds of a store at `root`.
pub(crate) fn remove_unheld(disk: &dyn Disk, root: &Path) -> Result<()> {
    let (folder, looks) = (root.join(FOLDER), named_lock_path(root, LOOKS));
    let names = optional(disk.list(&folder)).on("list", &folder)?.unwrap_or_default();
    for path in names.into_iter().map(|name| folder.join(name)).filter(|path| *path != looks) {
        let _nobody_tries = begin_look(disk, root)?;
        remove_if_unheld(disk, &path)?;
    }
    remove_if_unheld(disk, &looks)
}

fn remove_if_unheld(disk: &dyn Disk, path: &Path) -> Result<()> {
    if let Some(_guard) = try_lock(disk, path, LockMode::Exclusive)? {
        disk.unlink(path).on("remove", path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn an_exclusive_lock_keeps_everyone_out_until_dropped() {
        let space = tempfile::tempdir().unwrap();
        let path = space.path().join("one");
        let held = lock(&RealDisk, &path, LockMode::Exclusive).unwrap();
        assert!(try_lock(&RealDisk, &path, LockMode::Shared).unwrap().is_none());
        drop(held);
        let first = try_lock(&RealDisk, &path, LockMode::Shared).unwrap();
        let second = try_lock(&RealDisk, &path, LockMode::Shared).unwrap();
        assert!(first.is_some() && second.is_some());
        assert!(try_lock(&RealDisk, &path, LockMode::Exclusive).unwrap().is_none());
    }

    #[test]
    fn only_unheld_lock_files_are_removed() {
        let space = tempfile::tempdir().unwrap();
        let folder = space.path().join(FOLDER);
        std::fs::create_dir_all(&folder).unwrap();
        let (held, free) = (folder.join("held"), folder.join("free"));
        let _guard = lock(&RealDisk, &held, LockMode::Shared).unwrap();
        drop(lock(&RealDisk, &free, LockMode::Shared).unwrap());
        remove_unheld(&RealDisk, space.path()).unwrap();
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        assert!(held.exists());
    }
}
