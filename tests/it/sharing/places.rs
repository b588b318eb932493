//! Places that caches lie in: a directory, a repository of a real registry, a bucket of a server that speaks S3.

use std::path::{Path, PathBuf};

use crate::support::TestSpace;
use crate::support::object_store::{BUCKET, KEY, ObjectStore};
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
    /// The object store, where one keeps it.
    pub(crate) store: Option<ObjectStore>,
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
            store: None,
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
            store: None,
        }
    }

    /// A bucket.
    pub(crate) fn bucket(space: &TestSpace, name: &str) -> Self {
        let store = ObjectStore::start(&space.path(name));
        store.keeps_blobs("team/blobs/sha256/");
        // The key is that of a profile, as most people have it.
        let key = format!("[builders]\naws_access_key_id = {KEY}\naws_secret_access_key = {KEY}\n");
        space.file("home/.aws/credentials", key);
        let spec = format!("type=s3,bucket={BUCKET},region=us-east-1,endpoint_url={}", store.address());
        let spec = format!("{spec},use_path_style=true,prefix=team/");
        Self { from: spec.clone(), to: spec, directory: None, registry: None, store: Some(store) }
    }

    /// Prepares a build that fills the cache with all its steps.
    pub(crate) fn filling(&self, call: Invocation) -> Invocation {
        call.env("AWS_PROFILE", "builders").arg(format!("--cache-to={},mode=max", self.to))
    }

    /// Prepares a build that asks the cache.
    pub(crate) fn asking(&self, call: Invocation) -> Invocation {
        call.env("AWS_PROFILE", "builders").arg(format!("--cache-from={}", self.from))
    }
}

fn remember(directory: &Path) {
    let blobs = directory.join("blobs/sha256");
    foreign::remember_keeper(move |hex| blobs.join(hex));
}
