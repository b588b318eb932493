//! Whether containers stand in the way of removing an image, in Docker's words.
//!
//! | Asked for | Containers | Without force | With force |
//! |---|---|---|---|
//! | the last name | some | an error | the name goes |
//! | an id | stopped ones | an error | names and image go |
//! | an id | a running one | an error | an error |
//!
//! Whatever goes, a container keeps the blobs that it needs.

use kiln_oci::Digest;
use kiln_store::Store;

use super::CatalogError;
use super::find::Located;
use crate::container_record::{ContainerState, users_of};

/// Refuses to remove an image that containers use. `id` is what the image is called by when it has no name.
pub(super) fn refuse_in_use(
    store: &Store,
    located: &Located,
    id: &Digest,
    force: bool,
) -> Result<(), CatalogError> {
    if located.name.is_some() && (force || located.names.len() > 1) {
        return Ok(());
    }
    let users = users_of(store, &located.descriptor.digest)?;
    let Some((container, state)) = users.first() else { return Ok(()) };
    let is_running = *state == ContainerState::Running;
    match &located.name {
        Some(name) => Err(CatalogError::ReferenceInUse {
            name: Box::new(name.clone()),
            container: *container,
            image: *id,
        }),
        None if force && !is_running => Ok(()),
        None => Err(CatalogError::ImageInUse { image: *id, container: *container, is_running }),
    }
}
