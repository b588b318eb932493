//! One upload session: opened by `POST`, filled by `PATCH`, closed by `PUT`, asked by `GET` where it stands.
//!
//! ```text
//!            ┌── small: PUT with the content ──────────────────────────────┐
//! POST ──────┤                                                             ├──► there
//!            └── PATCH from 0 ── PATCH from N … ─────────────────── PUT ────┘
//!                     └── breaks ──► GET ──► PATCH from N …
//! kept address ──────────────────►    └── unknown ──► is it there? ──► POST again
//! ```
//!
//! The address at which a session goes on is told to whoever keeps it, so that another process can go on, too: it asks first
//! how much arrived. Where it is not at the registry's own host it is not told: an address elsewhere may be a key by itself.
//!
//! `docker-registry` 2.8 forgets a session whose `PATCH` broke in the middle (`BLOB_UPLOAD_INVALID`: the offset in its
//! own address no longer fits the file), so that there the second attempt starts over. Others continue.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use http::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, RANGE};
use http::{Method, StatusCode};
use kiln_oci::{Descriptor, Reference};
use reqwest::{Response, Url};

use crate::auth::Access;
use crate::chunks::{Chunks, minimum};
use crate::client::{Call, Client, protocol};
use crate::config::{ByteStream, ProgressSink};
use crate::error::Error;
use crate::http::Content;
use crate::limit;
use crate::mirror::Endpoint;
use crate::route::{Target, is_host_of, location};

/// Opens the content of a blob at an offset. Called again when a transfer is continued or starts over.
pub type Opener<'a> = dyn Fn(u64) -> BoxFuture<'static, io::Result<ByteStream>> + Send + Sync + 'a;

/// Is told where an upload goes on, each time that changes; `None` once it is over, or the registry has forgotten it.
pub type KeepAddress<'a> = dyn Fn(Option<&str>) + Send + Sync + 'a;

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
    /// Where an earlier process left this upload.
    pub earlier: Option<String>,
    /// Keeps for later where it goes on.
    pub keep: Option<&'a KeepAddress<'a>>,
}

impl<'a> Upload<'a> {
    /// Returns an upload that tells nobody of itself.
    pub fn new(to: &'a Reference, blob: &'a Descriptor, open: &'a Opener<'a>) -> Self {
        Self { to, blob, open, progress: None, earlier: None, keep: None }
    }
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
    /// The smallest part that it takes.
    chunk_min: u64,
    /// How much the last request carried.
    sent: u64,
    /// Whether an attempt failed since the registry was last asked where it stands.
    is_unsure: bool,
    /// Whether a failure was forgiven without a wait since the upload last moved.
    is_forgiven: bool,
    /// Whether it was begun again because the registry takes no parts.
    is_whole: bool,
    /// How many tokens ran out since the upload last moved.
    tokens: u32,
    /// Whether it was sent again because the registry found another digest.
    is_second: bool,
}

impl<'a, 'b> Session<'a, 'b> {
    pub(crate) fn new(
        client: &'a Client,
        endpoint: &'a Endpoint,
        upload: &'a Upload<'b>,
        subject: String,
    ) -> Self {
        let earlier = upload.earlier.as_deref().and_then(|address| Url::parse(address).ok());
        let address = earlier.filter(|address| is_host_of(address, endpoint));
        Self {
            client,
            endpoint,
            upload,
            subject,
            is_unsure: address.is_some(),
            address,
            offset: 0,
            furthest: 0,
            chunk_min: 0,
            sent: 0,
            is_forgiven: false,
            is_whole: false,
            tokens: 0,
            is_second: false,
        }
    }

    /// Returns how many bytes the registry was ever known to have.
    pub(crate) fn furthest(&self) -> u64 {
        self.furthest
    }

    /// Whether the next attempt may follow at once, since it will be another one.
    ///
    /// | The last failed with | The next |
    /// |---|---|
    /// | a token that ran out on the way | has a new one |
    /// | a session that the registry forgot | begins a new one |
    /// | another digest: bytes were changed on the way, or the registry read its own file too early (2.8 of docker's does) | sends all again, once |
    /// | 413 | carries less at a time |
    /// | another refusal, after only a part was sent | carries everything |
    pub(crate) fn may_go_on(&mut self, error: &Error) -> bool {
        let is_part = self.sent > 0 && self.sent < self.upload.blob.size;
        let chunks = self.client.chunks(self.endpoint);
        match error {
            _ if self.address.is_none() => false,
            Error::Unauthorized { .. } => {
                self.tokens += 1;
                self.tokens < limit::TOKENS_MAX
            }
            error if error.is_wrong_digest() => {
                self.forget();
                // It may also have put the parts together wrongly.
                self.prefer(chunks.whole().filter(|_| is_part));
                first_time(&mut self.is_second)
            }
            Error::Status { status: 404 | 416, .. } if first_time(&mut self.is_forgiven) => {
                self.forget();
                true
            }
            Error::Status { status: 401 | 403 | 408 | 429, .. } => false,
            Error::Status { status: 413, .. } => self.prefer(chunks.smaller(self.sent, self.chunk_min)),
            Error::Status { status: 400..=499, .. } if is_part => {
                self.forget();
                // Another upload may have found that out already.
                self.prefer(chunks.whole());
                first_time(&mut self.is_whole)
            }
            _ => false,
        }
    }

    /// Has later requests carry another amount. Returns whether there is one.
    fn prefer(&self, chunks: Option<Chunks>) -> bool {
        chunks.inspect(|chunks| self.client.prefer_chunks(self.endpoint, *chunks)).is_some()
    }

    /// Makes one attempt to bring the blob there, from wherever the last one came to.
    pub(crate) async fn run(&mut self) -> Result<(), Error> {
        if std::mem::replace(&mut self.is_unsure, true) && self.catch_up().await? {
            return Ok(());
        }
        let size = self.upload.blob.size;
        let mut address = match self.address.clone() {
            Some(address) => address,
            None => self.open().await?,
        };
        if size <= limit::MONOLITHIC_BYTES_MAX {
            return self.put_whole(address).await;
        }
        let mut short = 0;
        while self.offset < size {
            let before = self.offset;
            address = self.patch(address).await?;
            short += u32::from(self.offset - before < self.sent.min(limit::RESUME_BYTES));
            if short > limit::RESUMES_MAX {
                let call = self.call(Method::PATCH, Target::Address(address));
                return Err(protocol(self.endpoint, &call, "it takes hardly anything of what it is sent"));
            }
        }
        let call = self.call(Method::PUT, Target::Address(self.with_digest(address)));
        self.client.send(self.endpoint, &call, None).await.map(drop)
    }

    /// After a failure, or another process: finds out what arrived. Returns whether all is done.
    async fn catch_up(&mut self) -> Result<bool, Error> {
        let known = match self.address.clone() {
            Some(address) if self.upload.blob.size > limit::MONOLITHIC_BYTES_MAX => self.ask(address).await?,
            _ => None,
        };
        match known {
            Some((address, offset)) => {
                self.stands_at(address, offset);
                Ok(false)
            }
            None => {
                // The answer to the last request may have been lost, not the request.
                self.forget();
                self.client.blob_exists(self.upload.to, &self.upload.blob.digest).await
            }
        }
    }

    /// Asks where a session stands. `None` when it is better to start over.
    async fn ask(&self, address: Url) -> Result<Option<(Url, u64)>, Error> {
        let call = self.call(Method::GET, Target::Address(address));
        let response = match self.client.send(self.endpoint, &call, None).await {
            Ok(response) => response,
            Err(error @ Error::Status { .. }) if !error.is_retryable() => return Ok(None),
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
        self.chunk_min = minimum(response.headers());
        self.stands_at(address.clone(), 0);
        Ok(address)
    }

    async fn put_whole(&mut self, address: Url) -> Result<(), Error> {
        let mut call = self.call(Method::PUT, Target::Address(self.with_digest(address)));
        call.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        let size = self.upload.blob.size;
        self.send(&call, 0..size).await.map(drop)
    }

    /// Sends what comes next. Returns where the session goes on.
    async fn patch(&mut self, address: Url) -> Result<Url, Error> {
        let (size, offset) = (self.upload.blob.size, self.offset);
        let length = self.client.chunks(self.endpoint).length(size - offset, self.chunk_min);
        let end = offset + length;
        self.sent = length;
        let mut call = self.call(Method::PATCH, Target::Address(address));
        call.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        let range = HeaderValue::try_from(format!("{offset}-{}", end - 1)).expect("digits fit in a header");
        call.headers.insert(CONTENT_RANGE, range);
        let response = self.send(&call, offset..end).await?;
        let address = location(response.url(), response.headers())
            .ok_or_else(|| protocol(self.endpoint, &call, "an upload without a usable address"))?;
        let reached = range_end(response.headers()).map_or(end, |end| end.saturating_add(1));
        if response.status() == StatusCode::OK || reached <= offset || reached > end {
            return Err(protocol(self.endpoint, &call, "it does not say how much of the upload it has"));
        }
        self.stands_at(address.clone(), reached);
        Ok(address)
    }

    async fn send(&self, call: &Call, part: Range<u64>) -> Result<Response, Error> {
        let open = || Box::pin(self.content(part.clone())) as BoxFuture<'_, _>;
        let content = Content { open: &open, size: part.end - part.start };
        self.client.send(self.endpoint, call, Some(&content)).await
    }

    async fn content(&self, part: Range<u64>) -> Result<ByteStream, Error> {
        let (offset, size) = (part.start, self.upload.blob.size);
        let stream = (self.upload.open)(offset).await;
        let stream = stream.map_err(|source| Error::Source { subject: self.subject.clone(), source })?;
        let stream = match &self.upload.progress {
            None => stream,
            Some(progress) => counted(stream, offset, size, Arc::clone(progress)),
        };
        // The last part is not cut off: that there is more than the blob's size would be an error.
        Ok(if part.end < size { first_of(stream, part.end - offset) } else { stream })
    }

    fn stands_at(&mut self, address: Url, offset: u64) {
        self.offset = offset;
        if offset > self.furthest {
            self.furthest = offset;
            self.is_forgiven = false;
            self.tokens = 0;
        }
        if self.upload.blob.size > limit::MONOLITHIC_BYTES_MAX {
            self.keep(Some(&address).filter(|address| is_host_of(address, self.endpoint)));
        }
        self.address = Some(address);
    }

    fn forget(&mut self) {
        self.offset = 0;
        if self.address.take().is_some() {
            self.keep(None);
        }
    }

    fn keep(&self, address: Option<&Url>) {
        if let Some(keep) = self.upload.keep {
            keep(address.map(Url::as_str));
        }
    }

    fn with_digest(&self, mut address: Url) -> Url {
        address.query_pairs_mut().append_pair("digest", &self.upload.blob.digest.to_string());
        address
    }

    fn call(&self, method: Method, target: Target) -> Call {
        Call::new(method, target, Access::push(self.upload.to.repository()), &self.subject)
    }
}

/// Returns the last byte of `Range: 0-N`, which some registries write as `bytes=0-N`.
fn range_end(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(RANGE)?.to_str().ok()?;
    let text = text.trim().trim_start_matches("bytes").trim_start_matches(['=', ' ']);
    text.split_once('-').filter(|(start, _)| *start == "0").and_then(|(_, end)| end.parse().ok())
}

/// Whether something happens for the first time; from then on it has happened.
fn first_time(has_happened: &mut bool) -> bool {
    !std::mem::replace(has_happened, true)
}

/// Returns the first `length` bytes of a stream.
fn first_of(stream: ByteStream, length: u64) -> ByteStream {
    Box::pin(futures_util::stream::try_unfold((stream, length), |(mut stream, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let Some(mut chunk) = stream.next().await.transpose()? else { return Ok(None) };
        chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        let left = left - chunk.len() as u64;
        Ok(Some((chunk, (stream, left))))
    }))
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
