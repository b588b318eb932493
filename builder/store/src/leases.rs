//! Leases: what running processes use, so that another process's gc leaves it alone.
//!
//! A process that uses the store holds one lease file, locked for as long as its store handle lives. Each blob it writes
//! or is told about is appended as a line *before* it is used; gc reads the lines of all lease files that are locked. The
//! same lock tells whose scratch files are alive. A killed process loses its lock, and with it its claims.
//!
//! ```text
//!  user of a blob:   shared gc lock ─► append pin to own lease ─► check or rename the blob ─► unlock
//!  gc:               exclusive gc lock ─► read names, records, leases ─► move the rest away ─► unlock ─► delete
//! ```

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kiln_oci::{DiffId, Digest};

use crate::disk::{Disk, LockMode, make_directories, write_all};
use crate::error::{IoContext, Result, optional};
use crate::lock::{self, LockGuard, leads_to};

/// Folder of lease files and locks below the store.
pub(crate) const LEASES: &str = "leases";
/// The file that says which format the store has, and that there is one.
pub(crate) const VERSION_FILE: &str = "kiln.json";
/// Folder of lock files below the leases.
pub(crate) const LOCKS: &str = "locks";

/// Something in the store that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pin {
    /// A blob.
    Blob(Digest),
    /// An unpacked layer.
    Snapshot(DiffId),
}

/// One open store: its place, its disk, and its lease once it needs one.
#[derive(Debug)]
pub(crate) struct Session {
    root: PathBuf,
    disk: Arc<dyn Disk>,
    lease: Mutex<Option<Arc<Lease>>>,
}

/// A lease file held by this process.
#[derive(Debug)]
pub(crate) struct Lease {
    id: String,
    guard: LockGuard,
    pinned: Mutex<BTreeSet<Pin>>,
    disk: Arc<dyn Disk>,
}

impl Session {
    pub(crate) fn new(root: PathBuf, disk: Arc<dyn Disk>) -> Self {
        Self { root, disk, lease: Mutex::new(None) }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// Creates a directory below the store and those between that are missing. A store that is gone stays gone: somebody has removed
    /// it, or its disk has vanished and left an empty place to mount it.
    pub(crate) fn make_directories(&self, path: &Path) -> Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        let version = self.path(VERSION_FILE);
        std::fs::symlink_metadata(&version).on("find", &version)?;
        make_directories(self.disk(), path)
    }

    /// Waits for one of the store's own locks.
    pub(crate) fn lock(&self, name: &str, mode: LockMode) -> Result<LockGuard> {
        lock::lock(self.disk(), &self.root.join(LEASES).join(LOCKS).join(name), mode)
    }

    /// Returns the name of this process's lease, taking the lease at the first call.
    pub(crate) fn id(&self) -> Result<String> {
        Ok(self.lease()?.id.clone())
    }

    /// Pins, then acts, with no gc in between. What `act` sees or makes stays until the session ends. Where the store cannot be
    /// written, nothing is pinned: who only reads may go on, and who wants to write is told by what that says.
    pub(crate) fn pin_and<T>(&self, pins: &[Pin], act: impl FnOnce() -> Result<T>) -> Result<T> {
        let lease = match self.lease() {
            Err(error) if error.is_permission_denied() => return act(),
            lease => lease?,
        };
        let mut pinned = relock(&lease.pinned);
        let new: BTreeSet<Pin> = pins.iter().filter(|pin| !pinned.contains(pin)).copied().collect();
        if new.is_empty() {
            drop(pinned);
            return act();
        }
        let _no_gc = self.lock("gc", LockMode::Shared)?;
        let lines: String = new.iter().map(Pin::line).collect();
        write_all(self.disk(), lease.guard.file(), lease.guard.path(), lines.as_bytes())?;
        pinned.extend(new);
        drop(pinned);
        act()
    }

    /// Returns the blobs that this session has pinned so far.
    pub(crate) fn pinned_blobs(&self) -> Vec<Digest> {
        let lease = relock(&self.lease).clone();
        lease.map_or_else(Vec::new, |lease| relock(&lease.pinned).iter().filter_map(Pin::blob).collect())
    }

    fn lease(&self) -> Result<Arc<Lease>> {
        let mut slot = relock(&self.lease);
        if let Some(lease) = &*slot {
            return Ok(Arc::clone(lease));
        }
        let lease = Arc::new(take_lease(&self.root, &self.disk)?);
        *slot = Some(Arc::clone(&lease));
        Ok(lease)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // A lease file that stays is dead: whoever collects next removes it.
        drop(self.disk.unlink(self.guard.path()));
    }
}

fn take_lease(root: &Path, disk: &Arc<dyn Disk>) -> Result<Lease> {
    let id = random_id().on("read random bytes for", root)?;
    let path = root.join(LEASES).join(&id);
    let guard = lock::lock(&**disk, &path, LockMode::Exclusive)?;
    Ok(Lease { id, guard, pinned: Mutex::default(), disk: Arc::clone(disk) })
}

fn random_id() -> std::io::Result<String> {
    let mut bytes = [0_u8; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!("{:016x}", u64::from_le_bytes(bytes)))
}

impl Pin {
    /// Returns the digest of a pinned blob.
    pub(crate) fn blob(&self) -> Option<Digest> {
        match self {
            Self::Blob(digest) => Some(*digest),
            Self::Snapshot(_) => None,
        }
    }

    // The line break in front keeps a line apart from one that a full disk cut short.
    fn line(&self) -> String {
        match self {
            Self::Blob(digest) => format!("\nblob {digest}\n"),
            Self::Snapshot(diff_id) => format!("\nsnapshot {diff_id}\n"),
        }
    }

    fn parse(line: &str) -> Option<Self> {
        match line.split_once(' ')? {
            ("blob", digest) => digest.parse().ok().map(Self::Blob), // A cut line was never acted upon.
            ("snapshot", digest) => digest.parse().ok().map(|digest| Self::Snapshot(DiffId(digest))),
            _ => None,
        }
    }
}

/// Returns what all living processes have pinned.
pub(crate) fn pinned_by_the_living(session: &Session) -> Result<BTreeSet<Pin>> {
    let mut pins = BTreeSet::new();
    for id in lease_ids(session)? {
        if let Liveness::Alive = liveness(session, &id)? {
            pins.extend(read_pins(session, &id)?);
        }
    }
    Ok(pins)
}

/// Returns the names of all lease files.
pub(crate) fn lease_ids(session: &Session) -> Result<Vec<String>> {
    let folder = session.path(LEASES);
    let names = session.disk().list(&folder).on("list", &folder)?;
    Ok(names.into_iter().filter_map(|name| name.into_string().ok()).filter(|name| name != LOCKS).collect())
}

/// Whether the holder of a lease is alive.
pub(crate) enum Liveness {
    /// Someone holds the lease.
    Alive,
    /// Nobody does. While the guard is held, nobody else collects what the holder left.
    Dead(Option<LockGuard>),
}

/// Finds out whether the holder of a lease is alive, without creating the lease.
pub(crate) fn liveness(session: &Session, id: &str) -> Result<Liveness> {
    let path = session.path(LEASES).join(id);
    let Some(file) = optional(session.disk().open(&path)).on("open", &path)? else {
        return Ok(Liveness::Dead(None));
    };
    if !session.disk().lock(&file, &path, LockMode::Exclusive, false).on("lock", &path)? {
        return Ok(Liveness::Alive);
    }
    let guard = leads_to(&path, &file)?.then(|| LockGuard::of(file, path));
    Ok(Liveness::Dead(guard))
}

fn read_pins(session: &Session, id: &str) -> Result<Vec<Pin>> {
    let path = session.path(LEASES).join(id);
    let Some(mut file) = optional(session.disk().open(&path)).on("open", &path)? else {
        return Ok(Vec::new());
    };
    let mut text = String::new();
    file.read_to_string(&mut text).on("read", &path)?;
    Ok(text.lines().filter_map(Pin::parse).collect())
}

/// Locks a mutex whose holder may have panicked: the data behind it stays valid between any two statements.
pub(crate) fn relock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn pins_are_seen_by_others_until_the_session_ends() {
        let space = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(space.path().join(LEASES).join(LOCKS)).unwrap();
        let open = || Session::new(space.path().to_owned(), Arc::new(RealDisk));
        let (mine, other) = (open(), open());
        let pins = [Pin::Blob(Digest::of(b"a")), Pin::Snapshot(DiffId(Digest::of(b"b")))];
        mine.pin_and(&pins, || Ok(())).unwrap();
        mine.pin_and(&pins[..1], || Ok(())).unwrap();
        assert_eq!(pinned_by_the_living(&other).unwrap(), BTreeSet::from(pins));
        drop(mine);
        assert_eq!(pinned_by_the_living(&other).unwrap(), BTreeSet::new());
        assert_eq!(lease_ids(&other).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_cut_line_hides_no_later_pin() {
        let pin = Pin::Blob(Digest::of(b"a"));
        let text = format!("\nblob sha256:abc{}", pin.line());
        assert_eq!(text.lines().filter_map(Pin::parse).collect::<Vec<_>>(), [pin]);
    }
}
