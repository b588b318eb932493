//! Images leave together, in one archive.

use std::sync::Arc;

use kiln_oci::Platform;

use super::CatalogError;
use super::find::{locate, of_platform};
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

/// Which images leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection<'a> {
    /// Their names or ids.
    pub images: &'a [String],
    /// Of an image for several platforms, the only one that leaves; all when absent.
    pub platform: Option<&'a Platform>,
}

/// Writes images into one archive. One that is asked for by its id goes without a name, as with `docker save`.
///
/// # Errors
/// [`CatalogError::NotFound`] and what else may be wrong with a name; [`CatalogError::Platform`]; what is missing or cannot be written.
pub async fn save(
    workshop: &Arc<Workshop>,
    selection: Selection<'_>,
    kind: ArchiveKind,
    destination: &Destination,
    progress: &Arc<dyn Progress>,
) -> Result<(), CatalogError> {
    let (own, wanted) = (Arc::clone(workshop), selection.images.to_vec());
    let platform = selection.platform.cloned();
    let named = blocking(move || {
        let located = wanted.iter().map(|image| {
            let located = locate(&own.store, image)?;
            let names = located.name.into_iter().filter(|name| name.tag().is_some()).collect();
            let descriptor = of_platform(&own.store, image, located.descriptor, platform.as_ref())?;
            Ok(NamedDescriptor { descriptor, names })
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
