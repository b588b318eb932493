//! Which hosts are asked for a registry's content, in which order. Pure.

use crate::config::{ClientConfig, RegistryConfig};
use crate::error::Error;

/// Docker's registry as names have it.
const DOCKER_IO: &str = "docker.io";
/// The host that serves it.
const DOCKER_IO_HOST: &str = "registry-1.docker.io";

/// A host that serves repositories.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Endpoint {
    /// The name that configuration, credentials and messages know it by.
    pub(crate) name: String,
    /// Host and port to connect to.
    pub(crate) authority: String,
    /// What is put before repository names: empty, or a path that ends with `/`.
    pub(crate) prefix: String,
    /// Whether it stands in for another registry.
    pub(crate) is_mirror: bool,
}

/// Which protocols a host is tried with, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// HTTPS only.
    Https,
    /// Plain HTTP only.
    Http,
    /// Plain HTTP, then HTTPS whose certificate is not checked: loopback addresses. Plain comes first, since a plain
    /// server may wait for more when it is sent a TLS greeting, while a TLS server refuses plain text at once.
    HttpThenHttps,
    /// HTTPS whose certificate is not checked, then plain HTTP: `insecure = true`.
    HttpsThenHttp,
}

impl Endpoint {
    /// Returns the registry itself.
    pub(crate) fn upstream(registry: &str) -> Self {
        let authority = match registry {
            DOCKER_IO | "index.docker.io" => DOCKER_IO_HOST,
            other => other,
        };
        Self {
            name: registry.to_owned(),
            authority: authority.to_owned(),
            prefix: String::new(),
            is_mirror: false,
        }
    }

    /// Returns the name of `repository` at this host.
    pub(crate) fn repository(&self, repository: &str) -> String {
        format!("{}{repository}", self.prefix)
    }

    /// Returns how this host is spoken to.
    pub(crate) fn transport(&self, config: &ClientConfig) -> Transport {
        let said = config.registry(&self.name);
        let is_insecure = said.is_some_and(|registry| registry.insecure);
        match said.and_then(|registry| registry.http) {
            Some(true) => Transport::Http,
            Some(false) => Transport::Https,
            None if is_insecure => Transport::HttpsThenHttp,
            None if said.is_some_and(has_tls_settings) => Transport::Https,
            None if is_loopback(&self.authority) => Transport::HttpThenHttps,
            None => Transport::Https,
        }
    }
}

fn has_tls_settings(registry: &RegistryConfig) -> bool {
    !registry.ca.is_empty() || !registry.keypair.is_empty()
}

/// Returns the hosts to read `registry`'s content from: its mirrors in order, then itself.
pub(crate) fn endpoints(config: &ClientConfig, registry: &str) -> Result<Vec<Endpoint>, Error> {
    let mirrors = config.registry(registry).map_or(&[][..], |registry| &registry.mirrors);
    let mut endpoints = mirrors
        .iter()
        .map(|mirror| {
            parse_mirror(mirror).map_err(|reason| Error::Config { registry: registry.to_owned(), reason })
        })
        .collect::<Result<Vec<_>, _>>()?;
    endpoints.push(Endpoint::upstream(registry));
    Ok(endpoints)
}

fn parse_mirror(text: &str) -> Result<Endpoint, String> {
    let shown = crate::cause::printable(text);
    if text.contains("://") {
        return Err(format!(
            "mirror `{shown}` has a scheme: write host and path only, and `http = true` in the mirror's own table"
        ));
    }
    let (authority, path) = text.split_once('/').unwrap_or((text, ""));
    let path = path.trim_matches('/');
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._/".contains(c);
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-.:[]".contains(c);
    if authority.is_empty() || !authority.chars().all(is_host) || !path.chars().all(is_plain) {
        return Err(format!("mirror `{shown}` is not a host with an optional path"));
    }
    Ok(Endpoint {
        authority: Endpoint::upstream(authority).authority,
        name: authority.to_owned(),
        prefix: if path.is_empty() { String::new() } else { format!("{path}/") },
        is_mirror: true,
    })
}

/// Whether `authority` (`host[:port]`) is this machine, by its text.
pub(crate) fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    let is_address = |address: std::net::IpAddr| address.is_loopback();
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(is_address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(registry: &str, table: RegistryConfig) -> ClientConfig {
        let registries = [(registry.to_owned(), table)].into();
        ClientConfig { registries, ..ClientConfig::default() }
    }

    #[test]
    fn loopback_is_told_by_the_text_of_the_host() {
        for (authority, expected) in [
            ("localhost", true),
            ("localhost:5000", true),
            ("127.0.0.1:5000", true),
            ("127.8.9.1", true),
            ("[::1]:5000", true),
            ("[::1]", true),
            ("localhost.example", false),
            ("128.0.0.1:5000", false),
            ("docker.io", false),
        ] {
            assert_eq!(is_loopback(authority), expected, "{authority}");
        }
    }

    #[test]
    fn mirrors_come_first_and_in_order() {
        let mirrors = vec!["127.0.0.1:5000".to_owned(), "mirror.example/hub/".to_owned()];
        let config = config("docker.io", RegistryConfig { mirrors, ..RegistryConfig::default() });
        let found = endpoints(&config, "docker.io").unwrap();
        let shown: Vec<_> =
            found.iter().map(|e| (e.authority.as_str(), e.repository("library/x"), e.is_mirror)).collect();
        assert_eq!(
            shown,
            [
                ("127.0.0.1:5000", "library/x".to_owned(), true),
                ("mirror.example", "hub/library/x".to_owned(), true),
                ("registry-1.docker.io", "library/x".to_owned(), false),
            ]
        );
    }

    #[test]
    fn a_mirror_that_is_no_host_is_an_error_that_names_it() {
        for bad in ["http://mirror.example", "", "host/pa th", "user@host", "host?query"] {
            let mirrors = vec![bad.to_owned()];
            let config = config("docker.io", RegistryConfig { mirrors, ..RegistryConfig::default() });
            let error = endpoints(&config, "docker.io").unwrap_err();
            assert!(error.to_string().contains(&format!("mirror `{bad}`")), "{error}");
        }
    }

    #[test]
    fn the_table_decides_how_a_host_is_spoken_to() {
        let table = RegistryConfig::default;
        let ca = vec!["ca.pem".into()];
        for (host, said, expected) in [
            ("example.com", table(), Transport::Https),
            ("example.com", RegistryConfig { http: Some(true), ..table() }, Transport::Http),
            ("example.com", RegistryConfig { insecure: true, ..table() }, Transport::HttpsThenHttp),
            ("127.0.0.1:5000", table(), Transport::HttpThenHttps),
            ("127.0.0.1:5000", RegistryConfig { http: Some(false), ..table() }, Transport::Https),
            ("127.0.0.1:5000", RegistryConfig { ca, ..table() }, Transport::Https),
        ] {
            assert_eq!(Endpoint::upstream(host).transport(&config(host, said)), expected, "{host}");
        }
    }
}
