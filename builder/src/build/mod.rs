//! The whole road on one page: text → tree → plan → layers → image.

mod enter;
mod error;
pub(crate) mod inputs;
mod mending;
mod outlook;

mod ready;
mod recorded;
mod repeating;

pub use enter::{EnterError, Entry, enter, text_digest};
pub use error::BuildError;
pub use outlook::{Outlook, outlook};

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use kiln_oci::validate::{Open, validate_documents};
use kiln_oci::{Descriptor, Digest, MediaType, Platform, Reference};
use kiln_store::Store;

use crate::cache::{Exporter, Exports, told};
use crate::catalog;
use crate::export::{self, NamedDescriptor};
use crate::image::{Assembled, ImageParts, assemble, index};
use crate::interrupt::Interrupt;
use crate::lanes::{blocking, discard};
use crate::lower::{Diagnostic, Source};
use crate::plan::Plan;
use crate::progress::{Progress, ProgressEvent};
use crate::recording::check_layers;
use crate::repeated::Repeated;
use crate::request::{BuildRequest, OutputSpec, Timestamp};
use crate::solve::{Solution, solve};
use crate::source::context::Context;
use crate::transform::Bench;
use crate::workshop::Workshop;
use mending::{MENDS_MAX, can_repeat, mended};
use ready::{Order, Ready, make_ready, unless_raised};
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
        let outcome = attempt(Order { workshop: &workshop, request, progress, interrupt }).await;
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

async fn attempt(order: Order<'_>) -> Result<BuildResult, BuildError> {
    let Order { workshop, request, progress, interrupt } = order;
    let ready = make_ready(order).await?;
    let Ready { source, plan, bench, keys, warnings, .. } = &ready;
    if request.fail_on_miss {
        let outlook = ready.outlook().await?;
        if !outlook.forecast.steps.is_empty() {
            return Err(BuildError::WouldRun { outlook: Box::new(outlook) });
        }
    }
    let exporter = Exporter { workshop, progress, plan, key: &|step| keys.lookup(step) };
    let made = make(order, &ready);
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

/// How long a build waits at its end for object stores to take back what was sent of blobs that nobody needs any more.
const GIVE_UP_MAX: Duration = Duration::from_secs(5);

/// What is made of a plan: the images, what describes them, the names that they have, and the steps that were done again.
type Made = (Vec<Assembled>, Descriptor, Vec<Reference>, Vec<Repeated>);

/// Carries out a plan, and hands the result on.
async fn make(order: Order<'_>, ready: &Ready) -> Result<Made, BuildError> {
    let Order { workshop, request, progress, interrupt } = order;
    let Ready { source, plan, bench, keys, timestamp, .. } = ready;
    let chosen = repeating::chosen(plan, &request.repeat)?;
    let wanted = repeating::wanted(plan, &chosen);
    let solution = match solve(bench, plan, keys, &wanted, interrupt).await {
        Ok(solution) => solution,
        Err(error) => {
            let error = enter::on_failure(request, error, plan, progress, interrupt).await;
            return Err(BuildError::solve(error, plan, source));
        }
    };
    let own = Arc::clone(bench);
    blocking(move || own.spare_roots.clear()).await;
    if !can_repeat(request) {
        ready.wanted().iter().try_for_each(|step| check_layers(workshop, &solution.rootfs(*step).layers))?;
    }
    let images = assemble_images(request, plan, &solution, *timestamp);
    let descriptor = store_documents(workshop, &images).await?;
    let names = deliver(order, &descriptor).await?;
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
    let outcome = tokio::select! {
        never = exports.work(exporter) => match never {},
        outcome = both => outcome,
    };
    if !exports.is_empty() {
        // What is left after that is for the bucket's own rules: nobody waits for a server that does not answer.
        tokio::time::timeout(GIVE_UP_MAX, exporter.workshop.registry.give_up_uploads()).await.ok();
    }
    outcome
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
async fn deliver(order: Order<'_>, descriptor: &Descriptor) -> Result<Vec<Reference>, BuildError> {
    let Order { workshop, request, progress, interrupt } = order;
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
