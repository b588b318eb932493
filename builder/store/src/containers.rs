//! Working containers: directories that outlive the command that runs in them, in `containers/<id>/`.
//!
//! ```text
//! containers/<id>/container.json   the image that it is of, and what the caller knows of it
//! containers/<id>/changes/         what was changed in it, or all its files: the caller's
//! ```
//!
//! A container appears by one rename, with its record. The image's blobs stay as long as the container does. Nobody but its user knows
//! what it is good for, so it goes only when that is asked for.
//!
//! | Who | Lock of the container | Lock of its command |
//! |---|---|---|
//! | reads it | shared | – |
//! | changes it, or takes it away | alone | – |
//! | runs a command in it | alone until the command is about to start, then shared | alone |
//!
//! So a command starts only where nobody reads, and once it runs others may read, who are told: what they read may change meanwhile.
//! Whether a command runs is told by its own lock alone, which the kernel frees with the process however that ends.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kiln_oci::{Descriptor, Digest};
use serde_json::{Value, json};

use crate::disk::{LockMode, write_all};
use crate::error::{IoContext, Result, StoreError, optional};
use crate::leases::Session;
use crate::lock::{LockGuard, leads_to, lock, named_lock_path, try_lock};
use crate::scratch::{Scratch, bury, close_to_others, replace_file};

/// Folder of containers below the store.
pub(crate) const CONTAINERS: &str = "containers";
const RECORD: &str = "container.json";
const CHANGES: &str = "changes";
const FORMAT: u64 = 1;
/// Largest record that is read, in bytes.
pub const CONTAINER_RECORD_BYTES_MAX: u64 = 8 << 20;
/// How often a container that somebody has is asked for again: who only looks whether it is in use has it for a moment.
const LOOKS_MAX: u32 = 20;
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What a container is called by: 64 hex digits, the first twelve of which are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId(Digest);

impl ContainerId {
    /// Reads all 64 digits.
    pub fn parse(hex: &str) -> Option<Self> {
        Digest::from_hex(hex).ok().map(Self)
    }

    /// Returns the first twelve digits.
    pub fn short(&self) -> String {
        self.0.hex()[..12].to_owned()
    }

    fn new() -> std::io::Result<Self> {
        let mut bytes = [0_u8; 32];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        Ok(Self(Digest::of(&bytes)))
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.hex())
    }
}

/// The containers of a store.
#[derive(Debug, Clone)]
pub struct Containers {
    session: Arc<Session>,
}

/// A container in a listing.
#[derive(Debug, Clone)]
pub struct ContainerEntry {
    /// Its id.
    pub id: ContainerId,
    /// What is known of it; a damaged record says why nothing is.
    pub record: std::result::Result<ContainerFacts, String>,
    /// Whether somebody runs a command in it.
    pub is_running: bool,
    /// Whether somebody runs a command in it, or has it alone.
    pub is_in_use: bool,
    /// When its record was last written.
    pub changed: SystemTime,
}

/// What the record of a container says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerFacts {
    /// The manifest or index of its image.
    pub image: Descriptor,
    /// What the caller knows of it.
    pub details: Value,
}

/// What a container is held for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerUse {
    /// Others may read it, too.
    Reading,
    /// Nobody else may have it.
    Changing,
}

impl Containers {
    pub(crate) fn new(session: &Arc<Session>) -> Self {
        Self { session: Arc::clone(session) }
    }

    /// Begins a container, which is nobody's before it is published.
    ///
    /// # Errors
    /// What the disk says.
    pub fn begin(&self) -> Result<NewContainer> {
        let folder = self.session.path(CONTAINERS);
        let id = ContainerId::new().on("read random bytes for", &folder)?;
        let held = lock(self.session.disk(), &lock_path(&self.session, &id), LockMode::Exclusive)?;
        let scratch = Scratch::new(&self.session, "container")?;
        let changes = scratch.path().join(CHANGES);
        self.session.disk().make_directory(&changes).on("create directory", &changes)?;
        Ok(NewContainer { id, scratch, held })
    }

    /// Returns all containers, by their ids.
    ///
    /// # Errors
    /// What the disk says. A record that is damaged is said of its container only.
    pub fn list(&self) -> Result<Vec<ContainerEntry>> {
        let mut entries = Vec::new();
        for id in ids(&self.session)? {
            let path = path_of(&self.session, &id).join(RECORD);
            let found = optional(std::fs::symlink_metadata(&path)).on("inspect", &path)?;
            let changed = match found {
                Some(found) => found.modified().on("inspect", &path)?,
                None if !path_of(&self.session, &id).exists() => continue, // Gone since.
                None => SystemTime::UNIX_EPOCH,
            };
            let record = read_facts(&self.session, &id)?;
            let is_running = is_held_alone(&self.session, &command_lock_path(&self.session, &id))?;
            let is_in_use = is_running || is_held_alone(&self.session, &lock_path(&self.session, &id))?;
            entries.push(ContainerEntry { id, record, is_running, is_in_use, changed });
        }
        entries.sort_by_key(|entry| entry.id);
        Ok(entries)
    }

    /// Holds a container; `None` when somebody else has it.
    ///
    /// # Errors
    /// [`StoreError::ContainerMissing`], or what the disk says.
    pub fn hold(&self, id: &ContainerId, purpose: ContainerUse) -> Result<Option<HeldContainer>> {
        hold(&self.session, id, purpose)
    }
}

/// A container that is being made. Dropping it leaves nothing.
#[derive(Debug)]
pub struct NewContainer {
    id: ContainerId,
    scratch: Scratch,
    held: LockGuard,
}

impl NewContainer {
    /// Returns what it will be called by.
    pub fn id(&self) -> ContainerId {
        self.id
    }

    /// Returns the directory for its changes, empty at first.
    pub fn changes(&self) -> PathBuf {
        self.scratch.path().join(CHANGES)
    }

    /// Makes it a container of the store. The blobs of the image must be held by this process.
    ///
    /// # Errors
    /// What the disk says.
    pub fn publish(self, facts: &ContainerFacts) -> Result<HeldContainer> {
        let session = Arc::clone(self.scratch.session());
        let disk = session.disk();
        let path = self.scratch.path().join(RECORD);
        let file = disk.create(&path).on("create", &path)?;
        write_all(disk, &file, &path, &bytes_of(facts))?;
        disk.sync(&file, &path).on("sync", &path)?;
        disk.sync_directory(self.scratch.path()).on("sync", self.scratch.path())?;
        let folder = session.path(CONTAINERS);
        if optional(std::fs::symlink_metadata(&folder)).on("inspect", &folder)?.is_none() {
            session.make_directories(&folder)?;
            close_to_others(&folder)?;
        }
        let place = path_of(&session, &self.id);
        self.scratch.publish(&place)?;
        disk.sync_directory(&folder).on("sync", &folder)?;
        Ok(HeldContainer { session, id: self.id, held: self.held, command: None, is_moving: false })
    }
}

/// A container that this process holds; dropping it frees it.
#[derive(Debug)]
pub struct HeldContainer {
    session: Arc<Session>,
    id: ContainerId,
    held: LockGuard,
    /// Held while this process runs a command in it.
    command: Option<LockGuard>,
    is_moving: bool,
}

impl HeldContainer {
    /// Returns what it is called by.
    pub fn id(&self) -> ContainerId {
        self.id
    }

    /// Whether another process may run a command in it, so that its files change while this one reads them.
    pub fn is_moving(&self) -> bool {
        self.is_moving
    }

    /// Tells everybody that a command is about to run in it, and lets others read it from now on. The container must be held for
    /// [`ContainerUse::Changing`], or have just been made.
    ///
    /// # Errors
    /// What the disk says.
    pub fn begin_command(&mut self) -> Result<()> {
        // Whoever only looks has it for a moment.
        let command = command_lock_path(&self.session, &self.id);
        self.command = Some(lock(self.session.disk(), &command, LockMode::Exclusive)?);
        self.convert(LockMode::Shared, true).map(drop)
    }

    /// Locks in another mode; without `waits`, returns false when somebody else keeps that from being. The kernel frees the lock for
    /// that: whoever has it in between sees the command's, and lets go.
    fn convert(&mut self, mode: LockMode, waits: bool) -> Result<bool> {
        let (disk, path) = (self.session.disk(), self.held.path());
        if !disk.lock(self.held.file(), path, mode, waits).on("lock", path)? {
            return Ok(false);
        }
        if !leads_to(path, self.held.file())? {
            // It was taken for one that nobody needs.
            self.held = lock(disk, path, mode)?;
        }
        Ok(true)
    }

    /// Returns the directory of its changes.
    pub fn changes(&self) -> PathBuf {
        path_of(&self.session, &self.id).join(CHANGES)
    }

    /// Returns what its record says.
    ///
    /// # Errors
    /// [`StoreError::DocumentDamaged`].
    pub fn facts(&self) -> Result<ContainerFacts> {
        let path = path_of(&self.session, &self.id).join(RECORD);
        read_facts(&self.session, &self.id)?.map_err(|reason| StoreError::DocumentDamaged { path, reason })
    }

    /// Writes another record.
    ///
    /// # Errors
    /// What the disk says: then the old one stays.
    pub fn write(&self, facts: &ContainerFacts) -> Result<()> {
        let path = path_of(&self.session, &self.id).join(RECORD);
        replace_file(&self.session, &path, &bytes_of(facts))
    }

    /// Brings everything in the container to the disk, so that a power cut takes nothing of it.
    ///
    /// # Errors
    /// What the disk says.
    pub fn sync(&self) -> Result<()> {
        let path = self.changes();
        self.session.disk().sync_file_system(&path).on("sync", &path)
    }

    /// Removes the container, unless somebody reads it: then it is still held.
    ///
    /// # Errors
    /// What could not be removed.
    pub fn try_remove(mut self) -> Result<Option<Self>> {
        for look in 0..LOOKS_MAX {
            if look > 0 {
                std::thread::sleep(LOOK_EVERY);
            }
            if self.command.is_none() || self.convert(LockMode::Exclusive, false)? {
                return self.remove().map(|()| None);
            }
        }
        self.convert(LockMode::Shared, true)?;
        Ok(Some(self))
    }

    /// Removes the container, once nobody reads it any more. It is out of sight at once.
    ///
    /// # Errors
    /// What could not be removed.
    pub fn remove(mut self) -> Result<()> {
        if self.command.is_some() {
            self.convert(LockMode::Exclusive, true)?;
        }
        bury(&self.session, &path_of(&self.session, &self.id))?;
        drop(self.held);
        Ok(())
    }
}

fn bytes_of(facts: &ContainerFacts) -> Vec<u8> {
    let document = json!({ "format": FORMAT, "image": facts.image, "details": facts.details });
    kiln_oci::json::to_bytes(&document)
}

/// Reads a record; what is wrong with it is no failure of the store.
fn read_facts(session: &Session, id: &ContainerId) -> Result<std::result::Result<ContainerFacts, String>> {
    let path = path_of(session, id).join(RECORD);
    let Some(file) = optional(session.disk().open(&path)).on("open", &path)? else {
        return Ok(Err(format!("it has no `{RECORD}`")));
    };
    let mut bytes = Vec::new();
    let size = file.take(CONTAINER_RECORD_BYTES_MAX + 1).read_to_end(&mut bytes).on("read", &path)?;
    Ok(match size as u64 > CONTAINER_RECORD_BYTES_MAX {
        true => Err(format!("it is larger than {CONTAINER_RECORD_BYTES_MAX} bytes")),
        false => parse_facts(&bytes),
    })
}

fn parse_facts(bytes: &[u8]) -> std::result::Result<ContainerFacts, String> {
    let mut document: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    match document.get("format").and_then(Value::as_u64) {
        Some(FORMAT) => {}
        Some(other) => return Err(format!("it has the format {other}, this kiln reads {FORMAT}")),
        None => return Err("it has no whole number `format`".to_owned()),
    }
    let image = serde_json::from_value(document["image"].take()).map_err(|error| error.to_string())?;
    Ok(ContainerFacts { image, details: document["details"].take() })
}

fn ids(session: &Session) -> Result<Vec<ContainerId>> {
    let folder = session.path(CONTAINERS);
    // Stores in which there never was one have no such folder.
    let names = optional(session.disk().list(&folder)).on("list", &folder)?.unwrap_or_default();
    // Others are reported by fsck.
    Ok(names.iter().filter_map(|name| ContainerId::parse(name.to_str()?)).collect())
}

/// Returns the images that containers are of. A record that is damaged is of none: fsck reports it.
pub(crate) fn images(session: &Session) -> Result<Vec<Descriptor>> {
    let mut images = Vec::new();
    for id in ids(session)? {
        images.extend(read_facts(session, &id)?.ok().map(|facts| facts.image));
    }
    Ok(images)
}

pub(crate) fn path_of(session: &Session, id: &ContainerId) -> PathBuf {
    session.path(CONTAINERS).join(id.to_string())
}

/// Removes a container that nobody has; returns whether it went.
pub(crate) fn remove(session: &Arc<Session>, id: &ContainerId) -> Result<bool> {
    match hold(session, id, ContainerUse::Changing)? {
        Some(held) => held.remove().map(|()| true),
        None => Ok(false),
    }
}

fn hold(session: &Arc<Session>, id: &ContainerId, purpose: ContainerUse) -> Result<Option<HeldContainer>> {
    let mode = match purpose {
        ContainerUse::Reading => LockMode::Shared,
        ContainerUse::Changing => LockMode::Exclusive,
    };
    for look in 0..LOOKS_MAX {
        if look > 0 {
            std::thread::sleep(LOOK_EVERY);
        }
        let Some(held) = try_lock(session.disk(), &lock_path(session, id), mode)? else { continue };
        let path = path_of(session, id);
        if optional(std::fs::symlink_metadata(&path)).on("inspect", &path)?.is_none() {
            return Err(StoreError::ContainerMissing { id: id.to_string() });
        }
        let is_moving = is_held_alone(session, &command_lock_path(session, id))?;
        if is_moving && purpose == ContainerUse::Changing {
            continue; // Who runs the command is about to share it.
        }
        return Ok(Some(HeldContainer {
            session: Arc::clone(session),
            id: *id,
            held,
            command: None,
            is_moving,
        }));
    }
    Ok(None)
}

/// Whether somebody holds a lock alone; who shares it does not count.
fn is_held_alone(session: &Session, path: &Path) -> Result<bool> {
    match optional(session.disk().open(path)).on("open", path)? {
        Some(file) => Ok(!session.disk().lock(&file, path, LockMode::Shared, false).on("lock", path)?),
        None => Ok(false),
    }
}

fn lock_path(session: &Session, id: &ContainerId) -> PathBuf {
    named_lock_path(session.root(), &format!("container {id}"))
}

fn command_lock_path(session: &Session, id: &ContainerId) -> PathBuf {
    named_lock_path(session.root(), &format!("command of container {id}"))
}
