//! Why something could not be done with the images on this machine.

use std::io;

use kiln_layer::tar::read::ReadError;
use kiln_layer::{ArchiveError, CommitError, CopyError};
use kiln_oci::{Digest, Platform, Reference};
use kiln_store::StoreError;

use crate::export::ExportError;
use crate::layers::LayerError;
use crate::lower::ChangeError;
use crate::source::http::HttpError;
use crate::source::image::ImageError;
use crate::source::layout::LayoutError;

/// Why something could not be done with the images on this machine.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// No image has this name or id.
    #[error("no such image: `{image}`{}", suggestion.as_ref().map_or_else(String::new, |near| format!(" (did you mean `{near}`?)")))]
    NotFound {
        /// What was asked for.
        image: String,
        /// A name that is much like it.
        suggestion: Option<String>,
    },
    /// Several images have ids that begin so.
    #[error("`{image}` is ambiguous: it may be {}", candidates.join(", "))]
    Ambiguous {
        /// What was asked for.
        image: String,
        /// The images, by id and name.
        candidates: Vec<String>,
    },
    /// The image has no manifest for the platform here.
    #[error("image `{image}` is not here for {wanted}: it has {available}")]
    Platform {
        /// The image.
        image: String,
        /// What was asked for.
        wanted: Box<Platform>,
        /// What there is.
        available: String,
    },
    /// An image to be removed by its id has several names.
    #[error("conflict: unable to delete {image} (must be forced) - image is referenced in multiple repositories: {}", names.iter().map(Reference::familiar).collect::<Vec<_>>().join(", "))]
    Conflict {
        /// What was asked for.
        image: String,
        /// Its names.
        names: Vec<Reference>,
    },
    /// A digest cannot be given to an image.
    #[error("`{reference}` cannot be a new name: it names a digest")]
    NamesDigest {
        /// The name.
        reference: Reference,
    },
    /// An archive or layout cannot be read.
    #[error("cannot read {what}")]
    Read {
        /// What was read.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// An archive is damaged or hostile.
    #[error("cannot load the archive")]
    Archive(#[from] ReadError),
    /// An archive is no archive of images.
    #[error("this is no archive of images: {reason}")]
    NotImages {
        /// Why not.
        reason: String,
    },
    /// An archive says something of an image that is not true.
    #[error("the archive is damaged: {reason}")]
    Damaged {
        /// What is wrong.
        reason: String,
    },
    /// A blob of an archive has other bytes than its name says.
    #[error("`{path}` in the archive has the digest `{actual}`")]
    WrongDigest {
        /// The member.
        path: String,
        /// The digest of its bytes.
        actual: Digest,
    },
    /// An archive of files cannot be read.
    #[error("cannot import the archive")]
    Import(#[from] ArchiveError),
    /// An archive of the web cannot be had.
    #[error(transparent)]
    Web(Box<HttpError>),
    /// A name that could be stored, and never unpacked.
    #[error(transparent)]
    Name(#[from] CopyError),
    /// There is nothing in an archive.
    #[error("the archive has no files")]
    Empty,
    /// A layer cannot be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// A change cannot be made.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// A layer cannot be used.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// An OCI layout cannot be read.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// An image could not be had.
    #[error(transparent)]
    Image(Box<ImageError>),
    /// An image could not be read or written.
    #[error(transparent)]
    Export(Box<ExportError>),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ImageError> for CatalogError {
    fn from(error: ImageError) -> Self {
        Self::Image(Box::new(error))
    }
}

impl From<HttpError> for CatalogError {
    fn from(error: HttpError) -> Self {
        Self::Web(Box::new(error))
    }
}

impl From<ExportError> for CatalogError {
    fn from(error: ExportError) -> Self {
        Self::Export(Box::new(error))
    }
}

impl CatalogError {
    /// Whether what was asked for is not on this machine.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}
