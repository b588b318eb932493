//! Scratch: files that are to become something, and directories handed out.
//!
//! Everything here belongs to the lease named in front of its file name, and is free to go when that lease's process is
//! dead. The only place where others may write below the store is inside a [`Scratch`].

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::disk::{plain_name, write_all};
use crate::error::{IoContext, Result, optional};
use crate::leases::{LEASES, Liveness, Session, lease_ids, liveness};
use crate::lock::LockGuard;
use crate::remove::remove_tree;

/// Folder of scratch below the store.
pub(crate) const SCRATCH: &str = "scratch";

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// A directory for anything, removed with all it holds when dropped.
#[derive(Debug)]
pub struct Scratch {
    session: Arc<Session>,
    path: PathBuf,
    is_ours: bool,
}

impl Scratch {
    pub(crate) fn new(session: &Arc<Session>, prefix: &str) -> Result<Self> {
        plain_name("scratch name", prefix)?;
        let path = free_path(session, prefix)?;
        session.disk().make_directory(&path).on("create directory", &path)?;
        Ok(Self { session: Arc::clone(session), path, is_ours: true })
    }

    /// Returns the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Removes the directory now.
    ///
    /// # Errors
    /// Names the first entry that could not be removed, and how many stayed.
    pub fn close(mut self) -> Result<()> {
        self.is_ours = false;
        remove_tree(&self.path)
    }

    /// Leaves the directory when dropped; it is collected once this process has ended.
    pub fn keep(mut self) -> PathBuf {
        self.is_ours = false;
        self.path.clone()
    }

    /// Moves the directory to its final place, which must not exist.
    pub(crate) fn publish(mut self, to: &Path) -> Result<()> {
        self.session.disk().rename(&self.path, to).on("move a directory to", to)?;
        self.is_ours = false;
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.is_ours {
            // What stays is collected by a later build; `close` is for those who want to know.
            drop(remove_tree(&self.path));
        }
    }
}

/// A file that becomes visible by one rename.
#[derive(Debug)]
pub(crate) struct TempFile {
    session: Arc<Session>,
    file: File,
    path: PathBuf,
    is_ours: bool,
}

impl TempFile {
    pub(crate) fn new(session: &Arc<Session>) -> Result<Self> {
        let path = free_path(session, "file")?;
        let file = session.disk().create(&path).on("create", &path)?;
        Ok(Self { session: Arc::clone(session), file, path, is_ours: true })
    }

    pub(crate) fn write_all(&self, bytes: &[u8]) -> Result<()> {
        write_all(self.session.disk(), &self.file, &self.path, bytes)
    }

    /// Lets the disk begin to write a range, without waiting.
    pub(crate) fn start_writing(&self, range: Range<u64>) {
        self.session.disk().start_writing(&self.file, range);
    }

    pub(crate) fn sync(&self) -> Result<()> {
        self.session.disk().sync(&self.file, &self.path).on("sync", &self.path)
    }

    /// Moves the file to its final place, replacing what is there.
    pub(crate) fn publish(mut self, to: &Path) -> Result<()> {
        self.session.disk().rename(&self.path, to).on("move a file to", to)?;
        self.is_ours = false;
        Ok(())
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if self.is_ours {
            // What stays is collected by a later build.
            drop(self.session.disk().unlink(&self.path));
        }
    }
}

/// Writes a document so that it is either there as a whole and durable, or not at all.
pub(crate) fn replace_file(session: &Arc<Session>, to: &Path, bytes: &[u8]) -> Result<()> {
    let file = TempFile::new(session)?;
    file.write_all(bytes)?;
    file.sync()?;
    file.publish(to)?;
    let folder = to.parent().unwrap_or(Path::new("."));
    session.disk().sync_directory(folder).on("sync", folder)
}

/// Lets nobody but its owner into a folder.
pub(crate) fn close_to_others(path: &Path) -> Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).on("close to others", path)
}

/// Moves a directory out of sight by one rename, and then removes it.
pub(crate) fn bury(session: &Arc<Session>, path: &Path) -> Result<()> {
    let Ok(grave) = Scratch::new(session, "grave") else {
        // On a full disk there may be no room for a name in scratch; removing in place takes longer, and works.
        return remove_tree(path);
    };
    if optional(session.disk().rename(path, &grave.path().join("buried"))).on("move away", path)?.is_some() {
        grave.close()?;
    }
    Ok(())
}

fn free_path(session: &Session, suffix: &str) -> Result<PathBuf> {
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    Ok(session.path(SCRATCH).join(format!("{}.{number}.{suffix}", session.id()?)))
}

/// What collecting the leftovers of dead processes did.
#[derive(Debug, Default)]
pub struct Leftovers {
    /// Files and directories that went.
    pub removed: usize,
    /// What could not be removed, and why.
    pub kept: Vec<crate::StoreError>,
}

/// Removes what dead processes left in scratch, and their leases.
pub(crate) fn collect_dead(session: &Session) -> Result<Leftovers> {
    let mut leftovers = Leftovers::default();
    let mut holders: BTreeMap<String, Liveness> = BTreeMap::new();
    let folder = session.path(SCRATCH);
    for name in session.disk().list(&folder).on("list", &folder)? {
        let text = name.to_string_lossy();
        let id = owner_of(&text).unwrap_or_default().to_owned();
        let holder = match holders.entry(id) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(free) => {
                let found = holder(session, free.key())?;
                free.insert(found)
            }
        };
        if matches!(holder, Liveness::Dead(_)) {
            match remove_tree(&folder.join(&name)) {
                Ok(()) => leftovers.removed += 1,
                Err(error) => leftovers.kept.push(error),
            }
        }
    }
    remove_dead_leases(session, holders)?;
    Ok(leftovers)
}

fn holder(session: &Session, id: &str) -> Result<Liveness> {
    // An empty name would lead to the folder itself: nobody's.
    if id.is_empty() { Ok(Liveness::Dead(None)) } else { liveness(session, id) }
}

/// Returns the lease to which something in scratch belongs by its name.
pub(crate) fn owner_of(name: &str) -> Option<&str> {
    name.split('.').next().filter(|id| plain_name("lease", id).is_ok())
}

fn remove_dead_leases(session: &Session, mut holders: BTreeMap<String, Liveness>) -> Result<()> {
    for id in lease_ids(session)? {
        let found = match holders.remove(&id) {
            Some(found) => found,
            None => liveness(session, &id)?,
        };
        if let Liveness::Dead(Some(guard)) = found {
            remove_lease(session, &id, &guard)?;
        }
    }
    Ok(())
}

fn remove_lease(session: &Session, id: &str, _held: &LockGuard) -> Result<()> {
    let path = session.path(LEASES).join(id);
    session.disk().unlink(&path).on("remove", &path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    fn session(root: &Path) -> Arc<Session> {
        for folder in [LEASES, SCRATCH] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        Arc::new(Session::new(root.to_owned(), Arc::new(RealDisk)))
    }

    fn names(path: &Path) -> Vec<std::ffi::OsString> {
        RealDisk.list(path).unwrap()
    }

    use crate::disk::Disk;

    #[test]
    fn dropped_scratch_leaves_nothing() {
        let space = tempfile::tempdir().unwrap();
        let session = session(space.path());
        let scratch = Scratch::new(&session, "run").unwrap();
        std::fs::write(scratch.path().join("file"), "x").unwrap();
        let file = TempFile::new(&session).unwrap();
        drop((scratch, file));
        assert_eq!(names(&space.path().join(SCRATCH)), Vec::<std::ffi::OsString>::new());
    }

    #[test]
    fn only_the_scratch_of_the_dead_is_collected() {
        let space = tempfile::tempdir().unwrap();
        let (living, dying) = (session(space.path()), session(space.path()));
        let mine = Scratch::new(&living, "mine").unwrap();
        let theirs = Scratch::new(&dying, "theirs").unwrap().keep();
        std::fs::write(space.path().join(SCRATCH).join("nobodys"), "x").unwrap();
        assert_eq!(collect_dead(&living).unwrap().removed, 1);
        assert!(theirs.exists());
        drop(dying);
        // A process that is killed leaves its lease file, unlocked.
        let id = theirs.file_name().unwrap().to_str().unwrap().split('.').next().unwrap();
        std::fs::write(space.path().join(LEASES).join(id), "").unwrap();
        assert_eq!(collect_dead(&living).unwrap().removed, 1);
        assert!(mine.path().exists() && !theirs.exists());
        assert_eq!(names(&space.path().join(LEASES)).len(), 1, "our lease");
    }
}
