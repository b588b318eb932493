//! What a build reads before anything runs: the Dockerfile, the contexts, files from URLs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use kiln_layer::tar::read::Limits;
use kiln_layer::{ArchivePath, Devices, DirectoryOrigin, MaterializeOptions, NoLayers, Ownership};
use kiln_store::Scratch;

use super::BuildError;
use crate::ignore::Matcher;
use crate::lanes::blocking;
use crate::lower::{MAIN_CONTEXT, Source};
use crate::plan::{CopySource, Op, Plan, StepId};
use crate::progress::{Progress, ProgressEvent};
use crate::request::{BuildRequest, ContextPlace, NamedContext};
use crate::source::context::{self, Context, ContextSpec};
use crate::source::dockerfile;
use crate::source::git::{GitError, GitSources, Resolved};
use crate::source::http::{self, Download};
use crate::workshop::Workshop;

/// Where the inputs of a build are, and the Dockerfile's text.
#[derive(Debug)]
pub(crate) struct Inputs {
    /// The Dockerfile.
    pub(crate) source: Source,
    /// Directories of contexts by their names in the plan.
    directories: BTreeMap<String, PathBuf>,
    /// The ignore file beside the Dockerfile.
    ignore_file: Option<PathBuf>,
    /// The git repositories of the build.
    pub(crate) git: Arc<GitSources>,
    /// Keeps contexts that came as archives.
    _scratch: Vec<Scratch>,
}

impl Inputs {
    /// Opens contexts, unpacking those that are archives, and reads the Dockerfile.
    pub(crate) async fn open(
        workshop: &Arc<Workshop>,
        request: &BuildRequest,
        progress: &Arc<dyn Progress>,
    ) -> Result<Self, BuildError> {
        let git = Arc::new(GitSources::new(workshop, &request.secrets, progress));
        let text = match request.git_context() {
            Some(reference) => Some(dockerfile::of_repository(&git, &reference, &request.dockerfile).await?),
            None => None,
        };
        let (workshop, request) = (Arc::clone(workshop), request.clone());
        blocking(move || open(&workshop, &request, git, text)).await
    }

    /// Returns the patterns of the main context's ignore file.
    pub(crate) fn ignored(&self) -> Result<Matcher, BuildError> {
        let directory = self.directories.get(MAIN_CONTEXT).map(PathBuf::as_path);
        let (ignore, _) = context::ignored(self.ignore_file.as_deref(), directory)?;
        Ok(ignore)
    }

    /// Reads the contexts that some needed step reads from.
    pub(crate) async fn read_contexts(
        &self,
        workshop: &Arc<Workshop>,
        plan: &Arc<Plan>,
        progress: &Arc<dyn Progress>,
    ) -> Result<BTreeMap<String, Context>, BuildError> {
        let mut contexts = BTreeMap::new();
        for (name, selections) in selections(plan) {
            let directory = self.directories.get(&name).cloned().ok_or_else(|| BuildError::NoContext)?;
            let task = match name.strip_prefix("named:") {
                Some(name) => format!("load context {name}"),
                None => "load build context".to_owned(),
            };
            progress.on(&ProgressEvent::Began { task: &task });
            let started = Instant::now();
            let ignore_file = self.ignore_file.clone().filter(|_| name == MAIN_CONTEXT);
            let spec = ContextSpec { directory, ignore_file, selections: selections.into_iter().collect() };
            let own = Arc::clone(workshop);
            let context = workshop.lanes.cpu(move || context::read(&own, &spec)).await?;
            let detail = match context.tree.iter().filter(|(_, entry)| entry.content().is_some()).count() {
                1 => "1 file".to_owned(),
                count => format!("{count} files"),
            };
            progress.on(&ProgressEvent::Finished { task: &task, took: started.elapsed(), detail: &detail });
            contexts.insert(name, context);
        }
        Ok(contexts)
    }

    /// Asks which commits the repositories of needed steps are wanted at.
    pub(crate) async fn resolve_repositories(
        &self,
        plan: &Arc<Plan>,
    ) -> Result<BTreeMap<StepId, Resolved>, BuildError> {
        let needed = plan.reachable();
        let questions =
            plan.steps().filter(|(id, _)| needed[id.index()]).filter_map(|(id, step)| match &step.op {
                Op::Git(op) => Some(async move {
                    let resolved = self.git.resolve(&op.reference).await;
                    let failed = |error: GitError| BuildError::step(plan, id, &self.source, error.into());
                    resolved.map(|resolved| (id, resolved)).map_err(failed)
                }),
                _ => None,
            });
        Ok(futures_util::future::try_join_all(questions).await?.into_iter().collect())
    }

    /// Fetches the files that needed steps name by URL.
    pub(crate) async fn fetch_files(
        &self,
        workshop: &Arc<Workshop>,
        plan: &Arc<Plan>,
    ) -> Result<BTreeMap<StepId, Download>, BuildError> {
        let needed = plan.reachable();
        let fetches =
            plan.steps().filter(|(id, _)| needed[id.index()]).filter_map(|(id, step)| match &step.op {
                Op::Http(op) => Some(async move {
                    let fetched = workshop.lanes.net(http::fetch(workshop, op)).await;
                    fetched.map(|download| (id, download))
                }),
                _ => None,
            });
        Ok(futures_util::future::try_join_all(fetches).await?.into_iter().collect())
    }
}

/// Returns what needed steps select of each context.
fn selections(plan: &Plan) -> BTreeMap<String, BTreeSet<String>> {
    let needed = plan.reachable();
    let mut selections: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let name_of = |step: StepId| match &plan.step(step).op {
        Op::Context(context) => Some(context.name.clone()),
        _ => None,
    };
    let mut select = |from: StepId, pattern: &str| {
        if let Some(name) = name_of(from) {
            selections.entry(name).or_default().insert(pattern.to_owned());
        }
    };
    for (_, step) in plan.steps().filter(|(id, _)| needed[id.index()]) {
        match &step.op {
            Op::Copy(copy) => {
                for source in &copy.sources {
                    if let CopySource::Path { from, pattern } = source {
                        select(*from, pattern);
                    }
                }
            }
            Op::Run(run) => {
                for mount in &run.mounts {
                    if let (Some(from), Some(source)) = (mount.kind.reads(), mount.kind.source()) {
                        select(from, source);
                    }
                }
            }
            _ => {}
        }
    }
    selections
}

fn open(
    workshop: &Workshop,
    request: &BuildRequest,
    git: Arc<GitSources>,
    text: Option<Source>,
) -> Result<Inputs, BuildError> {
    let mut scratch = Vec::new();
    let mut directories = BTreeMap::new();
    match &request.context {
        ContextPlace::Directory(path) => {
            directories.insert(MAIN_CONTEXT.to_owned(), canonical(path)?);
        }
        ContextPlace::Archive(path) => {
            directories.insert(MAIN_CONTEXT.to_owned(), unpack(workshop, path, &mut scratch)?);
        }
        ContextPlace::Git(_) => {}
        ContextPlace::Empty => {
            let empty = workshop.store.scratch("context")?;
            directories.insert(MAIN_CONTEXT.to_owned(), empty.path().to_owned());
            scratch.push(empty);
        }
    }
    for (name, context) in &request.named_contexts {
        let directory = match context {
            NamedContext::Directory(path) => canonical(path)?,
            NamedContext::Archive(path) => unpack(workshop, path, &mut scratch)?,
            NamedContext::Image(_) | NamedContext::OciLayout { .. } | NamedContext::Git(_) => continue,
        };
        directories.insert(format!("named:{name}"), directory);
    }
    let (source, path) = match text {
        Some(text) => (text, None),
        None => dockerfile::read(&request.dockerfile, &directories[MAIN_CONTEXT])?,
    };
    let ignore_file = path.as_deref().map(context::ignore_file_of);
    Ok(Inputs { source, directories, ignore_file, git, _scratch: scratch })
}

fn canonical(path: &Path) -> Result<PathBuf, BuildError> {
    let failed = |source| BuildError::Context { path: path.to_owned(), source };
    let canonical = fs_err::canonicalize(path).map_err(failed)?;
    if !canonical.is_dir() {
        return Err(failed(std::io::Error::other("it is not a directory")));
    }
    Ok(canonical)
}

/// Unpacks a context that is an archive into a directory of the store.
fn unpack(workshop: &Workshop, path: &Path, scratch: &mut Vec<Scratch>) -> Result<PathBuf, BuildError> {
    let failed = |source: std::io::Error| BuildError::Context { path: path.to_owned(), source };
    let (contents, directory) = (workshop.store.scratch("archive")?, workshop.store.scratch("context")?);
    let origin = Arc::new(DirectoryOrigin::open(contents.path()).map_err(failed)?);
    let file = fs_err::File::open(path).map_err(failed)?;
    let tree = kiln_layer::extract_archive(file, &origin, Limits::default())
        .map_err(|error| failed(std::io::Error::other(error)))?;
    let options = MaterializeOptions { ownership: Ownership::Recorded, devices: Devices::Record, time: None };
    kiln_layer::materialize(&tree, &ArchivePath::root(), directory.path(), &NoLayers, options)
        .map_err(|error| failed(std::io::Error::other(error)))?;
    let unpacked = directory.path().to_owned();
    contents.close()?;
    scratch.push(directory);
    Ok(unpacked)
}
