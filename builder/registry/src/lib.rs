//! The client of the distribution protocol: names to manifests, blobs in and out, tokens, mirrors, retries.
//!
//! This room speaks to registries and nothing else. It never touches the store: a blob comes out as a bounded stream of
//! verified chunks and goes in from a stream that can be opened again at an offset. It reads no environment and no
//! home directory: everything arrives in a [`ClientConfig`].
//!
//! The main type is [`Client`], the main function [`Client::resolve`]:
//!
//! ```no_run
//! # async fn example() -> Result<(), kiln_registry::Error> {
//! use kiln_registry::{Client, ClientConfig};
//!
//! let client = Client::new(ClientConfig::default());
//! let name = "debian:12".parse().expect("a valid name");
//! let resolved = client.resolve(&name).await?;
//! println!("{} is {}", name, resolved.descriptor.digest);
//! # Ok(())
//! # }
//! ```

mod pull;
pub use pull::Resolved;

mod blob;
pub use blob::BlobStream;

mod push;

mod session;
pub use session::{Opener, Upload};

mod tags;

mod login;
pub use login::Login;

mod client;
pub use client::Client;

mod route;

mod auth;

mod token;

mod challenge;

mod credentials;
pub use credentials::{Credentials, KeptIn};

mod credential_helper;

mod credential_file;
pub use credential_file::Credential;

mod http;

mod answer;

mod date;

mod tls;

mod mirror;

mod config;
pub use config::{
    ByteStream, ClientConfig, CredentialFiles, Keypair, ProgressSink, ProxyConfig, RegistryConfig, Timeouts,
    WarningSink,
};

mod warning;
pub use warning::Warning;

mod secret;
pub use secret::Secret;

mod error;
pub use error::Error;

mod cause;
pub use cause::{
    ChallengeProblem, CredentialError, HelperProblem, TokenProblem, TransportError, TransportKind,
};

mod retry;
pub use retry::RetryPolicy;

mod limit;
