//! Images on their way out, whoever has their blobs: the store, a registry, files.

use std::io::Read;

use kiln_oci::{Descriptor, Reference};

use super::ExportError;
use super::whole::Whole;

/// A blob that is read, and checked on the way.
pub(crate) type BlobReader = Box<dyn Read + Send>;

/// Opens a blob of what leaves.
pub(crate) type OpenBlob<'a> = dyn Fn(&Descriptor) -> Result<BlobReader, ExportError> + Sync + 'a;

/// An image that leaves, and what it is called outside.
#[derive(Debug, Clone)]
pub(crate) struct Leaving {
    /// What it consists of.
    pub(crate) whole: Whole,
    /// What it is called. May be nothing.
    pub(crate) names: Vec<ImageName>,
}

/// What an image is called in an archive or layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ImageName {
    /// By a full name.
    Full(Reference),
    /// By a tag, which names nothing elsewhere.
    Tag(String),
}

impl ImageName {
    /// Returns its tag.
    pub(crate) fn tag(&self) -> Option<&str> {
        match self {
            Self::Full(name) => name.tag(),
            Self::Tag(tag) => Some(tag),
        }
    }
}
