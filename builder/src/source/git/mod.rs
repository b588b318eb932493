//! Git repositories as sources, by the program `git`, which brings every protocol and way to authenticate.
//!
//! ```text
//! reference ─► resolve ─► commit ─► key: all that the cache needs
//!              refs.rs      │
//!              one question │ only when a step must read the files
//!                           ▼
//!              fetch.rs ─► bare repository in the store ─► files in scratch ─► tree
//!                          bare.rs                         checkout.rs, kept.rs, submodules.rs
//! ```
//!
//! - A name is asked for once a build; a whole commit id not at all.
//! - Submodules are fetched here, each like a repository of its own: git's own script would run with what a foreign
//!   `.gitmodules` and a foreign configuration say.
//! - Does not know the Dockerfile, or what the files are for.

mod authentication;
mod bare;
mod checkout;
mod environment;
mod error;
mod fetch;
mod kept;
mod program;
mod read;
mod refs;
mod submodules;

pub use error::{GitError, PathProblem, SubmoduleError};
pub use program::{FailedCall, Problem};

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use kiln_layer::Tree;
use kiln_oci::{Digest, Hasher};
use tokio::sync::OnceCell;

use crate::agents::{Agents, DEFAULT_AGENT};
use crate::git_reference::{GitReference, Remote};
use crate::plan::key::KeySink;
use crate::progress::{Progress, ProgressEvent};
use crate::secrets::Secrets;
use crate::workshop::{GitSurroundings, Workshop};
use checkout::Checkout;
use environment::Environment;
use program::{Call, Input};
use refs::{Found, Refs};

/// The commit that a reference means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The object: a commit, or an annotated tag.
    object: String,
    /// The commit, where it is known to be another object.
    peeled: Option<String>,
    /// The full name of the ref.
    name: Option<String>,
}

impl Resolved {
    /// Returns the commit, as far as it is known without the repository.
    pub fn commit(&self) -> &str {
        self.peeled.as_deref().unwrap_or(&self.object)
    }

    /// Returns what decides the files: the commit, and with the git directory all that is written into it.
    pub fn identity(&self, reference: &GitReference) -> Digest {
        let mut hasher = Hasher::new();
        hasher.field("commit", self.commit().as_bytes());
        if reference.keeps_git_directory() {
            hasher.field("object", self.object.as_bytes());
            hasher.field("name", self.name.as_deref().unwrap_or_default().as_bytes());
            hasher.field("address", reference.remote.address.as_bytes());
        }
        hasher.finish()
    }
}

impl From<Found> for Resolved {
    fn from(Found { object, peeled, name }: Found) -> Self {
        Self { object, peeled, name }
    }
}

/// The first version that takes settings from variables alone (`GIT_CONFIG_COUNT`, `GIT_CONFIG_GLOBAL`).
const VERSION_MIN: (u32, u32) = (2, 32);

/// The git repositories of one build. Everything is asked for and fetched at most once.
pub struct GitSources {
    workshop: Arc<Workshop>,
    secrets: Secrets,
    /// What git may use, with the agent that the build chose.
    surroundings: GitSurroundings,
    progress: Arc<dyn Progress>,
    /// Where git is.
    program: OnceCell<PathBuf>,
    /// The user's settings for credentials.
    credentials: OnceCell<Vec<(OsString, OsString)>>,
    listings: Cells<Remote, Refs>,
    resolved: Cells<GitReference, Resolved>,
    checkouts: Cells<GitReference, Checkout>,
}

impl fmt::Debug for GitSources {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("GitSources").finish_non_exhaustive()
    }
}

/// Values that are computed once, by key.
struct Cells<K, V>(Mutex<Vec<(K, Arc<OnceCell<V>>)>>);

impl<K: Clone + PartialEq, V> Cells<K, V> {
    fn new() -> Self {
        Self(Mutex::default())
    }

    fn of(&self, key: &K) -> Arc<OnceCell<V>> {
        let mut cells: MutexGuard<'_, _> = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, cell)) = cells.iter().find(|(known, _)| known == key) {
            return Arc::clone(cell);
        }
        let cell = Arc::new(OnceCell::new());
        cells.push((key.clone(), Arc::clone(&cell)));
        cell
    }
}

impl GitSources {
    /// Returns what a build's repositories are had by.
    pub fn new(
        workshop: &Arc<Workshop>,
        secrets: &Secrets,
        agents: &Agents,
        progress: &Arc<dyn Progress>,
    ) -> Self {
        let agent = agents.socket(DEFAULT_AGENT);
        Self {
            surroundings: agent.map_or_else(|| workshop.git.clone(), |agent| workshop.git.with_agent(agent)),
            workshop: Arc::clone(workshop),
            secrets: secrets.clone(),
            progress: Arc::clone(progress),
            program: OnceCell::new(),
            credentials: OnceCell::new(),
            listings: Cells::new(),
            resolved: Cells::new(),
            checkouts: Cells::new(),
        }
    }

    /// Returns the commit that a reference means now.
    ///
    /// # Errors
    /// [`GitError`]: there is no such name, or the checksum is another, or the server cannot be asked.
    pub async fn resolve(&self, reference: &GitReference) -> Result<Resolved, GitError> {
        let cell = self.resolved.of(reference);
        cell.get_or_try_init(|| Box::pin(self.find(reference))).await.cloned()
    }

    /// Returns the files that a reference means, with their digests. They lie in scratch until the build ends.
    ///
    /// # Errors
    /// [`GitError`].
    pub async fn files(&self, reference: &GitReference) -> Result<Arc<Tree>, GitError> {
        let cell = self.checkouts.of(reference);
        let checkout = cell.get_or_try_init(|| async {
            let resolved = self.resolve(reference).await?;
            let task = format!("load git repository {}", reference.shown());
            self.telling(&task, Box::pin(self.check_out(reference, &resolved, &task))).await
        });
        Ok(Arc::clone(&checkout.await?.tree))
    }

    /// Does something under a name that the display shows.
    async fn telling<T>(
        &self,
        task: &str,
        work: impl Future<Output = Result<T, GitError>>,
    ) -> Result<T, GitError> {
        self.progress.on(&ProgressEvent::Began { task });
        let started = Instant::now();
        let outcome = work.await;
        self.progress.on(&ProgressEvent::Finished { task, took: started.elapsed(), detail: "" });
        outcome
    }

    fn say(&self, task: &str, line: &str) {
        self.progress.on(&ProgressEvent::TaskOutput { task, line });
    }

    /// Returns where git is. An old one would not heed what keeps the surroundings away from it.
    async fn program(&self) -> Result<&Path, GitError> {
        let found = self.program.get_or_try_init(|| async {
            let search_path = &self.workshop.git.search_path;
            let program = program::find(search_path).ok_or(GitError::NoProgram)?;
            let call = Call {
                arguments: vec!["version".into()],
                environment: Environment::new(search_path, None).into_variables(),
                input: Input::Empty,
                output_max: 1 << 10,
                silence_max: Some(self.workshop.git.silence_max),
                listener: &|_| {},
            };
            let output = program::run(&program, call).await;
            let output = output.map_err(|error| bare::failed("ask the version of", "git", error))?;
            let version = String::from_utf8_lossy(&output).trim().to_owned();
            match version_of(&version).is_some_and(|version| version >= VERSION_MIN) {
                true => Ok(program),
                false => Err(GitError::TooOld { version }),
            }
        });
        found.await.map(PathBuf::as_path)
    }
}

/// Reads `git version 2.39.5 (…)`.
fn version_of(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.strip_prefix("git version ")?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests;
