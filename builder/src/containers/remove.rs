//! Containers go.

use kiln_store::{ContainerId, ContainerUse};

use super::ContainerError;
use super::find::{in_use, locate};
use crate::workshop::Workshop;

/// Removes a container whose command does not run; returns its id. A damaged one goes, too.
///
/// # Errors
/// [`ContainerError::NotFound`], [`ContainerError::Running`], [`ContainerError::InUse`], or what could not be removed.
pub fn remove(workshop: &Workshop, container: &str) -> Result<ContainerId, ContainerError> {
    let found = locate(&workshop.store, container)?;
    match workshop.store.containers().hold(&found.id, ContainerUse::Changing)? {
        Some(held) => {
            held.remove()?;
            Ok(found.id)
        }
        None => Err(in_use(&found, "remove")),
    }
}
