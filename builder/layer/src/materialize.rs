//! From a tree to files: writes part of a [`Tree`] into an empty directory, for mounts that show it.
//!
//! The directory is the caller's alone, and every parent is a directory that this module made, so no name can lead elsewhere.
//! Modes and times are set last, children before parents, so that read-only directories can be filled.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;

use crate::content::{Content, LayerDirectories};
use crate::entry::{Device, Entry, Kind, Metadata, Timestamp};
use crate::holes;
use crate::path::ArchivePath;
use crate::tree::{InodeId, Tree};
use crate::unpack::{Devices, Ownership, is_refusal};

/// Name of what is written when the part is no directory.
pub const SINGLE_NAME: &str = "source";

/// How files are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaterializeOptions {
    /// Whether owners are set on disk.
    pub ownership: Ownership,
    /// Whether devices are made.
    pub devices: Devices,
    /// Time of every entry, in seconds since 1970; `None` keeps the tree's own.
    pub time: Option<i64>,
}

/// Why a tree could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write `{path}`")]
pub struct MaterializeError {
    /// The entry.
    pub path: ArchivePath,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// Writes what `tree` has at `part`: the contents of a directory into `directory` itself, with the directory's own metadata;
/// anything else as [`SINGLE_NAME`] in it. Returns the path that shows the part.
///
/// # Errors
/// [`MaterializeError`], which names the entry.
pub fn materialize(
    tree: &Tree,
    part: &ArchivePath,
    directory: &Path,
    layers: &dyn LayerDirectories,
    options: MaterializeOptions,
) -> Result<PathBuf, MaterializeError> {
    let implied = Entry::implied_directory();
    let root = tree.get(part).unwrap_or(&implied);
    let top = if root.is_directory() { directory.to_owned() } else { directory.join(SINGLE_NAME) };
    let mut writer = Writer { tree, layers, options, linked: HashMap::new() };
    let mut directories = vec![(top.clone(), root.metadata.clone(), part.clone())];
    if root.is_directory() {
        let mut made = part.clone();
        for (path, entry) in tree.below(part) {
            let place = |path: &ArchivePath| match path.strip_prefix(part) {
                Some(below) => directory.join(below.as_path()),
                None => directory.join(path.as_path()),
            };
            let failed = |source| MaterializeError { path: path.clone(), source };
            // Neighbours mostly share their parent. One that the tree lacks is made all the same.
            if !path.is_child_of(&made) {
                for parent in
                    path.ancestors().filter(|parent| parent.is_within(part) && tree.get(parent).is_none())
                {
                    match std::fs::create_dir(place(&parent)) {
                        Ok(()) => directories.push((place(&parent), implied.metadata.clone(), parent)),
                        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                        Err(error) => return Err(failed(error)),
                    }
                }
                made = path.parent().unwrap_or_else(ArchivePath::root);
            }
            let target = place(path);
            if entry.is_directory() {
                std::fs::create_dir(&target).map_err(failed)?;
                directories.push((target, entry.metadata.clone(), path.clone()));
            } else {
                writer.write(path, entry, &target).map_err(failed)?;
            }
        }
    } else {
        directories.clear();
        let failed = |source| MaterializeError { path: part.clone(), source };
        writer.write(part, root, &top).map_err(failed)?;
    }
    for (target, metadata, path) in directories.iter().rev() {
        set_metadata(target, metadata, FileType::Directory, options)
            .map_err(|source| MaterializeError { path: path.clone(), source })?;
    }
    Ok(top)
}

struct Writer<'a> {
    tree: &'a Tree,
    layers: &'a dyn LayerDirectories,
    options: MaterializeOptions,
    linked: HashMap<InodeId, PathBuf>,
}

impl Writer<'_> {
    fn write(&mut self, path: &ArchivePath, entry: &Entry, target: &Path) -> io::Result<()> {
        let inode = self.tree.inode(path).filter(|inode| self.tree.link_count(*inode) > 1);
        if let Some(first) = inode.and_then(|inode| self.linked.get(&inode)) {
            match std::fs::hard_link(first, target) {
                // It has as many names as the file system allows: a copy has the next ones.
                Err(error) if error.kind() == io::ErrorKind::TooManyLinks => {}
                outcome => return outcome,
            }
        }
        let is_device = entry.kind.is_device();
        let kind = match is_device && self.options.devices == Devices::Record {
            true => Err(Errno::PERM.into()),
            false => write_node(entry, target, self.layers),
        };
        let kind = match kind {
            // An empty file stands for what cannot be made; root of a container may be without that right.
            Err(error) if is_device && Errno::from_io_error(&error) == Some(Errno::PERM) => {
                create(target).map(|_| FileType::RegularFile)?
            }
            outcome => outcome?,
        };
        set_metadata(target, &entry.metadata, kind, self.options)?;
        if let Some(inode) = inode {
            self.linked.insert(inode, target.to_owned());
        }
        Ok(())
    }
}

/// Makes a file, symlink or special file with its content; returns what it is. Its metadata is not set.
pub(crate) fn write_node(
    entry: &Entry,
    target: &Path,
    layers: &dyn LayerDirectories,
) -> io::Result<FileType> {
    let node = |kind, device: Device| {
        let number = rustix::fs::makedev(device.major, device.minor);
        rustix::fs::mknodat(CWD, target, kind, Mode::from_raw_mode(0o600), number)?;
        Ok(kind)
    };
    match &entry.kind {
        Kind::Directory => unreachable!("directories are made before"),
        Kind::File(content) => write_file(content, target, layers).map(|()| FileType::RegularFile),
        Kind::Symlink(link) => {
            let link: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(&link[..]);
            std::os::unix::fs::symlink(link, target).map(|()| FileType::Symlink)
        }
        Kind::Fifo => node(FileType::Fifo, Device { major: 0, minor: 0 }),
        Kind::CharDevice(device) => node(FileType::CharacterDevice, *device),
        Kind::BlockDevice(device) => node(FileType::BlockDevice, *device),
    }
}

fn write_file(content: &Content, target: &Path, layers: &dyn LayerDirectories) -> io::Result<()> {
    let mut reader = content.open(layers)?;
    let mut file = create(target)?;
    let written = match reader.file() {
        Some(source) => holes::copy_file(source, &file)?,
        None => io::copy(&mut reader, &mut file)?,
    };
    if written != content.size {
        return Err(io::Error::other(format!("it has {written} bytes instead of {}", content.size)));
    }
    Ok(())
}

fn create(target: &Path) -> io::Result<std::fs::File> {
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(target)
}

/// Gives what was made its owner, mode, attributes and time.
pub(crate) fn set_metadata(
    target: &Path,
    metadata: &Metadata,
    kind: FileType,
    options: MaterializeOptions,
) -> io::Result<()> {
    if options.ownership == Ownership::Real {
        std::os::unix::fs::lchown(target, Some(metadata.uid), Some(metadata.gid))?;
    }
    if kind != FileType::Symlink {
        std::fs::set_permissions(target, std::fs::Permissions::from_mode(metadata.mode))?;
    }
    for (name, value) in metadata.xattrs.iter() {
        match rustix::fs::lsetxattr(target, name, value, XattrFlags::empty()) {
            // The kernel or file system does not grant it; the tree knows it all the same.
            Err(errno) if !is_refusal(errno) => return Err(errno.into()),
            Ok(()) | Err(_) => {}
        }
    }
    let Timestamp { seconds, nanoseconds } = options.time.map_or(metadata.mtime, Timestamp::from_seconds);
    let time = Timespec { tv_sec: seconds, tv_nsec: i64::from(nanoseconds) };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::utimensat(CWD, target, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::NoLayers;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_part_is_written_with_its_links_modes_and_times() {
        let path = |text: &str| ArchivePath::parse(text.as_bytes()).unwrap();
        let mut tree = Tree::new();
        tree.insert(path("d"), Entry::directory(Metadata::with_mode(0o555)));
        tree.insert(path("d/f"), Entry::file(Metadata::with_mode(0o640), Content::inline(*b"hello")));
        tree.link(path("d/g"), &path("d/f")).unwrap();
        let link = Kind::Symlink(b"../f"[..].into());
        tree.insert(path("d/l"), Entry { metadata: Metadata::with_mode(0o777), kind: link });
        let space = tempfile::tempdir().unwrap();
        let options = MaterializeOptions {
            ownership: Ownership::Recorded,
            devices: Devices::Record,
            time: Some(315_532_800),
        };
        let top = materialize(&tree, &path("d"), space.path(), &NoLayers, options).unwrap();
        let file = std::fs::metadata(top.join("f")).unwrap();
        assert_eq!((file.mode() & 0o7777, file.nlink(), file.mtime()), (0o640, 2, 315_532_800));
        assert_eq!(std::fs::read_link(top.join("l")).unwrap(), Path::new("../f"));
        assert_eq!(std::fs::metadata(&top).unwrap().mode() & 0o7777, 0o555);

        let single = tempfile::tempdir().unwrap();
        let shown = materialize(&tree, &path("d/f"), single.path(), &NoLayers, options).unwrap();
        assert_eq!(std::fs::read(shown).unwrap(), b"hello");
    }
}
