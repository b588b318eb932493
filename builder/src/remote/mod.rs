//! What registries hold, without the store: their tags, and images on their way between registries, OCI layouts and archives.
//!
//! Knows a registry client, files that it is told, and nothing of this machine's images. What is fetched is passed on or looked at,
//! never kept.

mod copy;
pub use copy::{CopiedImage, CopyImage, copy};

mod to_files;

mod to_registry;
pub use to_registry::Fate;

mod passage;

mod origin;
pub use origin::{ImageFilesPlace, ImagePlace, names};

mod feed;

mod images;
pub use images::{RemoteDocument, documents, manifest};

mod tags;
pub use tags::{Group, TagFilter, TagFilterError, TagList, TagOrder, by_digest, is_newer, untag};

mod error;
pub use error::RemoteError;
