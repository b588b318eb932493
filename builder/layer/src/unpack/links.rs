//! Hard links: to members of the layer, and to files of the layers below.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, OFlags};
use rustix::io::Errno;

use super::disk::{Disk, Room};
use super::parts::Parts;
use super::{Devices, UnpackError, UnpackForm};
use crate::content::open_beneath;
use crate::entry::Kind;
use crate::path::ArchivePath;
use crate::tree::TreeError;

impl Disk<'_> {
    /// Makes `path` another name of what this layer has at `target`.
    pub(super) fn hard_link(
        &mut self,
        path: &ArchivePath,
        target: &ArchivePath,
        parts: &Parts,
    ) -> Result<(), UnpackError> {
        let parent = self.make_room(path, parts, Room::ForOther)?;
        let is_recorded = self.options.devices == Devices::Record
            && parts.entries.get(target).is_some_and(|entry| entry.kind.is_device());
        if is_recorded {
            return Ok(());
        }
        // A copy counts only while nothing else has taken its place.
        let copy = self.copies.get(target).cloned();
        let copy = copy.filter(|copy| parts.entries.inode(copy) == parts.entries.inode(target));
        match self.link(&parent, path, copy.as_ref().unwrap_or(target))? {
            Linked::Made => Ok(()),
            Linked::NoTarget => {
                Err(TreeError::NoLinkTarget { path: path.clone(), target: target.clone() }.into())
            }
            Linked::Full => self.copy_member(path, target, parts),
        }
    }

    /// Clears the place of a link whose target this layer does not have. In a full root the target may be there already.
    pub(super) fn open_link(
        &mut self,
        path: &ArchivePath,
        target: &ArchivePath,
        parts: &Parts,
    ) -> Result<(), UnpackError> {
        let parent = self.make_room(path, parts, Room::ForOther)?;
        if self.options.form == UnpackForm::Flat {
            self.link(&parent, path, target)?;
        }
        Ok(())
    }

    /// Makes `path` another name of what lower layers have at `target`. overlayfs cannot link across layers, so the first name
    /// is a copy and the others lead to that; the listing keeps the link.
    pub(super) fn link_from_below(
        &mut self,
        path: &ArchivePath,
        target: &ArchivePath,
        parts: &Parts,
    ) -> Result<(), UnpackError> {
        let missing = || TreeError::NoLinkTarget { path: path.clone(), target: target.clone() };
        if self.options.form == UnpackForm::Flat {
            return if self.exists(path)? { Ok(()) } else { Err(missing().into()) };
        }
        let lower = self.options.lower.ok_or_else(missing)?;
        let entry = lower.tree.get(target).ok_or_else(missing)?;
        let parent = self.make_room(path, parts, Room::ForOther)?;
        if let Some(copy) = self.lower_copies.get(target).cloned()
            && self.link(&parent, path, &copy)? == Linked::Made
        {
            return Ok(());
        }
        self.lower_copies.insert(target.clone(), path.clone());
        match &entry.kind {
            Kind::Directory => {
                Err(TreeError::LinkToDirectory { path: path.clone(), target: target.clone() }.into())
            }
            Kind::File(content) => {
                let mut reader = content
                    .open(lower.layers)
                    .map_err(|source| UnpackError::ReadLower { path: target.clone(), source })?;
                self.file(path, &entry.metadata, &mut reader, parts).map(drop)
            }
            _ => self.special(path, entry, parts),
        }
    }

    fn link(
        &mut self,
        parent: &OwnedFd,
        path: &ArchivePath,
        target: &ArchivePath,
    ) -> Result<Linked, UnpackError> {
        let target_parent = target.parent().unwrap_or_else(ArchivePath::root);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let from = match open_beneath(self.root.as_fd(), &target_parent, flags) {
            Ok(from) => from,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Linked::NoTarget),
            Err(error) => return Err(self.fail("open", &target_parent, error)),
        };
        let (old, new) = (target.file_name().unwrap_or_default(), path.file_name().unwrap_or_default());
        match rustix::fs::linkat(&from, old, parent, new, AtFlags::empty()) {
            Ok(()) => Ok(Linked::Made),
            Err(Errno::NOENT) => Ok(Linked::NoTarget),
            Err(Errno::MLINK) => Ok(Linked::Full),
            Err(error) => Err(self.fail("make the hard link", path, error)),
        }
    }

    /// File systems bound the number of names (ext4's bound is 65,000): what goes beyond gets a copy.
    fn copy_member(
        &mut self,
        path: &ArchivePath,
        target: &ArchivePath,
        parts: &Parts,
    ) -> Result<(), UnpackError> {
        let missing = || TreeError::NoLinkTarget { path: path.clone(), target: target.clone() };
        let entry = parts.entries.get(target).ok_or_else(missing)?;
        self.copies.insert(target.clone(), path.clone());
        if entry.content().is_none() {
            return self.special(path, entry, parts);
        }
        let open =
            open_beneath(self.root.as_fd(), target, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC);
        let mut original = open.map(File::from).map_err(|error| self.fail("open", target, error))?;
        self.file(path, &entry.metadata, &mut original, parts).map(drop)
    }

    fn exists(&mut self, path: &ArchivePath) -> Result<bool, UnpackError> {
        match open_beneath(self.root.as_fd(), path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC) {
            Ok(_) | Err(Errno::LOOP) => Ok(true),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(error) => Err(self.fail("look at", path, error)),
        }
    }
}

/// How a link was made, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Linked {
    Made,
    NoTarget,
    /// The target has as many names as the file system allows.
    Full,
}
