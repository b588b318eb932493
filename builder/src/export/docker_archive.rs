//! Archives for `docker load`: an OCI layout with `manifest.json` and `repositories` beside it, as `docker save` writes them.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;

use kiln_oci::validate::DOCUMENT_SIZE_MAX;
use kiln_oci::{Descriptor, Document, DocumentKind, ImageConfig, Reference, layout};
use serde::Serialize;

use super::archive::Archive;
use super::leaving::{ImageName, Leaving, OpenBlob};
use super::oci_layout::{complete_all, index, marker, of_store, write_blobs};
use super::whole::{SingleImage, paired};
use super::{ExportError, NamedDescriptor, destination};
use crate::lanes::blocking;
use crate::progress::Progress;
use crate::request::Destination;
use crate::workshop::Workshop;

/// One entry of `manifest.json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
    layer_sources: BTreeMap<String, Descriptor>,
}

/// Writes images, each of one platform, as an archive for `docker load`.
///
/// # Errors
/// [`ExportError`]: what is missing, or cannot be written, or said in this form.
pub async fn write_docker_archive(
    workshop: &Arc<Workshop>,
    images: &[NamedDescriptor],
    destination: &Destination,
    progress: &Arc<dyn Progress>,
) -> Result<(), ExportError> {
    let wholes = complete_all(workshop, images, progress).await?;
    let (workshop, destination) = (Arc::clone(workshop), destination.clone());
    blocking(move || write_docker(&wholes, &of_store(&workshop.store), &destination)).await
}

/// Writes images, each of one platform, as an archive for `docker load`, whatever has their blobs.
pub(crate) fn write_docker(
    images: &[Leaving],
    open: &OpenBlob<'_>,
    destination: &Destination,
) -> Result<(), ExportError> {
    let entries: Vec<Entry> =
        images.iter().map(|image| entry(open, image)).collect::<Result<_, ExportError>>()?;
    destination::write_to(destination, |out| {
        let failed = destination::failed(destination);
        let mut archive = Archive::new(out, &failed);
        archive.document(layout::MARKER_FILE, &marker())?;
        archive.document(layout::INDEX_FILE, index(images).bytes())?;
        archive.document("manifest.json", &kiln_oci::json::to_bytes(&entries))?;
        archive.document("repositories", &kiln_oci::json::to_bytes(&repositories(images)))?;
        write_blobs(&mut archive, open, images)?;
        archive.end()
    })
}

fn only_image(image: &Leaving) -> Result<&SingleImage, ExportError> {
    match image.whole.images.as_slice() {
        [only] => Ok(only),
        several => {
            Err(ExportError::SeveralPlatforms { digest: image.whole.top.digest, count: several.len() })
        }
    }
}

fn entry(open: &OpenBlob<'_>, image: &Leaving) -> Result<Entry, ExportError> {
    let single = only_image(image)?;
    let layers = paired(single, &read_document::<ImageConfig>(open, &single.manifest.config)?)?;
    let name = |blob: &Descriptor| format!("{}/{}", layout::BLOBS_DIRECTORY, blob.digest.hex());
    let source = |blob: &Descriptor| {
        let mut source = Descriptor::new(blob.media_type.clone(), blob.digest, blob.size);
        // Says where a layer is that is not in the archive.
        source.urls.clone_from(&blob.urls);
        source
    };
    Ok(Entry {
        config: name(&single.manifest.config),
        repo_tags: tagged(image).map(Reference::familiar).collect(),
        layers: layers.iter().map(|layer| name(&layer.blob)).collect(),
        layer_sources: layers
            .iter()
            .map(|layer| (layer.diff_id.0.to_string(), source(&layer.blob)))
            .collect(),
    })
}

fn tagged(image: &Leaving) -> impl Iterator<Item = &Reference> {
    image.names.iter().filter_map(|name| match name {
        ImageName::Full(name) => Some(name).filter(|name| name.tag().is_some() && name.digest().is_none()),
        ImageName::Tag(_) => None,
    })
}

/// Reads a small blob of what leaves.
fn read_document<T: DocumentKind>(
    open: &OpenBlob<'_>,
    blob: &Descriptor,
) -> Result<Document<T>, ExportError> {
    let failed = |source| ExportError::ReadBlob { digest: blob.digest, source };
    if blob.size > DOCUMENT_SIZE_MAX {
        return Err(failed(io::Error::other(format!("it has more than {DOCUMENT_SIZE_MAX} bytes"))));
    }
    let mut bytes = Vec::new();
    open(blob)?.read_to_end(&mut bytes).map_err(failed)?;
    Document::parse(bytes).map_err(|source| ExportError::Document { digest: blob.digest, source })
}

/// Returns which layer is on top of what every name stands for: what the oldest readers look at.
fn repositories(images: &[Leaving]) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for image in images {
        let top = image.whole.images.first().and_then(|single| single.manifest.layers.last());
        for name in tagged(image) {
            if let (Some(tag), Some(top)) = (name.tag(), top) {
                let tags = repositories.entry(name.familiar_name()).or_default();
                tags.insert(tag.to_owned(), top.digest.hex());
            }
        }
    }
    repositories
}
