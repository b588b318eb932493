//! Blobs that arrive in pieces, over several attempts and processes.
//!
//! `partial/<hex>` holds what has come so far. Its writer locks it; a second process that wants the same blob waits, and
//! then finds it there. The bytes of an earlier attempt are hashed when the file is opened, so that commit is cheap and
//! nobody sees a bad blob.

use kiln_oci::{Digest, Hasher};

use crate::blobs::{Blobs, expect_digest, hash_rest};
use crate::disk::{LockMode, WriteBehind, write_all};
use crate::error::{IoContext, Result, StoreError};
use crate::lock::{LockGuard, lock};

/// Folder of partial blobs below the store.
pub(crate) const PARTIAL: &str = "partial";

/// What there is of a blob that somebody wants to fetch.
#[derive(Debug)]
pub enum Partial {
    /// All of it: the blob is in the store, and held.
    There,
    /// Some or nothing of it.
    Resume(Box<PartialBlob>),
}

/// A blob being fetched; dropped without commit, it stays for the next attempt.
#[derive(Debug)]
pub struct PartialBlob {
    blobs: Blobs,
    guard: LockGuard,
    digest: Digest,
    expected_bytes: u64,
    len_bytes: u64,
    hasher: Hasher,
    behind: WriteBehind,
}

impl Blobs {
    /// Opens what an earlier attempt left of a blob, waiting for another process that is fetching it now.
    ///
    /// # Errors
    /// What the disk says.
    pub fn partial(&self, digest: &Digest, expected_bytes: u64) -> Result<Partial> {
        // One that was cut short is fetched again.
        let is_whole = |size: Option<u64>| size == Some(expected_bytes);
        if self.hold(digest)? && is_whole(self.size(digest)?) {
            return Ok(Partial::There);
        }
        let disk = self.session().disk();
        let folder = self.session().path(PARTIAL);
        self.session().make_directories(&folder)?;
        let guard = lock(disk, &folder.join(digest.hex()), LockMode::Exclusive)?;
        if is_whole(self.size(digest)?) {
            disk.unlink(guard.path()).on("remove", guard.path())?;
            return Ok(Partial::There);
        }
        let blobs = self.clone();
        let (digest, hasher) = (*digest, Hasher::new());
        let behind = WriteBehind::default();
        let mut partial = PartialBlob { blobs, guard, digest, expected_bytes, len_bytes: 0, hasher, behind };
        partial.hash_what_is_there()?;
        Ok(Partial::Resume(Box::new(partial)))
    }
}

impl PartialBlob {
    /// Returns the number of bytes that are there: the offset to resume from.
    pub fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Returns the digest so far, for whoever goes on from here.
    pub fn hasher(&self) -> Hasher {
        self.hasher.clone()
    }

    /// Adds bytes at the end.
    ///
    /// # Errors
    /// [`StoreError::WrongSize`] when there would be more than announced, or what the disk says.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.write(bytes)?;
        self.hasher.update(bytes);
        Ok(())
    }

    /// Adds bytes at the end that the caller has hashed: `hasher` has been given all from the first to the last of these.
    ///
    /// # Errors
    /// As for [`PartialBlob::append`].
    pub fn append_hashed(&mut self, bytes: &[u8], hasher: Hasher) -> Result<()> {
        self.write(bytes)?;
        self.hasher = hasher;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let len_bytes = self.len_bytes + bytes.len() as u64;
        if len_bytes > self.expected_bytes {
            return Err(self.wrong_size(len_bytes));
        }
        let disk = self.blobs.session().disk();
        if let Err(error) = write_all(disk, self.guard.file(), self.guard.path(), bytes) {
            // The file may hold part of `bytes` now; the next append must not follow a gap in the digest.
            disk.truncate(self.guard.file(), self.guard.path(), self.len_bytes)
                .on("truncate", self.guard.path())?;
            return Err(error);
        }
        self.len_bytes = len_bytes;
        // Else all of it would be written at the end, where somebody waits for it.
        if let Some(range) = self.behind.wrote(bytes.len() as u64) {
            disk.start_writing(self.guard.file(), range);
        }
        Ok(())
    }

    /// Forgets what is there: for a server that cannot resume.
    ///
    /// # Errors
    /// What the disk says.
    pub fn restart(&mut self) -> Result<()> {
        let (disk, path) = (self.blobs.session().disk(), self.guard.path());
        disk.truncate(self.guard.file(), path, 0).on("truncate", path)?;
        self.len_bytes = 0;
        self.hasher = Hasher::new();
        self.behind = WriteBehind::default();
        Ok(())
    }

    /// Publishes the blob.
    ///
    /// # Errors
    /// [`StoreError::WrongSize`] when bytes are missing: what is there stays. [`StoreError::WrongDigest`] when they are
    /// wrong: what is there is removed. Or what the disk says.
    pub fn commit(self) -> Result<()> {
        if self.len_bytes != self.expected_bytes {
            return Err(self.wrong_size(self.len_bytes));
        }
        let (disk, path) = (self.blobs.session().disk(), self.guard.path());
        if let Err(error) = expect_digest(&self.digest, self.hasher.finish()) {
            disk.unlink(path).on("remove", path)?;
            return Err(error);
        }
        disk.sync(self.guard.file(), path).on("sync", path)?;
        self.blobs.make_folder()?;
        let to = self.blobs.path(&self.digest);
        disk.rename(path, &to).on("move a file to", &to)
    }

    fn hash_what_is_there(&mut self) -> Result<()> {
        let path = self.guard.path();
        if self.guard.file().metadata().on("inspect", path)?.len() > self.expected_bytes {
            return self.restart();
        }
        self.len_bytes = hash_rest(&mut self.guard.file(), &mut self.hasher).on("read", path)?;
        self.behind = WriteBehind::from(self.len_bytes);
        Ok(())
    }

    fn wrong_size(&self, actual: u64) -> StoreError {
        StoreError::WrongSize { digest: self.digest, expected: self.expected_bytes, actual }
    }
}
