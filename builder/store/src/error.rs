//! What can go wrong in the store.
//!
//! One enum for the whole room: every variant says what was being attempted and on which path or digest. Hints and
//! exit codes are not decided here; callers ask [`StoreError::is_disk_full`] and its like.

use std::io;
use std::path::{Path, PathBuf};

use kiln_oci::{Digest, Reference};

/// The longest name of a record kind, a build or a step.
pub const PLAIN_NAME_BYTES_MAX: usize = 128;

/// The result of a store operation.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// A failed store operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A system call on one path failed.
    #[error("cannot {verb} `{}`", path.display())]
    Io {
        /// What was attempted, in the imperative.
        verb: &'static str,
        /// The path it was attempted on.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// The file system that holds the store has no locks, without which two kilns would harm each other.
    #[error("cannot lock `{}`: its file system has no locks", path.display())]
    NoLocks {
        /// The path.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// The directory holds data but no `kiln.json`, so nothing says what the data means.
    #[error("not a kiln store: `{}` holds data but has no `kiln.json`", path.display())]
    VersionMissing {
        /// The directory.
        path: PathBuf,
    },
    /// The store was written by an older kiln, in a format this one no longer reads.
    #[error("store format is too old: `{}` has format {found}, this kiln reads {oldest} and later", path.display())]
    VersionTooOld {
        /// The store.
        path: PathBuf,
        /// The format it has.
        found: u64,
        /// The oldest format this version reads.
        oldest: u64,
    },
    /// The store was written by a newer kiln.
    #[error("store format is too new: `{}` has format {found}, this kiln reads up to {newest}", path.display())]
    VersionTooNew {
        /// The store.
        path: PathBuf,
        /// The format it has.
        found: u64,
        /// The newest format this version reads.
        newest: u64,
    },
    /// A document of the store itself (`kiln.json`, `index.json`) is not what it should be.
    #[error("damaged document: `{}`: {reason}", path.display())]
    DocumentDamaged {
        /// The document.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Bytes that were to have one digest have another.
    #[error("wrong digest: expected `{expected}`, got `{actual}`")]
    WrongDigest {
        /// The digest the caller asked for.
        expected: Digest,
        /// The digest of the bytes.
        actual: Digest,
    },
    /// Bytes that were to have one length have another.
    #[error("wrong size of `{digest}`: expected {expected} bytes, got {actual}")]
    WrongSize {
        /// The blob.
        digest: Digest,
        /// The length the caller announced.
        expected: u64,
        /// The length of the bytes.
        actual: u64,
    },
    /// A blob is not in the store.
    #[error("blob is not in the store: `{digest}`")]
    BlobMissing {
        /// The blob.
        digest: Digest,
    },
    /// A blob is larger than the caller is willing to hold in memory.
    #[error("blob is too large: `{digest}` has {size_bytes} bytes, the limit is {limit_bytes}")]
    BlobTooLarge {
        /// The blob.
        digest: Digest,
        /// Its size.
        size_bytes: u64,
        /// The limit it exceeds.
        limit_bytes: u64,
    },
    /// A record is larger than the store keeps.
    #[error("record is too large: {size_bytes} bytes, the limit is {limit_bytes}")]
    RecordTooLarge {
        /// Its size.
        size_bytes: u64,
        /// The limit it exceeds.
        limit_bytes: u64,
    },
    /// A record kind, build id or step id is not a plain file name.
    #[error("invalid {what}: `{name}` (letters, digits, `.`, `_` and `-`, at most {max} bytes, no leading dot)", max = PLAIN_NAME_BYTES_MAX)]
    InvalidName {
        /// What the name was for.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// No image has this name.
    #[error("no such image: `{}`", reference.familiar())]
    NameMissing {
        /// The name.
        reference: Box<Reference>,
    },
    /// No container has this id.
    #[error("no such container: `{id}`")]
    ContainerMissing {
        /// The id.
        id: String,
    },
    /// The caller could not say which blobs a manifest needs, so nothing was collected.
    #[error("cannot tell which blobs `{digest}` needs")]
    Expand {
        /// The manifest or index.
        digest: Digest,
        /// What the caller answered.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Parts of a directory tree could not be removed.
    #[error("cannot remove {count} entries below `{}`, the first is `{}`", root.display(), first.display())]
    Unremovable {
        /// The directory that was to go.
        root: PathBuf,
        /// One entry that stayed.
        first: PathBuf,
        /// How many stayed.
        count: usize,
        /// Why the first one stayed.
        source: io::Error,
    },
}

impl StoreError {
    /// Says whether the disk, or the user's quota on it, is full.
    pub fn is_disk_full(&self) -> bool {
        self.io_kind().is_some_and(|kind| {
            matches!(
                kind,
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
            )
        })
    }

    /// Says whether the thing asked for is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::BlobMissing { .. } | Self::NameMissing { .. } | Self::ContainerMissing { .. })
            || self.io_kind() == Some(io::ErrorKind::NotFound)
    }

    /// Says whether the system refused access.
    pub fn is_permission_denied(&self) -> bool {
        matches!(self.io_kind(), Some(io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem))
    }

    fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Io { source, .. } | Self::Unremovable { source, .. } => Some(source.kind()),
            _ => None,
        }
    }
}

/// Names the verb and the path of a failed system call.
pub(crate) trait IoContext<T> {
    /// Turns an I/O error into a store error that names `path`.
    fn on(self, verb: &'static str, path: &Path) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn on(self, verb: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| StoreError::Io { verb, path: path.to_owned(), source })
    }
}

/// Turns "not found" into `None`; every other error stays one.
pub(crate) fn optional<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
