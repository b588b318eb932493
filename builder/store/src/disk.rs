//! The seam between the store and the file system.
//!
//! Everything that changes the disk goes through [`Disk`], so that tests can let the n-th operation fail or rebuild
//! what a crash would have left. [`RealDisk`] is the one used in life. Knows nothing of blobs, records or names.
//!
//! | Operation | Promise |
//! |---|---|
//! | `create` | a new file, never an old one; mode 0644 whatever the umask |
//! | `make_directory` | mode 0755 whatever the umask; "already there" is success |
//! | `sync` | contents and length are on the disk |
//! | `sync_directory` | names in the directory are on the disk |
//! | `lock` | advisory, of the open file, freed by the kernel when the process ends |

use std::ffi::OsString;
use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::OnceLock;
use std::time::SystemTime;

use rustix::fs::{Advice, AtFlags, CWD, FlockOperation, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};

use crate::error::{IoContext, PLAIN_NAME_BYTES_MAX, Result, StoreError};

const FILE_MODE: u32 = 0o644;
const DIRECTORY_MODE: u32 = 0o755;
/// After so many bytes the disk is told to begin writing them.
const WRITE_BEHIND_BYTES: u64 = 16 << 20;

/// How a lock is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// Together with other shared holders.
    Shared,
    /// Alone.
    Exclusive,
}

/// What the store asks of a file system.
pub trait Disk: Debug + Send + Sync {
    /// Creates a new file for reading and writing; fails when the path exists.
    fn create(&self, path: &Path) -> io::Result<File>;
    /// Opens a file for reading.
    fn open(&self, path: &Path) -> io::Result<File>;
    /// Opens a file for reading and appending, creating it when absent.
    fn open_append(&self, path: &Path) -> io::Result<File>;
    /// Writes some of `bytes`; `path` is where `file` was opened.
    fn write(&self, file: &File, path: &Path, bytes: &[u8]) -> io::Result<usize>;
    /// Cuts the file to `len` bytes.
    fn truncate(&self, file: &File, path: &Path, len: u64) -> io::Result<()>;
    /// Lets the disk begin to write a range of a file. A hint: nothing is promised, and nothing can fail.
    fn start_writing(&self, _file: &File, _range: Range<u64>) {}
    /// Brings the contents of a file to the disk.
    fn sync(&self, file: &File, path: &Path) -> io::Result<()>;
    /// Brings the names in a directory to the disk.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
    /// Moves `from` to `to`, replacing what is there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn unlink(&self, path: &Path) -> io::Result<()>;
    /// Creates a directory; "already there" is success.
    fn make_directory(&self, path: &Path) -> io::Result<()>;
    /// Returns the names in a directory, sorted.
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>>;
    /// Locks an open file; with `wait` false, returns false when someone else holds it.
    fn lock(&self, file: &File, path: &Path, mode: LockMode, wait: bool) -> io::Result<bool>;
    /// Marks a path as used now: a file's mtime, a directory's atime (its mtime may belong to a layer).
    fn touch(&self, path: &Path) -> io::Result<()>;
    /// Brings the whole file system that holds `path` to the disk.
    fn sync_file_system(&self, path: &Path) -> io::Result<()>;
    /// Returns a text that is another one after each start of the machine, where the kernel has one.
    fn boot_id(&self) -> io::Result<String>;
    /// Returns the time of day. It decides what is old enough to go, and never reaches an output.
    fn now(&self) -> SystemTime;
}

/// The file system of this machine.
#[derive(Debug, Default, Clone, Copy)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<File> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(FILE_MODE).open(path)?;
        set_mode(&file, FILE_MODE)?;
        Ok(file)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        File::open(path)
    }

    fn open_append(&self, path: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).append(true);
        match options.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            answer => return answer,
        }
        let file = options.create(true).mode(FILE_MODE).open(path)?;
        set_mode(&file, FILE_MODE)?;
        Ok(file)
    }

    fn write(&self, mut file: &File, _path: &Path, bytes: &[u8]) -> io::Result<usize> {
        file.write(bytes)
    }

    fn truncate(&self, file: &File, _path: &Path, len: u64) -> io::Result<()> {
        file.set_len(len)
    }

    fn start_writing(&self, file: &File, range: Range<u64>) {
        start_writing(file, range);
    }

    fn sync(&self, file: &File, _path: &Path) -> io::Result<()> {
        file.sync_data()
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn make_directory(&self, path: &Path) -> io::Result<()> {
        match std::fs::create_dir(path) {
            Ok(()) => std::fs::set_permissions(path, std::fs::Permissions::from_mode(DIRECTORY_MODE)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let mut names =
            std::fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    fn lock(&self, file: &File, _path: &Path, mode: LockMode, wait: bool) -> io::Result<bool> {
        let operation = match (mode, wait) {
            (LockMode::Shared, true) => FlockOperation::LockShared,
            (LockMode::Shared, false) => FlockOperation::NonBlockingLockShared,
            (LockMode::Exclusive, true) => FlockOperation::LockExclusive,
            (LockMode::Exclusive, false) => FlockOperation::NonBlockingLockExclusive,
        };
        match rustix::io::retry_on_intr(|| rustix::fs::flock(file, operation)) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn touch(&self, path: &Path) -> io::Result<()> {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        let is_directory = std::fs::symlink_metadata(path)?.is_dir();
        let last_modification = if is_directory { omit } else { now };
        let times = Timestamps { last_access: now, last_modification };
        Ok(rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn sync_file_system(&self, path: &Path) -> io::Result<()> {
        Ok(rustix::fs::syncfs(File::open(path)?)?)
    }

    fn boot_id(&self) -> io::Result<String> {
        /// No process lives longer than the machine runs.
        static KNOWN: OnceLock<String> = OnceLock::new();
        if let Some(id) = KNOWN.get() {
            return Ok(id.clone());
        }
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim_end().to_owned();
        Ok(KNOWN.get_or_init(|| id).clone())
    }

    #[expect(clippy::disallowed_methods, reason = "last-used times decide what gc removes, never an output")]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    Ok(rustix::fs::fchmod(file, rustix::fs::Mode::from_raw_mode(mode))?)
}

/// Writes all of `bytes`.
pub(crate) fn write_all(disk: &dyn Disk, file: &File, path: &Path, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match disk.write(file, path, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()).on("write", path),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).on("write", path),
        }
    }
    Ok(())
}

/// How much of a growing file the disk has been told to write, so that little is left to wait for at the end.
#[derive(Debug, Default)]
pub struct WriteBehind {
    written: u64,
    started: u64,
}

impl From<u64> for WriteBehind {
    /// Goes on after the bytes of a file that was there.
    fn from(length: u64) -> Self {
        Self { written: length, started: length }
    }
}

impl WriteBehind {
    /// Counts bytes that were written to the end of the file. Now and then returns a range to begin writing by
    /// [`start_writing`].
    #[must_use]
    pub fn wrote(&mut self, count: u64) -> Option<Range<u64>> {
        self.written += count;
        if self.written - self.started < WRITE_BEHIND_BYTES {
            return None;
        }
        let range = self.started..self.written;
        self.started = self.written;
        Some(range)
    }

    /// Returns how many bytes were written.
    pub fn written(&self) -> u64 {
        self.written
    }
}

/// Lets the disk begin to write a range of a file, without waiting. A hint: nothing is promised.
pub fn start_writing(file: &File, range: Range<u64>) {
    // The kernel starts to write the dirty pages of the range, and keeps them meanwhile (mm/fadvise.c). `sync_file_range` says it
    // more plainly, and no safe wrapper has it. A file system that does not know the call writes later.
    let length = NonZeroU64::new(range.end.saturating_sub(range.start));
    rustix::fs::fadvise(file, range.start, length, Advice::DontNeed).unwrap_or_default();
}

/// Creates a directory and those above it that are missing. Below a store, [`crate::leases::Session::make_directories`] does.
pub(crate) fn make_directories(disk: &dyn Disk, path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_directories(disk, parent)?;
    }
    disk.make_directory(path).on("create directory", path)
}

/// Checks a name that becomes one component of a path.
pub(crate) fn plain_name(what: &'static str, name: &str) -> Result<()> {
    let is_plain = !name.is_empty()
        && name.len() <= PLAIN_NAME_BYTES_MAX
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if is_plain { Ok(()) } else { Err(StoreError::InvalidName { what, name: name.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_created_file_and_directory_have_fixed_modes() {
        let space = tempfile::tempdir().unwrap();
        let (file, directory) = (space.path().join("f"), space.path().join("d"));
        RealDisk.create(&file).unwrap();
        RealDisk.make_directory(&directory).unwrap();
        RealDisk.make_directory(&directory).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&file), mode(&directory)), (0o644, 0o755));
    }

    #[test]
    fn every_byte_is_begun_once_when_enough_of_them_are_there() {
        let mut behind = WriteBehind::default();
        let (little, much) = (WRITE_BEHIND_BYTES / 2 + 1, 3 * WRITE_BEHIND_BYTES);
        let ranges: Vec<_> = [little, little, much, 1].map(|count| behind.wrote(count)).into();
        assert_eq!(ranges, [None, Some(0..2 * little), Some(2 * little..2 * little + much), None]);
        assert_eq!(behind.written(), 2 * little + much + 1);
    }

    #[test]
    fn touching_a_directory_keeps_its_mtime() {
        let space = tempfile::tempdir().unwrap();
        let before = std::fs::metadata(space.path()).unwrap().modified().unwrap();
        RealDisk.touch(space.path()).unwrap();
        assert_eq!(std::fs::metadata(space.path()).unwrap().modified().unwrap(), before);
    }

    #[test]
    fn plain_names_cannot_leave_their_directory() {
        for (name, is_plain) in [
            ("step", true),
            ("a.B_c-9", true),
            ("", false),
            (".", false),
            ("..", false),
            (".hidden", false),
            ("a/b", false),
            ("a\nb", false),
            ("\u{e9}", false),
        ] {
            assert_eq!(plain_name("name", name).is_ok(), is_plain, "{name:?}");
        }
        assert!(plain_name("name", &"x".repeat(PLAIN_NAME_BYTES_MAX + 1)).is_err());
    }
}
