//! Blobs as streams, for what sends them: of the store, and of other files.

use std::io::{self, Read, Seek, SeekFrom};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use kiln_oci::Digest;
use kiln_registry::ByteStream;
use kiln_store::Blobs;

use crate::lanes::blocking;

const CHUNK_BYTES: usize = 256 * 1024;

/// Opens a blob of the store at an offset, as a stream of chunks read on blocking threads.
pub(super) fn open_at(
    blobs: Blobs,
    digest: Digest,
    offset: u64,
) -> BoxFuture<'static, io::Result<ByteStream>> {
    Box::pin(async move {
        let file = blocking(move || {
            let mut file = blobs.open(&digest).map_err(io::Error::other)?;
            file.seek(SeekFrom::Start(offset)).map(|_| file)
        });
        Ok(chunks(file.await?))
    })
}

/// Returns what a reader has as a stream of chunks, read on blocking threads.
pub fn chunks(reader: impl Read + Send + 'static) -> ByteStream {
    let chunks = futures_util::stream::try_unfold(reader, |mut reader| async move {
        blocking(move || {
            let mut chunk = vec![0; CHUNK_BYTES];
            let count = loop {
                match reader.read(&mut chunk) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    outcome => break outcome?,
                }
            };
            chunk.truncate(count);
            Ok((count > 0).then(|| (Bytes::from(chunk), reader)))
        })
        .await
    });
    chunks.boxed()
}

/// Opens bytes in memory at an offset.
pub(super) fn open_bytes(bytes: &Bytes, offset: u64) -> BoxFuture<'static, io::Result<ByteStream>> {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    let rest = bytes.slice(start..);
    Box::pin(async move { Ok(futures_util::stream::iter([Ok(rest)]).boxed() as ByteStream) })
}
