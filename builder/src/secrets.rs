//! Secret values: where they come from, and how they stay out of everything that is kept.
//!
//! A value is a [`Secret`]: a type without `Display`, whose `Debug` says only that it is one. It reaches the sandbox as bytes
//! for a file in memory or a variable of one step, and nothing else: no key, layer, history, record, log or error.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Largest secret, in bytes (BuildKit's limit).
pub const SECRET_SIZE_MAX: u64 = 500 * 1024;

/// A secret value.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<Vec<u8>>) -> Self {
        Self(value.into())
    }

    /// Returns the value. Every caller is a place to review.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// Where the value of a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// In a file, read when a step needs it.
    File(PathBuf),
    /// Given with the request.
    Value(Secret),
}

/// The secrets of a build, by id.
pub type Secrets = BTreeMap<String, SecretSource>;

/// Why a secret that was named could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Its file could not be read.
    #[error("cannot read the file of secret `{id}`: {source}")]
    Read {
        /// Id of the secret.
        id: String,
        /// What the file system says, with the path.
        source: std::io::Error,
    },
    /// It is too large.
    #[error("secret `{id}` is larger than {SECRET_SIZE_MAX} bytes")]
    TooLarge {
        /// Id of the secret.
        id: String,
    },
}

/// Returns the value of the secret `id`, or `None` when the build was given none of that name.
///
/// # Errors
/// [`SecretError`] when it was named but cannot be read.
pub fn resolve(secrets: &Secrets, id: &str) -> Result<Option<Secret>, SecretError> {
    match secrets.get(id) {
        None => Ok(None),
        Some(SecretSource::Value(value)) => Ok(Some(value.clone())),
        Some(SecretSource::File(path)) => {
            let read = |source| SecretError::Read { id: id.to_owned(), source };
            let size = fs_err::metadata(path).map_err(read)?.len();
            if size > SECRET_SIZE_MAX {
                return Err(SecretError::TooLarge { id: id.to_owned() });
            }
            fs_err::read(path).map(|value| Some(Secret(value))).map_err(read)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_does_not_show_the_value() {
        let source = SecretSource::Value(Secret::new("hunter2"));
        assert!(!format!("{source:?}").contains("hunter2"));
    }
}
