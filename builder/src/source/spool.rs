//! What comes on standard input, put into a file of the store's scratch, so that it can be read more than once.

use std::io::{self, Read};
use std::path::PathBuf;

use kiln_store::{Scratch, StoreError};

use crate::workshop::Workshop;

/// A file in the store's scratch, removed with this value.
#[derive(Debug)]
pub struct Spooled {
    /// The file.
    pub path: PathBuf,
    _scratch: Scratch,
}

/// Why standard input could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// It could not be read or written.
    #[error("cannot keep what comes on standard input in `{}`", path.display())]
    Copy {
        /// The file.
        path: PathBuf,
        /// What the file system says.
        source: io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Copies everything that `reader` has into a file.
///
/// # Errors
/// [`SpoolError`]; nothing is left then.
pub fn spool(workshop: &Workshop, mut reader: impl Read) -> Result<Spooled, SpoolError> {
    let scratch = workshop.store.scratch("stdin")?;
    let path = scratch.path().join("archive");
    let failed = |source| SpoolError::Copy { path: path.clone(), source };
    let mut file = fs_err::File::create(&path).map_err(failed)?;
    io::copy(&mut reader, &mut file).map_err(failed)?;
    Ok(Spooled { path, _scratch: scratch })
}
