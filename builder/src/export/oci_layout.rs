//! OCI image layouts: one archive, or a directory.
//!
//! | File | Content |
//! |---|---|
//! | `oci-layout` | the version |
//! | `index.json` | for each name of each image a descriptor with the tag (`org.opencontainers.image.ref.name`) and the full name (`io.containerd.image.name`); an image without a name once, without annotations |
//! | `blobs/sha256/<hex>` | by digest; what images share is there once |

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use kiln_layer::DirectoryOrigin;
use kiln_oci::{Descriptor, Digest, Document, Index, Reference, layout};
use kiln_store::Store;
use rustix::fs::{FlockOperation, Mode};

use super::archive::Archive;
use super::transfer::{Failed, transfer};
use super::whole::{Whole, complete};
use super::{ExportError, NamedDescriptor, destination};
use crate::lanes::blocking;
use crate::progress::Progress;
use crate::request::Destination;
use crate::workshop::Workshop;

/// Writes images as an OCI layout in one tar archive.
///
/// # Errors
/// [`ExportError`]: what is missing, or cannot be written.
pub async fn write_oci_archive(
    workshop: &Arc<Workshop>,
    images: &[NamedDescriptor],
    destination: &Destination,
    progress: &Arc<dyn Progress>,
) -> Result<(), ExportError> {
    let wholes = complete_all(workshop, images, progress).await?;
    let (workshop, destination) = (Arc::clone(workshop), destination.clone());
    blocking(move || {
        destination::write_to(&destination, |out| {
            let failed = destination::failed(&destination);
            let mut archive = Archive::new(out, &failed);
            archive.document(layout::MARKER_FILE, &marker())?;
            archive.document(layout::INDEX_FILE, index(&wholes).bytes())?;
            write_blobs(&mut archive, &workshop.store, &wholes)?;
            archive.end()
        })
    })
    .await
}

/// Writes images into the OCI layout in a directory, creating it when it is not there. Blobs come first, `index.json` last;
/// names that it had before move to the new images, and others stay.
///
/// # Errors
/// [`ExportError`]: what is missing, cannot be written, or is in the way.
pub async fn write_oci_directory(
    workshop: &Arc<Workshop>,
    images: &[NamedDescriptor],
    directory: &Path,
    progress: &Arc<dyn Progress>,
) -> Result<(), ExportError> {
    let wholes = complete_all(workshop, images, progress).await?;
    let (workshop, directory) = (Arc::clone(workshop), directory.to_owned());
    blocking(move || fill_directory(&workshop.store, &wholes, &directory)).await
}

/// An image and the names it goes by.
pub(super) struct NamedWhole {
    pub(super) whole: Whole,
    pub(super) names: Vec<Reference>,
}

/// Completes several images. The names of one image that is given twice are joined.
pub(super) async fn complete_all(
    workshop: &Arc<Workshop>,
    images: &[NamedDescriptor],
    progress: &Arc<dyn Progress>,
) -> Result<Vec<NamedWhole>, ExportError> {
    let mut wholes: Vec<NamedWhole> = Vec::new();
    for image in images {
        let whole = complete(workshop, &image.descriptor, progress).await?;
        let place = wholes.iter().position(|known| known.whole.top.digest == whole.top.digest);
        let place = place.unwrap_or_else(|| {
            wholes.push(NamedWhole { whole, names: Vec::new() });
            wholes.len() - 1
        });
        for name in &image.names {
            if !wholes[place].names.contains(name) {
                wholes[place].names.push(name.clone());
            }
        }
    }
    Ok(wholes)
}

/// Returns the list of images of a layout.
pub(super) fn index(wholes: &[NamedWhole]) -> Document<Index> {
    Document::write(Index::oci(entries(wholes)))
}

/// Returns the content of the marker file.
pub(super) fn marker() -> Vec<u8> {
    kiln_oci::json::to_bytes(&layout::OciLayout::default())
}

fn entries(wholes: &[NamedWhole]) -> Vec<Descriptor> {
    let mut entries = Vec::new();
    for NamedWhole { whole, names } in wholes {
        if names.is_empty() {
            entries.push(whole.top.clone());
        }
        for name in names {
            let mut entry = whole.top.clone();
            if let Some(tag) = name.tag() {
                entry.annotations.insert(layout::REF_NAME.to_owned(), tag.to_owned());
            }
            entry.annotations.insert(layout::CONTAINERD_NAME.to_owned(), name.to_string());
            entries.push(entry);
        }
    }
    entries
}

/// Writes the blobs of images, each once, by digest.
pub(super) fn write_blobs(
    archive: &mut Archive<'_>,
    store: &Store,
    wholes: &[NamedWhole],
) -> Result<(), ExportError> {
    archive.directory("blobs")?;
    archive.directory(layout::BLOBS_DIRECTORY)?;
    for (digest, blob) in all_blobs(wholes) {
        let name = format!("{}/{}", layout::BLOBS_DIRECTORY, digest.hex());
        archive.blob(&name, digest, blob.size, store.blobs().open_sound(&digest)?)?;
    }
    Ok(())
}

fn all_blobs(wholes: &[NamedWhole]) -> BTreeMap<Digest, Descriptor> {
    wholes.iter().flat_map(|image| image.whole.blobs()).collect()
}

fn fill_directory(store: &Store, wholes: &[NamedWhole], directory: &Path) -> Result<(), ExportError> {
    let failed = |source| ExportError::Write { path: directory.to_owned(), source };
    let blobs = directory.join(layout::BLOBS_DIRECTORY);
    std::fs::create_dir_all(&blobs).map_err(failed)?;
    // Two who add to one layout take turns. The lock is on the directory itself, so that no file is left behind.
    let root = DirectoryOrigin::open(directory).map_err(failed)?;
    rustix::fs::flock(&root, FlockOperation::LockExclusive).map_err(|errno| failed(errno.into()))?;
    let before = read_index(directory)?;
    for (digest, blob) in all_blobs(wholes) {
        let path = blobs.join(digest.hex());
        if std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() == blob.size) {
            continue;
        }
        let mut reader = store.blobs().open_sound(&digest)?;
        replace(&path, |file| match transfer(&mut reader, file) {
            Ok(_) => Ok(()),
            Err(Failed::Read(source)) => Err(ExportError::ReadBlob { digest, source }),
            Err(Failed::Write(source)) => Err(ExportError::Write { path: path.clone(), source }),
        })?;
    }
    sync_directory(&blobs)?;
    replace(&directory.join(layout::MARKER_FILE), |file| file.write_all(&marker()).map_err(failed))?;
    let merged = merged(before, entries(wholes));
    let bytes = Document::write(merged);
    replace(&directory.join(layout::INDEX_FILE), |file| file.write_all(bytes.bytes()).map_err(failed))?;
    sync_directory(directory)
}

/// Returns what a layout lists, after checking that it is one of ours to add to.
fn read_index(directory: &Path) -> Result<Index, ExportError> {
    let foreign = |reason: String| ExportError::ForeignLayout { path: directory.to_owned(), reason };
    let read = |name: &str| match std::fs::read(directory.join(name)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(foreign(format!("`{name}` cannot be read: {error}"))),
    };
    if let Some(bytes) = read(layout::MARKER_FILE)? {
        let marker =
            Document::<layout::OciLayout>::parse(bytes).map_err(|error| foreign(error.to_string()))?;
        let version = &marker.value().image_layout_version;
        if version != layout::VERSION {
            return Err(foreign(format!("its version is `{version}`, not {}", layout::VERSION)));
        }
    }
    match read(layout::INDEX_FILE)? {
        None => Ok(Index::oci(Vec::new())),
        Some(bytes) => Ok(Document::parse(bytes).map_err(|error| foreign(error.to_string()))?.into_value()),
    }
}

/// Returns a list with new entries in the place of those whose name or, without one, digest they have.
fn merged(mut index: Index, new: Vec<Descriptor>) -> Index {
    let names = |entry: &Descriptor| {
        let full = entry.annotations.get(layout::CONTAINERD_NAME).cloned();
        full.or_else(|| entry.annotations.get(layout::REF_NAME).cloned())
    };
    for entry in new {
        let name = names(&entry);
        index.manifests.retain(|known| match &name {
            Some(name) => names(known).as_ref() != Some(name) && !is_bare_tag(known, &entry),
            None => known.digest != entry.digest || names(known).is_some(),
        });
        index.manifests.push(entry);
    }
    index
}

/// Whether an entry has the tag of another, and no full name that would tell them apart.
fn is_bare_tag(known: &Descriptor, entry: &Descriptor) -> bool {
    let tag = |entry: &Descriptor| entry.annotations.get(layout::REF_NAME).cloned();
    !known.annotations.contains_key(layout::CONTAINERD_NAME)
        && tag(known).is_some()
        && tag(known) == tag(entry)
}

/// Writes a file that appears by a rename once it is on the disk.
fn replace(
    path: &Path,
    write: impl FnOnce(&mut std::fs::File) -> Result<(), ExportError>,
) -> Result<(), ExportError> {
    let failed = |source| ExportError::Write { path: path.to_owned(), source };
    let directory = path.parent().expect("files of a layout lie in its directories");
    let mut builder = tempfile::Builder::new();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(Mode::from_raw_mode(0o666).bits());
    let mut file = builder.prefix(".kiln-").permissions(mode).tempfile_in(directory).map_err(failed)?;
    write(file.as_file_mut())?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error)).map(drop)
}

fn sync_directory(path: &Path) -> Result<(), ExportError> {
    let sync = std::fs::File::open(path).and_then(|directory| directory.sync_all());
    sync.map_err(|source| ExportError::Write { path: path.to_owned(), source })
}
