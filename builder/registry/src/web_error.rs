//! What can go wrong with a file of the web. Hosts are named, never paths, queries or anything secret: whoever asked
//! knows the address.

use std::time::Duration;

use crate::cause::{TransportError, TransportKind, is_retryable_status, status_text};
use crate::error::Error;
use crate::retry::Outlook;

/// Why a file of the web could not be had.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// No answer came: no connection, or it broke.
    #[error("`{host}`: {source}")]
    Transport {
        /// The host that was spoken to.
        host: String,
        /// What happened.
        source: TransportError,
    },
    /// The host answered, and not with the file.
    #[error("`{host}` answered {}", status_text(*status))]
    Status {
        /// The host that answered.
        host: String,
        /// HTTP status.
        status: u16,
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// The answer leads elsewhere, where it is not safe to go.
    #[error("`{host}` redirects to `{target}`, which is not encrypted")]
    Downgrade {
        /// The host that answered.
        host: String,
        /// Scheme and host it leads to.
        target: String,
    },
    /// The answer breaks the protocol.
    #[error("`{host}` answered in a way that breaks the protocol: {reason}")]
    Protocol {
        /// The host that answered.
        host: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The settings of certificates or proxies cannot be used.
    #[error(transparent)]
    Settings(Box<Error>),
}

impl WebError {
    /// Returns the HTTP status, where the host answered with one that is no success.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether no server answered at all.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Transport { source, .. }
            if matches!(source.kind, TransportKind::Connect | TransportKind::ConnectTimeout))
    }

    /// Returns what may be hoped for from another attempt.
    pub(crate) fn outlook(&self) -> Outlook {
        match self {
            Self::Transport { source, .. } => source.outlook(),
            Self::Status { status, retry_after, .. } => Outlook {
                is_retryable: is_retryable_status(*status),
                retry_after: *retry_after,
                ..Outlook::default()
            },
            Self::Downgrade { .. } | Self::Protocol { .. } | Self::Settings(_) => Outlook::default(),
        }
    }
}
