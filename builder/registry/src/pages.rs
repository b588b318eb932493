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
            let target = next_target(&call.target, &next)
                .ok_or_else(|| protocol(endpoint, &call, "the address of the next page is malformed"))?;
            if !seen.insert(next) || seen.len() >= limit::PAGES_MAX {
                return Err(protocol(endpoint, &call, "its list has no end"));
            }
            call.target = target;
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

/// Returns the address in `<address>; rel="next"`.
fn next_in(text: &str) -> Option<String> {
    text.split(',').find_map(|link| {
        let (address, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = parameters.split(';').any(|parameter| {
            matches!(parameter.split_once('='), Some((name, value))
                if name.trim() == "rel" && value.trim().trim_matches('"') == "next")
        });
        is_next.then(|| address.to_owned())
    })
}

/// Returns where `address`, as it stands in an answer to `asked`, leads.
fn next_target(asked: &Target, address: &str) -> Option<Target> {
    let registry = Url::parse("http://registry.invalid").expect("a constant address");
    let base = match asked {
        Target::Path(path) => registry.join(path).ok()?,
        Target::Address(url) | Target::Foreign(url) => url.clone(),
    };
    let next = base.join(address).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    if next.host() != registry.host() {
        return Some(Target::Address(next));
    }
    let query = next.query().map(|query| format!("?{query}")).unwrap_or_default();
    Some(Target::Path(format!("{}{query}", next.path())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_among_links() {
        for (text, expected) in [
            (r#"</v2/a/tags/list?n=2&last=b>; rel="next""#, Some("/v2/a/tags/list?n=2&last=b")),
            (r#"</x>; rel="prev", </y>; title=z; rel=next"#, Some("/y")),
            (r#"</x>; rel="last""#, None),
            ("rubbish", None),
        ] {
            assert_eq!(next_in(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn the_address_of_the_next_page_may_be_relative() {
        let asked = Target::Path("/v2/a/tags/list?n=2".to_owned());
        for (address, expected) in [
            ("/v2/a/tags/list?last=b", Some("/v2/a/tags/list?last=b")),
            ("list?last=b", Some("/v2/a/tags/list?last=b")),
            ("?last=b", Some("/v2/a/tags/list?last=b")),
            ("https://r.example/v2/a/tags/list?last=b", Some("https://r.example/v2/a/tags/list?last=b")),
            ("//r.example/x", Some("http://r.example/x")),
            ("file:///etc/passwd", None),
            ("http://", None),
        ] {
            let shown = next_target(&asked, address).map(|target| match target {
                Target::Path(path) => path,
                Target::Address(url) | Target::Foreign(url) => url.to_string(),
            });
            assert_eq!(shown.as_deref(), expected, "{address}");
        }
    }
}
