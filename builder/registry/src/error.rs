//! What can go wrong between this machine and a registry. Texts that came from a server are cut to a limit and hold no
//! control characters; no text holds a secret or the query of an address.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kiln_oci::VerifyError;

use crate::bucket_error::BucketError;
use crate::cause::{
    ChallengeProblem, CredentialError, Said, TokenProblem, TransportError, TransportKind,
    is_retryable_status, status_text,
};
use crate::retry::{Attempts, Outlook};

/// Why a call to a registry failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer came: no connection, or it broke.
    #[error("registry `{registry}`: {source}")]
    Transport {
        /// The host that was spoken to.
        registry: String,
        /// What happened.
        source: TransportError,
    },
    /// The registry answered, and not with success.
    #[error("registry `{registry}` answered {} for `{subject}`{}", status_text(*status), Said(code, message))]
    Status {
        /// The host that answered.
        registry: String,
        /// The repository, reference or blob that was asked for.
        subject: String,
        /// HTTP status.
        status: u16,
        /// The registry's own error code, such as `MANIFEST_UNKNOWN`.
        code: Option<String>,
        /// The registry's own message.
        message: Option<String>,
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// A mirror does not have it, and no answer came from the registry itself.
    #[error("{absent}; `{registry}`, whose mirror it is, does not answer")]
    OnlyMirror {
        /// What the mirror says.
        absent: Arc<Error>,
        /// The registry.
        registry: String,
        /// What happened there.
        source: TransportError,
    },
    /// The registry wants credentials: there are none, or it does not accept them.
    #[error(
        "registry `{registry}` refuses access to `{subject}`: {}{}",
        if *with_credentials { "it does not accept the credentials" } else { "there are no credentials for it" },
        Said(code, message)
    )]
    Unauthorized {
        /// The host that answered.
        registry: String,
        /// What was asked for.
        subject: String,
        /// Whether credentials were sent.
        with_credentials: bool,
        /// The registry's own error code.
        code: Option<String>,
        /// The registry's own message.
        message: Option<String>,
    },
    /// The registry asks for a way of authentication that is not known here.
    #[error("registry `{registry}` asks for authentication in a way that is not supported: {reason}")]
    Challenge {
        /// The host that answered.
        registry: String,
        /// What is wrong with its challenge.
        reason: ChallengeProblem,
    },
    /// A token server gave no token.
    #[error("token server `{realm}` of registry `{registry}`: {reason}")]
    Token {
        /// The registry the token is for.
        registry: String,
        /// Host of the token server.
        realm: String,
        /// What it did.
        reason: TokenProblem,
    },
    /// Credentials could not be read.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// The bytes are not those that were asked for.
    #[error("registry `{registry}`: `{subject}`: {source}")]
    Verify {
        /// The host the bytes came from.
        registry: String,
        /// What was asked for.
        subject: String,
        /// What is wrong with them.
        source: VerifyError,
    },
    /// A document that no image can need to be so large.
    #[error("registry `{registry}`: `{subject}` is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The host that answered.
        registry: String,
        /// What was asked for.
        subject: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// A manifest of the first Docker format, which has no layers that could be verified.
    #[error(
        "registry `{registry}`: `{subject}` is a Docker schema 1 manifest, which is not supported: push it again with a current tool"
    )]
    Schema1 {
        /// The host that answered.
        registry: String,
        /// The image.
        subject: String,
    },
    /// A manifest that is not one.
    #[error("registry `{registry}`: `{subject}` is not an image manifest or index: {reason}")]
    NotAManifest {
        /// The host that answered.
        registry: String,
        /// The image.
        subject: String,
        /// Why not.
        reason: String,
    },
    /// The answer breaks the protocol.
    #[error("registry `{registry}` answered `{subject}` in a way that breaks the protocol: {reason}")]
    Protocol {
        /// The host that answered.
        registry: String,
        /// What was asked for.
        subject: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The answer leads elsewhere, where it is not safe to go.
    #[error("registry `{registry}` redirects `{subject}` to `{target}`: {reason}")]
    Redirect {
        /// The host that answered.
        registry: String,
        /// What was asked for.
        subject: String,
        /// Scheme and host it leads to.
        target: String,
        /// Why it is not followed.
        reason: &'static str,
    },
    /// The content to upload could not be read.
    #[error("cannot read `{subject}` for the upload: {source}")]
    Source {
        /// What was to be uploaded.
        subject: String,
        /// What happened.
        source: io::Error,
    },
    /// A file of certificates or keys could not be used.
    #[error("certificates in `{}`: {reason}", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An object store failed.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// Something in the configuration cannot be used.
    #[error("configuration of registry `{registry}`: {reason}")]
    Config {
        /// The registry it is about.
        registry: String,
        /// What is wrong.
        reason: String,
    },
}

impl Error {
    /// Whether the registry says that what was asked for does not exist. That a whole bucket does not is another matter: a name
    /// is wrong then.
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Status { status, .. } => *status == 404,
            Self::Bucket(BucketError::Status { status, code, .. }) => {
                *status == 404 && code.as_deref() != Some("NoSuchBucket")
            }
            _ => false,
        }
    }

    /// Whether the registry says that what it was sent has another digest.
    pub(crate) fn is_wrong_digest(&self) -> bool {
        matches!(self, Self::Status { status: 400, code: Some(code), .. } if code == "DIGEST_INVALID")
    }

    /// Whether credentials are missing, refused, or not enough.
    pub fn is_unauthorized(&self) -> bool {
        match self {
            Self::Unauthorized { .. } | Self::Status { status: 401 | 403, .. } => true,
            Self::Bucket(BucketError::Status { status, .. }) => matches!(status, 401 | 403),
            Self::Token { reason: TokenProblem::Status { status, .. }, .. } => matches!(status, 401 | 403),
            _ => false,
        }
    }

    /// Whether the same request may succeed a little later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Transport { source, .. } => source.is_retryable(),
            Self::Status { status, .. } => is_retryable_status(*status),
            Self::Bucket(BucketError::Transport { source, .. }) => source.is_retryable(),
            Self::Bucket(BucketError::Status { status, .. }) => is_retryable_status(*status),
            Self::Token { reason, .. } => match reason {
                TokenProblem::Status { status, .. } => is_retryable_status(*status),
                TokenProblem::Transport(source) => source.is_retryable(),
                TokenProblem::NoToken | TokenProblem::TooLarge(_) => false,
            },
            _ => false,
        }
    }

    /// Whether no server answered at all.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Transport { source, .. } | Self::Bucket(BucketError::Transport { source, .. })
            if matches!(source.kind, TransportKind::Connect | TransportKind::ConnectTimeout))
    }

    /// Returns what may be hoped for from another attempt.
    pub(crate) fn outlook(&self) -> Outlook {
        Outlook {
            is_retryable: self.is_retryable(),
            is_costly: matches!(self, Self::Transport { source, .. }
                | Self::Bucket(BucketError::Transport { source, .. }) if source.kind == TransportKind::ConnectTimeout),
            retry_after: self.retry_after(),
        }
    }

    /// Returns what may be hoped for from another attempt at what a mirror has said not to have: it is not worth long waits for a
    /// connection.
    pub(crate) fn outlook_in_doubt(&self) -> Outlook {
        let outlook = self.outlook();
        Outlook { is_costly: outlook.is_costly || self.is_unreachable(), ..outlook }
    }

    /// Whether the connection may have been one that the server had closed while nobody used it, so that even a mirror is asked once
    /// more: it broke, and no other attempt has failed.
    pub(crate) fn may_be_stale(&self, attempts: &Attempts) -> bool {
        attempts.made() == 0
            && matches!(self, Self::Transport { source, .. } if source.kind == TransportKind::Interrupted)
    }

    /// Returns what to say where a mirror has said before that it does not have what is asked for.
    pub(crate) fn after_absence(self, absent: Option<Arc<Self>>) -> Self {
        match (self, absent) {
            (Self::Transport { registry, source }, Some(absent)) => {
                Self::OnlyMirror { absent, registry, source }
            }
            (error, _) => error,
        }
    }

    /// Returns how long the server asks to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. }
            | Self::Bucket(BucketError::Status { retry_after, .. })
            | Self::Token { reason: TokenProblem::Status { retry_after, .. }, .. } => *retry_after,
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(status: u16) -> Error {
        Error::Status {
            registry: "r".into(),
            subject: "s:1".into(),
            status,
            code: None,
            message: None,
            retry_after: None,
        }
    }

    #[test]
    fn errors_answer_what_callers_ask() {
        for (code, retryable, not_found, unauthorized) in [
            (404, false, true, false),
            (401, false, false, true),
            (403, false, false, true),
            (408, true, false, false),
            (429, true, false, false),
            (500, true, false, false),
            (501, false, false, false),
            (503, true, false, false),
            (400, false, false, false),
        ] {
            let error = status(code);
            let answers = (error.is_retryable(), error.is_not_found(), error.is_unauthorized());
            assert_eq!(answers, (retryable, not_found, unauthorized), "{code}");
        }
    }

    #[test]
    fn a_broken_connection_may_heal_and_a_bad_certificate_does_not() {
        for (kind, is_retryable, is_costly) in [
            (TransportKind::Connect, true, false),
            (TransportKind::Interrupted, true, false),
            (TransportKind::Stalled, true, false),
            (TransportKind::ConnectTimeout, true, true),
            (TransportKind::Tls, false, false),
        ] {
            let source = TransportError { kind, detail: "gone".into() };
            let outlook = Error::Transport { registry: "r".into(), source }.outlook();
            assert_eq!((outlook.is_retryable, outlook.is_costly), (is_retryable, is_costly));
        }
    }

    #[test]
    fn the_text_names_host_subject_status_and_the_registry_s_words() {
        let error = Error::Status {
            registry: "docker.io".into(),
            subject: "library/x:1".into(),
            status: 404,
            code: Some("MANIFEST_UNKNOWN".into()),
            message: Some("manifest unknown".into()),
            retry_after: None,
        };
        let text = "registry `docker.io` answered 404 Not Found for `library/x:1`: MANIFEST_UNKNOWN: manifest unknown";
        assert_eq!(error.to_string(), text);
    }
}
