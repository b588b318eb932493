//! Results leave: OCI layouts, archives for `docker load`, files, registries.
//!
//! Everything here takes descriptors of manifests or indexes in the store, and names for them. What an image still lacks
//! (layers of a base that were never needed) is fetched first. The same image and names give the same bytes in every store.
//!
//! An index of which the store has only some images is written as the one image it has; with several of them present it is an
//! error that says what is missing.

mod push;
pub use push::{Pushed, push};

mod directory;
pub use directory::write_directory;

mod flat;
pub(crate) use flat::write_files;
pub use flat::write_flat_archive;

mod docker_archive;
pub(crate) use docker_archive::write_docker;
pub use docker_archive::write_docker_archive;

mod oci_layout;
pub(crate) use oci_layout::{entries, write_oci};
pub use oci_layout::{write_oci_archive, write_oci_directory};

mod layout_directory;
pub(crate) use layout_directory::LayoutDirectory;

mod leaving;
pub(crate) use leaving::{BlobReader, ImageName, Leaving, OpenBlob};

mod archive;

mod transfer;

mod destination;

mod whole;
pub(crate) use whole::{SingleImage, Whole, document, gather_present, layers_of};

mod error;
pub use error::ExportError;

use std::sync::Arc;

use kiln_oci::{Descriptor, Reference};

use crate::progress::Progress;
use crate::request::{Destination, OutputSpec};
use crate::workshop::Workshop;

/// An image in the store, and what it is called outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedDescriptor {
    /// Its manifest or index.
    pub descriptor: Descriptor,
    /// Its names; may be none.
    pub names: Vec<Reference>,
}

impl NamedDescriptor {
    /// Returns the same image with further names.
    fn with(&self, more: &[Reference]) -> Self {
        let mut names = self.names.clone();
        names.extend(more.iter().filter(|name| !self.names.contains(name)).cloned());
        Self { descriptor: self.descriptor.clone(), names }
    }
}

/// Does what an output asks for. Keeping the image in the store under its names is the caller's part.
///
/// # Errors
/// [`ExportError`]: what is missing, or cannot be written.
pub async fn deliver(
    workshop: &Arc<Workshop>,
    output: &OutputSpec,
    named: &NamedDescriptor,
    progress: &Arc<dyn Progress>,
) -> Result<(), ExportError> {
    match output {
        OutputSpec::Image { push: false, .. } | OutputSpec::CacheOnly => Ok(()),
        OutputSpec::Image { names, push: true } => push_all(workshop, named, names, progress).await,
        OutputSpec::Oci { names, destination, tar: true } => {
            write_oci_archive(workshop, &[named.with(names)], destination, progress).await
        }
        OutputSpec::Oci { names, destination: Destination::Path(path), tar: false } => {
            write_oci_directory(workshop, &[named.with(names)], path, progress).await
        }
        OutputSpec::Oci { destination: Destination::Stdout, tar: false, .. } => {
            Err(ExportError::DirectoryToStdout)
        }
        OutputSpec::Docker { names, destination } => {
            write_docker_archive(workshop, &[named.with(names)], destination, progress).await
        }
        OutputSpec::Local { directory } => {
            write_directory(workshop, &named.descriptor, directory, progress).await
        }
        OutputSpec::Tar { destination } => {
            write_flat_archive(workshop, &named.descriptor, destination, progress).await
        }
    }
}

async fn push_all(
    workshop: &Arc<Workshop>,
    named: &NamedDescriptor,
    more: &[Reference],
    progress: &Arc<dyn Progress>,
) -> Result<(), ExportError> {
    let names = named.with(more).names;
    if names.is_empty() {
        return Err(ExportError::NoName);
    }
    for name in &names {
        push(workshop, &named.descriptor, name, progress).await?;
    }
    Ok(())
}
