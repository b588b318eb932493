//! Members of a layer, one after the other: where each belongs, and what it means.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use kiln_oci::{DiffId, Hasher};

use super::UnpackError;
use super::disk::Disk;
use super::parts::Parts;
use crate::content_digest::{ContentDigest, ContentHasher};
use crate::entry::{Entry, Kind};
use crate::listing::unlocated;
use crate::path::ArchivePath;
use crate::tar::read::{Limits, Member, MemberKind, ReadError, TarReader};
use crate::tar::write::{OPAQUE_MARKER, WHITEOUT_PREFIX};
use crate::tree::{ResolveError, TreeError, resolve_by};

/// What the names of an old Docker storage driver (aufs) begin with: `.wh..wh.plnk` holds files that others are hard links to.
/// None of it ever was part of an image.
const BOOKKEEPING_PREFIX: &[u8] = b".wh..wh.";

/// A layer that is being read.
pub(super) struct Layer<'a, 'd> {
    pub(super) disk: Option<&'a mut Disk<'d>>,
    pub(super) parts: Parts,
    /// Bookkeeping directories that have something in them; they go when all links to it were made.
    bookkeeping: BTreeSet<ArchivePath>,
    /// The directory of the member before, when no symlink leads to it.
    directory: Option<ArchivePath>,
}

impl<'a, 'd> Layer<'a, 'd> {
    pub(super) fn new(disk: Option<&'a mut Disk<'d>>) -> Self {
        Self { disk, parts: Parts::default(), bookkeeping: BTreeSet::new(), directory: None }
    }

    /// Reads the whole layer.
    pub(super) fn read(&mut self, reader: impl Read, limits: Limits) -> Result<(DiffId, u64), UnpackError> {
        let hashing = HashingReader { inner: reader, hasher: Hasher::new(), bytes: 0 };
        let mut tar = TarReader::new(hashing, limits);
        while let Some(member) = tar.next_member()? {
            self.member(member, &mut tar)?;
        }
        tar.drain()?;
        self.close_links()?;
        self.clear_bookkeeping()?;
        let hashing = tar.into_inner();
        Ok((DiffId(hashing.hasher.finish()), hashing.bytes))
    }

    fn member<R: Read>(&mut self, member: Member, tar: &mut TarReader<R>) -> Result<(), UnpackError> {
        let Some(name) = member.path.file_name() else {
            return self.root(member);
        };
        let parent = member.path.parent().unwrap_or_else(ArchivePath::root);
        let parent = self.resolve_directory(&parent)?;
        self.check_parent(&parent, &member.path)?;
        if name == OPAQUE_MARKER {
            self.parts.opaques.insert(parent.clone());
            return self.disk.as_mut().map_or(Ok(()), |disk| disk.opaque(&parent, &self.parts));
        }
        if name.starts_with(BOOKKEEPING_PREFIX) {
            return Ok(());
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT_PREFIX) {
            let path = parent.join(hidden);
            let path = path.map_err(|source| UnpackError::BadWhiteout { path: member.path, source })?;
            if let Some(disk) = &mut self.disk {
                disk.whiteout(&path, &self.parts)?;
            }
            self.parts.whiteouts.insert(path);
            return Ok(());
        }
        let path = parent.join(name).map_err(|source| ReadError::Name { source })?;
        if self.directory.as_ref().is_some_and(|directory| directory.is_within(&path)) {
            self.directory = None;
        }
        self.place(path, member, tar)
    }

    fn root(&mut self, member: Member) -> Result<(), UnpackError> {
        match member.kind {
            MemberKind::Directory => {
                self.parts.entries.insert(ArchivePath::root(), Entry::directory(member.metadata));
                Ok(())
            }
            MemberKind::File(_) => Err(UnpackError::BadRoot { noun: "file" }),
            MemberKind::Symlink(_) | MemberKind::HardLink(_) => Err(UnpackError::BadRoot { noun: "link" }),
            _ => Err(UnpackError::BadRoot { noun: "special file" }),
        }
    }

    /// Looks at the names on the way: one that begins like a whiteout would read back from a layer of ours as a deletion.
    fn check_parent(&mut self, parent: &ArchivePath, member: &ArchivePath) -> Result<(), UnpackError> {
        if !parent.as_bytes().windows(WHITEOUT_PREFIX.len()).any(|bytes| bytes == WHITEOUT_PREFIX) {
            return Ok(());
        }
        for directory in parent.ancestors().chain([parent.clone()]) {
            let name = directory.file_name().unwrap_or_default();
            if name.starts_with(BOOKKEEPING_PREFIX) {
                self.bookkeeping.insert(directory);
                return Ok(());
            }
            if name.starts_with(WHITEOUT_PREFIX) {
                return Err(UnpackError::ReservedName { path: member.clone() });
            }
        }
        Ok(())
    }

    fn place<R: Read>(
        &mut self,
        path: ArchivePath,
        member: Member,
        tar: &mut TarReader<R>,
    ) -> Result<(), UnpackError> {
        let kind = match member.kind {
            MemberKind::HardLink(target) => return self.hard_link(path, &target),
            MemberKind::File(size) => {
                let digest = match &mut self.disk {
                    Some(disk) => disk.file(&path, &member.metadata, &mut tar.content(), &self.parts)?,
                    None => hash(tar)?,
                };
                Kind::File(unlocated(size, Some(digest)))
            }
            MemberKind::Symlink(target) => Kind::Symlink(target),
            MemberKind::Directory => Kind::Directory,
            MemberKind::CharDevice(device) if device.major == 0 && device.minor == 0 => {
                return Err(UnpackError::WhiteoutDevice { path });
            }
            MemberKind::CharDevice(device) => Kind::CharDevice(device),
            MemberKind::BlockDevice(device) => Kind::BlockDevice(device),
            MemberKind::Fifo => Kind::Fifo,
        };
        let entry = Entry { metadata: member.metadata, kind };
        if let Some(disk) = &mut self.disk
            && entry.content().is_none()
        {
            disk.special(&path, &entry, &self.parts)?;
        }
        if entry.is_directory() {
            self.parts.open_links.remove(&path);
        } else {
            self.parts.forget_within(&path);
        }
        self.parts.entries.insert(path, entry);
        Ok(())
    }

    fn hard_link(&mut self, path: ArchivePath, target: &ArchivePath) -> Result<(), UnpackError> {
        let parent = self.resolve_directory(&target.parent().unwrap_or_else(ArchivePath::root))?;
        let target = match target.file_name() {
            Some(name) => parent.join(name).map_err(|source| ReadError::Name { source })?,
            None => return Err(TreeError::LinkToDirectory { path, target: target.clone() }.into()),
        };
        // A link to a link is one to where that leads.
        let target = self.parts.open_links.get(&target).cloned().unwrap_or(target);
        if path == target {
            return Ok(());
        }
        match self.parts.entries.get(&target).map(Entry::is_directory) {
            Some(true) => return Err(TreeError::LinkToDirectory { path, target }.into()),
            // The link takes the place of the directory that its target is in.
            Some(false) if target.is_within(&path) => {
                return Err(TreeError::NoLinkTarget { path, target }.into());
            }
            Some(false) => {
                if let Some(disk) = &mut self.disk {
                    disk.hard_link(&path, &target, &self.parts)?;
                }
                self.parts.forget_within(&path);
                self.parts.entries.link(path, &target)?;
            }
            None => {
                if let Some(disk) = &mut self.disk {
                    disk.open_link(&path, &target, &self.parts)?;
                }
                self.parts.forget_within(&path);
                self.parts.entries.remove(&path);
                self.parts.open_links.insert(path, target);
            }
        }
        Ok(())
    }

    /// Makes the links whose targets were not there yet: to what came later, or to what lower layers have.
    fn close_links(&mut self) -> Result<(), UnpackError> {
        let ends = self.ends_of_links()?;
        for (path, target) in ends {
            if self.parts.entries.get(&target).is_some() {
                if let Some(disk) = &mut self.disk {
                    disk.hard_link(&path, &target, &self.parts)?;
                }
                self.parts.open_links.remove(&path);
                self.parts.entries.link(path, &target)?;
            } else {
                if let Some(disk) = &mut self.disk {
                    disk.link_from_below(&path, &target, &self.parts)?;
                }
                self.parts.open_links.insert(path, target);
            }
        }
        Ok(())
    }

    /// Returns where each open link leads in the end: its target may have become a link itself.
    fn ends_of_links(&self) -> Result<Vec<(ArchivePath, ArchivePath)>, UnpackError> {
        let links = &self.parts.open_links;
        let mut ends: BTreeMap<&ArchivePath, &ArchivePath> = BTreeMap::new();
        for (path, first) in links {
            let mut trail = vec![path];
            let mut target = first;
            while let Some(next) = ends.get(target).copied().or_else(|| links.get(target)) {
                if trail.len() > links.len() {
                    return Err(TreeError::NoLinkTarget { path: path.clone(), target: first.clone() }.into());
                }
                trail.push(target);
                target = next;
            }
            ends.extend(trail.into_iter().map(|link| (link, target)));
        }
        Ok(ends.into_iter().map(|(path, target)| (path.clone(), target.clone())).collect())
    }

    /// Removes what was there only to be linked to.
    fn clear_bookkeeping(&mut self) -> Result<(), UnpackError> {
        for path in std::mem::take(&mut self.bookkeeping) {
            if let Some(disk) = &mut self.disk {
                disk.remove_bookkeeping(&path)?;
            }
            self.parts.forget_within(&path);
            self.parts.entries.remove(&path);
        }
        Ok(())
    }

    /// Follows symlinks of this layer in `path`, within the layer.
    fn resolve_directory(&mut self, path: &ArchivePath) -> Result<ArchivePath, UnpackError> {
        if self.directory.as_ref() == Some(path) {
            return Ok(path.clone());
        }
        let parts = &self.parts;
        // A link whose target is not known yet is no directory, whatever it will be.
        let link = Kind::File(unlocated(0, None));
        let lookup = |path: &ArchivePath| match parts.entries.get(path) {
            Some(entry) => Some(&entry.kind),
            None => parts.open_links.contains_key(path).then_some(&link),
        };
        let resolved = resolve_by(lookup, &ArchivePath::root(), path)?;
        if let Some(kind) = lookup(&resolved.path).filter(|kind| !matches!(kind, Kind::Directory)) {
            let noun = kind.noun();
            return Err(
                ResolveError::NotADirectory { path: path.clone(), obstacle: resolved.path, noun }.into()
            );
        }
        self.directory = (resolved.path == *path).then(|| path.clone());
        Ok(resolved.path)
    }
}

fn hash<R: Read>(tar: &mut TarReader<R>) -> Result<ContentDigest, UnpackError> {
    let mut hasher = ContentHasher::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match tar.read_content(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            count => hasher.update(&buffer[..count]),
        }
    }
}

struct HashingReader<R> {
    inner: R,
    hasher: Hasher,
    bytes: u64,
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.bytes += count as u64;
        Ok(count)
    }
}
