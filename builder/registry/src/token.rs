//! Fetching a bearer token: Docker's `GET` with a password or nothing, OAuth2's `POST` with a refresh token, or with a password
//! where a server knows no `GET`. At a login it is asked for a refresh token besides, as Docker does.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use reqwest::{Response, Url};
use serde_json::Value;
use tokio::time::Instant;

use crate::answer::{BodyProblem, complaint, read_body, retry_after};
use crate::cause::TokenProblem;
use crate::credential_file::Credential;
use crate::error::Error;
use crate::http::{Http, Payload, Peer, Request};
use crate::limit;
use crate::route::{is_safe_redirect, is_same_place_or_safer, location};
use crate::secret::Secret;

/// What a client calls itself to a token server.
const CLIENT_ID: &str = "kiln";
/// Life of a token whose answer does not say, by the specification.
const DEFAULT_LIFE: Duration = Duration::from_secs(60);
/// A token is fetched anew this long before it ends, so that it does not end on the way.
const MARGIN: Duration = Duration::from_secs(10);

/// A bearer token and the time from which it is not used any more.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) header: HeaderValue,
    pub(crate) until: Instant,
    /// What the server gives for further tokens, if it was asked to.
    pub(crate) refresh: Option<Secret>,
}

/// What is asked of a token server.
pub(crate) struct Wanted<'a> {
    /// The registry the token is for, for messages.
    pub(crate) registry: &'a str,
    /// Address of the token server.
    pub(crate) realm: &'a Url,
    /// The registry's name for itself.
    pub(crate) service: Option<&'a str>,
    /// `repository:name:actions`, any number.
    pub(crate) scopes: &'a [String],
    /// Who asks; nobody in particular otherwise.
    pub(crate) credential: Option<&'a Credential>,
    /// Whether a token for further tokens is wanted, too.
    pub(crate) is_login: bool,
    /// Whether the token server's certificate is checked.
    pub(crate) is_checked: bool,
    /// Longest wait for the next bytes.
    pub(crate) stall: Duration,
}

impl Wanted<'_> {
    fn failed(&self, reason: TokenProblem) -> Error {
        let realm = self.realm.host_str().unwrap_or_default().to_owned();
        Error::Token { registry: self.registry.to_owned(), realm, reason }
    }

    async fn send(&self, http: &Http, request: Request) -> Result<Response, Error> {
        let host = request.url.authority().to_owned();
        // What is said of the token server's certificate is said of no other's.
        let is_checked = self.is_checked || !is_same_place_or_safer(self.realm, &request.url);
        let sent = http.send(Peer { name: &host, is_checked }, request).await;
        sent.map_err(|problem| match problem.at(self.registry, &host) {
            Error::Transport { source, .. } => self.failed(source.into()),
            other => other,
        })
    }
}

/// Fetches a token.
pub(crate) async fn fetch(http: &Http, wanted: &Wanted<'_>) -> Result<Token, Error> {
    let failed = |reason| wanted.failed(reason);
    let send = async |request| wanted.send(http, request).await;
    let mut response = match wanted.credential {
        Some(Credential::IdentityToken { token, .. }) => send(form(wanted, &refresh_grant(token))).await?,
        Some(Credential::Password { username, password }) => {
            let response = ask(http, wanted).await?;
            match response.status() {
                StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
                    send(form(wanted, &password_grant(username, password))).await?
                }
                _ => response,
            }
        }
        Some(Credential::RegistryToken(_)) | None => ask(http, wanted).await?,
    };
    let status = response.status();
    if status != StatusCode::OK {
        let retry_after = retry_after(response.headers());
        let message = complaint(&mut response, wanted.stall).await.message;
        return Err(failed(TokenProblem::Status { status: status.as_u16(), message, retry_after }));
    }
    let body = read_body(&mut response, limit::TOKEN_BODY_BYTES_MAX, wanted.stall).await;
    let body = body.map_err(|problem| match problem {
        BodyProblem::TooLarge => failed(TokenProblem::TooLarge(limit::TOKEN_BODY_BYTES_MAX)),
        BodyProblem::Transport(source) => failed(source.into()),
    })?;
    parse(&body).ok_or_else(|| failed(TokenProblem::NoToken))
}

/// Asks by `GET`, and follows redirects, as docker does. What proves who asks goes along to the same host only, or to that by https.
async fn ask(http: &Http, wanted: &Wanted<'_>) -> Result<Response, Error> {
    let Request { mut url, mut headers, .. } = question(wanted);
    let mut redirects = 0;
    loop {
        let request = Request {
            method: Method::GET,
            url: url.clone(),
            headers: headers.clone(),
            payload: Payload::Empty,
        };
        let response = wanted.send(http, request).await?;
        let is_redirect = matches!(response.status().as_u16(), 301..=303 | 307 | 308);
        let next = location(&url, response.headers());
        let next = next.filter(|next| is_redirect && is_safe_redirect(&url, next));
        let Some(next) = next.filter(|_| redirects < limit::REDIRECTS_MAX) else { return Ok(response) };
        if !is_same_place_or_safer(&url, &next) {
            headers.remove(AUTHORIZATION);
        }
        redirects += 1;
        url = next;
    }
}

fn question(wanted: &Wanted<'_>) -> Request {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let mut url = wanted.realm.clone();
    {
        let mut query = url.query_pairs_mut();
        if let Some(service) = wanted.service {
            query.append_pair("service", service);
        }
        for scope in wanted.scopes {
            query.append_pair("scope", scope);
        }
        if let Some(Credential::Password { username, password }) = wanted.credential {
            query.append_pair("account", username);
            if wanted.is_login {
                query.append_pair("offline_token", "true").append_pair("client_id", CLIENT_ID);
            }
            headers.insert(AUTHORIZATION, basic_header(username, password));
        }
    }
    Request { method: Method::GET, url, headers, payload: Payload::Empty }
}

/// What proves who asks, as fields of a form.
type Grant<'a> = [(&'static str, &'a str)];

fn refresh_grant(token: &Secret) -> [(&'static str, &str); 2] {
    [("grant_type", "refresh_token"), ("refresh_token", token.reveal())]
}

fn password_grant<'a>(username: &'a str, password: &'a Secret) -> [(&'static str, &'a str); 3] {
    [("grant_type", "password"), ("username", username), ("password", password.reveal())]
}

fn form(wanted: &Wanted<'_>, grant: &Grant<'_>) -> Request {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    let mut form = Url::parse("http://form.invalid/").expect("a constant address");
    form.query_pairs_mut()
        .extend_pairs(grant)
        .append_pair("client_id", CLIENT_ID)
        .append_pair("service", wanted.service.unwrap_or_default())
        .append_pair("scope", &wanted.scopes.join(" "));
    if wanted.is_login {
        form.query_pairs_mut().append_pair("access_type", "offline");
    }
    let payload = Payload::Bytes(Bytes::from(form.query().unwrap_or_default().to_owned()));
    Request { method: Method::POST, url: wanted.realm.clone(), headers, payload }
}

fn parse(body: &[u8]) -> Option<Token> {
    let document: Value = serde_json::from_slice(body).ok()?;
    let text = |key: &str| document.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let token = text("token").or_else(|| text("access_token"))?;
    let life = document.get("expires_in").and_then(Value::as_u64).map_or(DEFAULT_LIFE, Duration::from_secs);
    // A century is as good as for ever, and fits into an instant.
    let life = life.min(Duration::from_secs(3_000_000_000));
    let until = Instant::now() + (life - MARGIN.min(life / 2));
    let refresh = text("refresh_token").map(Secret::new);
    Some(Token { header: bearer_header(token)?, until, refresh })
}

/// Returns the header that presents `token`, if it can stand in a header at all.
pub(crate) fn bearer_header(token: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// Returns the header that presents a name and password.
pub(crate) fn basic_header(username: &str, password: &Secret) -> HeaderValue {
    let encoded = STANDARD.encode(format!("{username}:{}", password.reveal()));
    let mut header = HeaderValue::from_str(&format!("Basic {encoded}")).expect("base64 fits in a header");
    header.set_sensitive(true);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_under_both_names_and_nothing_else_is() {
        for (body, expected) in [
            (r#"{"token":"a"}"#, Some("Bearer a")),
            (r#"{"access_token":"b","expires_in":300}"#, Some("Bearer b")),
            (r#"{"token":"a","access_token":"b"}"#, Some("Bearer a")),
            (r#"{"token":"","access_token":"b","expires_in":18446744073709551615}"#, Some("Bearer b")),
            (r#"{"token":"a\nX: y"}"#, None),
            (r#"{"token":1}"#, None),
            ("[]", None),
            ("", None),
        ] {
            let header = parse(body.as_bytes()).map(|token| token.header);
            assert_eq!(header.as_ref().map(|header| header.to_str().unwrap()), expected, "{body}");
        }
    }

    #[test]
    fn a_token_shows_nothing_of_itself() {
        let token = parse(br#"{"token":"canary","refresh_token":"canary"}"#).unwrap();
        assert!(!format!("{token:?}").contains("canary"));
    }
}
