//! What is remembered of a cache mount, beside its directory, where no step sees it; it goes when the mount goes.
//!
//! | Name | Holds |
//! |---|---|
//! | `<slot>.seen` | a document of the caller's, replaced as a whole; empty in a new mount, and absent when nobody knows |
//! | `<slot>.shown/` | a directory of the caller's, which one takes away and gives back; a cache |
//!
//! One at a time has the memory of a mount open. Who works in the mount says so meanwhile, and keeps a [`Presence`] until the
//! work is done, however it ends.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

use crate::disk::{LockMode, write_all};
use crate::error::{IoContext, Result, optional};
use crate::leases::Session;
use crate::lock::{LockGuard, lock, named_lock_path, try_lock};
use crate::scratch::{Scratch, replace_file};

/// Largest document that is read; a larger one counts as absent.
pub const MEMORY_BYTES_MAX: u64 = 1 << 30;

/// File of a directory that is kept; it says since which start of the machine.
const BOOT_ID: &str = "boot";

/// The memory of a cache mount, held alone until it is dropped.
#[derive(Debug)]
pub struct Memory {
    session: Arc<Session>,
    slot: PathBuf,
    _alone: LockGuard,
}

/// Says that somebody works in a cache mount, until it is dropped.
#[derive(Debug)]
pub struct Presence {
    /// Whether somebody else works there, too.
    pub has_company: bool,
    _present: LockGuard,
}

impl Memory {
    pub(crate) fn open(session: &Arc<Session>, slot: &Path) -> Result<Self> {
        let alone = lock(session.disk(), &lock_path(session, slot, "memory"), LockMode::Exclusive)?;
        Ok(Self { session: Arc::clone(session), slot: slot.to_owned(), _alone: alone })
    }

    /// Says that the caller works in the mount from now on.
    ///
    /// # Errors
    /// What the disk says.
    pub fn enter(&self) -> Result<Presence> {
        let path = lock_path(&self.session, &self.slot, "presence");
        // Nobody enters between the two: whoever does has the memory open.
        let has_company = try_lock(self.session.disk(), &path, LockMode::Exclusive)?.is_none();
        let present = lock(self.session.disk(), &path, LockMode::Shared)?;
        Ok(Presence { has_company, _present: present })
    }

    /// Returns the document, empty in a new mount, and when it was last written or [touched](Self::touch), in nanoseconds since
    /// 1970; `None` where it was lost.
    ///
    /// # Errors
    /// What the disk says.
    pub fn read(&self) -> Result<Option<(Vec<u8>, i64)>> {
        let path = seen(&self.slot);
        let Some(file) = optional(self.session.disk().open(&path)).on("open", &path)? else {
            return Ok(None);
        };
        let found = file.metadata().on("inspect", &path)?;
        let modified = found.mtime().saturating_mul(1_000_000_000).saturating_add(found.mtime_nsec());
        let mut bytes = Vec::new();
        file.take(MEMORY_BYTES_MAX + 1).read_to_end(&mut bytes).on("read", &path)?;
        Ok((bytes.len() as u64 <= MEMORY_BYTES_MAX).then_some((bytes, modified)))
    }

    /// Replaces the document, durably.
    ///
    /// # Errors
    /// What the disk says; then the document is the one before.
    pub fn write(&self, bytes: &[u8]) -> Result<()> {
        replace_file(&self.session, &seen(&self.slot), bytes)
    }

    /// Notes that something was done in the mount up to now.
    ///
    /// # Errors
    /// What the disk says.
    pub fn touch(&self) -> Result<()> {
        let path = seen(&self.slot);
        optional(self.session.disk().touch(&path)).on("touch", &path).map(|_| ())
    }

    /// Says when something was done in the mount last, in nanoseconds since 1970: nothing that a step sees later is older.
    ///
    /// # Errors
    /// What the disk says.
    pub fn date(&self, used_ns: i64) -> Result<()> {
        let path = seen(&self.slot);
        let time = Timespec {
            tv_sec: used_ns.div_euclid(1_000_000_000),
            tv_nsec: used_ns.rem_euclid(1_000_000_000),
        };
        let times = Timestamps { last_access: time, last_modification: time };
        let dated = rustix::fs::utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW);
        dated.map_err(Into::into).on("date", &path)
    }

    /// Moves the directory that was given back last to `to`, and tells whether there was one. One from before the machine was
    /// started is not trusted, since nothing of it was synced.
    ///
    /// # Errors
    /// What the disk says.
    pub fn take_shown(&self, to: &Path) -> Result<bool> {
        let path = shown(&self.slot);
        let boot_id = self.session.disk().boot_id().unwrap_or_default();
        let noted = optional(std::fs::read(path.join(BOOT_ID))).on("read", &path)?;
        if boot_id.is_empty() || noted.is_none_or(|noted| noted != boot_id.as_bytes()) {
            self.drop_shown()?;
            return Ok(false);
        }
        Ok(optional(self.session.disk().rename(&path, to)).on("move", &path)?.is_some())
    }

    /// Removes the directory, when there is one.
    ///
    /// # Errors
    /// What the disk says.
    pub fn drop_shown(&self) -> Result<()> {
        let path = shown(&self.slot);
        if optional(std::fs::symlink_metadata(&path)).on("inspect", &path)?.is_none() {
            return Ok(());
        }
        let grave = Scratch::new(&self.session, "shown")?;
        optional(self.session.disk().rename(&path, &grave.path().join("shown"))).on("move away", &path)?;
        grave.close()
    }

    /// Keeps a directory for the next who takes it, in place of the one that is there.
    ///
    /// # Errors
    /// What the disk says.
    pub fn give_shown(&self, directory: Scratch) -> Result<()> {
        self.drop_shown()?;
        let note = directory.path().join(BOOT_ID);
        let disk = self.session.disk();
        let file = disk.create(&note).on("create", &note)?;
        write_all(disk, &file, &note, disk.boot_id().unwrap_or_default().as_bytes())?;
        directory.publish(&shown(&self.slot))
    }
}

/// Prepares the memory of a new slot: nothing of an earlier slot is left, and nobody has seen anything.
pub(crate) fn begin(session: &Arc<Session>, slot: &Path) -> Result<()> {
    let grave = Scratch::new(session, "shown")?;
    forget(session, slot, &grave)?;
    grave.close()?;
    replace_file(session, &seen(slot), b"")
}

/// Removes the memory of a slot that is gone.
pub(crate) fn forget(session: &Session, slot: &Path, grave: &Scratch) -> Result<()> {
    let (seen, shown) = (seen(slot), shown(slot));
    optional(session.disk().unlink(&seen)).on("remove", &seen)?;
    optional(session.disk().rename(&shown, &grave.path().join("shown"))).on("move away", &shown)?;
    Ok(())
}

/// Returns where a slot and all that is remembered of it are.
pub(crate) fn paths_of(slot: &Path) -> [PathBuf; 3] {
    [slot.to_owned(), seen(slot), shown(slot)]
}

pub(crate) fn seen(slot: &Path) -> PathBuf {
    slot.with_extension("seen")
}

fn shown(slot: &Path) -> PathBuf {
    slot.with_extension("shown")
}

fn lock_path(session: &Session, slot: &Path, what: &str) -> PathBuf {
    let folder = slot.strip_prefix(session.root()).unwrap_or(slot);
    named_lock_path(session.root(), &format!("{what} of {}", folder.display()))
}
