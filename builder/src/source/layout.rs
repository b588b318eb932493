//! OCI layouts in directories of this machine: finding an image in one, and copying its blobs into the store.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use fs_err::os::unix::fs::OpenOptionsExt;
use kiln_oci::validate::DOCUMENT_SIZE_MAX;
use kiln_oci::{Descriptor, Digest, Document, DocumentError, Index, Reference, VerifyingReader, layout};
use kiln_store::{Store, StoreError};
use rustix::fs::OFlags;

/// Names that an error shows of a list.
const SHOWN_MAX: usize = 50;

/// Why an OCI layout could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// A file could not be read; the error names it.
    #[error("cannot read the OCI layout `{}`", path.display())]
    Read {
        /// The layout.
        path: PathBuf,
        /// What the file system says.
        source: io::Error,
    },
    /// Its index is malformed.
    #[error("OCI layout `{}`: {source}", path.display())]
    Index {
        /// The layout.
        path: PathBuf,
        /// What is wrong.
        source: DocumentError,
    },
    /// It has no such image.
    #[error("OCI layout `{}` has no image `{name}`; it has {available}", path.display())]
    NotFound {
        /// The layout.
        path: PathBuf,
        /// What was asked for.
        name: String,
        /// What there is.
        available: String,
    },
    /// It has several images, and none was named.
    #[error("OCI layout `{}` has several images: {available}; name one behind the path", path.display())]
    Ambiguous {
        /// The layout.
        path: PathBuf,
        /// What there is.
        available: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Finds an image by tag, full name or digest; without a name, the only one.
///
/// # Errors
/// [`LayoutError`], which names the layout.
pub fn find(path: &Path, name: Option<&str>) -> Result<Descriptor, LayoutError> {
    let read = |source| LayoutError::Read { path: path.to_owned(), source };
    let bytes = read_index(path).map_err(read)?;
    let index = Document::<Index>::parse(bytes)
        .map_err(|source| LayoutError::Index { path: path.to_owned(), source })?
        .into_value();
    choose(&index, name).map_err(|error| match error {
        NotChosen::Absent { name, available } => {
            LayoutError::NotFound { path: path.to_owned(), name, available }
        }
        NotChosen::Several { available } => LayoutError::Ambiguous { path: path.to_owned(), available },
    })
}

/// Reads the list of images of a layout.
///
/// # Errors
/// It cannot be read, or has more bytes than a document may have.
pub fn read_index(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = fs_err::File::open(path.join(layout::INDEX_FILE))?;
    file.take(DOCUMENT_SIZE_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > DOCUMENT_SIZE_MAX {
        let error = format!("`{}` has more than {DOCUMENT_SIZE_MAX} bytes", layout::INDEX_FILE);
        return Err(io::Error::new(io::ErrorKind::InvalidData, error));
    }
    Ok(bytes)
}

/// Why an image could not be chosen from a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotChosen {
    /// There is no such image.
    Absent {
        /// What was asked for.
        name: String,
        /// What there is.
        available: String,
    },
    /// There are several images, and none was named.
    Several {
        /// What there is.
        available: String,
    },
}

/// Finds an image of a list by tag, full name or digest; without a name, the only one, else that with the tag `latest`.
///
/// # Errors
/// [`NotChosen`].
pub fn choose(index: &Index, name: Option<&str>) -> Result<Descriptor, NotChosen> {
    let Some(name) = name else {
        let is_latest =
            |entry: &&Descriptor| entry.annotations.get(layout::REF_NAME).is_some_and(|tag| tag == "latest");
        return match (index.manifests.as_slice(), index.manifests.iter().find(is_latest)) {
            ([only], _) => Ok(only.clone()),
            (_, Some(latest)) => Ok(latest.clone()),
            _ => Err(NotChosen::Several { available: available(index) }),
        };
    };
    let digest = name.parse::<Digest>().ok();
    let full = name.parse::<Reference>().ok().map(|name| name.or_latest().to_string());
    let fits = |entry: &&Descriptor| {
        digest == Some(entry.digest)
            || entry.annotations.get(layout::REF_NAME).is_some_and(|own| own == name)
            || entry.annotations.get(layout::CONTAINERD_NAME).is_some_and(|own| Some(own) == full.as_ref())
    };
    // The tag of a full name, where nothing has it for its own.
    let ends = |entry: &&Descriptor| {
        let own = entry.annotations.get(layout::REF_NAME);
        own.is_some_and(|own| own.ends_with(&format!(":{name}")))
    };
    let found = index.manifests.iter().find(fits).or_else(|| index.manifests.iter().find(ends));
    found.cloned().ok_or_else(|| NotChosen::Absent { name: name.to_owned(), available: available(index) })
}

/// Returns what an image of a list is called there.
pub fn shown(entry: &Descriptor) -> String {
    let name = entry.annotations.get(layout::REF_NAME);
    let name = name.or_else(|| entry.annotations.get(layout::CONTAINERD_NAME));
    name.cloned().unwrap_or_else(|| entry.digest.to_string())
}

fn available(index: &Index) -> String {
    let mut names: Vec<String> = index.manifests.iter().take(SHOWN_MAX).map(shown).collect();
    let more = index.manifests.len() - names.len();
    if more > 0 {
        names.push(format!("{more} more"));
    }
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Reads a small blob, checked against its descriptor.
///
/// # Errors
/// [`LayoutError::Read`], also for wrong bytes.
pub fn read_document(path: &Path, descriptor: &Descriptor) -> Result<Vec<u8>, LayoutError> {
    let read = |source| LayoutError::Read { path: path.to_owned(), source };
    if descriptor.size > DOCUMENT_SIZE_MAX {
        return Err(read(io::Error::other(format!("`{}` is too large for a document", descriptor.digest))));
    }
    let mut bytes = Vec::new();
    open_blob(path, descriptor).and_then(|mut blob| blob.read_to_end(&mut bytes)).map_err(read)?;
    Ok(bytes)
}

/// Tells whether a layout has a blob.
pub fn has_blob(path: &Path, descriptor: &Descriptor) -> bool {
    path.join(layout::BLOBS_DIRECTORY).join(descriptor.digest.hex()).exists()
}

/// Copies a blob into the store, checked against its descriptor.
///
/// # Errors
/// [`LayoutError`], which names the layout.
pub fn copy_blob(path: &Path, descriptor: &Descriptor, store: &Store) -> Result<(), LayoutError> {
    if store.blobs().hold(&descriptor.digest)? {
        return Ok(());
    }
    let read = |source| LayoutError::Read { path: path.to_owned(), source };
    let mut blob = open_blob(path, descriptor).map_err(read)?;
    let mut writer = store.blobs().writer();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = blob.read(&mut buffer).map_err(read)?;
        if count == 0 {
            break;
        }
        writer.write_all(&buffer[..count]).map_err(read)?;
    }
    writer.commit(Some(&descriptor.digest))?;
    Ok(())
}

/// Opens a blob for reading to its end, where wrong bytes become an error.
///
/// # Errors
/// It is not there, or no file.
pub fn open_blob(path: &Path, descriptor: &Descriptor) -> io::Result<VerifyingReader<fs_err::File>> {
    let path = path.join(layout::BLOBS_DIRECTORY).join(descriptor.digest.hex());
    // Whoever opens a pipe waits for somebody to write into it.
    let file = fs_err::OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)?;
    if !file.metadata()?.is_file() {
        let error = format!("`{}` is no file", file.path().display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, error));
    }
    Ok(VerifyingReader::new(file, descriptor.digest, descriptor.size))
}
