//! What tells a document from a damaged one where nothing else does: a first line with its digest.

use bytes::Bytes;
use kiln_oci::Digest;

use super::{EntryKind, FarError};

/// The first line is this, and the digest of what follows.
const SEAL: &str = "kiln-entry ";
/// More than the line has.
pub const SEAL_BYTES_MAX: u64 = 100;

/// Returns how long a document with its line is at most.
pub(super) fn sealed_bytes_max(kind: EntryKind) -> u64 {
    kind.bytes_max + SEAL_BYTES_MAX
}

/// Whether there seems to be such a line.
pub fn is_sealed(bytes: &[u8]) -> bool {
    bytes.starts_with(SEAL.as_bytes())
}

/// Puts the line before a document.
pub fn sealed(document: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{SEAL}{}\n", Digest::of(document)).into_bytes();
    bytes.extend_from_slice(document);
    bytes
}

/// Returns the document behind the line.
///
/// # Errors
/// When there is no line, or another document.
pub fn unsealed(name: &str, bytes: Bytes) -> Result<Bytes, FarError> {
    let damaged = |reason: &str| FarError::Entry { name: name.to_owned(), reason: reason.to_owned() };
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(|| damaged("it has no first line"))?;
    let line = std::str::from_utf8(&bytes[..end]).ok();
    let digest = line.and_then(|line| line.strip_prefix(SEAL)?.parse::<Digest>().ok());
    let digest = digest.ok_or_else(|| damaged("its first line has no digest"))?;
    let document = bytes.slice(end + 1..);
    match Digest::of(&document) == digest {
        true => Ok(document),
        false => Err(damaged("it is not what its digest says")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_document_that_is_whole_is_returned() {
        let whole = sealed(b"{}\n{}");
        let other = sealed(b"other");
        let mut changed = whole.clone();
        *changed.last_mut().unwrap() ^= 1;
        let cut = whole[..whole.len() - 1].to_vec();
        for (bytes, expected) in [
            (whole, Some(&b"{}\n{}"[..])),
            (other, Some(b"other")),
            (changed, None),
            (cut, None),
            (Vec::new(), None),
            (b"kiln-entry \n".to_vec(), None),
            (vec![0xff; 100], None),
        ] {
            assert_eq!(unsealed("d-0", bytes.into()).ok().as_deref(), expected);
        }
    }
}
