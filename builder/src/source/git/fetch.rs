//! What is asked of a server: which refs it has, and commits.
//!
//! A commit is fetched by its id and without its history. Servers that give no single commits, or none that no ref leads to
//! directly, are asked for everything instead.

use std::ffi::OsString;
use std::time::Duration;

use super::bare::{self, Bare, COMMITS_MAX, REFS};
use super::environment::Environment;
use super::program::{Call, Input, run};
use super::refs::{Found, Refs};
use super::{GitError, GitSources, Problem, Resolved, authentication};
use crate::git_reference::{GitReference, Remote, is_commit_id};
use crate::lanes::blocking;
use crate::lower::nearest;

/// Most names that an error lists.
const KNOWN_MAX: usize = 8;
/// Most bytes of a list of refs.
const REFS_BYTES_MAX: usize = 256 << 20;
/// Most bytes of the user's settings for credentials.
const SETTINGS_BYTES_MAX: usize = 1 << 20;
/// How often a server is asked that cannot be reached.
const ATTEMPTS_MAX: u32 = 3;
/// The wait before it is asked again, which doubles.
const PAUSE: Duration = Duration::from_secs(1);
/// Time between two looks whether a repository is free.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Shortest beginning of a commit's id that is taken for one. A shorter one could mean several, and which of them would depend
/// on what is known of the history.
const BEGINNING_LENGTH_MIN: usize = 7;

/// A repository, and the one that the user named: it, or what it is a submodule of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) remote: &'a Remote,
    pub(super) named: &'a Remote,
    /// The task under which progress is shown.
    pub(super) task: &'a str,
}

impl<'a> Asked<'a> {
    fn itself(remote: &'a Remote, task: &'a str) -> Self {
        Self { remote, named: remote, task }
    }
}

impl GitSources {
    /// Finds the commit that a reference means.
    pub(super) async fn find(&self, reference: &GitReference) -> Result<Resolved, GitError> {
        let name = reference.name.as_deref().filter(|name| is_commit_id(name));
        let pinned = reference.checksum.as_deref().filter(|_| reference.fetch_by_commit && name.is_none());
        let resolved = match (name, pinned) {
            (Some(commit), _) => Resolved { object: commit.to_owned(), peeled: None, name: None },
            (None, Some(commit)) => {
                let name = reference.name.as_deref().map(|name| match name.starts_with("refs/") {
                    true => name.to_owned(),
                    false => format!("refs/heads/{name}"),
                });
                return Ok(Resolved { object: commit.to_owned(), peeled: None, name });
            }
            (None, None) => {
                let task = format!("resolve git repository {}", reference.shown());
                self.telling(&task, self.ask(reference, &task)).await?
            }
        };
        check(reference, resolved)
    }

    async fn ask(&self, reference: &GitReference, task: &str) -> Result<Resolved, GitError> {
        let asked = Asked::itself(&reference.remote, task);
        let cell = self.listings.of(&reference.remote);
        let refs = cell.get_or_try_init(|| self.list(asked)).await?;
        let repository = || reference.remote.address.clone();
        let Some(name) = reference.name.as_deref() else {
            let found = refs.default_branch().map(Resolved::from);
            return found.ok_or_else(|| GitError::Empty { repository: repository() });
        };
        if let Some(found) = refs.named(name) {
            return Ok(found.into());
        }
        if let Some(found) = self.by_beginning(asked, refs, name).await? {
            return Ok(found.into());
        }
        let mut known = refs.names();
        let near = nearest(name, known.iter().map(String::as_str)).map(str::to_owned);
        known.dedup();
        known.truncate(KNOWN_MAX);
        Err(GitError::UnknownName { repository: repository(), name: name.to_owned(), near, known })
    }

    /// Returns the commit whose id begins so: one at a ref, one that was fetched before, or one of the whole history.
    async fn by_beginning(
        &self,
        asked: Asked<'_>,
        refs: &Refs,
        name: &str,
    ) -> Result<Option<Found>, GitError> {
        let start = name.to_ascii_lowercase();
        if start.len() < BEGINNING_LENGTH_MIN || !start.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(None);
        }
        let mut commits = refs.beginning(&start);
        if commits.is_empty() && !refs.is_empty() {
            let bare = self.open(asked, refs.format()).await?;
            commits = bare.beginning(&start).await?;
            if commits.is_empty() {
                self.fetch_everything(&bare, asked).await?;
                commits = bare.beginning(&start).await?;
            }
        }
        match commits.as_slice() {
            [] => Ok(None),
            [commit] => Ok(Some(Found { object: commit.clone(), peeled: None, name: None })),
            _ => {
                let repository = asked.remote.address.clone();
                Err(GitError::Ambiguous { repository, name: name.to_owned() })
            }
        }
    }

    /// Asks the server for its refs.
    async fn list(&self, asked: Asked<'_>) -> Result<Refs, GitError> {
        let words = ["ls-remote", "--symref", "--", &asked.remote.address].map(OsString::from);
        let environment = Environment::new(&self.workshop.git.search_path, None);
        let mut attempt = Attempt { action: "ask", words: &words, environment, output_max: REFS_BYTES_MAX };
        let output = self.speak(asked, &mut attempt, &|| Ok(Input::Empty)).await?;
        Ok(Refs::parse(&String::from_utf8_lossy(&output)))
    }

    /// Opens the repository in the store, waiting for whoever has it.
    pub(super) async fn open(&self, asked: Asked<'_>, format: &str) -> Result<Bare, GitError> {
        let program = self.program().await?;
        let name = format!("{format} {}", asked.remote.address);
        let mut has_told = false;
        loop {
            let (store, name) = (self.workshop.store.clone(), name.clone());
            if let Some(repository) = blocking(move || store.try_repository(&name)).await? {
                let (search_path, shown) = (&self.workshop.git.search_path, asked.remote.address.clone());
                return Bare::open(repository, program, search_path, shown, format).await;
            }
            if !std::mem::replace(&mut has_told, true) {
                self.say(asked.task, "waiting for another build that uses this repository");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Sees to it that an object is in the repository.
    pub(super) async fn obtain(&self, bare: &Bare, asked: Asked<'_>, object: &str) -> Result<(), GitError> {
        if bare.has(object).await? {
            return Ok(());
        }
        if bare.count().await? >= COMMITS_MAX {
            bare.restart(format_of(object)).await?;
        }
        let fetched = self.fetch_one(bare, asked, object).await;
        let fetched = match fetched.as_ref().err().and_then(GitError::problem) {
            Some(Problem::Shallow | Problem::Unadvertised) => self.fetch_everything(bare, asked).await,
            // After a power cut, say, or on a full disk.
            Some(Problem::Damaged) => {
                bare.restart(format_of(object)).await?;
                self.fetch_one(bare, asked, object).await
            }
            _ => fetched,
        };
        fetched?;
        if bare.has(object).await? {
            return Ok(());
        }
        let (repository, name) = (asked.remote.address.clone(), object.to_owned());
        Err(GitError::UnknownName { repository, name, near: None, known: Vec::new() })
    }

    async fn fetch_one(&self, bare: &Bare, asked: Asked<'_>, object: &str) -> Result<(), GitError> {
        let refspec = format!("+{object}:{REFS}/{object}");
        self.fetch(bare, asked, &["--depth=1"], &[&refspec]).await
    }

    async fn fetch_everything(&self, bare: &Bare, asked: Asked<'_>) -> Result<(), GitError> {
        self.say(asked.task, "the server is asked for the whole history");
        let refspecs = ["heads", "tags"].map(|kind| format!("+refs/{kind}/*:refs/all/{kind}/*"));
        let is_shallow = bare.path().join("shallow").exists();
        let options: &[&str] = if is_shallow { &["--prune", "--unshallow"] } else { &["--prune"] };
        self.fetch(bare, asked, options, &refspecs.each_ref().map(String::as_str)).await
    }

    async fn fetch(
        &self,
        bare: &Bare,
        asked: Asked<'_>,
        options: &[&str],
        refspecs: &[&str],
    ) -> Result<(), GitError> {
        let fixed =
            ["fetch", "--quiet", "--progress", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance"];
        let remote = ["--refmap=", "--", &asked.remote.address];
        let words = fixed.iter().chain(options).chain(&remote).chain(refspecs).map(OsString::from);
        let words: Vec<OsString> = words.collect();
        let mut attempt =
            Attempt { action: "fetch", words: &words, environment: bare.environment(), output_max: 1 << 20 };
        self.speak(asked, &mut attempt, &|| bare.claim()).await.map(drop)
    }

    /// Runs git as it speaks to a server, again when the connection fails.
    async fn speak(
        &self,
        asked: Asked<'_>,
        attempt: &mut Attempt<'_>,
        input: &(dyn Fn() -> Result<Input, GitError> + Sync),
    ) -> Result<Vec<u8>, GitError> {
        let program = self.program().await?;
        let header = authentication::header(&self.secrets, asked.remote, asked.named)?;
        let credentials = match asked.remote.is_web() {
            true => self.credentials.get_or_try_init(|| self.read_credentials()).await?.as_slice(),
            false => &[],
        };
        let surroundings = &self.surroundings;
        let environment = std::mem::take(&mut attempt.environment);
        let environment = environment.speaking(surroundings, asked.remote, header.as_ref(), credentials);
        let (mut count, mut pause) = (1, PAUSE);
        loop {
            let call = Call {
                arguments: attempt.words.to_vec(),
                environment: environment.clone().into_variables(),
                input: input()?,
                output_max: attempt.output_max,
                silence_max: Some(surroundings.silence_max),
                listener: &|line| self.say(asked.task, line),
            };
            let outcome = self.workshop.lanes.net(run(program, call)).await;
            let outcome = outcome.map_err(|error| bare::failed(attempt.action, &asked.remote.address, error));
            match outcome {
                Err(error) if error.is_transient() && count < ATTEMPTS_MAX => {
                    self.say(asked.task, "the connection failed; trying again");
                    tokio::time::sleep(pause).await;
                    (count, pause) = (count + 1, pause * 2);
                }
                outcome => return outcome,
            }
        }
    }

    /// Reads the settings for credentials from the user's own configuration.
    async fn read_credentials(&self) -> Result<Vec<(OsString, OsString)>, GitError> {
        let call = Call {
            arguments: ["config", "-z", "--get-regexp", "^credential\\."].map(OsString::from).to_vec(),
            environment: Environment::of_user(&self.workshop.git).into_variables(),
            input: Input::Empty,
            output_max: SETTINGS_BYTES_MAX,
            silence_max: Some(self.workshop.git.silence_max),
            listener: &|_| {},
        };
        match run(self.program().await?, call).await {
            Ok(output) => {
                let pair = |(key, value): (String, String)| (key.into(), value.into());
                Ok(bare::settings(&output).into_iter().map(pair).collect())
            }
            // There are none, or a configuration that git cannot read, which is the user's to find out elsewhere.
            Err(super::program::CallError::Failed(_)) => Ok(Vec::new()),
            Err(error) => Err(bare::failed("read the settings of", "git", error)),
        }
    }
}

/// One thing that is asked of a server.
struct Attempt<'a> {
    action: &'static str,
    words: &'a [OsString],
    environment: Environment,
    output_max: usize,
}

/// Returns the name of the hash that an id is made by.
pub(super) fn format_of(object: &str) -> &'static str {
    if object.len() == 64 { "sha256" } else { "sha1" }
}

/// Checks that a commit is the one that was asked for.
fn check(reference: &GitReference, resolved: Resolved) -> Result<Resolved, GitError> {
    let Some(expected) = &reference.checksum else { return Ok(resolved) };
    let ids = || resolved.peeled.iter().chain([&resolved.object]);
    if ids().any(|id| id.starts_with(expected.as_str())) {
        return Ok(resolved);
    }
    let actual = ids().cloned().collect();
    Err(GitError::Checksum { reference: reference.shown(), expected: expected.clone(), actual })
}
