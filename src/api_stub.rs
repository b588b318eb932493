//! Stands in for the parts of the builder that are not there yet: same names, same signatures, and every call fails.
//! Deleted when they are: `use crate::api_stub` becomes `use kiln_builder`.

use std::path::Path;
use std::sync::Arc;

use kiln_builder::Workshop;
use kiln_builder::progress::Progress;
use kiln_builder::request::Destination;
use kiln_oci::{Descriptor, Digest, ImageConfig, Platform, Reference};

/// A part that is not there yet.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not connected yet")]
pub(crate) struct Missing(pub(crate) &'static str);

pub(crate) mod catalog {
    use super::*;

    pub(crate) struct ImageRow {
        pub(crate) reference: Option<Reference>,
        pub(crate) id: Digest,
        pub(crate) manifest: Digest,
        pub(crate) created: Option<String>,
        pub(crate) size_bytes: u64,
        pub(crate) platform: Platform,
    }

    pub(crate) struct ImageDetails {
        pub(crate) names: Vec<Reference>,
        pub(crate) descriptor: Descriptor,
        pub(crate) id: Digest,
        pub(crate) config: ImageConfig,
        pub(crate) size_bytes: u64,
    }

    pub(crate) struct HistoryRow {
        pub(crate) id: Option<Digest>,
        pub(crate) created: Option<String>,
        pub(crate) created_by: String,
        pub(crate) size_bytes: u64,
        pub(crate) comment: String,
    }

    pub(crate) enum Removed {
        Untagged(Reference),
        Deleted(Digest),
    }

    pub(crate) enum Loaded {
        Name(Reference),
        Id(Digest),
    }

    #[derive(Clone, Copy)]
    pub(crate) enum ArchiveKind {
        Docker,
        Oci,
    }

    /// An archive to read.
    pub(crate) enum ArchiveSource<'a> {
        File(&'a Path),
        Stdin,
    }

    pub(crate) struct ImportRequest<'a> {
        pub(crate) source: ArchiveSource<'a>,
        pub(crate) name: Option<Reference>,
        pub(crate) changes: Vec<String>,
        pub(crate) message: Option<String>,
        pub(crate) platform: Option<Platform>,
        pub(crate) epoch: Option<i64>,
    }

    pub(crate) fn list(_workshop: &Arc<Workshop>) -> Result<Vec<ImageRow>, Missing> {
        Err(Missing("catalog::list"))
    }

    pub(crate) fn inspect(
        _workshop: &Arc<Workshop>,
        _image: &str,
        _platform: Option<&Platform>,
    ) -> Result<ImageDetails, Missing> {
        Err(Missing("catalog::inspect"))
    }

    pub(crate) fn history(
        _workshop: &Arc<Workshop>,
        _image: &str,
        _platform: Option<&Platform>,
    ) -> Result<Vec<HistoryRow>, Missing> {
        Err(Missing("catalog::history"))
    }

    pub(crate) fn tag(_workshop: &Arc<Workshop>, _image: &str, _name: &Reference) -> Result<(), Missing> {
        Err(Missing("catalog::tag"))
    }

    pub(crate) fn remove(
        _workshop: &Arc<Workshop>,
        _image: &str,
        _force: bool,
    ) -> Result<Vec<Removed>, Missing> {
        Err(Missing("catalog::remove"))
    }

    pub(crate) async fn save(
        _workshop: &Arc<Workshop>,
        _images: &[String],
        _kind: ArchiveKind,
        _destination: &Destination,
    ) -> Result<(), Missing> {
        Err(Missing("catalog::save"))
    }

    pub(crate) async fn load(
        _workshop: &Arc<Workshop>,
        _source: ArchiveSource<'_>,
        _progress: &Arc<dyn Progress>,
    ) -> Result<Vec<Loaded>, Missing> {
        Err(Missing("catalog::load"))
    }

    pub(crate) async fn import(
        _workshop: &Arc<Workshop>,
        _request: ImportRequest<'_>,
    ) -> Result<Digest, Missing> {
        Err(Missing("catalog::import"))
    }
}

pub(crate) mod transfer {
    use super::*;

    pub(crate) struct Pulled {
        pub(crate) digest: Digest,
        pub(crate) is_new: bool,
    }

    pub(crate) struct Pushed {
        pub(crate) digest: Digest,
        pub(crate) size_bytes: u64,
    }

    pub(crate) async fn pull(
        _workshop: &Arc<Workshop>,
        _name: &Reference,
        _platform: Option<&Platform>,
        _progress: &Arc<dyn Progress>,
    ) -> Result<Pulled, Missing> {
        Err(Missing("transfer::pull"))
    }

    pub(crate) async fn push(
        _workshop: &Arc<Workshop>,
        _name: &Reference,
        _progress: &Arc<dyn Progress>,
    ) -> Result<Pushed, Missing> {
        Err(Missing("transfer::push"))
    }
}
