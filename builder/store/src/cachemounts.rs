//! Cache mounts: directories that outlive builds, in `cachemounts/<hash of the id>/<slot>/`.
//!
//! | Sharing | Lock | Slot |
//! |---|---|---|
//! | shared | shared | 0 |
//! | locked | exclusive, waits | 0 |
//! | private | exclusive, never waits | the first that nobody uses |
//!
//! A new slot is filled by the caller in scratch and appears by one rename. `id` beside the slots says whose they are; what
//! builds remember of a slot lies beside it, too ([`crate::Memory`]).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use kiln_oci::Digest;

use crate::disk::LockMode;
use crate::error::{IoContext, Result, optional};
use crate::leases::Session;
use crate::lock::{LockGuard, lock, named_lock_path, try_lock, try_lock_unlooked};
use crate::memory::{self, Memory};
use crate::scratch::{Scratch, replace_file};

/// Folder of cache mounts below the store.
pub(crate) const CACHE_MOUNTS: &str = "cachemounts";
const ID_FILE: &str = "id";
const SLOTS_MAX: u32 = 10_000;

/// How builds that want the same cache mount at once get along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// They use it together.
    Shared,
    /// The second waits.
    Locked,
    /// The second gets another one.
    Private,
}

/// A cache mount in use; dropping it frees it.
#[derive(Debug)]
pub struct CacheMount {
    session: Arc<Session>,
    path: PathBuf,
    _in_use: LockGuard,
}

impl CacheMount {
    /// Returns the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens what is remembered of this mount, and waits while another holds it.
    ///
    /// # Errors
    /// What the disk says.
    pub fn memory(&self) -> Result<Memory> {
        Memory::open(&self.session, &self.path)
    }
}

/// Returns the cache mount called `id`, which may be any text. A new one is first handed to `fill` as an empty directory.
pub(crate) fn open(
    session: &Arc<Session>,
    id: &str,
    sharing: Sharing,
    fill: &mut dyn FnMut(&Path) -> std::io::Result<()>,
) -> Result<CacheMount> {
    let folder = session.path(CACHE_MOUNTS).join(Digest::of(id.as_bytes()).hex());
    session.make_directories(&folder)?;
    let (slot, in_use) = take_slot(session, id, sharing)?;
    let path = folder.join(slot.to_string());
    // Two that share a slot must not both fill it.
    let _filling = lock(
        session.disk(),
        &named_lock_path(session.root(), &format!("fill cache mount {slot} {id}")),
        LockMode::Exclusive,
    )?;
    if optional(std::fs::symlink_metadata(&path)).on("inspect", &path)?.is_none() {
        note_id(session, &folder, id)?;
        let new = Scratch::new(session, "cachemount")?;
        fill(new.path()).on("fill cache mount", &path)?;
        memory::begin(session, &path)?;
        new.publish(&path)?;
    }
    // Only its age in the eyes of gc depends on it.
    drop(session.disk().touch(&path));
    Ok(CacheMount { session: Arc::clone(session), path, _in_use: in_use })
}

/// Notes beside the slots whose they are.
pub(crate) fn note_id(session: &Arc<Session>, folder: &Path, id: &str) -> Result<()> {
    replace_file(session, &folder.join(ID_FILE), id.as_bytes())
}

/// Returns the ids of all cache mounts with their folders, sorted by folder.
pub(crate) fn list(session: &Session) -> Result<Vec<(String, PathBuf)>> {
    let root = session.path(CACHE_MOUNTS);
    let mut mounts = Vec::new();
    for name in session.disk().list(&root).on("list", &root)? {
        let folder = root.join(name);
        let id_file = folder.join(ID_FILE);
        if let Some(id) = optional(std::fs::read_to_string(&id_file)).on("read", &id_file)? {
            mounts.push((id, folder));
        }
    }
    Ok(mounts)
}

/// Returns the slots of all cache mounts, and when each was last used.
pub(crate) fn slots(session: &Session) -> Result<Vec<(String, u32, SystemTime)>> {
    let mut slots = Vec::new();
    for (id, folder) in list(session)? {
        for slot in slots_in(session, &folder)? {
            let path = folder.join(slot.to_string());
            if let Some(metadata) = optional(std::fs::symlink_metadata(&path)).on("inspect", &path)? {
                let last_used = metadata.accessed().on("inspect", &path)?;
                slots.push((id.clone(), slot, last_used));
            }
        }
    }
    Ok(slots)
}

fn slots_in(session: &Session, folder: &Path) -> Result<Vec<u32>> {
    let names = optional(session.disk().list(folder)).on("list", folder)?.unwrap_or_default();
    Ok(names.into_iter().filter_map(|name| name.to_str()?.parse().ok()).collect())
}

/// Removes the slots of a cache mount that nobody uses, and returns how many went.
pub(crate) fn remove_unused(session: &Arc<Session>, id: &str) -> Result<usize> {
    let folder = session.path(CACHE_MOUNTS).join(Digest::of(id.as_bytes()).hex());
    let mut count = 0;
    for slot in slots_in(session, &folder)? {
        count += usize::from(remove_slot(session, id, slot)?);
    }
    Ok(count)
}

/// Removes a slot of a cache mount, and returns whether it went: not while somebody uses it.
pub(crate) fn remove_slot(session: &Arc<Session>, id: &str, slot: u32) -> Result<bool> {
    let lock_path = slot_lock_path(session, id, slot);
    let Some(_unused) = try_lock(session.disk(), &lock_path, LockMode::Exclusive)? else { return Ok(false) };
    let folder = session.path(CACHE_MOUNTS).join(Digest::of(id.as_bytes()).hex());
    let grave = Scratch::new(session, "cachemount")?;
    let path = folder.join(slot.to_string());
    optional(session.disk().rename(&path, &grave.path().join("slot"))).on("move away", &path)?;
    memory::forget(session, &path, &grave)?;
    grave.close()?;
    Ok(true)
}

fn take_slot(session: &Session, id: &str, sharing: Sharing) -> Result<(u32, LockGuard)> {
    let disk = session.disk();
    match sharing {
        Sharing::Shared => Ok((0, lock(disk, &slot_lock_path(session, id, 0), LockMode::Shared)?)),
        Sharing::Locked => Ok((0, lock(disk, &slot_lock_path(session, id, 0), LockMode::Exclusive)?)),
        Sharing::Private => {
            for slot in 0..SLOTS_MAX {
                let path = slot_lock_path(session, id, slot);
                if let Some(guard) = try_lock_unlooked(disk, session.root(), &path, LockMode::Exclusive)? {
                    return Ok((slot, guard));
                }
            }
            Err(std::io::ErrorKind::ResourceBusy.into())
                .on("find a free slot in", &session.path(CACHE_MOUNTS))
        }
    }
}

/// Returns the file that whoever uses a slot has locked.
pub(crate) fn slot_lock_path(session: &Session, id: &str, slot: u32) -> PathBuf {
    named_lock_path(session.root(), &format!("cache mount {slot} {id}"))
}
