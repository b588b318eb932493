//! From a directory to a [`Tree`], side by side on rayon's pool, reading no contents.
//!
//! Every directory is opened beneath the root's handle and never through a symlink; names are looked at with their directory's
//! handle. Sockets are left out. Unaware of ignore rules: a filter decides.

use std::collections::HashMap;
use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use rustix::fs::{AtFlags, FileType, RawDir, Stat};

use crate::content::{Content, DirectoryOrigin, FileIdentity, Origin};
use crate::content_digest::ContentDigest;
use crate::digest_cache::{DigestCache, KnownFile, NoCache};
use crate::entry::{Device, Entry, Kind, Metadata, Timestamp, Xattrs};
use crate::path::{ArchivePath, PathError};
use crate::tree::Tree;

/// Attributes of one entry, names and values together, may not be longer.
const XATTR_BYTES_MAX: usize = 1 << 20;

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

/// Decides what is in the tree, and remembers on the way down: what is known of a directory is given with every name in it.
/// Asked from several threads.
pub trait Rules: Sync {
    /// What is known of a directory.
    type Directory: Send + Sync;

    /// Returns what is known of the walk's root.
    fn root(&self) -> Self::Directory;

    /// Judges something that is no directory.
    fn judge(&self, above: &Self::Directory, path: &ArchivePath) -> Verdict;

    /// Judges a directory; also returns what is known of it.
    fn enter(&self, above: &Self::Directory, path: &ArchivePath) -> (Verdict, Self::Directory);
}

/// A filter knows nothing but the path.
impl Rules for Filter<'_> {
    type Directory = ();

    fn root(&self) {}

    fn judge(&self, (): &(), path: &ArchivePath) -> Verdict {
        self(path, false)
    }

    fn enter(&self, (): &(), path: &ArchivePath) -> (Verdict, ()) {
        (self(path, true), ())
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
    let root = ArchivePath::root();
    let stat = rustix::fs::fstat(origin.as_fd())
        .map_err(|source| WalkError::Stat { path: origin.path().to_owned(), source: source.into() })?;
    let walker = Walker { origin, rules, options, known };
    let listings = walker.below_root()?;
    let root_entry = walker.entry(origin.as_fd(), c".", &root, &stat)?;
    let root = root_entry.map(|entry| Found { path: root, entry, links: None, kept: true });
    let listings = without_empty(listings);
    let count = 1 + listings.iter().map(Vec::len).sum::<usize>();
    Ok(assemble(root.into_iter().chain(in_order(listings)), count))
}

struct Found {
    path: ArchivePath,
    entry: Entry,
    /// Device and inode, for files with several names.
    links: Option<(u64, u64)>,
    /// False for a skipped directory, which stays only as a parent of something kept.
    kept: bool,
}

struct Walker<'a, R: ?Sized> {
    origin: &'a Arc<DirectoryOrigin>,
    rules: &'a R,
    options: WalkOptions,
    known: &'a dyn DigestCache,
}

/// What stands for a name in the tree; with a directory, what is known of it.
type Looked<D> = (Found, Option<D>);

/// Makes a tree, and joins hard links in it.
fn assemble(found: impl Iterator<Item = Found>, count: usize) -> Tree {
    let mut first: HashMap<(u64, u64), usize> = HashMap::new();
    let items = found.enumerate().map(|(at, item)| match item.links {
        Some(key) => match *first.entry(key).or_insert(at) {
            earlier if earlier != at => (item.path, Err(earlier)),
            _ => (item.path, Ok(item.entry)),
        },
        None => (item.path, Ok(item.entry)),
    });
    Tree::from_sorted(items, count)
}

/// A name that a directory lists.
struct Name<'a, D> {
    path: ArchivePath,
    kind: FileType,
    /// What is known of the directory.
    known: &'a D,
}

/// What one directory has, in order; with a directory below, the number of its listing.
type Listing = Vec<(Found, Option<usize>)>;

/// Drops skipped directories without anything kept below.
fn without_empty(mut listings: Vec<Listing>) -> Vec<Listing> {
    // A directory has a smaller number than those in it.
    for number in (0..listings.len()).rev() {
        let mut listing = std::mem::take(&mut listings[number]);
        listing.retain(|(item, below)| item.kept || below.is_some_and(|number| !listings[number].is_empty()));
        listings[number] = listing;
    }
    listings
}

/// Puts the listing of each directory behind it.
fn in_order(mut listings: Vec<Listing>) -> impl Iterator<Item = Found> {
    let mut open = vec![std::mem::take(&mut listings[0]).into_iter()];
    std::iter::from_fn(move || {
        loop {
            match open.last_mut()?.next() {
                Some((item, below)) => {
                    open.extend(below.map(|number| std::mem::take(&mut listings[number]).into_iter()));
                    return Some(item);
                }
                None => drop(open.pop()),
            }
        }
    })
}

fn is_left_out(verdict: Verdict, is_directory: bool) -> bool {
    verdict == Verdict::Prune || (verdict == Verdict::Skip && !is_directory)
}

impl<R: Rules + ?Sized> Walker<'_, R> {
    /// Everything below the root. Directories are read in waves, those of one depth side by side, so that no depth is too much
    /// for the stack.
    fn below_root(&self) -> Result<Vec<Listing>, WalkError> {
        let mut listings: Vec<Listing> = Vec::new();
        let mut wave = vec![(ArchivePath::root(), self.rules.root())];
        while !wave.is_empty() {
            let read = |(path, known): &(ArchivePath, R::Directory)| {
                let mut found = self.one_directory(path, known)?;
                found.sort_unstable_by(|(left, _), (right, _)| left.path.cmp(&right.path));
                Ok(found)
            };
            let found: Result<Vec<_>, WalkError> = wave.par_iter().with_max_len(1).map(read).collect();
            let first = listings.len() + wave.len();
            wave.clear();
            for listing in found? {
                let numbered = listing.into_iter().map(|(item, known)| {
                    let number = known.map(|known| {
                        wave.push((item.path.clone(), known));
                        first + wave.len() - 1
                    });
                    (item, number)
                });
                listings.push(numbered.collect());
            }
        }
        Ok(listings)
    }

    /// What lies directly in `path`, in no order. Its handle is closed before anything below is opened.
    fn one_directory(
        &self,
        path: &ArchivePath,
        known: &R::Directory,
    ) -> Result<Vec<Looked<R::Directory>>, WalkError> {
        let fail = |source: io::Error| WalkError::ReadDirectory { path: self.origin.display(path), source };
        let directory = self.origin.open_directory(path).map_err(fail)?;
        let mut found = Vec::new();
        let mut buffer: [MaybeUninit<u8>; 32 * 1024] = [MaybeUninit::uninit(); 32 * 1024];
        let mut names = RawDir::new(&directory, &mut buffer);
        while let Some(item) = names.next() {
            let item = item.map_err(|error| fail(error.into()))?;
            let name = item.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let path = path
                .join(name.to_bytes())
                .map_err(|source| WalkError::Name { path: self.origin.display(path), source })?;
            found.extend(self.name(&directory, name, Name { path, kind: item.file_type(), known })?);
        }
        Ok(found)
    }

    /// Looks at a name, if it is to be in the tree.
    fn name(
        &self,
        directory: &OwnedFd,
        name: &CStr,
        Name { path, kind, known }: Name<'_, R::Directory>,
    ) -> Result<Option<Looked<R::Directory>>, WalkError> {
        // The directory says what kind of thing it is, so what is pruned need not be looked at.
        let mut judged = (kind != FileType::Unknown).then(|| self.judge(known, &path, kind));
        if judged.as_ref().is_some_and(|(verdict, below)| is_left_out(*verdict, below.is_some())) {
            return Ok(None);
        }
        let fail = |source: io::Error| WalkError::Stat { path: self.origin.display(&path), source };
        let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| fail(error.into()))?;
        let found = FileType::from_raw_mode(stat.st_mode);
        // It may have become something else meanwhile.
        if found != kind {
            judged = None;
        }
        let (verdict, below) = judged.unwrap_or_else(|| self.judge(known, &path, found));
        if is_left_out(verdict, below.is_some()) {
            return Ok(None);
        }
        let entry = self.entry(directory.as_fd(), name, &path, &stat)?;
        let links = (below.is_none() && stat.st_nlink > 1).then_some((stat.st_dev, stat.st_ino));
        let kept = verdict == Verdict::Keep;
        Ok(entry.map(|entry| (Found { path, entry, links, kept }, below)))
    }

    fn judge(
        &self,
        known: &R::Directory,
        path: &ArchivePath,
        kind: FileType,
    ) -> (Verdict, Option<R::Directory>) {
        if kind != FileType::Directory {
            return (self.rules.judge(known, path), None);
        }
        let (verdict, below) = self.rules.enter(known, path);
        (verdict, Some(below))
    }

    /// The entry for a name, or none for a socket.
    fn entry(
        &self,
        directory: std::os::fd::BorrowedFd<'_>,
        name: &CStr,
        path: &ArchivePath,
        stat: &Stat,
    ) -> Result<Option<Entry>, WalkError> {
        let device =
            Device { major: rustix::fs::major(stat.st_rdev), minor: rustix::fs::minor(stat.st_rdev) };
        let mut known = None;
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Kind::Directory,
            FileType::RegularFile => {
                let identity = FileIdentity::from_stat(stat);
                known = self.known.get(&identity);
                Kind::File(self.content(path, identity, known.map(|known| known.digest)))
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(directory, name, Vec::new()).map_err(|source| {
                    WalkError::Stat { path: self.origin.display(path), source: source.into() }
                })?;
                Kind::Symlink(Arc::from(target.as_bytes()))
            }
            FileType::CharacterDevice => Kind::CharDevice(device),
            FileType::BlockDevice => Kind::BlockDevice(device),
            FileType::Fifo => Kind::Fifo,
            FileType::Socket | FileType::Unknown => return Ok(None),
        };
        let (uid, gid) = match self.options.owner {
            WalkOwner::Root => (0, 0),
            WalkOwner::AsIs => (stat.st_uid, stat.st_gid),
        };
        let xattrs = match known {
            Some(KnownFile { is_plain: true, .. }) => Xattrs::default(),
            _ => self.xattrs(directory, name).map_err(|source| WalkError::Stat {
                path: self.origin.display(path),
                source: source.into(),
            })?,
        };
        let mtime =
            Timestamp { seconds: stat.st_mtime, nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) };
        let mode = if matches!(kind, Kind::Symlink(_)) { 0o777 } else { stat.st_mode & 0o7777 };
        Ok(Some(Entry { metadata: Metadata { mode, uid, gid, mtime, xattrs }, kind }))
    }

    fn content(&self, path: &ArchivePath, identity: FileIdentity, digest: Option<ContentDigest>) -> Content {
        Content {
            origin: Origin::Directory(Arc::clone(self.origin)),
            path: path.clone(),
            size: identity.size,
            digest,
            identity: Some(Arc::new(identity)),
        }
    }

    /// The attributes that count. There is no call that takes a directory handle, so the handle goes in by `/proc`.
    fn xattrs(&self, directory: std::os::fd::BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<Xattrs> {
        if self.options.xattrs == WalkXattrs::None {
            return Ok(Xattrs::default());
        }
        let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
        path.extend_from_slice(name.to_bytes());
        let mut list = [0_u8; 512];
        let list = match rustix::fs::llistxattr(path.as_slice(), &mut list[..]) {
            Ok(0) | Err(rustix::io::Errno::NOTSUP) => return Ok(Xattrs::default()),
            Ok(length) => list[..length].to_vec(),
            Err(rustix::io::Errno::RANGE) => {
                let mut list = Vec::with_capacity(XATTR_BYTES_MAX);
                rustix::fs::llistxattr(path.as_slice(), rustix::buffer::spare_capacity(&mut list))?;
                list
            }
            Err(error) => return Err(error),
        };
        let mut xattrs = Xattrs::default();
        for name in list.split(|byte| *byte == 0).filter(|name| self.wants_xattr(name)) {
            let mut value = Vec::with_capacity(64 * 1024);
            rustix::fs::lgetxattr(path.as_slice(), name, rustix::buffer::spare_capacity(&mut value))?;
            value.shrink_to_fit();
            xattrs.insert(name.to_vec(), value);
        }
        Ok(xattrs)
    }

    fn wants_xattr(&self, name: &[u8]) -> bool {
        if is_overlay_xattr(name) {
            return self.options.xattrs == WalkXattrs::LayerAndOverlay;
        }
        is_layer_xattr(name)
    }
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
