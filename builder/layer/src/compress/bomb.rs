//! A few bytes that decompress to very many: how often is seen while they are read, and has a bound.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits::{RATIO_FREE_BYTES, RATIO_MAX, XZ_MEMORY_KIB_MAX, ZSTD_WINDOW_LOG_MAX};

/// Counts the bytes that a decoder takes.
pub(super) struct Counted<R> {
    inner: R,
    taken: Arc<AtomicU64>,
}

impl<R> Counted<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, taken: Arc::default() }
    }

    /// Returns the count, which goes on counting.
    pub(super) fn taken(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.taken)
    }
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.taken.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.taken.fetch_add(count as u64, Ordering::Relaxed);
        self.inner.consume(count);
    }
}

/// Why nothing more is decompressed.
#[derive(Debug, thiserror::Error)]
#[error(
    "it decompresses to more than {RATIO_MAX} times its size, and to more than {RATIO_FREE_BYTES} bytes; if that is meant, \
     give it uncompressed"
)]
struct RatioError;

/// A stream whose decoder would need more memory than it gets.
#[derive(Debug, thiserror::Error)]
#[error(
    "it needs more memory to decompress than {} MiB for zstd, or {} MiB for xz; if that is meant, give it uncompressed",
    (1_u64 << ZSTD_WINDOW_LOG_MAX) >> 20,
    XZ_MEMORY_KIB_MAX / 1024
)]
struct MemoryError(#[source] io::Error);

/// The decoders say it in their own words, and not with one kind of error.
fn named(error: io::Error) -> io::Error {
    let is_memory = error.kind() == io::ErrorKind::OutOfMemory || error.to_string().contains("memory");
    if is_memory { io::Error::new(io::ErrorKind::InvalidData, MemoryError(error)) } else { error }
}

/// Passes on what a decoder gives, as long as that stays in proportion to what it takes.
pub(super) struct RatioReader<R> {
    inner: R,
    taken: Arc<AtomicU64>,
    given: u64,
}

impl<R> RatioReader<R> {
    pub(super) fn new(inner: R, taken: Arc<AtomicU64>) -> Self {
        Self { inner, taken, given: 0 }
    }
}

impl<R: Read> Read for RatioReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer).map_err(named)?;
        self.given += count as u64;
        let taken = self.taken.load(Ordering::Relaxed);
        if self.given > RATIO_FREE_BYTES && self.given / RATIO_MAX > taken {
            return Err(io::Error::new(io::ErrorKind::InvalidData, RatioError));
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_beyond_the_ratio_is_refused_once_it_is_large() {
        let mut reader = RatioReader::new(io::repeat(0), Arc::new(AtomicU64::new(1000)));
        let mut buffer = vec![0; 1 << 20];
        let mut given: u64 = 0;
        let error = loop {
            match reader.read(&mut buffer) {
                Ok(count) => given += count as u64,
                Err(error) => break error,
            }
        };
        assert_eq!(given, RATIO_FREE_BYTES);
        assert!(error.to_string().contains("2000 times its size"), "{error}");
        reader.taken.store(RATIO_FREE_BYTES / 1000, Ordering::Relaxed);
        assert!(reader.read(&mut buffer).is_ok());
    }
}
