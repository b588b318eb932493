//! The first half of the road, up to where steps would run: what a build, a look at one and a shell in one have in common.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex, Once};
use std::time::Instant;

use kiln_layer::compress::COMPRESS_FORMAT;
use kiln_layer::tar::write::TAR_FORMAT;
use kiln_oci::{Digest, Hasher};
use kiln_sandbox::Spare;

use super::BuildError;
use super::inputs::Inputs;
use crate::aside::Aside;
use crate::cache::{Exports, Tiers};
use crate::interrupt::Interrupt;
use crate::journal::build_id;
use crate::lanes::blocking;
use crate::lower::{self, Diagnostic, Dockerfile, Extent, Linted, Lowered, PlanOptions, Planner, Source};
use crate::mounts::Travels;
use crate::plan::key::{KeyBase, KeySink};
use crate::plan::{Plan, StepId};
use crate::progress::{Notice, Progress, ProgressEvent};
use crate::request::{BuildRequest, ContextPlace, DEFAULT_EPOCH, DockerfilePlace, Timestamp};
use crate::solve::{Keys, definition_keys};
use crate::source::image::{self, Freshness};
use crate::transform::{Bench, MountPoints, SpareRoots};
use crate::workshop::Workshop;

/// What somebody wants built, what it is built with, who is told, and who may stop it.
#[derive(Clone, Copy)]
pub(super) struct Order<'a> {
    pub(super) workshop: &'a Arc<Workshop>,
    pub(super) request: &'a BuildRequest,
    pub(super) progress: &'a Arc<dyn Progress>,
    pub(super) interrupt: &'a Interrupt,
}

/// A build whose steps could begin.
pub(super) struct Ready {
    pub(super) source: Source,
    pub(super) plan: Arc<Plan>,
    pub(super) bench: Arc<Bench>,
    pub(super) keys: Arc<Keys>,
    pub(super) timestamp: Timestamp,
    pub(super) warnings: Vec<Diagnostic>,
}

/// Reads, plans, and computes keys.
pub(super) async fn make_ready(order: Order<'_>) -> Result<Ready, BuildError> {
    let Order { workshop, request, progress, interrupt } = order;
    let store = workshop.store.clone();
    blocking(move || store.collect_dead_scratch()).await?;
    let inputs = unless_raised(interrupt, Inputs::open(workshop, request, progress)).await?;
    let parsed = lower::parse(&inputs.source, &request.build_args);
    if parsed.has_errors() {
        let options = PlanOptions::of(request, request.timestamp, Extent::Needed);
        let further = lower::further_errors(&inputs.source, &parsed, options);
        let mut diagnostics = parsed.diagnostics;
        diagnostics.extend(further);
        diagnostics.sort_by_key(Diagnostic::primary);
        return Err(BuildError::dockerfile(inputs.source, diagnostics));
    }
    let lowering = lower(order, &inputs, &parsed.file);
    let (Planned { lowered, linted }, timestamp) = unless_raised(interrupt, lowering).await?;
    let mut warnings = parsed.diagnostics;
    warnings.extend(lowered.warnings);
    let warnings = report(&inputs.source, warnings, linted, progress)?;
    let plan = Arc::new(lowered.plan);
    let (bench, keys) = keyed(order, &inputs, &plan, timestamp).await?;
    Ok(Ready { source: inputs.source, plan, bench, keys, timestamp, warnings })
}

impl Ready {
    /// Returns the steps that give the images.
    pub(super) fn wanted(&self) -> Vec<StepId> {
        self.plan.outputs.iter().map(|output| output.root).collect()
    }
}

/// Tells what was noticed, and returns the warnings among it.
///
/// # Errors
/// When `# check=` cannot be read, or wants findings to be errors and there are some.
fn report(
    source: &Source,
    mut warnings: Vec<Diagnostic>,
    linted: Linted,
    progress: &Arc<dyn Progress>,
) -> Result<Vec<Diagnostic>, BuildError> {
    let Linted { findings, remarks, fails_build, .. } = linted;
    warnings.extend(remarks);
    if fails_build || warnings.iter().any(Diagnostic::is_error) {
        let rules: BTreeSet<&str> = findings.iter().map(|finding| finding.rule.name).collect();
        let violation = lower::violation(&rules.into_iter().collect::<Vec<_>>()).filter(|_| fails_build);
        warnings.extend(findings.into_iter().map(|finding| finding.diagnostic));
        warnings.extend(violation);
        return Err(BuildError::dockerfile(source.clone(), warnings));
    }
    if !findings.is_empty() || !warnings.is_empty() {
        let others: Vec<Notice> = warnings.iter().map(|warning| lower::notice(source, warning)).collect();
        let findings: Vec<Notice> =
            findings.iter().map(|finding| lower::notice(source, &finding.diagnostic)).collect();
        progress.on(&ProgressEvent::Noticed { findings: &findings, others: &others });
    }
    Ok(warnings)
}

/// A Dockerfile that was planned and looked at.
pub(super) struct Planned {
    pub(super) lowered: Lowered,
    linted: Linted,
}

/// Turns the Dockerfile into a plan, resolving the images it asks for.
pub(super) async fn lower(
    order: Order<'_>,
    inputs: &Inputs,
    file: &Dockerfile,
) -> Result<(Planned, Timestamp), BuildError> {
    let request = order.request;
    let mut timestamp = request.timestamp;
    let planned = plan(order, inputs, file, timestamp).await?;
    let is_given = request.build_args.contains_key("SOURCE_DATE_EPOCH");
    match (planned.lowered.epoch, timestamp) {
        // The Dockerfile's own ARG decides where nobody else said anything.
        (Some(epoch), Timestamp::Epoch(DEFAULT_EPOCH)) if !is_given && epoch != DEFAULT_EPOCH => {
            timestamp = Timestamp::Epoch(epoch);
            Ok((plan(order, inputs, file, timestamp).await?, timestamp))
        }
        _ => Ok((planned, timestamp)),
    }
}

async fn plan(
    order: Order<'_>,
    inputs: &Inputs,
    file: &Dockerfile,
    timestamp: Timestamp,
) -> Result<Planned, BuildError> {
    let Order { workshop, request, progress, .. } = order;
    let options = PlanOptions::of(request, timestamp, Extent::Needed);
    let failed = |diagnostics| BuildError::dockerfile(inputs.source.clone(), diagnostics);
    let mut planner = Planner::new(&inputs.source, file, options).map_err(failed)?;
    let freshness = if request.pull { Freshness::Pull } else { Freshness::Known };
    while !planner.wants().is_empty() {
        let resolutions = planner.wants().iter().map(|wanted| async move {
            let task = format!("load metadata for {}", wanted.name());
            progress.on(&ProgressEvent::Began { task: &task });
            let started = Instant::now();
            let image = image::resolve(workshop, wanted, freshness, progress).await;
            progress.on(&ProgressEvent::Finished { task: &task, took: started.elapsed(), detail: "" });
            image.map_err(|error| (wanted.clone(), error))
        });
        let images = futures_util::future::try_join_all(resolutions).await;
        let images =
            images.map_err(|(wanted, error)| BuildError::image(&inputs.source, file, &wanted, error))?;
        planner.provide(images).map_err(failed)?;
    }
    // An ignore file that cannot be read is an error as soon as some step reads the context.
    let ignore = inputs.ignored().ok();
    let linted = planner.lint(ignore.as_ref());
    Ok(Planned { lowered: planner.finish(), linted })
}

/// Reads what the plan needs, and computes the keys of its steps.
pub(super) async fn keyed(
    order: Order<'_>,
    inputs: &Inputs,
    plan: &Arc<Plan>,
    timestamp: Timestamp,
) -> Result<(Arc<Bench>, Arc<Keys>), BuildError> {
    let Order { workshop, progress, interrupt, .. } = order;
    let needed = plan.reachable();
    progress.on(&ProgressEvent::Planned { plan, needed: &needed });
    let prepared = prepare(order, inputs, plan, timestamp);
    let bench = Arc::new(unless_raised(interrupt, prepared).await?);
    let work = {
        let (bench, plan) = (Arc::clone(&bench), Arc::clone(plan));
        move || {
            let keys = definition_keys(&bench, &plan, &needed)?;
            // Without this the next build finds out again, which is no reason to fail.
            bench.contexts.values().for_each(|context| drop(context.remember_selections()));
            Ok(keys)
        }
    };
    let keys = workshop.lanes.cpu(work).await;
    let keys = keys.map_err(|error| BuildError::solve(error, plan, &inputs.source))?;
    Ok((bench, Arc::new(keys)))
}

/// Does work until it is done or somebody stops it: what blocks on a pipe or a slow disk is left behind.
pub(super) async fn unless_raised<T>(
    interrupt: &Interrupt,
    work: impl Future<Output = Result<T, BuildError>>,
) -> Result<T, BuildError> {
    tokio::select! {
        () = interrupt.raised() => Err(BuildError::Interrupted),
        outcome = work => outcome,
    }
}

/// Reads contexts and fetches files, so that keys can be computed.
async fn prepare(
    order: Order<'_>,
    inputs: &Inputs,
    plan: &Arc<Plan>,
    timestamp: Timestamp,
) -> Result<Bench, BuildError> {
    let Order { workshop, request, progress, interrupt } = order;
    let contexts = inputs.read_contexts(workshop, plan, progress).await?;
    let downloads = inputs.announce_files(plan).await?;
    let commits = inputs.resolve_repositories(plan).await?;
    Ok(Bench {
        workshop: Arc::clone(workshop),
        contexts,
        downloads,
        web: Arc::clone(&inputs.web),
        git: Arc::clone(&inputs.git),
        commits,
        secrets: request.secrets.clone(),
        agents: Arc::clone(&inputs.agents),
        timestamp,
        compression: request.compression,
        leaves_failed: request.on_error.is_some(),
        no_cache: request.no_cache.clone(),
        tiers: Tiers::new(&request.cache_from),
        exports: Exports::new(&request.cache_to, plan),
        travels: Travels::new(&request.cache_from, &request.cache_to),
        key_base: KeyBase {
            epoch: timestamp.files(),
            compression: request.compression.to_string(),
            formats: (TAR_FORMAT, COMPRESS_FORMAT),
        },
        build_id: build_id(workshop.started_ns),
        points: MountPoints::default(),
        spare: Spare::default(),
        processes_told: Once::new(),
        spare_roots: SpareRoots::default(),
        cancel: interrupt.steps().clone(),
        progress: Arc::clone(progress),
        aside: Aside::default(),
        missed: Mutex::default(),
        project: project(workshop, request),
        made: Mutex::default(),
    })
}

/// Returns what names a project in records of earlier builds: where its context and its Dockerfile come from, and which stage is built.
/// What comes on standard input has no name, and is always the same project.
fn project(workshop: &Workshop, request: &BuildRequest) -> Digest {
    let mut hasher = Hasher::new();
    match &request.context {
        ContextPlace::Directory(path) => hasher.field("directory", path.as_os_str().as_bytes()),
        // It was put into the scratch of this process.
        ContextPlace::Archive(path) if path.starts_with(workshop.store.path()) => hasher.field("given", b""),
        ContextPlace::Archive(path) => hasher.field("archive", path.as_os_str().as_bytes()),
        ContextPlace::Web(url) => hasher.field("web", url.to_string().as_bytes()),
        ContextPlace::Git(reference) => hasher.field("git", reference.shown().as_bytes()),
        ContextPlace::Empty => hasher.field("empty", b""),
    }
    match &request.dockerfile {
        DockerfilePlace::Default | DockerfilePlace::Text(_) => {}
        DockerfilePlace::Path(path) => hasher.field("file", path.as_os_str().as_bytes()),
        DockerfilePlace::Web(url) => hasher.field("file of the web", url.to_string().as_bytes()),
    }
    if let Some(target) = &request.target {
        hasher.field("target", target.as_bytes());
    }
    hasher.finish()
}
