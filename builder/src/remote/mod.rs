//! What registries hold, without the store: their tags, and images on their way from one registry to another.
//!
//! Knows a registry client and nothing of this machine's images. What is fetched is passed on or looked at, never kept.

mod copy;
pub use copy::{CopiedImage, CopyImage, Fate, copy};

mod passage;

mod images;
pub use images::{RemoteDocument, documents, manifest};

mod tags;
pub use tags::{Group, TagFilter, TagFilterError, TagList, TagOrder, by_digest, is_newer, untag};

mod error;
pub use error::RemoteError;
