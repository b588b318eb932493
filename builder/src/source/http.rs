//! Files fetched over HTTP for ADD: by content, with the checksum that was asked for.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use kiln_layer::{ArchivePath, Content, DirectoryOrigin, Entry, Metadata, Origin, Timestamp};
use kiln_oci::{Digest, Hasher};
use kiln_store::StoreError;

use crate::plan::HttpOp;
use crate::workshop::Workshop;

/// Largest file that is fetched, in bytes.
pub const DOWNLOAD_BYTES_MAX: u64 = 64 << 30;
/// Name of a file whose URL has none (BuildKit's).
const UNNAMED: &str = "__unnamed__";

/// A file that was fetched. Its bytes lie in a scratch directory of the store until the build ends.
#[derive(Debug, Clone)]
pub struct Download {
    /// Name from the URL.
    pub name: String,
    /// Digest of its bytes.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// `Last-Modified`, in seconds since 1970; zero when the server does not say.
    pub modified: i64,
    origin: Arc<DirectoryOrigin>,
    /// Keeps the scratch directory.
    _scratch: Arc<kiln_store::Scratch>,
}

/// Why a file could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The request failed.
    #[error("cannot fetch `{url}`")]
    Request {
        /// The URL, without user and password.
        url: String,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server answered with an error.
    #[error("cannot fetch `{url}`: the server answered {status}")]
    Status {
        /// The URL, without user and password.
        url: String,
        /// The status line.
        status: String,
    },
    /// The bytes are others than was asked for.
    #[error("`{url}` has the digest `{actual}`, but `--checksum` says `{expected}`")]
    Checksum {
        /// The URL, without user and password.
        url: String,
        /// What was asked for.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// It is too large.
    #[error("`{url}` is larger than {DOWNLOAD_BYTES_MAX} bytes")]
    TooLarge {
        /// The URL, without user and password.
        url: String,
    },
    /// The file could not be written.
    #[error("cannot write what `{url}` sends")]
    Write {
        /// The URL, without user and password.
        url: String,
        /// What the file system says.
        source: std::io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Download {
    /// Returns what of the file can decide a result: its bytes and its name.
    pub fn key(&self) -> Digest {
        let mut hasher = Hasher::new();
        hasher.update(self.digest.as_bytes());
        hasher.update(self.name.as_bytes());
        hasher.finish()
    }

    /// Returns the bytes, by reference.
    pub fn content(&self) -> Content {
        Content {
            origin: Origin::Directory(Arc::clone(&self.origin)),
            path: ArchivePath::parse(b"content").expect("a plain name"),
            size: self.size,
            digest: Some(self.digest),
            identity: None,
        }
    }

    /// Returns the file as ADD puts it into an image: readable by its owner only.
    pub fn entry(&self) -> Entry {
        let metadata =
            Metadata { mtime: Timestamp::from_seconds(self.modified), ..Metadata::with_mode(0o600) };
        Entry::file(metadata, self.content())
    }
}

/// Fetches a file.
///
/// # Errors
/// [`HttpError`], which names the URL.
pub async fn fetch(workshop: &Workshop, op: &HttpOp) -> Result<Download, HttpError> {
    let url = shown(&op.url);
    let failed = |source: reqwest::Error| HttpError::Request {
        url: url.clone(),
        source: Box::new(source.without_url()),
    };
    let client = workshop
        .registry
        .plain_web()
        .map_err(|source| HttpError::Request { url: url.clone(), source: Box::new(source) })?;
    let mut response = client.get(&op.url).send().await.map_err(failed)?;
    if !response.status().is_success() {
        return Err(HttpError::Status { url, status: response.status().to_string() });
    }
    let modified = response
        .headers()
        .get(reqwest::header::LAST_MODIFIED)
        .and_then(|value| value.to_str().ok())
        .and_then(http_date)
        .unwrap_or(0);
    let name = file_name(&op.url);
    let scratch = workshop.store.scratch("download")?;
    let path: PathBuf = scratch.path().join("content");
    let write = |source| HttpError::Write { url: url.clone(), source };
    let mut file = fs_err::File::create(&path).map_err(write)?;
    let (mut hasher, mut size) = (Hasher::new(), 0_u64);
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        size += chunk.len() as u64;
        if size > DOWNLOAD_BYTES_MAX {
            return Err(HttpError::TooLarge { url });
        }
        hasher.update(&chunk);
        file.write_all(&chunk).map_err(write)?;
    }
    let digest = hasher.finish();
    if let Some(expected) = op.checksum
        && expected != digest
    {
        return Err(HttpError::Checksum { url, expected, actual: digest });
    }
    let origin = Arc::new(DirectoryOrigin::open(scratch.path()).map_err(write)?);
    Ok(Download { name, digest, size, modified, origin, _scratch: Arc::new(scratch) })
}

/// Returns the name that a URL gives a file: the last component of its path as it was asked for.
fn file_name(url: &str) -> String {
    let without_query = url.split(['?', '#']).next().unwrap_or_default();
    let path = without_query.splitn(4, '/').nth(3).unwrap_or_default();
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let decoded = percent_decoded(name);
    match decoded.as_str() {
        "" | "." | ".." => UNNAMED.to_owned(),
        name => name.to_owned(),
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        match (first, digits.and_then(|pair| u8::from_str_radix(pair, 16).ok())) {
            (b'%', Some(byte)) if byte != b'/' && byte != 0 => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Returns a URL without user and password.
fn shown(url: &str) -> String {
    match (url.split_once("://"), url.contains('@')) {
        (Some((scheme, rest)), true) => {
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = authority.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}/{path}")
        }
        _ => url.to_owned(),
    }
}

/// Parses the usual form of HTTP dates: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut parts = text.split_once(", ")?.1.split([' ', ':']);
    let day: i64 = parts.next()?.parse().ok()?;
    let month = parts.next()?;
    let month = i64::try_from(MONTHS.iter().position(|name| *name == month)?).ok()? + 1;
    let year: i64 = parts.next()?.parse().ok()?;
    let mut clock = || parts.next()?.parse::<i64>().ok();
    let (hour, minute, second) = (clock()?, clock()?, clock()?);
    // Days since 1970 of a civil date, after Howard Hinnant's `days_from_civil`.
    let year_from_march = if month <= 2 { year - 1 } else { year };
    let era = year_from_march.div_euclid(400);
    let year_of_era = year_from_march.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some((era * 146_097 + day_of_era - 719_468) * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_path_of_the_url() {
        for (url, name) in [
            ("http://h/a/b.tar.gz?x=1", "b.tar.gz"),
            ("http://h/a%20b", "a b"),
            ("http://h/a%2fb", "a%2fb"),
            ("http://h/", UNNAMED),
            ("http://h", UNNAMED),
            ("http://h/..", UNNAMED),
        ] {
            assert_eq!(file_name(url), name, "{url}");
        }
    }

    #[test]
    fn dates_are_read() {
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(http_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(http_date("yesterday"), None);
    }

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(shown("https://me:secret@host/x"), "https://host/x");
        assert_eq!(shown("https://host/x@y"), "https://host/x@y");
    }
}
