//! The reasons below an [`Error`](crate::Error): transport, challenges, tokens, credentials; and how a server's words
//! are made fit to be shown.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::limit;
use crate::retry::Outlook;

/// A connection that did not come about, or broke.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct TransportError {
    /// What broke.
    pub kind: TransportKind,
    /// The innermost reason, for people.
    pub detail: String,
}

/// What broke in a [`TransportError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportKind {
    /// The host's name or port does not answer.
    Connect,
    /// No connection within the time allowed.
    ConnectTimeout,
    /// The certificate is not trusted, or TLS is spoken in no common way.
    Tls,
    /// The connection ended in the middle.
    Interrupted,
    /// Nothing moved for too long.
    Stalled,
}

/// What is wrong with a challenge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeProblem {
    /// It sent status 401 without a challenge.
    #[error("it sends no challenge")]
    Missing,
    /// Only schemes that are not known.
    #[error("scheme `{0}`")]
    Scheme(String),
    /// A bearer challenge without a usable address of the token server.
    #[error("the token server's address is missing or malformed")]
    Realm,
    /// Tokens would be fetched without encryption.
    #[error("its token server `{0}` is not reached by https")]
    InsecureRealm(String),
}

/// Why a token server gave no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenProblem {
    /// It answered with an error.
    #[error("it answered {}{}", status_text(*status), Said(&None, message))]
    Status {
        /// HTTP status.
        status: u16,
        /// Its message.
        message: Option<String>,
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// No connection, or it broke.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The answer holds no token.
    #[error("its answer holds no token")]
    NoToken,
    /// The answer is too long.
    #[error("its answer is longer than the limit of {0} bytes")]
    TooLarge(usize),
}

impl TransportError {
    /// Whether another attempt may do better. A certificate will not get better.
    pub fn is_retryable(&self) -> bool {
        !matches!(self.kind, TransportKind::Tls)
    }

    /// Returns what may be hoped for from another attempt.
    pub(crate) fn outlook(&self) -> Outlook {
        Outlook {
            is_retryable: self.is_retryable(),
            is_costly: self.kind == TransportKind::ConnectTimeout,
            retry_after: None,
        }
    }
}

/// Whether a server that answers with `status` may answer otherwise a little later.
pub(crate) fn is_retryable_status(status: u16) -> bool {
    matches!(status, 408 | 429 | 500..=599) && status != 501 && status != 505
}

/// Why credentials could not be read or kept. Never holds anything of them.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// A file could not be read or written.
    #[error("credentials file `{}`: cannot {action} it: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// What happened.
        source: io::Error,
    },
    /// A file is not what Docker or podman write.
    #[error("credentials file `{}`: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no file to write to.
    #[error("no credentials file is configured, so the login cannot be kept")]
    NoFile,
    /// A credential helper could not be run, or failed.
    #[error("credential helper `{helper}`: {reason}")]
    Helper {
        /// Name of the program.
        helper: String,
        /// What happened.
        reason: HelperProblem,
    },
}

/// What a credential helper did.
#[derive(Debug, thiserror::Error)]
pub enum HelperProblem {
    /// No program of that name in the search path.
    #[error("there is no such program in the search path")]
    Missing,
    /// The configured name is not a plain file name.
    #[error("that is not the name of a helper")]
    Name,
    /// It could not be started, or its pipes broke.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It ended with an error.
    #[error("it failed: {0}")]
    Failed(String),
    /// Its answer is not the JSON document of the protocol.
    #[error("its answer to `{0}` is not what the protocol asks for")]
    Answer(&'static str),
    /// It took too long.
    #[error("it did not answer within {} s", limit::HELPER_TIME_MAX.as_secs())]
    Timeout,
}

/// Returns a status with its usual name: `404 Not Found`.
pub(crate) fn status_text(status: u16) -> String {
    let reason = http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    match reason {
        Some(reason) => format!("{status} {reason}"),
        None => status.to_string(),
    }
}

/// The registry's own words behind a colon, if it said any.
pub(crate) struct Said<'a>(pub(crate) &'a Option<String>, pub(crate) &'a Option<String>);

impl fmt::Display for Said<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [self.0, self.1].into_iter().flatten() {
            write!(formatter, ": {part}")?;
        }
        Ok(())
    }
}

/// Returns a server's text fit to be shown: one line, no control characters, not too long.
pub(crate) fn printable(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .map(|c| if c.is_control() || is_bidi_control(c) { ' ' } else { c })
        .take(limit::ERROR_MESSAGE_CHARS_MAX)
        .collect();
    if text.chars().nth(limit::ERROR_MESSAGE_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown.trim().to_owned()
}

/// Marks that make a terminal show text in another order than it is.
fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_s_text_is_shown_on_one_line_without_control_characters() {
        assert_eq!(printable("a\x1b[31mb\nc\u{202e}d"), "a [31mb c d");
        assert_eq!(printable(&"x".repeat(1000)).chars().count(), limit::ERROR_MESSAGE_CHARS_MAX + 1);
    }
}
