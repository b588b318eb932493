//! Documents: a value together with the bytes that are its identity.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::ser::Serialize;

use crate::{Descriptor, Digest, MediaType, json};

/// A JSON document exactly as received or as first written, with its parsed value.
///
/// Its digest is the digest of these bytes; it is never serialized again.
#[derive(Debug, Clone)]
pub struct Document<T> {
    bytes: Bytes,
    digest: Digest,
    value: T,
}

/// Bytes that are not the document they should be.
#[derive(Debug, thiserror::Error)]
#[error("{what} `{digest}` is malformed: {source}")]
pub struct DocumentError {
    /// Which kind of document was expected: `manifest`, `image configuration`.
    pub what: &'static str,
    /// Digest of the bytes.
    pub digest: Digest,
    /// What the parser says.
    pub source: serde_json::Error,
}

/// A kind of document, with the name that errors use.
pub trait Kind: Serialize + DeserializeOwned {
    /// Name of the kind, in lower case.
    const NAME: &'static str;
}

impl<T: Kind> Document<T> {
    /// Parses `bytes` and keeps them.
    ///
    /// # Errors
    /// [`DocumentError`] when they are not a document of this kind.
    pub fn parse(bytes: impl Into<Bytes>) -> Result<Self, DocumentError> {
        let bytes = bytes.into();
        let digest = Digest::of(&bytes);
        let value = serde_json::from_slice(&bytes).map_err(|source| DocumentError {
            what: T::NAME,
            digest,
            source,
        })?;
        Ok(Self { bytes, digest, value })
    }

    /// Writes `value` canonically, once.
    pub fn write(value: T) -> Self {
        let bytes = Bytes::from(json::to_bytes(&value));
        Self { digest: Digest::of(&bytes), bytes, value }
    }

    /// Returns the bytes as received or as first written.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Returns the digest of the bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns the number of bytes.
    pub fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Returns the parsed value.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// Returns the parsed value alone, giving up the bytes.
    pub fn into_value(self) -> T {
        self.value
    }

    /// Returns a descriptor of these bytes.
    pub fn descriptor(&self, media_type: MediaType) -> Descriptor {
        Descriptor::new(media_type, self.digest, self.size())
    }
}
