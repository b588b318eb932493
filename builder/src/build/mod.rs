//! The whole road on one page: text → tree → plan → layers → image.

mod enter;
mod error;
pub(crate) mod inputs;
mod mending;
mod outlook;
mod recorded;
mod repeating;

pub use enter::{EnterError, Entry, enter, text_digest};
pub use error::BuildError;
pub use outlook::{Outlook, outlook};
use outlook::{Ready, make_ready};

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, Once};
use std::time::Instant;

use kiln_layer::compress::COMPRESS_FORMAT;
use kiln_layer::tar::write::TAR_FORMAT;
use kiln_oci::validate::{Open, validate_documents};
use kiln_oci::{Descriptor, Digest, MediaType, Platform, Reference};
use kiln_sandbox::Spare;
use kiln_store::Store;

use crate::aside::Aside;
use crate::cache::{Exporter, Exports, Tiers, told};
use crate::catalog;
use crate::export::{self, NamedDescriptor};
use crate::image::{Assembled, ImageParts, assemble, index};
use crate::interrupt::Interrupt;
use crate::journal::build_id;
use crate::lanes::{blocking, discard};
use crate::lower::{self, Diagnostic, Dockerfile, Extent, Linted, Lowered, PlanOptions, Planner, Source};
use crate::mounts::Travels;
use crate::plan::Plan;
use crate::plan::key::KeyBase;
use crate::progress::{Notice, Progress, ProgressEvent};
use crate::recording::check_layers;
use crate::repeated::Repeated;
use crate::request::{BuildRequest, DEFAULT_EPOCH, DockerfilePlace, OutputSpec, Timestamp};
use crate::solve::{Keys, Solution, definition_keys, solve};
use crate::source::context::Context;
use crate::source::image::{self, Freshness};
use crate::transform::{Bench, MountPoints, SpareRoots};
use crate::workshop::Workshop;
use inputs::Inputs;
use mending::{MENDS_MAX, can_repeat, mended};
use recorded::recording;
use repeating::Again;

/// What a build made.
#[derive(Debug)]
pub struct BuildResult {
    /// The images, one a platform, in the order asked for.
    pub images: Vec<BuiltImage>,
    /// The manifest of the only image, or the index of several.
    pub descriptor: Descriptor,
    /// The names it has now.
    pub names: Vec<Reference>,
    /// The Dockerfile, for showing the warnings.
    pub source: Source,
    /// What was noticed on the way.
    pub warnings: Vec<Diagnostic>,
    /// The steps that were done a second time, and what became of them.
    pub repeated: Vec<Repeated>,
}

/// One image of a build.
#[derive(Debug, Clone)]
pub struct BuiltImage {
    /// Its platform.
    pub platform: Platform,
    /// Descriptor of its manifest.
    pub manifest: Descriptor,
    /// Digest of its configuration: the image id.
    pub config: Digest,
}

/// Builds what is asked for. Where that fails on damage in the store, what is damaged is moved away, and made or fetched
/// again by another attempt; where owners cannot be set, another one records them.
///
/// # Errors
/// [`BuildError`]; what was finished before it stays in the cache, and nothing has a name that had none.
pub async fn build(
    workshop: &Arc<Workshop>,
    request: &BuildRequest,
    progress: &Arc<dyn Progress>,
    interrupt: &Interrupt,
) -> Result<BuildResult, BuildError> {
    let mut workshop = Arc::clone(workshop);
    let mut mends = 0;
    loop {
        let outcome = attempt(&workshop, request, progress, interrupt).await;
        let Err(error) = &outcome else { return outcome };
        if let Some(recording) = recording(&workshop, request, error, progress) {
            workshop = recording;
        } else if mends < MENDS_MAX && mended(&workshop, error, progress).await? && can_repeat(request) {
            mends += 1;
        } else {
            return outcome;
        }
        interrupt.begin_again();
    }
}

async fn attempt(
    workshop: &Arc<Workshop>,
    request: &BuildRequest,
    progress: &Arc<dyn Progress>,
    interrupt: &Interrupt,
) -> Result<BuildResult, BuildError> {
    let ready = make_ready(workshop, request, progress, interrupt).await?;
    let Ready { source, plan, bench, keys, warnings, .. } = &ready;
    if request.fail_on_miss {
        let outlook = ready.outlook().await?;
        if !outlook.forecast.steps.is_empty() {
            return Err(BuildError::WouldRun { outlook: Box::new(outlook) });
        }
    }
    let exporter = Exporter { workshop, progress, plan, key: &|step| keys.lookup(step) };
    let made = make(workshop, request, &ready, progress, interrupt);
    let (images, descriptor, names, repeated) = exporting(&bench.exports, &exporter, made, interrupt).await?;
    let trees: Vec<_> = bench.contexts.values().filter_map(Context::tree_if_read).collect();
    let (source, warnings) = (source.clone(), warnings.clone());
    drop(ready);
    discard(trees);
    let images = images
        .iter()
        .map(|image| BuiltImage {
            platform: image.platform.clone(),
            manifest: image.descriptor(),
            config: image.config.digest(),
        })
        .collect();
    Ok(BuildResult { images, descriptor, names, source, warnings, repeated })
}

/// What is made of a plan: the images, what describes them, the names that they have, and the steps that were done again.
type Made = (Vec<Assembled>, Descriptor, Vec<Reference>, Vec<Repeated>);

/// Carries out a plan, and hands the result on.
async fn make(
    workshop: &Arc<Workshop>,
    request: &BuildRequest,
    ready: &Ready,
    progress: &Arc<dyn Progress>,
    interrupt: &Interrupt,
) -> Result<Made, BuildError> {
    let Ready { source, plan, bench, keys, timestamp, .. } = ready;
    let chosen = repeating::chosen(plan, &request.repeat)?;
    let wanted = repeating::wanted(plan, &chosen);
    let solution = match solve(bench, plan, keys, &wanted, interrupt).await {
        Ok(solution) => solution,
        Err(error) => {
            ready.tell();
            let error = enter::on_failure(request, error, plan, progress, interrupt).await;
            return Err(BuildError::solve(error, plan, source));
        }
    };
    ready.tell();
    let own = Arc::clone(bench);
    blocking(move || own.spare_roots.clear()).await;
    if !can_repeat(request) {
        ready.wanted().iter().try_for_each(|step| check_layers(workshop, &solution.rootfs(*step).layers))?;
    }
    let images = assemble_images(request, plan, &solution, *timestamp);
    let descriptor = store_documents(workshop, &images).await?;
    let names = deliver(workshop, request, &descriptor, progress, interrupt).await?;
    send_mounts(bench, interrupt).await;
    let again = Again { bench, plan, keys, solution: &solution, interrupt };
    let repeated = repeating::repeat(again, &chosen, request.jobs).await;
    let repeated = repeated.map_err(|error| BuildError::solve(error, plan, source))?;
    Ok((images, descriptor, names, repeated))
}

/// Sends the cache mounts that steps have used to the caches that take them.
async fn send_mounts(bench: &Arc<Bench>, interrupt: &Interrupt) {
    if !bench.travels.has_to_leave() {
        return;
    }
    let own = Arc::clone(bench);
    let sent = bench.workshop.lanes.wait(move || own.travels.send(own.travel()));
    tokio::select! {
        () = interrupt.raised() => {}
        () = sent => {}
    }
}

/// Does work, and meanwhile writes to caches what it finds out. What a build that failed has found out is written, too; who ends
/// one does not wait for that.
async fn exporting<T>(
    exports: &Exports,
    exporter: &Exporter<'_>,
    work: impl Future<Output = Result<T, BuildError>>,
    interrupt: &Interrupt,
) -> Result<T, BuildError> {
    let both = async {
        let outcome = work.await;
        let written = tokio::select! {
            () = interrupt.raised() => Ok(()),
            written = exports.done(exporter.progress) => written,
        };
        match (outcome, written) {
            (Ok(_), Ok(())) if interrupt.is_raised() => Err(BuildError::Interrupted),
            (Ok(_), Err(error)) => Err(Box::new(error).into()),
            (outcome, Ok(())) => outcome,
            (Err(failure), Err(error)) => {
                exporter.progress.on(&ProgressEvent::Warning { message: &told(&error) });
                Err(failure)
            }
        }
    };
    tokio::select! {
        never = exports.work(exporter) => match never {},
        outcome = both => outcome,
    }
}

/// Reads what the plan needs, and computes the keys of its steps.
async fn keyed(
    workshop: &Arc<Workshop>,
    request: &BuildRequest,
    inputs: &Inputs,
    plan: &Arc<Plan>,
    timestamp: Timestamp,
    progress: &Arc<dyn Progress>,
    interrupt: &Interrupt,
) -> Result<(Arc<Bench>, Arc<Keys>), BuildError> {
    let needed = plan.reachable();
    progress.on(&ProgressEvent::Planned { plan, needed: &needed });
    let prepared = prepare(workshop, request, inputs, plan, timestamp, progress, interrupt);
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
async fn unless_raised<T>(
    interrupt: &Interrupt,
    work: impl Future<Output = Result<T, BuildError>>,
) -> Result<T, BuildError> {
    tokio::select! {
        () = interrupt.raised() => Err(BuildError::Interrupted),
        outcome = work => outcome,
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
struct Planned {
    lowered: Lowered,
    linted: Linted,
}

/// Turns the Dockerfile into a plan, resolving the images it asks for.
async fn lower(
    workshop: &Arc<Workshop>,
    request: &BuildRequest,
    inputs: &Inputs,
    file: &Dockerfile,
    progress: &Arc<dyn Progress>,
) -> Result<(Planned, Timestamp), BuildError> {
    let mut timestamp = request.timestamp;
    let planned = plan(workshop, request, inputs, file, timestamp, progress).await?;
    let is_given = request.build_args.contains_key("SOURCE_DATE_EPOCH");
    match (planned.lowered.epoch, timestamp) {
        // The Dockerfile's own ARG decides where nobody else said anything.
        (Some(epoch), Timestamp::Epoch(DEFAULT_EPOCH)) if !is_given && epoch != DEFAULT_EPOCH => {
            timestamp = Timestamp::Epoch(epoch);
            Ok((plan(workshop, request, inputs, file, timestamp, progress).await?, timestamp))
        }
        _ => Ok((planned, timestamp)),
    }
}

async fn plan(
    workshop: &Arc<Workshop>,
    request: &BuildRequest,
    inputs: &Inputs,
    file: &Dockerfile,
    timestamp: Timestamp,
    progress: &Arc<dyn Progress>,
) -> Result<Planned, BuildError> {
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

/// Reads contexts and fetches files, so that keys can be computed.
async fn prepare(
    workshop: &Arc<Workshop>,
    request: &BuildRequest,
    inputs: &Inputs,
    plan: &Arc<Plan>,
    timestamp: Timestamp,
    progress: &Arc<dyn Progress>,
    interrupt: &Interrupt,
) -> Result<Bench, BuildError> {
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
        took: Mutex::default(),
        project: project(request),
        made: Mutex::default(),
    })
}

/// Returns what names a project in records of earlier builds. A Dockerfile that came as a text has the name of no file.
fn project(request: &BuildRequest) -> Digest {
    let place = match &request.dockerfile {
        DockerfilePlace::Text(_) => &DockerfilePlace::Default,
        place => place,
    };
    Digest::of(format!("{:?} {place:?} {:?}", request.context, request.target).as_bytes())
}

fn assemble_images(
    request: &BuildRequest,
    plan: &Plan,
    solution: &Solution,
    timestamp: Timestamp,
) -> Vec<Assembled> {
    let parts = plan.outputs.iter().map(|output| ImageParts {
        plan,
        output,
        rootfs: solution.rootfs(output.root),
        time: timestamp.documents(),
        compat: request.compat,
    });
    parts.map(assemble).collect()
}

/// Puts what describes the images into the store, checked before anybody sees it, and returns the descriptor of the result.
async fn store_documents(workshop: &Arc<Workshop>, images: &[Assembled]) -> Result<Descriptor, BuildError> {
    let mut documents: Vec<bytes::Bytes> = Vec::new();
    for image in images {
        documents.extend([image.config.bytes().clone(), image.manifest.bytes().clone()]);
    }
    let descriptor = match images {
        [only] => only.descriptor(),
        several => {
            let index = index(several);
            documents.push(index.bytes().clone());
            index.descriptor(MediaType::OCI_INDEX)
        }
    };
    let (store, top) = (workshop.store.clone(), descriptor.clone());
    blocking(move || {
        documents.iter().try_for_each(|document| store.blobs().put_bytes(document).map(drop))?;
        validate_documents(&top, &Documents(&store))?;
        Ok::<(), BuildError>(())
    })
    .await?;
    Ok(descriptor)
}

/// The documents of a store.
struct Documents<'a>(&'a Store);

impl Open for Documents<'_> {
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(self.0.blobs().open(digest).map_err(io::Error::other)?))
    }
}

/// Hands the result on: to the store, to files, to registries.
async fn deliver(
    workshop: &Arc<Workshop>,
    request: &BuildRequest,
    descriptor: &Descriptor,
    progress: &Arc<dyn Progress>,
    interrupt: &Interrupt,
) -> Result<Vec<Reference>, BuildError> {
    let mut names = request.tags.clone();
    for output in &request.outputs {
        if let OutputSpec::Image { names: more, .. } = output {
            names.extend(more.iter().filter(|name| !request.tags.contains(name)).cloned());
        }
    }
    let keeps = request.outputs.is_empty()
        || request.outputs.iter().any(|output| matches!(output, OutputSpec::Image { .. }));
    let named = NamedDescriptor { descriptor: descriptor.clone(), names: names.clone() };
    for output in &request.outputs {
        if interrupt.is_raised() {
            return Err(BuildError::Interrupted);
        }
        let delivered = async { Ok(export::deliver(workshop, output, &named, progress).await?) };
        unless_raised(interrupt, delivered).await?;
    }
    if !keeps {
        return Ok(Vec::new());
    }
    let (store, own, known) = (workshop.store.clone(), descriptor.clone(), names.clone());
    blocking(move || {
        if known.is_empty() {
            return store.names().add_untagged(&own);
        }
        known.iter().try_for_each(|name| catalog::assign(&store, name, &own).map(drop))
    })
    .await?;
    for reference in &names {
        progress.on(&ProgressEvent::Named { reference, digest: descriptor.digest });
    }
    Ok(names)
}
