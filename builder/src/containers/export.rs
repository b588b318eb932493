//! All files of a container as one tar archive. What lies in volumes is not among them, as in Docker.

use kiln_layer::ArchivePath;

use super::ContainerError;
use super::create::OpenContainer;
use super::root::{Needed, Volumes};
use crate::export::write_files;
use crate::lanes::blocking;
use crate::request::Destination;

/// Writes all files of a container as one tar archive.
///
/// # Errors
/// [`ContainerError`]: what cannot be read or written.
pub async fn export(open: &OpenContainer, destination: &Destination) -> Result<(), ContainerError> {
    let (root, destination) = (open.root()?, destination.clone());
    blocking(move || {
        let view = root.view(Volumes::LeftOut, Needed::All)?;
        Ok(root.with_contents(|contents| write_files(&destination, &ArchivePath::root(), &view, contents))?)
    })
    .await
}
