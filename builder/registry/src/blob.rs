//! A blob on its way here: chunks that are hashed as they pass, continued after a break, from one source or the next.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use futures_util::Stream;
use http::header::{ACCEPT_ENCODING, CONTENT_RANGE, HeaderValue, RANGE};
use http::{Method, StatusCode};
use kiln_oci::{Descriptor, Hasher, Reference, VerifyError};
use reqwest::{Response, Url};
use tokio::sync::OwnedSemaphorePermit;

use crate::answer::next_chunk;
use crate::auth::Access;
use crate::cause::{TransportError, TransportKind};
use crate::client::{Call, Client};
use crate::config::ProgressSink;
use crate::error::Error;
use crate::limit;
use crate::mirror::Endpoint;
use crate::retry::Attempts;
use crate::route::Target;

/// The bytes of a blob. Nothing is asked for before the first call of [`BlobStream::next_chunk`]; from then until its
/// end it counts among the transfers that its registry allows at a time.
///
/// A connection that breaks is opened again where it broke. The end is reported only when size and digest are right.
pub struct BlobStream {
    client: Client,
    registry: String,
    subject: String,
    descriptor: Descriptor,
    /// Where the blob can be had; the first is tried, and dropped when it fails. The last is never dropped.
    sources: VecDeque<Source>,
    open: Option<Open>,
    offset: u64,
    hasher: Option<Hasher>,
    attempts: Attempts,
    resumes: u32,
    /// The offset at which the last source was opened.
    opened_at: u64,
    /// Whether the server refuses to send a part.
    wants_all: bool,
    /// Whether the first bytes are those of an earlier transfer, and may not be of this blob at all.
    is_resumed: bool,
    /// What the last mirror said that does not have it.
    absent: Option<Arc<Error>>,
    /// Whether wrong bytes of the last source were forgiven.
    is_second: bool,
    progress: Option<ProgressSink>,
}

struct Source {
    endpoint: Endpoint,
    call: Call,
}

struct Open {
    response: Response,
    /// Bytes that come again, since the server does not continue where it is asked to.
    repeated: u64,
    _permit: OwnedSemaphorePermit,
}

impl Client {
    /// Returns the blob that `descriptor` describes, from the repository of `reference`, its mirrors first; or from the
    /// addresses that the descriptor itself names.
    ///
    /// # Errors
    /// A mirror's name in the configuration is malformed. All else is an error of the stream.
    pub fn blob(&self, reference: &Reference, descriptor: &Descriptor) -> Result<BlobStream, Error> {
        let subject = format!("{}@{}", reference.familiar_name(), descriptor.digest);
        let mut sources: VecDeque<Source> =
            descriptor.urls.iter().filter_map(|url| address_source(url, &subject)).collect();
        for endpoint in self.endpoints(reference.registry())? {
            let repository = endpoint.repository(reference.repository());
            let path = format!("/v2/{repository}/blobs/{}", descriptor.digest);
            let call = Call::new(Method::GET, path, Access::pull(&repository), &subject);
            sources.push_back(Source { endpoint, call });
        }
        Ok(BlobStream {
            client: self.clone(),
            registry: reference.registry().to_owned(),
            subject,
            descriptor: descriptor.clone(),
            sources,
            open: None,
            offset: 0,
            hasher: Some(Hasher::new()),
            attempts: self.attempts(),
            resumes: 0,
            opened_at: 0,
            wants_all: false,
            is_resumed: false,
            absent: None,
            is_second: false,
            progress: None,
        })
    }
}

/// An address that a descriptor names counts as a mirror of its own host: asked without credentials, and once.
fn address_source(text: &str, subject: &str) -> Option<Source> {
    // Other schemes are for other programs; the registry remains to be asked.
    let url =
        Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())?;
    let name = url.authority().to_owned();
    let endpoint = Endpoint { authority: name.clone(), name, prefix: String::new(), is_mirror: true };
    let call = Call::new(Method::GET, Target::Foreign(url), Access::default(), subject);
    Some(Source { endpoint, call })
}

impl BlobStream {
    /// Continues an earlier transfer: `hasher` has been given the first `offset` bytes of the blob.
    #[must_use]
    pub fn resume(mut self, offset: u64, hasher: Hasher) -> Self {
        self.offset = offset;
        self.opened_at = offset;
        self.is_resumed = offset > 0;
        self.hasher = Some(hasher);
        self
    }

    /// Tells `progress` about every chunk.
    #[must_use]
    pub fn on_progress(mut self, progress: ProgressSink) -> Self {
        self.progress = Some(progress);
        self
    }

    /// Returns a place to which [`BlobStream::resume`] of another stream of the blob can go back, and what was read up to there;
    /// none after the end.
    pub fn checkpoint(&self) -> Option<(u64, Hasher)> {
        self.hasher.clone().map(|hasher| (self.offset, hasher))
    }

    /// Returns how many bytes of the blob have come, earlier ones included.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the next bytes, or `None` once all have come and are what the descriptor promised.
    ///
    /// # Errors
    /// No source has it, the last one broke more often than is borne, or the bytes are not the right ones.
    pub async fn next_chunk(&mut self) -> Result<Option<Bytes>, Error> {
        while self.hasher.is_some() {
            if self.open.is_none() && self.offset == self.descriptor.size {
                self.finish()?;
                break;
            }
            match self.advance().await {
                Ok(Some(chunk)) => return Ok(Some(chunk)),
                Ok(None) => {}
                Err(error) => self.recover(error).await?,
            }
        }
        Ok(None)
    }

    /// After `error`: begins again with the first byte, if the error is that the bytes were wrong and there is hope for others: from
    /// the next source; where it was the last, once more, since they may have been changed on the way.
    ///
    /// # Errors
    /// `error`, where there is no such hope.
    pub async fn start_over(&mut self, error: Error) -> Result<(), Error> {
        if !matches!(error, Error::Verify { .. }) {
            return Err(error);
        }
        self.open = None;
        self.offset = 0;
        self.opened_at = 0;
        self.hasher = Some(Hasher::new());
        if std::mem::take(&mut self.is_resumed) {
            return Ok(());
        }
        if self.sources[0].endpoint.is_mirror {
            return self.next_source(error);
        }
        if std::mem::replace(&mut self.is_second, true) {
            return Err(error);
        }
        self.client.wait_once(&mut self.attempts, error).await
    }

    /// Returns this as a stream of chunks.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, Error>> + Send {
        futures_util::stream::try_unfold(self, |mut blob| async move {
            Ok(blob.next_chunk().await?.map(|chunk| (chunk, blob)))
        })
    }

    /// Goes one step: opens a source, or takes a chunk from it. `None` means that there is nothing to pass on yet.
    async fn advance(&mut self) -> Result<Option<Bytes>, Error> {
        let stall = self.client.config().timeouts.stall;
        let Some(open) = &mut self.open else {
            self.open = Some(self.connect().await?);
            self.opened_at = self.offset;
            return Ok(None);
        };
        let chunk = match next_chunk(&mut open.response, stall).await {
            Ok(chunk) => chunk,
            Err(source) => return Err(self.broken(source)),
        };
        let Some(mut chunk) = chunk else {
            self.open = None;
            if self.offset == self.descriptor.size {
                return Ok(None);
            }
            let detail = format!("it ended after {} of {} bytes", self.offset, self.descriptor.size);
            return Err(self.broken(TransportError { kind: TransportKind::Interrupted, detail }));
        };
        let repeated = open.repeated.min(chunk.len() as u64);
        open.repeated -= repeated;
        chunk.advance(usize::try_from(repeated).expect("no more than the chunk's length"));
        if chunk.len() as u64 > self.descriptor.size - self.offset {
            return Err(self.wrong(VerifyError::TooLong {
                expected: self.descriptor.digest,
                size: self.descriptor.size,
            }));
        }
        self.take(&chunk);
        Ok(Some(chunk).filter(|chunk| !chunk.is_empty()))
    }

    fn take(&mut self, chunk: &Bytes) {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(chunk);
        }
        self.offset += chunk.len() as u64;
        if let Some(progress) = &self.progress {
            progress(self.offset, self.descriptor.size);
        }
    }

    fn finish(&mut self) -> Result<(), Error> {
        let Some(hasher) = self.hasher.take() else { return Ok(()) };
        let actual = hasher.finish();
        if actual == self.descriptor.digest {
            return Ok(());
        }
        Err(self.wrong(VerifyError::WrongDigest { expected: self.descriptor.digest, actual }))
    }

    async fn connect(&self) -> Result<Open, Error> {
        let source = &self.sources[0];
        let permit = self.client.permit(&source.endpoint.authority).await;
        let mut call = source.call.clone();
        // The digest is of the bytes as they are stored.
        call.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if self.offset > 0 && !self.wants_all {
            let range = format!("bytes={}-{}", self.offset, self.descriptor.size.saturating_sub(1));
            call.headers.insert(RANGE, HeaderValue::try_from(range).expect("digits fit in a header"));
        }
        let response = self.client.send(&source.endpoint, &call, None).await?;
        let repeated = self.repeated(&response)?;
        let expected = self.descriptor.size - self.offset + repeated;
        match response.content_length() {
            Some(length) if length > expected => Err(self.wrong(VerifyError::TooLong {
                expected: self.descriptor.digest,
                size: self.descriptor.size,
            })),
            // Of a part it may send less, and the rest when it is asked again (RFC 9110, section 14.2).
            Some(length) if length < expected && response.status() != StatusCode::PARTIAL_CONTENT => {
                Err(self.wrong(VerifyError::TooShort {
                    expected: self.descriptor.digest,
                    size: self.descriptor.size,
                    read: self.offset - repeated + length,
                }))
            }
            _ => Ok(Open { response, repeated, _permit: permit }),
        }
    }

    /// Returns how many bytes that are here already the answer starts with.
    fn repeated(&self, response: &Response) -> Result<u64, Error> {
        if response.status() != StatusCode::PARTIAL_CONTENT {
            return Ok(self.offset);
        }
        let range = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
        let start = range
            .and_then(|range| range.trim().strip_prefix("bytes"))
            .and_then(|range| range.trim_start().split('-').next()?.parse::<u64>().ok());
        match start.map(|start| self.offset.checked_sub(start)) {
            Some(Some(repeated)) => Ok(repeated),
            _ => Err(Error::Protocol {
                registry: self.sources[0].endpoint.name.clone(),
                subject: self.subject.clone(),
                reason: "the part that was sent is not the part that was asked for",
            }),
        }
    }

    /// Makes another attempt possible, at the same source or the next, or gives the error back.
    async fn recover(&mut self, error: Error) -> Result<(), Error> {
        self.open = None;
        let moved = self.offset - self.opened_at;
        self.opened_at = self.offset;
        if moved > 0 {
            self.resumes += u32::from(moved < limit::RESUME_BYTES);
            self.attempts.progress();
        }
        if self.resumes > limit::RESUMES_MAX {
            return Err(error);
        }
        if matches!(error, Error::Status { status: 416, .. }) && self.offset > 0 && !self.wants_all {
            self.wants_all = true;
            return Ok(());
        }
        let goes_on = (moved > 0 && error.is_retryable()) || error.may_be_stale(&self.attempts);
        if self.sources[0].endpoint.is_mirror && !goes_on {
            return self.next_source(error);
        }
        let Some(absent) = &self.absent else { return self.client.wait(&mut self.attempts, error).await };
        let waited = self.client.wait_as(&mut self.attempts, error.outlook_in_doubt(), error).await;
        waited.map_err(|error| error.after_absence(Some(Arc::clone(absent))))
    }

    fn next_source(&mut self, error: Error) -> Result<(), Error> {
        let source = &self.sources[0];
        let error = self.client.pass_over(&source.endpoint, &self.registry, error)?;
        // An address that the descriptor names stands in for no registry.
        if error.is_not_found() && !matches!(source.call.target, Target::Foreign(_)) {
            self.absent = Some(error);
        }
        self.sources.pop_front();
        self.attempts.progress();
        self.wants_all = false;
        Ok(())
    }

    fn broken(&self, source: TransportError) -> Error {
        Error::Transport { registry: self.sources[0].endpoint.name.clone(), source }
    }

    fn wrong(&self, source: VerifyError) -> Error {
        Error::Verify {
            registry: self.sources[0].endpoint.name.clone(),
            subject: self.subject.clone(),
            source,
        }
    }
}

impl fmt::Debug for BlobStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("BlobStream")
            .field("subject", &self.subject)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}
