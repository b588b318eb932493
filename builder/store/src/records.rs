//! Records: small facts under a key, in `records/<kind>/<hex>`. What they mean is the caller's.
//!
//! A record may name blobs; it is a hit only while all of them are in the store, and a hit holds them. Records are not
//! synced: after a crash one may be lost or torn, which its checksum tells, and both are only a miss.
//!
//! | Bytes | Meaning |
//! |---|---|
//! | 0–7 | `kilnrec` and a zero byte |
//! | 8–11 | format number, little-endian |
//! | 12–15 | number of named blobs, little-endian |
//! | 16–23 | length of the payload, little-endian |
//! | 24–55 | SHA-256 of kind (length-prefixed), key, and all bytes from 8 on except these |
//! | 56– | 32 bytes for each named blob, then the payload |

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kiln_oci::{Digest, Hasher};

use crate::blobs::Blobs;
use crate::disk::{make_directories, plain_name};
use crate::error::{IoContext, Result, StoreError, optional};
use crate::leases::{Pin, Session};
use crate::scratch::TempFile;

/// The largest payload of a record.
pub const RECORD_BYTES_MAX: u64 = 1 << 30;
/// The most blobs a record can name.
pub const RECORD_BLOBS_MAX: usize = 100_000;

/// Folder of records below the store.
pub(crate) const RECORDS: &str = "records";

const MAGIC: &[u8; 8] = b"kilnrec\0";
const FORMAT: u32 = 1;
const HEADER_BYTES: usize = 56;
const TOUCH_INTERVAL: Duration = Duration::from_secs(3600);

/// The records of a store.
#[derive(Debug, Clone)]
pub struct Records {
    session: Arc<Session>,
    blobs: Blobs,
}

/// A record as it was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What the caller stored.
    pub payload: Vec<u8>,
    /// The blobs it names.
    pub blobs: Vec<Digest>,
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

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DamageReason {
    /// No record header.
    #[error("it has no record header")]
    NoHeader,
    /// Written by an older kiln.
    #[error("its format {0} is too old")]
    TooOld(u32),
    /// Written by a newer kiln.
    #[error("its format {0} is too new")]
    TooNew(u32),
    /// Shorter or longer than its header says.
    #[error("its length is not what its header says")]
    Torn,
    /// The bytes are not those that were written, or stand under another key.
    #[error("its checksum is wrong")]
    Checksum,
}

/// A record in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordEntry {
    /// Its key.
    pub key: Digest,
    /// When it was last put or hit, to within an hour.
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
        let path = self.path(kind, key)?;
        let (record, last_used) = match self.read(kind, key, &path)? {
            Found::Nothing => return Ok(Lookup::Miss),
            Found::Damaged(reason) => return Ok(Lookup::Damaged(RecordDamage { path, reason })),
            Found::Record(record, last_used) => (record, last_used),
        };
        if self.first_missing(&record.blobs)?.is_some() {
            return Ok(Lookup::Miss);
        }
        self.mark_used(&path, last_used);
        Ok(Lookup::Hit(record))
    }

    /// Stores a record, replacing what is under the key, and holds the blobs it names.
    ///
    /// # Errors
    /// [`StoreError::BlobMissing`] when a named blob is not in the store, [`StoreError::InvalidName`],
    /// [`StoreError::RecordTooLarge`], or what the disk says.
    pub fn put(&self, kind: &str, key: &Digest, payload: &[u8], names_blobs: &[Digest]) -> Result<()> {
        let path = self.path(kind, key)?;
        check_limits(payload, names_blobs)?;
        if let Some(digest) = self.first_missing(names_blobs)? {
            return Err(StoreError::BlobMissing { digest });
        }
        self.blobs.make_durable(names_blobs)?;
        let file = TempFile::new(&self.session)?;
        file.write_all(&encode(kind, key, payload, names_blobs))?;
        if let Some(folder) = path.parent() {
            make_directories(self.session.disk(), folder)?;
        }
        file.publish(&path)
    }

    /// Returns the records of a kind, sorted by key.
    ///
    /// # Errors
    /// [`StoreError::InvalidName`], or what the disk says.
    pub fn list(&self, kind: &str) -> Result<Vec<RecordEntry>> {
        plain_name("record kind", kind)?;
        let folder = self.session.path(RECORDS).join(kind);
        let names = optional(self.session.disk().list(&folder)).on("list", &folder)?.unwrap_or_default();
        let mut entries = Vec::new();
        for name in names {
            let Some(key) = name.to_str().and_then(|name| Digest::from_hex(name).ok()) else {
                continue; // Not a record; fsck reports it.
            };
            let path = folder.join(name);
            let Some(metadata) = optional(std::fs::metadata(&path)).on("inspect", &path)? else {
                continue; // Removed since.
            };
            let last_used = metadata.modified().on("inspect", &path)?;
            entries.push(RecordEntry { key, last_used, size_bytes: metadata.len() });
        }
        Ok(entries)
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

    /// Reads a record to its end, without holding its blobs or marking it as used: for fsck.
    pub(crate) fn peek(&self, kind: &str, key: &Digest) -> Result<Lookup> {
        let path = self.path(kind, key)?;
        Ok(match self.read(kind, key, &path)? {
            Found::Nothing => Lookup::Miss,
            Found::Damaged(reason) => Lookup::Damaged(RecordDamage { path, reason }),
            Found::Record(record, _) => Lookup::Hit(record),
        })
    }

    fn path(&self, kind: &str, key: &Digest) -> Result<PathBuf> {
        plain_name("record kind", kind)?;
        Ok(self.session.path(RECORDS).join(kind).join(key.hex()))
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

    /// Holds blobs and returns the first that is not there.
    fn first_missing(&self, digests: &[Digest]) -> Result<Option<Digest>> {
        if digests.is_empty() {
            return Ok(None);
        }
        let pins: Vec<Pin> = digests.iter().copied().map(Pin::Blob).collect();
        self.session.pin_and(&pins, || {
            for digest in digests {
                if !self.blobs.contains(digest)? {
                    return Ok(Some(*digest));
                }
            }
            Ok(None)
        })
    }

    fn mark_used(&self, path: &Path, last_used: SystemTime) {
        let disk = self.session.disk();
        // A time in the future counts as used now.
        let age = disk.now().duration_since(last_used).unwrap_or_default();
        if age > TOUCH_INTERVAL {
            // A store that may only be read, or a record that is just being removed: the hit stands.
            drop(disk.touch(path));
        }
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

fn encode(kind: &str, key: &Digest, payload: &[u8], names_blobs: &[Digest]) -> Vec<u8> {
    let count = u32::try_from(names_blobs.len()).expect("checked against RECORD_BLOBS_MAX");
    let mut bytes = Vec::with_capacity(HEADER_BYTES + 32 * names_blobs.len() + payload.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&count.to_le_bytes());
    bytes.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&[0; 32]);
    for digest in names_blobs {
        bytes.extend_from_slice(digest.as_bytes());
    }
    bytes.extend_from_slice(payload);
    let checksum = checksum(kind, key, &bytes);
    bytes[24..HEADER_BYTES].copy_from_slice(checksum.as_bytes());
    bytes
}

fn decode(kind: &str, key: &Digest, mut bytes: Vec<u8>) -> Result<Record, DamageReason> {
    let names_bytes = check_head(&bytes, bytes.len() as u64)?;
    if bytes[24..HEADER_BYTES] != *checksum(kind, key, &bytes).as_bytes() {
        return Err(DamageReason::Checksum);
    }
    let payload_at = HEADER_BYTES + usize::try_from(names_bytes).map_err(|_| DamageReason::Torn)?;
    let blobs = digests_of(&bytes[HEADER_BYTES..payload_at]);
    bytes.drain(..payload_at);
    Ok(Record { payload: bytes, blobs })
}

/// Checks the head of a record against the length of its file, and returns how many bytes of names follow.
fn check_head(bytes: &[u8], file_bytes: u64) -> Result<u64, DamageReason> {
    let head = bytes.first_chunk::<HEADER_BYTES>().ok_or(DamageReason::NoHeader)?;
    if !head.starts_with(MAGIC) {
        return Err(DamageReason::NoHeader);
    }
    let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    match number(8) {
        FORMAT => {}
        older if older < FORMAT => return Err(DamageReason::TooOld(older)),
        newer => return Err(DamageReason::TooNew(newer)),
    }
    let names_bytes = 32 * u64::from(number(12));
    let payload_bytes = u64::from(number(16)) | u64::from(number(20)) << 32;
    if names_bytes.checked_add(payload_bytes) == Some(file_bytes - HEADER_BYTES as u64) {
        Ok(names_bytes)
    } else {
        Err(DamageReason::Torn)
    }
}

fn digests_of(names: &[u8]) -> Vec<Digest> {
    names.as_chunks::<32>().0.iter().map(|name| Digest::from_bytes(*name)).collect()
}

fn checksum(kind: &str, key: &Digest, bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(&(kind.len() as u64).to_le_bytes());
    hasher.update(kind.as_bytes());
    hasher.update(key.as_bytes());
    hasher.update(&bytes[8..24]);
    hasher.update(&bytes[HEADER_BYTES..]);
    hasher.finish()
}
