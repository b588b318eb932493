//! The planner: asks for images until it knows enough, then gives the plan.

use std::collections::{BTreeMap, BTreeSet};

use kiln_frontend::Parsed;
use kiln_frontend::ast::Dockerfile;
use kiln_frontend::diagnostic::Diagnostic;
use kiln_frontend::source::Source;
use kiln_oci::Platform;

use super::attempt::Attempt;
use super::stages::{ImageRequest, ResolvedImage};
use crate::git_reference::GitReference;
use crate::plan::{Network, Plan, Ulimit};
use crate::request::{Arguments, BuildRequest, Compat, NamedContext, Timestamp};

/// Name of the main context in a plan.
pub const MAIN_CONTEXT: &str = "context";

/// What of a request matters to the planner.
#[derive(Debug, Clone)]
pub struct PlanOptions {
    /// Stage to build; the last one when absent.
    pub target: Option<String>,
    /// Which stages are read.
    pub extent: Extent,
    /// Platforms asked for; empty means `build_platform`, and what a base image has instead.
    pub platforms: Vec<Platform>,
    /// The platform of this machine.
    pub build_platform: Platform,
    /// Values for ARGs.
    pub build_args: BTreeMap<String, String>,
    /// Labels of the result.
    pub labels: BTreeMap<String, String>,
    /// The git repository that is the main context, if one is.
    pub git_context: Option<GitReference>,
    /// Contexts by name.
    pub named_contexts: BTreeMap<String, NamedContext>,
    /// Network of RUN steps that do not say.
    pub network: Network,
    /// Lines for `/etc/hosts`: name and address.
    pub extra_hosts: Vec<(String, String)>,
    /// Limits of RUN steps.
    pub ulimits: Vec<Ulimit>,
    /// Size of `/dev/shm` in RUN steps.
    pub shm_size_bytes: Option<u64>,
    /// `SOURCE_DATE_EPOCH` of RUN steps; `None` leaves it out.
    pub epoch: Option<i64>,
    /// Whose texts the history has.
    pub compat: Compat,
    /// Which arguments of the build a RUN sees.
    pub arguments: Arguments,
}

impl PlanOptions {
    /// Returns what of a request matters to the planner.
    pub fn of(request: &BuildRequest, timestamp: Timestamp, extent: Extent) -> Self {
        Self {
            target: request.target.clone(),
            extent,
            platforms: request.platforms.clone(),
            build_platform: Platform::host(),
            build_args: request.build_args.clone(),
            labels: request.labels.clone(),
            git_context: request.git_context(),
            named_contexts: request.named_contexts.clone(),
            network: request.network,
            extra_hosts: request.extra_hosts.clone(),
            ulimits: request.ulimits.clone(),
            shm_size_bytes: request.shm_size_bytes,
            epoch: timestamp.files(),
            compat: request.compat,
            arguments: request.arguments,
        }
    }
}

/// Which stages are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Extent {
    /// The one to build and those it needs.
    #[default]
    Needed,
    /// All, so that what is wrong with any of them is found.
    Whole,
}

/// A plan and what was noticed on the way.
#[derive(Debug, Clone)]
pub struct Lowered {
    /// The plan.
    pub plan: Plan,
    /// Warnings.
    pub warnings: Vec<Diagnostic>,
    /// `SOURCE_DATE_EPOCH` as the Dockerfile's global ARG has it, where it has one.
    pub epoch: Option<i64>,
}

/// Turns a Dockerfile into a plan, asking for the images it needs to know.
#[derive(Debug)]
pub struct Planner<'a> {
    pub(super) source: &'a Source,
    pub(super) file: &'a Dockerfile,
    pub(super) options: PlanOptions,
    pub(super) known: BTreeMap<ImageRequest, ResolvedImage>,
    /// The file has errors: only what holds without the instructions that could not be read counts.
    pub(super) is_broken: bool,
    wants: Vec<ImageRequest>,
    bases: BTreeMap<String, ImageRequest>,
    replaced: BTreeSet<String>,
    errors: Vec<Diagnostic>,
    lowered: Option<Lowered>,
}

impl<'a> Planner<'a> {
    /// Reads the file as far as it goes without images.
    ///
    /// # Errors
    /// Everything that is wrong with the file so far.
    pub fn new(
        source: &'a Source,
        file: &'a Dockerfile,
        options: PlanOptions,
    ) -> Result<Self, Vec<Diagnostic>> {
        let planner = Self::survey(source, file, options);
        planner.checked()?;
        Ok(planner)
    }

    /// Reads the file as far as it goes without images, and keeps what is wrong with it: see [`Planner::errors`].
    pub fn survey(source: &'a Source, file: &'a Dockerfile, options: PlanOptions) -> Self {
        let mut planner = Self::blank(source, file, options);
        planner.attempt();
        planner
    }

    fn blank(source: &'a Source, file: &'a Dockerfile, options: PlanOptions) -> Self {
        Self {
            source,
            file,
            options,
            is_broken: false,
            known: BTreeMap::new(),
            wants: Vec::new(),
            bases: BTreeMap::new(),
            replaced: BTreeSet::new(),
            errors: Vec::new(),
            lowered: None,
        }
    }

    /// Returns the images it must know to go on; empty when it knows enough.
    pub fn wants(&self) -> &[ImageRequest] {
        &self.wants
    }

    /// Tells it images.
    ///
    /// # Errors
    /// Everything that is wrong with the file, now that more of it can be read.
    pub fn provide(&mut self, images: Vec<ResolvedImage>) -> Result<(), Vec<Diagnostic>> {
        self.learn(images);
        self.checked()
    }

    /// Tells it images, and keeps what is wrong with the file now that more of it can be read.
    pub fn learn(&mut self, images: Vec<ResolvedImage>) {
        self.known.extend(images.into_iter().map(|image| (image.request.clone(), image)));
        self.attempt();
    }

    /// Returns everything that is wrong with the file as far as it can be read.
    pub fn errors(&self) -> &[Diagnostic] {
        &self.errors
    }

    /// Returns what was noticed; nothing as long as images are wanted, or something is wrong.
    pub fn warnings(&self) -> &[Diagnostic] {
        self.lowered.as_ref().map_or(&[], |lowered| &lowered.warnings)
    }

    /// Returns the images that stages are based on, by the names that their FROM has after expansion.
    pub fn bases(&self) -> &BTreeMap<String, ImageRequest> {
        &self.bases
    }

    /// Returns the names of stages and base images that named contexts replace.
    pub fn replaced(&self) -> &BTreeSet<String> {
        &self.replaced
    }

    /// Returns the options.
    pub fn options(&self) -> &PlanOptions {
        &self.options
    }

    /// Returns what it was told of an image.
    pub fn known(&self, request: &ImageRequest) -> Option<&ResolvedImage> {
        self.known.get(request)
    }

    /// Returns the plan.
    ///
    /// # Panics
    /// When it still wants images: the caller did not ask.
    pub fn finish(self) -> Lowered {
        self.lowered.expect("`finish` is called when nothing is wanted any more")
    }

    fn checked(&self) -> Result<(), Vec<Diagnostic>> {
        if self.errors.is_empty() { Ok(()) } else { Err(self.errors.clone()) }
    }

    fn attempt(&mut self) {
        let mut plan = Plan::default();
        let mut declared = BTreeSet::new();
        let (mut wants, mut bases, mut replaced) = (BTreeSet::new(), BTreeMap::new(), BTreeSet::new());
        let (mut errors, mut warnings, mut epoch) = (Vec::new(), Vec::new(), None);
        let platforms = match self.options.platforms.as_slice() {
            [] => vec![self.options.build_platform.clone()],
            platforms => platforms.to_vec(),
        };
        for target in platforms {
            let mut attempt = Attempt::new(self, target, plan, declared);
            attempt.output();
            let (wrong, noticed): (Vec<_>, Vec<_>) =
                attempt.expander.diagnostics.into_iter().partition(Diagnostic::is_error);
            errors.extend(wrong);
            warnings.extend(noticed);
            wants.extend(attempt.wants);
            bases.extend(attempt.bases);
            replaced.extend(attempt.replaced);
            epoch = attempt.epoch;
            (plan, declared) = (attempt.plan, attempt.declared);
        }
        warnings.dedup();
        self.wants = wants.into_iter().collect();
        (self.bases, self.replaced) = (bases, replaced);
        errors.sort_by_key(Diagnostic::primary);
        errors.dedup();
        let is_done = self.wants.is_empty() && errors.is_empty();
        self.errors = errors;
        self.lowered = is_done.then_some(Lowered { plan, warnings, epoch });
    }
}

/// Returns what else is wrong with a file that has errors: what holds whatever the instructions say that could not be read.
/// Nothing where even the stages are not certain.
pub fn further_errors(source: &Source, parsed: &Parsed, options: PlanOptions) -> Vec<Diagnostic> {
    if parsed.has_lost_stage || parsed.file.stages.is_empty() {
        return Vec::new();
    }
    let mut planner = Planner::blank(source, &parsed.file, options);
    planner.is_broken = true;
    planner.attempt();
    planner.errors
}
