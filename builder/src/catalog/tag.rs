//! Names are given.

use kiln_oci::{Descriptor, Reference};
use kiln_store::{Store, StoreError};

use super::CatalogError;
use super::find::locate;
use crate::source::image;
use crate::workshop::Workshop;

/// Gives an image one more name. An image that had the name before stays, without it.
///
/// # Errors
/// [`CatalogError::NotFound`] and what else may be wrong with `image`; [`CatalogError::NamesDigest`].
pub fn tag(workshop: &Workshop, image: &str, name: &Reference) -> Result<(), CatalogError> {
    if name.digest().is_some() {
        return Err(CatalogError::NamesDigest { reference: name.clone() });
    }
    let name = name.or_latest();
    let located = locate(&workshop.store, image)?;
    assign(&workshop.store, &name, &located.descriptor)?;
    Ok(image::forget(workshop, &name)?)
}

/// Gives a name to an image. One that had it before, and has no other, is kept without a name, as Docker does. Returns what
/// had the name before.
///
/// # Errors
/// When the manifest is not in the store, or that cannot be written.
pub fn assign(
    store: &Store,
    name: &Reference,
    descriptor: &Descriptor,
) -> Result<Option<Descriptor>, StoreError> {
    store.names().edit(|names| {
        let previous = names.set(name, descriptor);
        if let Some(previous) = &previous
            && !names.list().iter().any(|image| image.descriptor.digest == previous.digest)
            && matches!(store.blobs().contains(&previous.digest), Ok(true))
        {
            names.add_untagged(previous);
        }
        // Once it has a name, it need not be kept without one.
        names.remove_untagged(&descriptor.digest);
        Ok(previous)
    })
}
