//! Hashing while reading: the only way in for bytes from outside.

use std::io::{self, Read};

use crate::{Digest, Hasher};

/// Why bytes from outside are not what their descriptor promised.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// More bytes came than the descriptor says.
    #[error("content of `{expected}` is longer than its {size} bytes")]
    TooLong {
        /// The digest that was promised.
        expected: Digest,
        /// The size that was promised, in bytes.
        size: u64,
    },
    /// The bytes ended early.
    #[error("content of `{expected}` ends after {read} of {size} bytes")]
    TooShort {
        /// The digest that was promised.
        expected: Digest,
        /// The size that was promised, in bytes.
        size: u64,
        /// How many bytes came.
        read: u64,
    },
    /// The size is right, the digest is another.
    #[error("wrong digest: expected `{expected}`, got `{actual}`")]
    WrongDigest {
        /// The digest that was promised.
        expected: Digest,
        /// The digest of the bytes that came.
        actual: Digest,
    },
}

/// A reader that checks size and digest of what it passes on.
///
/// The end of the stream is reported only when everything was right: a wrong, short or long content ends in an
/// [`io::Error`] of kind `InvalidData` that wraps a [`VerifyError`].
#[derive(Debug)]
pub struct VerifyingReader<R> {
    inner: R,
    hasher: Option<Hasher>,
    expected: Digest,
    size: u64,
    read: u64,
}

impl<R: Read> VerifyingReader<R> {
    /// Wraps `inner`, which must give exactly `size` bytes with the digest `expected`.
    pub fn new(inner: R, expected: Digest, size: u64) -> Self {
        Self { inner, hasher: Some(Hasher::new()), expected, size, read: 0 }
    }

    fn finish(&mut self) -> Result<(), VerifyError> {
        let Some(hasher) = self.hasher.take() else { return Ok(()) };
        if self.read < self.size {
            return Err(VerifyError::TooShort { expected: self.expected, size: self.size, read: self.read });
        }
        let actual = hasher.finish();
        if actual != self.expected {
            return Err(VerifyError::WrongDigest { expected: self.expected, actual });
        }
        Ok(())
    }
}

impl<R: Read> Read for VerifyingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let count = self.inner.read(buffer)?;
        if count == 0 {
            self.finish().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            return Ok(0);
        }
        self.read += count as u64;
        if self.read > self.size {
            let error = VerifyError::TooLong { expected: self.expected, size: self.size };
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_promised_bytes_reach_the_end() {
        let digest = Digest::of(b"hello");
        for (bytes, size, says) in [
            (&b"hello"[..], 5, None),
            (b"hell", 5, Some("ends after 4 of 5")),
            (b"hello!", 5, Some("longer than its 5")),
            (b"jello", 5, Some("wrong digest")),
        ] {
            let mut text = Vec::new();
            let result = VerifyingReader::new(bytes, digest, size).read_to_end(&mut text);
            match says {
                None => assert_eq!(result.unwrap(), 5),
                Some(says) => assert!(result.unwrap_err().to_string().contains(says)),
            }
        }
    }
}
