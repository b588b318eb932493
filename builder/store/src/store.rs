//! Opening a store, and the way to its parts.
//!
//! | `kiln.json` | Directory | Answer |
//! |---|---|---|
//! | absent | no data | a new store is made |
//! | absent | data | [`StoreError::VersionMissing`] |
//! | format too old, too new | – | [`StoreError::VersionTooOld`], [`StoreError::VersionTooNew`] |
//! | good, but no `oci-layout` or no place for scratch and locks | – | making it was interrupted, or a copy left out what was empty: the rest is made |
//! | good | – | opened: one small read and three stats |

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_oci::{DiffId, layout};
use serde_json::Value;

use crate::blobs::Blobs;
use crate::cachemounts::{self, CACHE_MOUNTS, CacheMount, Sharing};
use crate::containers::Containers;
use crate::disk::{Disk, LockMode, RealDisk, make_directories};
use crate::error::{IoContext, Result, StoreError, optional};
use crate::flights::{self, Turn};
use crate::leases::{LEASES, LOCKS, Session, VERSION_FILE};
use crate::lock::{LockGuard, lock, named_lock_path, try_lock};
use crate::logs::{LOGS, Logs};
use crate::mount_slots::{self, HeldMount, MountSlot, Patience, SHARED_SLOT};
use crate::names::{Names, empty_document};
use crate::noted::{self, Left, Noted, Room};
use crate::partial::PARTIAL;
use crate::records::{RECORDS, Records};
use crate::repositories::{self, REPOSITORIES, Repository};
use crate::scratch::{Leftovers, SCRATCH, Scratch, close_to_others, collect_dead, replace_file};
use crate::snapshots::{SNAPSHOTS, Snapshots};

/// The store format this version reads and writes.
pub const FORMAT: u64 = 1;
const FORMAT_OLDEST: u64 = 1;
const FOLDERS: [&str; 10] = [
    "blobs",
    layout::BLOBS_DIRECTORY,
    RECORDS,
    SNAPSHOTS,
    PARTIAL,
    LOGS,
    CACHE_MOUNTS,
    REPOSITORIES,
    SCRATCH,
    LEASES,
];
/// What steps leave there may run with the rights of the store's owner, or be a device: only the owner comes near it.
const CLOSED_FOLDERS: [&str; 3] = [SNAPSHOTS, CACHE_MOUNTS, SCRATCH];
/// What only a store, or another OCI layout, has.
const DATA: [&str; 6] = [layout::MARKER_FILE, layout::INDEX_FILE, "blobs", RECORDS, SNAPSHOTS, CACHE_MOUNTS];

/// An open store. Clones are handles to the same lease; what one of them uses stays until the last is dropped.
#[derive(Debug, Clone)]
pub struct Store {
    session: Arc<Session>,
    blobs: Blobs,
    names: Names,
    records: Records,
    snapshots: Snapshots,
    logs: Logs,
    containers: Containers,
}

impl Store {
    /// Opens the store at `path`, making a new one where nothing is.
    ///
    /// # Errors
    /// One of the version errors, or what the disk says.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_on(path, Arc::new(RealDisk))
    }

    /// Opens a store on another [`Disk`] than the real one.
    ///
    /// # Errors
    /// As for [`Store::open`].
    pub fn open_on(path: impl AsRef<Path>, disk: Arc<dyn Disk>) -> Result<Self> {
        // Lease, scratch and snapshot paths must not change their meaning with the working directory.
        let root = std::path::absolute(path.as_ref()).on("resolve", path.as_ref())?;
        let session = Arc::new(Session::new(root, disk));
        if !is_complete(&session)? {
            make(&session)?;
        }
        Ok(Self::of(session))
    }

    /// Opens the store at `path`, if there is one: for whoever must not make it again after somebody has removed it.
    ///
    /// # Errors
    /// As for [`Store::open`].
    pub fn open_existing(path: impl AsRef<Path>) -> Result<Option<Self>> {
        let root = std::path::absolute(path.as_ref()).on("resolve", path.as_ref())?;
        let session = Arc::new(Session::new(root, Arc::new(RealDisk)));
        Ok(is_complete(&session)?.then(|| Self::of(session)))
    }

    fn of(session: Arc<Session>) -> Self {
        let blobs = Blobs::new(&session);
        Self {
            names: Names::new(&session, &blobs),
            records: Records::new(&session, &blobs),
            snapshots: Snapshots::new(&session),
            logs: Logs::new(&session),
            containers: Containers::new(&session),
            blobs,
            session,
        }
    }

    /// Returns the store's directory, absolute.
    pub fn path(&self) -> &Path {
        self.session.root()
    }

    /// Returns the blobs.
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// Returns the image names.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Returns the records.
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// Returns the unpacked layers.
    pub fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    /// Returns the logs.
    pub fn logs(&self) -> &Logs {
        &self.logs
    }

    /// Returns the working containers.
    pub fn containers(&self) -> &Containers {
        &self.containers
    }

    /// Makes a directory for anything, with `prefix` in its name, removed when the answer is dropped.
    ///
    /// # Errors
    /// [`StoreError::InvalidName`], or what the disk says.
    pub fn scratch(&self, prefix: &str) -> Result<Scratch> {
        Scratch::new(&self.session, prefix)
    }

    /// Publishes an unpacked layer and returns its directory: [`Snapshots::publish`].
    ///
    /// # Errors
    /// What the disk says.
    pub fn publish_snapshot(&self, directory: Scratch, diff_id: &DiffId) -> Result<PathBuf> {
        self.snapshots.publish(directory, diff_id)
    }

    /// Removes what killed processes left behind. Cheap when there is nothing; for the start of a build.
    ///
    /// # Errors
    /// What the disk says; what could not be removed is in the answer.
    pub fn collect_dead_scratch(&self) -> Result<Leftovers> {
        collect_dead(&self.session)
    }

    /// Waits for the lock called `name`, any text, among all processes that use this store.
    ///
    /// # Errors
    /// What the disk says.
    pub fn lock(&self, name: &str) -> Result<LockGuard> {
        lock(self.session.disk(), &named_lock_path(self.path(), name), LockMode::Exclusive)
    }

    /// Takes the lock called `name`, or returns `None` when someone else holds it.
    ///
    /// # Errors
    /// What the disk says.
    pub fn try_lock(&self, name: &str) -> Result<Option<LockGuard>> {
        try_lock(self.session.disk(), &named_lock_path(self.path(), name), LockMode::Exclusive)
    }

    /// Begins the work called `name`, any text, unless another process, or another handle of this one, does it.
    ///
    /// # Errors
    /// What the disk says.
    pub fn take_turn(&self, name: &str) -> Result<Turn> {
        flights::take_turn(&self.session, name)
    }

    /// Opens the cache mount called `id`, any text, waiting where `sharing` says so. A new one is first handed to `fill`
    /// as an empty directory.
    ///
    /// # Errors
    /// What `fill` or the disk says.
    pub fn cache_mount(
        &self,
        id: &str,
        sharing: Sharing,
        fill: &mut dyn FnMut(&Path) -> std::io::Result<()>,
    ) -> Result<CacheMount> {
        cachemounts::open(&self.session, id, sharing, fill)
    }

    /// Returns the ids of all cache mounts with their folders.
    ///
    /// # Errors
    /// What the disk says.
    pub fn cache_mounts(&self) -> Result<Vec<(String, PathBuf)>> {
        cachemounts::list(&self.session)
    }

    /// Removes the directories of a cache mount that nobody uses, and returns how many went.
    ///
    /// # Errors
    /// What could not be removed.
    pub fn remove_cache_mount(&self, id: &str) -> Result<usize> {
        cachemounts::remove_unused(&self.session, id)
    }

    /// Returns what somebody has noted of the store's size, when that can still be read.
    ///
    /// # Errors
    /// What the disk says.
    pub fn noted(&self) -> Result<Option<Noted>> {
        noted::read(&self.session)
    }

    /// Notes what is left now of what may go.
    ///
    /// # Errors
    /// What the disk says.
    pub fn note(&self, left: Left) -> Result<()> {
        noted::write(&self.session, left)
    }

    /// Returns the room on the store's disk.
    ///
    /// # Errors
    /// What the disk says.
    pub fn room(&self) -> Result<Room> {
        noted::room(self.path())
    }

    /// Whether there is something in the directory of the cache mount `id` that builds share.
    ///
    /// # Errors
    /// What the disk says.
    pub fn has_in_cache_mount(&self, id: &str) -> Result<bool> {
        mount_slots::has_content(&self.session, id, SHARED_SLOT)
    }

    /// Returns all directories of all cache mounts, by id.
    ///
    /// # Errors
    /// What the disk says.
    pub fn mount_slots(&self) -> Result<Vec<MountSlot>> {
        mount_slots::slots(&self.session)
    }

    /// Keeps all others away from a directory of the cache mount `id`, whether it exists or not; none when somebody uses it.
    ///
    /// # Errors
    /// What the disk says.
    pub fn hold_mount(&self, id: &str, slot: u32, patience: Patience) -> Result<Option<HeldMount>> {
        mount_slots::hold(&self.session, id, slot, patience)
    }

    /// Opens the repository called `name`, any text, or returns `None` while somebody else holds it. A new one is an empty
    /// directory.
    ///
    /// # Errors
    /// What the disk says.
    pub fn try_repository(&self, name: &str) -> Result<Option<Repository>> {
        repositories::try_open(&self.session, name)
    }

    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.session
    }
}

/// Checks the format; false means that the store is still to be made.
fn is_complete(session: &Session) -> Result<bool> {
    let path = session.path(VERSION_FILE);
    let Some(file) = optional(session.disk().open(&path)).on("open", &path)? else {
        return Ok(false);
    };
    let text = std::io::read_to_string(std::io::Read::take(file, 64 * 1024)).on("read", &path)?;
    let document: Value = serde_json::from_str(&text)
        .map_err(|error| StoreError::DocumentDamaged { path: path.clone(), reason: error.to_string() })?;
    let found = document.get("format").and_then(Value::as_u64).ok_or_else(|| {
        let reason = "it has no whole number `format`".to_owned();
        StoreError::DocumentDamaged { path: path.clone(), reason }
    })?;
    check_format(session.root(), found)?;
    // A copy of a store may lack what was empty.
    for part in [layout::MARKER_FILE, SCRATCH, "leases/locks"] {
        let path = session.path(part);
        if optional(std::fs::symlink_metadata(&path)).on("inspect", &path)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn check_format(root: &Path, found: u64) -> Result<()> {
    let path = root.to_owned();
    if found < FORMAT_OLDEST {
        return Err(StoreError::VersionTooOld { path, found, oldest: FORMAT_OLDEST });
    }
    if found > FORMAT {
        return Err(StoreError::VersionTooNew { path, found, newest: FORMAT });
    }
    Ok(())
}

/// Makes a store, or the rest of one. The version comes first and the layout's marker last, so that an interrupted making
/// is recognised and repeated, and foreign data is never taken for a store.
fn make(session: &Arc<Session>) -> Result<()> {
    let disk = session.disk();
    refuse_foreign_data(session)?;
    make_directories(disk, &session.path(LEASES).join(LOCKS))?;
    make_directories(disk, &session.path(SCRATCH))?;
    let _alone = session.lock("make", LockMode::Exclusive)?;
    if is_complete(session)? {
        return Ok(());
    }
    refuse_foreign_data(session)?;
    let version = serde_json::json!({ "format": FORMAT });
    replace_file(session, &session.path(VERSION_FILE), &kiln_oci::json::to_bytes(&version))?;
    for folder in FOLDERS {
        make_directories(disk, &session.path(folder))?;
    }
    for folder in CLOSED_FOLDERS {
        close_to_others(&session.path(folder))?;
    }
    let index = session.path(layout::INDEX_FILE);
    if optional(std::fs::symlink_metadata(&index)).on("inspect", &index)?.is_none() {
        replace_file(session, &index, &kiln_oci::json::to_bytes(&empty_document()))?;
        // Without it somebody looks, which is no harm.
        drop(noted::write(session, Left::default()));
    }
    let marker = kiln_oci::json::to_bytes(&layout::OciLayout::default());
    replace_file(session, &session.path(layout::MARKER_FILE), &marker)?;
    if let Some(parent) = session.root().parent() {
        // The store's own name; a parent we may not open keeps its names by itself.
        drop(disk.sync_directory(parent));
    }
    Ok(())
}

/// Refuses data that nothing explains. The version is looked for last: another process that makes the store writes it first, so
/// once its data is seen, so is the version.
fn refuse_foreign_data(session: &Session) -> Result<()> {
    for name in DATA {
        let path = session.path(name);
        if optional(std::fs::symlink_metadata(&path)).on("inspect", &path)?.is_some() {
            let is_explained = session.path(VERSION_FILE).exists();
            let path = session.root().to_owned();
            return if is_explained { Ok(()) } else { Err(StoreError::VersionMissing { path }) };
        }
    }
    Ok(())
}
