//! Archives to read: a file, or standard input.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::CatalogError;

/// An archive to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveSource<'a> {
    /// A file. For images, also the directory of an OCI layout.
    File(&'a Path),
    /// Standard input.
    Stdin,
}

/// The same, able to move to another thread.
#[derive(Debug, Clone)]
pub(super) enum Input {
    File(PathBuf),
    Stdin,
}

impl From<ArchiveSource<'_>> for Input {
    fn from(source: ArchiveSource<'_>) -> Self {
        match source {
            ArchiveSource::File(path) => Self::File(path.to_owned()),
            ArchiveSource::Stdin => Self::Stdin,
        }
    }
}

impl Input {
    /// Opens it for reading.
    pub(super) fn open(&self) -> Result<File, CatalogError> {
        let opened = match self {
            Self::File(path) => File::open(path),
            Self::Stdin => rustix::stdio::stdin().try_clone_to_owned().map(File::from),
        };
        opened.map_err(|source| CatalogError::Read { what: self.to_string(), source })
    }
}

impl std::fmt::Display for Input {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(formatter, "`{}`", path.display()),
            Self::Stdin => formatter.write_str("standard input"),
        }
    }
}
