//! OCI image layouts: one archive, or a directory.
//!
//! | File | Content |
//! |---|---|
//! | `oci-layout` | the version |
//! | `index.json` | for each name of each image a descriptor with the tag (`org.opencontainers.image.ref.name`) and the full name (`io.containerd.image.name`); an image without a name once, without annotations |
//! | `blobs/sha256/<hex>` | by digest; what images share is there once |

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use kiln_oci::{Descriptor, Digest, Document, Index, layout};
use kiln_store::Store;

use super::archive::Archive;
use super::layout_directory::LayoutDirectory;
use super::leaving::{BlobReader, ImageName, Leaving, OpenBlob};
use super::whole::complete;
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
    blocking(move || write_oci(&wholes, &of_store(&workshop.store), &destination)).await
}

/// Writes images as an OCI layout in one tar archive, whatever has their blobs.
pub(crate) fn write_oci(
    images: &[Leaving],
    open: &OpenBlob<'_>,
    destination: &Destination,
) -> Result<(), ExportError> {
    destination::write_to(destination, |out| {
        let failed = destination::failed(destination);
        let mut archive = Archive::new(out, &failed);
        archive.document(layout::MARKER_FILE, &marker())?;
        archive.document(layout::INDEX_FILE, index(images).bytes())?;
        write_blobs(&mut archive, open, images)?;
        archive.end()
    })
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
    blocking(move || {
        let layout = LayoutDirectory::open(&directory)?;
        for blob in all_blobs(&wholes).values() {
            if !layout.has(blob) {
                layout.write(blob, workshop.store.blobs().open_sound(&blob.digest)?)?;
            }
        }
        layout.publish(entries(&wholes))
    })
    .await
}

/// Opens blobs of the store.
pub(super) fn of_store(store: &Store) -> impl Fn(&Descriptor) -> Result<BlobReader, ExportError> + Sync + '_ {
    |blob| Ok(store.blobs().open_sound(&blob.digest)?)
}

/// Completes several images. The names of one image that is given twice are joined.
pub(super) async fn complete_all(
    workshop: &Arc<Workshop>,
    images: &[NamedDescriptor],
    progress: &Arc<dyn Progress>,
) -> Result<Vec<Leaving>, ExportError> {
    let mut wholes: Vec<Leaving> = Vec::new();
    for image in images {
        let whole = complete(workshop, &image.descriptor, progress).await?;
        let place = wholes.iter().position(|known| known.whole.top.digest == whole.top.digest);
        let place = place.unwrap_or_else(|| {
            wholes.push(Leaving { whole, names: Vec::new() });
            wholes.len() - 1
        });
        for name in &image.names {
            let name = ImageName::Full(name.clone());
            if !wholes[place].names.contains(&name) {
                wholes[place].names.push(name);
            }
        }
    }
    Ok(wholes)
}

/// Returns the list of images of a layout.
pub(super) fn index(images: &[Leaving]) -> Document<Index> {
    Document::write(Index::oci(entries(images)))
}

/// Returns the content of the marker file.
pub(super) fn marker() -> Vec<u8> {
    kiln_oci::json::to_bytes(&layout::OciLayout::default())
}

/// Returns what the list of a layout says of images.
pub(crate) fn entries(images: &[Leaving]) -> Vec<Descriptor> {
    let mut entries = Vec::new();
    for Leaving { whole, names } in images {
        if names.is_empty() {
            entries.push(whole.top.clone());
        }
        for name in names {
            let mut entry = whole.top.clone();
            if let Some(tag) = name.tag() {
                entry.annotations.insert(layout::REF_NAME.to_owned(), tag.to_owned());
            }
            if let ImageName::Full(name) = name {
                entry.annotations.insert(layout::CONTAINERD_NAME.to_owned(), name.to_string());
            }
            entries.push(entry);
        }
    }
    entries
}

/// Writes the blobs of images, each once, by digest.
pub(super) fn write_blobs(
    archive: &mut Archive<'_>,
    open: &OpenBlob<'_>,
    images: &[Leaving],
) -> Result<(), ExportError> {
    archive.directory("blobs")?;
    archive.directory(layout::BLOBS_DIRECTORY)?;
    for (digest, blob) in all_blobs(images) {
        let name = format!("{}/{}", layout::BLOBS_DIRECTORY, digest.hex());
        archive.blob(&name, digest, blob.size, open(&blob)?)?;
    }
    Ok(())
}

fn all_blobs(images: &[Leaving]) -> BTreeMap<Digest, Descriptor> {
    images.iter().flat_map(|image| image.whole.blobs()).collect()
}
