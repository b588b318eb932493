//! Why a build failed, with the place in the Dockerfile.

use std::path::PathBuf;

use kiln_store::StoreError;

use crate::export::ExportError;
use crate::lower::{Diagnostic, Dockerfile, ImageRequest, Source};
use crate::plan::{Origin, Plan};
use crate::solve::SolveError;
use crate::source::context::ContextError;
use crate::source::http::HttpError;
use crate::source::image::ImageError;
use crate::transform::StepError;

/// Why a build failed.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The Dockerfile is wrong.
    #[error("the Dockerfile has errors")]
    Dockerfile {
        /// Its text.
        source_text: Box<Source>,
        /// What is wrong, and warnings.
        diagnostics: Vec<Diagnostic>,
    },
    /// A step failed.
    #[error("{error}")]
    Step {
        /// Where the step comes from.
        origin: Box<Origin>,
        /// The Dockerfile's text.
        source_text: Box<Source>,
        /// What failed.
        error: Box<StepError>,
    },
    /// A base image could not be had.
    #[error("{error}")]
    Image {
        /// First and last byte of the instruction that names it, where that is known.
        span: Option<(usize, usize)>,
        /// The Dockerfile's text.
        source_text: Box<Source>,
        /// What failed.
        error: Box<ImageError>,
    },
    /// The context cannot be opened.
    #[error("cannot open the build context `{}`", path.display())]
    Context {
        /// Where it should be.
        path: PathBuf,
        /// What the file system says.
        source: std::io::Error,
    },
    /// The context cannot be read.
    #[error(transparent)]
    ReadContext(#[from] ContextError),
    /// A step needs a context, and there is none.
    #[error("the build has no context to copy from")]
    NoContext,
    /// There is no Dockerfile.
    #[error("cannot read the Dockerfile `{}`", path.display())]
    NoDockerfile {
        /// Where it should be.
        path: PathBuf,
        /// What the file system says.
        source: std::io::Error,
    },
    /// A file could not be fetched.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The result could not be handed on.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Somebody stopped it.
    #[error("interrupted")]
    Interrupted,
}

impl BuildError {
    pub(super) fn dockerfile(source: Source, diagnostics: Vec<Diagnostic>) -> Self {
        Self::Dockerfile { source_text: Box::new(source), diagnostics }
    }

    pub(super) fn solve(error: SolveError, plan: &Plan, source: &Source) -> Self {
        match error {
            SolveError::Interrupted => Self::Interrupted,
            SolveError::Step { step, error } => Self::Step {
                origin: Box::new(plan.step(step).origin.clone()),
                source_text: Box::new(source.clone()),
                error,
            },
        }
    }

    pub(super) fn image(
        source: &Source,
        file: &Dockerfile,
        wanted: &ImageRequest,
        error: ImageError,
    ) -> Self {
        // The first FROM whose text names the image; a name made of variables has no such place.
        let name = wanted.name();
        let written =
            |text: &str| text.parse::<kiln_oci::Reference>().map(|parsed| parsed.or_latest().familiar());
        let from = file
            .stages
            .iter()
            .map(|stage| &stage.from)
            .find(|from| written(&from.operation.base.text).is_ok_and(|text| text == name));
        let span = from.map(|from| (from.operation.base.span.start, from.operation.base.span.end));
        Self::Image { span, source_text: Box::new(source.clone()), error: Box::new(error) }
    }
}
