//! What can go wrong between this machine and an object store. No text holds a secret or the query of an address, which is the
//! signature.

use std::path::PathBuf;
use std::time::Duration;

use crate::cause::{Said, TransportError, status_text};

/// Why a call to an object store failed.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// No answer came: no connection, or it broke.
    #[error("object store `{host}`: {source}")]
    Transport {
        /// The host that was spoken to.
        host: String,
        /// What happened.
        source: TransportError,
    },
    /// The store answered, and not with success.
    #[error(
        "object store `{host}` answered {} for `{object}`{}{}",
        status_text(*status),
        Said(code, message),
        if *with_credentials { "" } else { " (it was asked without credentials)" }
    )]
    Status {
        /// The host that answered.
        host: String,
        /// Bucket and key.
        object: String,
        /// HTTP status.
        status: u16,
        /// The store's own error code, such as `NoSuchBucket`.
        code: Option<String>,
        /// Its own message.
        message: Option<String>,
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
        /// Whether the request was signed.
        with_credentials: bool,
    },
    /// The answer is not what S3 says it is.
    #[error("object store `{host}` answered `{object}` in a way that breaks the protocol: {reason}")]
    Protocol {
        /// The host that answered.
        host: String,
        /// Bucket and key.
        object: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// An object that must be small is not.
    #[error("object store `{host}`: `{object}` is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The host that answered.
        host: String,
        /// Bucket and key.
        object: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// There can be no such bucket.
    #[error("bucket `{name}`: {reason}")]
    Address {
        /// Its name.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// The file of credentials cannot be used.
    #[error("credentials in `{}`: {reason}", path.display())]
    Credentials {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}
