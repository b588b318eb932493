//! Places for mounts: a directory, and an archive of one.
//!
//! In an archive the blobs come first and the entry that needs them last, so that it is written in one go and read from a pipe.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use kiln_layer::tar::read::{Limits, MemberKind, TarReader};
use kiln_layer::tar::write::{Member, append_end, append_header, append_padding};
use kiln_layer::{ArchivePath, Content, Entry, Metadata, Timestamp};
use kiln_oci::Digest;

use super::MountsError;
use super::document::{DOCUMENT_BYTES_MAX, PACK_BYTES_MAX};

const ENTRIES: &str = "entries";
const BLOBS: &str = "blobs/sha256";
/// Entries and blobs in one archive.
const MEMBERS_MAX: u64 = 1_000_000;
/// Bytes of one archive.
const ARCHIVE_BYTES_MAX: u64 = 1 << 40;

/// A place where mounts are kept: small entries under a name, and blobs under their digest. What is fetched from it is checked
/// by whoever asks.
pub trait FarMounts {
    /// Returns an entry.
    ///
    /// # Errors
    /// When it cannot be asked.
    fn get(&mut self, name: &str) -> io::Result<Option<Vec<u8>>>;

    /// Puts an entry in the place of the one that is there; readers see one or the other.
    ///
    /// # Errors
    /// When it could not be put.
    fn put(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Tells whether a blob is there.
    ///
    /// # Errors
    /// When it cannot be asked.
    fn has(&mut self, digest: &Digest) -> io::Result<bool>;

    /// Adds a blob.
    ///
    /// # Errors
    /// When it could not be added.
    fn send(&mut self, digest: &Digest, bytes: &[u8]) -> io::Result<()>;

    /// Returns a blob of `size` bytes; one that is asked for again should be near.
    ///
    /// # Errors
    /// When it is not there, or has another size.
    fn fetch(&mut self, digest: &Digest, size: u64) -> io::Result<Vec<u8>>;
}

/// A directory with `entries/` and `blobs/`.
#[derive(Debug, Clone)]
pub struct Directory(PathBuf);

impl Directory {
    /// Opens a directory, which is made where it is missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(path: &Path) -> io::Result<Self> {
        fs_err::create_dir_all(path.join(ENTRIES))?;
        fs_err::create_dir_all(path.join(BLOBS))?;
        Ok(Self(path.to_owned()))
    }

    /// Returns the names of its entries of mounts, sorted.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn entries(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs_err::read_dir(self.0.join(ENTRIES))? {
            names.extend(entry?.file_name().into_string().ok().filter(|name| is_entry(name)));
        }
        names.sort();
        Ok(names)
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.0.join(BLOBS).join(digest.hex())
    }

    /// Writes a file that appears as a whole, whoever else writes it.
    fn place(&self, to: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.0)?;
        file.write_all(bytes)?;
        file.as_file().sync_data()?;
        file.persist(to)?;
        Ok(())
    }
}

impl FarMounts for Directory {
    fn get(&mut self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match File::open(self.0.join(ENTRIES).join(name)) {
            Ok(file) => bounded(file, DOCUMENT_BYTES_MAX).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn put(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.place(&self.0.join(ENTRIES).join(name), bytes)
    }

    fn has(&mut self, digest: &Digest) -> io::Result<bool> {
        self.blob(digest).try_exists()
    }

    fn send(&mut self, digest: &Digest, bytes: &[u8]) -> io::Result<()> {
        self.place(&self.blob(digest), bytes)
    }

    fn fetch(&mut self, digest: &Digest, size: u64) -> io::Result<Vec<u8>> {
        bounded(File::open(self.blob(digest))?, size)
    }
}

fn bounded(file: File, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > bytes_max {
        true => {
            Err(io::Error::new(io::ErrorKind::InvalidData, format!("it has more than {bytes_max} bytes")))
        }
        false => Ok(bytes),
    }
}

/// Writes an archive. It has nothing before, so all is sent.
#[derive(Debug)]
pub struct ArchiveWriter<W> {
    out: W,
}

impl<W: Write> ArchiveWriter<W> {
    /// Begins an archive.
    pub fn new(out: W) -> Self {
        Self { out }
    }

    /// Ends the archive and returns what it was written to.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        let mut end = Vec::new();
        append_end(&mut end);
        self.out.write_all(&end)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn member(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = ArchivePath::parse(name.as_bytes()).map_err(io::Error::other)?;
        let entry = Entry::file(Metadata::with_mode(0o644), Content::inline(bytes));
        let mut around = Vec::new();
        append_header(&mut around, &path, Member::Entry(&entry), Timestamp::default())
            .map_err(io::Error::other)?;
        self.out.write_all(&around)?;
        self.out.write_all(bytes)?;
        around.clear();
        append_padding(&mut around, bytes.len() as u64);
        self.out.write_all(&around)
    }
}

impl<W: Write> FarMounts for ArchiveWriter<W> {
    fn get(&mut self, _: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn put(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.member(&format!("{ENTRIES}/{name}"), bytes)
    }

    fn has(&mut self, _: &Digest) -> io::Result<bool> {
        Ok(false)
    }

    fn send(&mut self, digest: &Digest, bytes: &[u8]) -> io::Result<()> {
        self.member(&format!("{BLOBS}/{}", digest.hex()), bytes)
    }

    fn fetch(&mut self, _: &Digest, _: u64) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Reads an archive into an empty directory: entries and blobs, and nothing else.
///
/// # Errors
/// When it is no such archive, over a limit, or the directory refuses.
pub fn unpack_archive(reader: impl Read, directory: &Path) -> Result<Directory, MountsError> {
    let refuse = |reason: String| MountsError::Archive { reason };
    let failed = |source| MountsError::Far { verb: "write", name: directory.display().to_string(), source };
    let limits =
        Limits { members_max: MEMBERS_MAX, archive_bytes_max: ARCHIVE_BYTES_MAX, ..Limits::default() };
    let mut tar = TarReader::new(reader, limits);
    let place = Directory::open(directory).map_err(failed)?;
    let mut has_entry = false;
    while let Some(member) = tar.next_member().map_err(|error| refuse(chain(&error)))? {
        let name = String::from_utf8_lossy(member.path.as_bytes()).into_owned();
        let bytes_max = match (name.strip_prefix("entries/"), name.strip_prefix("blobs/sha256/")) {
            (Some(entry), _) if is_entry(entry) => DOCUMENT_BYTES_MAX,
            (_, Some(hex)) if Digest::from_hex(hex).is_ok() => PACK_BYTES_MAX,
            _ => return Err(refuse(format!("it has a member `{}`", name.escape_debug()))),
        };
        has_entry |= name.starts_with(ENTRIES);
        match member.kind {
            MemberKind::File(size) if size <= bytes_max => {}
            MemberKind::File(_) => return Err(refuse(format!("its member `{name}` is too large"))),
            _ => return Err(refuse(format!("its member `{name}` is no file"))),
        }
        // The name has no parts but those made above.
        let mut file = fs_err::File::create(directory.join(&name)).map_err(failed)?;
        io::copy(&mut tar.content(), &mut file).map_err(failed)?;
    }
    if has_entry { Ok(place) } else { Err(refuse("it ends before its entry".to_owned())) }
}

fn is_entry(name: &str) -> bool {
    name.strip_prefix("mounts-").is_some_and(|hex| Digest::from_hex(hex).is_ok())
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
