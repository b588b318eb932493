//! The bytes of a file of the web: continued where a connection broke if the server can say that it is the same file,
//! else from its beginning.

use std::fmt;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_RANGE, HeaderMap, HeaderName, HeaderValue, IF_RANGE, RANGE};
use reqwest::Response;
use tokio::sync::OwnedSemaphorePermit;

use crate::answer::next_chunk;
use crate::cause::{TransportError, TransportKind};
use crate::client::Client;
use crate::limit;
use crate::retry::Attempts;
use crate::web_error::WebError;
use crate::web_head::WebHead;
use crate::web_request::{WebRequest, host_of};

/// The bytes of a file on their way here.
pub struct WebBody {
    client: Client,
    request: WebRequest,
    response: Option<Response>,
    host: String,
    head: WebHead,
    /// How many bytes the caller has.
    offset: u64,
    /// How many it ever had.
    furthest: u64,
    /// Whether the server can be asked for the rest of the file.
    may_continue: bool,
    attempts: Attempts,
    resumes: u32,
    _permit: OwnedSemaphorePermit,
}

/// What comes next of a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// The next bytes.
    Chunk(Bytes),
    /// The file begins anew: what came so far does not count. Its headers may be others now.
    FromStart,
    /// That was all.
    End,
}

impl WebBody {
    pub(crate) fn new(
        client: Client,
        request: WebRequest,
        response: Response,
        head: WebHead,
        attempts: Attempts,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            client,
            request,
            host: host_of(&response),
            response: Some(response),
            head,
            offset: 0,
            furthest: 0,
            may_continue: true,
            attempts,
            resumes: 0,
            _permit: permit,
        }
    }

    /// Returns what the headers say.
    pub fn head(&self) -> &WebHead {
        &self.head
    }

    /// Returns what comes next.
    ///
    /// # Errors
    /// [`WebError`] when the connection broke more often than is borne, or the server sends something else than it says.
    pub async fn next_piece(&mut self) -> Result<Piece, WebError> {
        loop {
            let outcome = match self.response.is_some() {
                true => self.take().await.map(Some),
                false => self.reconnect().await,
            };
            match outcome {
                Ok(Some(piece)) => return Ok(piece),
                Ok(None) => {}
                Err(error) => self.recover(error).await?,
            }
        }
    }

    async fn take(&mut self) -> Result<Piece, WebError> {
        let stall = self.client.config().timeouts.stall;
        let response = self.response.as_mut().expect("called with a connection only");
        let chunk = next_chunk(response, stall).await.map_err(|source| self.broken(source))?;
        match (chunk, self.head.size) {
            (None, Some(size)) if self.offset < size => {
                let detail = format!("it ended after {} of {size} bytes", self.offset);
                Err(self.broken(TransportError { kind: TransportKind::Interrupted, detail }))
            }
            (None, _) => Ok(Piece::End),
            (Some(chunk), size) => {
                self.offset += chunk.len() as u64;
                if size.is_some_and(|size| self.offset > size) {
                    return Err(self.protocol("it sends more bytes than it says"));
                }
                Ok(Piece::Chunk(chunk))
            }
        }
    }

    /// Connects again: for the rest where the server can promise that it is the rest of the same file.
    async fn reconnect(&mut self) -> Result<Option<Piece>, WebError> {
        let headers = match self.head.resume_condition() {
            Some(condition) if self.may_continue && self.offset > 0 => range(self.offset, condition),
            _ => HeaderMap::new(),
        };
        let response = match self.client.web_response(&self.request, &headers).await {
            // There is no rest: the file is another.
            Err(WebError::Status { status: 416, .. }) => {
                self.client.web_response(&self.request, &HeaderMap::new()).await?
            }
            outcome => outcome?,
        };
        self.host = host_of(&response);
        let head = WebHead::of(response.headers());
        match response.status() {
            StatusCode::PARTIAL_CONTENT if !headers.is_empty() => {
                let part = part_of(response.headers());
                let is_same = head.etag.is_none() || head.etag == self.head.etag;
                let is_rest = part.is_some_and(|(start, size)| {
                    start == self.offset
                        && (size.is_none() || self.head.size.is_none() || size == self.head.size)
                });
                match is_same && is_rest {
                    true => self.response = Some(response),
                    false => self.may_continue = false,
                }
                Ok(None)
            }
            StatusCode::NOT_MODIFIED | StatusCode::PARTIAL_CONTENT => {
                Err(self.protocol("it sends what was not asked for"))
            }
            _ => {
                self.head = head;
                self.response = Some(response);
                let had_some = std::mem::take(&mut self.offset) > 0;
                Ok(had_some.then_some(Piece::FromStart))
            }
        }
    }

    /// Makes another attempt possible, or gives the error back.
    async fn recover(&mut self, error: WebError) -> Result<(), WebError> {
        self.response = None;
        // To come as far as before is no progress: some servers break at the same place each time.
        if self.offset > self.furthest {
            self.resumes += 1;
            self.attempts.progress();
        }
        self.furthest = self.furthest.max(self.offset);
        if self.resumes > limit::RESUMES_MAX {
            return Err(error);
        }
        self.client.web_wait(&self.request, &mut self.attempts, error).await
    }

    fn broken(&self, source: TransportError) -> WebError {
        WebError::Transport { host: self.host.clone(), source }
    }

    fn protocol(&self, reason: &'static str) -> WebError {
        WebError::Protocol { host: self.host.clone(), reason }
    }
}

impl fmt::Debug for WebBody {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("WebBody")
            .field("url", &self.request.url)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

fn range(offset: u64, condition: &str) -> HeaderMap {
    let range = format!("bytes={offset}-");
    let pairs: [(HeaderName, &str); 2] = [(RANGE, &range), (IF_RANGE, condition)];
    let parsed = pairs.into_iter().map(|(name, text)| Some((name, HeaderValue::from_str(text).ok()?)));
    parsed.collect::<Option<HeaderMap>>().unwrap_or_default()
}

/// Reads `Content-Range: bytes 5-9/10` as where the part begins and how large the whole is, if that is known.
fn part_of(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?.trim().strip_prefix("bytes")?;
    let (part, whole) = text.trim_start().split_once('/')?;
    let start = part.split_once('-')?.0.parse().ok()?;
    match whole {
        "*" => Some((start, None)),
        size => Some((start, Some(size.parse().ok()?))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_of_an_answer_is_read() {
        for (text, expected) in [
            ("bytes 5-9/10", Some((5, Some(10)))),
            ("bytes 5-9/*", Some((5, None))),
            ("bytes */10", None),
            ("bytes 5-9", None),
            ("items 5-9/10", None),
            ("bytes x-9/10", None),
        ] {
            let headers: HeaderMap = [(CONTENT_RANGE, text.parse().unwrap())].into_iter().collect();
            assert_eq!(part_of(&headers), expected, "{text}");
        }
    }
}
