//! Objects into a bucket: in one request, or in parts where that would be too much to send again after a break.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Method;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use kiln_oci::Digest;
use rusty_s3::S3Action;

use crate::bucket::{Opened, SIGNED_FOR};
use crate::bucket_content::ObjectUpload;
use crate::bucket_place::Bucket;
use crate::client::Client;
use crate::error::Error;
use crate::http::Payload;
use crate::limit;

/// The server compares the bytes with this before the object appears.
const CHECKSUM: &str = "x-amz-checksum-sha256";

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
}
