//! Objects of a bucket: read, and asked for. Requests are signed by `rusty-s3`, as addresses that are good for a while; how they are
//! sent and repeated is as with registries.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use http::header::{CONTENT_LENGTH, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::{Response, Url};
use rusty_s3::S3Action;

use crate::answer::{BodyProblem, next_chunk, read_body, retry_after};
use crate::bucket_error::BucketError;
use crate::bucket_place::Bucket;
use crate::cause::{TransportError, TransportKind, printable};
use crate::client::Client;
use crate::config::ProgressSink;
use crate::error::Error;
use crate::http::{Payload, Peer, Request, SendProblem};
use crate::limit;
use crate::retry::Attempts;

/// How long a signature is good: longer than clocks differ, and than a request waits to be sent.
pub(crate) const SIGNED_FOR: Duration = Duration::from_secs(3600);

const OTHER_SIZE: &str = "the object has another size than it should have";

/// A bucket, ready for requests.
pub(crate) struct Opened<'a> {
    client: &'a Client,
    pub(crate) address: rusty_s3::Bucket,
    pub(crate) credentials: Option<rusty_s3::Credentials>,
    host: String,
}

impl Client {
    /// Returns an object, if it is there and no longer than `bytes_max`.
    ///
    /// # Errors
    /// The object store cannot be reached, does not let us read, or has something larger.
    pub async fn object(&self, bucket: &Bucket, key: &str, bytes_max: usize) -> Result<Option<Bytes>, Error> {
        let opened = self.bucket(bucket).await?;
        let mut attempts = self.attempts();
        loop {
            let outcome = async {
                let url = opened.address.get_object(opened.credentials.as_ref(), key).sign(SIGNED_FOR);
                let mut response =
                    opened.send(Method::GET, url, key, HeaderMap::new(), Payload::Empty).await?;
                opened.body(&mut response, key, bytes_max).await
            };
            match outcome.await {
                Ok(bytes) => return Ok(Some(bytes)),
                Err(error) if error.is_not_found() => return Ok(None),
                Err(error) => self.wait(&mut attempts, error).await?,
            }
        }
    }

    /// Returns the size of an object in bytes, if it is there.
    ///
    /// # Errors
    /// The object store cannot be reached, or does not let us ask.
    pub async fn object_size(&self, bucket: &Bucket, key: &str) -> Result<Option<u64>, Error> {
        let opened = self.bucket(bucket).await?;
        let mut attempts = self.attempts();
        loop {
            let url = opened.address.head_object(opened.credentials.as_ref(), key).sign(SIGNED_FOR);
            match opened.send(Method::HEAD, url, key, HeaderMap::new(), Payload::Empty).await {
                Ok(response) => {
                    let length =
                        response.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
                    let size = length.and_then(|length| length.parse().ok());
                    return size.map(Some).ok_or_else(|| opened.protocol(key, "it does not say its size"));
                }
                Err(error) if error.is_not_found() => return Ok(None),
                Err(error) => self.wait(&mut attempts, error).await?,
            }
        }
    }

    /// Returns the bytes of an object of `size` bytes as they come. Nothing is asked for before the first chunk.
    pub fn object_stream(&self, bucket: &Bucket, key: &str, size: u64) -> ObjectStream {
        ObjectStream {
            client: self.clone(),
            bucket: bucket.clone(),
            key: key.to_owned(),
            size,
            offset: 0,
            opened_at: 0,
            open: None,
            attempts: self.attempts(),
            resumes: 0,
            progress: None,
        }
    }

    pub(crate) async fn bucket(&self, bucket: &Bucket) -> Result<Opened<'_>, Error> {
        let (address, host) = bucket.address()?;
        let key = self.config().aws.find().await?;
        let credentials = key.map(|key| match key.token {
            Some(token) => rusty_s3::Credentials::new_with_token(key.id, key.secret.reveal(), token.reveal()),
            None => rusty_s3::Credentials::new(key.id, key.secret.reveal()),
        });
        Ok(Opened { client: self, address, credentials, host })
    }
}

impl Opened<'_> {
    /// Sends a request once. An answer other than success is an error.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: Url,
        key: &str,
        headers: HeaderMap,
        payload: Payload,
    ) -> Result<Response, Error> {
        // What the configuration says about the host's certificates holds for its buckets, too.
        let is_checked = !self.client.config().registry(&self.host).is_some_and(|said| said.insecure);
        let request = Request { method, url, headers, payload };
        let sent = self.client.http().send(Peer { name: &self.host, is_checked }, request).await;
        let mut response = sent.map_err(|problem| match problem {
            SendProblem::Transport(source) => self.broken(source),
            SendProblem::Source(source) => Error::Source { subject: self.object(key), source },
            SendProblem::Settings(error) => error,
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let stall = self.client.config().timeouts.stall;
        // The status is error enough where nothing can be read.
        let body = read_body(&mut response, limit::ERROR_BODY_BYTES_MAX, stall).await.unwrap_or_default();
        let text = String::from_utf8_lossy(&body);
        let status = response.status().as_u16();
        Err(BucketError::Status {
            host: self.host.clone(),
            object: self.object(key),
            status,
            code: element(&text, "Code"),
            message: element(&text, "Message"),
            retry_after: retry_after(response.headers()),
            with_credentials: self.credentials.is_some(),
        }
        .into())
    }

    /// Reads a whole answer.
    pub(crate) async fn body(
        &self,
        response: &mut Response,
        key: &str,
        limit: usize,
    ) -> Result<Bytes, Error> {
        let body = read_body(response, limit, self.client.config().timeouts.stall).await;
        body.map_err(|problem| match problem {
            BodyProblem::Transport(source) => self.broken(source),
            BodyProblem::TooLarge => {
                BucketError::TooLarge { host: self.host.clone(), object: self.object(key), limit }.into()
            }
        })
    }

    pub(crate) fn protocol(&self, key: &str, reason: &'static str) -> Error {
        BucketError::Protocol { host: self.host.clone(), object: self.object(key), reason }.into()
    }

    fn broken(&self, source: TransportError) -> Error {
        BucketError::Transport { host: self.host.clone(), source }.into()
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn object(&self, key: &str) -> String {
        format!("{}/{key}", self.address.name())
    }
}

/// Returns the text of the first element of this name, fit to be shown.
pub(crate) fn element(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (value, _) = rest.split_once(&format!("</{name}>"))?;
    Some(printable(value)).filter(|value| !value.is_empty())
}

/// The bytes of an object. A connection that breaks is opened again where it broke. What they are is for the caller to check.
pub struct ObjectStream {
    client: Client,
    bucket: Bucket,
    key: String,
    size: u64,
    offset: u64,
    opened_at: u64,
    open: Option<Open>,
    attempts: Attempts,
    resumes: u32,
    progress: Option<ProgressSink>,
}

struct Open {
    response: Response,
    host: String,
}

impl fmt::Debug for ObjectStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ObjectStream")
            .field("key", &self.key)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

impl ObjectStream {
    /// Tells `progress` about every chunk.
    #[must_use]
    pub fn on_progress(mut self, progress: ProgressSink) -> Self {
        self.progress = Some(progress);
        self
    }

    /// Returns the next bytes, or `None` when there were as many as there should be.
    ///
    /// # Errors
    /// The object is not there, is longer, or the connection broke more often than is borne.
    pub async fn next_chunk(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if self.open.is_none() && self.offset == self.size {
                return Ok(None);
            }
            match self.advance().await {
                Ok(Some(chunk)) => return Ok(Some(chunk)),
                Ok(None) => {}
                Err(error) => self.recover(error).await?,
            }
        }
    }

    /// Returns this as a stream of chunks.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, Error>> + Send {
        futures_util::stream::try_unfold(self, |mut object| async move {
            Ok(object.next_chunk().await?.map(|chunk| (chunk, object)))
        })
    }

    async fn advance(&mut self) -> Result<Option<Bytes>, Error> {
        let Some(open) = &mut self.open else {
            self.open = Some(self.connect().await?);
            return Ok(None);
        };
        let broken = |host: &str, source| BucketError::Transport { host: host.to_owned(), source };
        let chunk = next_chunk(&mut open.response, self.client.config().timeouts.stall).await;
        let Some(chunk) = chunk.map_err(|source| broken(&open.host, source))? else {
            if self.offset == self.size {
                self.open = None;
                return Ok(None);
            }
            let detail = format!("it ended after {} of {} bytes", self.offset, self.size);
            let source = TransportError { kind: TransportKind::Interrupted, detail };
            return Err(broken(&open.host, source).into());
        };
        if chunk.len() as u64 > self.size - self.offset {
            let (host, object) = (open.host.clone(), format!("{}/{}", self.bucket.name, self.key));
            return Err(BucketError::Protocol { host, object, reason: OTHER_SIZE }.into());
        }
        self.offset += chunk.len() as u64;
        if let Some(progress) = &self.progress {
            progress(self.offset, self.size);
        }
        Ok(Some(chunk))
    }

    async fn connect(&self) -> Result<Open, Error> {
        let opened = self.client.bucket(&self.bucket).await?;
        let mut headers = HeaderMap::new();
        if self.offset > 0 {
            let range = format!("bytes={}-", self.offset);
            headers.insert(RANGE, HeaderValue::try_from(range).expect("digits fit in a header"));
        }
        let url = opened.address.get_object(opened.credentials.as_ref(), &self.key).sign(SIGNED_FOR);
        let response = opened.send(Method::GET, url, &self.key, headers, Payload::Empty).await?;
        if self.offset > 0 && response.status() != StatusCode::PARTIAL_CONTENT {
            return Err(opened.protocol(&self.key, "the part that was asked for is not what was sent"));
        }
        // Asking again would not change it.
        if response.content_length().is_some_and(|length| length != self.size - self.offset) {
            return Err(opened.protocol(&self.key, OTHER_SIZE));
        }
        let host = opened.host;
        Ok(Open { response, host })
    }

    async fn recover(&mut self, error: Error) -> Result<(), Error> {
        self.open = None;
        if self.offset > self.opened_at {
            self.resumes += 1;
            self.attempts.progress();
        }
        self.opened_at = self.offset;
        if self.resumes > limit::RESUMES_MAX {
            return Err(error);
        }
        self.client.wait(&mut self.attempts, error).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_s_own_words_are_found_and_made_fit_to_be_shown() {
        let text =
            "<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code><Message>a\u{1b}[2Jb</Message></Error>";
        assert_eq!(element(text, "Code").as_deref(), Some("NoSuchKey"));
        assert_eq!(element(text, "Message").as_deref(), Some("a [2Jb"));
        assert_eq!((element(text, "Key"), element("<Code>x", "Code")), (None, None));
    }
}
