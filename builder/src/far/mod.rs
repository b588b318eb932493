//! Caches that many builders share: *entries*, small documents under a name, and *blobs* under their digest.
//!
//! | Place | An entry | A blob | Appears |
//! |---|---|---|---|
//! | a registry's repository | the manifest under the tag `<prefix>-<name>`; the document is its configuration | a layer of that manifest | when the manifest is put |
//! | a directory | `entries/<name>` | `blobs/sha256/<hex>` | by rename |
//! | a bucket | the object `<prefix>entries/<name>` | `<prefix>blobs/sha256/<hex>` | when the object is put |
//!
//! There is no index that writers could take from each other: each entry is an object of its own, written after the blobs it names.
//! Names are of `a-z`, `0-9` and `-`. Nothing here knows what an entry says, but of which [`EntryKind`] it is. All that comes from there is bounded, and checked
//! against a digest that was written with it; whoever may write a cache decides what its entries say.

mod gather;
mod local;
mod outgoing;
mod registry;
mod s3;
mod seal;
mod upload;

pub use local::{BLOBS, ENTRIES, UNFINISHED};
pub use outgoing::chunks;
pub use registry::{ReceiveError, receive};
pub use seal::{SEAL_BYTES_MAX, is_sealed, sealed, unsealed};
pub use upload::push_blob;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use kiln_oci::{Descriptor, Digest, Reference};
use kiln_registry::{BucketError, ProgressSink};
use kiln_store::StoreError;

use crate::boxed::boxed;
use crate::doubts::Trouble;
use crate::progress::{Progress, ProgressEvent};
use crate::request::CachePlace;
use crate::workshop::Workshop;

/// What the entries of one kind have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryKind {
    /// Media type of their documents, where a registry keeps them.
    pub media_type: &'static str,
    /// Longest document.
    pub bytes_max: u64,
}

/// Why a far cache could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FarError {
    /// The registry or object store failed.
    #[error(transparent)]
    Registry(#[from] Box<kiln_registry::Error>),
    /// A file of a directory could not be read or written.
    #[error("cannot {verb} `{}`", path.display())]
    File {
        /// What was being done.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// An entry is not what was written.
    #[error("entry `{name}` is damaged: {reason}")]
    Entry {
        /// The entry.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A blob that should be there is not.
    #[error("blob `{digest}` is not there")]
    Missing {
        /// The blob.
        digest: Digest,
    },
    /// The bytes of a blob are not those of its digest.
    #[error("blob `{digest}` is damaged")]
    Damaged {
        /// The blob.
        digest: Digest,
        /// What is wrong.
        source: StoreError,
    },
    /// A blob is there as its digest says, but is not the layer that an entry says it is.
    #[error("blob `{digest}` is another layer than its entry says: {reason}")]
    NoLayer {
        /// The blob.
        digest: Digest,
        /// What is wrong.
        reason: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

boxed!(FarError { Registry: kiln_registry::Error });

impl FarError {
    /// Returns the error for a blob that could not be taken into the store: its bytes are wrong, or the disk refuses.
    fn received(digest: Digest, error: StoreError) -> Self {
        match error {
            StoreError::WrongDigest { .. } | StoreError::WrongSize { .. } => {
                Self::Damaged { digest, source: error }
            }
            error => error.into(),
        }
    }

    fn too_large(name: &str) -> Self {
        Self::Entry { name: name.to_owned(), reason: "it is too large".to_owned() }
    }

    /// Returns what is wrong with the whole place.
    pub fn trouble(&self) -> Trouble {
        match self {
            Self::Registry(error) if error.is_unreachable() => Trouble::Silent,
            _ => Trouble::Unreadable,
        }
    }

    /// Whether only one entry or blob is bad, and not the whole place.
    pub fn is_about_one(&self) -> bool {
        match self {
            Self::Registry(error) => matches!(
                **error,
                kiln_registry::Error::Verify { .. }
                    | kiln_registry::Error::TooLarge { .. }
                    | kiln_registry::Error::NotAManifest { .. }
                    | kiln_registry::Error::Schema1 { .. }
                    | kiln_registry::Error::Bucket(
                        BucketError::TooLarge { .. } | BucketError::Protocol { .. }
                    )
            ),
            Self::File { .. } | Self::Store(_) => false,
            Self::Entry { .. } | Self::Missing { .. } | Self::Damaged { .. } | Self::NoLayer { .. } => true,
        }
    }
}

/// A far cache, as the process can reach it.
#[derive(Debug, Clone, Copy)]
pub struct Far<'a> {
    /// What it is reached with, and the store.
    pub workshop: &'a Workshop,
    /// Where it is.
    pub place: &'a CachePlace,
}

impl Far<'_> {
    /// Returns the document of an entry, or `None` when there is no such entry.
    ///
    /// # Errors
    /// The place cannot be read, or the entry is not what was written.
    pub async fn get(&self, kind: EntryKind, name: &str) -> Result<Option<Bytes>, FarError> {
        match self.place {
            CachePlace::Registry(cache) => registry::get(self.workshop, cache, kind, name).await,
            CachePlace::Local(directory) => local::get(directory, kind, name).await,
            CachePlace::S3(cache) => s3::get(self.workshop, cache, kind, name).await,
        }
    }

    /// Whether there is an entry, in one request.
    ///
    /// # Errors
    /// The place cannot be read.
    pub async fn has_entry(&self, name: &str) -> Result<bool, FarError> {
        match self.place {
            CachePlace::Registry(cache) => {
                Ok(self.workshop.registry.head(&cache.tagged(name)).await?.is_some())
            }
            CachePlace::Local(directory) => local::has_entry(directory, name).await,
            CachePlace::S3(cache) => s3::has_entry(self.workshop, cache, name).await,
        }
    }

    /// Writes an entry, which replaces one of the same name. The blobs that it names must be there.
    ///
    /// # Errors
    /// The place cannot be written, or the document is longer than anybody would read.
    pub async fn put(
        &self,
        kind: EntryKind,
        name: &str,
        document: Bytes,
        blobs: &[Descriptor],
    ) -> Result<(), FarError> {
        if document.len() as u64 > kind.bytes_max {
            return Err(FarError::too_large(name));
        }
        match self.place {
            CachePlace::Registry(cache) => {
                registry::put(self.workshop, cache, (kind, name), document, blobs).await
            }
            CachePlace::Local(directory) => local::put(directory, name, document).await,
            CachePlace::S3(cache) => s3::put(self.workshop, cache, name, document).await,
        }
    }

    /// Whether there is a blob, as far as can be told without reading it.
    ///
    /// # Errors
    /// The place cannot be read.
    pub async fn has(&self, blob: &Descriptor) -> Result<bool, FarError> {
        match self.place {
            CachePlace::Registry(cache) => {
                Ok(self.workshop.registry.blob_exists(cache.repository(), &blob.digest).await?)
            }
            CachePlace::Local(directory) => local::has(directory, blob).await,
            CachePlace::S3(cache) => s3::has(self.workshop, cache, blob).await,
        }
    }

    /// Whether the blobs seem to be there, as far as can be told without asking anybody.
    ///
    /// # Errors
    /// The place cannot be read.
    pub async fn may_have(&self, blobs: &[Descriptor]) -> Result<bool, FarError> {
        let CachePlace::Local(directory) = self.place else { return Ok(true) };
        for blob in blobs {
            if !local::has(directory, blob).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Has a blob taken over from another repository of the same registry, without its bytes coming here. Returns whether it is
    /// there now.
    ///
    /// # Errors
    /// The place cannot be written.
    pub async fn adopt(&self, blob: &Descriptor, from: &[Reference]) -> Result<bool, FarError> {
        match self.place {
            CachePlace::Registry(cache) => registry::adopt(self.workshop, cache, blob, from).await,
            CachePlace::Local(_) | CachePlace::S3(_) => Ok(false),
        }
    }

    /// Brings a blob into the store; wrong bytes are an error.
    ///
    /// # Errors
    /// The place does not give it, or the store cannot be written.
    pub async fn fetch(&self, blob: &Descriptor, progress: &Arc<dyn Progress>) -> Result<(), FarError> {
        let sink = self.sink(blob, progress);
        match self.place {
            CachePlace::Registry(cache) => registry::fetch(self.workshop, cache, blob, sink).await,
            CachePlace::Local(directory) => local::fetch(self.workshop, directory, blob, sink).await,
            CachePlace::S3(cache) => s3::fetch(self.workshop, cache, blob, sink).await,
        }
    }

    /// Sends a blob of the store.
    ///
    /// # Errors
    /// The place cannot be written, or the store cannot be read.
    pub async fn send(&self, blob: &Descriptor, progress: &Arc<dyn Progress>) -> Result<(), FarError> {
        let sink = self.sink(blob, progress);
        match self.place {
            CachePlace::Registry(cache) => registry::send(self.workshop, cache, blob, sink).await,
            CachePlace::Local(directory) => local::send(self.workshop, directory, blob, sink).await,
            CachePlace::S3(cache) => s3::send(self.workshop, cache, blob, sink).await,
        }
    }

    /// Returns a small blob, which does not come into the store; wrong bytes are an error.
    ///
    /// # Errors
    /// The place does not give it.
    pub async fn read(&self, blob: &Descriptor) -> Result<Bytes, FarError> {
        let bytes = match self.place {
            CachePlace::Registry(cache) => registry::read(self.workshop, cache, blob).await?,
            CachePlace::Local(directory) => local::read(directory, blob).await?,
            CachePlace::S3(cache) => s3::read(self.workshop, cache, blob).await?,
        };
        match Digest::of(&bytes) {
            actual if actual == blob.digest => Ok(bytes),
            actual => {
                let source = StoreError::WrongDigest { expected: blob.digest, actual };
                Err(FarError::Damaged { digest: blob.digest, source })
            }
        }
    }

    /// Sends a small blob that is not in the store.
    ///
    /// # Errors
    /// The place cannot be written.
    pub async fn write(&self, blob: &Descriptor, bytes: Bytes) -> Result<(), FarError> {
        match self.place {
            CachePlace::Registry(cache) => registry::write(self.workshop, cache, blob, bytes).await,
            CachePlace::Local(directory) => local::write_blob(directory, blob, bytes).await,
            CachePlace::S3(cache) => s3::write(self.workshop, cache, blob, bytes).await,
        }
    }

    fn sink(&self, blob: &Descriptor, progress: &Arc<dyn Progress>) -> ProgressSink {
        sink(&format!("cache {}", self.place), blob.digest, progress)
    }
}

/// Returns a sink that passes a blob's bytes on as events.
pub fn sink(what: &str, digest: Digest, progress: &Arc<dyn Progress>) -> ProgressSink {
    let (progress, what) = (Arc::clone(progress), what.to_owned());
    Arc::new(move |done, total| {
        progress.on(&ProgressEvent::Transfer { what: &what, blob: digest, done, total })
    })
}
