//! Places for mounts: a directory, and an archive of one.
//!
//! In an archive the blobs come first and the entry that needs them last, so that it is written in one go and read from a pipe.

use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use kiln_layer::tar::read::{Limits, MemberKind, TarReader};
use kiln_layer::tar::write::{Member, append_end, append_header, append_padding};
use kiln_layer::{ArchivePath, Content, Entry, Metadata, Timestamp};
use kiln_oci::{Descriptor, Digest};

use super::MountsError;
use super::document::{DOCUMENT_BYTES_MAX, PACK_BYTES_MAX};
use crate::far::{BLOBS, ENTRIES, SEAL_BYTES_MAX, UNFINISHED, is_sealed, sealed, unsealed};

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
    fn get(&mut self, name: &str) -> io::Result<Option<Bytes>>;

    /// Puts an entry in the place of the one that is there; readers see one or the other. `blobs` are those that it needs.
    ///
    /// # Errors
    /// When it could not be put.
    fn put(&mut self, name: &str, bytes: Vec<u8>, blobs: &[Descriptor]) -> io::Result<()>;

    /// Tells whether a blob is there.
    ///
    /// # Errors
    /// When it cannot be asked.
    fn has(&mut self, blob: &Descriptor) -> io::Result<bool>;

    /// Adds a blob.
    ///
    /// # Errors
    /// When it could not be added.
    fn send(&mut self, blob: &Descriptor, bytes: Vec<u8>) -> io::Result<()>;

    /// Returns a blob.
    ///
    /// # Errors
    /// When it is not there, or has more bytes.
    fn fetch(&mut self, blob: &Descriptor) -> io::Result<Bytes>;
}

/// A directory with `entries/` and `blobs/`: what a [far cache](crate::far) in a directory is.
#[derive(Debug, Clone)]
pub struct Directory(PathBuf);

impl Directory {
    /// Opens a directory, which is made where it is missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(path: &Path) -> io::Result<Self> {
        for folder in [ENTRIES, BLOBS, UNFINISHED] {
            fs_err::create_dir_all(path.join(folder))?;
        }
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
        let mut options = tempfile::Builder::new();
        // As the umask has it: those who share a directory read each other's files.
        let mut file =
            options.permissions(Permissions::from_mode(0o666)).tempfile_in(self.0.join(UNFINISHED))?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(to)?;
        Ok(())
    }
}

impl FarMounts for Directory {
    fn get(&mut self, name: &str) -> io::Result<Option<Bytes>> {
        match File::open(self.0.join(ENTRIES).join(name)) {
            Ok(file) => {
                let bytes = bounded(file, DOCUMENT_BYTES_MAX + SEAL_BYTES_MAX)?;
                // Those of an archive are checked where they are read.
                let is_plain = !is_sealed(&bytes);
                if is_plain {
                    Ok(Some(bytes))
                } else {
                    unsealed(name, bytes).map(Some).map_err(io::Error::other)
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn put(&mut self, name: &str, bytes: Vec<u8>, _: &[Descriptor]) -> io::Result<()> {
        self.place(&self.0.join(ENTRIES).join(name), &sealed(&bytes))
    }

    fn has(&mut self, blob: &Descriptor) -> io::Result<bool> {
        match fs_err::metadata(self.blob(&blob.digest)) {
            // One that was cut short is written again.
            Ok(found) => Ok(found.is_file() && found.len() == blob.size),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn send(&mut self, blob: &Descriptor, bytes: Vec<u8>) -> io::Result<()> {
        self.place(&self.blob(&blob.digest), &bytes)
    }

    fn fetch(&mut self, blob: &Descriptor) -> io::Result<Bytes> {
        bounded(File::open(self.blob(&blob.digest))?, blob.size)
    }
}

fn bounded(file: File, bytes_max: u64) -> io::Result<Bytes> {
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > bytes_max {
        true => {
            Err(io::Error::new(io::ErrorKind::InvalidData, format!("it has more than {bytes_max} bytes")))
        }
        false => Ok(bytes.into()),
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
    fn get(&mut self, _: &str) -> io::Result<Option<Bytes>> {
        Ok(None)
    }

    fn put(&mut self, name: &str, bytes: Vec<u8>, _: &[Descriptor]) -> io::Result<()> {
        self.member(&format!("{ENTRIES}/{name}"), &bytes)
    }

    fn has(&mut self, _: &Descriptor) -> io::Result<bool> {
        Ok(false)
    }

    fn send(&mut self, blob: &Descriptor, bytes: Vec<u8>) -> io::Result<()> {
        self.member(&format!("{BLOBS}/{}", blob.digest.hex()), &bytes)
    }

    fn fetch(&mut self, _: &Descriptor) -> io::Result<Bytes> {
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
