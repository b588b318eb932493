//! Why a file of the web could not be had.

use kiln_oci::Digest;
use kiln_registry::WebError;
use kiln_store::StoreError;

use super::DOWNLOAD_BYTES_MAX;
use crate::secrets::SecretError;

/// Why a file could not be fetched. `url` is the address as it may be shown.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Nobody gave it.
    #[error("cannot fetch `{url}`")]
    Request {
        /// Its address.
        url: String,
        /// What went wrong.
        source: WebError,
    },
    /// The bytes are others than was asked for.
    #[error("`{url}` has the digest `{actual}`, but `--checksum` says `{expected}`")]
    Checksum {
        /// Its address.
        url: String,
        /// What was asked for.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// It had to be fetched twice, and was another the second time.
    #[error("`{url}` changed while the build went on")]
    Changed {
        /// Its address.
        url: String,
    },
    /// It is too large.
    #[error("`{url}` is larger than {DOWNLOAD_BYTES_MAX} bytes")]
    TooLarge {
        /// Its address.
        url: String,
    },
    /// It could not be written.
    #[error("cannot write what `{url}` sends")]
    Write {
        /// Its address.
        url: String,
        /// What the file system says.
        source: std::io::Error,
    },
    /// It came compressed, and is damaged.
    #[error("cannot decompress what `{url}` sends")]
    Decode {
        /// Its address.
        url: String,
        /// What is wrong with it.
        source: std::io::Error,
    },
    /// What was kept of it cannot be read.
    #[error("cannot read what was fetched from `{url}`")]
    Read {
        /// Its address.
        url: String,
        /// What the file system says.
        source: std::io::Error,
    },
    /// A secret is no header.
    #[error("secret `{id}` has characters that no header can have")]
    Authorization {
        /// Id of the secret.
        id: String,
    },
    /// A secret cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
