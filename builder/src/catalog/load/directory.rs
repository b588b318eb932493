//! OCI layouts in directories: everything that is there of an image is copied into the store.

use std::path::Path;

use kiln_oci::validate::INDEX_DEPTH_MAX;
use kiln_oci::{Descriptor, Document, DocumentKind, Index, Manifest};
use kiln_store::Store;

use super::damaged;
use super::told::Told;
use crate::catalog::CatalogError;
use crate::source::image_archive::described;
use crate::source::layout::{copy_blob, has_blob, read_document};

/// Copies what there is of an image. What is missing shows when the image is checked.
pub(super) fn copy(
    store: &Store,
    path: &Path,
    descriptor: &Descriptor,
    told: &mut Told<'_>,
) -> Result<(), CatalogError> {
    copy_at(Layout { store, path }, descriptor, 0, told)
}

/// A layout, and where it goes.
#[derive(Clone, Copy)]
struct Layout<'a> {
    store: &'a Store,
    path: &'a Path,
}

fn copy_at(
    layout: Layout<'_>,
    descriptor: &Descriptor,
    depth: u32,
    told: &mut Told<'_>,
) -> Result<(), CatalogError> {
    let Layout { store, path } = layout;
    if !has_blob(path, descriptor) {
        return Ok(());
    }
    // One more than indexes: below the last there are manifests, and what they name.
    if depth > INDEX_DEPTH_MAX + 1 {
        let reason = format!("its indexes are nested more than {INDEX_DEPTH_MAX} deep");
        return Err(damaged(reason));
    }
    copy_blob(path, descriptor, store)?;
    told.moved(descriptor.size);
    if descriptor.media_type.is_index() {
        for entry in parse::<Index>(path, descriptor)?.manifests {
            copy_at(layout, &entry, depth + 1, told)?;
        }
    } else if descriptor.media_type.is_manifest() {
        let manifest = parse::<Manifest>(path, descriptor)?;
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            // One that is neither manifest nor index is copied as it is.
            let plain = Descriptor::new(blob.media_type.clone(), blob.digest, blob.size);
            copy_at(layout, &plain, depth + 1, told)?;
        }
    }
    Ok(())
}

fn parse<T: DocumentKind>(path: &Path, descriptor: &Descriptor) -> Result<T, CatalogError> {
    let document = Document::parse(read_document(path, descriptor)?);
    document.map(Document::into_value).map_err(|error| damaged(described(&error)))
}
