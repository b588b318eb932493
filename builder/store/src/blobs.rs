//! Blobs: content by digest, in `blobs/sha256/<hex>` as an OCI layout has them.
//!
//! Bytes are hashed while they are written to a scratch file; the file is synced and renamed to its digest, so a blob is
//! whole or not there. Writing, and [`Blobs::hold`], pin the blob: no gc takes it from this process. The *name* of a new
//! blob reaches the disk when a record or an image name refers to it ([`Blobs::make_durable`]): one directory sync for
//! all blobs of a step. Knows nothing of what a blob means.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use kiln_oci::{Digest, Hasher, VerifyingReader, layout};

use crate::disk::WriteBehind;
use crate::error::{IoContext, Result, StoreError, optional};
use crate::leases::{Pin, Session, relock};
use crate::scratch::TempFile;

const READ_BUFFER_BYTES: usize = 256 * 1024;
/// A blob up to this size is a file only when it is committed, and one that is there already is checked instead of replaced.
const SMALL_BYTES_MAX: u64 = 64 * 1024;

/// The blobs of a store.
#[derive(Debug, Clone)]
pub struct Blobs {
    session: Arc<Session>,
    /// Blobs whose names this process knows to be on the disk.
    durable: Arc<Mutex<BTreeSet<Digest>>>,
    /// Blobs that this process has hashed while it wrote them.
    fresh: Arc<Mutex<BTreeSet<Digest>>>,
}

impl Blobs {
    pub(crate) fn new(session: &Arc<Session>) -> Self {
        Self { session: Arc::clone(session), durable: Arc::default(), fresh: Arc::default() }
    }

    /// Starts a blob that is hashed while it is written.
    pub fn writer(&self) -> BlobWriter {
        BlobWriter { raw: self.writer_of_hashed(), hasher: Hasher::new() }
    }

    /// Starts a blob whose digest the caller computes while writing; for those who hash anyway.
    pub fn writer_of_hashed(&self) -> HashedBlobWriter {
        let place = Place::Memory(Vec::new());
        HashedBlobWriter { blobs: self.clone(), place, behind: WriteBehind::default() }
    }

    /// Stores `bytes` and returns their digest; "already there" is success.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        // A damaged one is written again.
        if self.hold(&digest)? && self.verify(&digest).is_ok() {
            return Ok(digest);
        }
        let mut writer = self.writer_of_hashed();
        writer.append(bytes)?;
        writer.commit(&digest)?;
        Ok(digest)
    }

    /// Opens a blob. Its bytes are not checked: see [`Blobs::open_verified`].
    ///
    /// # Errors
    /// [`StoreError::BlobMissing`], or what the disk says.
    pub fn open(&self, digest: &Digest) -> Result<File> {
        let path = self.path(digest);
        match optional(self.session.disk().open(&path)).on("open", &path)? {
            Some(file) => Ok(file),
            None => Err(StoreError::BlobMissing { digest: *digest }),
        }
    }

    /// Opens a blob for reading to its end, where wrong bytes become an error.
    ///
    /// # Errors
    /// [`StoreError::BlobMissing`], or what the disk says.
    pub fn open_verified(&self, digest: &Digest) -> Result<VerifyingReader<File>> {
        let file = self.open(digest)?;
        let size_bytes = file.metadata().on("inspect", &self.path(digest))?.len();
        Ok(VerifyingReader::new(file, *digest, size_bytes))
    }

    /// Opens a blob for reading to its end. Wrong bytes become an error, as with [`Blobs::open_verified`]; what this handle or
    /// a clone of it has written was hashed a moment ago, and is not hashed again.
    ///
    /// # Errors
    /// As for [`Blobs::open_verified`].
    pub fn open_sound(&self, digest: &Digest) -> Result<Box<dyn Read + Send>> {
        let is_fresh = relock(&self.fresh).contains(digest);
        Ok(if is_fresh { Box::new(self.open(digest)?) } else { Box::new(self.open_verified(digest)?) })
    }

    /// Reads a small blob, checked against its digest.
    ///
    /// # Errors
    /// [`StoreError::BlobMissing`], [`StoreError::BlobTooLarge`], [`StoreError::WrongDigest`], or what the disk says.
    pub fn read_bytes(&self, digest: &Digest, limit_bytes: u64) -> Result<Vec<u8>> {
        let file = self.open(digest)?;
        let size_bytes = file.metadata().on("inspect", &self.path(digest))?.len();
        if size_bytes > limit_bytes {
            return Err(StoreError::BlobTooLarge { digest: *digest, size_bytes, limit_bytes });
        }
        let mut bytes = Vec::new();
        file.take(limit_bytes).read_to_end(&mut bytes).on("read", &self.path(digest))?;
        expect_digest(digest, Digest::of(&bytes))?;
        Ok(bytes)
    }

    /// Says whether a blob is there at this moment.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub fn contains(&self, digest: &Digest) -> Result<bool> {
        Ok(self.size(digest)?.is_some())
    }

    /// Returns the size of a blob in bytes, or `None` when it is not there.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        let path = self.path(digest);
        Ok(optional(std::fs::metadata(&path)).on("inspect", &path)?.map(|metadata| metadata.len()))
    }

    /// Says whether a blob is there, and keeps it there until this store handle and its clones are dropped.
    ///
    /// # Errors
    /// When that cannot be found out. Must not be called from inside [`crate::gc`]'s callback, which it would wait for.
    pub fn hold(&self, digest: &Digest) -> Result<bool> {
        self.session.pin_and(&[Pin::Blob(*digest)], || self.contains(digest))
    }

    /// Reads a blob to its end and compares its digest.
    ///
    /// # Errors
    /// [`StoreError::WrongDigest`], [`StoreError::BlobMissing`], or what the disk says.
    pub fn verify(&self, digest: &Digest) -> Result<()> {
        let mut file = self.open(digest)?;
        let mut hasher = Hasher::new();
        hash_rest(&mut file, &mut hasher).on("read", &self.path(digest))?;
        expect_digest(digest, hasher.finish())
    }

    /// Returns the digests of all blobs, sorted. Names that are no digests are left out; fsck reports them.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn list(&self) -> Result<Vec<Digest>> {
        let folder = self.session.path(layout::BLOBS_DIRECTORY);
        let names = self.session.disk().list(&folder).on("list", &folder)?;
        Ok(names.iter().filter_map(|name| Digest::from_hex(name.to_str()?).ok()).collect())
    }

    /// Brings the names of blobs to the disk, so that what refers to them may be written.
    pub(crate) fn make_durable(&self, digests: &[Digest]) -> Result<()> {
        let mut durable = relock(&self.durable);
        if digests.iter().all(|digest| durable.contains(digest)) {
            return Ok(());
        }
        self.sync_names()?;
        durable.extend(digests);
        Ok(())
    }

    /// Brings the names of all blobs to the disk.
    pub(crate) fn sync_names(&self) -> Result<()> {
        let folder = self.session.path(layout::BLOBS_DIRECTORY);
        self.session.disk().sync_directory(&folder).on("sync", &folder)
    }

    /// Removes a blob, whoever may need it: for gc and fsck.
    pub(crate) fn remove(&self, digest: &Digest) -> Result<()> {
        let path = self.path(digest);
        relock(&self.durable).remove(digest);
        relock(&self.fresh).remove(digest);
        optional(self.session.disk().unlink(&path)).on("remove", &path)?;
        Ok(())
    }

    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.session.path(layout::BLOBS_DIRECTORY).join(digest.hex())
    }

    /// Makes the folder of blobs, unless it is there.
    pub(crate) fn make_folder(&self) -> Result<()> {
        self.session.make_directories(&self.session.path(layout::BLOBS_DIRECTORY))
    }

    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.session
    }
}

/// A blob being written, hashed on the way; dropped without commit, it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter {
    raw: HashedBlobWriter,
    hasher: Hasher,
}

impl BlobWriter {
    /// Publishes the blob and returns its digest and size; "already there" is success.
    ///
    /// # Errors
    /// [`StoreError::WrongDigest`] when it is not the expected one, or what the disk says. Nothing is visible then.
    pub fn commit(self, expected: Option<&Digest>) -> Result<(Digest, u64)> {
        let digest = self.hasher.finish();
        if let Some(expected) = expected {
            expect_digest(expected, digest)?;
        }
        let size_bytes = self.raw.commit(&digest)?;
        Ok((digest, size_bytes))
    }

    /// Returns the number of bytes written so far.
    pub fn size_bytes(&self) -> u64 {
        self.raw.size_bytes()
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.raw.append(bytes).map_err(into_io)?;
        self.hasher.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A blob being written by someone who knows its digest at the end.
#[derive(Debug)]
pub struct HashedBlobWriter {
    blobs: Blobs,
    place: Place,
    behind: WriteBehind,
}

/// Where the bytes are that were written.
#[derive(Debug)]
enum Place {
    /// There are few so far. Many layers are empty or small, and there already.
    Memory(Vec<u8>),
    File(TempFile),
}

impl HashedBlobWriter {
    /// Publishes the blob under `digest`, which must be the digest of what was written, and returns its size; "already
    /// there" is success.
    ///
    /// # Errors
    /// What the disk says. Nothing is visible then.
    pub fn commit(self, digest: &Digest) -> Result<u64> {
        let size_bytes = self.size_bytes();
        let is_there = self.blobs.hold(digest)?;
        // To read a small one again costs less than to sync another.
        if is_there && size_bytes <= SMALL_BYTES_MAX && self.blobs.verify(digest).is_ok() {
            return Ok(size_bytes);
        }
        let file = match self.place {
            Place::Memory(bytes) => spilled(&self.blobs, &bytes)?,
            Place::File(file) => file,
        };
        file.sync()?;
        let to = self.blobs.path(digest);
        // Whoever cleared the store by hand may have taken the folder, too.
        self.blobs.make_folder()?;
        // What is already there is replaced: it may be damaged, and this is known to be good.
        file.publish(&to)?;
        relock(&self.blobs.fresh).insert(*digest);
        Ok(size_bytes)
    }

    /// Returns the number of bytes written so far.
    pub fn size_bytes(&self) -> u64 {
        self.behind.written()
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let started = self.behind.wrote(bytes.len() as u64);
        match &mut self.place {
            Place::Memory(held) if held.len() + bytes.len() <= SMALL_BYTES_MAX as usize => {
                held.extend_from_slice(bytes);
            }
            Place::Memory(held) => {
                let file = spilled(&self.blobs, held)?;
                file.write_all(bytes)?;
                self.place = Place::File(file);
            }
            Place::File(file) => {
                file.write_all(bytes)?;
                if let Some(range) = started {
                    file.start_writing(range);
                }
            }
        }
        Ok(())
    }
}

impl Write for HashedBlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes).map_err(into_io)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Begins the file of a blob with the bytes that were held in memory.
fn spilled(blobs: &Blobs, bytes: &[u8]) -> Result<TempFile> {
    let file = TempFile::new(&blobs.session)?;
    file.write_all(bytes)?;
    Ok(file)
}

/// Keeps the kind ("disk full") of a store error that must pass through `io::Write`, and its path.
pub(crate) fn into_io(error: StoreError) -> io::Error {
    let kind = match &error {
        StoreError::Io { source, .. } => source.kind(),
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

/// Adds what is left of `reader` to the digest and returns the number of bytes.
pub(crate) fn hash_rest(reader: &mut impl Read, hasher: &mut Hasher) -> io::Result<u64> {
    let mut buffer = vec![0; READ_BUFFER_BYTES];
    let mut total = 0;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(read) => {
                hasher.update(&buffer[..read]);
                total += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

pub(crate) fn expect_digest(expected: &Digest, actual: Digest) -> Result<()> {
    if *expected == actual { Ok(()) } else { Err(StoreError::WrongDigest { expected: *expected, actual }) }
}
