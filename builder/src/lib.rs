//! From Dockerfile to finished image.
//!
//! Text → tree → plan → layers → image: each arrow is a function on plain values.
//!
//! - **Does**: plan a build, find what is cached, run what is not, assemble and export the result, manage the store's images.
//! - **Does not**: print, read the environment, contain `unsafe`, mount.
//! - **Main type**: [`request::BuildRequest`].
//! - **Main function**: [`build::build`].
//!
//! The modules stand in reading order: each uses only those below it.
//!
//! ```
//! use std::sync::Arc;
//!
//! use kiln_builder::build::build;
//! use kiln_builder::interrupt::Interrupt;
//! use kiln_builder::progress::{Progress, Silent};
//! use kiln_builder::request::BuildRequest;
//! use kiln_builder::{Workshop, WorkshopOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let space = tempfile::tempdir()?;
//! std::fs::write(space.path().join("Dockerfile"), "FROM scratch\nCOPY <<EOF /hello\nhello\nEOF\n")?;
//! let options = WorkshopOptions {
//!     store: space.path().join("store"),
//!     registry: Default::default(),
//!     identity: Err("this process runs no steps".to_owned()),
//!     resolv_conf: None,
//!     git: Default::default(),
//!     roots: Default::default(),
//!     jobs: 1,
//!     started_ns: 0,
//! };
//! let workshop = Arc::new(Workshop::open(options)?);
//! let request = BuildRequest { tags: vec!["hello:1".parse()?], ..BuildRequest::new(space.path()) };
//! let progress: Arc<dyn Progress> = Arc::new(Silent);
//! let interrupt = Interrupt::new()?;
//! let runtime = tokio::runtime::Runtime::new()?;
//! let result = runtime.block_on(build(&workshop, &request, &progress, &interrupt))?;
//! assert_eq!(workshop.store.names().list()?[0].descriptor.digest, result.descriptor.digest);
//! # Ok(())
//! # }
//! ```

pub mod check;

pub mod checkup;

pub mod build;

pub mod upkeep;

pub mod containers;

pub mod catalog;

pub mod remote;

pub mod container_record;

pub mod export;

pub mod image;

pub mod solve;

pub mod transform;

pub mod mounts;

pub mod source;

pub mod lower;

pub mod cache;

pub mod recording;

pub mod layers;

pub mod upper;

pub mod root_kind;

pub mod blobs;

pub mod far;

pub mod workshop;
pub use workshop::{AGENT_VARIABLE, GitSurroundings, RootKind, Roots, Workshop, WorkshopOptions};

pub mod clock;

pub mod settling;

pub mod aside;

pub mod interrupt;

pub mod journal;

pub mod progress;

pub mod explain;
pub mod repeated;

pub mod difference;

pub mod request;

pub mod doubts;

pub mod cache_place;

pub mod plan;

pub mod git_reference;

pub mod ignore;

pub mod rootfs;

pub mod last_build;

pub mod secrets;

pub mod agents;

mod causes;

mod boxed;

pub mod lanes;
