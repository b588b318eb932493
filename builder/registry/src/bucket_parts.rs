//! Objects that go into a bucket in parts: begun, sent part by part, and put together.
//!
//! What was begun and not put together is paid for until it is given up. A transfer that fails does so itself; one that somebody
//! stopped in the middle stays in the client's list until [`Client::give_up_uploads`]. What a killed process leaves behind is for
//! the bucket's own rules.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::Method;
use http::header::{ETAG, HeaderMap};
use kiln_oci::{Hasher, VerifyError};
use rusty_s3::S3Action;

use crate::bucket::{Opened, SIGNED_FOR, element};
use crate::bucket_content::ObjectUpload;
use crate::bucket_error::BucketError;
use crate::bucket_place::BegunUpload;
use crate::client::Client;
use crate::config::ByteStream;
use crate::error::Error;
use crate::http::{Payload, lock};
use crate::limit;

impl Client {
    /// Gives up the objects that were begun and whose transfers were stopped in the middle, so that nobody pays for their parts.
    /// One that cannot be given up is left to the bucket's own rules.
    pub async fn give_up_uploads(&self) {
        let left = std::mem::take(&mut *lock(self.begun_uploads()));
        let given_up = left.iter().map(|begun| async {
            if let Ok(opened) = self.bucket(&begun.bucket).await {
                opened.give_up(begun).await;
            }
        });
        futures_util::future::join_all(given_up).await;
    }
}

/// An upload that was begun.
struct Parts<'a, 'b> {
    opened: &'a Opened<'a>,
    client: &'a Client,
    upload: &'a ObjectUpload<'b>,
    begun: BegunUpload,
}

impl Opened<'_> {
    /// Writes a blob in parts.
    pub(crate) async fn upload_parts(&self, client: &Client, upload: &ObjectUpload<'_>) -> Result<(), Error> {
        let id = self.begin(client, upload.key).await?;
        let begun = BegunUpload { bucket: upload.bucket.clone(), key: upload.key.to_owned(), id };
        lock(client.begun_uploads()).insert(begun.clone());
        let parts = Parts { opened: self, client, upload, begun };
        let outcome = parts.send_and_complete().await;
        if outcome.is_err() {
            self.give_up(&parts.begun).await;
        }
        lock(client.begun_uploads()).remove(&parts.begun);
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

    async fn give_up(&self, begun: &BegunUpload) {
        let key = &begun.key;
        let action = self.address.abort_multipart_upload(self.credentials.as_ref(), key, &begun.id);
        let url = action.sign(SIGNED_FOR);
        // If that fails, the bucket's own rules do it in time.
        self.send(Method::DELETE, url, key, HeaderMap::new(), Payload::Empty).await.ok();
    }
}

impl Parts<'_, '_> {
    async fn send_and_complete(&self) -> Result<(), Error> {
        let size = self.upload.blob.size;
        let part = limit::OBJECT_PART_BYTES.max(size.div_ceil(u64::from(limit::OBJECT_PARTS_MAX)));
        let (mut tags, mut offset, mut sent) = (Vec::new(), 0, Hasher::new());
        while offset < size {
            let length = part.min(size - offset);
            let number = u16::try_from(tags.len() + 1).expect("there are no more parts than S3 allows");
            let tag;
            (tag, sent) = self.send_part(number, (offset, length), &sent).await?;
            tags.push(tag);
            offset += length;
        }
        // The server compares only objects that come in one request.
        let (expected, actual) = (self.upload.blob.digest, sent.finish());
        if actual != expected {
            let (registry, subject) = (self.opened.host().to_owned(), self.upload.key.to_owned());
            let source = VerifyError::WrongDigest { expected, actual };
            return Err(Error::Verify { registry, subject, source });
        }
        self.complete(&tags).await
    }

    /// Sends a part. Returns its tag, and the hash of all that was sent up to its end.
    async fn send_part(
        &self,
        number: u16,
        (offset, length): (u64, u64),
        before: &Hasher,
    ) -> Result<(String, Hasher), Error> {
        let (opened, key) = (self.opened, self.upload.key);
        let mut attempts = self.client.attempts();
        loop {
            let hasher = Arc::new(Mutex::new(before.clone()));
            let part = async {
                let credentials = opened.credentials.as_ref();
                let url =
                    opened.address.upload_part(credentials, key, number, &self.begun.id).sign(SIGNED_FOR);
                let content = hashed(self.upload.content(offset, length).await?, Arc::clone(&hasher));
                let payload = Payload::Stream(Box::pin(content), length);
                let response = opened.send(Method::PUT, url, key, HeaderMap::new(), payload).await?;
                let tag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok());
                tag.map(str::to_owned).ok_or_else(|| opened.protocol(key, "a part without a tag"))
            };
            match part.await {
                Ok(tag) => return Ok((tag, lock(&hasher).clone())),
                Err(error) => self.client.wait(&mut attempts, error).await?,
            }
        }
    }

    async fn complete(&self, tags: &[String]) -> Result<(), Error> {
        let ObjectUpload { bucket, key, blob, .. } = self.upload;
        let mut attempts = self.client.attempts();
        loop {
            let error = match self.try_complete(tags).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            // Perhaps an earlier attempt did it, and only its answer was lost: then the upload is unknown now.
            let may_be_done = error.is_not_found() && attempts.made() > 0;
            if may_be_done && self.client.object_size(bucket, key).await? == Some(blob.size) {
                return Ok(());
            }
            self.client.wait(&mut attempts, error).await?;
        }
    }

    async fn try_complete(&self, tags: &[String]) -> Result<(), Error> {
        let (opened, key, id) = (self.opened, self.upload.key, &self.begun.id);
        let tags = tags.iter().map(String::as_str);
        let action = opened.address.complete_multipart_upload(opened.credentials.as_ref(), key, id, tags);
        let url = action.sign(SIGNED_FOR);
        let body = Payload::Bytes(Bytes::from(action.body()));
        let mut response = opened.send(Method::POST, url, key, HeaderMap::new(), body).await?;
        let answer = opened.body(&mut response, key, limit::ERROR_BODY_BYTES_MAX).await?;
        let text = String::from_utf8_lossy(&answer);
        match element(&text, "Code") {
            None => Ok(()),
            // The answer begins before the object is made, as success. What comes then instead is a fault of the server's, and
            // is to be tried again (AWS's reference of `CompleteMultipartUpload`).
            Some(code) => Err(BucketError::Status {
                host: opened.host().to_owned(),
                object: opened.object(key),
                status: 500,
                code: Some(code),
                message: element(&text, "Message"),
                retry_after: None,
                with_credentials: opened.credentials.is_some(),
            }
            .into()),
        }
    }
}

/// Returns a stream whose bytes are hashed as they pass.
fn hashed(
    stream: ByteStream,
    hasher: Arc<Mutex<Hasher>>,
) -> impl Stream<Item = std::io::Result<Bytes>> + Send {
    stream.inspect(move |chunk| {
        if let Ok(chunk) = chunk {
            lock(&hasher).update(chunk);
        }
    })
}
