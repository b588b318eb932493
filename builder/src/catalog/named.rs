//! What stands under a name.

use kiln_oci::{Descriptor, Reference};

use super::CatalogError;
use super::find::locate;
use crate::workshop::Workshop;

/// Returns the manifest or index that a name stands for.
///
/// # Errors
/// [`CatalogError::NotFound`], or what the store says.
pub fn descriptor(workshop: &Workshop, name: &Reference) -> Result<Descriptor, CatalogError> {
    Ok(locate(&workshop.store, &name.familiar())?.descriptor)
}

/// Returns all names with a tag that images have in a repository, in order.
///
/// # Errors
/// When the list of names cannot be read.
pub fn tags_of(workshop: &Workshop, repository: &Reference) -> Result<Vec<Reference>, CatalogError> {
    let images = workshop.store.names().list()?;
    let is_of_it = |name: &Reference| {
        name.registry() == repository.registry()
            && name.repository() == repository.repository()
            && name.tag().is_some()
    };
    let mut names: Vec<Reference> =
        images.into_iter().filter_map(|image| image.reference).filter(is_of_it).collect();
    names.sort();
    Ok(names)
}
