//! Lists of images for several platforms: an index of the store, under its name. Docker keeps such lists apart from its images; here
//! one is an image like others, which `kiln images` shows and `kiln push` sends.

use std::sync::Arc;

use bytes::Bytes;
use kiln_oci::validate::DOCUMENT_SIZE_MAX;
use kiln_oci::{Descriptor, Digest, Document, Index, MediaType, Platform, Reference};
use kiln_store::StoreError;

use super::find::{choose_all, locate};
use super::{CatalogError, Layers, Removed, assign, remove};
use crate::blobs;
use crate::export::{self, Pushed, document};
use crate::lanes::blocking;
use crate::progress::Progress;
use crate::remote;
use crate::source::image::{self, ImageError};
use crate::workshop::Workshop;

/// What to do with a list that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Leave it: that is an error.
    Refused,
    /// Add to it, or begin one.
    Extended,
    /// Add to it; that there is none is an error.
    Needed,
}

/// What is said of an image of a list. What is none or empty stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Annotation {
    /// Architecture.
    pub architecture: Option<String>,
    /// Operating system.
    pub os: Option<String>,
    /// Variant of the architecture.
    pub variant: Option<String>,
    /// Version of the operating system.
    pub os_version: Option<String>,
    /// What the operating system must have.
    pub os_features: Vec<String>,
}

/// Adds images to a list, which may be new. Images are those of the store, else of registries: their manifests and configurations are
/// fetched, their layers stay where they are. An image of several platforms is added as all its images. An image replaces the one that
/// the list has for the same platform.
///
/// # Errors
/// [`CatalogError::ListExists`], [`CatalogError::NoList`], or that an image cannot be had.
pub async fn extend_list(
    workshop: &Arc<Workshop>,
    name: &Reference,
    images: &[String],
    existing: Existing,
    progress: &Arc<dyn Progress>,
) -> Result<Descriptor, CatalogError> {
    let name = name.or_latest();
    // Before anything is fetched; and again, when nobody else can change it.
    begun(workshop, &name, existing)?;
    let mut added = Vec::new();
    for image in images {
        added.extend(entries(workshop, image, progress).await?);
    }
    change(workshop, &name, move |own, name| {
        let mut index = begun(own, name, existing)?;
        for entry in added {
            let is_same =
                |known: &Descriptor| known.digest == entry.digest || known.platform == entry.platform;
            index.manifests.retain(|known| !is_same(known));
            index.manifests.push(entry);
        }
        Ok(index)
    })
    .await
}

/// Returns the list that is added to.
fn begun(workshop: &Workshop, name: &Reference, existing: Existing) -> Result<Index, CatalogError> {
    match (list(workshop, name), existing) {
        (Ok(_), Existing::Refused) => Err(CatalogError::ListExists { name: name.familiar() }),
        (Err(CatalogError::NoList { .. }), Existing::Refused | Existing::Extended) => {
            Ok(Index::oci(Vec::new()))
        }
        (index, _) => index,
    }
}

/// Changes a list, while nobody else can.
async fn change(
    workshop: &Arc<Workshop>,
    name: &Reference,
    edit: impl FnOnce(&Workshop, &Reference) -> Result<Index, CatalogError> + Send + 'static,
) -> Result<Descriptor, CatalogError> {
    let (own, name) = (Arc::clone(workshop), name.clone());
    blocking(move || {
        let _alone = own.store.lock(&format!("list {name}"))?;
        let index = edit(&own, &name)?;
        write(&own, &name, index)
    })
    .await
}

/// Says what platform an image of a list is for. The image is named by its digest, or by a name of the store or at a registry.
///
/// # Errors
/// [`CatalogError::NoList`], [`CatalogError::NotInList`], or that the image cannot be found.
pub async fn annotate(
    workshop: &Arc<Workshop>,
    name: &Reference,
    image: &str,
    annotation: &Annotation,
) -> Result<Descriptor, CatalogError> {
    let name = name.or_latest();
    list(workshop, &name)?;
    let digest = digest_of(workshop, image).await?;
    let (image, annotation) = (image.to_owned(), annotation.clone());
    change(workshop, &name, move |own, name| {
        let mut index = list(own, name)?;
        let Some(entry) = index.manifests.iter_mut().find(|entry| entry.digest == digest) else {
            return Err(CatalogError::NotInList { image, name: name.familiar() });
        };
        let known = entry.platform.take().unwrap_or_else(|| Platform::new("", "", None));
        entry.platform = Some(annotated(known, annotation));
        Ok(index)
    })
    .await
}

fn annotated(known: Platform, annotation: Annotation) -> Platform {
    // A variant is one of its architecture.
    let kept = known.variant.filter(|_| annotation.architecture.is_none());
    let variant = annotation.variant.or(kept);
    let architecture = annotation.architecture.unwrap_or(known.architecture);
    let os = annotation.os.unwrap_or(known.os);
    let is_same = annotation.os_features.is_empty();
    Platform {
        os_version: annotation.os_version.or(known.os_version),
        os_features: if is_same { known.os_features } else { annotation.os_features },
        ..Platform::new(&os, &architecture, variant.as_deref())
    }
}

/// Returns the bytes of a list of the store.
///
/// # Errors
/// [`CatalogError::NoList`], or what is wrong with it.
pub fn list_document(workshop: &Workshop, name: &Reference) -> Result<Document<Index>, CatalogError> {
    let name = name.or_latest();
    let no_list = |is_image| CatalogError::NoList { name: name.familiar(), is_image };
    let descriptor = match locate(&workshop.store, &name.familiar()) {
        Ok(located) => located.descriptor,
        Err(CatalogError::NotFound { .. }) => return Err(no_list(false)),
        Err(error) => return Err(error),
    };
    match descriptor.media_type.is_index() {
        true => Ok(document(&workshop.store, &descriptor.digest)?),
        false => Err(no_list(true)),
    }
}

/// Sends a list to where its name says, with all that it names.
///
/// # Errors
/// [`CatalogError::NoList`]; what is missing, or what the registry says.
pub async fn push_list(
    workshop: &Arc<Workshop>,
    name: &Reference,
    progress: &Arc<dyn Progress>,
) -> Result<Pushed, CatalogError> {
    list(workshop, name)?;
    let name = name.or_latest();
    let descriptor = super::descriptor(workshop, &name)?;
    Ok(export::push(workshop, &descriptor, &name, progress).await?)
}

/// Removes a list from the store, and what only it needs.
///
/// # Errors
/// [`CatalogError::NoList`], or what the store says.
pub fn remove_list(workshop: &Workshop, name: &Reference) -> Result<Vec<Removed>, CatalogError> {
    list(workshop, name)?;
    remove(workshop, &name.or_latest().familiar(), false, Layers::Go)
}

fn list(workshop: &Workshop, name: &Reference) -> Result<Index, CatalogError> {
    Ok(list_document(workshop, name)?.into_value())
}

fn write(workshop: &Workshop, name: &Reference, index: Index) -> Result<Descriptor, CatalogError> {
    let media_type = media_type_of(&index);
    let index = Index { media_type: Some(media_type.clone()), ..index };
    let bytes = kiln_oci::json::to_bytes(&index);
    let digest = workshop.store.blobs().put_bytes(&bytes)?;
    let descriptor = Descriptor::new(media_type, digest, bytes.len() as u64);
    let previous = assign(&workshop.store, name, &descriptor)?;
    // A list that was changed is no image of its own, as one whose name was taken away is.
    if let Some(previous) = previous.filter(|previous| previous.media_type.is_index()) {
        workshop.store.names().edit(|names| {
            names.remove_untagged(&previous.digest);
            Ok::<_, StoreError>(())
        })?;
    }
    image::forget(workshop, name)?;
    Ok(descriptor)
}

/// Returns Docker's type for a list of Docker's images alone, as buildx does (`util/imagetools/create.go`): whoever can read the images
/// can read the list. Docker's list has no annotations.
fn media_type_of(index: &Index) -> MediaType {
    let is_docker =
        |entry: &Descriptor| entry.media_type == MediaType::DOCKER_MANIFEST && entry.annotations.is_empty();
    let has_more = !index.annotations.is_empty() || index.subject.is_some();
    match !has_more && !index.manifests.is_empty() && index.manifests.iter().all(is_docker) {
        true => MediaType::DOCKER_INDEX,
        false => MediaType::OCI_INDEX,
    }
}

/// Returns the images that a name stands for, with their platforms.
async fn entries(
    workshop: &Arc<Workshop>,
    text: &str,
    progress: &Arc<dyn Progress>,
) -> Result<Vec<Descriptor>, CatalogError> {
    let top = match locate(&workshop.store, text) {
        Ok(located) => located.descriptor,
        Err(error @ CatalogError::NotFound { .. }) => {
            let Ok(name) = text.parse::<Reference>() else { return Err(error) };
            fetch_documents(workshop, &name.or_latest(), progress).await?
        }
        Err(error) => return Err(error),
    };
    let (own, image) = (Arc::clone(workshop), text.to_owned());
    blocking(move || {
        let chosen = choose_all(&own.store, &top)?;
        if chosen.is_empty() {
            return Err(ImageError::NotAnImage { image, reason: "it has no images".to_owned() }.into());
        }
        let entry = |chosen: &super::find::Chosen| Descriptor {
            platform: Some(chosen.platform()),
            ..chosen.image.descriptor.clone()
        };
        Ok(chosen.iter().map(entry).collect())
    })
    .await
}

/// Brings manifests, indexes and configurations of an image into the store.
async fn fetch_documents(
    workshop: &Arc<Workshop>,
    name: &Reference,
    progress: &Arc<dyn Progress>,
) -> Result<Descriptor, CatalogError> {
    let documents = remote::documents(&workshop.registry, name, None).await?;
    let mut configurations = Vec::new();
    for document in &documents {
        workshop.store.blobs().put_bytes(&document.bytes)?;
        blobs::remember_origin(&workshop.store, name, document.blobs.iter().map(|blob| &blob.digest))?;
        configurations.extend(document.blobs.iter().filter(|blob| blob.media_type.is_config()));
    }
    let fetches = configurations.into_iter().map(|blob| blobs::fetch(workshop, blob, progress));
    futures_util::future::try_join_all(fetches).await.map_err(ImageError::from)?;
    let Some(top) = documents.last() else { unreachable!("the image's own document is the last") };
    Ok(top.descriptor.clone())
}

/// Returns the digest that a text is, or that a name stands for.
async fn digest_of(workshop: &Workshop, text: &str) -> Result<Digest, CatalogError> {
    if let Ok(digest) = text.parse::<Digest>() {
        return Ok(digest);
    }
    if let Ok(name) = text.parse::<Reference>()
        && let Some(digest) = name.digest()
    {
        return Ok(digest);
    }
    match locate(&workshop.store, text) {
        Ok(located) => Ok(located.descriptor.digest),
        Err(error @ CatalogError::NotFound { .. }) => {
            let Ok(name) = text.parse::<Reference>() else { return Err(error) };
            Ok(remote::manifest(&workshop.registry, &name.or_latest()).await?.descriptor.digest)
        }
        Err(error) => Err(error),
    }
}

/// Reads a manifest of a list, if the store has it.
///
/// # Errors
/// When it is there and cannot be read.
pub fn member_document(workshop: &Workshop, digest: &Digest) -> Result<Option<Bytes>, CatalogError> {
    match workshop.store.blobs().read_bytes(digest, DOCUMENT_SIZE_MAX) {
        Ok(bytes) => Ok(Some(Bytes::from(bytes))),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}
