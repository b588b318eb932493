//! Writing the members of a layer beneath a directory handle.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, XattrFlags};
use rustix::io::Errno;

use super::parts::{Parts, names_within};
use super::remove::{names_in, remove_tree};
use super::{Devices, OverlayMarks, UnpackError, UnpackForm, UnpackOptions};
use crate::content::{DirectoryOrigin, open_beneath};
use crate::content_digest::{ContentDigest, ContentHasher};
use crate::entry::{Device, Entry, Kind, Metadata};
use crate::holes::HoleWriter;
use crate::path::ArchivePath;

/// `NAME_MAX` of Linux.
const NAME_BYTES_MAX: usize = 255;
const BUFFER_BYTES: usize = 128 * 1024;

/// A directory that is being filled.
pub(super) struct Disk<'d> {
    pub(super) root: &'d DirectoryOrigin,
    pub(super) options: UnpackOptions<'d>,
    /// Directories made for want of an entry, with the metadata they get.
    implied: BTreeMap<ArchivePath, Metadata>,
    parent: Option<(ArchivePath, Arc<OwnedFd>)>,
    /// For files that cannot have more names: the copy that has the next ones.
    pub(super) copies: BTreeMap<ArchivePath, ArchivePath>,
    /// For files of lower layers: the copy that this layer has.
    pub(super) lower_copies: BTreeMap<ArchivePath, ArchivePath>,
    pub(super) xattrs_refused: u64,
    buffer: Vec<u8>,
}

impl<'d> Disk<'d> {
    pub(super) fn new(root: &'d DirectoryOrigin, options: UnpackOptions<'d>) -> Self {
        let buffer = vec![0; BUFFER_BYTES];
        Self {
            root,
            options,
            implied: BTreeMap::new(),
            parent: None,
            copies: BTreeMap::new(),
            lower_copies: BTreeMap::new(),
            xattrs_refused: 0,
            buffer,
        }
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
        self.set_handle_metadata(path, file.as_fd(), metadata)?;
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
            kind if kind.is_device() && self.options.devices == Devices::Record => return Ok(()),
            Kind::CharDevice(device) => ("make the device", node(FileType::CharacterDevice, *device)),
            Kind::BlockDevice(device) => ("make the device", node(FileType::BlockDevice, *device)),
            Kind::Fifo => ("make the fifo", node(FileType::Fifo, none)),
        };
        if result == Err(Errno::PERM) && entry.kind.is_device() {
            // Root of a container may be without this right.
            self.options.devices = Devices::Record;
            return Ok(());
        }
        result.map_err(|error| self.fail(verb, path, error))?;
        self.set_node_metadata(&parent, path, entry)
    }

    /// Removes a directory that only held targets of links.
    pub(super) fn remove_bookkeeping(&mut self, path: &ArchivePath) -> Result<(), UnpackError> {
        let parent = path.parent().unwrap_or_else(ArchivePath::root);
        let parent = self.open_directory(&parent).map_err(|error| self.fail("open", &parent, error))?;
        self.remove(&parent, path)
    }

    pub(super) fn opaque(&mut self, directory: &ArchivePath, parts: &Parts) -> Result<(), UnpackError> {
        if self.options.form == UnpackForm::Flat {
            self.clear_below(directory, parts)?;
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
        }
        if self.options.form != UnpackForm::Flat {
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
        // What is deleted below and has something of this layer in it is a directory of this layer alone.
        let replaced = |path: &&ArchivePath| match parts.entries.get(path) {
            Some(entry) => entry.is_directory(),
            None => parts.has_within(path) && !parts.open_links.contains_key(path),
        };
        for path in parts.opaques.iter().chain(parts.whiteouts.iter().filter(replaced)) {
            let handle = self.open_or_make(path, parts)?;
            rustix::fs::fsetxattr(&*handle, name, b"y", XattrFlags::empty())
                .map_err(|error| self.fail("mark as opaque", path, error))?;
        }
        let recorded = match self.options.devices {
            Devices::Create => Vec::new(),
            Devices::Record => parts.entries.iter().filter(|(_, entry)| entry.kind.is_device()).collect(),
        };
        // A device that is not there must not show what lower layers have in its place.
        let hidden = recorded.into_iter().map(|(path, _)| path);
        let mut topmost: Option<&ArchivePath> = None;
        // A mark below another one would need a directory in its place.
        let deleted = parts.whiteouts.iter().filter(|path| {
            let is_hidden = topmost.is_some_and(|topmost| path.is_within(topmost));
            if !is_hidden {
                topmost = Some(path);
            }
            !is_hidden && !parts.has_within(path)
        });
        for path in deleted.chain(hidden) {
            if self.options.lower.is_some_and(|lower| lower.tree.get(path).is_none()) {
                continue;
            }
            let parent = path.parent().unwrap_or_else(ArchivePath::root);
            let parent = self.open_or_make(&parent, parts)?;
            let name = path.file_name().unwrap_or_default();
            match rustix::fs::mknodat(&*parent, name, FileType::CharacterDevice, Mode::empty(), 0) {
                // A device that was made before the next was refused.
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(self.fail("make the whiteout", path, error)),
            }
        }
        Ok(())
    }

    /// Opens the parent of `path`, making it if needed, and removes what a new member at `path` replaces.
    pub(super) fn make_room(
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

    pub(super) fn create(&self, parent: &OwnedFd, path: &ArchivePath) -> Result<File, UnpackError> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let name = path.file_name().unwrap_or_default();
        rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))
            .map(File::from)
            .map_err(|error| self.fail("create", path, error))
    }

    pub(super) fn copy(
        &mut self,
        path: &ArchivePath,
        content: &mut dyn Read,
        file: &File,
    ) -> Result<ContentDigest, UnpackError> {
        let write = |source| UnpackError::Write { verb: "write", path: self.root.display(path), source };
        let mut hasher = ContentHasher::new();
        let mut writer = HoleWriter::new(file);
        let mut buffer = std::mem::take(&mut self.buffer);
        loop {
            let count = match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(UnpackError::ReadContent { path: path.clone(), source }),
            };
            hasher.update(&buffer[..count]);
            writer.write(&buffer[..count]).map_err(write)?;
        }
        writer.finish().map_err(write)?;
        self.buffer = buffer;
        Ok(hasher.finish())
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
        for made in names_within(self.implied.range(path.clone()..).map(|(made, _)| made), path) {
            self.implied.remove(&made);
        }
        remove_tree(parent.as_fd(), path.file_name().unwrap_or_default())
            .map_err(|error| self.fail("remove", path, error))
    }

    pub(super) fn fail(&self, verb: &'static str, path: &ArchivePath, error: Errno) -> UnpackError {
        let length = path.file_name().unwrap_or_default().len();
        let source = match error {
            Errno::NAMETOOLONG if length > NAME_BYTES_MAX => io::Error::new(
                io::ErrorKind::InvalidFilename,
                format!("it has {length} bytes, more than the {NAME_BYTES_MAX} of a name"),
            ),
            error => error.into(),
        };
        UnpackError::Write { verb, path: self.root.display(path), source }
    }
}

/// What kind of member needs room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    ForDirectory,
    ForOther,
}
