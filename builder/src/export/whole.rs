//! What an image consists of: all its documents and blobs, and fetching what is missing.

use std::collections::BTreeMap;
use std::sync::Arc;

use kiln_oci::validate::{DOCUMENT_SIZE_MAX, INDEX_DEPTH_MAX};
use kiln_oci::{Descriptor, Digest, Document, DocumentKind, ImageConfig, Index, Manifest};
use kiln_store::Store;

use super::ExportError;
use crate::blobs;
use crate::lanes::blocking;
use crate::progress::Progress;
use crate::rootfs::Layer;
use crate::workshop::Workshop;

/// One image for one platform.
#[derive(Debug, Clone)]
pub(crate) struct SingleImage {
    /// Its manifest's descriptor.
    pub(crate) descriptor: Descriptor,
    /// Its manifest.
    pub(crate) manifest: Manifest,
}

/// An image, or an index of images, all of whose documents are in the store.
#[derive(Debug, Clone)]
pub(crate) struct Whole {
    /// The manifest or index that stands for it, with nothing but type, digest and size.
    pub(crate) top: Descriptor,
    /// Manifests and indexes, each before what refers to it.
    pub(crate) documents: Vec<Descriptor>,
    /// Configurations.
    pub(crate) configs: BTreeMap<Digest, Descriptor>,
    /// Layers, and what else manifests name.
    pub(crate) layers: BTreeMap<Digest, Descriptor>,
    /// The images, in the order of the index.
    pub(crate) images: Vec<SingleImage>,
    /// How many manifests the indexes name that the store does not have.
    missing: usize,
}

impl Whole {
    /// Begins an image whose documents somebody else has.
    pub(crate) fn new(top: &Descriptor) -> Self {
        Self {
            top: plain(top),
            documents: Vec::new(),
            configs: BTreeMap::new(),
            layers: BTreeMap::new(),
            images: Vec::new(),
            missing: 0,
        }
    }

    /// Returns every blob once, by digest.
    pub(crate) fn blobs(&self) -> BTreeMap<Digest, Descriptor> {
        let documents = self.documents.iter().map(|document| (document.digest, document.clone()));
        let mut all: BTreeMap<Digest, Descriptor> = documents.collect();
        all.extend(self.configs.clone());
        all.extend(self.layers.clone());
        all
    }

    /// Adds a manifest with what it names.
    pub(crate) fn add_manifest(&mut self, descriptor: &Descriptor, manifest: Manifest) {
        self.configs.insert(manifest.config.digest, manifest.config.clone());
        for layer in &manifest.layers {
            self.layers.insert(layer.digest, layer.clone());
        }
        self.documents.push(plain(descriptor));
        let is_attestation = descriptor.platform.as_ref().is_some_and(|platform| platform.os == "unknown");
        if manifest.config.media_type.is_config() && !is_attestation {
            self.images.push(SingleImage { descriptor: descriptor.clone(), manifest });
        }
    }
}

/// Finds what an image consists of.
///
/// # Errors
/// [`ExportError`] when a document is missing or malformed.
pub(crate) fn gather(store: &Store, top: &Descriptor) -> Result<Whole, ExportError> {
    let whole = gather_with(store, top, Presence::Held)?;
    if whole.missing == 0 {
        return Ok(whole);
    }
    match whole.images.as_slice() {
        [only] => gather_with(store, &only.descriptor, Presence::Held),
        [] => Err(ExportError::Missing { digest: top.digest }),
        several => Err(ExportError::Partial { digest: top.digest, present: several.len() }),
    }
}

/// Finds what there is of an image, without holding it in the store.
///
/// # Errors
/// [`ExportError`] when its first document is missing, or any malformed.
pub(crate) fn gather_present(store: &Store, top: &Descriptor) -> Result<Whole, ExportError> {
    gather_with(store, top, Presence::Seen)
}

/// What a document's presence means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// It is there now.
    Seen,
    /// It is there for as long as the store handle lives.
    Held,
}

impl Presence {
    fn of(self, store: &Store, digest: &Digest) -> Result<bool, ExportError> {
        Ok(match self {
            Self::Seen => store.blobs().contains(digest)?,
            Self::Held => store.blobs().hold(digest)?,
        })
    }
}

fn gather_with(store: &Store, top: &Descriptor, presence: Presence) -> Result<Whole, ExportError> {
    let mut whole = Whole::new(top);
    if !presence.of(store, &top.digest)? {
        return Err(ExportError::Missing { digest: top.digest });
    }
    add(Walk { store, presence, depth: 0 }, top, &mut whole)?;
    Ok(whole)
}

/// Where a walk over documents stands.
#[derive(Clone, Copy)]
struct Walk<'a> {
    store: &'a Store,
    presence: Presence,
    depth: u32,
}

fn add(walk: Walk<'_>, descriptor: &Descriptor, whole: &mut Whole) -> Result<(), ExportError> {
    let Walk { store, presence, depth } = walk;
    let not_an_image = |reason: String| ExportError::NotAnImage { digest: descriptor.digest, reason };
    if !presence.of(store, &descriptor.digest)? {
        whole.missing += 1;
        return Ok(());
    }
    if descriptor.media_type.is_manifest() {
        return add_manifest(store, descriptor, whole);
    }
    if !descriptor.media_type.is_index() {
        return Err(not_an_image(format!("its type is `{}`", descriptor.media_type)));
    }
    if depth >= INDEX_DEPTH_MAX {
        return Err(not_an_image(format!("its indexes are nested more than {INDEX_DEPTH_MAX} deep")));
    }
    let index: Document<Index> = document(store, &descriptor.digest)?;
    for entry in &index.value().manifests {
        add(Walk { depth: depth + 1, ..walk }, entry, whole)?;
    }
    whole.documents.push(plain(descriptor));
    Ok(())
}

fn add_manifest(store: &Store, descriptor: &Descriptor, whole: &mut Whole) -> Result<(), ExportError> {
    let manifest: Document<Manifest> = document(store, &descriptor.digest)?;
    whole.add_manifest(descriptor, manifest.into_value());
    Ok(())
}

/// Brings everything of an image into the store. Layers that may not be distributed are left where they are.
///
/// # Errors
/// [`ExportError`] of the first that cannot be had.
pub(crate) async fn complete(
    workshop: &Arc<Workshop>,
    top: &Descriptor,
    progress: &Arc<dyn Progress>,
) -> Result<Whole, ExportError> {
    let (own, descriptor) = (Arc::clone(workshop), top.clone());
    let mut whole = blocking(move || gather(&own.store, &descriptor)).await?;
    let wanted: Vec<Descriptor> = whole.configs.values().chain(whole.layers.values()).cloned().collect();
    let fetches = wanted.iter().filter(|blob| !blob.media_type.is_foreign());
    let fetches = fetches.map(|blob| blobs::fetch(workshop, blob, progress));
    futures_util::future::try_join_all(fetches).await?;
    let store = &workshop.store;
    let is_left_out = |blob: &Descriptor| {
        blob.media_type.is_foreign() && !matches!(store.blobs().contains(&blob.digest), Ok(true))
    };
    whole.layers.retain(|_, blob| !is_left_out(blob));
    Ok(whole)
}

/// Returns the layers of an image with their identities.
///
/// # Errors
/// [`ExportError`] when the configuration is missing, malformed or does not fit the manifest.
pub(crate) fn layers_of(store: &Store, image: &SingleImage) -> Result<Vec<Layer>, ExportError> {
    paired(image, &document(store, &image.manifest.config.digest)?)
}

/// Returns the layers of an image, as its configuration identifies them.
///
/// # Errors
/// [`ExportError`] when it does not fit the manifest.
pub(super) fn paired(image: &SingleImage, config: &Document<ImageConfig>) -> Result<Vec<Layer>, ExportError> {
    let diff_ids = &config.value().rootfs.diff_ids;
    if diff_ids.len() != image.manifest.layers.len() {
        let reason =
            format!("it has {} layers, but {} diff ids", image.manifest.layers.len(), diff_ids.len());
        return Err(ExportError::NotAnImage { digest: image.descriptor.digest, reason });
    }
    let pairs = image.manifest.layers.iter().zip(diff_ids);
    Ok(pairs.map(|(blob, diff_id)| Layer { diff_id: *diff_id, blob: blob.clone() }).collect())
}

/// Reads a document from the store.
///
/// # Errors
/// [`ExportError`] when it is missing or malformed.
pub(crate) fn document<T: DocumentKind>(store: &Store, digest: &Digest) -> Result<Document<T>, ExportError> {
    let bytes = store.blobs().read_bytes(digest, DOCUMENT_SIZE_MAX)?;
    Document::parse(bytes).map_err(|source| ExportError::Document { digest: *digest, source })
}

/// Returns what identifies a blob, and nothing that depends on how it came here.
fn plain(descriptor: &Descriptor) -> Descriptor {
    Descriptor::new(descriptor.media_type.clone(), descriptor.digest, descriptor.size)
}
