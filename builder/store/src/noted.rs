//! What the store took when that was last looked at, so that a build knows in no time whether it may have grown too large.
//!
//! To look takes as long as to walk everything. So whoever has looked notes what could go, and how much room the disk had: while
//! the disk has not lost more than is left to the bound, the store has not passed it. A lost or damaged note costs a look.

use std::path::Path;
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::error::{IoContext, Result, optional};
use crate::leases::Session;
use crate::scratch::TempFile;

/// The file of the note, below the store.
const NOTE: &str = "usage.json";
/// 2 tells apart what could go then and what was in use lately.
const FORMAT: u64 = 2;
/// A larger file is none of ours.
const NOTE_BYTES_MAX: u64 = 4096;

/// How much of the disk is left to what may go, each thing with the blobs that only such things keep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Left {
    /// What could have gone at once.
    pub now_bytes: u64,
    /// All of it, with what stays for a while because it was used lately.
    pub some_day_bytes: u64,
}

/// The room on the disk that holds a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes of the whole disk.
    pub total_bytes: u64,
    /// Bytes that this user may still write.
    pub free_bytes: u64,
}

/// What somebody has seen of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noted {
    /// What was left then of what may go.
    pub left: Left,
    /// What the disk had left then.
    pub free_bytes: u64,
    /// When, in seconds since 1970.
    pub at: u64,
}

/// Returns the room on the disk at `path`.
pub(crate) fn room(path: &Path) -> Result<Room> {
    let found = rustix::fs::statvfs(path).map_err(std::io::Error::from).on("ask for the room at", path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok(Room { total_bytes: bytes(found.f_blocks), free_bytes: bytes(found.f_bavail) })
}

/// Reads the note; one that is absent, damaged or of another version is none.
pub(crate) fn read(session: &Session) -> Result<Option<Noted>> {
    let path = session.path(NOTE);
    let Some(file) = optional(session.disk().open(&path)).on("open", &path)? else { return Ok(None) };
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(file, NOTE_BYTES_MAX), &mut bytes)
        .on("read", &path)?;
    let Ok(document) = serde_json::from_slice::<Value>(&bytes) else { return Ok(None) };
    let number = |name: &str| document.get(name).and_then(Value::as_u64);
    let noted = || {
        let left = Left { now_bytes: number("now_bytes")?, some_day_bytes: number("some_day_bytes")? };
        Some(Noted { left, free_bytes: number("free_bytes")?, at: number("at")? })
    };
    Ok(noted().filter(|_| number("format") == Some(FORMAT)))
}

/// Notes what is left now.
pub(crate) fn write(session: &std::sync::Arc<Session>, left: Left) -> Result<()> {
    let since_1970 = session.disk().now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let free_bytes = room(session.root())?.free_bytes;
    let document = json!({
        "format": FORMAT, "now_bytes": left.now_bytes, "some_day_bytes": left.some_day_bytes,
        "free_bytes": free_bytes, "at": since_1970.as_secs(),
    });
    // Not synced: what a power cut takes is looked at again.
    let file = TempFile::new(session)?;
    file.write_all(&kiln_oci::json::to_bytes(&document))?;
    file.publish(&session.path(NOTE))
}

#[cfg(test)]
mod tests {
    use super::Left;
    use crate::store::Store;

    #[test]
    fn a_new_store_has_a_note_and_a_damaged_one_is_none() {
        let space = tempfile::tempdir().unwrap();
        let store = Store::open(space.path()).unwrap();
        assert_eq!(store.noted().unwrap().unwrap().left, Left::default());
        let left = Left { now_bytes: 7, some_day_bytes: 9 };
        store.note(left).unwrap();
        assert_eq!(store.noted().unwrap().unwrap().left, left);
        let other = r#"{"format":1,"now_bytes":1,"some_day_bytes":1,"free_bytes":1,"at":1}"#;
        for text in ["", "{}", "[1]", other] {
            std::fs::write(space.path().join(super::NOTE), text).unwrap();
            assert_eq!(store.noted().unwrap(), None, "{text}");
        }
        let room = store.room().unwrap();
        assert!(room.free_bytes <= room.total_bytes && room.total_bytes > 0);
    }
}
