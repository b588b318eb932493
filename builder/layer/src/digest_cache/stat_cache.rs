//! A [`DigestCache`] that is one compact record: sorted lines of fixed length, searched where they lie, so loading costs a checksum.
//!
//! A file is remembered only when it last changed clearly before this build began. Whoever changes it later gives it a newer
//! time, even on file systems with coarse clocks; git calls the others "racily clean" and distrusts them too.
//!
//! | Field | Bytes |
//! |---|---|
//! | magic `kstc`, version, CRC-32 of the rest | 4 + 2 + 4 |
//! | each line: device, inode, size, mtime, ctime (8 each), builds since last use (4), whether it is plain (4), digest (32) | 80 |

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::content::FileIdentity;
use crate::content_digest::ContentDigest;
use crate::digest_cache::{DigestCache, KnownFile};

/// The version of the record written by this program.
pub const STAT_CACHE_FORMAT: u16 = 2;

const MAGIC: &[u8; 4] = b"kstc";
const HEADER_BYTES: usize = 10;
const KEY_BYTES: usize = 16;
/// Everything that tells one state of a file from another.
const IDENTITY_BYTES: usize = 40;
const LINE_BYTES: usize = 80;
/// Lines not used by so many builds are dropped.
const IDLE_MAX: u32 = 20;
/// No record holds more lines.
const LINES_MAX: usize = 4_000_000;
/// How much older than this build's start a change must be to be trusted: the coarsest clock of a file system still in use.
pub const CLOCK_SLACK_NS: i128 = 2_000_000_000;

/// Digests of files by what the file system says about them.
#[derive(Debug)]
pub struct StatCache {
    record: Vec<u8>,
    /// Which lines were asked for.
    used: Vec<AtomicBool>,
    started_ns: i128,
    new: Mutex<NewLines>,
}

type NewLines = BTreeMap<[u8; KEY_BYTES], [u8; LINE_BYTES]>;

/// Why bytes are not a stat cache. All of them mean: start with an empty one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatCacheError {
    /// There are no bytes.
    #[error("stat cache is missing")]
    Missing,
    /// Written by an older program.
    #[error("stat cache has format {found}, older than {STAT_CACHE_FORMAT}")]
    TooOld {
        /// The version found.
        found: u16,
    },
    /// Written by a newer program.
    #[error("stat cache has format {found}, newer than {STAT_CACHE_FORMAT}")]
    TooNew {
        /// The version found.
        found: u16,
    },
    /// Not what any program wrote.
    #[error("stat cache is damaged: {what}")]
    Corrupt {
        /// What does not hold.
        what: &'static str,
    },
}

impl StatCache {
    /// Returns an empty cache for a build that began `started_ns` nanoseconds after 1970.
    pub fn new(started_ns: i128) -> Self {
        Self { record: Vec::new(), used: Vec::new(), started_ns, new: Mutex::default() }
    }

    /// Takes a record that [`Self::encode`] gave.
    ///
    /// # Errors
    /// Tells missing, too old, too new and damaged apart.
    pub fn decode(record: Vec<u8>, started_ns: i128) -> Result<Self, StatCacheError> {
        let damaged = |what| StatCacheError::Corrupt { what };
        if record.is_empty() {
            return Err(StatCacheError::Missing);
        }
        if record.len() < HEADER_BYTES || &record[..4] != MAGIC {
            return Err(damaged("not a stat cache"));
        }
        match u16::from_le_bytes([record[4], record[5]]) {
            found if found < STAT_CACHE_FORMAT => return Err(StatCacheError::TooOld { found }),
            found if found > STAT_CACHE_FORMAT => return Err(StatCacheError::TooNew { found }),
            _ => {}
        }
        let expected = u32::from_le_bytes([record[6], record[7], record[8], record[9]]);
        let lines = &record[HEADER_BYTES..];
        if checksum(lines) != expected {
            return Err(damaged("wrong checksum"));
        }
        if !lines.len().is_multiple_of(LINE_BYTES) {
            return Err(damaged("cut short"));
        }
        let used = (0..lines.len() / LINE_BYTES).map(|_| AtomicBool::new(false)).collect();
        Ok(Self { record, used, started_ns, new: Mutex::default() })
    }

    /// Returns the record to keep: everything used or added, and what was idle for few builds only.
    pub fn encode(&self) -> Vec<u8> {
        let new = self.locked();
        let mut record = Vec::with_capacity(HEADER_BYTES + self.lines().len() + new.len() * LINE_BYTES);
        record.resize(HEADER_BYTES, 0);
        let mut added = new.iter().peekable();
        for (line, used) in self.lines().chunks_exact(LINE_BYTES).zip(&self.used) {
            while let Some((_, new)) = added.next_if(|(key, _)| key[..] < line[..KEY_BYTES]) {
                record.extend_from_slice(new);
            }
            let is_replaced = added.peek().is_some_and(|(key, _)| key[..] == line[..KEY_BYTES]);
            let idle = if used.load(Ordering::Relaxed) { 0 } else { idle_of(line) + 1 };
            if idle <= IDLE_MAX && !is_replaced {
                let start = record.len();
                record.extend_from_slice(line);
                record[start + IDENTITY_BYTES..start + IDENTITY_BYTES + 4]
                    .copy_from_slice(&idle.to_le_bytes());
            }
        }
        added.for_each(|(_, new)| record.extend_from_slice(new));
        record.truncate(HEADER_BYTES + LINES_MAX * LINE_BYTES);
        let checksum = checksum(&record[HEADER_BYTES..]);
        record[..4].copy_from_slice(MAGIC);
        record[4..6].copy_from_slice(&STAT_CACHE_FORMAT.to_le_bytes());
        record[6..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
        record
    }

    /// Tells whether there is anything new to keep.
    pub fn is_changed(&self) -> bool {
        !self.locked().is_empty()
    }

    fn lines(&self) -> &[u8] {
        self.record.get(HEADER_BYTES..).unwrap_or_default()
    }

    fn locked(&self) -> MutexGuard<'_, NewLines> {
        // Lines are only ever inserted, so a panic elsewhere left them whole.
        self.new.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, key: &[u8; KEY_BYTES]) -> Option<usize> {
        let lines = self.lines();
        let line = |at: usize| &lines[at * LINE_BYTES..(at + 1) * LINE_BYTES];
        let (mut low, mut high) = (0, lines.len() / LINE_BYTES);
        while low < high {
            let middle = usize::midpoint(low, high);
            match line(middle)[..KEY_BYTES].cmp(&key[..]) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some(middle),
            }
        }
        None
    }
}

impl DigestCache for StatCache {
    fn get(&self, identity: &FileIdentity) -> Option<KnownFile> {
        let at = self.find(&key_of(identity))?;
        let line = &self.lines()[at * LINE_BYTES..(at + 1) * LINE_BYTES];
        if line[..IDENTITY_BYTES] != identity_bytes(identity) {
            return None;
        }
        self.used[at].store(true, Ordering::Relaxed);
        let mut digest = [0; 32];
        digest.copy_from_slice(&line[IDENTITY_BYTES + 8..]);
        let is_plain = line[IDENTITY_BYTES + 4] == 1;
        Some(KnownFile { digest: ContentDigest::from_bytes(digest), is_plain })
    }

    fn put(&self, identity: &FileIdentity, file: KnownFile) {
        let newest = identity.mtime_ns.max(identity.ctime_ns);
        if i128::from(newest) + CLOCK_SLACK_NS >= self.started_ns {
            return;
        }
        self.locked().insert(key_of(identity), line_of(identity, file));
    }
}

/// Big-endian, so that lines sort as their keys do.
fn key_of(identity: &FileIdentity) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    key[..8].copy_from_slice(&identity.device.to_be_bytes());
    key[8..].copy_from_slice(&identity.inode.to_be_bytes());
    key
}

fn identity_bytes(identity: &FileIdentity) -> [u8; IDENTITY_BYTES] {
    let mut bytes = [0; IDENTITY_BYTES];
    bytes[..KEY_BYTES].copy_from_slice(&key_of(identity));
    bytes[16..24].copy_from_slice(&identity.size.to_le_bytes());
    bytes[24..32].copy_from_slice(&identity.mtime_ns.to_le_bytes());
    bytes[32..40].copy_from_slice(&identity.ctime_ns.to_le_bytes());
    bytes
}

fn line_of(identity: &FileIdentity, file: KnownFile) -> [u8; LINE_BYTES] {
    let mut line = [0; LINE_BYTES];
    line[..IDENTITY_BYTES].copy_from_slice(&identity_bytes(identity));
    line[IDENTITY_BYTES + 4] = u8::from(file.is_plain);
    line[IDENTITY_BYTES + 8..].copy_from_slice(file.digest.as_bytes());
    line
}

fn idle_of(line: &[u8]) -> u32 {
    u32::from_le_bytes([line[40], line[41], line[42], line[43]])
}

fn checksum(lines: &[u8]) -> u32 {
    crc32fast::hash(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTED: i128 = 1_000_000_000_000;

    fn plain(content: &[u8]) -> KnownFile {
        KnownFile { digest: ContentDigest::of(content), is_plain: true }
    }

    fn identity(inode: u64, ctime_ns: i64) -> FileIdentity {
        FileIdentity { device: 1, inode, size: 3, mtime_ns: 5, ctime_ns }
    }

    #[test]
    fn what_was_read_is_known_again_until_anything_about_it_changes() {
        let cache = StatCache::new(STARTED);
        for inode in 0..100 {
            cache.put(&identity(inode * 7, 9), plain(&[inode as u8]));
        }
        let cache = StatCache::decode(cache.encode(), STARTED).unwrap();
        assert_eq!(cache.get(&identity(14, 9)), Some(plain(&[2])));
        assert_eq!(cache.get(&identity(15, 9)), None);
        assert_eq!(cache.get(&identity(14, 10)), None);
        assert_eq!(cache.get(&FileIdentity { size: 4, ..identity(14, 9) }), None);
    }

    #[test]
    fn a_file_that_changed_just_now_is_not_trusted() {
        let cache = StatCache::new(STARTED);
        cache.put(&identity(1, STARTED as i64 - 1_000_000), plain(b""));
        assert!(!cache.is_changed());
    }

    #[test]
    fn new_lines_take_their_place_among_the_old_ones() {
        let cache = StatCache::new(STARTED);
        for inode in [2, 4, 6] {
            cache.put(&identity(inode, 9), plain(b"old"));
        }
        let cache = StatCache::decode(cache.encode(), STARTED).unwrap();
        let dressed = KnownFile { is_plain: false, ..plain(b"new") };
        for inode in [1, 4, 5, 9] {
            cache.put(&identity(inode, 10), dressed);
        }
        let cache = StatCache::decode(cache.encode(), STARTED).unwrap();
        let known = |inode, ctime_ns| cache.get(&identity(inode, ctime_ns));
        assert_eq!([known(2, 9), known(6, 9)], [Some(plain(b"old")); 2]);
        assert_eq!([1, 4, 5, 9].map(|inode| known(inode, 10)), [Some(dressed); 4]);
        assert_eq!([known(4, 9), known(3, 9)], [None; 2]);
    }

    #[test]
    fn lines_without_use_go_after_a_while() {
        let mut cache = StatCache::new(STARTED);
        cache.put(&identity(1, 9), plain(b"1"));
        for _ in 0..=IDLE_MAX {
            cache = StatCache::decode(cache.encode(), STARTED).unwrap();
        }
        assert_eq!(cache.encode().len(), HEADER_BYTES);
    }

    #[test]
    fn damaged_records_are_told_apart() {
        let record = StatCache::new(STARTED).encode();
        let check = |record: Vec<u8>| StatCache::decode(record, STARTED).map(|_| ()).unwrap_err();
        assert_eq!(check(Vec::new()), StatCacheError::Missing);
        let mut newer = record.clone();
        newer[4] = 9;
        assert_eq!(check(newer), StatCacheError::TooNew { found: 9 });
        let mut longer = record;
        longer.push(0);
        assert!(matches!(check(longer), StatCacheError::Corrupt { .. }));
    }
}
