//! The tags of a repository.

use http::Method;
use http::header::LINK;
use kiln_oci::Reference;
use reqwest::Url;
use serde::Deserialize;

use crate::auth::Access;
use crate::client::{Call, Client, protocol};
use crate::error::Error;
use crate::limit;
use crate::mirror::Endpoint;
use crate::route::Target;

/// Tags asked for at a time. Registries may give fewer.
const PAGE: usize = 1000;

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

impl Client {
    /// Returns all tags of the repository of `reference`, sorted. The registry itself is asked, no mirror.
    ///
    /// # Errors
    /// The repository does not exist, the registry does not let us, cannot be reached, or has more than can be.
    pub async fn tags(&self, reference: &Reference) -> Result<Vec<String>, Error> {
        let endpoint = Endpoint::upstream(reference.registry());
        let repository = reference.repository();
        let path = format!("/v2/{repository}/tags/list?n={PAGE}");
        let mut call = Call::new(Method::GET, path, Access::pull(repository), reference.familiar_name());
        let mut tags = Vec::new();
        for _ in 0..limit::TAGS_PAGES_MAX {
            let (headers, body) = self.fetch(&endpoint, &call, limit::TAGS_PAGE_BYTES_MAX).await?;
            let page: Page = serde_json::from_slice(&body)
                .map_err(|_| protocol(&endpoint, &call, "the list of tags is not what it should be"))?;
            tags.extend(page.tags.unwrap_or_default());
            let next = headers.get_all(LINK).iter().find_map(|link| next_link(link.to_str().ok()?));
            let Some(next) = next else {
                tags.sort_unstable();
                tags.dedup();
                return Ok(tags);
            };
            call.target = next_target(&next)
                .ok_or_else(|| protocol(&endpoint, &call, "the address of the next tags is malformed"))?;
        }
        Err(protocol(&endpoint, &call, "the list of tags has no end"))
    }
}

/// Returns the address in `<address>; rel="next"`.
fn next_link(text: &str) -> Option<String> {
    text.split(',').find_map(|link| {
        let (address, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = parameters.split(';').any(|parameter| {
            matches!(parameter.split_once('='), Some((name, value))
                if name.trim() == "rel" && value.trim().trim_matches('"') == "next")
        });
        is_next.then(|| address.to_owned())
    })
}

fn next_target(address: &str) -> Option<Target> {
    if address.starts_with('/') && !address.starts_with("//") {
        return Some(Target::Path(address.to_owned()));
    }
    Url::parse(address).ok().filter(|url| matches!(url.scheme(), "http" | "https")).map(Target::Address)
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
            assert_eq!(next_link(text).as_deref(), expected, "{text}");
        }
    }
}
