//! Repositories: directories that outlive builds and belong to one process at a time, in `repositories/<hash of the name>/`.
//!
//! Builds keep there what they fetched of a git repository, so that the next one fetches less. What is inside is made and
//! repaired by whoever holds it; it is a cache, and may go whenever nobody does.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use kiln_oci::Digest;

use crate::disk::LockMode;
use crate::error::{IoContext, Result, optional};
use crate::leases::Session;
use crate::lock::{LockGuard, named_lock_path, try_lock_unlooked};
use crate::scratch::bury;

/// Folder of repositories below the store.
pub(crate) const REPOSITORIES: &str = "repositories";

/// A repository that this process holds; dropping it, and all that [`Repository::claim`] gave, frees it.
#[derive(Debug)]
pub struct Repository {
    session: Arc<Session>,
    path: PathBuf,
    held: LockGuard,
}

impl Repository {
    /// Returns the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns an open file that keeps the repository held as long as any process has it: for a child that writes here,
    /// which may outlive this process when that is killed.
    ///
    /// # Errors
    /// When no file descriptor is left.
    pub fn claim(&self) -> std::io::Result<File> {
        self.held.file().try_clone()
    }

    /// Empties the directory.
    ///
    /// # Errors
    /// What the disk says.
    pub fn clear(&self) -> Result<()> {
        bury(&self.session, &self.path)?;
        self.session.make_directories(&self.path)
    }
}

/// A repository in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RepositoryEntry {
    /// The hash of its name.
    pub(crate) name: Digest,
    /// When it was last opened.
    pub(crate) last_used: SystemTime,
}

/// Opens the repository called `name`, any text, or returns `None` while somebody else holds it. A new one is empty.
pub(crate) fn try_open(session: &Arc<Session>, name: &str) -> Result<Option<Repository>> {
    let digest = Digest::of(name.as_bytes());
    let Some(held) = try_hold(session, &digest)? else { return Ok(None) };
    let path = path_of(session, &digest);
    session.make_directories(&path)?;
    // Only the age in the eyes of gc depends on it.
    drop(session.disk().touch(&path));
    Ok(Some(Repository { session: Arc::clone(session), path, held }))
}

/// Returns all repositories, sorted by the hash of their names.
pub(crate) fn list(session: &Session) -> Result<Vec<RepositoryEntry>> {
    let folder = session.path(REPOSITORIES);
    let names = optional(session.disk().list(&folder)).on("list", &folder)?.unwrap_or_default();
    let mut entries = Vec::new();
    for name in names {
        let Some(name) = name.to_str().and_then(|name| Digest::from_hex(name).ok()) else {
            continue; // Not a repository; fsck reports it.
        };
        let path = path_of(session, &name);
        if let Some(metadata) = optional(std::fs::symlink_metadata(&path)).on("inspect", &path)? {
            let last_used = metadata.accessed().on("inspect", &path)?;
            entries.push(RepositoryEntry { name, last_used });
        }
    }
    Ok(entries)
}

/// Removes a repository that nobody holds; returns whether it went.
pub(crate) fn remove(session: &Arc<Session>, name: &Digest) -> Result<bool> {
    match try_hold(session, name)? {
        Some(_held) => bury(session, &path_of(session, name)).map(|()| true),
        None => Ok(false),
    }
}

pub(crate) fn path_of(session: &Session, name: &Digest) -> PathBuf {
    session.path(REPOSITORIES).join(name.hex())
}

fn try_hold(session: &Session, name: &Digest) -> Result<Option<LockGuard>> {
    try_lock_unlooked(session.disk(), session.root(), &lock_path(session, name), LockMode::Exclusive)
}

/// Returns the file that whoever holds a repository has locked.
pub(crate) fn lock_path(session: &Session, name: &Digest) -> PathBuf {
    named_lock_path(session.root(), &format!("repository {}", name.hex()))
}
