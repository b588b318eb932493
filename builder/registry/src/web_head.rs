//! What the headers of a file of the web say, and what can be asked with them the next time. Pure.

use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, DATE, ETAG, HeaderMap, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    LAST_MODIFIED,
};

use crate::date::seconds_since_1970;

/// What a server said of a file earlier. Where it says the same again, nothing is transferred.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// The `ETag` headers of the same bytes, weak ones included; several where several servers answer for one name.
    pub etags: Vec<String>,
    /// A `Last-Modified` header that no later change can have left as it is; asked only where there is no `ETag`.
    pub last_modified: Option<String>,
}

/// What the headers say of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WebHead {
    /// The number of bytes that will come.
    pub size: Option<u64>,
    /// The `ETag` header as it is, if it is short enough to be kept.
    pub etag: Option<String>,
    /// The `Last-Modified` header as it is, where it is so much older than the answer that a later change would show.
    pub last_modified: Option<String>,
    /// When the file was modified, in seconds since 1970.
    pub modified: Option<i64>,
    /// Whether the bytes are compressed with gzip on the way, although they were not asked for like that.
    pub is_gzip: bool,
}

/// Longest `ETag` that is kept.
const ETAG_BYTES_MAX: usize = 1024;
/// What lies between a change and an answer before `Last-Modified` tells one version from the next (RFC 9110, 8.8.2.2).
const SETTLED_SECONDS: i64 = 60;

impl WebHead {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let modified = text(LAST_MODIFIED).and_then(seconds_since_1970);
        let date = text(DATE).and_then(seconds_since_1970);
        let is_settled =
            modified.zip(date).is_some_and(|(modified, date)| date - modified >= SETTLED_SECONDS);
        Self {
            size: text(CONTENT_LENGTH).and_then(|size| size.parse().ok()),
            etag: text(ETAG)
                .filter(|etag| !etag.is_empty() && etag.len() <= ETAG_BYTES_MAX)
                .map(str::to_owned),
            last_modified: text(LAST_MODIFIED).filter(|_| is_settled).map(str::to_owned),
            modified,
            is_gzip: text(CONTENT_ENCODING).is_some_and(|coding| coding.eq_ignore_ascii_case("gzip")),
        }
    }

    /// Returns what a server needs to continue with these very bytes and no others: an `ETag` that is not weak, or a date.
    pub(crate) fn resume_condition(&self) -> Option<&str> {
        let strong = self.etag.as_deref().filter(|etag| !etag.starts_with("W/"));
        strong.or(self.last_modified.as_deref().filter(|_| self.etag.is_none()))
    }
}

impl Known {
    /// Returns the headers that ask for the file only if it is another.
    pub(crate) fn conditions(&self) -> HeaderMap {
        let etags = (!self.etags.is_empty()).then(|| (IF_NONE_MATCH, self.etags.join(", ")));
        let date = || Some((IF_MODIFIED_SINCE, self.last_modified.clone()?));
        let condition = etags.or_else(date);
        condition.into_iter().filter_map(|(name, text)| Some((name, text.parse().ok()?))).collect()
    }

    /// Whether an answer speaks of what is known. A strong `ETag` and a weak one of the same text are the same here.
    pub(crate) fn has(&self, etag: &str) -> bool {
        let opaque = |etag: &str| etag.strip_prefix("W/").unwrap_or(etag).to_owned();
        self.etags.iter().any(|known| opaque(known) == opaque(etag))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn head(headers: &[(&'static str, &str)]) -> WebHead {
        let pairs = headers.iter().map(|(name, value)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header"))
        });
        WebHead::of(&pairs.collect())
    }

    const LONG_AGO: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    #[test]
    fn headers_tell_what_is_known_of_a_file() {
        let all = head(&[
            ("content-length", "12"),
            ("etag", "\"a\""),
            ("last-modified", LONG_AGO),
            ("date", "Mon, 07 Nov 1994 08:49:37 GMT"),
            ("content-encoding", "GZIP"),
        ]);
        let expected = WebHead {
            size: Some(12),
            etag: Some("\"a\"".to_owned()),
            last_modified: Some(LONG_AGO.to_owned()),
            modified: Some(784_111_777),
            is_gzip: true,
        };
        assert_eq!(all, expected);
        let long = "x".repeat(ETAG_BYTES_MAX + 1);
        assert_eq!(head(&[("etag", &long), ("content-length", "-1"), ("content-encoding", "br")]), head(&[]));
    }

    #[test]
    fn a_date_proves_something_only_when_it_is_old() {
        for (date, proves) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", false),
            ("Sun, 06 Nov 1994 08:50:36 GMT", false),
            ("Sun, 06 Nov 1994 08:50:37 GMT", true),
            ("Sat, 05 Nov 1994 08:49:37 GMT", false),
            ("soon", false),
        ] {
            let head = head(&[("last-modified", LONG_AGO), ("date", date)]);
            assert_eq!((head.last_modified.is_some(), head.modified), (proves, Some(784_111_777)), "{date}");
        }
    }

    #[test]
    fn only_what_is_the_same_byte_for_byte_is_continued() {
        let date = "Mon, 07 Nov 1994 08:49:37 GMT";
        let with_date = |etag: &[(&'static str, &str)]| {
            head(&[etag, &[("last-modified", LONG_AGO), ("date", date)]].concat())
        };
        for (head, expected) in [
            (head(&[("etag", "\"a\"")]), Some("\"a\"")),
            (head(&[("etag", "W/\"a\"")]), None),
            (with_date(&[]), Some(LONG_AGO)),
            (with_date(&[("etag", "W/\"a\"")]), None),
            (head(&[]), None),
        ] {
            assert_eq!(head.resume_condition(), expected);
        }
    }

    #[test]
    fn conditions_are_the_etags_or_else_the_date() {
        let known = |etags: &[&str], date: Option<&str>| Known {
            etags: etags.iter().map(|etag| (*etag).to_owned()).collect(),
            last_modified: date.map(str::to_owned),
        };
        for (known, expected) in [
            (known(&["\"a\"", "W/\"b\""], Some(LONG_AGO)), Some((IF_NONE_MATCH, "\"a\", W/\"b\""))),
            (known(&[], Some(LONG_AGO)), Some((IF_MODIFIED_SINCE, LONG_AGO))),
            (known(&[], None), None),
        ] {
            let expected = expected.map(|(name, value)| (name, value.parse().unwrap()));
            assert_eq!(known.conditions(), expected.into_iter().collect::<HeaderMap>());
        }
        let weak = known(&["W/\"a\""], None);
        assert!(weak.has("\"a\"") && weak.has("W/\"a\"") && !weak.has("\"b\""));
    }
}
