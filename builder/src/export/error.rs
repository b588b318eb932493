//! Why a result could not leave.

use std::io;
use std::path::PathBuf;

use kiln_layer::ArchivePath;
use kiln_layer::tar::write::HeaderError;
use kiln_oci::{Digest, DocumentError, Reference};
use kiln_store::StoreError;

use crate::blobs::FetchError;
use crate::boxed::boxed;
use crate::layers::LayerError;

/// Why a result could not leave.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Something to push has no name.
    #[error("an image without a name cannot be pushed")]
    NoName,
    /// A directory cannot go to a stream.
    #[error("a directory cannot be written to standard output")]
    DirectoryToStdout,
    /// A manifest is not in the store.
    #[error("manifest `{digest}` is not in the store")]
    Missing {
        /// The manifest.
        digest: Digest,
    },
    /// An index of which the store has several images, but not all.
    #[error(
        "the store has only {present} of the images of index `{digest}`; pull the others, or name one platform"
    )]
    Partial {
        /// The index.
        digest: Digest,
        /// How many there are.
        present: usize,
    },
    /// The form holds images of one platform only.
    #[error(
        "an archive for `docker load` holds one platform, and `{digest}` has {count}; write an OCI layout instead"
    )]
    SeveralPlatforms {
        /// The index.
        digest: Digest,
        /// How many there are.
        count: usize,
    },
    /// A document that is no image.
    #[error("`{digest}` is not an image: {reason}")]
    NotAnImage {
        /// The document.
        digest: Digest,
        /// Why not.
        reason: String,
    },
    /// A document is malformed.
    #[error("`{digest}`")]
    Document {
        /// The document.
        digest: Digest,
        /// What is wrong.
        source: DocumentError,
    },
    /// A file of a result could not be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A blob turned out to be damaged or cannot be read.
    #[error("cannot read blob `{digest}`")]
    ReadBlob {
        /// The blob.
        digest: Digest,
        /// What is wrong.
        source: io::Error,
    },
    /// A file of the image could not be read.
    #[error("cannot read `{path}` of the image")]
    ReadContent {
        /// The file.
        path: ArchivePath,
        /// What is wrong.
        source: io::Error,
    },
    /// A file of the image could not be written.
    #[error("cannot write `{path}` into `{}`", directory.display())]
    Place {
        /// The file.
        path: ArchivePath,
        /// The destination.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What an archive cannot say.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The destination is a layout of a version that is not known.
    #[error("`{}` is not an OCI layout that can be added to: {reason}", path.display())]
    ForeignLayout {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A layer cannot be used.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// A layer could not be had.
    #[error(transparent)]
    Fetch(Box<FetchError>),
    /// The registry failed.
    #[error("cannot push `{reference}`")]
    Registry {
        /// The name.
        reference: Reference,
        /// What the registry said.
        source: Box<kiln_registry::Error>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

boxed!(ExportError { Fetch: FetchError });
