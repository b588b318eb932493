//! Records: small facts under a key, in `records/<kind>/<hex>`. What they mean is the caller's.
//!
//! A record may name blobs; it is a hit only while all of them are in the store, and a hit holds them. Records are not
//! synced: after a crash one may be lost or torn, which its checksum tells, and both are only a miss.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kiln_oci::Digest;

use crate::blobs::Blobs;
use crate::disk::plain_name;
use crate::error::{IoContext, Result, StoreError, optional};
use crate::leases::{Pin, Session};
use crate::record_format::{DamageReason, HEADER_BYTES, Record, check_head, decode, digests_of, encode};
use crate::scratch::TempFile;

/// The largest payload of a record.
pub const RECORD_BYTES_MAX: u64 = 1 << 30;
/// The most blobs a record can name.
pub const RECORD_BLOBS_MAX: usize = 100_000;

/// Folder of records below the store.
pub(crate) const RECORDS: &str = "records";

/// Last uses are kept to within this.
pub(crate) const TOUCH_INTERVAL: Duration = Duration::from_secs(60);

/// Whether a use at `now` is to be noted where the last that was noted is `last_used`. A time in the future is replaced: it would be
/// the last use for ever.
pub(crate) fn is_to_be_noted(last_used: SystemTime, now: SystemTime) -> bool {
    !now.duration_since(last_used).is_ok_and(|age| age <= TOUCH_INTERVAL)
}

/// The records of a store.
#[derive(Debug, Clone)]
pub struct Records {
    session: Arc<Session>,
    blobs: Blobs,
}

/// What was found under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// The record; the blobs it names are in the store and held.
    Hit(Record),
    /// Nothing, or a record whose blobs are gone.
    Miss,
    /// Something that is not a record: a miss that deserves a warning.
    Damaged(RecordDamage),
}

impl Lookup {
    /// Returns the record of a hit.
    pub fn hit(self) -> Option<Record> {
        match self {
            Self::Hit(record) => Some(record),
            Self::Miss | Self::Damaged(_) => None,
        }
    }
}

/// Why a file is not a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("damaged record: `{}`: {reason}", path.display())]
pub struct RecordDamage {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: DamageReason,
}

/// A record in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordEntry {
    /// Its key.
    pub key: Digest,
    /// When it was last put or hit, to within a minute.
    pub last_used: SystemTime,
    /// Size of its file.
    pub size_bytes: u64,
}

impl Records {
    pub(crate) fn new(session: &Arc<Session>, blobs: &Blobs) -> Self {
        Self { session: Arc::clone(session), blobs: blobs.clone() }
    }

    /// Looks a record up.
    ///
    /// # Errors
    /// [`StoreError::InvalidName`], or what the disk says. A damaged record is no error.
    pub fn get(&self, kind: &str, key: &Digest) -> Result<Lookup> {
        Ok(self.get_many(kind, &[*key])?.pop().unwrap_or(Lookup::Miss))
    }

    /// Looks several records up, for less than one by one; answers in the order of `keys`.
    ///
    /// # Errors
    /// As for [`Records::get`].
    pub fn get_many(&self, kind: &str, keys: &[Digest]) -> Result<Vec<Lookup>> {
        let mut found = Vec::with_capacity(keys.len());
        let mut named = Vec::new();
        for key in keys {
            let path = self.path(kind, key)?;
            let read = self.read(kind, key, &path)?;
            if let Found::Record(record, _) = &read {
                named.extend_from_slice(&record.blobs);
            }
            found.push((path, read));
        }
        let missing = self.hold_and_list_missing(&named)?;
        Ok(found.into_iter().map(|(path, found)| self.lookup(path, found, &missing)).collect())
    }

    /// Stores a record, replacing what is under the key, and holds the blobs it names.
    ///
    /// # Errors
    /// [`StoreError::BlobMissing`] when a named blob is not in the store, [`StoreError::InvalidName`],
    /// [`StoreError::RecordTooLarge`], or what the disk says.
    pub fn put(&self, kind: &str, key: &Digest, payload: &[u8], names_blobs: &[Digest]) -> Result<()> {
        let path = self.path(kind, key)?;
        check_limits(payload, names_blobs)?;
        if let Some(digest) = self.hold_and_list_missing(names_blobs)?.pop_first() {
            return Err(StoreError::BlobMissing { digest });
        }
        self.blobs.make_durable(names_blobs)?;
        let file = TempFile::new(&self.session)?;
        file.write_all(&encode(kind, key, payload, names_blobs))?;
        if let Some(folder) = path.parent() {
            self.session.make_directories(folder)?;
        }
        file.publish(&path)
    }

    /// Returns the records of a kind, sorted by key.
    ///
    /// # Errors
    /// [`StoreError::InvalidName`], or what the disk says.
    pub fn list(&self, kind: &str) -> Result<Vec<RecordEntry>> {
        plain_name("record kind", kind)?;
        let mut entries = Vec::new();
        for (key, metadata) in self.files(kind)? {
            let last_used = metadata.modified().on("inspect", &self.place(kind, &key))?;
            entries.push(RecordEntry { key, last_used, size_bytes: metadata.len() });
        }
        Ok(entries)
    }

    /// Returns the files of a kind's records, sorted by key.
    pub(crate) fn files(&self, kind: &str) -> Result<Vec<(Digest, Metadata)>> {
        let folder = self.session.path(RECORDS).join(kind);
        let names = optional(self.session.disk().list(&folder)).on("list", &folder)?.unwrap_or_default();
        let mut files = Vec::with_capacity(names.len());
        for name in names {
            let Some(key) = name.to_str().and_then(|name| Digest::from_hex(name).ok()) else {
                continue; // Not a record; fsck reports it.
            };
            let path = folder.join(name);
            if let Some(metadata) = optional(std::fs::metadata(&path)).on("inspect", &path)? {
                files.push((key, metadata));
            }
        }
        Ok(files)
    }

    /// Returns the kinds of which there are records, sorted.
    ///
    /// # Errors
    /// What the disk says.
    pub fn kinds(&self) -> Result<Vec<String>> {
        let folder = self.session.path(RECORDS);
        let names = self.session.disk().list(&folder).on("list", &folder)?;
        let plain = |name: &String| plain_name("record kind", name).is_ok();
        Ok(names.into_iter().filter_map(|name| name.into_string().ok()).filter(plain).collect())
    }

    /// Removes a record; absent is success.
    ///
    /// # Errors
    /// [`StoreError::InvalidName`], or what the disk says.
    pub fn remove(&self, kind: &str, key: &Digest) -> Result<()> {
        let path = self.path(kind, key)?;
        optional(self.session.disk().unlink(&path)).on("remove", &path)?;
        Ok(())
    }

    /// Returns the blobs a record names, from its head alone, or `None` when it is gone or damaged: for gc.
    pub(crate) fn named_blobs(&self, kind: &str, key: &Digest) -> Result<Option<Vec<Digest>>> {
        let path = self.path(kind, key)?;
        let Some(mut file) = optional(self.session.disk().open(&path)).on("open", &path)? else {
            return Ok(None);
        };
        let file_bytes = file.metadata().on("inspect", &path)?.len();
        let mut head = Vec::with_capacity(HEADER_BYTES);
        Read::take(&mut file, HEADER_BYTES as u64).read_to_end(&mut head).on("read", &path)?;
        let Ok(names_bytes) = check_head(&head, file_bytes) else {
            return Ok(None);
        };
        let mut names = Vec::new();
        Read::take(&mut file, names_bytes).read_to_end(&mut names).on("read", &path)?;
        Ok(Some(digests_of(&names)))
    }

    /// Reads a record to its end, without holding its blobs or marking it as used; they may be gone.
    ///
    /// # Errors
    /// As for [`Records::get`].
    pub fn peek(&self, kind: &str, key: &Digest) -> Result<Lookup> {
        let path = self.path(kind, key)?;
        Ok(match self.read(kind, key, &path)? {
            Found::Nothing => Lookup::Miss,
            Found::Damaged(reason) => Lookup::Damaged(RecordDamage { path, reason }),
            Found::Record(record, _) => Lookup::Hit(record),
        })
    }

    /// Marks a record as used without reading it; tells whether that was to be noted, as the last use was long enough ago.
    ///
    /// # Errors
    /// [`StoreError::InvalidName`], or what the disk says. A record that is not there is no error.
    pub fn note_used(&self, kind: &str, key: &Digest) -> Result<bool> {
        let path = self.path(kind, key)?;
        let Some(metadata) = optional(std::fs::metadata(&path)).on("inspect", &path)? else {
            return Ok(false);
        };
        Ok(self.mark_used(&path, metadata.modified().on("inspect", &path)?))
    }

    fn path(&self, kind: &str, key: &Digest) -> Result<PathBuf> {
        plain_name("record kind", kind)?;
        Ok(self.place(kind, key))
    }

    /// Returns the file of a record of a kind that exists.
    pub(crate) fn place(&self, kind: &str, key: &Digest) -> PathBuf {
        self.session.path(RECORDS).join(kind).join(key.hex())
    }

    fn read(&self, kind: &str, key: &Digest, path: &Path) -> Result<Found> {
        let Some(mut file) = optional(self.session.disk().open(path)).on("open", path)? else {
            return Ok(Found::Nothing);
        };
        let metadata = file.metadata().on("inspect", path)?;
        if metadata.len() > HEADER_BYTES as u64 + RECORD_BYTES_MAX + 32 * RECORD_BLOBS_MAX as u64 {
            return Ok(Found::Damaged(DamageReason::Torn));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default() + 1);
        file.read_to_end(&mut bytes).on("read", path)?;
        let last_used = metadata.modified().on("inspect", path)?;
        Ok(match decode(kind, key, bytes) {
            Ok(record) => Found::Record(record, last_used),
            Err(reason) => Found::Damaged(reason),
        })
    }

    fn lookup(&self, path: PathBuf, found: Found, missing: &BTreeSet<Digest>) -> Lookup {
        match found {
            Found::Nothing => Lookup::Miss,
            Found::Damaged(reason) => Lookup::Damaged(RecordDamage { path, reason }),
            Found::Record(record, _) if record.blobs.iter().any(|blob| missing.contains(blob)) => {
                Lookup::Miss
            }
            Found::Record(record, last_used) => {
                self.mark_used(&path, last_used);
                Lookup::Hit(record)
            }
        }
    }

    fn hold_and_list_missing(&self, digests: &[Digest]) -> Result<BTreeSet<Digest>> {
        let mut missing = BTreeSet::new();
        if digests.is_empty() {
            return Ok(missing);
        }
        let pins: Vec<Pin> = digests.iter().copied().map(Pin::Blob).collect();
        self.session.pin_and(&pins, || {
            for digest in digests {
                if !self.blobs.contains(digest)? {
                    missing.insert(*digest);
                }
            }
            Ok(missing)
        })
    }

    /// Tells whether the use was to be noted.
    fn mark_used(&self, path: &Path, last_used: SystemTime) -> bool {
        let disk = self.session.disk();
        let is_due = is_to_be_noted(last_used, disk.now());
        if is_due {
            // A store that may only be read, or a record that is just being removed: the hit stands.
            drop(disk.touch(path));
        }
        is_due
    }
}

enum Found {
    Nothing,
    Damaged(DamageReason),
    Record(Record, SystemTime),
}

fn check_limits(payload: &[u8], names_blobs: &[Digest]) -> Result<()> {
    let size_bytes = payload.len() as u64 + 32 * names_blobs.len() as u64;
    if payload.len() as u64 > RECORD_BYTES_MAX || names_blobs.len() > RECORD_BLOBS_MAX {
        return Err(StoreError::RecordTooLarge { size_bytes, limit_bytes: RECORD_BYTES_MAX });
    }
    Ok(())
}
