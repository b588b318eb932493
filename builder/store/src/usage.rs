//! How much something takes on the disk: what `du` counts, hard links once.
//!
//! Directories are read without leaving a trace in their access times, which tell when a snapshot was last used. Trees may be
//! deeper than any path may be long: where a path grows too long, the walk goes on from an open directory.

use std::collections::BTreeSet;
use std::ffi::{CStr, OsStr};
use std::io;
use std::iter::Sum;
use std::ops::{Add, AddAssign};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, openat, statat};
use rustix::io::Errno;

use crate::error::{Result, StoreError};

/// From this length on a path is not made longer.
const PATH_BYTES_ENOUGH: usize = 2048;

/// What something takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bytes {
    /// Bytes of the disk: `du -B1`.
    pub allocated: u64,
    /// Lengths of files: `du -b`.
    pub apparent: u64,
}

impl Add for Bytes {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { allocated: self.allocated + other.allocated, apparent: self.apparent + other.apparent }
    }
}

impl AddAssign for Bytes {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Bytes {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}

impl Bytes {
    /// Returns what is left after `other`; nothing where that is more.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self {
            allocated: self.allocated.saturating_sub(other.allocated),
            apparent: self.apparent.saturating_sub(other.apparent),
        }
    }

    fn of(stat: &Stat) -> Self {
        let number = |number: i64| u64::try_from(number).unwrap_or_default();
        Self { allocated: number(stat.st_blocks) * 512, apparent: number(stat.st_size) }
    }
}

/// Adds things up. Of all that one of these has seen, each inode counts once.
#[derive(Debug, Default)]
pub(crate) struct Scale {
    linked: BTreeSet<(u64, u64)>,
    /// Directories that this user may not look into; what is in them is not counted.
    pub(crate) unreadable: usize,
}

impl Scale {
    /// Weighs what is at `path`, with all below it; nothing when it is absent.
    pub(crate) fn weigh(&mut self, path: &Path) -> Result<Bytes> {
        self.weigh_without(path, &|_| false)
    }

    /// The same without what `skips` names by its path relative to `path`.
    pub(crate) fn weigh_without(&mut self, path: &Path, skips: &dyn Fn(&Path) -> bool) -> Result<Bytes> {
        let failed = |error: Errno| StoreError::Io {
            verb: "read",
            path: path.to_owned(),
            source: io::Error::from(error),
        };
        let stat = match statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(Bytes::default()),
            Err(error) => return Err(failed(error)),
        };
        let mut bytes = self.one(&stat);
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory
            && let Some(top) = self.open(CWD, path.as_os_str()).map_err(failed)?
        {
            bytes += self.below(top.as_fd(), Path::new(""), skips).map_err(failed)?;
        }
        Ok(bytes)
    }

    /// Adds up what is below an open directory, which has the path `prefix` for those who skip.
    fn below(
        &mut self,
        top: BorrowedFd<'_>,
        prefix: &Path,
        skips: &dyn Fn(&Path) -> bool,
    ) -> Result<Bytes, Errno> {
        let mut bytes = Bytes::default();
        let mut waiting = vec![Vec::new()];
        while let Some(relative) = waiting.pop() {
            let name: &OsStr =
                if relative.is_empty() { OsStr::new(".") } else { OsStr::from_bytes(&relative) };
            let Some(directory) = self.open(top, name)? else { continue };
            for entry in Dir::read_from(&directory)? {
                let entry = entry?;
                let Some(path) = joined(&relative, entry.file_name()) else { continue };
                if skips(&prefix.join(OsStr::from_bytes(&path))) {
                    continue;
                }
                let stat = match statat(&directory, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => stat,
                    Err(Errno::NOENT) => continue, // Gone since.
                    Err(error) => return Err(error),
                };
                bytes += self.one(&stat);
                if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                    continue;
                }
                if path.len() < PATH_BYTES_ENOUGH {
                    waiting.push(path);
                } else if let Some(deep) = self.open(directory.as_fd(), name_of(entry.file_name()))? {
                    // So deep nothing is skipped.
                    bytes += self.below(deep.as_fd(), Path::new(""), &|_| false)?;
                }
            }
        }
        Ok(bytes)
    }

    fn one(&mut self, stat: &Stat) -> Bytes {
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let is_known = !is_directory && stat.st_nlink > 1 && !self.linked.insert((stat.st_dev, stat.st_ino));
        if is_known { Bytes::default() } else { Bytes::of(stat) }
    }

    /// Opens a directory; `None` when it is gone, or closed to this user.
    fn open(&mut self, parent: BorrowedFd<'_>, name: &OsStr) -> Result<Option<OwnedFd>, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = match openat(parent, name, flags | OFlags::NOATIME, Mode::empty()) {
            // Only the owner may read without a trace.
            Err(Errno::PERM) => openat(parent, name, flags, Mode::empty()),
            answer => answer,
        };
        match opened {
            Ok(directory) => Ok(Some(directory)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(Errno::ACCESS | Errno::PERM) => {
                self.unreadable += 1;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Returns the path of an entry; `None` for the directory itself and the one above.
fn joined(relative: &[u8], name: &CStr) -> Option<Vec<u8>> {
    if name == c"." || name == c".." {
        return None;
    }
    let separator: &[u8] = if relative.is_empty() { b"" } else { b"/" };
    Some([relative, separator, name.to_bytes()].concat())
}

fn name_of(name: &CStr) -> &OsStr {
    OsStr::from_bytes(name.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_deeper_than_any_path_is_weighed_as_du_weighs_it() {
        let space = tempfile::tempdir().unwrap();
        let root = space.path().join("root");
        crate::remove::tests::make_deep_tree(&root);
        let answer = std::process::Command::new("du").args(["-s", "-B1"]).arg(&root).output().unwrap();
        let text = String::from_utf8(answer.stdout).unwrap();
        let weighed = Scale::default().weigh(&root).unwrap();
        assert_eq!(text.split_whitespace().next().unwrap(), weighed.allocated.to_string());
        crate::remove::remove_tree(&root).unwrap();
    }
}
