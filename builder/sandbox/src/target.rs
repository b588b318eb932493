//! Finds, and if need be makes, the places inside a root on which something is mounted.
//!
//! Symlinks are followed inside the root and never out of it, also dangling ones (`/etc/resolv.conf` often is), as
//! runc does. What is made is remembered as a stub, so that it can be removed again.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, StatxFlags, Timespec, Timestamps, UTIME_OMIT, fstat, mkdirat,
    openat, readlinkat, statx, utimensat,
};
use rustix::io::Errno;

use crate::in_root;
use crate::root::{MountedRoot, path_of, relative};
use crate::stubs::Footprint;

/// What a place must be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Directory,
    File,
}

/// Dangling symlinks followed on the way to one place; the kernel's own limit.
const SYMLINKS_MAX: u32 = 40;

/// Returns the place `path` inside the root, made when missing; what was made is added to `footprint`.
pub(crate) fn find_or_make(
    mounted: &MountedRoot,
    path: &OsStr,
    place: Place,
    footprint: &mut Footprint,
) -> Result<OwnedFd, Errno> {
    find_limited(mounted, path.as_bytes(), place, footprint, SYMLINKS_MAX)
}

/// Returns the place `path` inside the root.
pub(crate) fn find(mounted: &MountedRoot, path: &OsStr) -> Result<OwnedFd, Errno> {
    in_root::open(&mounted.root, path, OFlags::PATH)
}

fn find_limited(
    mounted: &MountedRoot,
    path: &[u8],
    place: Place,
    footprint: &mut Footprint,
    symlinks_left: u32,
) -> Result<OwnedFd, Errno> {
    match find(mounted, OsStr::from_bytes(path)) {
        Err(Errno::NOENT) => {}
        found => return found,
    }
    let (parent, name) = split(path);
    if matches!(name, b"" | b"." | b"..") {
        return Err(Errno::NOENT);
    }
    let directory = find_limited(mounted, parent, Place::Directory, footprint, symlinks_left)?;
    match readlinkat(&directory, name, Vec::new()) {
        Ok(link) => {
            let next = if link.to_bytes().starts_with(b"/") {
                link.into_bytes()
            } else {
                [parent, b"/", link.to_bytes()].concat()
            };
            let left = symlinks_left.checked_sub(1).ok_or(Errno::LOOP)?;
            find_limited(mounted, &next, place, footprint, left)
        }
        Err(Errno::NOENT) => make(mounted, &directory, name, place, footprint),
        // Not a symlink: it was made by an earlier mount of the same path since we looked. Never follow it.
        Err(errno) => Err(errno),
    }
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    let path = &path[..end];
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash.max(1)], &path[slash + 1..]),
        None => (b"/", path),
    }
}

fn make(
    mounted: &MountedRoot,
    directory: &OwnedFd,
    name: &[u8],
    place: Place,
    footprint: &mut Footprint,
) -> Result<OwnedFd, Errno> {
    let before = fstat(directory)?;
    match place {
        Place::Directory => mkdirat(directory, name, Mode::from_raw_mode(0o755))?,
        Place::File => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            drop(openat(directory, name, flags, Mode::from_raw_mode(0o644))?);
        }
    }
    keep_time(directory, &before)?;
    let made = openat(directory, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    // Inside another mount (a tmpfs, a cache) nothing can reach the root; only the root's own stubs are ours.
    if mount_id(&made)? == mount_id(&mounted.root)? {
        let path = relative(mounted, &path_of(&made)?);
        footprint.add(path, place == Place::Directory, &before);
    }
    Ok(made)
}

/// Gives a directory the time it had: the step is not to see that a mount point was made in it.
fn keep_time(directory: &OwnedFd, before: &Stat) -> Result<(), Errno> {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: before.st_mtime, tv_nsec: before.st_mtime_nsec as i64 },
    };
    match utimensat(directory, c"", &times, AtFlags::EMPTY_PATH) {
        // Somebody else's, who lets us make names in it.
        Err(Errno::PERM) => Ok(()),
        outcome => outcome,
    }
}

fn mount_id(file: &OwnedFd) -> Result<u64, Errno> {
    Ok(statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?.stx_mnt_id)
}

/// What kind of place a host file needs.
pub(crate) fn place_for(source: &OwnedFd) -> Result<Place, Errno> {
    let is_directory = FileType::from_raw_mode(fstat(source)?.st_mode) == FileType::Directory;
    Ok(if is_directory { Place::Directory } else { Place::File })
}

/// How many names a path has.
pub(crate) fn depth(path: &OsString) -> usize {
    let bytes = path.clone().into_vec();
    bytes.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).count()
}
