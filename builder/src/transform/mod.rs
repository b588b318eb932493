//! What steps do: one file an operation with inputs.

mod copy;
mod run;

mod shell;

mod recorded;
mod run_mounts;
mod run_root;
mod spare_roots;

mod live_times;

mod caches;

mod mount_files;

mod make_dir;

mod accounts;
mod finish;
mod points;
mod selection;

mod error;

pub use copy::explain_copy;
pub use error::{RunFailure, StepError, signal_name};
pub use kiln_layer::OwnerError;
pub use points::MountPoints;
pub(crate) use recorded::parse_owner;
pub use run::open as open_step;
pub use selection::{Selection, mount_selection};
pub use shell::{Command, OpenStep};
pub use spare_roots::SpareRoots;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kiln_layer::{Tree, WithTime};
use kiln_oci::Digest;
use kiln_sandbox::{CancelToken, Spare};

use crate::agents::Agents;
use crate::aside::Aside;
use crate::plan::key::KeyBase;
use crate::plan::{Op, Step, StepId, StepKey};
use crate::progress::Progress;
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
    pub agents: Agents,
    /// Times of files.
    pub timestamp: Timestamp,
    /// Compression of new layers.
    pub compression: Compression,
    /// Whether a RUN that fails is left as it is, to be entered.
    pub leaves_failed: bool,
    /// Which steps may not be taken from the cache.
    pub no_cache: NoCache,
    /// What all keys share.
    pub key_base: KeyBase,
    /// Name of the build in the logs.
    pub build_id: String,
    /// What every step mounts on.
    pub points: MountPoints,
    /// A sandbox that waits for the next step.
    pub spare: Spare,
    /// Roots that steps have left behind.
    pub spare_roots: SpareRoots,
    /// Ends steps that run.
    pub cancel: CancelToken,
    /// Is told what happens.
    pub progress: Arc<dyn Progress>,
    /// Work that no step waits for.
    pub aside: Aside,
    /// Layers that this build has made, by content key. Their records may still be on the way to the disk.
    pub made: Mutex<HashMap<StepKey, Layer>>,
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
    let reuse = match is_fresh(&bench.no_cache, step) {
        true => Reuse::Nothing,
        false => Reuse::Known,
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

/// Waits until running steps are to end.
async fn cancelled(bench: &Bench) {
    while !bench.cancel.is_cancelled() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Whether a step's result may come from the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// A known result is good enough.
    Known,
    /// The user wants the step done again.
    Nothing,
}

/// Whether the user wants this step done again.
pub fn is_fresh(no_cache: &NoCache, step: &Step) -> bool {
    step.op.parent().is_some()
        && match no_cache {
            NoCache::Nothing => false,
            NoCache::Everything => true,
            NoCache::Stages(stages) => stages.contains(&step.origin.stage_name),
        }
}
