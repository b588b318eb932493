//! What a build reads before anything runs: the Dockerfile, the contexts, files of the web, commits of git repositories.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use kiln_layer::NoLayers;
use kiln_oci::Digest;

use super::BuildError;
use crate::agents::Agents;
use crate::ignore::Matcher;
use crate::lanes::blocking;
use crate::lower::{MAIN_CONTEXT, Source};
use crate::plan::{Op, Plan, StepId};
use crate::progress::{Progress, ProgressEvent};
use crate::request::{BuildRequest, ContextPlace, DockerfilePlace, NamedContext, WebUrl};
use crate::source::archive::{self, Files};
use crate::source::context::{self, Context, ContextSpec};
use crate::source::dockerfile;
use crate::source::git::{GitSources, Resolved};
use crate::source::http::{Announced, Download, HttpError, Web};
use crate::transform::Selection;
use crate::workshop::Workshop;

/// Where the inputs of a build are, and the Dockerfile's text.
#[derive(Debug)]
pub(crate) struct Inputs {
    /// The Dockerfile.
    pub(crate) source: Source,
    main: Opened,
    /// Contexts by their names, opened when a step needs them.
    named: BTreeMap<String, NamedContext>,
    /// The ignore file beside the Dockerfile.
    ignore_file: Option<PathBuf>,
    /// The files of the web that the build wants.
    pub(crate) web: Arc<Web>,
    /// The git repositories that it wants.
    pub(crate) git: Arc<GitSources>,
    /// The agents of the secure shell that it may use.
    pub(crate) agents: Arc<Agents>,
}

/// A context that can be read.
#[derive(Debug, Clone)]
enum Opened {
    Directory(PathBuf),
    Files(Arc<Files>),
}

impl Inputs {
    /// Opens the main context and reads the Dockerfile.
    pub(crate) async fn open(
        workshop: &Arc<Workshop>,
        request: &BuildRequest,
        progress: &Arc<dyn Progress>,
    ) -> Result<Self, BuildError> {
        let web = Arc::new(Web::new(workshop, &request.secrets, progress));
        let agents = Agents::start(&request.agents, &workshop.store, &workshop.git.search_path).await?;
        let git = Arc::new(GitSources::new(workshop, &request.secrets, &agents, progress));
        let (main, text) = open_main(workshop, request, &web, &git).await?;
        let text = match (text, &request.dockerfile) {
            (None, DockerfilePlace::Web(url)) => Some(text_of(url, &web.fetch(url).await?)?),
            (text, _) => text,
        };
        let (place, context) = (request.dockerfile.clone(), main.clone());
        let (source, path) = match text {
            Some(source) => (source, None),
            None => blocking(move || read_dockerfile(&place, &context)).await?,
        };
        let ignore_file = path.as_deref().map(context::ignore_file_of);
        Ok(Self {
            source,
            main,
            named: request.named_contexts.clone(),
            ignore_file,
            web,
            git,
            agents: Arc::new(agents),
        })
    }

    /// Returns the patterns of the main context's ignore file. Archives have none.
    pub(crate) fn ignored(&self) -> Result<Matcher, BuildError> {
        let Opened::Directory(directory) = &self.main else { return Ok(Matcher::default()) };
        let (ignore, _) = context::ignored(self.ignore_file.as_deref(), Some(directory))?;
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
            let (task, opened) = match name.strip_prefix("named:") {
                Some(own) => (format!("load context {own}"), self.open_named(workshop, own).await?),
                None => ("load build context".to_owned(), self.main.clone()),
            };
            progress.on(&ProgressEvent::Began { task: &task });
            let started = Instant::now();
            let context = match opened {
                Opened::Files(files) => Context::of_archive(files),
                Opened::Directory(directory) => {
                    let ignore_file = self.ignore_file.clone().filter(|_| name == MAIN_CONTEXT);
                    let spec = ContextSpec { directory, ignore_file, selections };
                    let own = Arc::clone(workshop);
                    workshop.lanes.cpu(move || Context::read(&own, spec)).await?
                }
            };
            let detail = match context.file_count {
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
        plan: &Plan,
    ) -> Result<BTreeMap<StepId, Resolved>, BuildError> {
        let needed = plan.reachable();
        let questions =
            plan.steps().filter(|(id, _)| needed[id.index()]).filter_map(|(id, step)| match &step.op {
                Op::Git(op) => Some(async move {
                    let resolved = self.git.resolve(&op.reference).await;
                    resolved
                        .map(|resolved| (id, resolved))
                        .map_err(|error| BuildError::step(id, error.into(), plan, &self.source))
                }),
                _ => None,
            });
        Ok(futures_util::future::try_join_all(questions).await?.into_iter().collect())
    }

    /// Finds out which files of the web needed steps have.
    pub(crate) async fn announce_files(
        &self,
        plan: &Plan,
    ) -> Result<BTreeMap<StepId, Announced>, BuildError> {
        let needed = plan.reachable();
        let files =
            plan.steps().filter(|(id, _)| needed[id.index()]).filter_map(|(id, step)| match &step.op {
                Op::Http(op) => Some(async move {
                    let announced = self.web.announce(&op.url, op.checksum).await;
                    announced
                        .map(|announced| (id, announced))
                        .map_err(|error| BuildError::step(id, error.into(), plan, &self.source))
                }),
                _ => None,
            });
        Ok(futures_util::future::try_join_all(files).await?.into_iter().collect())
    }

    async fn open_named(&self, workshop: &Arc<Workshop>, name: &str) -> Result<Opened, BuildError> {
        match self.named.get(name) {
            Some(NamedContext::Directory(path)) => Ok(Opened::Directory(canonical(path)?)),
            Some(NamedContext::Archive(path)) => unpack_file(workshop, path).await,
            Some(NamedContext::Web(url)) => {
                let (download, own, shown) =
                    (self.web.fetch(url).await?, Arc::clone(workshop), url.to_string());
                let read = move || archive::read_or_only(&own, &download, &shown);
                Ok(Opened::Files(Arc::new(workshop.lanes.cpu(read).await?)))
            }
            // No step reads these as a context.
            Some(NamedContext::Git(_) | NamedContext::Image(_) | NamedContext::OciLayout { .. }) | None => {
                Err(BuildError::NoContext)
            }
        }
    }
}

/// Returns what needed steps select of each context: what identifies it, and the path or pattern.
fn selections(plan: &Plan) -> BTreeMap<String, BTreeMap<Digest, String>> {
    let needed = plan.reachable();
    let mut selections: BTreeMap<String, BTreeMap<Digest, String>> = BTreeMap::new();
    for (_, step) in plan.steps().filter(|(id, _)| needed[id.index()]) {
        for (from, selection) in Selection::all_of(&step.op) {
            if let Op::Context(context) = &plan.step(from).op {
                let of_context = selections.entry(context.name.clone()).or_default();
                of_context.insert(selection.query(), selection.pattern().to_owned());
            }
        }
    }
    selections
}

/// Opens the main context. A file of the web that is no archive is a Dockerfile, and the context has no files.
async fn open_main(
    workshop: &Arc<Workshop>,
    request: &BuildRequest,
    web: &Web,
    git: &GitSources,
) -> Result<(Opened, Option<Source>), BuildError> {
    let nothing = || Opened::Files(Arc::new(archive::nothing()));
    if let Some(reference) = request.git_context() {
        // Only the Dockerfile is read here. Steps have the files by `Op::Git`, without a context.
        return Ok((nothing(), dockerfile::of_repository(git, &reference, &request.dockerfile).await?));
    }
    let url = match &request.context {
        ContextPlace::Directory(path) => return Ok((Opened::Directory(canonical(path)?), None)),
        ContextPlace::Archive(path) => return Ok((unpack_file(workshop, path).await?, None)),
        ContextPlace::Git(_) | ContextPlace::Empty => return Ok((nothing(), None)),
        ContextPlace::Web(url) => url,
    };
    let (download, shown) = (web.fetch(url).await?, url.to_string());
    if !archive::is_archive(&download.content, &shown)? {
        if request.dockerfile != DockerfilePlace::Default {
            return Err(BuildError::TwoDockerfiles { url: shown });
        }
        return Ok((nothing(), Some(text_of(url, &download)?)));
    }
    let own = Arc::clone(workshop);
    let files = workshop.lanes.cpu(move || archive::read_content(&own, &download.content, &shown)).await?;
    Ok((Opened::Files(Arc::new(files)), None))
}

/// Reads a file of the web as the Dockerfile.
fn text_of(url: &WebUrl, download: &Download) -> Result<Source, BuildError> {
    let bytes = download.content.open(&NoLayers).and_then(dockerfile::read_bounded);
    let bytes = bytes.map_err(|source| HttpError::Read { url: url.to_string(), source })?;
    Ok(Source::from_bytes(url.to_string(), &bytes))
}

fn read_dockerfile(
    place: &DockerfilePlace,
    context: &Opened,
) -> Result<(Source, Option<PathBuf>), BuildError> {
    Ok(match context {
        Opened::Directory(directory) => dockerfile::read(place, directory)?,
        Opened::Files(files) => (dockerfile::read_in_archive(place, &files.tree)?, None),
    })
}

async fn unpack_file(workshop: &Arc<Workshop>, path: &Path) -> Result<Opened, BuildError> {
    let (own, path) = (Arc::clone(workshop), path.to_owned());
    let files = workshop.lanes.cpu(move || archive::read_file(&own, &path)).await?;
    Ok(Opened::Files(Arc::new(files)))
}

fn canonical(path: &Path) -> Result<PathBuf, BuildError> {
    let failed = |source| BuildError::Context { path: path.to_owned(), source };
    let canonical = fs_err::canonicalize(path).map_err(failed)?;
    if !canonical.is_dir() {
        return Err(failed(std::io::Error::other("it is not a directory")));
    }
    Ok(canonical)
}
