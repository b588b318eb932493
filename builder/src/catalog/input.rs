//! Archives to read: a file, one that was fetched, or standard input.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::{CatalogError, Download};

/// An archive to read.
#[derive(Debug, Clone, Copy)]
pub enum ArchiveSource<'a> {
    /// A file. For images, also the directory of an OCI layout.
    File(&'a Path),
    /// A file of the web that was fetched.
    Web(&'a Download),
    /// Standard input.
    Stdin,
}

/// The same, able to move to another thread.
#[derive(Debug, Clone)]
pub(super) enum Input {
    File(PathBuf),
    Web { path: PathBuf, url: String },
    Stdin,
}

impl From<ArchiveSource<'_>> for Input {
    fn from(source: ArchiveSource<'_>) -> Self {
        match source {
            ArchiveSource::File(path) => Self::File(path.to_owned()),
            ArchiveSource::Web(download) => {
                Self::Web { path: download.path(), url: download.url().to_owned() }
            }
            ArchiveSource::Stdin => Self::Stdin,
        }
    }
}

impl Input {
    /// Opens it for reading.
    pub(super) fn open(&self) -> Result<File, CatalogError> {
        let opened = match self {
            Self::File(path) | Self::Web { path, .. } => File::open(path),
            Self::Stdin => rustix::stdio::stdin().try_clone_to_owned().map(File::from),
        };
        opened.map_err(|source| CatalogError::Open { input: self.to_string(), source })
    }

    /// Returns an error that says which archive it is about.
    pub(super) fn named(&self, action: &'static str, error: CatalogError) -> CatalogError {
        match error {
            named @ CatalogError::Open { .. } => named,
            error => CatalogError::Input { action, input: self.to_string(), source: Box::new(error) },
        }
    }
}

impl std::fmt::Display for Input {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(formatter, "`{}`", path.display()),
            Self::Web { url, .. } => write!(formatter, "`{url}`"),
            Self::Stdin => formatter.write_str("standard input"),
        }
    }
}
