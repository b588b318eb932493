//! Why files of a git repository could not be had.

use std::time::Duration;

use kiln_layer::WalkError;
use kiln_layer::content_hash::HashError;
use kiln_store::StoreError;

use super::program::{FailedCall, Problem};
use crate::git_reference::RemoteError;
use crate::secrets::SecretError;

/// Why files of a git repository could not be had. Messages name the repository without user and password.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// There is no git.
    #[error("the program `git` is not installed, and git repositories need it")]
    NoProgram,
    /// Git is of a version that does not know what it is told.
    #[error("git 2.32 or a newer one is needed, and this is `{version}`")]
    TooOld {
        /// What it says of itself.
        version: String,
    },
    /// Git could not be run.
    #[error("cannot run `git`")]
    Start(#[source] std::io::Error),
    /// Git failed at a repository.
    #[error("cannot {action} `{repository}`")]
    Failed {
        /// What was being done.
        action: &'static str,
        /// The repository.
        repository: String,
        /// What git said.
        #[source]
        source: FailedCall,
    },
    /// Nothing came for too long.
    #[error("cannot {action} `{repository}`: nothing was heard for {} seconds", after.as_secs())]
    Silent {
        /// What was being done.
        action: &'static str,
        /// The repository.
        repository: String,
        /// For how long.
        after: Duration,
    },
    /// It lists more than is read.
    #[error("cannot {action} `{repository}`: the answer is larger than {limit} bytes")]
    TooLarge {
        /// What was being done.
        action: &'static str,
        /// The repository.
        repository: String,
        /// The limit.
        limit: usize,
    },
    /// Nothing in the repository has the name that was asked for.
    #[error("the repository `{repository}` has no branch, tag or commit `{name}`")]
    UnknownName {
        /// The repository.
        repository: String,
        /// The name.
        name: String,
        /// The most similar one that is there, if one is similar.
        near: Option<String>,
        /// Names that are there, some of them.
        known: Vec<String>,
    },
    /// The repository has no commit.
    #[error("the repository `{repository}` is empty")]
    Empty {
        /// The repository.
        repository: String,
    },
    /// Several objects begin so.
    #[error("the repository `{repository}` has several commits that begin with `{name}`")]
    Ambiguous {
        /// The repository.
        repository: String,
        /// The beginning.
        name: String,
    },
    /// The commit is another one than was asked for.
    #[error("checksum mismatch: `{reference}` is {}, not `{expected}`", list(actual))]
    Checksum {
        /// What was asked for.
        reference: String,
        /// The beginning of the commit's id.
        expected: String,
        /// The commit, and the tag that leads to it.
        actual: Vec<String>,
    },
    /// The subdirectory is no directory of the repository.
    #[error("cannot use `{subdirectory}` of `{repository}` at commit {commit}: {problem}")]
    Subdirectory {
        /// The repository.
        repository: String,
        /// The commit.
        commit: String,
        /// The subdirectory.
        subdirectory: String,
        /// What it is instead.
        problem: PathProblem,
    },
    /// A submodule cannot be had.
    #[error("cannot add the submodule `{path}` of `{repository}`")]
    Submodule {
        /// The repository.
        repository: String,
        /// Where the submodule is in it.
        path: String,
        /// Why.
        #[source]
        source: Box<SubmoduleError>,
    },
    /// The Dockerfile of a context cannot be read.
    #[error("cannot read the Dockerfile `{path}` in `{repository}`: {problem}")]
    Dockerfile {
        /// The repository.
        repository: String,
        /// Where it should be.
        path: String,
        /// What is there instead.
        problem: PathProblem,
    },
    /// A secret could not be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A value cannot be sent as a header.
    #[error("the secret `{id}` has a character that cannot be in a header")]
    Header {
        /// Its id.
        id: String,
    },
    /// A file of this machine could not be read or written.
    #[error("cannot prepare the files of `{repository}`")]
    Io {
        /// The repository.
        repository: String,
        /// What the file system says.
        #[source]
        source: std::io::Error,
    },
    /// The files could not be listed.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// The files could not be read.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The build was stopped.
    #[error("interrupted")]
    Interrupted,
}

/// Why a submodule cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SubmoduleError {
    /// `.gitmodules` says nothing about it.
    #[error("`.gitmodules` has no address for it")]
    NoAddress,
    /// Its address cannot be used.
    #[error("its address `{address}` cannot be used: {reason}")]
    Address {
        /// The address.
        address: String,
        /// What is wrong with it.
        reason: RemoteError,
    },
    /// Submodules within submodules go too deep.
    #[error("submodules are nested deeper than {limit}")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// There are too many.
    #[error("there are more than {limit} submodules")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// It could not be had.
    #[error(transparent)]
    Git(#[from] GitError),
}

/// What is wrong with a path in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathProblem {
    /// Nothing is there.
    #[error("it does not exist")]
    Missing,
    /// It, or something on the way, is a symlink.
    #[error("a symlink is on the way")]
    Symlink,
    /// It is no directory.
    #[error("it is no directory")]
    NoDirectory,
    /// It is no file.
    #[error("it is no file")]
    NoFile,
    /// The file is larger than is read.
    #[error("it is too large")]
    TooLarge,
    /// It is not in the repository.
    #[error("the path leads out of the repository")]
    Outside,
}

impl GitError {
    /// Returns what git failed at, where it did.
    pub fn problem(&self) -> Option<Problem> {
        match self {
            Self::Failed { source, .. } => Some(source.problem()),
            _ => None,
        }
    }

    /// Whether trying again may help. Who was silent for long will hardly speak next time.
    pub(super) fn is_transient(&self) -> bool {
        self.problem() == Some(Problem::Connection)
    }
}

fn list(ids: &[String]) -> String {
    let ids: Vec<String> = ids.iter().map(|id| format!("`{id}`")).collect();
    ids.join(" or ")
}
