//! From a tree to files: writes part of a [`Tree`] into an empty directory, for mounts that show it.
//!
//! The directory is the caller's alone, and every parent is a directory that this module made, so no name can lead elsewhere.
//! Modes and times are set last, children before parents, so that read-only directories can be filled.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;

use crate::content::{Content, LayerDirectories};
use crate::entry::{Device, Entry, Kind, Metadata, Timestamp};
use crate::holes;
use crate::path::ArchivePath;
use crate::tree::{InodeId, Tree};
use crate::unpack::{Devices, Ownership, is_refusal, owner_error};

/// Name of what is written when the part is no directory.
pub const SINGLE_NAME: &str = "source";

/// What the kernel gives at most as names of a file's attributes.
const XATTR_NAMES_BYTES_MAX: usize = 64 * 1024;

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
    write_part(Writer { tree, layers, options, before: None, linked: HashMap::new() }, part, directory)
}

/// Writes a whole tree into `directory`, and moves there what `before` has already: the files that have the same name, size
/// and time. `before` is the caller's alone, was written by this module, and holds for each name and time one content.
///
/// # Errors
/// [`MaterializeError`], which names the entry.
pub fn materialize_again(
    tree: &Tree,
    directory: &Path,
    before: &Path,
    layers: &dyn LayerDirectories,
    options: MaterializeOptions,
) -> Result<(), MaterializeError> {
    let writer = Writer { tree, layers, options, before: Some(before), linked: HashMap::new() };
    write_part(writer, &ArchivePath::root(), directory).map(drop)
}

fn write_part(
    mut writer: Writer<'_>,
    part: &ArchivePath,
    directory: &Path,
) -> Result<PathBuf, MaterializeError> {
    let (tree, options) = (writer.tree, writer.options);
    let implied = Entry::implied_directory();
    let root = tree.get(part).unwrap_or(&implied);
    let top = if root.is_directory() { directory.to_owned() } else { directory.join(SINGLE_NAME) };
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
    before: Option<&'a Path>,
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
        let kind = match (&entry.kind, is_device && self.options.devices == Devices::Record) {
            (_, true) => Err(Errno::PERM.into()),
            (Kind::File(content), false) if self.take(path, entry, content, target)? => {
                Ok(FileType::RegularFile)
            }
            _ => write_node(entry, target, self.layers),
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

    /// Moves a file that was written before, and tells whether there was one. Its metadata is still to be set.
    fn take(&self, path: &ArchivePath, entry: &Entry, content: &Content, target: &Path) -> io::Result<bool> {
        let Some(source) = self.before.map(|before| before.join(path.as_path())) else { return Ok(false) };
        let Ok(found) = std::fs::symlink_metadata(&source) else { return Ok(false) };
        let time = Timestamp { seconds: found.mtime(), nanoseconds: found.mtime_nsec() as u32 };
        // Another name of it may be a file of its own by now.
        let is_alone = found.is_file() && found.nlink() == 1;
        if !is_alone || (found.len(), time) != (content.size, entry.metadata.mtime) {
            return Ok(false);
        }
        let mut names = vec![0; XATTR_NAMES_BYTES_MAX];
        let length = match rustix::fs::llistxattr(&source, &mut names) {
            Ok(length) => length,
            Err(errno) if is_refusal(errno) => 0,
            Err(errno) => return Err(errno.into()),
        };
        for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            if entry.metadata.xattrs.get(name).is_some() {
                continue;
            }
            match rustix::fs::lremovexattr(&source, name) {
                // What the system itself put there stays.
                Err(errno) if !is_refusal(errno) => return Err(errno.into()),
                Ok(()) | Err(_) => {}
            }
        }
        std::fs::rename(&source, target)?;
        Ok(true)
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

/// Makes an empty file.
pub(crate) fn create(target: &Path) -> io::Result<std::fs::File> {
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
        std::os::unix::fs::lchown(target, Some(metadata.uid), Some(metadata.gid))
            .map_err(|error| owner_error(metadata, error))?;
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
    #[test]
    fn files_of_the_same_name_size_and_time_are_moved_and_the_rest_is_written() {
        let path = |text: &str| ArchivePath::parse(text.as_bytes()).unwrap();
        let tree = |files: &[(&str, &'static str, i64)]| {
            let mut tree = Tree::new();
            tree.insert(path("d"), Entry::directory(Metadata::with_mode(0o755)));
            for (name, text, seconds) in files {
                let mtime = Timestamp::from_seconds(*seconds);
                let metadata = Metadata { mtime, ..Metadata::with_mode(0o600) };
                tree.insert(path(name), Entry::file(metadata, Content::inline(text.as_bytes())));
            }
            tree
        };
        let options =
            MaterializeOptions { ownership: Ownership::Recorded, devices: Devices::Record, time: None };
        let (before, after) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = tree(&[("d/gone", "1", 1), ("d/linked", "1", 1), ("d/new", "1", 1), ("d/same", "1", 1)]);
        materialize(&first, &ArchivePath::root(), before.path(), &NoLayers, options).unwrap();
        std::fs::hard_link(before.path().join("d/linked"), before.path().join("other")).unwrap();
        let inode =
            |name: &str, root: &tempfile::TempDir| std::fs::metadata(root.path().join(name)).unwrap().ino();
        let were = ["d/linked", "d/new", "d/same"].map(|name| inode(name, &before));
        let second = tree(&[("d/linked", "1", 1), ("d/new", "2", 2), ("d/same", "1", 1)]);
        materialize_again(&second, after.path(), before.path(), &NoLayers, options).unwrap();
        let are = ["d/linked", "d/new", "d/same"].map(|name| inode(name, &after));
        assert_eq!(
            std::iter::zip(were, are).map(|(was, is)| was == is).collect::<Vec<_>>(),
            [false, false, true]
        );
        assert_eq!(std::fs::read_to_string(after.path().join("d/new")).unwrap(), "2");
        assert_eq!(std::fs::read_dir(after.path().join("d")).unwrap().count(), 3);
    }
}
