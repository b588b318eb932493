//! The identity of a file's bytes inside kiln: BLAKE3, 32 bytes.
//!
//! Documents of the OCI name blobs and layers by SHA-256, and so does [`kiln_oci::Digest`]. What kiln asks of a *file's* digest is
//! only whether two contents are the same, in its own records and keys; every file of a context is hashed once for that, besides
//! the hashing that layer and blob need. BLAKE3 does it at three to six times the speed of SHA-256 where the processor has
//! instructions for the latter, at ten times where it has not. Unaware of what has the bytes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The BLAKE3 hash of a file's bytes. Equal digests are equal contents.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContentDigest([u8; 32]);

/// Computes a [`ContentDigest`] piece by piece.
#[derive(Clone, Default)]
pub struct ContentHasher(blake3::Hasher);

impl ContentDigest {
    /// Returns the digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Wraps the 32 bytes of a digest.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "blake3:{}", blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for ContentDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl ContentHasher {
    /// Starts with no bytes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Adds bytes, many at once, which rayon's current pool hashes side by side.
    pub fn update_parallel(&mut self, bytes: &[u8]) {
        self.0.update_rayon(bytes);
    }

    /// Returns the digest of all bytes.
    pub fn finish(&self) -> ContentDigest {
        ContentDigest(*self.0.finalize().as_bytes())
    }
}

impl fmt::Debug for ContentHasher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ContentHasher")
    }
}
