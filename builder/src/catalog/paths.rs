//! Paths in images, as people write them: from the image's root, with `.` and `..` and symlinks, which never lead out of it.

use std::sync::Arc;

use kiln_layer::{ArchivePath, Entry, Resolution, Tree, escape};
use kiln_oci::Platform;

use super::CatalogError;
use super::find::{choose, locate};
use crate::blobs;
use crate::export::layers_of;
use crate::lanes::blocking;
use crate::layers::{known_listing, tree};
use crate::progress::Progress;
use crate::rootfs::Layer;
use crate::source::image::ImageError;
use crate::workshop::Workshop;

/// The files of an image, and the layers they are in.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) image: String,
    pub(super) tree: Arc<Tree>,
    pub(super) layers: Vec<Layer>,
}

/// Reads what there is in an image. Layers that were never read are fetched first, where they are not here.
pub(super) async fn files(
    workshop: &Arc<Workshop>,
    image: &str,
    platform: Option<&Platform>,
    progress: &Arc<dyn Progress>,
) -> Result<Files, CatalogError> {
    let (own, text, platform) = (Arc::clone(workshop), image.to_owned(), platform.cloned());
    let found = blocking(move || {
        let chosen = choose(&own.store, &text, &locate(&own.store, &text)?.descriptor, platform.as_ref())?;
        Ok::<_, CatalogError>(layers_of(&own.store, &chosen.image)?)
    });
    let layers = found.await?;
    let is_unread = |layer: &&Layer| known_listing(workshop, &layer.diff_id).is_none();
    let unread: Vec<Layer> = layers.iter().filter(is_unread).cloned().collect();
    blobs::fetch_layers(workshop, &unread, progress).await.map_err(ImageError::from)?;
    let (own, stack) = (Arc::clone(workshop), layers.clone());
    let tree = blocking(move || tree(&own, &stack)).await?;
    Ok(Files { image: image.to_owned(), tree, layers })
}

/// What a path leads to.
#[derive(Debug)]
pub(super) struct Place<'a> {
    /// Where it is, without symlinks on the way.
    pub(super) path: ArchivePath,
    /// What it is; none of a root that nothing describes.
    pub(super) entry: Option<&'a Entry>,
}

impl Place<'_> {
    pub(super) fn is_directory(&self) -> bool {
        self.entry.is_none_or(Entry::is_directory)
    }
}

/// Whether a symlink at the end of a path is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
    Followed,
    Itself,
}

impl Files {
    /// Finds what is at a path.
    pub(super) fn at(&self, text: &[u8], last: Last) -> Result<Place<'_>, CatalogError> {
        let path = self.path(text)?;
        let place = match path.parent().zip(path.file_name()).filter(|_| last == Last::Itself) {
            // What is behind a slash is in a directory.
            Some((parent, name)) if !text.ends_with(b"/") => {
                let path = self.resolve(&parent)?.path.join(name).map_err(|_| self.missing(text))?;
                Resolution { exists: self.tree.get(&path).is_some(), path }
            }
            _ => self.resolve(&path)?,
        };
        if !place.exists {
            return Err(self.missing(text));
        }
        let place = Place { entry: self.tree.get(&place.path), path: place.path };
        match text.ends_with(b"/") && !place.is_directory() {
            true => Err(self.wrong_kind(text, &place)),
            false => Ok(place),
        }
    }

    /// Takes away `.`, `..` and what is empty. A `..` leads to where the directory before it lies, as in a kernel.
    fn path(&self, text: &[u8]) -> Result<ArchivePath, CatalogError> {
        let mut path = ArchivePath::root();
        for component in text.split(|byte| *byte == b'/') {
            path = match component {
                b"" | b"." => continue,
                b".." => self.resolve(&path)?.path.parent().unwrap_or_else(ArchivePath::root),
                name => path.join(name).map_err(|_| self.missing(text))?,
            };
        }
        Ok(path)
    }

    fn resolve(&self, path: &ArchivePath) -> Result<Resolution, CatalogError> {
        let failed = |source| CatalogError::Path { image: self.image.clone(), source };
        self.tree.resolve(path).map_err(failed)
    }

    fn missing(&self, text: &[u8]) -> CatalogError {
        CatalogError::NoFile { image: self.image.clone(), path: escape(text) }
    }

    pub(super) fn wrong_kind(&self, text: &[u8], place: &Place<'_>) -> CatalogError {
        let noun = place.entry.map_or("directory", |entry| entry.kind.noun());
        CatalogError::WrongKind { image: self.image.clone(), path: escape(text), noun }
    }
}
