//! Git repositories as people write them: `https://host/a.git#main:docs`, `git@host:a/b?tag=v1`. Pure: text in, values out.
//!
//! The forms are BuildKit's (`frontend/dockerfile/dfgitutil`, `util/gitutil`):
//!
//! | Form | Taken as a repository |
//! |---|---|
//! | `http://…`, `https://…` | when the path ends in `.git` |
//! | `ssh://…`, `git://…`, `user@host:path` | always |
//! | `github.com/…` | as a context only: for ADD it is a path |
//! | `file://…`, a path | never |
//!
//! Behind it may stand `?key=value&…` (see [`KEYS`]) and `#ref:subdirectory`.

mod parse;
mod query;
mod remote;

pub use query::KEYS;
pub use remote::{Remote, RemoteError, Transport, UserInfo};

/// A repository, and what of it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitReference {
    /// Where it is.
    pub remote: Remote,
    /// A branch, tag, commit or full name (`refs/…`); the default branch when absent.
    pub name: Option<String>,
    /// The directory wanted, without `/` at its ends; empty for all.
    pub subdirectory: String,
    /// The commit that it must be, or the beginning of its id, in small letters.
    pub checksum: Option<String>,
    /// Whether the git directory is wanted too, where somebody said so.
    pub keep_git_directory: Option<bool>,
    /// Whether submodules are wanted.
    pub submodules: bool,
    /// Which time the files have.
    pub mtime: Mtime,
    /// Whether the commit of `checksum` is fetched without asking what `name` stands for now.
    pub fetch_by_commit: bool,
}

/// Which time the files of a repository have, where files keep their own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mtime {
    /// When they were written.
    #[default]
    Checkout,
    /// That of the commit.
    Commit,
}

/// Where a reference stands: a context may be written in one form more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// In an instruction.
    Source,
    /// On the command line, as a context.
    Context,
}

/// What is wrong with a text that means a repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GitReferenceError {
    /// A key that does not exist.
    #[error("unexpected query `{key}`")]
    UnknownKey {
        /// The key.
        key: String,
    },
    /// A key that is there twice.
    #[error("query `{key}` has multiple values")]
    Repeated {
        /// The key.
        key: String,
    },
    /// A key without a value that needs one.
    #[error("query `{key}` has no value")]
    NoValue {
        /// The key.
        key: String,
    },
    /// A value that means nothing.
    #[error("invalid {key} value: `{value}` (must be {expected})")]
    Value {
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
        /// What it can be.
        expected: &'static str,
    },
    /// Two parts that say different things.
    #[error("{what} conflicts: `{one}` and `{other}`")]
    Conflict {
        /// What they are about.
        what: &'static str,
        /// What one says.
        one: String,
        /// What the other says.
        other: String,
    },
    /// A ref that cannot be one.
    #[error("invalid git ref `{name}`")]
    Name {
        /// The ref.
        name: String,
    },
    /// A checksum that is no commit.
    #[error("invalid checksum `{text}` of a git repository: it must be the id of a commit, or its beginning")]
    Checksum {
        /// The checksum.
        text: String,
    },
    /// `fetch-by-commit` without a commit.
    #[error("fetch-by-commit needs the whole id of a commit as `checksum` or `ref`")]
    NoCommit,
    /// The address cannot be used.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl GitReference {
    /// Reads a text. `None` when it means no repository but a path or a file on the web.
    pub fn parse(text: &str, standing: Standing) -> Option<Result<Self, GitReferenceError>> {
        parse::parse(text, standing)
    }

    /// Adds a checksum that is given besides.
    ///
    /// # Errors
    /// When it is no commit, or the reference has another one.
    pub fn with_checksum(mut self, text: &str) -> Result<Self, GitReferenceError> {
        let checksum = query::checksum(text)?;
        if let Some(own) = self.checksum.take().filter(|own| *own != checksum) {
            return Err(GitReferenceError::Conflict { what: "checksum", one: own, other: checksum });
        }
        self.checksum = Some(checksum);
        Ok(self)
    }

    /// Adds what is said besides about the git directory.
    ///
    /// # Errors
    /// When the reference says otherwise.
    pub fn with_git_directory(mut self, keep: Option<bool>) -> Result<Self, GitReferenceError> {
        if let (Some(one), Some(other)) = (self.keep_git_directory, keep)
            && one != other
        {
            let (one, other) = (one.to_string(), other.to_string());
            return Err(GitReferenceError::Conflict { what: "keep-git-dir", one, other });
        }
        self.keep_git_directory = self.keep_git_directory.or(keep);
        Ok(self)
    }

    /// Checks what can be wrong between the parts.
    ///
    /// # Errors
    /// [`GitReferenceError::NoCommit`].
    pub fn checked(self) -> Result<Self, GitReferenceError> {
        let is_commit = |text: &Option<String>| text.as_deref().is_some_and(is_commit_id);
        match self.fetch_by_commit && !is_commit(&self.checksum) && !is_commit(&self.name) {
            true => Err(GitReferenceError::NoCommit),
            false => Ok(self),
        }
    }

    /// Whether the files come with their git directory. As in BuildKit, a subdirectory has none.
    pub fn keeps_git_directory(&self) -> bool {
        self.keep_git_directory == Some(true) && self.subdirectory.is_empty()
    }

    /// Returns the reference for people: without passwords, in the form with `#`.
    pub fn shown(&self) -> String {
        let (name, subdirectory) = (self.name.as_deref().unwrap_or_default(), self.subdirectory.as_str());
        match (name, subdirectory) {
            ("", "") => self.remote.address.clone(),
            (name, "") => format!("{}#{name}", self.remote.address),
            (name, subdirectory) => format!("{}#{name}:{subdirectory}", self.remote.address),
        }
    }
}

/// Whether a text is the whole id of an object, SHA-1 or SHA-256.
pub fn is_commit_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests;
