//! What steps do: one file an operation with inputs.

mod copy;
mod run;

mod again;

mod shell;

mod lacks;
mod recorded;
mod run_finish;
mod run_mounts;
mod run_root;
mod run_spec;
mod spare_roots;

mod live_times;

mod caches;

mod mount_files;

mod make_dir;

mod accounts;
mod flight;
mod known;

mod finish;
mod points;
mod selection;

mod error;

pub(crate) use accounts::AccountFiles;
pub use again::{Again, can_repeat, repeat};
pub use copy::explain_copy;
pub use error::{RunFailure, StepError, signal_name};
pub use finish::to_be_fetched;
pub use kiln_layer::OwnerError;
pub use points::MountPoints;
pub(crate) use recorded::{Recorded, remembered};
pub(crate) use run::lower_directories;
pub use run::open as open_step;
pub(crate) use run_root::{OVERLAY_LAYERS_MAX, dress, shape};
pub use selection::{Selection, mount_selection};
pub use shell::{Command, OpenStep};
pub use spare_roots::SpareRoots;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::Duration;

use kiln_layer::{Tree, WithTime};
use kiln_oci::{DiffId, Digest};
use kiln_sandbox::{CancelToken, Spare};

use crate::agents::Agents;
use crate::aside::Aside;
use crate::cache::{Ages, Exports, Tiers};
use crate::explain::Reason;
use crate::mounts::{Travel, Travels};
use crate::plan::key::KeyBase;
use crate::plan::{Caching, Op, Step, StepId, StepKey};
use crate::progress::{Progress, ProgressEvent};
use crate::request::{Compression, NoCache, Timestamp};
use crate::rootfs::{Layer, Rootfs};
use crate::secrets::Secrets;
use crate::source::context::Context;
use crate::source::git::{GitError, GitSources, Resolved};
use crate::source::http::{Announced, Download, Web};
use crate::workshop::Workshop;

/// Time between two looks whether a step that waits is to end.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What the steps of one build share.
pub struct Bench {
    /// The workshop.
    pub workshop: Arc<Workshop>,
    /// Contexts that were read, by name.
    pub contexts: BTreeMap<String, Context>,
    /// Files of the web, by step.
    pub downloads: BTreeMap<StepId, Announced>,
    /// Fetches them when a step needs them.
    pub web: Arc<Web>,
    /// The commits that git repositories are wanted at, by step.
    pub commits: BTreeMap<StepId, Resolved>,
    /// Fetches these when a step needs them.
    pub git: Arc<GitSources>,
    /// Secrets by id.
    pub secrets: Secrets,
    /// Agents of the secure shell by id.
    pub agents: Arc<Agents>,
    /// Times of files.
    pub timestamp: Timestamp,
    /// Compression of new layers.
    pub compression: Compression,
    /// Whether a RUN that fails is left as it is, to be entered.
    pub leaves_failed: bool,
    /// Which steps may not be taken from the cache.
    pub no_cache: NoCache,
    /// Caches that are asked for what the store does not know.
    pub tiers: Tiers,
    /// What goes to caches that builders share.
    pub exports: Exports,
    /// Cache mounts that come from there and go there.
    pub travels: Travels,
    /// What all keys share.
    pub key_base: KeyBase,
    /// Name of the build in the logs.
    pub build_id: String,
    /// What every step mounts on.
    pub points: MountPoints,
    /// A sandbox that waits for the next step.
    pub spare: Spare,
    /// Whether it was said that steps see the processes around them.
    pub processes_told: Once,
    /// Roots that steps have left behind.
    pub spare_roots: SpareRoots,
    /// Ends steps that run.
    pub cancel: CancelToken,
    /// Is told what happens.
    pub progress: Arc<dyn Progress>,
    /// Work that no step waits for.
    pub aside: Aside,
    /// Why steps ran that are in no cache.
    pub missed: Mutex<BTreeMap<StepId, Reason>>,
    /// Names the project in records of earlier builds: what the Dockerfile and the main context are called.
    pub project: Digest,
    /// Layers that this build has made, by content key. Their records may still be on the way to the disk.
    pub made: Mutex<HashMap<StepKey, Layer>>,
}

impl Bench {
    /// Returns what cache mounts travel with.
    pub(crate) fn travel(&self) -> Travel<'_> {
        Travel { workshop: &self.workshop, progress: &self.progress, cancel: &self.cancel }
    }

    /// Returns how old results of a step are.
    pub fn ages(&self, op: &Op) -> Ages {
        Ages::of(&self.workshop.store, &self.key_base, op, self.workshop.started_ns)
    }

    /// Says that a step is in no cache.
    pub(crate) fn misses(&self, step: StepId, reason: Option<&Reason>) {
        let gone = Reason::ResultGone { what: "the layer that it made before".to_owned() };
        let reason = reason.unwrap_or(&gone);
        self.missed.lock().unwrap_or_else(PoisonError::into_inner).insert(step, reason.clone());
        self.progress.on(&ProgressEvent::StepMissed { step, reason });
    }

    /// Whether a step was in no cache.
    pub(crate) fn has_missed(&self, step: StepId) -> bool {
        self.missed.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&step)
    }

    /// Returns why each step ran that is in no cache.
    pub(crate) fn missed(&self) -> BTreeMap<StepId, Reason> {
        // It is only ever inserted into, so a panic elsewhere left it whole.
        self.missed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a step gives to others.
#[derive(Debug, Clone)]
pub enum StepOutput {
    /// A file system.
    Rootfs(Rootfs),
    /// Files of a context.
    Files(Arc<Tree>),
    /// A file that was fetched.
    File(Download),
}

impl StepOutput {
    /// Returns the file system.
    ///
    /// # Panics
    /// When it is none: the plan is wrong.
    pub fn rootfs(&self) -> &Rootfs {
        match self {
            Self::Rootfs(rootfs) => rootfs,
            Self::Files(_) | Self::File(_) => panic!("the plan takes files for a file system"),
        }
    }
}

/// What a step is given.
#[derive(Debug, Clone)]
pub struct Given {
    /// The file system that it changes.
    pub parent: Option<Rootfs>,
    /// What it reads besides, in the order of [`Op::reads`].
    pub reads: Vec<StepOutput>,
    /// The digest of what it selects of each of these, where that is known already.
    pub selections: Vec<Option<Digest>>,
    /// For each transform since the base image, whether it was COPY or ADD.
    pub copies: Vec<bool>,
    /// Why it is done, unless what it makes turns out to be known; `None` where nothing differs from an earlier build.
    pub reason: Option<Reason>,
    /// Whether it is done a second time, and what for.
    pub again: Option<Arc<Again>>,
}

/// Does a step.
///
/// # Errors
/// [`StepError`], which says what failed.
pub async fn execute(
    bench: &Arc<Bench>,
    id: StepId,
    step: &Step,
    given: Given,
) -> Result<StepOutput, StepError> {
    let reuse = match given.again {
        Some(_) => Reuse { is_allowed: false, age_max: None },
        None => Reuse::of(&bench.no_cache, step),
    };
    match &step.op {
        Op::Scratch => Ok(StepOutput::Rootfs(Rootfs::default())),
        Op::Image(image) => Ok(StepOutput::Rootfs(Rootfs { layers: image.layers.clone(), made: Vec::new() })),
        Op::Context(context) => {
            let (own, name) = (Arc::clone(bench), context.name.clone());
            let tree = bench.workshop.lanes.cpu(move || own.contexts[&name].tree()).await?;
            Ok(StepOutput::Files(tree))
        }
        Op::Http(http) => {
            let with_time = match bench.timestamp {
                Timestamp::Epoch(_) => WithTime::No,
                Timestamp::Preserve { .. } => WithTime::Yes,
            };
            let opened = bench.web.open(&http.url, &bench.downloads[&id], with_time).await;
            opened.map(StepOutput::File).map_err(StepError::from)
        }
        Op::Git(git) => tokio::select! {
            files = bench.git.files(&git.reference) => Ok(StepOutput::Files(files?)),
            () = cancelled(bench) => Err(GitError::Interrupted.into()),
        },
        Op::Run(run) => run::run(bench, id, run, given, reuse).await.map(StepOutput::Rootfs),
        Op::Copy(copy) => copy::copy(bench, (id, &step.op), copy, given, reuse).await.map(StepOutput::Rootfs),
        Op::MakeDir(make) => make_dir::make_dir(bench, id, make, given).await.map(StepOutput::Rootfs),
    }
}

/// What can be said of a step whose inputs are there, without doing it.
#[derive(Debug, Clone)]
pub enum Foreseen {
    /// It comes to this.
    Known(Rootfs),
    /// It has to be done, and comes to this.
    Makes(Rootfs),
    /// It has to be done.
    Runs,
    /// Something would have to be fetched to tell.
    Unsure,
}

/// Says what becomes of a transform, without doing it and without fetching anything.
///
/// # Errors
/// [`StepError`], where the step would fail.
pub async fn foresee(
    bench: &Arc<Bench>,
    id: StepId,
    step: &Step,
    given: Given,
) -> Result<Foreseen, StepError> {
    let reuse = Reuse::of(&bench.no_cache, step);
    if !reuse.is_allowed {
        return Ok(Foreseen::Runs);
    }
    match &step.op {
        Op::Run(run) => run::foresee(bench, id, run, given, reuse).await,
        Op::Copy(copy) => copy::foresee(bench, (id, &step.op), copy, given, reuse).await,
        Op::MakeDir(make) => make_dir::foresee(bench, make, given).await,
        Op::Scratch | Op::Image(_) | Op::Context(_) | Op::Http(_) | Op::Git(_) => Ok(Foreseen::Unsure),
    }
}

/// Waits until running steps are to end.
async fn cancelled(bench: &Bench) {
    while !bench.cancel.is_cancelled() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// How far a step's result may come from the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reuse {
    /// Whether it may at all. If not, nothing of what was made before is used.
    pub is_allowed: bool,
    /// How old it may be, where that counts.
    pub age_max: Option<Duration>,
}

impl Reuse {
    /// Returns what the user and the author of the Dockerfile want.
    pub fn of(no_cache: &NoCache, step: &Step) -> Self {
        let is_asked = step.op.parent().is_some()
            && match no_cache {
                NoCache::Nothing => false,
                NoCache::Everything => true,
                NoCache::Stages(stages) => stages.contains(&step.origin.stage_name),
            };
        let age_max = match step.caching {
            Caching::Within(age) => Some(age),
            Caching::Always | Caching::Never => None,
        };
        Self { is_allowed: !is_asked && step.caching != Caching::Never, age_max }
    }

    /// Says whether a layer that the step made is young enough.
    pub fn takes(self, bench: &Bench, op: &Op, layer: &DiffId) -> bool {
        self.age_max.is_none_or(|limit| bench.ages(op).is_within(limit, layer))
    }
}
