//! The content of an object on its way into a bucket: the whole of it, or as much as a part has.

use std::fmt;
use std::sync::Arc;

use futures_util::StreamExt;
use kiln_oci::Descriptor;

use crate::bucket_place::Bucket;
use crate::config::{ByteStream, ProgressSink};
use crate::error::Error;
use crate::session::{Opener, counted};

/// A blob on its way into a bucket.
pub struct ObjectUpload<'a> {
    /// The bucket.
    pub bucket: &'a Bucket,
    /// The key of the object.
    pub key: &'a str,
    /// Digest and size of the blob.
    pub blob: &'a Descriptor,
    /// Opens its content.
    pub open: &'a Opener<'a>,
    /// Is told how far it is.
    pub progress: Option<ProgressSink>,
}

impl fmt::Debug for ObjectUpload<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ObjectUpload").field("key", &self.key).finish_non_exhaustive()
    }
}

impl ObjectUpload<'_> {
    /// Opens a part of the content.
    pub(crate) async fn content(&self, offset: u64, size: u64) -> Result<ByteStream, Error> {
        let stream = (self.open)(offset).await;
        let stream = stream.map_err(|source| Error::Source { subject: self.key.to_owned(), source })?;
        let stream = first(stream, size);
        Ok(match &self.progress {
            None => stream,
            Some(progress) => counted(stream, offset, self.blob.size, Arc::clone(progress)),
        })
    }
}

/// Returns a stream that ends after `size` bytes.
fn first(stream: ByteStream, size: u64) -> ByteStream {
    let rest = futures_util::stream::unfold((stream, size), |(mut stream, left)| async move {
        if left == 0 {
            return None;
        }
        let next = stream.next().await?;
        let next = next.map(|mut chunk| {
            chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            chunk
        });
        let taken = next.as_ref().map_or(left, |chunk| chunk.len() as u64);
        Some((next, (stream, left - taken)))
    });
    Box::pin(rest)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[tokio::test]
    async fn a_part_of_a_stream_has_as_many_bytes_as_were_asked_for() {
        for (size, expected) in [(0, ""), (3, "abc"), (4, "abcd"), (5, "abcde"), (9, "abcdef")] {
            let chunks = ["abc", "def"].map(|chunk| Ok(Bytes::from_static(chunk.as_bytes())));
            let stream: ByteStream = Box::pin(futures_util::stream::iter(chunks));
            let read: Vec<Bytes> = first(stream, size).map(|chunk| chunk.unwrap()).collect().await;
            assert_eq!(read.concat(), expected.as_bytes(), "{size}");
        }
    }
}
