//! Why a registry's images could not be looked at or copied.

use std::io;

use kiln_oci::{Digest, DocumentError, Platform, Reference, ReferenceError};

use crate::export::ExportError;
use crate::source::image_files::ImageFilesError;

/// Why a registry's images could not be looked at or copied.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The registry does not have it, or failed.
    #[error("cannot read `{}`", reference.familiar())]
    Read {
        /// What was asked for.
        reference: Box<Reference>,
        /// What the registry says.
        source: Box<kiln_registry::Error>,
    },
    /// The registry does not take it.
    #[error("cannot write `{}`", reference.familiar())]
    Write {
        /// Where it was sent.
        reference: Box<Reference>,
        /// What the registry says.
        source: Box<kiln_registry::Error>,
    },
    /// The registry does not remove it.
    #[error("cannot remove the tag `{}`", reference.familiar())]
    Untag {
        /// The tag.
        reference: Box<Reference>,
        /// What the registry says.
        source: Box<kiln_registry::Error>,
    },
    /// There is no such tag to be removed.
    #[error("no such tag: `{}`", reference.familiar())]
    NoTag {
        /// The tag.
        reference: Box<Reference>,
    },
    /// A document of the image is malformed.
    #[error("image `{image}`: {source}")]
    Document {
        /// The image.
        image: String,
        /// What is wrong.
        source: DocumentError,
    },
    /// The image has no manifest for the platform.
    #[error("image `{image}` is not available for {wanted}: it has {available}")]
    Platform {
        /// The image.
        image: String,
        /// What was asked for.
        wanted: Box<Platform>,
        /// What there is.
        available: String,
    },
    /// The image is larger than an image can sensibly be.
    #[error("image `{image}` {reason}")]
    TooLarge {
        /// The image.
        image: String,
        /// What there is too much of.
        reason: String,
    },
    /// A name leads to another image than it should.
    #[error("`{}` cannot be written: it names another digest than `{from}` has", to.familiar())]
    OtherDigest {
        /// What was to be copied.
        from: String,
        /// Where to.
        to: Box<Reference>,
    },
    /// A layout or archive cannot be read.
    #[error(transparent)]
    Files(Box<ImageFilesError>),
    /// A blob of a layout or archive cannot be read.
    #[error("cannot read blob `{digest}` of `{place}`")]
    ReadFiles {
        /// The image.
        place: String,
        /// The blob.
        digest: Digest,
        /// What the file system says, or what is wrong with its bytes.
        source: io::Error,
    },
    /// An image cannot be written into a layout or archive.
    #[error("cannot copy `{from}`")]
    Copy {
        /// The image.
        from: String,
        /// What cannot be read or written.
        source: Box<ExportError>,
    },
    /// A name that an image cannot have in an archive.
    #[error("`{}` is no name for an image", name.escape_debug())]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        source: ReferenceError,
    },
}

impl From<ImageFilesError> for RemoteError {
    fn from(error: ImageFilesError) -> Self {
        Self::Files(Box::new(error))
    }
}

impl RemoteError {
    pub(super) fn read(reference: &Reference) -> impl FnOnce(kiln_registry::Error) -> Self + use<> {
        let reference = Box::new(reference.clone());
        |source| Self::Read { reference, source: Box::new(source) }
    }

    /// Whether a registry says that it removes nothing.
    pub fn is_removal_unsupported(&self) -> bool {
        matches!(self, Self::Untag { source, .. }
            if matches!(**source, kiln_registry::Error::Status { status: 405 | 501, .. }))
    }

    /// Whether what came had another digest.
    pub(super) fn is_wrong_content(&self) -> bool {
        matches!(self, Self::Read { source, .. } if matches!(**source, kiln_registry::Error::Verify { .. }))
    }

    pub(super) fn write(reference: &Reference) -> impl FnOnce(kiln_registry::Error) -> Self + use<> {
        let reference = Box::new(reference.clone());
        |source| Self::Write { reference, source: Box::new(source) }
    }
}
