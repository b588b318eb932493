//! One request for a file of the web. Redirects are followed by hand, so that what proves who we are stays with the host
//! it is for, and nothing leaves encryption unnoticed.

use std::fmt;

use http::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use reqwest::{Response, Url};

use crate::answer::retry_after;
use crate::client::Client;
use crate::http::{Payload, Peer, Request, SendProblem};
use crate::limit;
use crate::retry::Attempts;
use crate::route::{is_safe_redirect, is_same_place_or_safer, location};
use crate::warning::Warning;
use crate::web_error::WebError;
use crate::web_head::Known;
use crate::web_url::WebUrl;

/// A file of the web that is wanted.
#[derive(Debug, Clone)]
pub struct WebRequest {
    /// Where it is. User and password in it are sent, unless there is an authorization besides.
    pub url: WebUrl,
    /// What proves who we are, to the host of the address and to no other.
    pub authorization: Option<Authorization>,
    /// What is known of the file from before.
    pub known: Known,
    /// Whether the caller knows which bytes to expect. Only then may a redirect lead from https to http.
    pub is_verified: bool,
}

/// The value of an `Authorization` header.
#[derive(Clone, PartialEq, Eq)]
pub struct Authorization(HeaderValue);

impl Authorization {
    /// Takes the whole value; `None` where no header can have it.
    pub fn new(value: &[u8]) -> Option<Self> {
        let mut value = HeaderValue::from_bytes(value).ok()?;
        value.set_sensitive(true);
        Some(Self(value))
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Authorization(..)")
    }
}

impl Client {
    /// Sends one request, follows redirects, and returns an answer that is success or "not modified".
    pub(crate) async fn web_response(
        &self,
        request: &WebRequest,
        more: &HeaderMap,
    ) -> Result<Response, WebError> {
        let mut url = request.url.url().clone();
        let mut headers = more.clone();
        // What counts are the bytes as they are, not as they may be compressed on the way.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let authorization = request.authorization.as_ref().map(|authorization| authorization.0.clone());
        if let Some(value) = authorization.or_else(|| request.url.login_header()) {
            headers.insert(AUTHORIZATION, value);
        }
        for _ in 0..=limit::REDIRECTS_MAX {
            let sent = Request {
                method: Method::GET,
                url: url.clone(),
                headers: headers.clone(),
                payload: Payload::Empty,
            };
            let host = shown_host(&url);
            let peer = Peer { name: &host, is_checked: true };
            let response = self.http().send(peer, sent).await;
            let response = response.map_err(|problem| send_error(problem, &host))?;
            let status = response.status();
            if status.is_success() || status == StatusCode::NOT_MODIFIED {
                return Ok(response);
            }
            if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                let retry_after = retry_after(response.headers());
                return Err(WebError::Status { host, status: status.as_u16(), retry_after });
            }
            let Some(next) = location(&url, response.headers()) else {
                let reason = "a redirect without a usable address";
                return Err(WebError::Protocol { host, reason });
            };
            if !request.is_verified && !is_safe_redirect(&url, &next) {
                return Err(WebError::Downgrade { host, target: next.origin().ascii_serialization() });
            }
            if !is_same_place_or_safer(&url, &next) {
                headers.remove(AUTHORIZATION);
            }
            url = next;
        }
        Err(WebError::Protocol { host: shown_host(&url), reason: "more redirects than are followed" })
    }

    /// Waits before another attempt, after telling so, or gives the error back where there is none.
    pub(crate) async fn web_wait(
        &self,
        request: &WebRequest,
        attempts: &mut Attempts,
        error: WebError,
    ) -> Result<(), WebError> {
        let Some(delay) = attempts.next(error.outlook()) else { return Err(error) };
        self.config().warn(&Warning::WebRetry { address: request.url.to_string(), error, delay });
        tokio::time::sleep(delay).await;
        Ok(())
    }
}

/// Returns the host that answered, as it is shown.
pub(crate) fn host_of(response: &Response) -> String {
    shown_host(response.url())
}

/// Returns host and port; where a redirect leads may have user and password before them.
fn shown_host(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}{port}", url.host_str().unwrap_or_default())
}

fn send_error(problem: SendProblem, host: &str) -> WebError {
    match problem {
        SendProblem::Transport(source) => WebError::Transport { host: host.to_owned(), source },
        SendProblem::Settings(error) => WebError::Settings(Box::new(error)),
        SendProblem::Source(_) => unreachable!("nothing is sent along"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authorization_is_not_shown_and_fits_into_a_header() {
        let authorization = Authorization::new(b"Bearer canary").unwrap();
        assert_eq!(format!("{authorization:?}"), "Authorization(..)");
        assert_eq!(Authorization::new(b"a\nb"), None);
    }
}
