//! Everything a client needs to know, as plain data. Nothing here is read from the environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use serde::Deserialize;

use crate::aws::AwsSettings;
use crate::retry::RetryPolicy;
use crate::secret::Secret;
use crate::warning::Warning;

/// The bytes of a blob on their way to a registry.
pub type ByteStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// Is told about a transfer as it goes: bytes done, bytes in all. What was already there counts as done.
pub type ProgressSink = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// Is told what went wrong without failing the call: a mirror that did not answer, a request that is tried again.
pub type WarningSink = Arc<dyn Fn(&Warning) + Send + Sync>;

/// What a [`Client`](crate::Client) is made from.
#[derive(Clone)]
pub struct ClientConfig {
    /// Registries that need something said about them, by name as in references: `docker.io`, `127.0.0.1:5000`.
    pub registries: BTreeMap<String, RegistryConfig>,
    /// Where credentials are.
    pub credentials: CredentialFiles,
    /// Who asks object stores.
    pub aws: AwsSettings,
    /// Most blobs that are transferred from and to one registry at a time.
    pub max_connections_per_registry: usize,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// Files of trusted root certificates (PEM). Empty: the first of the places where distributions keep them.
    pub root_certificates: Vec<PathBuf>,
    /// Proxies. Loopback addresses never go through one.
    pub proxy: ProxyConfig,
    /// How often and after which time a request is tried again.
    pub retry: RetryPolicy,
    /// Seeds the jitter of waits, so that processes that failed together do not return together. Any number that
    /// differs between processes will do.
    pub jitter_seed: u64,
    /// How long is waited for what.
    pub timeouts: Timeouts,
    /// Is told about everything that went wrong and did not fail the call.
    pub on_warning: Option<WarningSink>,
}

/// Where credentials are looked for, and where the programs are that keep them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CredentialFiles {
    /// Docker's `config.json`. It is also where a login is kept.
    pub docker_config: Option<PathBuf>,
    /// Files in podman's format (`auth.json`), asked before Docker's, in order.
    pub auth_files: Vec<PathBuf>,
    /// Where `docker-credential-…` programs are looked for: the form of `PATH`.
    pub helper_path: OsString,
}

/// What is special about one registry; the shape of a `[registry."name"]` table of `buildkitd.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegistryConfig {
    /// Hosts that are asked first, in order, each with an optional path prefix: `mirror.example:5000/hub`.
    pub mirrors: Vec<String>,
    /// Whether plain HTTP is spoken. Not said: HTTPS, except that loopback addresses are tried with both.
    pub http: Option<bool>,
    /// Whether the server's certificate goes unchecked, and plain HTTP is used where HTTPS does not answer.
    pub insecure: bool,
    /// Files of certificate authorities (PEM) that are trusted for this registry besides the system's.
    pub ca: Vec<PathBuf>,
    /// Client certificates. Only one can be given.
    pub keypair: Vec<Keypair>,
}

/// A client certificate and its key, both PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keypair {
    /// The private key.
    pub key: PathBuf,
    /// The certificate chain.
    pub cert: PathBuf,
}

/// Proxies, as `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` name them. Secret, since they may hold a password.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxyConfig {
    /// For plain HTTP.
    pub http: Option<Secret>,
    /// For HTTPS.
    pub https: Option<Secret>,
    /// Hosts that are reached without a proxy, separated by commas.
    pub no_proxy: Option<String>,
}

/// How long is waited for what. There is no limit on a transfer that moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection, name resolution and TLS handshake included.
    pub connect: Duration,
    /// For the next bytes of an answer, or for the next bytes of an upload to be taken.
    pub stall: Duration,
    /// For the answer after the last byte of an upload: the registry may have to hash and copy the blob first.
    pub commit: Duration,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            registries: BTreeMap::new(),
            credentials: CredentialFiles::default(),
            aws: AwsSettings::default(),
            max_connections_per_registry: 5,
            user_agent: concat!("kiln/", env!("CARGO_PKG_VERSION")).to_owned(),
            root_certificates: Vec::new(),
            proxy: ProxyConfig::default(),
            retry: RetryPolicy::default(),
            jitter_seed: 0,
            timeouts: Timeouts::default(),
            on_warning: None,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            stall: Duration::from_secs(60),
            commit: Duration::from_secs(300),
        }
    }
}

impl ClientConfig {
    /// Returns what is said about `registry`, if anything is.
    pub(crate) fn registry(&self, registry: &str) -> Option<&RegistryConfig> {
        self.registries.get(registry)
    }

    /// Passes `warning` on to whoever listens.
    pub(crate) fn warn(&self, warning: &Warning) {
        if let Some(sink) = &self.on_warning {
            sink(warning);
        }
    }
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ClientConfig")
            .field("registries", &self.registries)
            .field("credentials", &self.credentials)
            .field("max_connections_per_registry", &self.max_connections_per_registry)
            .finish_non_exhaustive()
    }
}
