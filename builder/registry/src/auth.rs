//! Which `Authorization` a request carries: what a host asked for before, the credentials for it, tokens while they last.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use http::{HeaderMap, HeaderValue};
use reqwest::Url;
use tokio::time::Instant;

use crate::cause::ChallengeProblem;
use crate::challenge::{Challenge, challenges};
use crate::config::ClientConfig;
use crate::credential_file::Credential;
use crate::credentials::Credentials;
use crate::error::Error;
use crate::http::{Http, lock};
use crate::mirror::{Endpoint, Transport, is_loopback};
use crate::secret::Secret;
use crate::token::{self, Token, Wanted, basic_header, bearer_header};

/// What a request needs permission for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Access {
    /// The repository, which chooses among credentials.
    pub(crate) repository: String,
    /// `repository:name:actions`, in a fixed order.
    pub(crate) scopes: Vec<String>,
    /// Whether credentials are tried that will be kept.
    pub(crate) is_login: bool,
}

impl Access {
    /// Permission to be known.
    pub(crate) fn login() -> Self {
        Self { is_login: true, ..Self::default() }
    }

    /// Permission to read `repository`.
    pub(crate) fn pull(repository: &str) -> Self {
        Self::to(repository, "pull")
    }

    /// Permission to write `repository`, which needs reading too.
    pub(crate) fn push(repository: &str) -> Self {
        Self::to(repository, "pull,push")
    }

    /// Permission to remove something from `repository`, which needs what writing does, too.
    pub(crate) fn delete(repository: &str) -> Self {
        Self::to(repository, "pull,push,delete")
    }

    fn to(repository: &str, actions: &str) -> Self {
        let scopes = vec![format!("repository:{repository}:{actions}")];
        Self { repository: repository.to_owned(), scopes, is_login: false }
    }

    /// Adds permission to read another repository, for a mount from there.
    pub(crate) fn and_pull(mut self, repository: &str) -> Self {
        self.scopes.push(format!("repository:{repository}:pull"));
        self
    }
}

/// A host as authentication sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Host<'a> {
    pub(crate) endpoint: &'a Endpoint,
    /// Whether it is spoken to by HTTPS.
    pub(crate) is_https: bool,
    /// Whether its certificate is checked.
    pub(crate) is_checked: bool,
}

/// What a host asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Scheme {
    Basic,
    Bearer { realm: Url, service: Option<String> },
}

/// Remembers what hosts asked for and what answered it.
pub(crate) struct Auth {
    config: Arc<ClientConfig>,
    credentials: Credentials,
    schemes: Mutex<BTreeMap<String, Scheme>>,
    /// Scopes that a host asked for beyond ours, by host and ours.
    extra_scopes: Mutex<BTreeMap<(String, Vec<String>), String>>,
    tokens: Mutex<BTreeMap<(String, Vec<String>), Token>>,
    known: Mutex<BTreeMap<(String, String), Option<Credential>>>,
    /// Refresh tokens that were given at a login, by host.
    refresh_tokens: Mutex<BTreeMap<String, Secret>>,
}

impl Auth {
    pub(crate) fn new(config: Arc<ClientConfig>) -> Self {
        let credentials = Credentials::new(config.credentials.clone());
        Self {
            config,
            credentials,
            schemes: Mutex::default(),
            extra_scopes: Mutex::default(),
            tokens: Mutex::default(),
            known: Mutex::default(),
            refresh_tokens: Mutex::default(),
        }
    }

    /// Uses `credential` for `name`, whatever the files say.
    pub(crate) fn assume(&self, name: &str, credential: Option<Credential>) {
        // What another has proven proves nothing of this one.
        let authority = Endpoint::upstream(name).authority;
        lock(&self.tokens).retain(|(host, _), _| *host != authority);
        lock(&self.refresh_tokens).remove(&authority);
        lock(&self.known).insert((name.to_owned(), String::new()), credential);
    }

    /// Returns the header for a request, or `None` where the host has asked for nothing so far, or nothing can be given.
    pub(crate) async fn header(
        &self,
        http: &Http,
        host: Host<'_>,
        access: &Access,
    ) -> Result<Option<HeaderValue>, Error> {
        let name = &host.endpoint.name;
        let Some(scheme) = lock(&self.schemes).get(&host.endpoint.authority).cloned() else {
            return Ok(None);
        };
        let credential = self.credential(name, &access.repository).await?;
        match (scheme, credential) {
            (_, Some(Credential::RegistryToken(token))) => Ok(bearer_header(token.reveal())),
            (Scheme::Basic, Some(Credential::Password { username, password })) => {
                Ok(Some(basic_header(&username, &password)))
            }
            (Scheme::Basic, _) => Ok(None),
            (Scheme::Bearer { realm, service }, credential) => {
                let scopes = self.all_scopes(host, access);
                let key = (host.endpoint.authority.clone(), scopes);
                if let Some(token) = lock(&self.tokens).get(&key).filter(|token| token.until > Instant::now())
                {
                    return Ok(Some(token.header.clone()));
                }
                let wanted = Wanted {
                    registry: name,
                    realm: &realm,
                    service: service.as_deref(),
                    scopes: &key.1,
                    is_login: access.is_login,
                    credential: credential.as_ref(),
                    is_checked: self.is_realm_checked(host, &realm),
                    stall: self.config.timeouts.stall,
                };
                let token = token::fetch(http, &wanted).await?;
                let header = token.header.clone();
                if let Some(refresh) = token.refresh.clone().filter(|_| access.is_login) {
                    lock(&self.refresh_tokens).insert(key.0.clone(), refresh);
                }
                lock(&self.tokens).insert(key, token);
                Ok(Some(header))
            }
        }
    }

    /// Takes note of a 401 answer, and forgets the token that was not good enough. Returns whether the answer says that the token
    /// was not good any more (RFC 6750, section 3.1), and not that it allows too little.
    pub(crate) fn challenged(
        &self,
        host: Host<'_>,
        access: &Access,
        headers: &HeaderMap,
        sent: Option<&HeaderValue>,
    ) -> Result<bool, Error> {
        let failed = |reason| Error::Challenge { registry: host.endpoint.name.clone(), reason };
        let offered = challenges(headers);
        let chosen = offered
            .iter()
            .find(|challenge| challenge.scheme == "bearer")
            .or_else(|| offered.iter().find(|challenge| challenge.scheme == "basic"));
        let authority = host.endpoint.authority.clone();
        let Some(challenge) = chosen else {
            return Err(failed(match offered.first() {
                None => ChallengeProblem::Missing,
                Some(other) => ChallengeProblem::Scheme(crate::cause::printable(&other.scheme)),
            }));
        };
        let scheme = scheme(challenge, host).map_err(failed)?;
        let is_over = challenge.parameters.get("error").is_some_and(|error| error == "invalid_token");
        if let Some(scope) = challenge.parameters.get("scope").filter(|scope| is_news(scope, access)) {
            lock(&self.extra_scopes).insert((authority.clone(), access.scopes.clone()), scope.clone());
        }
        if let Some(sent) = sent {
            lock(&self.tokens).retain(|_, token| token.header != *sent);
        }
        lock(&self.schemes).insert(authority, scheme);
        Ok(is_over)
    }

    /// Returns the refresh token that was given at a login.
    pub(crate) fn refresh_token(&self, endpoint: &Endpoint) -> Option<Secret> {
        lock(&self.refresh_tokens).get(&endpoint.authority).cloned()
    }

    /// Whether a host has asked for authentication so far.
    pub(crate) fn is_asked(&self, endpoint: &Endpoint) -> bool {
        lock(&self.schemes).contains_key(&endpoint.authority)
    }

    /// Whether there are credentials for a host, as far as was found out.
    pub(crate) fn has_credential(&self, endpoint: &Endpoint, access: &Access) -> bool {
        let known = lock(&self.known);
        let find = |repository: &str| known.get(&(endpoint.name.clone(), repository.to_owned()));
        find("").or_else(|| find(&access.repository)).is_some_and(Option::is_some)
    }

    async fn credential(&self, name: &str, repository: &str) -> Result<Option<Credential>, Error> {
        let assumed = (name.to_owned(), String::new());
        let key = (name.to_owned(), repository.to_owned());
        {
            let known = lock(&self.known);
            if let Some(credential) = known.get(&assumed).or_else(|| known.get(&key)) {
                return Ok(credential.clone());
            }
        }
        let found = self.credentials.find(name, repository).await?;
        if !repository.is_empty() {
            lock(&self.known).insert(key, found.clone());
        }
        Ok(found)
    }

    fn all_scopes(&self, host: Host<'_>, access: &Access) -> Vec<String> {
        let key = (host.endpoint.authority.clone(), access.scopes.clone());
        let extra = lock(&self.extra_scopes).get(&key).cloned();
        access.scopes.iter().cloned().chain(extra).collect()
    }

    fn is_realm_checked(&self, host: Host<'_>, realm: &Url) -> bool {
        let registry_host = host.endpoint.authority.split(':').next();
        if realm.host_str() == registry_host {
            return host.is_checked;
        }
        let transport = Endpoint::upstream(realm.authority()).transport(&self.config);
        matches!(transport, Transport::Https | Transport::Http)
    }
}

/// Whether a challenge asks for more than we would have. Its text is a list with blanks between.
fn is_news(scope: &str, access: &Access) -> bool {
    let is_covered = |wanted: &str| {
        access.scopes.iter().any(|ours| match (ours.rsplit_once(':'), wanted.rsplit_once(':')) {
            (Some((ours, our_actions)), Some((wanted, actions))) => {
                ours == wanted
                    && actions.split(',').all(|action| our_actions.split(',').any(|our| our == action))
            }
            _ => false,
        })
    };
    !scope.split_whitespace().all(is_covered)
}

fn scheme(challenge: &Challenge, host: Host<'_>) -> Result<Scheme, ChallengeProblem> {
    if challenge.scheme == "basic" {
        return Ok(Scheme::Basic);
    }
    let realm = challenge.parameters.get("realm").and_then(|realm| Url::parse(realm).ok());
    let realm = realm
        .filter(|realm| matches!(realm.scheme(), "http" | "https") && realm.has_host())
        .ok_or(ChallengeProblem::Realm)?;
    // A registry reached safely must not make us send a password in the open.
    if realm.scheme() == "http" && host.is_https && !is_loopback(realm.authority()) {
        let shown = realm.host_str().unwrap_or_default().to_owned();
        return Err(ChallengeProblem::InsecureRealm(shown));
    }
    Ok(Scheme::Bearer { realm, service: challenge.parameters.get("service").cloned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(realm: &str) -> Challenge {
        let parameters = [("realm".to_owned(), realm.to_owned())].into();
        Challenge { scheme: "bearer".into(), parameters }
    }

    #[test]
    fn a_token_server_without_encryption_is_refused_to_a_registry_with() {
        let endpoint = Endpoint::upstream("r.example");
        for (realm, is_https, expected) in [
            ("https://auth.example/token", true, None),
            ("http://auth.example/token", false, None),
            ("http://127.0.0.1:5001/token", true, None),
            ("http://auth.example/token", true, Some(ChallengeProblem::InsecureRealm("auth.example".into()))),
            ("file:///etc/passwd", true, Some(ChallengeProblem::Realm)),
            ("/token", true, Some(ChallengeProblem::Realm)),
        ] {
            let host = Host { endpoint: &endpoint, is_https, is_checked: true };
            assert_eq!(scheme(&challenge(realm), host).err(), expected, "{realm}");
        }
    }

    #[test]
    fn only_scopes_beyond_ours_are_added() {
        let access = Access::push("a/b").and_pull("c");
        for (scope, expected) in [
            ("repository:a/b:pull", false),
            ("repository:a/b:push,pull", false),
            ("repository:a/b:pull repository:c:pull", false),
            ("repository:a/b:delete", true),
            ("repository:other/a/b:pull", true),
            ("registry:catalog:*", true),
            ("odd", true),
        ] {
            assert_eq!(is_news(scope, &access), expected, "{scope}");
        }
    }
}
