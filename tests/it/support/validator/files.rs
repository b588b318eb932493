//! Where an image's files are: in a directory, or inside an archive.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};

use crate::support::sha256;

/// The files of an image layout.
pub(crate) enum Files {
    /// In a directory.
    Directory(PathBuf),
    /// In an archive: where each begins, and how long it is.
    Archive(PathBuf, BTreeMap<String, (u64, u64)>),
}

/// Files whose bytes were compared with their name: path, inode, size, time of change.
type Verified = HashSet<(PathBuf, u64, u64, i64, i64)>;

static VERIFIED: LazyLock<Mutex<Verified>> = LazyLock::new(Mutex::default);

impl Files {
    /// Finds the files of an archive.
    pub(crate) fn of_archive(path: &Path) -> Result<Self, String> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        let mut archive = tar::Archive::new(BufReader::new(file));
        let mut found = BTreeMap::new();
        for entry in archive.entries_with_seek().map_err(|error| error.to_string())? {
            let entry = entry.map_err(|error| error.to_string())?;
            if entry.header().entry_type().is_file() {
                let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
                let place = (entry.raw_file_position(), entry.size());
                if found.insert(name.clone(), place).is_some() {
                    return Err(format!("{name} is there twice"));
                }
            }
        }
        Ok(Self::Archive(path.to_owned(), found))
    }

    /// Returns how long a file is, if it is there.
    pub(crate) fn size(&self, name: &str) -> Option<u64> {
        match self {
            Self::Directory(root) => fs::metadata(root.join(name)).ok().map(|metadata| metadata.len()),
            Self::Archive(_, files) => files.get(name).map(|(_, size)| *size),
        }
    }

    /// Opens a file that is there.
    pub(crate) fn open(&self, name: &str) -> Result<Box<dyn Read>, String> {
        let shown = |error: std::io::Error| format!("{name}: {error}");
        match self {
            Self::Directory(root) => Ok(Box::new(File::open(root.join(name)).map_err(shown)?)),
            Self::Archive(path, files) => {
                let (at, size) = files.get(name).ok_or_else(|| format!("{name} is not there"))?;
                let mut file = File::open(path).map_err(shown)?;
                file.seek(SeekFrom::Start(*at)).map_err(shown)?;
                Ok(Box::new(file.take(*size)))
            }
        }
    }

    /// Returns the bytes of a file that is there.
    pub(crate) fn read(&self, name: &str) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        self.open(name)?.read_to_end(&mut bytes).map_err(|error| format!("{name}: {error}"))?;
        Ok(bytes)
    }

    /// Whether the bytes of a blob were found to be what its digest says, and have not changed since.
    pub(crate) fn is_verified(&self, name: &str) -> bool {
        self.identity(name).is_some_and(|identity| VERIFIED.lock().unwrap().contains(&identity))
    }

    /// Remembers that the bytes of a blob are what its digest says.
    pub(crate) fn remember_verified(&self, name: &str) {
        VERIFIED.lock().unwrap().extend(self.identity(name));
    }

    fn identity(&self, name: &str) -> Option<(PathBuf, u64, u64, i64, i64)> {
        let Self::Directory(root) = self else { return None };
        let path = root.join(name);
        let metadata = fs::metadata(&path).ok()?;
        Some((path, metadata.ino(), metadata.len(), metadata.ctime(), metadata.ctime_nsec()))
    }

    /// Checks that a blob has the bytes that its name says.
    pub(crate) fn verify_blob(&self, hex: &str) -> Result<(), String> {
        let name = blob(hex);
        if self.is_verified(&name) {
            return Ok(());
        }
        let found = sha256::of_reader(&mut *self.open(&name)?);
        if found != hex {
            return Err(format!("blob {hex} has the digest {found}"));
        }
        self.remember_verified(&name);
        Ok(())
    }
}

/// Returns where a blob is.
pub(crate) fn blob(hex: &str) -> String {
    format!("blobs/sha256/{hex}")
}
