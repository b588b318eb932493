//! Why a build failed, with the place in the Dockerfile.

use std::path::PathBuf;

use kiln_oci::validate::ValidationError;
use kiln_store::StoreError;

use super::Outlook;
use crate::agents::AgentError;
use crate::cache::CacheExportError;
use crate::explain::place;
use crate::export::ExportError;
use crate::lower::{Diagnostic, Dockerfile, ImageRequest, Source, named_at};
use crate::plan::{Origin, Plan, StepId};
use crate::recording::Lack;
use crate::solve::{Fate, SolveError};
use crate::source::archive::ContextArchiveError;
use crate::source::context::ContextError;
use crate::source::dockerfile::NoDockerfile;
use crate::source::git::GitError;
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
        /// The stage whose name is nearest, where files are copied from what might have been meant to be one.
        meant: Option<String>,
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
    /// The context is an archive that cannot be unpacked.
    #[error(transparent)]
    ContextArchive(#[from] ContextArchiveError),
    /// The context turned out to be a Dockerfile, and there is another one.
    #[error("`{url}` is no archive, so it is the Dockerfile, but `-f` names another one")]
    TwoDockerfiles {
        /// The address of the context.
        url: String,
    },
    /// The context cannot be read.
    #[error(transparent)]
    ReadContext(#[from] ContextError),
    /// A step needs a context, and there is none.
    #[error("the build has no context to copy from")]
    NoContext,
    /// There is no Dockerfile.
    #[error(transparent)]
    NoDockerfile(#[from] NoDockerfile),
    /// A file could not be fetched.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The context is a git repository, and could not be had.
    #[error(transparent)]
    Git(#[from] GitError),
    /// An agent of the secure shell cannot be had.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The result could not be handed on.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The result is there, but a cache that was to be filled is not.
    #[error(transparent)]
    CacheExport(#[from] Box<CacheExportError>),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The result has what cannot be written, and could not be taken back half written.
    #[error(transparent)]
    Lack(#[from] Lack),
    /// What was written breaks a rule of the specification: a mistake of this program.
    #[error("the image is not as the specification has it")]
    Invalid(#[from] ValidationError),
    /// A step would have to run, and nobody wants that.
    #[error("{}", would_run(outlook))]
    WouldRun {
        /// Which, and why.
        outlook: Box<Outlook>,
    },
    /// A stage whose steps are to be done a second time is none that is built.
    #[error("no step of a stage `{stage}` is built, so none can be done again")]
    NothingToRepeat {
        /// As it was written.
        stage: String,
    },
    /// Somebody stopped it.
    #[error("interrupted")]
    Interrupted,
}

fn would_run(outlook: &Outlook) -> String {
    let ahead = &outlook.forecast.steps;
    let certain = ahead.iter().filter(|ahead| ahead.fate == Fate::Must).count();
    let count = match (certain, ahead.len()) {
        (1, 1) => "1 step is not in the cache".to_owned(),
        (certain, all) if certain == all => format!("{all} steps are not in the cache"),
        (certain, all) => format!("{certain} to {all} steps are not in the cache"),
    };
    match ahead.first().map(|first| (&outlook.plan.step(first.step).origin, &first.reason)) {
        Some((origin, reason)) => {
            format!("{count}; the first is {} `{}`: {reason}", place(origin), origin.text)
        }
        None => count,
    }
}

impl BuildError {
    pub(super) fn dockerfile(source: Source, diagnostics: Vec<Diagnostic>) -> Self {
        Self::Dockerfile { source_text: Box::new(source), diagnostics }
    }

    pub(super) fn solve(error: SolveError, plan: &Plan, source: &Source) -> Self {
        match error {
            SolveError::Interrupted => Self::Interrupted,
            SolveError::Step { step, error } => Self::step(step, *error, plan, source),
        }
    }

    pub(super) fn step(step: StepId, error: StepError, plan: &Plan, source: &Source) -> Self {
        Self::Step {
            origin: Box::new(plan.step(step).origin.clone()),
            source_text: Box::new(source.clone()),
            error: Box::new(error),
        }
    }

    pub(super) fn image(
        source: &Source,
        file: &Dockerfile,
        wanted: &ImageRequest,
        error: ImageError,
    ) -> Self {
        let (span, meant) = named_at(file, &wanted.name());
        Self::Image { span, source_text: Box::new(source.clone()), meant, error: Box::new(error) }
    }
}
