//! One upload session: opened by `POST`, filled by `PATCH`, closed by `PUT`, asked by `GET` where it stands.
//!
//! ```text
//!            ┌── small: PUT with the content ──────────────────────────────┐
//! POST ──────┤                                                             ├──► there
//!            └── PATCH from 0 ── breaks ──► GET ──► PATCH from N ──► PUT ──┘
//!                                            └── unknown ──► is it there? ──► POST again
//! ```
//!
//! `docker-registry` 2.8 forgets a session whose `PATCH` broke in the middle (`BLOB_UPLOAD_INVALID`: the offset in its
//! own address no longer fits the file), so that there the second attempt starts over. Others continue.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use http::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, RANGE};
use http::{Method, StatusCode};
use kiln_oci::{Descriptor, Reference};
use reqwest::Url;

use crate::auth::Access;
use crate::client::{Call, Client, protocol};
use crate::config::{ByteStream, ProgressSink};
use crate::error::Error;
use crate::limit;
use crate::mirror::Endpoint;
use crate::route::{Target, location};

/// Opens the content of a blob at an offset. Called again when a transfer is continued or starts over.
pub type Opener<'a> = dyn Fn(u64) -> BoxFuture<'static, io::Result<ByteStream>> + Send + Sync + 'a;

/// A blob on its way to a registry.
pub struct Upload<'a> {
    /// The repository it goes to. Tag and digest do not matter.
    pub to: &'a Reference,
    /// Digest and size of the blob.
    pub blob: &'a Descriptor,
    /// Opens its content.
    pub open: &'a Opener<'a>,
    /// Is told how far it is.
    pub progress: Option<ProgressSink>,
}

impl fmt::Debug for Upload<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Upload")
            .field("to", &self.to.to_string())
            .field("blob", &self.blob.digest)
            .finish_non_exhaustive()
    }
}

/// The state of one blob's upload over all attempts.
pub(crate) struct Session<'a, 'b> {
    client: &'a Client,
    endpoint: &'a Endpoint,
    upload: &'a Upload<'b>,
    subject: String,
    /// Where the session goes on; `None` before it is opened.
    address: Option<Url>,
    /// How much the registry is known to have.
    offset: u64,
    /// How much it ever had.
    furthest: u64,
    /// Whether an attempt failed since the registry was last asked where it stands.
    is_unsure: bool,
    /// Whether the last failure was forgiven without a wait.
    is_forgiven: bool,
}

impl<'a, 'b> Session<'a, 'b> {
    pub(crate) fn new(
        client: &'a Client,
        endpoint: &'a Endpoint,
        upload: &'a Upload<'b>,
        subject: String,
    ) -> Self {
        Self {
            client,
            endpoint,
            upload,
            subject,
            address: None,
            offset: 0,
            furthest: 0,
            is_unsure: false,
            is_forgiven: false,
        }
    }

    /// Returns how many bytes the registry was ever known to have.
    pub(crate) fn furthest(&self) -> u64 {
        self.furthest
    }

    /// Whether the next attempt may follow at once: a token ran out on the way, or the registry forgot the session.
    /// Each is forgiven once.
    pub(crate) fn may_go_on(&mut self, error: &Error) -> bool {
        let is_forgivable = match error {
            Error::Unauthorized { .. } => self.address.is_some(),
            Error::Status { status: 404 | 416, .. } => self.address.take().is_some(),
            _ => false,
        };
        is_forgivable && !std::mem::replace(&mut self.is_forgiven, true)
    }

    /// Makes one attempt to bring the blob there, from wherever the last one came to.
    pub(crate) async fn run(&mut self) -> Result<(), Error> {
        if std::mem::replace(&mut self.is_unsure, true) && self.catch_up().await? {
            return Ok(());
        }
        let size = self.upload.blob.size;
        let address = match self.address.clone() {
            Some(address) => address,
            None => self.open().await?,
        };
        if size <= limit::MONOLITHIC_BYTES_MAX {
            return self.put_whole(address).await;
        }
        let mut address = address;
        while self.offset < size {
            address = self.patch(address).await?;
        }
        let call = self.call(Method::PUT, Target::Address(self.with_digest(address)));
        self.client.send(self.endpoint, &call, None).await.map(drop)
    }

    /// After a failure: finds out what arrived. Returns whether all is done.
    async fn catch_up(&mut self) -> Result<bool, Error> {
        let known = match self.address.take() {
            Some(address) if self.upload.blob.size > limit::MONOLITHIC_BYTES_MAX => self.ask(address).await?,
            _ => None,
        };
        match known {
            Some((address, offset)) => {
                self.address = Some(address);
                self.reached(offset);
                Ok(false)
            }
            None => {
                // The answer to the last request may have been lost, not the request.
                self.offset = 0;
                self.client.blob_exists(self.upload.to, &self.upload.blob.digest).await
            }
        }
    }

    /// Asks where a session stands. `None` when it is better to start over.
    async fn ask(&self, address: Url) -> Result<Option<(Url, u64)>, Error> {
        let call = self.call(Method::GET, Target::Address(address));
        let response = match self.client.send(self.endpoint, &call, None).await {
            Ok(response) => response,
            Err(Error::Status { status, .. }) if status < 429 => return Ok(None),
            Err(error) => return Err(error),
        };
        let address = location(response.url(), response.headers()).unwrap_or(response.url().clone());
        // Registries say `0-0` both for one byte and for none.
        let end = range_end(response.headers()).filter(|end| *end > 0 && *end < self.upload.blob.size);
        Ok(end.map(|end| (address, end + 1)))
    }

    async fn open(&mut self) -> Result<Url, Error> {
        let path = format!("/v2/{}/blobs/uploads/", self.upload.to.repository());
        let call = self.call(Method::POST, Target::Path(path));
        let response = self.client.send(self.endpoint, &call, None).await?;
        let address = location(response.url(), response.headers())
            .ok_or_else(|| protocol(self.endpoint, &call, "an upload without a usable address"))?;
        self.offset = 0;
        self.address = Some(address.clone());
        Ok(address)
    }

    async fn put_whole(&mut self, address: Url) -> Result<(), Error> {
        let mut call = self.call(Method::PUT, Target::Address(self.with_digest(address)));
        call.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        let stream = self.content(0).await?;
        let size = self.upload.blob.size;
        self.client.send(self.endpoint, &call, Some((stream, size))).await.map(drop)
    }

    /// Sends everything from the current offset on. Returns where the session goes on.
    async fn patch(&mut self, address: Url) -> Result<Url, Error> {
        let size = self.upload.blob.size;
        let offset = self.offset;
        let mut call = self.call(Method::PATCH, Target::Address(address));
        call.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        let range = HeaderValue::try_from(format!("{offset}-{}", size - 1)).expect("digits fit in a header");
        call.headers.insert(CONTENT_RANGE, range);
        let stream = self.content(offset).await?;
        let response = self.client.send(self.endpoint, &call, Some((stream, size - offset))).await?;
        let address = location(response.url(), response.headers())
            .ok_or_else(|| protocol(self.endpoint, &call, "an upload without a usable address"))?;
        let reached = range_end(response.headers()).map_or(size, |end| end.saturating_add(1));
        if response.status() == StatusCode::OK || reached <= offset || reached > size {
            return Err(protocol(self.endpoint, &call, "it does not say how much of the upload it has"));
        }
        self.reached(reached);
        self.address = Some(address.clone());
        Ok(address)
    }

    async fn content(&self, offset: u64) -> Result<ByteStream, Error> {
        let stream = (self.upload.open)(offset).await;
        let stream = stream.map_err(|source| Error::Source { subject: self.subject.clone(), source })?;
        Ok(match &self.upload.progress {
            None => stream,
            Some(progress) => counted(stream, offset, self.upload.blob.size, Arc::clone(progress)),
        })
    }

    fn reached(&mut self, offset: u64) {
        self.offset = offset;
        self.furthest = self.furthest.max(offset);
    }

    fn with_digest(&self, mut address: Url) -> Url {
        address.query_pairs_mut().append_pair("digest", &self.upload.blob.digest.to_string());
        address
    }

    fn call(&self, method: Method, target: Target) -> Call {
        Call {
            method,
            target,
            headers: HeaderMap::new(),
            body: None,
            access: Access::push(self.upload.to.repository()),
            subject: self.subject.clone(),
        }
    }
}

/// Returns the last byte of `Range: 0-N`, which some registries write as `bytes=0-N`.
fn range_end(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(RANGE)?.to_str().ok()?;
    let text = text.trim().trim_start_matches("bytes").trim_start_matches(['=', ' ']);
    text.split_once('-').filter(|(start, _)| *start == "0").and_then(|(_, end)| end.parse().ok())
}

/// Returns a stream that tells `progress` of the bytes that pass.
pub(crate) fn counted(stream: ByteStream, offset: u64, size: u64, progress: ProgressSink) -> ByteStream {
    let done = AtomicU64::new(offset);
    Box::pin(stream.inspect(move |chunk| {
        if let Ok(chunk) = chunk {
            let length = chunk.len() as u64;
            progress(done.fetch_add(length, Ordering::Relaxed) + length, size);
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_of_an_upload_is_read_in_its_usual_forms() {
        for (text, expected) in [
            ("0-0", Some(0)),
            ("0-1048575", Some(1_048_575)),
            ("bytes=0-9", Some(9)),
            ("5-9", None),
            ("0-", None),
            ("x", None),
            ("0-99999999999999999999", None),
        ] {
            let headers: HeaderMap = [(RANGE, text.parse().unwrap())].into_iter().collect();
            assert_eq!(range_end(&headers), expected, "{text}");
        }
    }
}
