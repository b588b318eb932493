//! Why an archive of images could not be read.

use std::io;

use kiln_layer::tar::read::ReadError;
use kiln_oci::Digest;

/// Why an archive of images could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ImageArchiveError {
    /// A member cannot be read.
    #[error("cannot read `{path}` of the archive")]
    Read {
        /// The member.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// It is damaged or hostile.
    #[error(transparent)]
    Archive(#[from] ReadError),
    /// It is no archive of images.
    #[error("this is no archive of images: {reason}")]
    NotImages {
        /// Why not.
        reason: String,
    },
    /// It says something of an image that is not true.
    #[error("the archive is damaged: {reason}")]
    Damaged {
        /// What is wrong.
        reason: String,
    },
    /// A blob has other bytes than its name says.
    #[error("`{path}` in the archive has the digest `{actual}`")]
    WrongDigest {
        /// The member.
        path: String,
        /// The digest of its bytes.
        actual: Digest,
    },
}

impl ImageArchiveError {
    /// Returns what the reader of an archive found out, which comes out of a member's content as what a file may say; of another
    /// error, what `failed` makes.
    pub(crate) fn found_in<E: From<Self>>(error: io::Error, failed: impl FnOnce(io::Error) -> E) -> E {
        match error.downcast::<ReadError>() {
            Ok(error) => Self::Archive(error).into(),
            Err(source) => failed(source),
        }
    }
}
