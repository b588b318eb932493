//! The directory that receives a step's changes: made to fit over its layers, and settled into the unpacked form of the
//! layer that it became.

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use kiln_layer::{
    ArchivePath, Changes, Device, Devices, Entry, Item, Kind, Listing, Metadata, Ownership, Tree,
};
use kiln_sandbox::{DEVICE_ATTRIBUTE, OWNER_ATTRIBUTE};
use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, ResolveFlags, Timespec, Timestamps, XattrFlags, fchmod, fsetxattr, fstat,
    futimens, openat, openat2, unlinkat,
};
use rustix::io::Errno;
use walkdir::WalkDir;

/// Gives an empty upper directory the mode and owner of the file system's root: overlayfs shows the upper one's.
///
/// # Errors
/// With the path, when the file system refuses.
pub fn dress_root(upper: &Path, tree: &Tree, ownership: Ownership) -> io::Result<()> {
    let root =
        tree.get(&ArchivePath::root()).map_or_else(Metadata::implied_directory, |root| root.metadata.clone());
    // Mostly it is as it should be, and no disk need hear of it.
    let found = fs_err::symlink_metadata(upper)?;
    match ownership {
        Ownership::Recorded => write_owner(upper, &Entry::directory(root.clone()))?,
        Ownership::Real if (found.uid(), found.gid()) == (root.uid, root.gid) => {}
        Ownership::Real => std::os::unix::fs::lchown(upper, Some(root.uid), Some(root.gid))?,
    }
    if found.mode() & 0o7777 == root.mode {
        return Ok(());
    }
    fs_err::set_permissions(upper, std::fs::Permissions::from_mode(root.mode))
}

/// Gives every entry of an upper directory the time that its layer says, or the one below where the layer is silent.
///
/// # Errors
/// With the path, when the file system refuses.
pub fn settle(
    upper: &Path,
    changes: &Changes,
    lower: &Tree,
    epoch: Option<i64>,
    ownership: Ownership,
) -> io::Result<()> {
    // Children first, so that setting their times does not touch a directory that is done.
    for entry in WalkDir::new(upper).follow_links(false).contents_first(true) {
        let entry = entry?;
        let below = entry.path().strip_prefix(upper).map_err(io::Error::other)?;
        let Ok(path) = ArchivePath::clamp(below.as_os_str().as_encoded_bytes()) else { continue };
        let recorded = changes.entries.get(&path).filter(|_| !path.is_root());
        if let Some(recorded) = recorded.filter(|_| ownership == Ownership::Recorded) {
            write_owner(entry.path(), recorded)?;
        }
        let seconds = match (recorded, lower.get(&path), epoch) {
            (Some(_), _, Some(epoch)) => (epoch, 0),
            // In a layer that keeps times, the file has its own already.
            (Some(_), _, None) | (None, None, _) => continue,
            (None, Some(below), _) => (below.metadata.mtime.seconds, below.metadata.mtime.nanoseconds),
        };
        set_time(entry.path(), seconds)?;
    }
    Ok(())
}

/// Writes the owners of an unpacked layer beside its files, where the kernel would not set them, and makes the files that
/// stand for devices.
///
/// # Errors
/// With the path, when the file system refuses.
pub fn write_owners(directory: &Path, listing: &Listing) -> io::Result<()> {
    for (path, item) in &listing.items {
        let Item::Entry(entry) = item else { continue };
        match entry.kind {
            Kind::CharDevice(device) => write_device(directory, path, entry, ('c', device))?,
            Kind::BlockDevice(device) => write_device(directory, path, entry, ('b', device))?,
            _ => write_owner(&directory.join(path.as_path()), entry)?,
        }
    }
    Ok(())
}

/// Writes the owners of a part of a tree that was copied aside to `copy`, where the kernel would not set them.
///
/// # Errors
/// With the path, when the file system refuses.
pub fn write_owners_of(tree: &Tree, part: &ArchivePath, copy: &Path) -> io::Result<()> {
    for (path, entry) in tree.within(part) {
        let Metadata { uid, gid, ref xattrs, .. } = entry.metadata;
        if (uid, gid) == (0, 0) && xattrs.get(OWNER_ATTRIBUTE.as_bytes()).is_none() {
            continue;
        }
        let below = path.strip_prefix(part).filter(|below| !below.is_root());
        // What is copied alone has a name of its own there.
        let place = below.map_or_else(|| copy.to_owned(), |below| copy.join(below.as_path()));
        write_owner(&place, entry)?;
    }
    Ok(())
}

/// Writes the owner of a directory that is mounted into steps.
///
/// # Errors
/// With the path, when the file system refuses.
pub fn write_directory_owner(directory: &Path, uid: u32, gid: u32) -> io::Result<()> {
    let metadata = Metadata { uid, gid, ..Metadata::with_mode(0) };
    write_owner(directory, &Entry::directory(metadata))
}

/// Makes the empty file that stands for a device, as the sandbox makes it. Where the layer says nothing of the directory
/// around it there is none to put it in, and steps see none.
fn write_device(
    directory: &Path,
    path: &ArchivePath,
    entry: &Entry,
    device: (char, Device),
) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let root = fs_err::File::open(directory)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let below = if parent.is_root() { Path::new(".") } else { parent.as_path() };
    let parent = match openat2(&root, below, flags, Mode::empty(), beneath) {
        Ok(parent) => parent,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    let before = fstat(&parent)?;
    // The mark that hides what lower layers have there.
    match unlinkat(&parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    let new = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = openat(&parent, name, new, Mode::empty())?;
    let Metadata { mode, mtime, .. } = entry.metadata;
    fsetxattr(&file, OWNER_ATTRIBUTE, owner_text(&entry.metadata).as_bytes(), XattrFlags::empty())?;
    fsetxattr(&file, DEVICE_ATTRIBUTE, device_text(device).as_bytes(), XattrFlags::empty())?;
    fchmod(&file, Mode::from_raw_mode(mode))?;
    futimens(&file, &times(mtime.seconds, mtime.nanoseconds))?;
    let nanoseconds = u32::try_from(before.st_mtime_nsec).map_err(io::Error::other)?;
    Ok(futimens(&parent, &times(before.st_mtime, nanoseconds))?)
}

/// Notes beside a file of a root what the kernel keeps for nobody: whose it is, and that an empty file stands for a device.
///
/// # Errors
/// With the path, when the file system refuses.
pub fn note(path: &Path, entry: &Entry, ownership: Ownership, devices: Devices) -> io::Result<()> {
    let device = match entry.kind {
        Kind::CharDevice(device) => ('c', device),
        Kind::BlockDevice(device) => ('b', device),
        _ if ownership == Ownership::Real => return Ok(()),
        _ => return write_owner(path, entry),
    };
    if devices == Devices::Create {
        return Ok(());
    }
    if ownership == Ownership::Recorded {
        write_attribute(path, OWNER_ATTRIBUTE, &owner_text(&entry.metadata))?;
    }
    write_attribute(path, DEVICE_ATTRIBUTE, &device_text(device))
}

fn write_attribute(path: &Path, name: &str, value: &str) -> io::Result<()> {
    rustix::fs::lsetxattr(path, name, value.as_bytes(), XattrFlags::empty()).map_err(|errno| {
        io::Error::other(format!("cannot note what `{}` is in `{name}`: {errno}", path.display()))
    })
}

fn owner_text(Metadata { uid, gid, .. }: &Metadata) -> String {
    format!("{uid}:{gid}")
}

fn device_text((letter, Device { major, minor }): (char, Device)) -> String {
    format!("{letter}:{major}:{minor}")
}

/// Returns the owner that the attribute says.
pub fn parse_owner(value: &[u8]) -> Option<(u32, u32)> {
    let (uid, gid) = std::str::from_utf8(value).ok()?.split_once(':')?;
    Some((uid.parse().ok()?, gid.parse().ok()?))
}

/// Writes or takes away the attribute that says whose a file or directory is. Other things carry no attributes.
///
/// # Errors
/// With the path, when the file system refuses.
pub fn write_owner(path: &Path, entry: &Entry) -> io::Result<()> {
    if !entry.is_directory() && entry.content().is_none() {
        return Ok(());
    }
    let Metadata { uid, gid, .. } = entry.metadata;
    let outcome = if (uid, gid) == (0, 0) {
        rustix::fs::lremovexattr(path, OWNER_ATTRIBUTE)
    } else {
        rustix::fs::lsetxattr(
            path,
            OWNER_ATTRIBUTE,
            owner_text(&entry.metadata).as_bytes(),
            XattrFlags::empty(),
        )
    };
    match outcome {
        Ok(()) | Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
        Err(errno) => {
            Err(io::Error::other(format!("cannot note the owner of `{}`: {errno}", path.display())))
        }
    }
}

/// Sets the time of what is at a path, not following a symlink.
///
/// # Errors
/// With the path, when the file system refuses.
pub fn set_time(path: &Path, (seconds, nanoseconds): (i64, u32)) -> io::Result<()> {
    rustix::fs::utimensat(CWD, path, &times(seconds, nanoseconds), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|errno| io::Error::other(format!("cannot set the time of `{}`: {errno}", path.display())))
}

fn times(seconds: i64, nanoseconds: u32) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: i64::from(nanoseconds) };
    Timestamps { last_access: time, last_modification: time }
}
