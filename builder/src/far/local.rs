//! A cache in a directory, perhaps on a disk that several machines mount. Files are written beside, synced, and renamed; one that
//! was not finished is in `unfinished/` and says nothing.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use kiln_oci::{Descriptor, Digest};
use kiln_registry::ProgressSink;
use kiln_store::{Blobs, Partial};

use super::seal::{sealed, sealed_bytes_max, unsealed};
use super::{EntryKind, FarError};
use crate::lanes::blocking;
use crate::workshop::Workshop;

/// Folder of entries.
pub const ENTRIES: &str = "entries";
/// Folder of blobs.
pub const BLOBS: &str = "blobs/sha256";
/// Folder of files that are being written.
pub const UNFINISHED: &str = "unfinished";
const PIECE_BYTES: usize = 1 << 20;
/// A file that nobody has written to for so long has no writer any more.
const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 3600);

pub(super) async fn get(directory: &Path, kind: EntryKind, name: &str) -> Result<Option<Bytes>, FarError> {
    let (path, own) = (directory.join(ENTRIES).join(name), name.to_owned());
    let directory = directory.to_owned();
    blocking(move || match read_entry(&path, sealed_bytes_max(kind), &own)? {
        Some(bytes) => unsealed(&own, bytes).map(Some),
        // A directory that is not there says nothing about entries: a wrong name, or a disk that is not mounted.
        None => fs::metadata(&directory).map(|_| None).map_err(failed("open", &directory)),
    })
    .await
}

fn read_entry(path: &Path, bytes_max: u64, name: &str) -> Result<Option<Bytes>, FarError> {
    match file_size(path)? {
        None => Ok(None),
        Some(size) if size > bytes_max => Err(FarError::too_large(name)),
        Some(_) => read_file(path, bytes_max).map(Some),
    }
}

/// Returns what a file has, but no more than `bytes_max`.
fn read_file(path: &Path, bytes_max: u64) -> Result<Bytes, FarError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed("open", path))?;
    file.take(bytes_max).read_to_end(&mut bytes).map_err(failed("read", path))?;
    Ok(bytes.into())
}

/// Returns the size of a plain file, or `None` where there is none.
fn file_size(path: &Path) -> Result<Option<u64>, FarError> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(Some(metadata.len())),
        Ok(_) => Ok(None),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(failed("inspect", path)(error)),
    }
}

pub(super) async fn has_entry(directory: &Path, name: &str) -> Result<bool, FarError> {
    let path = directory.join(ENTRIES).join(name);
    blocking(move || Ok(file_size(&path)?.is_some())).await
}

pub(super) async fn has(directory: &Path, blob: &Descriptor) -> Result<bool, FarError> {
    let (path, size) = (blob_path(directory, &blob.digest), blob.size);
    blocking(move || Ok(file_size(&path)? == Some(size))).await
}

pub(super) async fn put(directory: &Path, name: &str, document: Bytes) -> Result<(), FarError> {
    let (directory, path) = (directory.to_owned(), directory.join(ENTRIES).join(name));
    blocking(move || write(&directory, &path, &mut sealed(&document).as_slice(), &mut |_| {})).await
}

pub(super) async fn fetch(
    workshop: &Workshop,
    directory: &Path,
    blob: &Descriptor,
    sink: ProgressSink,
) -> Result<(), FarError> {
    let path = blob_path(directory, &blob.digest);
    let (blobs, digest, size) = (workshop.store.blobs().clone(), blob.digest, blob.size);
    blocking(move || receive(&blobs, &path, (digest, size), &sink)).await
}

fn receive(
    blobs: &Blobs,
    path: &Path,
    (digest, size): (Digest, u64),
    sink: &ProgressSink,
) -> Result<(), FarError> {
    // May wait for another process that fetches the same blob now.
    let mut partial = match blobs.partial(&digest, size)? {
        Partial::There => return Ok(()),
        Partial::Resume(partial) => partial,
    };
    // What an earlier attempt left may be of another place.
    partial.restart()?;
    if file_size(path)?.is_none() {
        return Err(FarError::Missing { digest });
    }
    let wrong = |error| FarError::received(digest, error);
    // One byte more than there should be is enough to tell that there is more.
    let mut file = File::open(path).map_err(failed("open", path))?.take(size + 1);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let count = match file.read(&mut piece) {
            // A signal; what several machines mount may be cut short by one.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            outcome => outcome.map_err(failed("read", path))?,
        };
        if count == 0 {
            return partial.commit().map_err(wrong);
        }
        partial.append(&piece[..count]).map_err(wrong)?;
        sink(partial.len_bytes(), size);
    }
}

pub(super) async fn send(
    workshop: &Workshop,
    directory: &Path,
    blob: &Descriptor,
    sink: ProgressSink,
) -> Result<(), FarError> {
    let (directory, path) = (directory.to_owned(), blob_path(directory, &blob.digest));
    let (blobs, digest, size) = (workshop.store.blobs().clone(), blob.digest, blob.size);
    blocking(move || {
        let mut reader = blobs.open_sound(&digest)?;
        write(&directory, &path, &mut reader, &mut |done| sink(done, size))
    })
    .await
}

pub(super) async fn read(directory: &Path, blob: &Descriptor) -> Result<Bytes, FarError> {
    let (path, digest, size) = (blob_path(directory, &blob.digest), blob.digest, blob.size);
    blocking(move || match file_size(&path)? {
        None => Err(FarError::Missing { digest }),
        Some(_) => read_file(&path, size),
    })
    .await
}

pub(super) async fn write_blob(directory: &Path, blob: &Descriptor, bytes: Bytes) -> Result<(), FarError> {
    let (directory, path) = (directory.to_owned(), blob_path(directory, &blob.digest));
    blocking(move || write(&directory, &path, &mut &*bytes, &mut |_| {})).await
}

/// Writes a file of the cache, whole or not at all.
fn write(
    directory: &Path,
    path: &Path,
    content: &mut dyn Read,
    on_bytes: &mut dyn FnMut(u64),
) -> Result<(), FarError> {
    let unfinished = directory.join(UNFINISHED);
    let folder = path.parent().expect("files of a cache lie in its folders");
    for folder in [folder, &unfinished] {
        fs::create_dir_all(folder).map_err(failed("make", folder))?;
    }
    let mut options = tempfile::Builder::new();
    // As the umask has it: those who share a directory read each other's files.
    options.permissions(fs::Permissions::from_mode(0o666));
    let mut file = options.tempfile_in(&unfinished).map_err(failed("make a file in", &unfinished))?;
    let (mut piece, mut done) = (vec![0; PIECE_BYTES], 0);
    loop {
        let count = match content.read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            outcome => outcome.map_err(failed("read what goes to", path))?,
        };
        if count == 0 {
            break;
        }
        file.write_all(&piece[..count]).map_err(failed("write", file.path()))?;
        done += count as u64;
        on_bytes(done);
    }
    remove_abandoned(&unfinished, file.as_file());
    file.as_file().sync_all().map_err(failed("sync", file.path()))?;
    file.persist(path).map_err(|error| failed("write", path)(error.error))?;
    Ok(())
}

/// Removes what writers left behind that were killed long before `newest` was written. Somebody else may do the same.
fn remove_abandoned(unfinished: &Path, newest: &File) {
    let changed = |metadata: io::Result<fs::Metadata>| metadata.and_then(|metadata| metadata.modified()).ok();
    let now = changed(newest.metadata());
    for entry in fs::read_dir(unfinished).into_iter().flatten().flatten() {
        let age = now.and_then(|now| now.duration_since(changed(entry.metadata())?).ok());
        if age.is_some_and(|age| age > ABANDONED_AFTER) {
            // What cannot be removed takes room, and harms nothing.
            fs::remove_file(entry.path()).ok();
        }
    }
}

fn blob_path(directory: &Path, digest: &Digest) -> PathBuf {
    directory.join(BLOBS).join(digest.hex())
}

fn failed(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FarError + use<> {
    let path = path.to_owned();
    move |source| FarError::File { verb, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_whole_and_what_was_abandoned_long_ago_goes() {
        let folder = tempfile::tempdir().unwrap();
        let unfinished = folder.path().join(UNFINISHED);
        fs::create_dir(&unfinished).unwrap();
        for (name, age) in [("young", ABANDONED_AFTER / 2), ("old", ABANDONED_AFTER * 2)] {
            let file = File::create(unfinished.join(name)).unwrap();
            let now = file.metadata().unwrap().modified().unwrap();
            file.set_modified(now - age).unwrap();
        }
        let path = folder.path().join(ENTRIES).join("d-0");
        let mut moved = Vec::new();
        write(folder.path(), &path, &mut &b"text"[..], &mut |done| moved.push(done)).unwrap();
        assert_eq!((fs::read(&path).unwrap(), moved), (b"text".to_vec(), vec![4]));
        let left: Vec<_> =
            fs::read_dir(&unfinished).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["young"]);
    }
}
