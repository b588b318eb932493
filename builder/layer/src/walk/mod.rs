//! From a directory to a [`Tree`], side by side on rayon's pool, reading no contents: first a [`Survey`] of names and their
//! `stat`, then the tree of it.
//!
//! Every directory is opened beneath the root's handle and never through a symlink; names are looked at with their directory's
//! handle. Sockets are left out. Unaware of ignore rules: a filter decides.

mod gather;
mod survey;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use gather::entry_of;
pub use survey::Survey;

use crate::content::DirectoryOrigin;
use crate::digest_cache::{DigestCache, NoCache};
use crate::path::{ArchivePath, PathError};
use crate::tree::Tree;

/// What a filter says about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is in the tree.
    Keep,
    /// It is not, but something below may be; then it is too, as a parent.
    Skip,
    /// Neither it nor anything below.
    Prune,
}

/// How to walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalkOptions {
    /// Whose the entries are.
    pub owner: WalkOwner,
    /// Which attributes are read.
    pub xattrs: WalkXattrs,
}

/// Whose the entries of a walked tree are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalkOwner {
    /// Root's, whoever owns them here; for build contexts.
    Root,
    /// As on disk.
    AsIs,
}

/// Which extended attributes a walk reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalkXattrs {
    /// None.
    None,
    /// Those that belong in a layer.
    Layer,
    /// Those, and overlayfs's own, for finding what a step changed.
    LayerAndOverlay,
}

/// Why a directory could not be walked.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// The root cannot be opened.
    #[error("cannot open the directory `{}`", path.display())]
    Root {
        /// The root.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A directory below cannot be read.
    #[error("cannot read the directory `{}`", path.display())]
    ReadDirectory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A name cannot be looked at; it may have vanished meanwhile.
    #[error("cannot look at `{}`", path.display())]
    Stat {
        /// The name.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A name that is no path.
    #[error("a name in `{}` cannot be used", path.display())]
    Name {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: PathError,
    },
}

/// Decides what is in the tree: called with the path and whether it is a directory, from several threads.
pub type Filter<'a> = dyn Fn(&ArchivePath, bool) -> Verdict + Sync + 'a;

/// A name in a directory that is walked.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    directory: &'a ArchivePath,
    name: &'a [u8],
}

impl<'a> Place<'a> {
    /// Returns the name, one component of a path.
    pub fn name(&self) -> &'a [u8] {
        self.name
    }

    /// Returns the path.
    pub fn path(&self) -> ArchivePath {
        self.directory.join_checked(self.name)
    }
}

/// Decides what is in the tree, and remembers on the way down: what is known of a directory is given with every name in it.
/// Asked from several threads.
pub trait Rules: Sync {
    /// What is known of a directory.
    type Directory: Send + Sync;

    /// Returns what is known of the walk's root.
    fn root(&self) -> Self::Directory;

    /// Judges something that is no directory.
    fn judge(&self, above: &Self::Directory, place: Place<'_>) -> Verdict;

    /// Judges a directory; also returns what is known of it.
    fn enter(&self, above: &Self::Directory, place: Place<'_>) -> (Verdict, Self::Directory);
}

/// A filter knows nothing but the path.
impl Rules for Filter<'_> {
    type Directory = ();

    fn root(&self) {}

    fn judge(&self, (): &(), place: Place<'_>) -> Verdict {
        self(&place.path(), false)
    }

    fn enter(&self, (): &(), place: Place<'_>) -> (Verdict, ()) {
        (self(&place.path(), true), ())
    }
}

/// Walks the directory at `root`. The tree has an entry for the root and for every parent of what is kept.
///
/// # Errors
/// With the path of what cannot be read. What vanishes meanwhile is an error too: the result would be neither state.
pub fn walk(root: &Path, filter: &Filter<'_>, options: WalkOptions) -> Result<Tree, WalkError> {
    let origin =
        DirectoryOrigin::open(root).map_err(|source| WalkError::Root { path: root.to_owned(), source })?;
    walk_origin(&Arc::new(origin), filter, options)
}

/// Walks an open directory; see [`walk`].
///
/// # Errors
/// As [`walk`].
pub fn walk_origin(
    origin: &Arc<DirectoryOrigin>,
    filter: &Filter<'_>,
    options: WalkOptions,
) -> Result<Tree, WalkError> {
    walk_by_rules(origin, filter, options, &NoCache)
}

/// Walks an open directory, remembering on the way down; see [`walk`]. Files that `known` has get their digest from there,
/// and are not asked for attributes when they are known to have none.
///
/// # Errors
/// As [`walk`].
pub fn walk_by_rules<R: Rules + ?Sized>(
    origin: &Arc<DirectoryOrigin>,
    rules: &R,
    options: WalkOptions,
    known: &dyn DigestCache,
) -> Result<Tree, WalkError> {
    Survey::new(origin, rules, options)?.into_tree(known)
}

/// Tells whether an attribute belongs in a layer: capabilities and what users set. Labels of the host's security module, access
/// lists of the host and overlayfs's marks do not.
pub fn is_layer_xattr(name: &[u8]) -> bool {
    name == b"security.capability" || (name.starts_with(b"user.") && !is_overlay_xattr(name))
}

/// Tells whether an attribute is one of overlayfs's own.
pub fn is_overlay_xattr(name: &[u8]) -> bool {
    name.starts_with(b"user.overlay.") || name.starts_with(b"trusted.overlay.")
}
