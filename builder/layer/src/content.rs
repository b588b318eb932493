//! Where the bytes of a file are: [`Content`] points to them, a [`DirectoryOrigin`] opens them.
//!
//! Contents are never held in memory (but for short inline texts). A file of a directory is opened beneath a handle of that
//! directory and never through a symlink, so a name swapped for a link while a build runs leads nowhere. Unaware of entries.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_oci::DiffId;
use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::content_digest::ContentDigest;
use crate::path::ArchivePath;

/// The content of a regular file, by reference.
#[derive(Debug, Clone)]
pub struct Content {
    /// What holds the bytes.
    pub origin: Origin,
    /// Which file of a directory or layer it is; the root for inline bytes.
    pub path: ArchivePath,
    /// How many bytes there are.
    pub size: u64,
    /// Their digest, once somebody has read them.
    pub digest: Option<ContentDigest>,
    /// What the file system said when the file was found.
    pub identity: Option<Arc<FileIdentity>>,
}

/// What holds the bytes of a file.
#[derive(Debug, Clone)]
pub enum Origin {
    /// An open directory.
    Directory(Arc<DirectoryOrigin>),
    /// A layer, unpacked when its contents are needed.
    Layer(DiffId),
    /// The bytes themselves, for texts that a Dockerfile holds.
    Inline(Arc<[u8]>),
}

/// What tells one state of one file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileIdentity {
    /// The device the file lies on.
    pub device: u64,
    /// Its inode there.
    pub inode: u64,
    /// Its size.
    pub size: u64,
    /// Last change of the content, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Last change of the inode, in nanoseconds since 1970.
    pub ctime_ns: i64,
}

/// Gives the directory into which a layer was unpacked.
pub trait LayerDirectories: Sync {
    /// Returns the directory of `layer`, unpacking it first if that is needed.
    ///
    /// # Errors
    /// When it cannot be had.
    fn directory(&self, layer: DiffId) -> io::Result<Arc<DirectoryOrigin>>;
}

impl<F: Fn(DiffId) -> io::Result<Arc<DirectoryOrigin>> + Sync> LayerDirectories for F {
    fn directory(&self, layer: DiffId) -> io::Result<Arc<DirectoryOrigin>> {
        self(layer)
    }
}

/// For trees of which it is known that no content lies in a layer.
#[derive(Debug, Clone, Copy)]
pub struct NoLayers;

impl LayerDirectories for NoLayers {
    fn directory(&self, layer: DiffId) -> io::Result<Arc<DirectoryOrigin>> {
        Err(io::Error::new(io::ErrorKind::NotFound, format!("layer {layer} is not unpacked here")))
    }
}

/// An open directory beneath which files are found by their [`ArchivePath`].
pub struct DirectoryOrigin {
    handle: OwnedFd,
    path: PathBuf,
    settled_before_ns: Option<i128>,
    is_moving: bool,
}

impl DirectoryOrigin {
    /// Opens the directory at `path`, which is kept for messages only.
    ///
    /// # Errors
    /// With the path, when it is not a directory that can be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|error| with_path(error.into(), "open directory", path))?;
        Ok(Self { handle, path: path.to_owned(), settled_before_ns: None, is_moving: false })
    }

    /// Trusts the identity of files that last changed before `settled_before_ns` (in nanoseconds since 1970): one that was
    /// hashed and still has its identity has its bytes, too, and need not be hashed again. The time must lie so far before
    /// anything was read that a later change, whatever the file system's clock, gives a later time.
    #[must_use]
    pub fn trusting(self, settled_before_ns: i128) -> Self {
        Self { settled_before_ns: Some(settled_before_ns), ..self }
    }

    /// Says that somebody changes the directory meanwhile: what vanishes while it is walked is not there, instead of an error. Its
    /// contents are to be [held](crate::hold) before they are used.
    #[must_use]
    pub fn moving(self) -> Self {
        Self { is_moving: true, ..self }
    }

    /// Whether an error says no more than that something of a directory that moves has gone, or has become something else.
    pub(crate) fn is_gone(&self, error: &io::Error) -> bool {
        use rustix::io::Errno;
        // What was a symlink cannot be read as one any more, and what has become one is not opened.
        let gone = [Errno::NOENT, Errno::NOTDIR, Errno::INVAL, Errno::LOOP];
        self.is_moving && gone.iter().any(|errno| io::Error::from(*errno).kind() == error.kind())
    }

    /// Tells whether a file with this identity has, as long as that stays, the bytes it had when it was looked at first.
    pub(crate) fn is_settled(&self, identity: &FileIdentity) -> bool {
        self.settled_before_ns
            .is_some_and(|before| i128::from(identity.mtime_ns.max(identity.ctime_ns)) < before)
    }

    /// Returns the path by which the directory was opened, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns a place below this directory for messages.
    pub fn display(&self, path: &ArchivePath) -> PathBuf {
        if path.is_root() { self.path.clone() } else { self.path.join(path.as_path()) }
    }

    /// Opens a file below for reading, never through a symlink.
    ///
    /// # Errors
    /// With the full path. A symlink anywhere on the way is an error.
    pub fn open_file(&self, path: &ArchivePath) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        self.open_beneath(path, flags).map(File::from)
    }

    /// Opens a directory below, never through a symlink.
    ///
    /// # Errors
    /// With the full path.
    pub fn open_directory(&self, path: &ArchivePath) -> io::Result<OwnedFd> {
        self.open_beneath(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW)
    }

    fn open_beneath(&self, path: &ArchivePath, flags: OFlags) -> io::Result<OwnedFd> {
        open_beneath(self.handle.as_fd(), path, flags | OFlags::CLOEXEC)
            .map_err(|error| with_path(error.into(), "open", &self.display(path)))
    }
}

impl AsFd for DirectoryOrigin {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

impl fmt::Debug for DirectoryOrigin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "DirectoryOrigin({})", self.path.display())
    }
}

/// Opens `path` beneath `root` without following any symlink; by `openat2`, or component by component where the kernel (or a
/// filter around this process) does not know that call.
pub(crate) fn open_beneath(
    root: BorrowedFd<'_>,
    path: &ArchivePath,
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(root, path.as_path(), flags, Mode::empty(), resolve) {
        Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => open_stepwise(root, path, flags),
        // A rename elsewhere in the system can make the kernel unsure about `BENEATH`.
        Err(rustix::io::Errno::AGAIN) => open_stepwise(root, path, flags),
        result => result,
    }
}

fn open_stepwise(root: BorrowedFd<'_>, path: &ArchivePath, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Some(name) = path.file_name() else {
        return rustix::fs::openat(root, ".", flags, Mode::empty());
    };
    let mut components: Vec<&[u8]> = path.components().collect();
    components.pop();
    let mut directory: Option<OwnedFd> = None;
    for component in components {
        let from = directory.as_ref().map_or(root, AsFd::as_fd);
        directory = Some(rustix::fs::openat(from, component, step, Mode::empty())?);
    }
    let from = directory.as_ref().map_or(root, AsFd::as_fd);
    rustix::fs::openat(from, name, flags | OFlags::NOFOLLOW, Mode::empty())
}

fn with_path(error: io::Error, verb: &str, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {verb} `{}`: {error}", path.display()))
}

impl FileIdentity {
    /// Asks the kernel about an open file.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn of(file: &File) -> io::Result<Self> {
        let stat = rustix::fs::fstat(file)?;
        Ok(Self::from_stat(&stat))
    }

    pub(crate) fn from_stat(stat: &rustix::fs::Stat) -> Self {
        // Times from 1678 to 2262; beyond, the size and the other time have to do.
        let nanoseconds =
            |seconds: i64, rest: u64| seconds.saturating_mul(1_000_000_000).saturating_add(rest as i64);
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
            ctime_ns: nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

impl Content {
    /// Returns short bytes as a content of their own.
    pub fn inline(bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        Self {
            size: bytes.len() as u64,
            digest: Some(ContentDigest::of(&bytes)),
            origin: Origin::Inline(bytes),
            path: ArchivePath::root(),
            identity: None,
        }
    }

    /// Returns the content of the file at `path` of a layer.
    pub fn of_layer(layer: DiffId, path: ArchivePath, size: u64, digest: ContentDigest) -> Self {
        Self { origin: Origin::Layer(layer), path, size, digest: Some(digest), identity: None }
    }

    /// Tells whether both have the same bytes, as far as is known without reading: by digest, or by place.
    pub fn is_same(&self, other: &Self) -> bool {
        if self.size != other.size {
            return false;
        }
        match (self.digest, other.digest) {
            (Some(left), Some(right)) => left == right,
            _ => self.is_same_place(other),
        }
    }

    fn is_same_place(&self, other: &Self) -> bool {
        let origin = match (&self.origin, &other.origin) {
            (Origin::Directory(left), Origin::Directory(right)) => Arc::ptr_eq(left, right),
            (Origin::Layer(left), Origin::Layer(right)) => left == right,
            (Origin::Inline(left), Origin::Inline(right)) => left == right,
            _ => false,
        };
        origin && self.path == other.path
    }

    /// Opens the bytes for reading from the start.
    ///
    /// # Errors
    /// With the path, when the file cannot be opened or is no regular file any more.
    pub fn open(&self, layers: &dyn LayerDirectories) -> io::Result<ContentReader> {
        let file = match &self.origin {
            Origin::Inline(bytes) => {
                return Ok(ContentReader::Inline(io::Cursor::new(Arc::clone(bytes))));
            }
            Origin::Directory(directory) => directory.open_file(&self.path)?,
            Origin::Layer(layer) => layers.directory(*layer)?.open_file(&self.path)?,
        };
        if !file.metadata()?.is_file() {
            let message = format!("`{}` is not a regular file any more", self.path);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(ContentReader::File(file))
    }
}

/// Reads the bytes of a [`Content`].
#[derive(Debug)]
pub enum ContentReader {
    /// From memory.
    Inline(io::Cursor<Arc<[u8]>>),
    /// From an open file.
    File(File),
}

impl ContentReader {
    /// Reads what lies at `offset` until `buffer` is full or the content ends; returns how much that was.
    ///
    /// # Errors
    /// What the system says.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            let at = offset + filled as u64;
            let read = match self {
                Self::Inline(bytes) => read_slice_at(bytes.get_ref(), &mut buffer[filled..], at),
                Self::File(file) => file.read_at(&mut buffer[filled..], at),
            };
            match read {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// Returns the open file, when there is one.
    pub fn file(&self) -> Option<&File> {
        match self {
            Self::Inline(_) => None,
            Self::File(file) => Some(file),
        }
    }

    /// Asks the kernel about the open file, when there is one.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn identity(&self) -> io::Result<Option<FileIdentity>> {
        self.file().map(FileIdentity::of).transpose()
    }
}

fn read_slice_at(bytes: &[u8], buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default();
    let count = rest.len().min(buffer.len());
    buffer[..count].copy_from_slice(&rest[..count]);
    Ok(count)
}

impl Read for ContentReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Inline(bytes) => bytes.read(buffer),
            Self::File(file) => file.read(buffer),
        }
    }
}
