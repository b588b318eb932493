//! Names → images: manifests and configurations, from the store, an OCI layout or a registry. Layers stay where they are.
//!
//! A name that this store has resolved before stands for the same image until `--pull` asks again or the image is removed:
//! builds are repeatable, and need no network, until somebody says otherwise.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use kiln_oci::validate::DOCUMENT_SIZE_MAX;
use kiln_oci::{
    Descriptor, Digest, Document, DocumentError, ImageConfig, Index, Manifest, Platform, Reference,
};
use kiln_store::StoreError;

use super::layout;
use crate::blobs::{self, FetchError};
use crate::lower::{ImageRequest, ImageSource, ResolvedImage};
use crate::progress::Progress;
use crate::rootfs::Layer;
use crate::workshop::Workshop;

const RESOLUTIONS: &str = "resolved";
/// Deepest nesting of indexes that is followed.
const INDEX_DEPTH_MAX: u32 = 4;

/// Why an image could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It is not in this store, and nobody else is asked.
    #[error("image `{image}` is not in this store")]
    Absent {
        /// The name.
        image: String,
    },
    /// The registry does not have it, or failed.
    #[error("cannot resolve image `{reference}`")]
    Registry {
        /// The name.
        reference: Box<Reference>,
        /// What the registry says.
        source: Box<kiln_registry::Error>,
    },
    /// The image has no manifest for the platform.
    #[error("image `{image}` is not available for {wanted}: it has {available}")]
    Platform {
        /// The name.
        image: String,
        /// What was asked for.
        wanted: Box<Platform>,
        /// What there is.
        available: String,
    },
    /// A document is malformed.
    #[error("image `{image}`: {source}")]
    Document {
        /// The name.
        image: String,
        /// What is wrong.
        source: DocumentError,
    },
    /// It is not an image of this kind.
    #[error("`{image}` is not an image: {reason}")]
    NotAnImage {
        /// The name.
        image: String,
        /// Why not.
        reason: String,
    },
    /// An OCI layout cannot be read.
    #[error(transparent)]
    Layout(#[from] layout::LayoutError),
    /// A document could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whether a name is asked for again at its registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// What is known is good enough, and nothing else will do: no registry is asked.
    Offline,
    /// What is known is good enough; what a registry says otherwise is not kept for later.
    Glance,
    /// What is known is good enough.
    Known,
    /// The registry is asked.
    Pull,
}

/// An image found: its descriptor, manifest and configuration.
#[derive(Debug, Clone)]
pub struct Found {
    /// Descriptor of what the name stands for: a manifest or an index.
    pub top: Descriptor,
    /// Descriptor of the chosen manifest.
    pub descriptor: Descriptor,
    /// The manifest.
    pub manifest: Document<Manifest>,
    /// The configuration.
    pub config: Document<ImageConfig>,
}

impl Found {
    /// Returns the layers with their identities.
    ///
    /// # Errors
    /// [`ImageError::NotAnImage`] when manifest and configuration do not agree.
    pub fn layers(&self, image: &str) -> Result<Vec<Layer>, ImageError> {
        let (blobs, diff_ids) = (&self.manifest.value().layers, &self.config.value().rootfs.diff_ids);
        if blobs.len() != diff_ids.len() {
            let reason = format!("it has {} layers, but {} diff ids", blobs.len(), diff_ids.len());
            return Err(ImageError::NotAnImage { image: image.to_owned(), reason });
        }
        let pairs = blobs.iter().zip(diff_ids);
        Ok(pairs.map(|(blob, diff_id)| Layer { diff_id: *diff_id, blob: blob.clone() }).collect())
    }
}

/// Resolves an image that the planner wants.
///
/// # Errors
/// [`ImageError`], which names the image.
pub async fn resolve(
    workshop: &Workshop,
    request: &ImageRequest,
    freshness: Freshness,
    progress: &Arc<dyn Progress>,
) -> Result<ResolvedImage, ImageError> {
    let wanted = Wanted { platform: &request.platform, any: request.any_platform };
    let (found, name) = match &request.source {
        ImageSource::Named(reference) => {
            (find(workshop, reference, wanted, freshness, progress).await?, reference.familiar())
        }
        ImageSource::Layout { path, name } => {
            let shown = path.display().to_string();
            (find_in_layout(workshop, path, name.as_deref(), wanted)?, shown)
        }
    };
    let layers = found.layers(&name)?;
    Ok(ResolvedImage {
        request: request.clone(),
        manifest: found.descriptor.digest,
        config: found.config.into_value(),
        layers,
    })
}

/// Which platform of an image is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The platform.
    pub platform: &'a Platform,
    /// Whether the only platform of an image will do instead.
    pub any: bool,
}

/// Finds an image by its name.
///
/// # Errors
/// [`ImageError`], which names the image.
pub async fn find(
    workshop: &Workshop,
    reference: &Reference,
    wanted: Wanted<'_>,
    freshness: Freshness,
    progress: &Arc<dyn Progress>,
) -> Result<Found, ImageError> {
    if freshness != Freshness::Pull
        && let Some(top) = known(workshop, reference)?
        && let Some(found) = known_image(workshop, reference, &top, wanted)?
        && (freshness != Freshness::Known || can_be_had(workshop, reference, &found)?)
    {
        return Ok(found);
    }
    if freshness == Freshness::Offline {
        return Err(ImageError::Absent { image: reference.familiar() });
    }
    let failed = |source: kiln_registry::Error| ImageError::Registry {
        reference: Box::new(reference.clone()),
        source: Box::new(source),
    };
    let resolved = workshop.lanes.net(workshop.registry.resolve(reference)).await.map_err(failed)?;
    workshop.store.blobs().put_bytes(&resolved.bytes)?;
    let top = resolved.descriptor;
    let found = choose(workshop, reference, &top, wanted, progress).await?;
    blobs::remember_origin(
        &workshop.store,
        reference,
        found.manifest.value().layers.iter().map(|l| &l.digest),
    )?;
    if freshness != Freshness::Glance {
        remember(workshop, reference, &top)?;
    }
    Ok(found)
}

/// Whether all layers of a known image can still be had; they are held from now on. Where somebody took away the layers or what
/// says where they are, the registry is asked again, unless the image is one of this store's own.
fn can_be_had(workshop: &Workshop, reference: &Reference, found: &Found) -> Result<bool, ImageError> {
    let layers = found.layers(&reference.familiar())?;
    // Each of them, so that each is held.
    let missing =
        layers.iter().filter(|layer| !blobs::is_available(&workshop.store, &workshop.doubts, layer)).count();
    Ok(missing == 0 || workshop.store.names().get(reference)?.is_some())
}

/// Returns the configuration of an image in an OCI layout; its layers stay there.
///
/// # Errors
/// [`ImageError`], which names the layout.
pub fn look_into_layout(path: &Path, name: Option<&str>, wanted: Wanted<'_>) -> Result<Found, ImageError> {
    follow_layout(path, name, wanted, &mut |_| Ok(()))
}

/// Forgets what a name stood for, so that the registry is asked again.
///
/// # Errors
/// When the store cannot be written.
pub fn forget(workshop: &Workshop, reference: &Reference) -> Result<(), StoreError> {
    workshop.store.records().remove(RESOLUTIONS, &Digest::of(reference.to_string().as_bytes()))
}

fn remember(workshop: &Workshop, reference: &Reference, top: &Descriptor) -> Result<(), StoreError> {
    let payload = kiln_oci::json::to_bytes(top);
    workshop.store.records().put(
        RESOLUTIONS,
        &Digest::of(reference.to_string().as_bytes()),
        &payload,
        &[top.digest],
    )
}

/// Returns what a name stands for in this store: as an image of its own, else as it was resolved before.
fn known(workshop: &Workshop, reference: &Reference) -> Result<Option<Descriptor>, ImageError> {
    if let Some(descriptor) = workshop.store.names().get(reference)? {
        return Ok(Some(descriptor));
    }
    let key = Digest::of(reference.to_string().as_bytes());
    // A damaged record is as good as none: the registry is asked.
    let record = workshop.store.records().get(RESOLUTIONS, &key)?.hit();
    Ok(record.and_then(|record| serde_json::from_slice(&record.payload).ok()))
}

/// Returns a known image if everything about it is in the store.
fn known_image(
    workshop: &Workshop,
    reference: &Reference,
    top: &Descriptor,
    wanted: Wanted<'_>,
) -> Result<Option<Found>, ImageError> {
    let name = reference.familiar();
    let mut descriptor = top.clone();
    for _ in 0..=INDEX_DEPTH_MAX {
        let Some(bytes) = stored(workshop, &descriptor)? else { return Ok(None) };
        if descriptor.media_type.is_manifest() {
            let manifest = parse::<Manifest>(&name, bytes)?;
            let Some(config) = stored(workshop, &manifest.value().config)? else { return Ok(None) };
            let config = parse::<ImageConfig>(&name, config)?;
            return checked(&name, Found { top: top.clone(), descriptor, manifest, config }, wanted)
                .map(Some);
        }
        descriptor = select(&name, &parse::<Index>(&name, bytes)?, wanted)?;
    }
    Err(ImageError::NotAnImage { image: name, reason: "its indexes are nested too deep".to_owned() })
}

/// Follows indexes to the manifest of the platform and fetches its configuration.
async fn choose(
    workshop: &Workshop,
    reference: &Reference,
    top: &Descriptor,
    wanted: Wanted<'_>,
    progress: &Arc<dyn Progress>,
) -> Result<Found, ImageError> {
    let name = reference.familiar();
    let failed = |source: kiln_registry::Error| ImageError::Registry {
        reference: Box::new(reference.clone()),
        source: Box::new(source),
    };
    let mut descriptor = top.clone();
    for _ in 0..=INDEX_DEPTH_MAX {
        let bytes = match stored(workshop, &descriptor)? {
            Some(bytes) => bytes,
            None => {
                let exact = reference.with_digest(descriptor.digest);
                let resolved = workshop.lanes.net(workshop.registry.resolve(&exact)).await.map_err(failed)?;
                workshop.store.blobs().put_bytes(&resolved.bytes)?;
                resolved.bytes
            }
        };
        if descriptor.media_type.is_manifest() {
            let manifest = parse::<Manifest>(&name, bytes)?;
            let blob = &manifest.value().config;
            if !blob.media_type.is_config() {
                let reason = format!("its configuration is of type `{}`", blob.media_type);
                return Err(ImageError::NotAnImage { image: name, reason });
            }
            blobs::remember_origin(&workshop.store, reference, [&blob.digest])?;
            blobs::fetch(workshop, blob, progress).await?;
            let config = stored(workshop, blob)?.ok_or(FetchError::Unknown { digest: blob.digest })?;
            let config = parse::<ImageConfig>(&name, config)?;
            return checked(&name, Found { top: top.clone(), descriptor, manifest, config }, wanted);
        }
        descriptor = select(&name, &parse::<Index>(&name, bytes)?, wanted)?;
    }
    Err(ImageError::NotAnImage { image: name, reason: "its indexes are nested too deep".to_owned() })
}

fn find_in_layout(
    workshop: &Workshop,
    path: &Path,
    name: Option<&str>,
    wanted: Wanted<'_>,
) -> Result<Found, ImageError> {
    let found = follow_layout(path, name, wanted, &mut |bytes| {
        workshop.store.blobs().put_bytes(bytes)?;
        Ok(())
    })?;
    for layer in &found.manifest.value().layers {
        // One that may not be distributed need not be there.
        if layer.media_type.is_foreign() && !layout::has_blob(path, layer) {
            continue;
        }
        layout::copy_blob(path, layer, &workshop.store)?;
    }
    Ok(found)
}

/// Follows indexes to the manifest of the platform; each document is handed to `keep`.
fn follow_layout(
    path: &Path,
    name: Option<&str>,
    wanted: Wanted<'_>,
    keep: &mut dyn FnMut(&Bytes) -> Result<(), ImageError>,
) -> Result<Found, ImageError> {
    let shown = path.display().to_string();
    let top = layout::find(path, name)?;
    let mut descriptor = top.clone();
    for _ in 0..=INDEX_DEPTH_MAX {
        let bytes = Bytes::from(layout::read_document(path, &descriptor)?);
        keep(&bytes)?;
        if descriptor.media_type.is_manifest() {
            let manifest = parse::<Manifest>(&shown, bytes)?;
            let config = Bytes::from(layout::read_document(path, &manifest.value().config)?);
            keep(&config)?;
            let config = parse::<ImageConfig>(&shown, config)?;
            return checked(&shown, Found { top, descriptor, manifest, config }, wanted);
        }
        descriptor = select(&shown, &parse::<Index>(&shown, bytes)?, wanted)?;
    }
    Err(ImageError::NotAnImage { image: shown, reason: "its indexes are nested too deep".to_owned() })
}

/// Returns the entry of an index for the platform; entries that are no images (attestations) do not count.
fn select(name: &str, index: &Document<Index>, wanted: Wanted<'_>) -> Result<Descriptor, ImageError> {
    let images: Vec<&Descriptor> = index
        .value()
        .manifests
        .iter()
        .filter(|entry| entry.platform.as_ref().is_none_or(|platform| platform.os != "unknown"))
        .filter(|entry| entry.media_type.is_manifest() || entry.media_type.is_index())
        .collect();
    if let Some(entry) = index.value().select(wanted.platform) {
        return Ok(entry.clone());
    }
    match images.as_slice() {
        [only] if wanted.any || only.platform.is_none() => Ok((*only).clone()),
        _ => Err(ImageError::Platform {
            image: name.to_owned(),
            wanted: Box::new(wanted.platform.clone()),
            available: listed(images.iter().filter_map(|entry| entry.platform.as_ref())),
        }),
    }
}

/// Checks that a single image fits the platform where that matters.
fn checked(name: &str, found: Found, wanted: Wanted<'_>) -> Result<Found, ImageError> {
    let platform = found.config.value().platform();
    let came_from_index = found.top.media_type.is_index();
    // A single image of another platform is used as it is, with BuildKit's leniency: many images are labelled wrongly.
    let fits = wanted.any || came_from_index || platform.os.is_empty() || platform.os == wanted.platform.os;
    if fits {
        return Ok(found);
    }
    Err(ImageError::Platform {
        image: name.to_owned(),
        wanted: Box::new(wanted.platform.clone()),
        available: platform.to_string(),
    })
}

fn listed<'a>(platforms: impl Iterator<Item = &'a Platform>) -> String {
    let names: Vec<String> = platforms.map(Platform::to_string).collect();
    if names.is_empty() { "no platform".to_owned() } else { names.join(", ") }
}

/// Returns a document if it is in the store.
fn stored(workshop: &Workshop, descriptor: &Descriptor) -> Result<Option<Bytes>, ImageError> {
    if !workshop.store.blobs().hold(&descriptor.digest)? {
        return Ok(None);
    }
    Ok(Some(Bytes::from(workshop.store.blobs().read_bytes(&descriptor.digest, DOCUMENT_SIZE_MAX)?)))
}

fn parse<T: kiln_oci::DocumentKind>(name: &str, bytes: impl Into<Bytes>) -> Result<Document<T>, ImageError> {
    Document::parse(bytes).map_err(|source| ImageError::Document { image: name.to_owned(), source })
}
