//! What becomes of the blocks of a layer's tar: hashed and compressed side by side, then hashed and written in order.

use std::io::{self, Write};

use flate2::Crc;
use kiln_oci::{DiffId, Digest, Hasher};
use rayon::prelude::*;

use super::CommitError;
use crate::compress::{CompressedBlock, Compression};

/// Takes blocks of tar in order: hashes and compresses them.
pub(super) struct Packer {
    compression: Compression,
    hasher: Hasher,
    bytes: u64,
}

impl Packer {
    pub(super) fn new(compression: Compression) -> Self {
        Self { compression, hasher: Hasher::new(), bytes: 0 }
    }

    pub(super) fn pack(&mut self, batch: &[Vec<u8>]) -> Result<Vec<CompressedBlock>, CommitError> {
        let compression = self.compression;
        let (hasher, bytes) = (&mut self.hasher, &mut self.bytes);
        let hash = || {
            for block in batch {
                hasher.update(block);
                *bytes += block.len() as u64;
            }
        };
        let compress = || -> io::Result<Vec<CompressedBlock>> {
            batch.par_iter().with_max_len(1).map(|block| compression.block(block)).collect()
        };
        let ((), compressed) = rayon::join(hash, compress);
        compressed.map_err(|source| CommitError::Compress { source })
    }

    /// Returns the digest of the tar and how many bytes it has.
    pub(super) fn finish(self) -> (DiffId, u64) {
        (DiffId(self.hasher.finish()), self.bytes)
    }
}

/// Takes compressed blocks in order: hashes and writes them.
pub(super) struct Sink<'a> {
    compression: Compression,
    out: &'a mut (dyn Write + Send),
    hasher: Hasher,
    crc: Crc,
    size: u64,
}

impl<'a> Sink<'a> {
    pub(super) fn new(
        compression: Compression,
        out: &'a mut (dyn Write + Send),
    ) -> Result<Self, CommitError> {
        let mut sink = Self { compression, out, hasher: Hasher::new(), crc: Crc::new(), size: 0 };
        sink.write(compression.head())?;
        Ok(sink)
    }

    pub(super) fn write_all(&mut self, blocks: &[CompressedBlock]) -> Result<(), CommitError> {
        for block in blocks {
            if let Some(crc) = &block.crc {
                self.crc.combine(crc);
            }
            self.write(&block.bytes)?;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), CommitError> {
        if self.compression != Compression::None {
            self.hasher.update(bytes);
        }
        self.size += bytes.len() as u64;
        self.out.write_all(bytes).map_err(|source| CommitError::Write { source })
    }

    /// Ends the stream; returns its digest and size. Uncompressed, the bytes are those of the tar.
    pub(super) fn finish(mut self, diff_id: DiffId) -> Result<(Digest, u64), CommitError> {
        let tail = self.compression.tail(&self.crc);
        self.write(&tail)?;
        self.out.flush().map_err(|source| CommitError::Write { source })?;
        let digest = if self.compression == Compression::None { diff_id.0 } else { self.hasher.finish() };
        Ok((digest, self.size))
    }
}
