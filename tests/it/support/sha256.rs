//! SHA-256 of bytes and files as lower-case hex, by a library that kiln's digests do not use.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use ring::digest::{Context, SHA256};

/// Returns the digest of `bytes` in hex.
pub(crate) fn of(bytes: &[u8]) -> String {
    hex(ring::digest::digest(&SHA256, bytes).as_ref())
}

/// Returns the digest of a file in hex, reading it in pieces.
pub(crate) fn of_file(path: &Path) -> String {
    of_reader(&mut File::open(path).unwrap_or_else(|error| panic!("cannot open {}: {error}", path.display())))
}

/// Returns the digest in hex of all that a reader has.
pub(crate) fn of_reader(reader: &mut dyn Read) -> String {
    let mut hashing = Hashing::new(reader);
    std::io::copy(&mut hashing, &mut std::io::sink()).unwrap();
    hashing.finish()
}

/// Hashes what is read through it.
pub(crate) struct Hashing<R> {
    inner: R,
    context: Context,
}

impl<R> Hashing<R> {
    /// Wraps a reader.
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, context: Context::new(&SHA256) }
    }

    /// Returns the digest of what was read, in hex.
    pub(crate) fn finish(self) -> String {
        hex(self.context.finish().as_ref())
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.context.update(&buffer[..count]);
        Ok(count)
    }
}

/// Returns bytes as lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
