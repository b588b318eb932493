//! Writing the members of a layer beneath a directory handle.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::{Devices, OverlayMarks, Ownership, Parts, UnpackError, UnpackForm, UnpackOptions};
use crate::content::{DirectoryOrigin, open_beneath};
use crate::content_digest::{ContentDigest, ContentHasher};
use crate::entry::{Device, Entry, Kind, Metadata, Timestamp};
use crate::path::ArchivePath;
use crate::tree::TreeError;

const BUFFER_BYTES: usize = 128 * 1024;

/// A directory that is being filled.
pub(super) struct Disk<'d> {
    root: &'d DirectoryOrigin,
    options: UnpackOptions<'d>,
    /// Directories made for want of an entry, with the metadata they get.
    implied: BTreeMap<ArchivePath, Metadata>,
    parent: Option<(ArchivePath, Arc<OwnedFd>)>,
    xattrs_refused: u64,
    buffer: Vec<u8>,
}

impl<'d> Disk<'d> {
    pub(super) fn new(root: &'d DirectoryOrigin, options: UnpackOptions<'d>) -> Self {
        let buffer = vec![0; BUFFER_BYTES];
        Self { root, options, implied: BTreeMap::new(), parent: None, xattrs_refused: 0, buffer }
    }

    pub(super) fn file(
        &mut self,
        path: &ArchivePath,
        metadata: &Metadata,
        content: &mut dyn Read,
        parts: &Parts,
    ) -> Result<ContentDigest, UnpackError> {
        let parent = self.make_room(path, parts, Room::ForOther)?;
        let file = self.create(&parent, path)?;
        let digest = self.copy(path, content, &file)?;
        self.set_file_metadata(path, &file, metadata)?;
        Ok(digest)
    }

    /// Makes a directory, symlink, device or fifo.
    pub(super) fn special(
        &mut self,
        path: &ArchivePath,
        entry: &Entry,
        parts: &Parts,
    ) -> Result<(), UnpackError> {
        let room = if entry.is_directory() { Room::ForDirectory } else { Room::ForOther };
        let parent = self.make_room(path, parts, room)?;
        let name = path.file_name().unwrap_or_default();
        let mode = Mode::from_raw_mode(entry.metadata.mode & 0o7777);
        let node = |kind, device: Device| {
            let number = rustix::fs::makedev(device.major, device.minor);
            rustix::fs::mknodat(&*parent, name, kind, mode, number)
        };
        let none = Device { major: 0, minor: 0 };
        let (verb, result) = match &entry.kind {
            Kind::Directory => {
                self.implied.remove(path);
                return self.make_directory(&parent, path);
            }
            Kind::File(_) => return Ok(()),
            Kind::Symlink(target) => ("make the symlink", rustix::fs::symlinkat(&target[..], &*parent, name)),
            Kind::CharDevice(_) | Kind::BlockDevice(_) if self.options.devices == Devices::Record => {
                return Ok(());
            }
            Kind::CharDevice(device) => ("make the device", node(FileType::CharacterDevice, *device)),
            Kind::BlockDevice(device) => ("make the device", node(FileType::BlockDevice, *device)),
            Kind::Fifo => ("make the fifo", node(FileType::Fifo, none)),
        };
        result.map_err(|error| self.fail(verb, path, error))?;
        self.set_node_metadata(&parent, path, entry)
    }

    pub(super) fn hard_link(
        &mut self,
        path: &ArchivePath,
        target: &ArchivePath,
        parts: &Parts,
    ) -> Result<(), UnpackError> {
        let here = parts.entries.get(target);
        if here.is_some_and(Entry::is_directory) {
            return Err(TreeError::LinkToDirectory { path: path.clone(), target: target.clone() }.into());
        }
        let is_recorded = self.options.devices == Devices::Record
            && here.is_some_and(|entry| matches!(entry.kind, Kind::CharDevice(_) | Kind::BlockDevice(_)));
        if is_recorded {
            return Ok(());
        }
        if here.is_none() && self.options.form != UnpackForm::Flat {
            return self.copy_from_below(path, target, parts);
        }
        let parent = self.make_room(path, parts, Room::ForOther)?;
        let target_parent = target.parent().unwrap_or_else(ArchivePath::root);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let from = open_beneath(self.root.as_fd(), &target_parent, flags);
        let from = from.map_err(|error| self.fail("open", &target_parent, error))?;
        let (old, new) = (target.file_name().unwrap_or_default(), path.file_name().unwrap_or_default());
        match rustix::fs::linkat(&from, old, &*parent, new, AtFlags::empty()) {
            Ok(()) => Ok(()),
            Err(Errno::NOENT) => {
                Err(TreeError::NoLinkTarget { path: path.clone(), target: target.clone() }.into())
            }
            Err(error) => Err(self.fail("make the hard link", path, error)),
        }
    }

    /// overlayfs cannot link across layers, so the name gets a copy; the listing keeps the link.
    fn copy_from_below(
        &mut self,
        path: &ArchivePath,
        target: &ArchivePath,
        parts: &Parts,
    ) -> Result<(), UnpackError> {
        let missing = || TreeError::NoLinkTarget { path: path.clone(), target: target.clone() };
        let lower = self.options.lower.ok_or_else(missing)?;
        let entry = lower.tree.get(target).ok_or_else(missing)?;
        match &entry.kind {
            Kind::Directory => {
                Err(TreeError::LinkToDirectory { path: path.clone(), target: target.clone() }.into())
            }
            Kind::File(content) => {
                let mut reader = content
                    .open(lower.layers)
                    .map_err(|source| UnpackError::ReadLower { path: target.clone(), source })?;
                self.file(path, &entry.metadata, &mut reader, parts).map(|_| ())
            }
            _ => self.special(path, entry, parts),
        }
    }

    pub(super) fn opaque(&mut self, directory: &ArchivePath, parts: &Parts) -> Result<(), UnpackError> {
        if self.options.form == UnpackForm::Flat {
            return self.clear_below(directory, parts);
        }
        self.open_or_make(directory, parts).map(|_| ())
    }

    pub(super) fn whiteout(&mut self, path: &ArchivePath, parts: &Parts) -> Result<(), UnpackError> {
        if self.options.form != UnpackForm::Flat {
            // Made at the end, when it is known what else the layer has there.
            return Ok(());
        }
        if parts.has_within(path) {
            return self.clear_below(path, parts);
        }
        let parent = path.parent().unwrap_or_else(ArchivePath::root);
        match self.open_directory(&parent) {
            Ok(parent) => self.remove(&parent, path),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
            Err(error) => Err(self.fail("open", &parent, error)),
        }
    }

    /// Sets the metadata of directories and makes overlay marks; returns how many attributes were refused.
    pub(super) fn finish(mut self, parts: &Parts) -> Result<u64, UnpackError> {
        if let UnpackForm::Overlay(marks) = self.options.form {
            self.overlay_marks(parts, marks)?;
            let root = ArchivePath::root();
            let metadata = self.implied_metadata(&root);
            self.implied.entry(root).or_insert(metadata);
        }
        let mut directories = std::mem::take(&mut self.implied);
        for (path, entry) in parts.entries.iter().filter(|(_, entry)| entry.is_directory()) {
            directories.insert(path.clone(), entry.metadata.clone());
        }
        for (path, metadata) in directories.iter().rev() {
            let handle = self.open_directory(path).map_err(|error| self.fail("open", path, error))?;
            self.set_handle_metadata(path, handle.as_fd(), metadata)?;
        }
        Ok(self.xattrs_refused)
    }

    fn overlay_marks(&mut self, parts: &Parts, marks: OverlayMarks) -> Result<(), UnpackError> {
        let name: &CStr = match marks {
            OverlayMarks::Trusted => c"trusted.overlay.opaque",
            OverlayMarks::User => c"user.overlay.opaque",
        };
        let replaced = |path: &&ArchivePath| parts.entries.get(path).is_some_and(Entry::is_directory);
        for path in parts.opaques.iter().chain(parts.whiteouts.iter().filter(replaced)) {
            let handle = self.open_or_make(path, parts)?;
            rustix::fs::fsetxattr(&*handle, name, b"y", XattrFlags::empty())
                .map_err(|error| self.fail("mark as opaque", path, error))?;
        }
        for path in parts.whiteouts.iter().filter(|path| !parts.has_within(path)) {
            if self.options.lower.is_some_and(|lower| lower.tree.get(path).is_none()) {
                continue;
            }
            let parent = path.parent().unwrap_or_else(ArchivePath::root);
            let parent = self.open_or_make(&parent, parts)?;
            let name = path.file_name().unwrap_or_default();
            rustix::fs::mknodat(&*parent, name, FileType::CharacterDevice, Mode::empty(), 0)
                .map_err(|error| self.fail("make the whiteout", path, error))?;
        }
        Ok(())
    }

    /// Opens the parent of `path`, making it if needed, and removes what a new member at `path` replaces.
    fn make_room(
        &mut self,
        path: &ArchivePath,
        parts: &Parts,
        room: Room,
    ) -> Result<Arc<OwnedFd>, UnpackError> {
        let parent = path.parent().unwrap_or_else(ArchivePath::root);
        let handle = self.open_or_make(&parent, parts)?;
        let may_exist = self.options.form == UnpackForm::Flat
            || parts.has_within(path)
            || self.implied.contains_key(path);
        if may_exist && !(room == Room::ForDirectory && self.is_directory(&handle, path)?) {
            self.remove(&handle, path)?;
        }
        Ok(handle)
    }

    fn is_directory(&self, parent: &OwnedFd, path: &ArchivePath) -> Result<bool, UnpackError> {
        let name = path.file_name().unwrap_or_default();
        match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(self.fail("look at", path, error)),
        }
    }

    fn open_directory(&mut self, path: &ArchivePath) -> Result<Arc<OwnedFd>, Errno> {
        if let Some((known, handle)) = &self.parent
            && known == path
        {
            return Ok(Arc::clone(handle));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = Arc::new(open_beneath(self.root.as_fd(), path, flags)?);
        self.parent = Some((path.clone(), Arc::clone(&handle)));
        Ok(handle)
    }

    fn open_or_make(&mut self, path: &ArchivePath, parts: &Parts) -> Result<Arc<OwnedFd>, UnpackError> {
        match self.open_directory(path) {
            Ok(handle) => return Ok(handle),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Err(error) => return Err(self.fail("open", path, error)),
        }
        for ancestor in path.ancestors().skip(1).chain([path.clone()]) {
            let parent = ancestor.parent().unwrap_or_else(ArchivePath::root);
            let parent = self.open_directory(&parent).map_err(|error| self.fail("open", &parent, error))?;
            if !self.is_directory(&parent, &ancestor)? {
                self.remove(&parent, &ancestor)?;
                self.make_directory(&parent, &ancestor)?;
                if parts.entries.get(&ancestor).is_none() {
                    let metadata = self.implied_metadata(&ancestor);
                    self.implied.insert(ancestor, metadata);
                }
            }
        }
        self.open_directory(path).map_err(|error| self.fail("open", path, error))
    }

    /// An implied directory must not hide what lower layers say about it.
    fn implied_metadata(&self, path: &ArchivePath) -> Metadata {
        self.options
            .lower
            .and_then(|lower| lower.tree.get(path))
            .filter(|entry| entry.is_directory())
            .map_or_else(Metadata::implied_directory, |entry| entry.metadata.clone())
    }

    fn make_directory(&self, parent: &OwnedFd, path: &ArchivePath) -> Result<(), UnpackError> {
        let name = path.file_name().unwrap_or_default();
        // Its own mode follows at the end; until then members must fit in.
        match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(self.fail("make the directory", path, error)),
        }
    }

    fn create(&self, parent: &OwnedFd, path: &ArchivePath) -> Result<File, UnpackError> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let name = path.file_name().unwrap_or_default();
        rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))
            .map(File::from)
            .map_err(|error| self.fail("create", path, error))
    }

    fn copy(
        &mut self,
        path: &ArchivePath,
        content: &mut dyn Read,
        mut file: &File,
    ) -> Result<ContentDigest, UnpackError> {
        let mut hasher = ContentHasher::new();
        let mut buffer = std::mem::take(&mut self.buffer);
        loop {
            let count = match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(UnpackError::ReadContent { path: path.clone(), source }),
            };
            hasher.update(&buffer[..count]);
            file.write_all(&buffer[..count]).map_err(|source| UnpackError::Write {
                verb: "write",
                path: self.root.display(path),
                source,
            })?;
        }
        self.buffer = buffer;
        Ok(hasher.finish())
    }

    fn set_file_metadata(
        &mut self,
        path: &ArchivePath,
        file: &File,
        metadata: &Metadata,
    ) -> Result<(), UnpackError> {
        self.set_handle_metadata(path, file.as_fd(), metadata)
    }

    /// Owner before mode (a change of owner clears set-id bits) before attributes (it clears capabilities) before times.
    fn set_handle_metadata(
        &mut self,
        path: &ArchivePath,
        handle: BorrowedFd<'_>,
        metadata: &Metadata,
    ) -> Result<(), UnpackError> {
        if self.options.ownership == Ownership::Real {
            rustix::fs::fchown(handle, Some(Uid::from_raw(metadata.uid)), Some(Gid::from_raw(metadata.gid)))
                .map_err(|error| self.fail("set the owner of", path, error))?;
        }
        rustix::fs::fchmod(handle, Mode::from_raw_mode(metadata.mode & 0o7777))
            .map_err(|error| self.fail("set the mode of", path, error))?;
        for (name, value) in metadata.xattrs.iter().filter(|(name, _)| !crate::walk::is_overlay_xattr(name)) {
            let wanted = self.options.ownership == Ownership::Real || name.starts_with(b"user.");
            match wanted.then(|| rustix::fs::fsetxattr(handle, name, value, XattrFlags::empty())) {
                Some(Ok(())) => {}
                None | Some(Err(Errno::NOTSUP | Errno::PERM)) => self.xattrs_refused += 1,
                Some(Err(error)) => return Err(self.fail("set an attribute of", path, error)),
            }
        }
        rustix::fs::futimens(handle, &times(metadata.mtime))
            .map_err(|error| self.fail("set the time of", path, error))
    }

    fn set_node_metadata(
        &self,
        parent: &OwnedFd,
        path: &ArchivePath,
        entry: &Entry,
    ) -> Result<(), UnpackError> {
        let name = path.file_name().unwrap_or_default();
        let Metadata { uid, gid, mode, mtime, .. } = entry.metadata;
        if self.options.ownership == Ownership::Real {
            let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            rustix::fs::chownat(parent, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|error| self.fail("set the owner of", path, error))?;
        }
        if !matches!(entry.kind, Kind::Symlink(_)) {
            // Just made beneath this handle, so no link can stand there; the umask may have taken bits.
            rustix::fs::chmodat(parent, name, Mode::from_raw_mode(mode & 0o7777), AtFlags::empty())
                .map_err(|error| self.fail("set the mode of", path, error))?;
        }
        rustix::fs::utimensat(parent, name, &times(mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| self.fail("set the time of", path, error))
    }

    /// Removes what is below `path` on disk and not of this layer.
    fn clear_below(&mut self, path: &ArchivePath, parts: &Parts) -> Result<(), UnpackError> {
        let handle = match self.open_directory(path) {
            Ok(handle) => handle,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            Err(error) => return Err(self.fail("open", path, error)),
        };
        for name in names_in(&handle).map_err(|error| self.fail("read", path, error))? {
            let child = path.join(&name).map_err(|source| crate::tar::read::ReadError::Name { source })?;
            if parts.has_within(&child) {
                self.clear_below(&child, parts)?;
            } else {
                self.remove(&handle, &child)?;
            }
        }
        Ok(())
    }

    /// Removes a name of an open directory and all below it, if it is there.
    fn remove(&mut self, parent: &OwnedFd, path: &ArchivePath) -> Result<(), UnpackError> {
        self.parent = None;
        self.implied.retain(|made, _| !made.is_within(path));
        remove_tree(parent.as_fd(), path.file_name().unwrap_or_default())
            .map_err(|error| self.fail("remove", path, error))
    }

    fn fail(&self, verb: &'static str, path: &ArchivePath, error: Errno) -> UnpackError {
        UnpackError::Write { verb, path: self.root.display(path), source: error.into() }
    }
}

/// What kind of member needs room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    ForDirectory,
    ForOther,
}

fn times(mtime: Timestamp) -> Timestamps {
    let time = Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}

fn names_in(directory: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for item in rustix::fs::Dir::read_from(directory)? {
        let name = item?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    Ok(names)
}

/// Removes `name` with everything below it, never through a symlink. Not being there is success.
fn remove_tree(parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    for child in names_in(&directory)? {
        remove_tree(directory.as_fd(), &child)?;
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}
