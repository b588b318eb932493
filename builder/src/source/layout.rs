//! OCI layouts in directories of this machine: finding an image in one, and copying its blobs into the store.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use kiln_oci::validate::DOCUMENT_SIZE_MAX;
use kiln_oci::{Descriptor, Digest, Document, DocumentError, Index, VerifyingReader, layout};
use kiln_store::{Store, StoreError};

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
    let bytes = fs_err::read(path.join(layout::INDEX_FILE)).map_err(read)?;
    let index = Document::<Index>::parse(bytes)
        .map_err(|source| LayoutError::Index { path: path.to_owned(), source })?
        .into_value();
    let named = |entry: &Descriptor| entry.annotations.get(layout::REF_NAME).cloned();
    let available = || {
        let names: Vec<_> =
            index.manifests.iter().map(|e| named(e).unwrap_or_else(|| e.digest.to_string())).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    let Some(name) = name else {
        let latest = index.manifests.iter().find(|entry| named(entry).as_deref() == Some("latest"));
        return match (index.manifests.as_slice(), latest) {
            ([only], _) => Ok(only.clone()),
            (_, Some(latest)) => Ok(latest.clone()),
            _ => Err(LayoutError::Ambiguous { path: path.to_owned(), available: available() }),
        };
    };
    let digest = name.parse::<Digest>().ok();
    let fits = |entry: &&Descriptor| {
        digest == Some(entry.digest)
            || named(entry).is_some_and(|own| own == name || own.ends_with(&format!(":{name}")))
    };
    index.manifests.iter().find(fits).cloned().ok_or_else(|| LayoutError::NotFound {
        path: path.to_owned(),
        name: name.to_owned(),
        available: available(),
    })
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
    open(path, descriptor).and_then(|mut blob| blob.read_to_end(&mut bytes)).map_err(read)?;
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
    let mut blob = open(path, descriptor).map_err(read)?;
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

fn open(path: &Path, descriptor: &Descriptor) -> io::Result<VerifyingReader<fs_err::File>> {
    let file = fs_err::File::open(path.join(layout::BLOBS_DIRECTORY).join(descriptor.digest.hex()))?;
    Ok(VerifyingReader::new(file, descriptor.digest, descriptor.size))
}
