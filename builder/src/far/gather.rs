//! Small blobs, gathered in memory as they come from a server.

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, TryStreamExt};
use kiln_oci::Digest;

use super::FarError;

/// Returns all chunks of a blob as one. Its stream ends at the size that is known of it.
pub(super) async fn gather(
    digest: &Digest,
    chunks: impl Stream<Item = Result<Bytes, kiln_registry::Error>>,
) -> Result<Bytes, FarError> {
    let add = |mut bytes: BytesMut, chunk: Bytes| {
        bytes.extend_from_slice(&chunk);
        std::future::ready(Ok(bytes))
    };
    match chunks.try_fold(BytesMut::new(), add).await {
        Ok(bytes) => Ok(bytes.freeze()),
        Err(error) if error.is_not_found() => Err(FarError::Missing { digest: *digest }),
        Err(error) => Err(error.into()),
    }
}
