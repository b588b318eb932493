//! Images come from registries and go to them.

use std::sync::Arc;

use kiln_oci::{Descriptor, Digest, Platform, Reference};

use super::find::{locate, of_platform};
use super::{CatalogError, assign};
use crate::blobs::{FetchError, fetch};
use crate::export::{self, Pushed};
use crate::lanes::blocking;
use crate::progress::{Direction, LayerStage, Progress, ProgressEvent};
use crate::source::image::{self, Freshness, ImageError, Wanted};
use crate::workshop::Workshop;

/// What was pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pulled {
    /// Digest of the manifest or index that the name stands for.
    pub digest: Digest,
    /// Whether the name stood for something else before, or for nothing.
    pub is_new: bool,
}

/// Brings an image here, all of it, for one platform, and names it. Without a platform it is this machine's. Several processes
/// that pull one image fetch every blob once.
///
/// # Errors
/// [`CatalogError::Image`]: what the registry says, or that the image is not for the platform.
pub async fn pull(
    workshop: &Arc<Workshop>,
    name: &Reference,
    platform: Option<&Platform>,
    progress: &Arc<dyn Progress>,
) -> Result<Pulled, CatalogError> {
    let name = name.or_latest();
    progress.on(&ProgressEvent::ImageMoves { reference: &name, direction: Direction::Pull });
    let platform = platform.cloned().unwrap_or_else(Platform::host);
    let wanted = Wanted { platform: &platform, any: false };
    let found = image::find(workshop, &name, wanted, Freshness::Pull, progress).await?;
    let layers = found.layers(&name.familiar())?;
    let mut blobs: Vec<&Descriptor> = Vec::new();
    for blob in layers.iter().map(|layer| &layer.blob).filter(|blob| !blob.media_type.is_foreign()) {
        // Some images have a layer twice.
        if !blobs.iter().any(|other| other.digest == blob.digest) {
            blobs.push(blob);
        }
    }
    let fetches = blobs.iter().map(|blob| pull_layer(workshop, blob, progress));
    let fetched = futures_util::future::try_join_all(fetches).await.map_err(ImageError::from)?;
    let digest = found.top.digest;
    // Of a tag and a digest the digest decides; what the tag means elsewhere is nothing that was asked for.
    let name = name.digest().map_or_else(|| name.clone(), |exact| name.with_digest(exact));
    let own = Arc::clone(workshop);
    let previous = blocking(move || assign(&own.store, &name, &found.top)).await?;
    for (blob, _) in blobs.iter().zip(fetched).filter(|(_, is_new)| *is_new) {
        progress.on(&ProgressEvent::Layer { blob: blob.digest, stage: LayerStage::Pulled });
    }
    Ok(Pulled { digest, is_new: previous.is_none_or(|previous| previous.digest != digest) })
}

/// Brings a layer here; returns whether it was not here before.
async fn pull_layer(
    workshop: &Workshop,
    blob: &Descriptor,
    progress: &Arc<dyn Progress>,
) -> Result<bool, FetchError> {
    let tell = |stage| progress.on(&ProgressEvent::Layer { blob: blob.digest, stage });
    if workshop.store.blobs().hold(&blob.digest)? {
        tell(LayerStage::Exists);
        return Ok(false);
    }
    tell(LayerStage::Pulling);
    fetch(workshop, blob, progress).await?;
    tell(LayerStage::Downloaded);
    Ok(true)
}

/// Pushes the image that has this name here to where the name says; of an image for several platforms all, or the one that is named.
///
/// # Errors
/// [`CatalogError::NotFound`], [`CatalogError::Platform`]; what is missing, or what the registry says.
pub async fn push(
    workshop: &Arc<Workshop>,
    name: &Reference,
    platform: Option<&Platform>,
    progress: &Arc<dyn Progress>,
) -> Result<Pushed, CatalogError> {
    let name = name.or_latest();
    let (own, text, platform) = (Arc::clone(workshop), name.familiar(), platform.cloned());
    let image = blocking(move || {
        let located = locate(&own.store, &text)?;
        of_platform(&own.store, &text, located.descriptor, platform.as_ref())
    })
    .await?;
    progress.on(&ProgressEvent::ImageMoves { reference: &name, direction: Direction::Push });
    Ok(export::push(workshop, &image, &name, progress).await?)
}
