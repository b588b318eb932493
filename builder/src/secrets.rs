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

/// Returns a text without user and password in its addresses: it is shown, and kept in the image's history.
pub fn without_logins(text: &str) -> String {
    let (mut shown, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find("://") {
        let (before, behind) = rest.split_at(at + "://".len());
        shown.push_str(before);
        let end = behind.find(|c: char| c.is_whitespace() || "/?#\"'".contains(c)).unwrap_or(behind.len());
        let host = behind[..end].rfind('@').map_or(0, |sign| sign + 1);
        if before.ends_with("ssh://") && host > 0 {
            // The user of a secure shell is part of the address, and mostly `git`.
            shown.extend(behind[..host - 1].split(':').take(1).chain(["@"]));
        }
        rest = &behind[host..];
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_does_not_show_the_value() {
        let source = SecretSource::Value(Secret::new("hunter2"));
        assert!(!format!("{source:?}").contains("hunter2"));
    }

    #[test]
    fn passwords_in_addresses_are_not_repeated() {
        for (text, shown) in [
            ("ADD https://me:pass@host/x@y /", "ADD https://host/x@y /"),
            (
                "ADD [\"https://token@host\", \"http://a:b@c/d\", \"/\"]",
                "ADD [\"https://host\", \"http://c/d\", \"/\"]",
            ),
            ("ADD https://$USER:$PASS@host/x /", "ADD https://host/x /"),
            ("ADD https://host/x?me@y a@b /", "ADD https://host/x?me@y a@b /"),
            ("COPY a /", "COPY a /"),
            ("ADD https://me:x@h/a.git#m /d", "ADD https://h/a.git#m /d"),
            ("ADD https://t@h/a.git ssh://git:p@h/b /d", "ADD https://h/a.git ssh://git@h/b /d"),
            ("ADD git@h:a /d", "ADD git@h:a /d"),
            ("ADD https://h/x@y /d", "ADD https://h/x@y /d"),
            ("x://", "x://"),
        ] {
            assert_eq!(without_logins(text), shown);
        }
    }
}
