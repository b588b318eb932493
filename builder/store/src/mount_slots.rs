//! Cache mounts as things that are listed, removed and put in place of others, by whoever holds one alone.
//!
//! A directory goes and comes by a rename. What is remembered of it goes first when it goes, and is there first when it comes,
//! where it counts for nobody yet: whatever happens between, a directory never has the memory of another.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_oci::Digest;

use crate::cachemounts::{CACHE_MOUNTS, list, slot_lock_path};
use crate::disk::LockMode;
use crate::error::{IoContext, Result, optional};
use crate::leases::Session;
use crate::lock::{LockGuard, holders, is_held_unnoticed, lock, try_lock_unlooked};
use crate::memory::{self, Memory};
use crate::scratch::Scratch;

/// The slot that builds share; the others belong to mounts of [`crate::Sharing::Private`].
pub const SHARED_SLOT: u32 = 0;

/// One directory of a cache mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountSlot {
    /// Whose it is, as in the Dockerfile.
    pub id: String,
    /// Which of the mount's directories.
    pub slot: u32,
    /// The directory.
    pub path: PathBuf,
    /// When a step began or ended with it last, in nanoseconds since 1970.
    pub used_ns: i64,
    /// Whether somebody uses it now.
    pub is_in_use: bool,
    /// The processes that do, as far as the kernel tells.
    pub users: Vec<u32>,
}

/// What happens when somebody else uses a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// There is none.
    None,
    /// It is waited for.
    Endless,
}

/// A directory of a cache mount, or the place for one, that nobody else uses until this is dropped.
#[derive(Debug)]
pub struct HeldMount {
    session: Arc<Session>,
    path: PathBuf,
    _alone: LockGuard,
}

/// Returns all directories of all mounts, by id.
pub(crate) fn slots(session: &Session) -> Result<Vec<MountSlot>> {
    let mut found = Vec::new();
    for (id, folder) in list(session)? {
        for name in session.disk().list(&folder).on("list", &folder)? {
            let Some(slot) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            let path = folder.join(&name);
            let lock_path = slot_lock_path(session, &id, slot);
            let is_in_use = is_held_unnoticed(session.disk(), session.root(), &lock_path)?;
            let users = if is_in_use { holders(&lock_path) } else { Vec::new() };
            let Some(used_ns) = used(&path)? else { continue };
            found.push(MountSlot { id: id.clone(), slot, path, used_ns, is_in_use, users });
        }
    }
    found.sort_by(|left, right| (&left.id, left.slot).cmp(&(&right.id, right.slot)));
    Ok(found)
}

/// Returns when a directory was used last; none where it is gone.
fn used(path: &Path) -> Result<Option<i64>> {
    let seen = memory::seen(path);
    let found = match optional(std::fs::symlink_metadata(&seen)).on("inspect", &seen)? {
        Some(found) => Some(found),
        None => optional(std::fs::symlink_metadata(path)).on("inspect", path)?,
    };
    Ok(found.map(|found| found.mtime().saturating_mul(1_000_000_000).saturating_add(found.mtime_nsec())))
}

fn place(session: &Session, id: &str, slot: u32) -> PathBuf {
    session.path(CACHE_MOUNTS).join(Digest::of(id.as_bytes()).hex()).join(slot.to_string())
}

/// Whether a directory of the mount `id` is there and has something in it.
pub(crate) fn has_content(session: &Session, id: &str, slot: u32) -> Result<bool> {
    is_filled(&place(session, id, slot))
}

fn is_filled(path: &Path) -> Result<bool> {
    let names = optional(std::fs::read_dir(path)).on("list", path)?;
    match names.and_then(|mut names| names.next()) {
        None => Ok(false),
        Some(first) => first.on("list", path).map(|_| true),
    }
}

/// Keeps all others away from a directory of the mount `id`, whether it exists or not; none when somebody uses it.
pub(crate) fn hold(
    session: &Arc<Session>,
    id: &str,
    slot: u32,
    patience: Patience,
) -> Result<Option<HeldMount>> {
    let lock_path = slot_lock_path(session, id, slot);
    let alone = match patience {
        Patience::None => try_lock_unlooked(session.disk(), session.root(), &lock_path, LockMode::Exclusive)?,
        Patience::Endless => Some(lock(session.disk(), &lock_path, LockMode::Exclusive)?),
    };
    let Some(alone) = alone else { return Ok(None) };
    let path = place(session, id, slot);
    Ok(Some(HeldMount { session: Arc::clone(session), path, _alone: alone }))
}

impl HeldMount {
    /// Returns the directory, when there is one.
    ///
    /// # Errors
    /// What the disk says.
    pub fn directory(&self) -> Result<Option<&Path>> {
        let found = optional(std::fs::symlink_metadata(&self.path)).on("inspect", &self.path)?;
        Ok(found.map(|_| self.path.as_path()))
    }

    /// Whether there is one with something in it.
    ///
    /// # Errors
    /// What the disk says.
    pub fn has_content(&self) -> Result<bool> {
        is_filled(&self.path)
    }

    /// Opens what is remembered of it.
    ///
    /// # Errors
    /// What the disk says.
    pub fn memory(&self) -> Result<Memory> {
        Memory::open(&self.session, &self.path)
    }

    /// Removes the directory with all that is remembered of it.
    ///
    /// # Errors
    /// What could not be removed; then the directory is no mount any more, and its rest goes with a later build.
    pub fn remove(self) -> Result<()> {
        let grave = Scratch::new(&self.session, "cachemount")?;
        self.bury(&grave)?;
        grave.close()
    }

    /// Puts a directory in the place of the one that is there. `seen` is what is remembered of it, of the time `used_ns`.
    ///
    /// # Errors
    /// What the disk says.
    pub fn replace(&self, id: &str, new: Scratch, seen: &[u8], used_ns: i64) -> Result<()> {
        let folder = self.path.parent().unwrap_or(&self.path);
        self.session.make_directories(folder)?;
        crate::cachemounts::note_id(&self.session, folder, id)?;
        // A directory must not appear with names whose contents would be lost with the power.
        self.session.disk().sync_file_system(new.path()).on("sync", new.path())?;
        let grave = Scratch::new(&self.session, "cachemount")?;
        self.bury(&grave)?;
        // What is remembered of a place where nothing is counts for nobody, so it may come first.
        let memory = self.memory()?;
        let placed =
            memory.write(seen).and_then(|()| memory.date(used_ns)).and_then(|()| new.publish(&self.path));
        if let Err(error) = placed {
            memory::forget(&self.session, &self.path, &grave)?;
            let old = grave.path().join("slot");
            optional(self.session.disk().rename(&old, &self.path)).on("move back", &self.path)?;
            return Err(error);
        }
        grave.close()
    }

    fn bury(&self, grave: &Scratch) -> Result<()> {
        memory::forget(&self.session, &self.path, grave)?;
        let to = grave.path().join("slot");
        optional(self.session.disk().rename(&self.path, &to)).on("move away", &self.path).map(|_| ())
    }
}
