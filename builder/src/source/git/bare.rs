//! The bare repository in the store that keeps what was fetched of one remote, and what is asked of it without a server.
//!
//! Every commit that was fetched has a ref, so that the next fetch transfers only what is new. A repository with too many of
//! them is begun anew; that is the bound of its growth.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use kiln_store::Repository;

use super::GitError;
use super::environment::Environment;
use super::program::{Call, CallError, Input, run};

/// Most commits that a repository keeps.
pub(super) const COMMITS_MAX: usize = 64;
/// Most bytes of a listing of files or refs.
const LISTING_BYTES_MAX: usize = 512 << 20;
/// Most bytes of one commit that are read.
const COMMIT_BYTES_MAX: usize = 16 << 20;

/// Where fetched commits are noted.
pub(super) const REFS: &str = "refs/kiln";

/// A bare repository that is held.
pub(super) struct Bare {
    repository: Repository,
    program: PathBuf,
    environment: Environment,
    /// Its name for people.
    shown: String,
}

/// What is known of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CommitFacts {
    /// When it was made, in seconds since 1970.
    pub(super) time: i64,
    /// Whether there are commits before it.
    pub(super) has_parents: bool,
}

impl Bare {
    /// Opens a repository that is held: a new one is made, and what a killed git left in an old one goes.
    pub(super) async fn open(
        repository: Repository,
        program: &Path,
        search_path: &std::ffi::OsStr,
        shown: String,
        format: &str,
    ) -> Result<Self, GitError> {
        let environment = Environment::new(search_path, Some(repository.path()));
        let bare = Self { repository, program: program.to_owned(), environment, shown };
        // The last thing that git makes of a new one.
        match bare.repository.path().join("objects/info").is_dir() {
            true => bare.remove_leftovers()?,
            false => bare.begin(format).await?,
        }
        Ok(bare)
    }

    /// Returns the directory.
    pub(super) fn path(&self) -> &Path {
        self.repository.path()
    }

    /// Returns the variables of calls that work on it.
    pub(super) fn environment(&self) -> Environment {
        self.environment.clone()
    }

    /// Returns what keeps it held by a child.
    pub(super) fn claim(&self) -> Result<Input, GitError> {
        self.repository.claim().map(Input::Lock).map_err(|source| self.io(source))
    }

    /// Throws everything away and begins anew.
    pub(super) async fn restart(&self, format: &str) -> Result<(), GitError> {
        self.repository.clear()?;
        self.begin(format).await
    }

    async fn begin(&self, format: &str) -> Result<(), GitError> {
        let format = format!("--object-format={format}");
        let words = ["init", "--quiet", "--bare", "--template=", &format];
        self.local("begin a repository for", &words, Input::Empty, 0).await.map(drop)
    }

    /// A git that was killed leaves files behind that would stop the next one for ever.
    fn remove_leftovers(&self) -> Result<(), GitError> {
        let is_leftover = |name: &[u8]| name.ends_with(b".lock") || name.starts_with(b"tmp_");
        for entry in walkdir::WalkDir::new(self.path()) {
            let entry = entry.map_err(|error| self.io(error.into()))?;
            let is_leftover = is_leftover(entry.file_name().as_encoded_bytes());
            if is_leftover && entry.file_type().is_file() {
                fs_err::remove_file(entry.path()).map_err(|error| self.io(error))?;
            }
        }
        Ok(())
    }

    /// Runs git on it without a server.
    pub(super) async fn local(
        &self,
        action: &'static str,
        words: &[&str],
        input: Input,
        output_max: usize,
    ) -> Result<Vec<u8>, GitError> {
        let arguments = words.iter().map(OsString::from).collect();
        self.call(action, arguments, self.environment(), input, output_max).await
    }

    /// Runs git on it without a server, with other variables.
    pub(super) async fn call(
        &self,
        action: &'static str,
        arguments: Vec<OsString>,
        environment: Environment,
        input: Input,
        output_max: usize,
    ) -> Result<Vec<u8>, GitError> {
        let environment = environment.into_variables();
        let call = Call { arguments, environment, input, output_max, silence_max: None, listener: &|_| {} };
        run(&self.program, call).await.map_err(|error| failed(action, &self.shown, error))
    }

    /// Whether an object is there that is a commit, or leads to one.
    pub(super) async fn has(&self, object: &str) -> Result<bool, GitError> {
        let words = ["cat-file", "-e", &format!("{object}^{{commit}}")];
        Ok(self.word(&words).await?.is_some())
    }

    /// Returns the commit that an object is or leads to.
    pub(super) async fn commit_of(&self, object: &str) -> Result<String, GitError> {
        let words = ["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{object}^{{commit}}")];
        let output = self.local("look into", &words, Input::Empty, 1 << 10).await?;
        Ok(String::from_utf8_lossy(&output).trim().to_owned())
    }

    /// Returns the object of a directory in a commit; none where something else is there, or a symlink is on the way.
    pub(super) async fn directory(&self, commit: &str, path: &str) -> Result<Option<String>, GitError> {
        let place = format!("{commit}:{path}");
        let words = ["rev-parse", "--verify", "--quiet", "--end-of-options", &place];
        let Some(id) = self.word(&words).await? else { return Ok(None) };
        // The commit of a submodule is not here.
        let kind = self.word(&["cat-file", "-t", &id]).await?;
        Ok((kind.as_deref() == Some("tree")).then_some(id))
    }

    /// Returns the word that git answers with, where it does not fail.
    async fn word(&self, words: &[&str]) -> Result<Option<String>, GitError> {
        match self.local("look into", words, Input::Empty, 1 << 10).await {
            Ok(output) => Ok(Some(String::from_utf8_lossy(&output).trim().to_owned())),
            Err(GitError::Failed { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the commits whose ids begin so.
    pub(super) async fn beginning(&self, start: &str) -> Result<Vec<String>, GitError> {
        let words = ["rev-parse", &format!("--disambiguate={start}")];
        let output = self.local("look into", &words, Input::Empty, LISTING_BYTES_MAX).await?;
        let mut commits = Vec::new();
        for id in String::from_utf8_lossy(&output).lines() {
            let kind = self.local("look into", &["cat-file", "-t", id], Input::Empty, 1 << 10).await?;
            if kind == b"commit\n" {
                commits.push(id.to_owned());
            }
        }
        Ok(commits)
    }

    /// Returns the number of commits that were fetched one by one.
    pub(super) async fn count(&self) -> Result<usize, GitError> {
        let words = ["for-each-ref", "--format=x", REFS];
        let output = self.local("look into", &words, Input::Empty, LISTING_BYTES_MAX).await?;
        Ok(output.iter().filter(|byte| **byte == b'\n').count())
    }

    /// Returns what is known of a commit.
    pub(super) async fn facts(&self, commit: &str) -> Result<CommitFacts, GitError> {
        let words = ["cat-file", "commit", commit];
        let text = self.local("read a commit of", &words, Input::Empty, COMMIT_BYTES_MAX).await?;
        Ok(facts(&String::from_utf8_lossy(&text)))
    }

    /// Writes the files of a commit below a directory, and nothing else of it.
    pub(super) async fn write_files(&self, commit: &str, files: &Path, index: &Path) -> Result<(), GitError> {
        let mut environment = self.environment();
        environment.set("GIT_WORK_TREE", files);
        environment.set("GIT_INDEX_FILE", index);
        let words = ["read-tree", "--reset", "-u", commit].map(OsString::from);
        self.call("write the files of", words.to_vec(), environment, self.claim()?, 0).await.map(drop)
    }

    /// Returns the submodules of a commit: paths and commits. Names of files are raw bytes.
    pub(super) async fn submodules(&self, commit: &str) -> Result<Vec<(Vec<u8>, String)>, GitError> {
        let words = ["ls-tree", "-r", "-z", "--full-tree", commit];
        let listing = self.local("list the files of", &words, Input::Empty, LISTING_BYTES_MAX).await?;
        Ok(listing.split(|byte| *byte == 0).filter_map(submodule).collect())
    }

    /// Returns what `.gitmodules` of a commit says: keys and values.
    pub(super) async fn submodule_settings(&self, commit: &str) -> Result<Vec<(String, String)>, GitError> {
        let blob = format!("--blob={commit}:.gitmodules");
        let words = ["config", "-z", "--no-includes", &blob, "--list"];
        match self.local("read `.gitmodules` of", &words, Input::Empty, COMMIT_BYTES_MAX).await {
            Ok(output) => Ok(settings(&output)),
            // There is none; what a submodule then lacks is said of the submodule.
            Err(GitError::Failed { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    pub(super) fn io(&self, source: std::io::Error) -> GitError {
        GitError::Io { repository: self.shown.clone(), source }
    }
}

/// Returns what a call that went wrong means.
pub(super) fn failed(action: &'static str, shown: &str, error: CallError) -> GitError {
    let repository = shown.to_owned();
    match error {
        CallError::Io(source) => GitError::Start(source),
        CallError::Failed(source) => GitError::Failed { action, repository, source },
        CallError::Silent(after) => GitError::Silent { action, repository, after },
        CallError::TooLarge(limit) => GitError::TooLarge { action, repository, limit },
    }
}

/// Reads the output of `git config -z --list`.
pub(super) fn settings(output: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(output);
    let pair = |entry: &str| {
        let (key, value) = entry.split_once('\n').unwrap_or((entry, "true"));
        (key.to_owned(), value.to_owned())
    };
    text.split('\0').filter(|entry| !entry.is_empty()).map(pair).collect()
}

/// Reads an entry of `git ls-tree`: `160000 commit ID<tab>PATH`.
fn submodule(entry: &[u8]) -> Option<(Vec<u8>, String)> {
    let rest = entry.strip_prefix(b"160000 commit ")?;
    let tab = rest.iter().position(|byte| *byte == b'\t')?;
    Some((rest[tab + 1..].to_vec(), String::from_utf8_lossy(&rest[..tab]).into_owned()))
}

fn facts(commit: &str) -> CommitFacts {
    let head = commit.split("\n\n").next().unwrap_or_default();
    let committer = head.lines().find_map(|line| line.strip_prefix("committer "));
    let time = committer.and_then(|line| line.rsplit(' ').nth(1)).and_then(|time| time.parse().ok());
    CommitFacts { time: time.unwrap_or(0), has_parents: head.lines().any(|line| line.starts_with("parent ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_writes_is_read() {
        let commit =
            "tree 1\nparent 2\nauthor A <a> 1 +0000\ncommitter B C <b> 1577934245 +0100\n\nparent 3\n";
        assert_eq!(facts(commit), CommitFacts { time: 1_577_934_245, has_parents: true });
        assert_eq!(facts("tree 1\n\ncommitter x\n"), CommitFacts { time: 0, has_parents: false });
        let expected = Some((b"a\nb\xff".to_vec(), "01".to_owned()));
        assert_eq!(submodule(b"160000 commit 01\ta\nb\xff"), expected);
        assert_eq!(submodule(b"100644 blob 01\ta"), None);
        let pairs = settings(b"submodule.a b.path\nx\ny\0submodule.c.shallow\0");
        let expected = [("submodule.a b.path", "x\ny"), ("submodule.c.shallow", "true")];
        assert_eq!(pairs, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }
}
