//! Images leave together, in one archive.

use std::sync::Arc;

use super::CatalogError;
use super::find::locate;
use crate::export::{NamedDescriptor, write_docker_archive, write_oci_archive};
use crate::lanes::blocking;
use crate::progress::Progress;
use crate::request::Destination;
use crate::workshop::Workshop;

/// The form of an archive of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveKind {
    /// For `docker load`; an OCI layout too.
    Docker,
    /// An OCI layout.
    Oci,
}

/// Writes images into one archive. One that is asked for by its id goes without a name, as with `docker save`.
///
/// # Errors
/// [`CatalogError::NotFound`] and what else may be wrong with a name; what is missing or cannot be written.
pub async fn save(
    workshop: &Arc<Workshop>,
    images: &[String],
    kind: ArchiveKind,
    destination: &Destination,
    progress: &Arc<dyn Progress>,
) -> Result<(), CatalogError> {
    let (own, wanted) = (Arc::clone(workshop), images.to_vec());
    let named = blocking(move || {
        let located = wanted.iter().map(|image| {
            let located = locate(&own.store, image)?;
            let names = located.name.into_iter().filter(|name| name.tag().is_some()).collect();
            Ok(NamedDescriptor { descriptor: located.descriptor, names })
        });
        located.collect::<Result<Vec<_>, CatalogError>>()
    })
    .await?;
    match kind {
        ArchiveKind::Docker => write_docker_archive(workshop, &named, destination, progress).await?,
        ArchiveKind::Oci => write_oci_archive(workshop, &named, destination, progress).await?,
    }
    Ok(())
}
