//! Reading a server's answers: bodies up to a limit, errors in the registry's own words, `Retry-After`.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};
use serde_json::Value;

use crate::cause::{TransportError, TransportKind, printable};
use crate::date::seconds_since_1970;
use crate::error::Error;
use crate::limit;

/// Why a body could not be read to its end.
#[derive(Debug)]
pub(crate) enum BodyProblem {
    /// It goes on beyond the limit.
    TooLarge,
    /// It broke.
    Transport(TransportError),
}

/// Reads a whole body of at most `bytes_max` bytes, waiting at most `stall` for each piece.
pub(crate) async fn read_body(
    response: &mut reqwest::Response,
    bytes_max: usize,
    stall: Duration,
) -> Result<Bytes, BodyProblem> {
    let announced = response.content_length().unwrap_or(0);
    if announced > bytes_max as u64 {
        return Err(BodyProblem::TooLarge);
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = next_chunk(response, stall).await.map_err(BodyProblem::Transport)? {
        if body.len() + chunk.len() > bytes_max {
            return Err(BodyProblem::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// Returns the next piece of a body, or `None` at its end.
pub(crate) async fn next_chunk(
    response: &mut reqwest::Response,
    stall: Duration,
) -> Result<Option<Bytes>, TransportError> {
    match tokio::time::timeout(stall, response.chunk()).await {
        Ok(Ok(chunk)) => Ok(chunk),
        Ok(Err(error)) => Err(transport_error(&error)),
        Err(_) => Err(stalled(stall)),
    }
}

/// Returns the error for a connection on which nothing moved for `waited`.
pub(crate) fn stalled(waited: Duration) -> TransportError {
    let detail = format!("nothing was received for {} s", waited.as_secs());
    TransportError { kind: TransportKind::Stalled, detail }
}

/// Returns what broke, in the words of the innermost cause: the outer ones repeat the address, queries and all.
pub(crate) fn transport_error(error: &reqwest::Error) -> TransportError {
    let mut innermost: &(dyn std::error::Error + 'static) = error;
    let mut has_cause = false;
    while let Some(cause) = cause_of(innermost) {
        innermost = cause;
        has_cause = true;
    }
    let is_tls = innermost.is::<rustls::Error>();
    let kind = match (error.is_connect(), error.is_timeout()) {
        _ if is_tls => TransportKind::Tls,
        (true, true) => TransportKind::ConnectTimeout,
        (true, false) => TransportKind::Connect,
        (false, true) => TransportKind::Stalled,
        (false, false) => TransportKind::Interrupted,
    };
    let detail = match kind {
        TransportKind::ConnectTimeout => "no connection in time".to_owned(),
        _ if !has_cause => "the connection failed".to_owned(),
        _ => printable(&innermost.to_string()),
    };
    TransportError { kind, detail }
}

/// Returns what is below an error. An I/O error hides what it wraps: its `source` is already one further down.
fn cause_of<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a (dyn std::error::Error + 'static)> {
    match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

/// What a server said in an answer that is not success.
#[derive(Debug, Default)]
pub(crate) struct Complaint {
    /// Its error code.
    pub(crate) code: Option<String>,
    /// Its message.
    pub(crate) message: Option<String>,
}

/// Reads what the server says about a failure. A body that cannot be read says nothing: the status is error enough.
pub(crate) async fn complaint(response: &mut reqwest::Response, stall: Duration) -> Complaint {
    match read_body(response, limit::ERROR_BODY_BYTES_MAX, stall.min(Duration::from_secs(10))).await {
        Ok(body) => parse_complaint(&body),
        Err(_) => Complaint::default(),
    }
}

/// Turns an answer that is not success into its error.
pub(crate) async fn status_error(
    mut response: reqwest::Response,
    registry: &str,
    subject: &str,
    stall: Duration,
) -> Error {
    let retry_after = retry_after(response.headers());
    let status = response.status().as_u16();
    let Complaint { code, message } = complaint(&mut response, stall).await;
    Error::Status {
        registry: registry.to_owned(),
        subject: subject.to_owned(),
        status,
        code,
        message,
        retry_after,
    }
}

/// Finds code and message in the forms that registries and token servers use.
fn parse_complaint(body: &[u8]) -> Complaint {
    let Ok(document) = serde_json::from_slice::<Value>(body) else { return Complaint::default() };
    let first = document.get("errors").and_then(|errors| errors.get(0)).unwrap_or(&document);
    let text = |keys: &[&str]| {
        let found = keys.iter().find_map(|key| first.get(key).and_then(Value::as_str))?;
        Some(printable(found)).filter(|text| !text.is_empty())
    };
    Complaint {
        code: text(&["code", "error"]),
        message: text(&["message", "error_description", "details", "detail"]),
    }
}

/// Returns how long the server asks to be left alone: seconds, or a date relative to its own clock.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = seconds_since_1970(text)?;
    let now = seconds_since_1970(headers.get(DATE)?.to_str().ok()?.trim())?;
    Some(Duration::from_secs(u64::try_from(until - now).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_s_code_and_message_are_found_in_every_usual_form() {
        for (body, code, message) in [
            (
                r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{}}]}"#,
                Some("MANIFEST_UNKNOWN"),
                Some("manifest unknown"),
            ),
            (r#"{"details":"incorrect username or password"}"#, None, Some("incorrect username or password")),
            (r#"{"error":"invalid_grant","error_description":"no"}"#, Some("invalid_grant"), Some("no")),
            (r#"{"message":"a\u001b[2Jb"}"#, None, Some("a [2Jb")),
            ("<html>no</html>", None, None),
            ("", None, None),
            (r#"{"errors":[]}"#, None, None),
        ] {
            let complaint = parse_complaint(body.as_bytes());
            assert_eq!((complaint.code.as_deref(), complaint.message.as_deref()), (code, message), "{body}");
        }
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date() {
        let date = "Wed, 28 Feb 2024 23:59:30 GMT";
        for (text, expected) in [
            ("7", Some(7)),
            ("Thu, 29 Feb 2024 00:00:10 GMT", Some(40)),
            ("Fri, 01 Mar 2024 00:00:00 GMT", Some(86_430)),
            ("Wed, 28 Feb 2024 23:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
            ("Fri, 99 Mar 99999999999999 00:00:00 GMT", None),
        ] {
            let headers: HeaderMap =
                [(RETRY_AFTER, text.parse().unwrap()), (DATE, date.parse().unwrap())].into_iter().collect();
            assert_eq!(retry_after(&headers), expected.map(Duration::from_secs), "{text}");
        }
    }
}
