//! Addresses: what a path or `Location` means at a host, whose address it is, and where redirects may lead. Pure.

use http::HeaderMap;
use http::header::LOCATION;
use reqwest::Url;

use crate::error::Error;
use crate::mirror::{Endpoint, is_loopback};

/// How a host turned out to be spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Whether by HTTPS.
    pub(crate) is_https: bool,
    /// Whether its certificate is checked.
    pub(crate) is_checked: bool,
}

/// Where a call goes.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// Relative to the registry's root: `/v2/…`.
    Path(String),
    /// A whole address that the registry gave.
    Address(Url),
    /// A whole address from elsewhere, where nobody is told who we are.
    Foreign(Url),
}

impl From<String> for Target {
    fn from(path: String) -> Self {
        Self::Path(path)
    }
}

/// Returns an answer's `Location`, relative or whole.
pub(crate) fn location(base: &Url, headers: &HeaderMap) -> Option<Url> {
    let text = headers.get(LOCATION)?.to_str().ok()?;
    base.join(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

/// Returns the whole address that `target` means at a host.
pub(crate) fn address(endpoint: &Endpoint, origin: Origin, target: &Target) -> Result<Url, Error> {
    let scheme = if origin.is_https { "https" } else { "http" };
    match target {
        Target::Path(path) => Url::parse(&format!("{scheme}://{}{path}", endpoint.authority)).map_err(|_| {
            let reason = "its name is not a host that can be connected to".to_owned();
            Error::Config { registry: endpoint.name.clone(), reason }
        }),
        // A registry behind a proxy that ends TLS may not know that its own addresses should be https.
        Target::Address(url) if origin.is_https && url.scheme() == "http" && is_host_of(url, endpoint) => {
            let mut url = url.clone();
            url.set_scheme("https").expect("http can become https");
            Ok(url)
        }
        Target::Address(url) | Target::Foreign(url) => Ok(url.clone()),
    }
}

/// Whether `url` leads to the host of `endpoint`.
pub(crate) fn is_host_of(url: &Url, endpoint: &Endpoint) -> bool {
    let authority = |scheme: &str| Url::parse(&format!("{scheme}://{}", endpoint.authority)).ok();
    authority(url.scheme()).is_some_and(|own| own.host() == url.host() && own.port() == url.port())
}

/// Whether `url` leads to the host of `endpoint` by the protocol that is spoken with it: only then may it be told who
/// we are.
pub(crate) fn is_same_host(url: &Url, endpoint: &Endpoint, origin: Origin) -> bool {
    is_host_of(url, endpoint) && (url.scheme() == "https") == origin.is_https
}

/// Whether two addresses agree in scheme, host and port.
pub(crate) fn is_same_place(one: &Url, other: &Url) -> bool {
    one.origin() == other.origin()
}

/// Whether `to` is the same place as `from`, or the same host by https instead of http, at the usual ports: the most
/// usual of all redirects.
pub(crate) fn is_same_place_or_safer(from: &Url, to: &Url) -> bool {
    let is_raised = from.scheme() == "http" && to.scheme() == "https";
    is_same_place(from, to)
        || (is_raised && from.host() == to.host() && from.port().is_none() && to.port().is_none())
}

/// Returns the name to give to the host of `url` in messages.
pub(crate) fn name_of(url: &Url, endpoint: &Endpoint) -> String {
    match is_host_of(url, endpoint) {
        true => endpoint.name.clone(),
        false => url.authority().to_owned(),
    }
}

/// Whether a redirect from one address to another may be followed. From https to http is no way to go: the answer could
/// be anyone's. This machine is an exception.
pub(crate) fn is_safe_redirect(from: &Url, to: &Url) -> bool {
    from.scheme() != "https" || is_safe_from_https(to)
}

/// Whether an address may be used that came by https.
pub(crate) fn is_safe_from_https(to: &Url) -> bool {
    to.scheme() == "https" || is_loopback(to.authority())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn who_we_are_is_told_to_the_same_host_by_the_same_protocol_only() {
        let endpoint = Endpoint::upstream("r.example:5000");
        for (text, expected) in [
            ("https://r.example:5000/v2/", true),
            ("http://r.example:5000/v2/", false),
            ("https://r.example/v2/", false),
            ("https://r.example:5001/v2/", false),
            ("https://r.example.evil:5000/v2/", false),
            ("https://R.EXAMPLE:5000/v2/", true),
        ] {
            let origin = Origin { is_https: true, is_checked: true };
            assert_eq!(is_same_host(&url(text), &endpoint, origin), expected, "{text}");
        }
    }

    #[test]
    fn default_ports_may_be_written_or_not() {
        let origin = Origin { is_https: true, is_checked: true };
        for (registry, text) in
            [("r.example", "https://r.example:443/v2/"), ("r.example:443", "https://r.example/v2/")]
        {
            assert!(is_same_host(&url(text), &Endpoint::upstream(registry), origin), "{registry} {text}");
        }
    }

    #[test]
    fn an_address_of_the_registry_itself_is_raised_to_https() {
        let endpoint = Endpoint::upstream("r.example");
        let origin = Origin { is_https: true, is_checked: true };
        for (given, expected) in [
            ("http://r.example/up?a=b", "https://r.example/up?a=b"),
            ("http://other.example/up", "http://other.example/up"),
            ("https://other.example/up", "https://other.example/up"),
        ] {
            let found = address(&endpoint, origin, &Target::Address(url(given))).unwrap();
            assert_eq!(found.as_str(), expected);
        }
    }

    #[test]
    fn who_we_are_stays_with_the_host_or_is_told_it_more_safely() {
        for (from, to, expected) in [
            ("https://a.example/x", "https://a.example/y", true),
            ("http://a.example/x", "https://a.example/x", true),
            ("http://a.example:80/x", "https://a.example:443/x", true),
            ("https://a.example/x", "http://a.example/x", false),
            ("http://a.example:8080/x", "https://a.example/x", false),
            ("http://a.example/x", "https://a.example:8443/x", false),
            ("https://a.example/x", "https://b.a.example/x", false),
            ("https://a.example/x", "https://a.example:444/x", false),
        ] {
            assert_eq!(is_same_place_or_safer(&url(from), &url(to)), expected, "{from} {to}");
        }
    }

    #[test]
    fn redirects_never_leave_https() {
        for (from, to, expected) in [
            ("https://a.example/", "https://b.example/", true),
            ("https://a.example/", "http://a.example/", false),
            ("https://a.example/", "http://127.0.0.1/", true),
            ("http://a.example/", "http://b.example/", true),
        ] {
            assert_eq!(is_safe_redirect(&url(from), &url(to)), expected, "{from} {to}");
        }
    }
}
