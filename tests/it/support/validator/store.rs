//! A store after a command: what it lists is whole, what its records name is there, and nothing lies about half-written.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};

use rustix::fs::{FlockOperation, flock};

use super::files::{self, Files};
use super::image::{Asked, check_layout};
use crate::support::sha256;

/// Everything that may stand directly below a store.
const TOP: [&str; 15] = [
    "blobs",
    "records",
    "snapshots",
    "partial",
    "logs",
    "cachemounts",
    "repositories",
    "containers",
    "scratch",
    "leases",
    "kiln.json",
    "usage.json",
    "oci-layout",
    "index.json",
    "damaged",
];
const RECORD_HEADER_BYTES: usize = 56;

/// What one state of a record names: it is replaced by a rename, so its inode and time of change tell one from another. One that a test
/// cuts within a tick of the clock has another length.
type State = (u64, u64, i64, i64);

/// Records read before, with the blobs they name.
type Records = HashMap<PathBuf, (State, Vec<String>)>;

static RECORDS: LazyLock<Mutex<Records>> = LazyLock::new(Mutex::default);

/// Checks the store at `root`. `collects` says that the command clears what killed ones left.
///
/// What goes meanwhile is no finding: a build whose store is near its bound starts a prune that outlives it.
pub(crate) fn check(root: &Path, asked: Asked, collects: bool, wrong: &mut Vec<String>) {
    let files = Files::Directory(root.to_owned());
    for name in names(root) {
        if !TOP.contains(&name.as_str()) {
            wrong.push(format!("{name} does not belong into a store"));
        }
    }
    let blobs: BTreeSet<String> = names(&root.join("blobs/sha256")).into_iter().collect();
    for hex in &blobs {
        let verified = files.verify_blob(hex);
        wrong.extend(verified.err().filter(|_| root.join(files::blob(hex)).exists()));
    }
    check_layout(&files, asked, wrong);
    check_records(root, &blobs, wrong);
    if collects {
        check_scratch(root, wrong);
    }
}

fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

/// A record says of itself that it is whole, and names blobs that are there.
fn check_records(root: &Path, present: &BTreeSet<String>, wrong: &mut Vec<String>) {
    // Another process may have written both since the blobs were listed.
    let is_there = |hex: &String| present.contains(hex) || root.join(files::blob(hex)).exists();
    for kind in names(&root.join("records")) {
        for key in names(&root.join("records").join(&kind)) {
            let path = root.join("records").join(&kind).join(&key);
            let finding = match read_record(&path, &kind, &key) {
                Ok(blobs) => match blobs.iter().find(|hex| !is_there(hex)) {
                    Some(hex) => format!("names {hex}, which is not there"),
                    None => continue,
                },
                Err(error) => error,
            };
            if path.exists() {
                wrong.push(format!("record {kind}/{key}: {finding}"));
            }
        }
    }
}

/// Returns the blobs that a record names. Head and checksum are as the module `record_format` of the store has them.
fn read_record(path: &Path, kind: &str, key: &str) -> Result<Vec<String>, String> {
    let mut known = RECORDS.lock().unwrap();
    let metadata = fs::metadata(path).map_err(|error| error.to_string())?;
    let state = (metadata.ino(), metadata.len(), metadata.ctime(), metadata.ctime_nsec());
    if let Some((_, blobs)) = known.get(path).filter(|(before, _)| *before == state) {
        return Ok(blobs.clone());
    }
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let number =
        |at: usize| usize::try_from(u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())).unwrap();
    if bytes.len() < RECORD_HEADER_BYTES || &bytes[..8] != b"kilnrec\0" || number(8) != 1 {
        return Err("no record".to_owned());
    }
    let names = RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + 32 * number(12);
    if bytes.len() != names.end + number(16) {
        return Err("it is torn".to_owned());
    }
    let key = (0..64).step_by(2).map(|at| u8::from_str_radix(key.get(at..at + 2).unwrap_or("x"), 16));
    let key: Vec<u8> = key.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    let length = (kind.len() as u64).to_le_bytes();
    let hashed = [&length[..], kind.as_bytes(), &key, &bytes[8..24], &bytes[RECORD_HEADER_BYTES..]].concat();
    if sha256::of(&hashed) != sha256::hex(&bytes[24..RECORD_HEADER_BYTES]) {
        return Err("its checksum is wrong".to_owned());
    }
    let blobs: Vec<String> = bytes[names].chunks(32).map(sha256::hex).collect();
    known.insert(path.to_owned(), (state, blobs.clone()));
    Ok(blobs)
}

/// Scratch belongs to a process that still holds its lease.
fn check_scratch(root: &Path, wrong: &mut Vec<String>) {
    for name in names(&root.join("scratch")) {
        let lease = name.split('.').next().unwrap_or_default();
        let is_held = File::open(root.join("leases").join(lease))
            .is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockShared).is_err());
        // Its owner may have ended between the two looks.
        if !is_held && root.join("scratch").join(&name).exists() {
            wrong.push(format!("scratch/{name} was left behind"));
        }
    }
}
