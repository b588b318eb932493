//! Why a step was not taken from the cache, as a value: shown by `--explain`, kept in the journal of the build.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a step ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Reason {
    /// No earlier build of this store had such a step.
    New,
    /// The nearest earlier build of the step had other inputs.
    Changed {
        /// What differs, the most telling first; never empty.
        changes: Vec<Change>,
    },
    /// An input was made anew, and came out with other bytes.
    InputRebuilt {
        /// The step that made it, as `STAGE:LINE`.
        step: String,
    },
    /// The step was known, and what it made is gone from the store.
    ResultGone {
        /// What is missing, in words.
        what: String,
    },
    /// The user wanted it done again.
    Asked {
        /// By which flag or pragma, as written.
        by: String,
    },
}

/// One input that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What it is: `src/a.rs content`, `build argument VERSION`, `base image debian:12`.
    pub what: String,
    /// What it was; absent where it was not there.
    pub before: Option<String>,
    /// What it is now; absent where it is gone.
    pub after: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => write!(formatter, "{} {before}→{after}", self.what),
            (None, Some(after)) => write!(formatter, "{} added: {after}", self.what),
            (Some(before), None) => write!(formatter, "{} removed: it was {before}", self.what),
            (None, None) => write!(formatter, "{} changed", self.what),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => formatter.write_str("not built here before"),
            Self::Changed { changes } => {
                for (index, change) in changes.iter().enumerate() {
                    write!(formatter, "{}{change}", if index == 0 { "" } else { "; " })?;
                }
                Ok(())
            }
            Self::InputRebuilt { step } => {
                write!(formatter, "{step} was built again and came out with other bytes")
            }
            Self::ResultGone { what } => write!(formatter, "the result is gone: {what}"),
            Self::Asked { by } => write!(formatter, "asked for by {by}"),
        }
    }
}
