//! What went wrong and did not fail the call.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::web_error::WebError;

/// Something that went wrong and did not fail the call.
#[derive(Debug)]
#[non_exhaustive]
pub enum Warning {
    /// A mirror failed; the next one, or the registry itself, is asked.
    Mirror {
        /// The mirror.
        mirror: String,
        /// The registry it stands for.
        registry: String,
        /// What happened.
        error: Arc<Error>,
    },
    /// A request is tried again.
    Retry {
        /// The failure.
        error: Error,
        /// How long is waited first.
        delay: Duration,
        /// How often it was tried so far.
        attempts: u32,
    },
    /// A file of the web is asked for again, or the rest of it.
    WebRetry {
        /// Its address, fit to be shown.
        address: String,
        /// The failure.
        error: WebError,
        /// How long is waited first.
        delay: Duration,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mirror { mirror, registry, error } => {
                write!(formatter, "mirror `{mirror}` of `{registry}` is passed over: {error}")
            }
            Self::Retry { error, delay, .. } => {
                write!(formatter, "{error}; trying again in {:.1} s", delay.as_secs_f64())
            }
            Self::WebRetry { address, error, delay } => {
                write!(formatter, "`{address}`: {error}; trying again in {:.1} s", delay.as_secs_f64())
            }
        }
    }
}
