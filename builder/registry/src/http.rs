//! One HTTP request: the connection pool, proxies, timeouts. It knows nothing of registries' paths, tokens or retries.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt};
use http::{HeaderMap, Method};
use reqwest::{Response, Url};
use rustls::RootCertStore;

use crate::answer::{stalled, transport_error};
use crate::cause::TransportError;
use crate::config::{ByteStream, ClientConfig, RegistryConfig};
use crate::error::Error;
use crate::tls;

/// One request. Its body can be sent once.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload,
}

/// The body of a request.
pub(crate) enum Payload {
    /// None, with `Content-Length: 0` where the method wants one.
    Empty,
    /// Bytes in memory.
    Bytes(Bytes),
    /// Bytes that arrive while they are sent, and how many there will be.
    Stream(ByteStream, u64),
}

/// A body that is read while it is sent, and read again where it has to be sent elsewhere.
pub(crate) struct Content<'a> {
    /// Opens it at its beginning.
    pub(crate) open: &'a (dyn Fn() -> BoxFuture<'a, Result<ByteStream, Error>> + Send + Sync),
    /// How many bytes it has.
    pub(crate) size: u64,
}

/// Whom a request is for, which decides the TLS settings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer<'a> {
    /// Name of the registry in the configuration.
    pub(crate) name: &'a str,
    /// Whether the server's certificate is checked.
    pub(crate) is_checked: bool,
}

/// Why no answer came.
pub(crate) enum SendProblem {
    /// The connection.
    Transport(TransportError),
    /// The body that was to be sent could not be read.
    Source(io::Error),
    /// The settings.
    Settings(Error),
}

impl SendProblem {
    /// Puts to it the names of the registry and of what was being asked or sent.
    pub(crate) fn at(self, registry: &str, subject: &str) -> Error {
        match self {
            Self::Transport(source) => Error::Transport { registry: registry.to_owned(), source },
            Self::Settings(error) => error,
            Self::Source(source) => Error::Source { subject: subject.to_owned(), source },
        }
    }
}

/// Connections to all hosts. Nothing is read or set up before the first request that needs it.
pub(crate) struct Http {
    config: Arc<ClientConfig>,
    pools: Mutex<BTreeMap<PoolKey, reqwest::Client>>,
    roots: Mutex<Option<Arc<RootCertStore>>>,
}

/// Requests with equal keys share connections.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct PoolKey {
    tls: Option<TlsKey>,
    is_proxied: bool,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct TlsKey {
    /// The registry, if it has TLS settings of its own.
    name: Option<String>,
    is_checked: bool,
}

impl Http {
    /// Takes the settings. Costs nothing.
    pub(crate) fn new(config: Arc<ClientConfig>) -> Self {
        Self { config, pools: Mutex::default(), roots: Mutex::default() }
    }

    /// Sends `request` and returns the answer, whatever its status; redirects are not followed.
    pub(crate) async fn send(&self, peer: Peer<'_>, request: Request) -> Result<Response, SendProblem> {
        let pool = self.pool(peer, &request.url).map_err(SendProblem::Settings)?;
        let Request { method, url, headers, payload } = request;
        let builder = pool.request(method.clone(), url).headers(headers);
        let timeouts = self.config.timeouts;
        match payload {
            Payload::Stream(stream, size) => {
                let watch = Watch::default();
                let builder = builder
                    .header(http::header::CONTENT_LENGTH, size)
                    .body(reqwest::Body::wrap_stream(watch.over(stream, size)));
                watch.finish(builder.send(), size, timeouts.stall, timeouts.commit).await
            }
            Payload::Bytes(bytes) => in_time(builder.body(bytes).send(), timeouts.commit).await,
            Payload::Empty if method == Method::GET || method == Method::HEAD => {
                in_time(builder.send(), timeouts.stall).await
            }
            Payload::Empty => {
                let builder = builder.header(http::header::CONTENT_LENGTH, 0);
                in_time(builder.send(), timeouts.commit).await
            }
        }
    }

    fn pool(&self, peer: Peer<'_>, url: &Url) -> Result<reqwest::Client, Error> {
        let said =
            self.config.registry(peer.name).filter(|said| !said.ca.is_empty() || !said.keypair.is_empty());
        let key = PoolKey {
            tls: (url.scheme() == "https")
                .then(|| TlsKey { name: said.map(|_| peer.name.to_owned()), is_checked: peer.is_checked }),
            is_proxied: !crate::mirror::is_loopback(url.authority()),
        };
        if let Some(pool) = lock(&self.pools).get(&key) {
            return Ok(pool.clone());
        }
        let pool = self.open_pool(&key, said)?;
        lock(&self.pools).insert(key, pool.clone());
        Ok(pool)
    }

    fn open_pool(&self, key: &PoolKey, said: Option<&RegistryConfig>) -> Result<reqwest::Client, Error> {
        let mut builder = reqwest::Client::builder()
            .user_agent(&self.config.user_agent)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .http1_only()
            .connect_timeout(self.config.timeouts.connect)
            .tcp_nodelay(true);
        if key.is_proxied {
            builder = self.with_proxies(builder)?;
        }
        let defaults = RegistryConfig::default();
        let said = said.unwrap_or(&defaults);
        builder = match &key.tls {
            // Without this, the system's certificates would be loaded for nothing.
            None => builder.tls_backend_preconfigured(tls::verifying(&RootCertStore::empty(), &defaults)?),
            Some(tls) if !tls.is_checked => builder.tls_backend_preconfigured(tls::unchecked(said)?),
            Some(_) => builder.tls_backend_preconfigured(tls::verifying(&*self.roots()?, said)?),
        };
        let name = key.tls.as_ref().and_then(|tls| tls.name.clone()).unwrap_or_default();
        builder.build().map_err(|error| Error::Config {
            registry: name,
            reason: crate::cause::printable(&error.without_url().to_string()),
        })
    }

    fn with_proxies(&self, builder: reqwest::ClientBuilder) -> Result<reqwest::ClientBuilder, Error> {
        let proxy = &self.config.proxy;
        let except = || proxy.no_proxy.as_deref().and_then(reqwest::NoProxy::from_string);
        let refused = |kind: &str| Error::Config {
            registry: "*".to_owned(),
            reason: format!("the address of the {kind} proxy is malformed"),
        };
        let mut builder = builder;
        if let Some(address) = &proxy.http {
            let proxy = reqwest::Proxy::http(address.reveal()).map_err(|_| refused("http"))?;
            builder = builder.proxy(proxy.no_proxy(except()));
        }
        if let Some(address) = &proxy.https {
            let proxy = reqwest::Proxy::https(address.reveal()).map_err(|_| refused("https"))?;
            builder = builder.proxy(proxy.no_proxy(except()));
        }
        Ok(builder)
    }

    fn roots(&self) -> Result<Arc<RootCertStore>, Error> {
        let mut roots = lock(&self.roots);
        if let Some(roots) = &*roots {
            return Ok(Arc::clone(roots));
        }
        let loaded = Arc::new(tls::system_roots(&self.config.root_certificates)?);
        *roots = Some(Arc::clone(&loaded));
        Ok(loaded)
    }
}

/// Locks a value that no panic can leave half-changed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn in_time(
    answer: impl Future<Output = Result<Response, reqwest::Error>>,
    wait_max: Duration,
) -> Result<Response, SendProblem> {
    match tokio::time::timeout(wait_max, answer).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => Err(SendProblem::Transport(transport_error(&error))),
        Err(_) => Err(SendProblem::Transport(stalled(wait_max))),
    }
}

/// Watches the bytes of an upload go by: tells a transfer that moves from one that hangs, and keeps the reason when
/// they cannot be read.
#[derive(Default)]
struct Watch {
    moved: Arc<AtomicU64>,
    problem: Arc<Mutex<Option<io::Error>>>,
}

impl Watch {
    /// Passes the stream on, as long as it keeps the promise of `size` bytes.
    fn over(&self, stream: ByteStream, size: u64) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let moved = Arc::clone(&self.moved);
        let problem = Arc::clone(&self.problem);
        futures_util::stream::try_unfold(stream, move |mut stream| {
            let (moved, problem) = (Arc::clone(&moved), Arc::clone(&problem));
            async move {
                let next = stream.next().await.transpose();
                let length = next.as_ref().ok().and_then(Option::as_ref).map_or(0, Bytes::len) as u64;
                let total = moved.fetch_add(length, Ordering::Relaxed) + length;
                let next = match next {
                    Ok(None) if total < size => Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(Some(_)) if total > size => Err(io::Error::other("there is more of it than its size")),
                    next => next,
                };
                next.map(|chunk| chunk.map(|chunk| (chunk, stream))).map_err(|error| {
                    let kind = error.kind();
                    *lock(&problem) = Some(error);
                    kind.into()
                })
            }
        })
    }

    async fn finish(
        self,
        answer: impl Future<Output = Result<Response, reqwest::Error>>,
        size: u64,
        stall: Duration,
        commit: Duration,
    ) -> Result<Response, SendProblem> {
        let mut answer = std::pin::pin!(answer);
        let mut before = 0;
        loop {
            let wait = if before < size { stall } else { commit };
            let Ok(answered) = tokio::time::timeout(wait, &mut answer).await else {
                let now = self.moved.load(Ordering::Relaxed);
                if now == before {
                    return Err(SendProblem::Transport(stalled(wait)));
                }
                before = now;
                continue;
            };
            return match (answered, lock(&self.problem).take()) {
                (Ok(response), _) => Ok(response),
                (Err(_), Some(problem)) => Err(SendProblem::Source(problem)),
                (Err(error), None) => Err(SendProblem::Transport(transport_error(&error))),
            };
        }
    }
}
