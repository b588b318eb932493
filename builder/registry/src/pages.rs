//! Answers that come in pages, each of which names the next in a `Link` (RFC 8288). A list that goes in circles or has no end is
//! an error, and so is one whose pages are larger than they need to be.

use std::collections::BTreeSet;

use http::header::LINK;
use http::{HeaderMap, StatusCode};
use reqwest::Url;

use crate::client::{Call, Client, protocol};
use crate::error::Error;
use crate::limit;
use crate::mirror::Endpoint;
use crate::route::Target;

impl Client {
    /// Sends `call`, and what its answers name as next, and shows each answer to `take`, which may say what is wrong with it.
    pub(crate) async fn pages(
        &self,
        endpoint: &Endpoint,
        mut call: Call,
        mut take: impl FnMut(&HeaderMap, &[u8]) -> Result<(), &'static str> + Send,
    ) -> Result<(), Error> {
        let mut seen = BTreeSet::new();
        let mut bytes = 0;
        loop {
            let (headers, body) = self.fetch(endpoint, &call, limit::PAGE_BYTES_MAX).await?;
            bytes += body.len();
            if bytes > limit::PAGES_BYTES_MAX {
                let (registry, subject) = (endpoint.name.clone(), call.subject);
                return Err(Error::TooLarge { registry, subject, limit: limit::PAGES_BYTES_MAX });
            }
            take(&headers, &body).map_err(|reason| protocol(endpoint, &call, reason))?;
            let Some(next) = next_link(&headers) else { return Ok(()) };
            let Target::Path(asked) = &call.target else { unreachable!("lists are asked for by path") };
            let path = next_path(asked, &next)
                .ok_or_else(|| protocol(endpoint, &call, "the address of the next page is malformed"))?;
            if !seen.insert(next) || seen.len() >= limit::PAGES_MAX {
                return Err(protocol(endpoint, &call, "its list has no end"));
            }
            call.target = Target::Path(path);
        }
    }
}

/// Whether an answer says that a registry does not know what it was asked for at all.
pub(crate) fn is_unknown_to(error: &Error) -> bool {
    let unknown = [
        StatusCode::BAD_REQUEST,
        StatusCode::NOT_FOUND,
        StatusCode::METHOD_NOT_ALLOWED,
        StatusCode::NOT_IMPLEMENTED,
    ];
    matches!(error, Error::Status { status, .. } if unknown.iter().any(|unknown| unknown.as_u16() == *status))
}

fn next_link(headers: &HeaderMap) -> Option<String> {
    headers.get_all(LINK).iter().find_map(|link| next_in(link.to_str().ok()?))
}

/// Returns the address in `<address>; rel="next"`, which may stand among others. There may be commas in an address.
fn next_in(text: &str) -> Option<String> {
    let mut links = text.split('<').skip(1).filter_map(|link| link.split_once('>'));
    let is_next = |parameters: &str| {
        parameters.trim_end().trim_end_matches(',').split(';').any(|parameter| {
            let Some((name, value)) = parameter.split_once('=') else { return false };
            let mut relations = value.trim().trim_matches('"').split_ascii_whitespace();
            name.trim().eq_ignore_ascii_case("rel")
                && relations.any(|relation| relation.eq_ignore_ascii_case("next"))
        })
    };
    links.find(|(_, parameters)| is_next(parameters)).map(|(address, _)| address.to_owned())
}

/// Returns the path and query of `address`, as it stands in an answer to `asked`. The registry that was asked has the whole list: one
/// behind a proxy may not know the name it is reached by, and nobody else is to be asked for it.
fn next_path(asked: &str, address: &str) -> Option<String> {
    let registry = Url::parse("http://registry.invalid").expect("a constant address");
    let next = registry.join(asked).ok()?.join(address).ok();
    let next = next.filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let query = next.query().map(|query| format!("?{query}")).unwrap_or_default();
    Some(format!("{}{query}", next.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_among_links() {
        for (text, expected) in [
            (r#"</v2/a/tags/list?n=2&last=b>; rel="next""#, Some("/v2/a/tags/list?n=2&last=b")),
            (r#"</x>; rel="prev", </y>; title=z; rel=next"#, Some("/y")),
            (r#"</x?last=a,b>; title=z, </y>; rel=next"#, Some("/y")),
            (r#"</x?last=a,b>; REL="last Next""#, Some("/x?last=a,b")),
            (r#"</x>; rel="last""#, None),
            ("</x; rel=next", None),
            ("rubbish", None),
        ] {
            assert_eq!(next_in(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn the_next_page_is_asked_of_the_same_registry() {
        for (address, expected) in [
            ("/v2/a/tags/list?last=b", Some("/v2/a/tags/list?last=b")),
            ("list?last=b,c", Some("/v2/a/tags/list?last=b,c")),
            ("?last=b", Some("/v2/a/tags/list?last=b")),
            ("https://inner.example:5000/v2/a/tags/list?last=b", Some("/v2/a/tags/list?last=b")),
            ("//inner.example/x", Some("/x")),
            ("file:///etc/passwd", None),
            ("http://", None),
        ] {
            assert_eq!(next_path("/v2/a/tags/list?n=2", address).as_deref(), expected, "{address}");
        }
    }
}
