//! The client of the distribution protocol: names to manifests, blobs in and out, tokens, mirrors, retries; and
//! files of the web and objects of buckets, by the same rules.
//!
//! This room speaks to registries and object stores, and asks for files of the web: all sockets are here. It never touches the store: a
//! blob comes out as a bounded stream of verified chunks and goes in from a stream that can be opened again at an offset.
//! It reads no environment and no home directory: everything arrives in a [`ClientConfig`].
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

mod untag;

mod bucket_upload;

mod bucket_parts;

mod bucket_content;
pub use bucket_content::ObjectUpload;

mod session;
pub use session::{KeepAddress, Opener, Upload};

mod tags;

mod search;
pub use search::SearchHit;

mod referrers;

mod pages;

mod login;
pub use login::Login;

mod bucket;
pub use bucket::ObjectStream;

mod web;
pub use web::WebAnswer;

mod web_body;
pub use web_body::{Piece, WebBody};

mod web_request;
pub use web_request::{Authorization, WebRequest};

mod client;
pub use client::Client;

mod chunks;

mod bucket_place;
pub use bucket_place::Bucket;

mod web_head;
pub use web_head::{Known, WebHead};

mod web_url;
pub use web_url::{WebUrl, WebUrlError, percent_decoded};

mod auth;

mod token;

mod route;

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

mod aws;
pub use aws::{AwsKey, AwsSettings};

mod warning;
pub use warning::Warning;

mod web_error;
pub use web_error::WebError;

mod secret;
pub use secret::Secret;

mod error;
pub use error::Error;

mod bucket_error;
pub use bucket_error::BucketError;

mod cause;
pub use cause::{
    ChallengeProblem, CredentialError, HelperProblem, TokenProblem, TransportError, TransportKind,
};

mod retry;
pub use retry::RetryPolicy;

mod limit;
