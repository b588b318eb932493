//! Stands in for the parts of the builder that are not there yet: same names, same signatures, and every call fails.
//! Deleted when they are: `use crate::api_stub` becomes `use kiln_builder`.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_builder::plan::Origin;
use kiln_builder::progress::Progress;
use kiln_builder::request::{BuildRequest, Destination};
use kiln_frontend::diagnostic::Diagnostic;
use kiln_frontend::source::Source;
use kiln_oci::{Descriptor, Digest, ImageConfig, Platform, Reference};
use kiln_registry::ClientConfig;
use kiln_sandbox::{CancelToken, ExecError, ExitStatus, Identity};

/// A part that is not there yet.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not connected yet")]
pub(crate) struct Missing(pub(crate) &'static str);

pub(crate) struct WorkshopOptions {
    pub(crate) store: PathBuf,
    pub(crate) registry: ClientConfig,
    pub(crate) identity: Result<Identity, String>,
    pub(crate) resolv_conf: Option<Vec<u8>>,
    pub(crate) jobs: usize,
    pub(crate) started_ns: i128,
}

pub(crate) struct Workshop {
    _options: WorkshopOptions,
}

impl Workshop {
    pub(crate) fn open(options: WorkshopOptions) -> Result<Self, Missing> {
        let WorkshopOptions { store, registry, identity, resolv_conf, jobs, started_ns } = &options;
        drop(format!("{store:?}{registry:?}{identity:?}{resolv_conf:?}{jobs}{started_ns}"));
        Ok(Self { _options: options })
    }
}

impl fmt::Debug for Workshop {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Workshop")
    }
}

pub(crate) mod source {
    use super::*;

    /// An archive in the store's scratch, removed with this value.
    pub(crate) struct Spooled {
        pub(crate) path: PathBuf,
    }

    pub(crate) fn spool(_workshop: &Arc<Workshop>, _reader: impl Read) -> Result<Spooled, Missing> {
        Err(Missing("source::spool"))
    }
}

/// A switch that stops a build. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt(CancelToken);

impl Interrupt {
    pub(crate) fn new() -> std::io::Result<Self> {
        CancelToken::new().map(Self)
    }

    pub(crate) fn raise(&self) {
        self.0.cancel();
    }

    pub(crate) fn is_raised(&self) -> bool {
        self.0.is_cancelled()
    }
}

pub(crate) mod build {
    use super::*;

    pub(crate) struct BuiltImage {
        pub(crate) platform: Platform,
        pub(crate) manifest: Descriptor,
        pub(crate) config: Digest,
    }

    pub(crate) struct BuildResult {
        pub(crate) images: Vec<BuiltImage>,
        pub(crate) descriptor: Descriptor,
        pub(crate) names: Vec<Reference>,
        pub(crate) source: Source,
        pub(crate) warnings: Vec<Diagnostic>,
    }

    #[derive(Debug, thiserror::Error)]
    pub(crate) enum BuildError {
        #[error("the Dockerfile has errors")]
        Dockerfile { source_text: Box<Source>, diagnostics: Vec<Diagnostic> },
        #[error("{error}")]
        Step { origin: Box<Origin>, source_text: Box<Source>, error: Box<StepError> },
        #[error("{error}")]
        Image { span: Option<(usize, usize)>, source_text: Box<Source>, error: Box<Missing> },
        #[error("interrupted")]
        Interrupted,
        #[error(transparent)]
        Store(#[from] Missing),
    }

    #[derive(Debug, thiserror::Error)]
    pub(crate) enum StepError {
        #[error(transparent)]
        Run(#[from] RunFailure),
        #[error(transparent)]
        Exec(#[from] ExecError),
        #[error("this machine cannot run the step: {reason}")]
        Impossible { reason: String },
        #[error(transparent)]
        Store(#[from] Missing),
    }

    #[derive(Debug, thiserror::Error)]
    #[error("RUN failed: {status:?}")]
    pub(crate) struct RunFailure {
        pub(crate) status: ExitStatus,
        pub(crate) argv: Vec<String>,
        pub(crate) log: PathBuf,
    }

    pub(crate) async fn build(
        _workshop: &Arc<Workshop>,
        _request: &BuildRequest,
        _progress: &Arc<dyn Progress>,
        _interrupt: &Interrupt,
    ) -> Result<BuildResult, BuildError> {
        Err(BuildError::Store(Missing("build::build")))
    }
}

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
