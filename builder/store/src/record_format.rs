//! The bytes of a record file. They say of themselves whether they are whole.
//!
//! | Bytes | Meaning |
//! |---|---|
//! | 0–7 | `kilnrec` and a zero byte |
//! | 8–11 | format number, little-endian |
//! | 12–15 | number of named blobs, little-endian |
//! | 16–23 | length of the payload, little-endian |
//! | 24–55 | SHA-256 of kind (length-prefixed), key, and all bytes from 8 on except these |
//! | 56– | 32 bytes for each named blob, then the payload |

use kiln_oci::{Digest, Hasher};

const MAGIC: &[u8; 8] = b"kilnrec\0";
const FORMAT: u32 = 1;
/// Length of the head.
pub(crate) const HEADER_BYTES: usize = 56;

/// A record as it was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What the caller stored.
    pub payload: Vec<u8>,
    /// The blobs it names.
    pub blobs: Vec<Digest>,
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

/// Returns the bytes of a record.
pub(crate) fn encode(kind: &str, key: &Digest, payload: &[u8], names_blobs: &[Digest]) -> Vec<u8> {
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

/// Reads a record from all bytes of its file.
pub(crate) fn decode(kind: &str, key: &Digest, mut bytes: Vec<u8>) -> Result<Record, DamageReason> {
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
pub(crate) fn check_head(bytes: &[u8], file_bytes: u64) -> Result<u64, DamageReason> {
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
    // The file may have been cut since its head was read.
    let rest_bytes = file_bytes.checked_sub(HEADER_BYTES as u64).ok_or(DamageReason::Torn)?;
    if names_bytes.checked_add(payload_bytes) == Some(rest_bytes) {
        Ok(names_bytes)
    } else {
        Err(DamageReason::Torn)
    }
}

/// Reads the digests that follow the head.
pub(crate) fn digests_of(names: &[u8]) -> Vec<Digest> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(payload: Vec<u8>, names in prop::collection::vec(any::<[u8; 32]>(), 0..4)) {
            let blobs: Vec<Digest> = names.into_iter().map(Digest::from_bytes).collect();
            let key = Digest::of(b"key");
            let bytes = encode("steps", &key, &payload, &blobs);
            prop_assert_eq!(decode("steps", &key, bytes), Ok(Record { payload, blobs }));
        }

        #[test]
        fn hostile_bytes_are_refused(mut bytes: Vec<u8>, count in 0..8_u32, payload_bytes: u64, file_bytes: u64) {
            let mut head = MAGIC.to_vec();
            head.extend_from_slice(&FORMAT.to_le_bytes());
            head.extend_from_slice(&count.to_le_bytes());
            head.extend_from_slice(&payload_bytes.to_le_bytes());
            head.append(&mut bytes);
            prop_assert!(decode("steps", &Digest::of(b"key"), head.clone()).is_err());
            if let Ok(names_bytes) = check_head(&head, file_bytes) {
                prop_assert!(names_bytes <= file_bytes);
            }
        }
    }
}
