//! Why a build failed, with the place in the Dockerfile.

use std::path::PathBuf;

use kiln_frontend::ast::{Dockerfile, Instruction, Operation, Stage};
use kiln_frontend::diagnostic::Diagnostic;
use kiln_frontend::source::{Source, Span};
use kiln_frontend::suggest;
use kiln_store::StoreError;

use crate::export::ExportError;
use crate::lower::ImageRequest;
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
        let place = place_of(file, &wanted.name());
        let names = file.stages.iter().filter_map(Stage::name);
        let meant = place.and_then(|(_, text)| suggest::nearest_in_case(text, names));
        Self::Image {
            span: place.map(|(span, _)| (span.start, span.end)),
            source_text: Box::new(source.clone()),
            meant,
            error: Box::new(error),
        }
    }
}

/// Returns the first place that names the image, with the name as written there. A name made of variables has none.
fn place_of<'a>(file: &'a Dockerfile, image: &str) -> Option<(Span, &'a str)> {
    let is_image = |text: &str| {
        text.parse::<kiln_oci::Reference>().is_ok_and(|name| name.or_latest().familiar() == image)
    };
    let bases = file.stages.iter().map(|stage| &stage.from.operation.base);
    let bases = bases.map(|base| (base.span, base.text.as_str()));
    let sources = file.stages.iter().flat_map(|stage| &stage.instructions).flat_map(read_from);
    bases.chain(sources).find(|(_, text)| is_image(text))
}

/// Returns what an instruction reads files from, besides the context.
fn read_from(instruction: &Instruction) -> Vec<(Span, &str)> {
    match &instruction.operation {
        Operation::Copy(copy) => copy.from.iter().map(|from| (from.span, from.text.as_str())).collect(),
        Operation::Run(run) => {
            let mounts = run.mounts.iter().map(|mount| (mount.value.span, mount.from.as_deref()));
            mounts.filter_map(|(span, from)| Some((span, from?))).collect()
        }
        _ => Vec::new(),
    }
}
