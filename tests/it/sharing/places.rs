//! Places that caches lie in: a directory, a repository of a real registry.

use std::path::{Path, PathBuf};

use crate::support::TestSpace;
use crate::support::program::Invocation;
use crate::support::registry::Registry;
use crate::support::validator::foreign;

/// Somewhere that a cache can be, and the server for it.
pub(crate) struct Place {
    /// The value of `--cache-from`.
    pub(crate) from: String,
    /// The value of `--cache-to`, with more keys to follow.
    pub(crate) to: String,
    /// The directory of a cache that lies in one.
    pub(crate) directory: Option<PathBuf>,
    /// The registry, where one keeps it.
    pub(crate) registry: Option<Registry>,
}

impl Place {
    /// A directory.
    pub(crate) fn directory(space: &TestSpace, name: &str) -> Self {
        let directory = space.path(name);
        remember(&directory);
        Self {
            from: format!("type=local,src={}", directory.display()),
            to: format!("type=local,dest={}", directory.display()),
            directory: Some(directory),
            registry: None,
        }
    }

    /// A repository of an open registry.
    pub(crate) fn registry(space: &TestSpace, name: &str) -> Self {
        Self::repository(space, Registry::start(&space.path(name)))
    }

    /// A repository of a registry.
    pub(crate) fn repository(space: &TestSpace, registry: Registry) -> Self {
        space.config(&registry.config());
        let repository = format!("{}/team/cache", registry.host());
        Self {
            from: format!("type=registry,ref={repository}"),
            to: format!("type=registry,ref={repository}"),
            directory: None,
            registry: Some(registry),
        }
    }

    /// Prepares a build that fills the cache with all its steps.
    pub(crate) fn filling(&self, call: Invocation) -> Invocation {
        call.arg(format!("--cache-to={},mode=max", self.to))
    }

    /// Prepares a build that asks the cache.
    pub(crate) fn asking(&self, call: Invocation) -> Invocation {
        call.arg(format!("--cache-from={}", self.from))
    }
}

fn remember(directory: &Path) {
    let blobs = directory.join("blobs/sha256");
    foreign::remember_keeper(move |hex| blobs.join(hex));
}
