//! What is wrong and what is doubtful about a build, without running it: every error and finding of the file at once.
//!
//! ```text
//! Dockerfile ─► tree ─► plan of all stages ─► errors ──┐
//!                │          ▲                          ├─► Checked
//!                │          └─ images (images.rs)      │
//!                └───────────► lint ──────► findings ──┘
//! ```
//!
//! Images are looked up in the store. Registries are asked only for those that an error or a finding depends on, and what
//! they say is not kept, so a check changes no later build. An image that cannot be had never fails a check: something
//! stands in for it, and whatever may be wrong because of that says so.

mod images;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use crate::build::BuildError;
use crate::build::inputs::Inputs;
use crate::lanes::blocking;
use crate::lower::{
    self, Config, Diagnostic, Dockerfile, Extent, Finding, ImageRequest, LintInput, Linted, Matcher,
    PlanOptions, Planner, Severity, Source, depends_on_variables,
};
use crate::progress::Progress;
use crate::request::{BuildRequest, ContextPlace};
use crate::source::{context, dockerfile};
use crate::workshop::Workshop;
use images::Images;

/// Most rounds in which the planner asks for images: each may bring triggers that name more of them.
const ROUNDS_MAX: usize = 20;

/// Rules that look at values. In a tree with errors they would report what only follows from the errors.
const EVALUATING: [&str; 3] = ["UndefinedVar", "UndefinedArgInFrom", "InvalidDefaultArgInFrom"];

/// What is asked beside the build itself.
#[derive(Debug, Clone, Default)]
pub struct CheckOptions {
    /// What is switched on and off, in addition to what the file or the build argument says.
    pub changes: Config,
    /// Where images are looked up.
    pub sources: ImageSources,
}

/// Where images are looked up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ImageSources {
    /// In the store, and in layouts on this machine.
    #[default]
    Here,
    /// There, and at registries.
    Registries,
}

/// What is wrong and what is doubtful about a build.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The Dockerfile.
    pub source: Source,
    /// Errors, and warnings that no rule gives; those without a place first, then in the order of the file.
    pub problems: Vec<Diagnostic>,
    /// What rules found, in the order of the file.
    pub findings: Vec<Finding>,
    /// What is not known about base images, and why.
    pub notes: Vec<String>,
    /// The rules whose findings are to fail the build; empty unless that is asked for.
    pub violated: Vec<&'static str>,
}

/// Checks a build: all stages, unless one is named. Without a workshop there are no images of a store and no archives.
///
/// # Errors
/// [`BuildError`] when there is nothing to check: no Dockerfile, no context, an ignore file that cannot be read.
pub async fn check(
    workshop: Option<&Arc<Workshop>>,
    request: &BuildRequest,
    options: &CheckOptions,
    progress: &Arc<dyn Progress>,
) -> Result<Checked, BuildError> {
    let (source, ignore) = read(workshop, request, progress).await?;
    let parsed = lower::parse(&source, &request.build_args);
    let extent = if request.target.is_some() { Extent::Needed } else { Extent::Whole };
    let subject = Subject {
        source: &source,
        file: &parsed.file,
        options: PlanOptions::of(request, request.timestamp, extent),
        changes: &options.changes,
        ignore: &ignore,
    };
    let outcome = match parsed.has_errors() {
        true => subject.without_plan(lower::further_errors(&source, &parsed, subject.options.clone())),
        false => subject.planned(Images::new(workshop, options.sources, progress)).await,
    };
    let Outcome { errors, linted, notes } = outcome;
    let mut problems = parsed.diagnostics;
    problems.extend(errors);
    problems.extend(linted.remarks);
    problems.sort_by_key(|problem| problem.primary().map(|span| span.start));
    problems.dedup();
    let rules: BTreeSet<&str> = linted.findings.iter().map(|finding| finding.rule.name).collect();
    let violated = rules.into_iter().filter(|_| linted.fails_build).collect();
    Ok(Checked { source, problems, findings: linted.findings, notes, violated })
}

/// Returns the Dockerfile of a build.
///
/// # Errors
/// [`BuildError`] when there is none, or no context.
pub async fn dockerfile_of(
    workshop: Option<&Arc<Workshop>>,
    request: &BuildRequest,
    progress: &Arc<dyn Progress>,
) -> Result<Source, BuildError> {
    read(workshop, request, progress).await.map(|(source, _)| source)
}

/// Reads the Dockerfile and the ignore file.
async fn read(
    workshop: Option<&Arc<Workshop>>,
    request: &BuildRequest,
    progress: &Arc<dyn Progress>,
) -> Result<(Source, Matcher), BuildError> {
    if let (Some(workshop), true) = (workshop, request.needs_store()) {
        let inputs = Inputs::open(workshop, request, progress).await?;
        let ignore = inputs.ignored()?;
        return Ok((inputs.source, ignore));
    }
    let directory = match &request.context {
        ContextPlace::Directory(directory) => Some(directory.clone()),
        ContextPlace::Git(_) => return Err(BuildError::NoContext),
        ContextPlace::Archive(_) | ContextPlace::Web(_) | ContextPlace::Empty => None,
    };
    let place = request.dockerfile.clone();
    blocking(move || {
        let context = directory.as_deref();
        let (source, path) = dockerfile::read(&place, context.unwrap_or(Path::new("")))?;
        let own = path.as_deref().map(context::ignore_file_of);
        let (ignore, _) = context::ignored(own.as_deref(), context)?;
        Ok((source, ignore))
    })
    .await
}

/// A file that is checked, and the build that it is for.
struct Subject<'a> {
    source: &'a Source,
    file: &'a Dockerfile,
    options: PlanOptions,
    changes: &'a Config,
    ignore: &'a Matcher,
}

/// What came of planning and linting.
struct Outcome {
    errors: Vec<Diagnostic>,
    linted: Linted,
    notes: Vec<String>,
}

impl Subject<'_> {
    /// Lints a tree with errors; it is planned only as far as what is said then does not follow from them.
    fn without_plan(&self, errors: Vec<Diagnostic>) -> Outcome {
        let mut linted = lower::lint(&self.lint_input(&BTreeMap::new(), &BTreeSet::new()));
        linted.findings.retain(|finding| !EVALUATING.contains(&finding.rule.name));
        Outcome { errors, linted, notes: Vec::new() }
    }

    /// Plans and lints, again when a registry told more about an image that something depends on.
    async fn planned(&self, mut images: Images<'_>) -> Outcome {
        loop {
            let mut planner = Planner::survey(self.source, self.file, self.options.clone());
            for _ in 0..ROUNDS_MAX {
                let mut found = Vec::new();
                for request in planner.wants() {
                    found.push(images.here(request).await);
                }
                if found.is_empty() {
                    break;
                }
                planner.learn(found);
            }
            let configs = images.configs(&planner);
            let linted = lower::lint(&self.lint_input(&configs, planner.replaced()));
            let wanted = self.wanted(&planner, &linted, &images);
            let unasked = wanted.iter().map(|(_, request)| (*request).clone()).collect();
            // Each round asks for images that were not asked for before, so there is a last one.
            if !images.ask(unasked).await {
                return self.outcome(&planner, linted, &images);
            }
        }
    }

    fn lint_input<'i>(
        &'i self,
        images: &'i BTreeMap<String, kiln_oci::ImageConfig>,
        replaced: &'i BTreeSet<String>,
    ) -> LintInput<'i> {
        let Self { source, file, options, changes, ignore } = self;
        LintInput { source, file, options, changes, ignore: Some(ignore), images, replaced }
    }

    /// Returns the unknown base images that a finding or an error depends on, by the names that FROM has.
    fn wanted<'p>(
        &self,
        planner: &'p Planner<'_>,
        linted: &Linted,
        images: &Images<'_>,
    ) -> Vec<(&'p str, &'p ImageRequest)> {
        let is_error_doubtful = planner.errors().iter().any(|error| self.is_doubtful(error));
        let is_wanted = |name: &str| is_error_doubtful || linted.wants.contains(name);
        images.unknown_bases(planner).filter(|(name, _)| is_wanted(name)).collect()
    }

    /// Whether an error might go away if more were known of a base image: its text depends on variables.
    fn is_doubtful(&self, error: &Diagnostic) -> bool {
        error.primary().is_some_and(|span| depends_on_variables(self.source.slice(span), self.file.escape))
    }

    fn outcome(&self, planner: &Planner<'_>, mut linted: Linted, images: &Images<'_>) -> Outcome {
        let wanted = self.wanted(planner, &linted, images);
        let mut errors = planner.errors().to_vec();
        errors.extend(planner.warnings().iter().cloned());
        if let [(name, _), ..] = wanted.as_slice() {
            for error in errors.iter_mut().filter(|error| error.is_error() && self.is_doubtful(error)) {
                error.severity = Severity::Warning;
                add_help(
                    error,
                    &format!("the base image `{name}` is not known here, and may set what is missing"),
                );
            }
        }
        for finding in &mut linted.findings {
            if let Some(name) = &finding.unknown_image {
                let text = format!("the base image `{name}` is not known here, and may make a difference");
                add_help(&mut finding.diagnostic, &text);
            }
        }
        let note = |(name, request): &(&str, &ImageRequest)| {
            format!("base image `{name}` is not known: {}", images.reason(request))
        };
        Outcome { errors, linted, notes: wanted.iter().map(note).collect() }
    }
}

fn add_help(diagnostic: &mut Diagnostic, text: &str) {
    let help = diagnostic.help.take().map_or_else(|| text.to_owned(), |help| format!("{help}; {text}"));
    diagnostic.help = Some(help);
}

#[cfg(test)]
mod tests;
