//! Objects into a bucket: in one request, or in parts where that would be too much to send again after a break.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::StreamExt;
use http::Method;
use http::header::{ETAG, HeaderMap, HeaderName, HeaderValue};
use kiln_oci::{Descriptor, Digest};
use rusty_s3::S3Action;

use crate::bucket::{Opened, SIGNED_FOR, element};
use crate::bucket_place::Bucket;
use crate::client::Client;
use crate::config::{ByteStream, ProgressSink};
use crate::error::Error;
use crate::http::Payload;
use crate::limit;
use crate::session::{Opener, counted};

/// The server compares the bytes with this before the object appears.
const CHECKSUM: &str = "x-amz-checksum-sha256";

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

impl Client {
    /// Writes a small object, which replaces one of the same key.
    ///
    /// # Errors
    /// The object store cannot be reached, or does not let us write.
    pub async fn put_object(&self, bucket: &Bucket, key: &str, bytes: Bytes) -> Result<(), Error> {
        let opened = self.bucket(bucket).await?;
        let digest = Digest::of(&bytes);
        let mut attempts = self.attempts();
        loop {
            match opened.put(key, &digest, Payload::Bytes(bytes.clone())).await {
                Ok(()) => return Ok(()),
                Err(error) => self.wait(&mut attempts, error).await?,
            }
        }
    }

    /// Writes a blob as an object, which appears when it is whole.
    ///
    /// # Errors
    /// The object store cannot be reached, does not let us write, or refuses the content; or this cannot be read.
    pub async fn upload_object(&self, upload: ObjectUpload<'_>) -> Result<(), Error> {
        let opened = self.bucket(upload.bucket).await?;
        if upload.blob.size > limit::OBJECT_PART_BYTES {
            return opened.upload_parts(self, &upload).await;
        }
        let mut attempts = self.attempts();
        loop {
            let sent = async {
                let stream = upload.content(0, upload.blob.size).await?;
                opened.put(upload.key, &upload.blob.digest, Payload::Stream(stream, upload.blob.size)).await
            };
            match sent.await {
                Ok(()) => return Ok(()),
                Err(error) => self.wait(&mut attempts, error).await?,
            }
        }
    }
}

impl ObjectUpload<'_> {
    /// Opens a part of the content.
    async fn content(&self, offset: u64, size: u64) -> Result<ByteStream, Error> {
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

impl Opened<'_> {
    async fn put(&self, key: &str, digest: &Digest, payload: Payload) -> Result<(), Error> {
        let checksum = STANDARD.encode(digest.as_bytes());
        let mut action = self.address.put_object(self.credentials.as_ref(), key);
        action.headers_mut().insert(CHECKSUM, checksum.clone());
        let url = action.sign(SIGNED_FOR);
        let mut headers = HeaderMap::new();
        let value = HeaderValue::try_from(checksum).expect("base64 fits in a header");
        headers.insert(HeaderName::from_static(CHECKSUM), value);
        self.send(Method::PUT, url, key, headers, payload).await.map(drop)
    }

    async fn upload_parts(&self, client: &Client, upload: &ObjectUpload<'_>) -> Result<(), Error> {
        let key = upload.key;
        let id = self.begin(client, key).await?;
        let outcome = self.send_parts(client, upload, &id).await;
        if outcome.is_err() {
            // What was sent is paid for until it is given up. If that fails, the bucket's own rules do it in time.
            let action = self.address.abort_multipart_upload(self.credentials.as_ref(), key, &id);
            let url = action.sign(SIGNED_FOR);
            self.send(Method::DELETE, url, key, HeaderMap::new(), Payload::Empty).await.ok();
        }
        outcome
    }

    async fn begin(&self, client: &Client, key: &str) -> Result<String, Error> {
        let mut attempts = client.attempts();
        loop {
            let begun = async {
                let action = self.address.create_multipart_upload(self.credentials.as_ref(), key);
                let url = action.sign(SIGNED_FOR);
                let mut response =
                    self.send(Method::POST, url, key, HeaderMap::new(), Payload::Empty).await?;
                let body = self.body(&mut response, key, limit::ERROR_BODY_BYTES_MAX).await?;
                // Some servers leave out the name space, without which a strict reader finds nothing.
                let id = element(&String::from_utf8_lossy(&body), "UploadId");
                id.ok_or_else(|| self.protocol(key, "an upload without a name"))
            };
            match begun.await {
                Ok(id) => return Ok(id),
                Err(error) => client.wait(&mut attempts, error).await?,
            }
        }
    }

    async fn send_parts(&self, client: &Client, upload: &ObjectUpload<'_>, id: &str) -> Result<(), Error> {
        let size = upload.blob.size;
        let part = limit::OBJECT_PART_BYTES.max(size.div_ceil(u64::from(limit::OBJECT_PARTS_MAX)));
        let mut tags = Vec::new();
        let mut offset = 0;
        while offset < size {
            let length = part.min(size - offset);
            tags.push(self.send_part(client, upload, id, (offset, length), tags.len()).await?);
            offset += length;
        }
        let mut attempts = client.attempts();
        loop {
            match self.complete(upload.key, id, &tags).await {
                Ok(()) => return Ok(()),
                Err(error) => client.wait(&mut attempts, error).await?,
            }
        }
    }

    async fn send_part(
        &self,
        client: &Client,
        upload: &ObjectUpload<'_>,
        id: &str,
        (offset, length): (u64, u64),
        sent: usize,
    ) -> Result<String, Error> {
        let number = u16::try_from(sent + 1).expect("there are no more parts than S3 allows");
        let mut attempts = client.attempts();
        loop {
            let part = async {
                let action = self.address.upload_part(self.credentials.as_ref(), upload.key, number, id);
                let url = action.sign(SIGNED_FOR);
                let payload = Payload::Stream(upload.content(offset, length).await?, length);
                let response = self.send(Method::PUT, url, upload.key, HeaderMap::new(), payload).await?;
                let tag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok());
                tag.map(str::to_owned).ok_or_else(|| self.protocol(upload.key, "a part without a tag"))
            };
            match part.await {
                Ok(tag) => return Ok(tag),
                Err(error) => client.wait(&mut attempts, error).await?,
            }
        }
    }

    async fn complete(&self, key: &str, id: &str, tags: &[String]) -> Result<(), Error> {
        let tags = tags.iter().map(String::as_str);
        let action = self.address.complete_multipart_upload(self.credentials.as_ref(), key, id, tags);
        let url = action.sign(SIGNED_FOR);
        let body = Bytes::from(action.body());
        let mut response = self.send(Method::POST, url, key, HeaderMap::new(), Payload::Bytes(body)).await?;
        let answer = self.body(&mut response, key, limit::ERROR_BODY_BYTES_MAX).await?;
        // The answer begins before the object is made, so it may turn out to be an error.
        match element(&String::from_utf8_lossy(&answer), "Code") {
            Some(_) => Err(self.protocol(key, "the parts could not be put together")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
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
