//! From a layer's tar to a directory and a listing, in one pass.
//!
//! Three forms: *overlay-ready* (the layer alone, deletions as overlayfs marks), *contents* (the layer alone, without deletions)
//! and *flat* (onto a full root, deletions deleted).
//! Every name is opened beneath the directory's handle and never through a symlink. Parents that are symlinks *of the same
//! layer* are followed within it; a parent that is none of the layer's directories becomes a directory, as in overlayfs.
//! Later members win over earlier ones, and what they replace never was. Whiteouts and opaque marks count for lower layers only,
//! wherever they stand. A hard link may come before what it leads to; it leads to what its target is in the end, and into
//! the lower layers where this one has no such name.

mod disk;
mod layer;
mod links;
mod metadata;
mod parts;
mod remove;

use std::io::{self, Read};
use std::path::PathBuf;

use crate::content::{DirectoryOrigin, LayerDirectories};
use crate::listing::Listing;
use crate::path::{ArchivePath, PathError};
use crate::tar::read::{Limits, ReadError};
use crate::tree::{ResolveError, Tree, TreeError};
use disk::Disk;
use layer::Layer;
pub use metadata::MissingId;
pub(crate) use metadata::{is_refusal, owner_error};
pub(crate) use remove::remove_tree;

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
    /// The layer alone, to read contents from: deletions leave no mark, so any file system can hold it. The directory must be
    /// empty.
    Contents,
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
    /// A name that would read back from a layer as a deletion.
    #[error("member `{path}` lies in a directory whose name begins with `.wh.`, which marks deletions")]
    ReservedName {
        /// The member.
        path: ArchivePath,
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
    let mut layer = Layer::new(Some(&mut disk));
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
    let mut layer = Layer::new(None);
    let (diff_id, size) = layer.read(reader, limits)?;
    Ok(Unpacked { listing: layer.parts.listing(diff_id), uncompressed_size: size, xattrs_refused: 0 })
}
