//! What steps do: one file an operation with inputs.

mod copy;
mod error;
mod finish;
mod make_dir;
mod run;
mod run_mounts;
mod selection;

pub use error::{RunFailure, StepError};
pub use selection::{copy_selection, mount_selection};

use std::collections::BTreeMap;
use std::sync::Arc;

use kiln_layer::Tree;
use kiln_sandbox::CancelToken;

use crate::plan::key::KeyBase;
use crate::plan::{Op, StepId};
use crate::progress::Progress;
use crate::request::{Compression, Timestamp};
use crate::rootfs::Rootfs;
use crate::secrets::Secrets;
use crate::source::context::Context;
use crate::source::http::Download;
use crate::workshop::Workshop;

/// What the steps of one build share.
pub struct Bench {
    /// The workshop.
    pub workshop: Arc<Workshop>,
    /// Contexts that were read, by name.
    pub contexts: BTreeMap<String, Context>,
    /// Files that were fetched, by step.
    pub downloads: BTreeMap<StepId, Download>,
    /// Secrets by id.
    pub secrets: Secrets,
    /// Times of files.
    pub timestamp: Timestamp,
    /// Compression of new layers.
    pub compression: Compression,
    /// What all keys share.
    pub key_base: KeyBase,
    /// Name of the build in the logs.
    pub build_id: String,
    /// Ends steps that run.
    pub cancel: CancelToken,
    /// Is told what happens.
    pub progress: Arc<dyn Progress>,
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
}

/// Does a step.
///
/// # Errors
/// [`StepError`], which says what failed.
pub async fn execute(bench: &Arc<Bench>, id: StepId, op: &Op, given: Given) -> Result<StepOutput, StepError> {
    match op {
        Op::Scratch => Ok(StepOutput::Rootfs(Rootfs::default())),
        Op::Image(image) => Ok(StepOutput::Rootfs(Rootfs { layers: image.layers.clone(), made: Vec::new() })),
        Op::Context(context) => Ok(StepOutput::Files(Arc::clone(&bench.contexts[&context.name].tree))),
        Op::Http(_) => Ok(StepOutput::File(bench.downloads[&id].clone())),
        Op::Run(run) => run::run(bench, id, run, given).await.map(StepOutput::Rootfs),
        Op::Copy(copy) => copy::copy(bench, op, copy, given).await.map(StepOutput::Rootfs),
        Op::MakeDir(make) => make_dir::make_dir(bench, make, given).await.map(StepOutput::Rootfs),
    }
}
