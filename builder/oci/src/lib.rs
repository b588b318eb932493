//! The vocabulary of images: digests, references, platforms, and the documents of the OCI image specification.
//!
//! - **Does**: gives every identity its own checked type, keeps foreign documents byte for byte, writes ours canonically, and
//!   says everything that must be true of an image ([`validate`]).
//! - **Does not**: open anything. It reads only the readers and bytes it is given.
//! - **Main type**: [`Document`], a value together with the bytes that are its identity.
//! - **Main function**: [`validate::validate`].
//!
//! ```
//! use kiln_oci::{Digest, Reference};
//!
//! let reference: Reference = "debian:12".parse()?;
//! assert_eq!(reference.to_string(), "docker.io/library/debian:12");
//! assert_eq!(Digest::of(b"").hex().len(), 64);
//! # Ok::<(), kiln_oci::ReferenceError>(())
//! ```

pub mod validate;

pub mod layout;

mod index;
pub use index::Index;

mod manifest;
pub use manifest::Manifest;

pub mod config;
pub use config::{HistoryEntry, ImageConfig, RunConfig};

mod document;
pub use document::{Document, DocumentError, Kind as DocumentKind};

mod descriptor;
pub use descriptor::Descriptor;

mod media_type;
pub use media_type::{LayerCompression, MediaType};

mod reference;
pub use reference::{Reference, ReferenceError};

mod platform;
pub use platform::{Platform, PlatformError};

mod verify;
pub use verify::{VerifyError, VerifyingReader};

pub mod json;

mod resumable;
pub use resumable::{HasherState, ResumableHasher};

mod digest;
pub use digest::{DiffId, Digest, DigestError, Hasher};
