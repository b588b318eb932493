//! The address of a file of the web: checked once, and never shown with what is secret in it.

use std::fmt;
use std::str::FromStr;

use http::HeaderValue;
use reqwest::Url;

use crate::secret::Secret;
use crate::token::basic_header;

/// Longest address that is taken.
const URL_BYTES_MAX: usize = 16 << 10;

/// An `http://` or `https://` address. What is shown of it has neither user and password nor the query, in which signed
/// addresses carry their permission.
#[derive(Clone, PartialEq, Eq)]
pub struct WebUrl {
    /// Without user, password and fragment.
    url: Url,
    /// The path as it was written, which the client library would clean.
    path: String,
    login: Option<(String, Secret)>,
}

/// Why a text is no [`WebUrl`]. Holds nothing of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebUrlError {
    /// Another scheme, or none.
    #[error("it begins with neither `http://` nor `https://`")]
    Scheme,
    /// It cannot be read.
    #[error("it is no address: {reason}")]
    Malformed {
        /// What is wrong with it.
        reason: String,
    },
    /// No address is that long.
    #[error("it is longer than {URL_BYTES_MAX} bytes")]
    TooLong,
}

impl FromStr for WebUrl {
    type Err = WebUrlError;

    fn from_str(text: &str) -> Result<Self, WebUrlError> {
        if text.len() > URL_BYTES_MAX {
            return Err(WebUrlError::TooLong);
        }
        let malformed = |reason: &str| WebUrlError::Malformed { reason: reason.to_owned() };
        let scheme = text.split_once("://").ok_or(WebUrlError::Scheme)?.0;
        if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            return Err(WebUrlError::Scheme);
        }
        // The library would drop them silently.
        if text.chars().any(char::is_control) {
            return Err(malformed("it has control characters"));
        }
        let mut url = Url::parse(text).map_err(|error| malformed(&error.to_string()))?;
        let login = login_of(&url);
        let cleared = url.set_username("").and_then(|()| url.set_password(None));
        cleared.expect("an address with a host can be without a login");
        url.set_fragment(None);
        Ok(Self { url, path: written_path(text).to_owned(), login })
    }
}

impl WebUrl {
    /// Returns the host: a name in lower case or an address, without port and brackets.
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
    }

    /// Returns the path as it was written: escaped, not cleaned, without query and fragment.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the whole address with its query, but without user and password. For keys; not fit to be shown.
    pub fn unshown(&self) -> &str {
        self.url.as_str()
    }

    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// Returns user and password as the header that proves them.
    pub(crate) fn login_header(&self) -> Option<HeaderValue> {
        self.login.as_ref().map(|(user, password)| basic_header(user, password))
    }
}

impl fmt::Display for WebUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}{}", self.url.scheme(), self.url.authority(), self.url.path())?;
        formatter.write_str(if self.url.query().is_some() { "?…" } else { "" })
    }
}

impl fmt::Debug for WebUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "WebUrl({self})")
    }
}

fn login_of(url: &Url) -> Option<(String, Secret)> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let decoded = |text: &str| String::from_utf8_lossy(&percent_decoded(text)).into_owned();
    Some((decoded(url.username()), Secret::new(decoded(url.password().unwrap_or_default()))))
}

fn written_path(text: &str) -> &str {
    let behind = text.split_once("://").map_or("", |(_, behind)| behind);
    let behind = behind.split(['?', '#']).next().unwrap_or_default();
    behind.find('/').map_or("", |at| &behind[at..])
}

/// Undoes `%20` and the like; what is no escape stays as it is.
pub fn percent_decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digit = |at: usize| tail.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).expect("two hexadecimal digits make a byte"));
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> WebUrl {
        text.parse().unwrap()
    }

    #[test]
    fn nothing_secret_is_shown() {
        for (text, shown) in [
            ("https://host/x", "https://host/x"),
            ("https://me:secret@host/x", "https://host/x"),
            ("https://token@host:8443/x", "https://host:8443/x"),
            ("https://host/x?signature=secret", "https://host/x?…"),
            ("https://host/x@y#secret", "https://host/x@y"),
            ("https://host", "https://host/"),
            ("HTTPS://HOST/a b", "https://host/a%20b"),
            ("http://[::1]:80/x", "http://[::1]/x"),
        ] {
            let url = parse(text);
            assert_eq!((url.to_string(), format!("{url:?}")), (shown.to_owned(), format!("WebUrl({shown})")));
        }
    }

    #[test]
    fn user_and_password_are_a_header_and_no_part_of_the_address() {
        let url = parse("https://me:p%40ss@host/x?y=1#z");
        assert_eq!(url.unshown(), "https://host/x?y=1");
        assert_eq!(url.login_header(), Some(basic_header("me", &Secret::new("p@ss"))));
        assert_eq!(parse("https://host/x").login_header(), None);
    }

    #[test]
    fn hosts_and_paths_are_told() {
        for (text, host, path) in [
            ("http://127.0.0.1:8080/a/../b?c/d", "127.0.0.1", "/a/../b"),
            ("http://[::1]:8080/%2f", "::1", "/%2f"),
            ("http://Host", "host", ""),
            ("http://me:x%2fy@host/p#f/g", "host", "/p"),
        ] {
            let url = parse(text);
            assert_eq!((url.host(), url.path()), (host, path), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_of_the_web_is_refused() {
        for (text, reason) in [
            ("ftp://host/x", "it begins with neither `http://` nor `https://`"),
            ("host/x", "it begins with neither `http://` nor `https://`"),
            ("https://", "it is no address: empty host"),
            ("https://host:port/", "it is no address: invalid port number"),
            ("https://host/a\nb", "it is no address: it has control characters"),
        ] {
            assert_eq!(text.parse::<WebUrl>().unwrap_err().to_string(), reason, "{text:?}");
        }
        let long = format!("http://host/{}", "x".repeat(URL_BYTES_MAX));
        assert_eq!(long.parse::<WebUrl>(), Err(WebUrlError::TooLong));
    }

    #[test]
    fn escapes_are_undone_and_what_is_none_stays() {
        for (text, expected) in
            [("a%20b", &b"a b"[..]), ("%2F%ff%00", b"/\xff\0"), ("100%", b"100%"), ("%zz%+1", b"%zz%+1")]
        {
            assert_eq!(percent_decoded(text), expected, "{text}");
        }
    }
}
