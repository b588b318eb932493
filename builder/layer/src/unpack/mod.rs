//! From a layer's tar to a directory and a listing, in one pass.
//!
//! Two forms: *overlay-ready* (the layer alone, deletions as overlayfs marks) and *flat* (onto a full root, deletions deleted).
//! Every name is opened beneath the directory's handle and never through a symlink. Parents that are symlinks *of the same
//! layer* are followed within it; a parent that is none of the layer's directories becomes a directory, as in overlayfs.
//! Later members win over earlier ones. Whiteouts and opaque marks count for lower layers only, wherever they stand.

mod disk;

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::PathBuf;

use kiln_oci::{DiffId, Hasher};

use crate::content::{DirectoryOrigin, LayerDirectories};
use crate::content_digest::{ContentDigest, ContentHasher};
use crate::entry::{Entry, Kind};
use crate::listing::{Item, Listing, unlocated};
use crate::path::{ArchivePath, PathError};
use crate::tar::read::{Limits, Member, MemberKind, ReadError, TarReader};
use crate::tar::write::{OPAQUE_MARKER, WHITEOUT_PREFIX};
use crate::tree::{ResolveError, Tree, TreeError};
use disk::Disk;

/// How to unpack.
#[derive(Clone, Copy)]
pub struct UnpackOptions<'a> {
    /// What the directory is for.
    pub form: UnpackForm,
    /// Whether owners are set on disk.
    pub ownership: Ownership,
    /// Whether devices are made.
    pub devices: Devices,
    /// What lies below the layer: gives missing parents their metadata, and hard links into lower layers their content.
    pub lower: Option<Lower<'a>>,
    /// What the archive may ask for.
    pub limits: Limits,
}

/// The tree below a layer.
#[derive(Clone, Copy)]
pub struct Lower<'a> {
    /// What it contains.
    pub tree: &'a Tree,
    /// Where its contents are.
    pub layers: &'a dyn LayerDirectories,
}

/// What an unpacked directory is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnpackForm {
    /// A lower directory of overlayfs. The directory must be empty.
    Overlay(OverlayMarks),
    /// Onto a directory that has the layers below already.
    Flat,
}

/// Under which names overlayfs looks for its marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverlayMarks {
    /// `trusted.overlay.*`: mounts of the real root.
    Trusted,
    /// `user.overlay.*`: mounts with `userxattr`, inside a user namespace.
    User,
}

/// Whether owners are set on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// They are; this process may.
    Real,
    /// They are in the listing only.
    Recorded,
}

/// Whether devices are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Devices {
    /// They are; this process may.
    Create,
    /// They are in the listing only.
    Record,
}

/// What unpacking a layer gave.
#[derive(Debug, Clone)]
pub struct Unpacked {
    /// What the layer contains, with its diff id and the digests of all contents.
    pub listing: Listing,
    /// How many bytes the tar has.
    pub uncompressed_size: u64,
    /// Attributes that the file system or the kernel refused; they are in the listing.
    pub xattrs_refused: u64,
}

/// Why a layer cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive cannot be read.
    #[error(transparent)]
    Archive(#[from] ReadError),
    /// A member lies below something that is no directory.
    #[error("member cannot be placed")]
    Place(#[from] ResolveError),
    /// A hard link that has no file to link to.
    #[error("member cannot be linked")]
    Link(#[from] TreeError),
    /// A whiteout that names nothing.
    #[error("`{path}` is no whiteout: it names nothing")]
    BadWhiteout {
        /// The member.
        path: ArchivePath,
        /// What is wrong with the name.
        #[source]
        source: PathError,
    },
    /// A device that overlayfs takes for a deletion.
    #[error("character device `{path}` has the number 0:0, which marks deletions")]
    WhiteoutDevice {
        /// The member.
        path: ArchivePath,
    },
    /// The root is something other than a directory.
    #[error("the layer's root is a {noun}, not a directory")]
    BadRoot {
        /// What it is.
        noun: &'static str,
    },
    /// A content of the layers below cannot be read.
    #[error("cannot read `{path}` of the layers below")]
    ReadLower {
        /// The file.
        path: ArchivePath,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A member's content cannot be read.
    #[error("cannot read the content of member `{path}`")]
    ReadContent {
        /// The member.
        path: ArchivePath,
        /// What the stream said.
        #[source]
        source: io::Error,
    },
    /// Something cannot be written.
    #[error("cannot {verb} `{}`", path.display())]
    Write {
        /// What was tried.
        verb: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Unpacks the plain tar of one layer into `directory`.
///
/// # Errors
/// When the archive is damaged, hostile or over a limit, or the disk refuses. The directory then holds part of the layer.
pub fn unpack(
    reader: impl Read,
    directory: &DirectoryOrigin,
    options: UnpackOptions<'_>,
) -> Result<Unpacked, UnpackError> {
    let mut disk = Disk::new(directory, options);
    let mut layer = Layer { disk: Some(&mut disk), parts: Parts::default() };
    let (diff_id, size) = layer.read(reader, options.limits)?;
    let parts = layer.parts;
    let xattrs_refused = disk.finish(&parts)?;
    Ok(Unpacked { listing: parts.listing(diff_id), uncompressed_size: size, xattrs_refused })
}

/// Reads the plain tar of one layer and returns its listing without writing anything.
///
/// # Errors
/// As [`unpack`], but for the disk.
pub fn read_listing(reader: impl Read, limits: Limits) -> Result<Unpacked, UnpackError> {
    let mut layer = Layer { disk: None, parts: Parts::default() };
    let (diff_id, size) = layer.read(reader, limits)?;
    Ok(Unpacked { listing: layer.parts.listing(diff_id), uncompressed_size: size, xattrs_refused: 0 })
}

/// What was read of a layer so far.
#[derive(Debug, Default)]
struct Parts {
    entries: Tree,
    whiteouts: BTreeSet<ArchivePath>,
    opaques: BTreeSet<ArchivePath>,
    /// Hard links to names that only lower layers have.
    links_below: Vec<(ArchivePath, ArchivePath)>,
}

struct Layer<'a, 'd> {
    disk: Option<&'a mut Disk<'d>>,
    parts: Parts,
}

impl Layer<'_, '_> {
    fn read(&mut self, reader: impl Read, limits: Limits) -> Result<(DiffId, u64), UnpackError> {
        let hashing = HashingReader { inner: reader, hasher: Hasher::new(), bytes: 0 };
        let mut tar = TarReader::new(hashing, limits);
        while let Some(member) = tar.next_member()? {
            self.member(member, &mut tar)?;
        }
        tar.drain()?;
        let hashing = tar.into_inner();
        Ok((DiffId(hashing.hasher.finish()), hashing.bytes))
    }

    fn member<R: Read>(&mut self, member: Member, tar: &mut TarReader<R>) -> Result<(), UnpackError> {
        let Some(name) = member.path.file_name() else {
            return self.root(member);
        };
        let parent = member.path.parent().unwrap_or_else(ArchivePath::root);
        let parent = self.resolve_directory(&parent)?;
        if name == OPAQUE_MARKER {
            self.parts.opaques.insert(parent.clone());
            return self.disk.as_mut().map_or(Ok(()), |disk| disk.opaque(&parent, &self.parts));
        }
        if name.starts_with(b".wh..wh.") {
            // Bookkeeping of an old Docker storage driver; it never was part of an image.
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
        self.parts.links_below.retain(|(link, _)| *link != path);
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
        self.parts.entries.insert(path, entry);
        Ok(())
    }

    fn hard_link(&mut self, path: ArchivePath, target: &ArchivePath) -> Result<(), UnpackError> {
        let parent = self.resolve_directory(&target.parent().unwrap_or_else(ArchivePath::root))?;
        let target = match target.file_name() {
            Some(name) => parent.join(name).map_err(|source| ReadError::Name { source })?,
            None => return Err(TreeError::LinkToDirectory { path, target: target.clone() }.into()),
        };
        if path == target {
            return Ok(());
        }
        if let Some(disk) = &mut self.disk {
            disk.hard_link(&path, &target, &self.parts)?;
        }
        if self.parts.entries.get(&target).is_some() {
            self.parts.entries.link(path, &target)?;
        } else {
            self.parts.entries.remove(&path);
            self.parts.links_below.push((path, target));
        }
        Ok(())
    }

    /// Follows symlinks of this layer in `path`, within the layer.
    fn resolve_directory(&self, path: &ArchivePath) -> Result<ArchivePath, UnpackError> {
        let resolved = self.parts.entries.resolve(path)?;
        match self.parts.entries.get(&resolved.path) {
            Some(entry) if !entry.is_directory() => Err(ResolveError::NotADirectory {
                path: path.clone(),
                obstacle: resolved.path,
                noun: entry.kind.noun(),
            }
            .into()),
            _ => Ok(resolved.path),
        }
    }
}

impl Parts {
    /// Tells whether this layer has something at `path` or below it.
    fn has_within(&self, path: &ArchivePath) -> bool {
        self.entries.within(path).next().is_some()
            || self.links_below.iter().any(|(link, _)| link.is_within(path))
    }

    fn listing(&self, diff_id: DiffId) -> Listing {
        let mut items: Vec<(ArchivePath, Item)> = Vec::new();
        items.extend(self.opaques.iter().map(|path| (path.clone(), Item::Opaque)));
        items.extend(self.whiteouts.iter().map(|path| (path.clone(), Item::Whiteout)));
        let links = self.entries.hard_links();
        items.extend(self.entries.iter().map(|(path, entry)| {
            let item = match links.get(path) {
                Some(target) => Item::HardLink { target: (*target).clone() },
                None => Item::Entry(entry.clone()),
            };
            (path.clone(), item)
        }));
        items.extend(
            self.links_below
                .iter()
                .map(|(path, target)| (path.clone(), Item::HardLink { target: target.clone() })),
        );
        let mut listing = Listing::sorted(diff_id, items);
        listing.locate_contents();
        listing
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
