//! The client: one request to one registry with authentication and redirects, and the same again where it may help.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, StatusCode};
use reqwest::{Response, Url};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use crate::answer::{self, BodyProblem, complaint, read_body};
use crate::auth::{Access, Auth, Host};
use crate::bucket_place::BegunUpload;
use crate::chunks::Chunks;
use crate::config::ClientConfig;
use crate::credential_file::Credential;
use crate::error::Error;
use crate::http::{Content, Http, Payload, Peer, Request, lock};
use crate::limit;
use crate::mirror::{self, Endpoint, Transport};
use crate::retry::{Attempts, Jitter, Outlook};
use crate::route::{
    Origin, Target, address, is_host_of, is_safe_from_https, is_safe_redirect, is_same_host, is_same_place,
    location, name_of,
};
use crate::secret::Secret;
use crate::warning::Warning;

/// Speaks to registries. Cheap to make and to clone; clones share connections, tokens and limits. Nothing is opened,
/// read or set up before the first request.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    config: Arc<ClientConfig>,
    http: Http,
    auth: Auth,
    /// Requests that are made at once wait for one of them to find out.
    origins: Mutex<BTreeMap<String, Arc<OnceCell<Origin>>>>,
    permits: Mutex<BTreeMap<String, Arc<Semaphore>>>,
    mirrors_down: Mutex<BTreeSet<String>>,
    begun_uploads: Mutex<BTreeSet<BegunUpload>>,
    chunks: Mutex<BTreeMap<String, Chunks>>,
    referrers_turn: tokio::sync::Mutex<()>,
    seeds: AtomicU64,
}

/// One request to a registry, to be sent any number of times.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// Path and query from `/v2/` on, or a whole address that the registry gave.
    pub(crate) target: Target,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Bytes>,
    pub(crate) access: Access,
    /// What the call is about, for messages.
    pub(crate) subject: String,
    /// Whether somebody who should know has said that it is not there, so that it is not worth long waits for a connection.
    pub(crate) is_doubtful: bool,
}

impl Call {
    /// Returns a call without headers and body.
    pub(crate) fn new(
        method: Method,
        target: impl Into<Target>,
        access: Access,
        subject: impl Into<String>,
    ) -> Self {
        Self {
            method,
            target: target.into(),
            headers: HeaderMap::new(),
            body: None,
            access,
            subject: subject.into(),
            is_doubtful: false,
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Client").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

impl Client {
    /// Takes the settings.
    pub fn new(config: ClientConfig) -> Self {
        let config = Arc::new(config);
        let shared = Shared {
            http: Http::new(Arc::clone(&config)),
            auth: Auth::new(Arc::clone(&config)),
            origins: Mutex::default(),
            permits: Mutex::default(),
            mirrors_down: Mutex::default(),
            begun_uploads: Mutex::default(),
            chunks: Mutex::default(),
            referrers_turn: tokio::sync::Mutex::default(),
            seeds: AtomicU64::new(config.jitter_seed),
            config,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Uses `credential` for the registry `name`, whatever the files say; none at all with `None`.
    pub fn assume(&self, name: &str, credential: Option<Credential>) {
        self.shared.auth.assume(name, credential);
    }

    /// Returns the refresh token that a registry's token server gave at a login.
    pub(crate) fn refresh_token(&self, endpoint: &Endpoint) -> Option<Secret> {
        self.shared.auth.refresh_token(endpoint)
    }

    /// Whether a registry has asked for authentication so far.
    pub(crate) fn is_asked(&self, endpoint: &Endpoint) -> bool {
        self.shared.auth.is_asked(endpoint)
    }

    pub(crate) fn http(&self) -> &Http {
        &self.shared.http
    }

    pub(crate) fn config(&self) -> &ClientConfig {
        &self.shared.config
    }

    /// Returns the objects that were begun and neither put together nor given up.
    pub(crate) fn begun_uploads(&self) -> &Mutex<BTreeSet<BegunUpload>> {
        &self.shared.begun_uploads
    }

    /// Waits until nobody else here changes a list of what refers to an image.
    pub(crate) async fn referrers_turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.shared.referrers_turn.lock().await
    }

    /// Starts counting attempts.
    pub(crate) fn attempts(&self) -> Attempts {
        let seed = self.shared.seeds.fetch_add(0x2545_f491_4f6c_dd1d, Ordering::Relaxed);
        Attempts::new(self.config().retry, Jitter::new(seed))
    }

    /// Waits before another attempt, after telling so, or gives the error back where there is none.
    pub(crate) async fn wait(&self, attempts: &mut Attempts, error: Error) -> Result<(), Error> {
        self.wait_as(attempts, error.outlook(), error).await
    }

    /// Waits as [`Client::wait`] does, but with these hopes for another attempt.
    pub(crate) async fn wait_as(
        &self,
        attempts: &mut Attempts,
        outlook: Outlook,
        error: Error,
    ) -> Result<(), Error> {
        let Some(delay) = attempts.next(outlook) else { return Err(error) };
        self.config().warn(&Warning::Retry { error, delay, attempts: attempts.made() });
        tokio::time::sleep(delay).await;
        Ok(())
    }

    /// Waits before another attempt, after telling so, where that is worth one whatever the error.
    pub(crate) async fn wait_once(&self, attempts: &mut Attempts, error: Error) -> Result<(), Error> {
        self.wait_as(attempts, Outlook { is_retryable: true, ..Outlook::default() }, error).await
    }

    /// Waits for one of the transfers that a host allows at a time.
    pub(crate) async fn permit(&self, authority: &str) -> OwnedSemaphorePermit {
        let semaphore = {
            let mut permits = lock(&self.shared.permits);
            let count = self.config().max_connections_per_registry.clamp(1, Semaphore::MAX_PERMITS);
            let entry = permits.entry(authority.to_owned());
            Arc::clone(entry.or_insert_with(|| Arc::new(Semaphore::new(count))))
        };
        semaphore.acquire_owned().await.expect("the semaphore is never closed")
    }

    /// Returns how much of a blob a request to this host carries.
    pub(crate) fn chunks(&self, endpoint: &Endpoint) -> Chunks {
        lock(&self.shared.chunks).get(&endpoint.authority).copied().unwrap_or_default()
    }

    /// Remembers how much of a blob a request to this host should carry.
    pub(crate) fn prefer_chunks(&self, endpoint: &Endpoint, chunks: Chunks) {
        lock(&self.shared.chunks).insert(endpoint.authority.clone(), chunks);
    }

    /// Returns the hosts to read `registry`'s content from, without the mirrors that did not answer before.
    pub(crate) fn endpoints(&self, registry: &str) -> Result<Vec<Endpoint>, Error> {
        let mut endpoints = mirror::endpoints(self.config(), registry)?;
        let down = lock(&self.shared.mirrors_down);
        endpoints.retain(|endpoint| !endpoint.is_mirror || !down.contains(&endpoint.authority));
        Ok(endpoints)
    }

    /// Passes over a mirror that failed, after telling so; returns what it failed with. Where the registry itself failed, that is the
    /// error.
    pub(crate) fn pass_over(
        &self,
        endpoint: &Endpoint,
        registry: &str,
        error: Error,
    ) -> Result<Arc<Error>, Error> {
        if !endpoint.is_mirror {
            return Err(error);
        }
        if error.is_unreachable() {
            lock(&self.shared.mirrors_down).insert(endpoint.authority.clone());
        }
        let (mirror, registry, error) = (endpoint.name.clone(), registry.to_owned(), Arc::new(error));
        self.config().warn(&Warning::Mirror { mirror, registry, error: Arc::clone(&error) });
        Ok(error)
    }

    /// Sends `call` until it succeeds, fails for good, or was tried often enough; a mirror is asked once, and again only where the
    /// connection may have been closed while nobody used it. Returns the headers of the successful answer and its body, if that is
    /// no longer than `bytes_max`.
    pub(crate) async fn fetch(
        &self,
        endpoint: &Endpoint,
        call: &Call,
        bytes_max: usize,
    ) -> Result<(HeaderMap, Bytes), Error> {
        let mut attempts = self.attempts();
        loop {
            match self.fetch_once(endpoint, call, bytes_max).await {
                Ok(answer) => return Ok(answer),
                Err(error) if endpoint.is_mirror && !error.may_be_stale(&attempts) => return Err(error),
                Err(error) if call.is_doubtful => {
                    self.wait_as(&mut attempts, error.outlook_in_doubt(), error).await?;
                }
                Err(error) => self.wait(&mut attempts, error).await?,
            }
        }
    }

    async fn fetch_once(
        &self,
        endpoint: &Endpoint,
        call: &Call,
        bytes_max: usize,
    ) -> Result<(HeaderMap, Bytes), Error> {
        let mut response = self.send(endpoint, call, None).await?;
        let headers = response.headers().clone();
        if call.method == Method::HEAD {
            return Ok((headers, Bytes::new()));
        }
        let body = read_body(&mut response, bytes_max, self.config().timeouts.stall).await;
        let body = body.map_err(|problem| match problem {
            BodyProblem::Transport(source) => Error::Transport { registry: endpoint.name.clone(), source },
            BodyProblem::TooLarge => Error::TooLarge {
                registry: endpoint.name.clone(),
                subject: call.subject.clone(),
                limit: bytes_max,
            },
        })?;
        Ok((headers, body))
    }

    /// Sends `call` once, with authentication and redirects, and with `content` as its body if there is one. An answer
    /// other than success is an error. Content that was sent in vain because a token had run out is
    /// [`Error::Unauthorized`]; the next attempt has a new token.
    pub(crate) async fn send(
        &self,
        endpoint: &Endpoint,
        call: &Call,
        content: Option<&Content<'_>>,
    ) -> Result<Response, Error> {
        if let Target::Foreign(url) = &call.target {
            let host = Host { endpoint, is_https: url.scheme() == "https", is_checked: true };
            let response = self.follow(host, url, call, call.headers.clone(), None).await?;
            return self.success(endpoint, call, response).await;
        }
        let origin = self.origin(endpoint).await?;
        let host = Host { endpoint, is_https: origin.is_https, is_checked: origin.is_checked };
        let url = address(endpoint, origin, &call.target)?;
        if origin.is_https && origin.is_checked && !is_safe_from_https(&url) {
            return Err(unsafe_redirect(endpoint, call, &url));
        }
        let mut sent = None;
        for round in 0..limit::TOKENS_MAX {
            let header = match is_same_host(&url, endpoint, origin) {
                true => self.shared.auth.header(&self.shared.http, host, &call.access).await?,
                false => None,
            };
            if round > 0 && header == sent {
                break;
            }
            let mut headers = call.headers.clone();
            headers.extend(header.clone().map(|header| (AUTHORIZATION, header)));
            let mut response = self.follow(host, &url, call, headers, content).await?;
            if response.status() != StatusCode::UNAUTHORIZED
                || !is_same_host(response.url(), endpoint, origin)
            {
                return self.success(endpoint, call, response).await;
            }
            let is_over =
                self.shared.auth.challenged(host, &call.access, response.headers(), header.as_ref())?;
            sent = header;
            if content.is_some() || (round > 0 && !is_over) {
                return Err(self.unauthorized(endpoint, call, Some(&mut response)).await);
            }
        }
        Err(self.unauthorized(endpoint, call, None).await)
    }

    async fn unauthorized(&self, endpoint: &Endpoint, call: &Call, response: Option<&mut Response>) -> Error {
        let said = match response {
            Some(response) => complaint(response, self.config().timeouts.stall).await,
            None => answer::Complaint::default(),
        };
        Error::Unauthorized {
            registry: endpoint.name.clone(),
            subject: call.subject.clone(),
            with_credentials: self.shared.auth.has_credential(endpoint, &call.access),
            code: said.code,
            message: said.message,
        }
    }

    async fn success(&self, endpoint: &Endpoint, call: &Call, response: Response) -> Result<Response, Error> {
        if response.status().is_success() {
            return Ok(response);
        }
        let stall = self.config().timeouts.stall;
        Err(answer::status_error(response, &endpoint.name, &call.subject, stall).await)
    }

    /// Sends one request and follows redirects, unless what was sent would have to be sent by another method. What proves who we are
    /// stays at home.
    async fn follow(
        &self,
        host: Host<'_>,
        url: &Url,
        call: &Call,
        mut headers: HeaderMap,
        content: Option<&Content<'_>>,
    ) -> Result<Response, Error> {
        let is_question = call.body.is_none() && content.is_none() && call.method != Method::POST;
        let mut url = url.clone();
        for _ in 0..=limit::REDIRECTS_MAX {
            let payload = match (content, &call.body) {
                (Some(content), _) => Payload::Stream((content.open)().await?, content.size),
                (None, Some(bytes)) => Payload::Bytes(bytes.clone()),
                (None, None) => Payload::Empty,
            };
            let request =
                Request { method: call.method.clone(), url: url.clone(), headers: headers.clone(), payload };
            let response = self.shared.http.send(self.peer(host, &url).as_peer(), request).await;
            let response =
                response.map_err(|problem| problem.at(&name_of(&url, host.endpoint), &call.subject))?;
            if !matches!(response.status().as_u16(), 301..=303 | 307 | 308) {
                return Ok(response);
            }
            let next = location(&url, response.headers());
            let next =
                next.ok_or_else(|| protocol(host.endpoint, call, "a redirect without a usable address"))?;
            if response.status().as_u16() < 304 && !is_question {
                let reason = "by a status after which nothing is sent there (307 and 308 are followed)";
                return Err(redirect(host.endpoint, call, &next, reason));
            }
            if host.is_checked && !is_safe_redirect(&url, &next) {
                return Err(unsafe_redirect(host.endpoint, call, &next));
            }
            if !is_same_place(&url, &next) {
                headers.remove(AUTHORIZATION);
            }
            url = next;
        }
        Err(protocol(host.endpoint, call, "more redirects than are followed"))
    }

    fn peer(&self, host: Host<'_>, url: &Url) -> OwnedPeer {
        if is_host_of(url, host.endpoint) {
            return OwnedPeer { name: host.endpoint.name.clone(), is_checked: host.is_checked };
        }
        let transport = Endpoint::upstream(url.authority()).transport(self.config());
        let is_checked = matches!(transport, Transport::Https | Transport::Http);
        OwnedPeer { name: url.authority().to_owned(), is_checked }
    }

    /// Returns how a host is spoken to, and finds out first where that is open.
    async fn origin(&self, endpoint: &Endpoint) -> Result<Origin, Error> {
        let plain = Origin { is_https: false, is_checked: true };
        let unchecked = Origin { is_https: true, is_checked: false };
        let candidates = match endpoint.transport(self.config()) {
            Transport::Https => return Ok(Origin { is_https: true, is_checked: true }),
            Transport::Http => return Ok(plain),
            Transport::HttpThenHttps => [plain, unchecked],
            Transport::HttpsThenHttp => [unchecked, plain],
        };
        let cell = Arc::clone(lock(&self.shared.origins).entry(endpoint.authority.clone()).or_default());
        cell.get_or_try_init(|| self.first_that_answers(endpoint, candidates)).await.copied()
    }

    async fn first_that_answers(
        &self,
        endpoint: &Endpoint,
        candidates: [Origin; 2],
    ) -> Result<Origin, Error> {
        let first = match self.probe(endpoint, candidates[0]).await {
            Ok(true) => return Ok(candidates[0]),
            Ok(false) => None,
            Err(error) => Some(error),
        };
        match (self.probe(endpoint, candidates[1]).await, first) {
            (Ok(_), _) => Ok(candidates[1]),
            (Err(_), Some(first)) => Err(first),
            // The first did answer, if oddly: better that than nothing.
            (Err(_), None) => Ok(candidates[0]),
        }
    }

    /// Asks for `/v2/` without credentials. Whether the answer is one that the right protocol would give: a TLS server
    /// calls plain text a bad request.
    async fn probe(&self, endpoint: &Endpoint, origin: Origin) -> Result<bool, Error> {
        let host = Host { endpoint, is_https: origin.is_https, is_checked: origin.is_checked };
        let url = address(endpoint, origin, &Target::Path("/v2/".to_owned()))?;
        let request =
            Request { method: Method::GET, url, headers: HeaderMap::new(), payload: Payload::Empty };
        let peer = Peer { name: &endpoint.name, is_checked: origin.is_checked };
        let response = self
            .shared
            .http
            .send(peer, request)
            .await
            .map_err(|problem| problem.at(&endpoint.name, "/v2/"))?;
        if response.status() == StatusCode::UNAUTHORIZED {
            // Saves a round trip later. A challenge that cannot be met will be met again, and is an error then.
            self.shared.auth.challenged(host, &Access::default(), response.headers(), None).ok();
        }
        Ok(response.status() != StatusCode::BAD_REQUEST)
    }
}

/// Returns the error for an answer that breaks the protocol.
pub(crate) fn protocol(endpoint: &Endpoint, call: &Call, reason: &'static str) -> Error {
    Error::Protocol { registry: endpoint.name.clone(), subject: call.subject.clone(), reason }
}

fn unsafe_redirect(endpoint: &Endpoint, call: &Call, target: &Url) -> Error {
    redirect(endpoint, call, target, "from https to http")
}

fn redirect(endpoint: &Endpoint, call: &Call, target: &Url, reason: &'static str) -> Error {
    Error::Redirect {
        registry: endpoint.name.clone(),
        subject: call.subject.clone(),
        target: target.origin().ascii_serialization(),
        reason,
    }
}

struct OwnedPeer {
    name: String,
    is_checked: bool,
}

impl OwnedPeer {
    fn as_peer(&self) -> Peer<'_> {
        Peer { name: &self.name, is_checked: self.is_checked }
    }
}
