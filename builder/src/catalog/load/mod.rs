//! Images arrive in archives: of `docker save`, old and new, of OCI layouts, and in directories of those.
//!
//! An archive is read once, from front to end, as a stream: contents go to the store as blobs, small documents are kept until
//! the end says what they mean. Nothing gets a name before its documents were read, its blobs found with the digests and
//! sizes they are said to have, and every layer's content with the diff id that the configuration says.
//!
//! | Bound | Value |
//! |---|---|
//! | bytes and members of an archive | those of a layer |
//! | bytes of a document | [`kiln_oci::validate::DOCUMENT_SIZE_MAX`] |
//! | images in one archive | [`IMAGES_MAX`](crate::source::image_archive::IMAGES_MAX) |

mod archive;
mod directory;
mod told;

use std::path::Path;
use std::sync::Arc;

use kiln_oci::{Descriptor, Digest, Platform, Reference, layout};

use self::told::{Counted, Told};
use super::find::{id_of, of_platform};
use super::input::Input;
use super::{ArchiveSource, CatalogError, assign};
use crate::export::{Whole, gather_present, layers_of};
use crate::lanes::blocking;
use crate::layers;
use crate::progress::Progress;
use crate::source::image_archive::{DOCKER_LIST, ImageArchiveError, docker_entries, read_index};
use crate::source::layout as layout_files;
use crate::workshop::Workshop;

/// What was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loaded {
    /// A name.
    Name(Reference),
    /// An image without a name: the digest of its configuration, or of its index.
    Id(Digest),
}

/// Loads the images of an archive, compressed or not, or of the OCI layout in a directory. Of images for several platforms
/// only the one named comes, where one is. Two things are told, each with its bytes: that the archive is read, and then that its
/// layers are checked.
///
/// # Errors
/// [`CatalogError`]: what is wrong with the archive, or cannot be written. Images that were listed before the damaged one
/// are loaded.
pub async fn load(
    workshop: &Arc<Workshop>,
    source: ArchiveSource<'_>,
    platform: Option<&Platform>,
    progress: &Arc<dyn Progress>,
) -> Result<Vec<Loaded>, CatalogError> {
    let (own, input, platform) = (Arc::clone(workshop), Input::from(source), platform.cloned());
    let progress = Arc::clone(progress);
    blocking(move || {
        let loaded = load_all(&own, &input, platform.as_ref(), &*progress);
        loaded.map_err(|error| input.named("load", error))
    })
    .await
}

fn load_all(
    workshop: &Workshop,
    input: &Input,
    platform: Option<&Platform>,
    progress: &dyn Progress,
) -> Result<Vec<Loaded>, CatalogError> {
    let mut told = Told::begin(progress, format!("read {input}"));
    let candidates = match input {
        Input::File(path) if path.is_dir() => load_directory(workshop, path, &mut told)?,
        _ => load_archive(workshop, input, &mut told)?,
    };
    told.finish();
    accept_all(workshop, candidates, platform, progress)
}

/// An image of an archive: what stands for it, and its names.
#[derive(Debug)]
struct Candidate {
    descriptor: Descriptor,
    names: Vec<Reference>,
}

fn load_directory(
    workshop: &Workshop,
    path: &Path,
    told: &mut Told<'_>,
) -> Result<Vec<Candidate>, CatalogError> {
    let read = |source| CatalogError::Open { input: format!("the OCI layout `{}`", path.display()), source };
    let bytes = layout_files::read_index(path).map_err(read)?;
    let candidates = listed(&bytes)?;
    for candidate in &candidates {
        directory::copy(&workshop.store, path, &candidate.descriptor, told)?;
    }
    Ok(candidates)
}

fn load_archive(
    workshop: &Workshop,
    input: &Input,
    told: &mut Told<'_>,
) -> Result<Vec<Candidate>, CatalogError> {
    let failed = |source| CatalogError::Read { what: "the archive".to_owned(), source };
    let read = |error| ImageArchiveError::found_in(error, failed);
    let file = input.open()?;
    let metadata = file.metadata().map_err(read)?;
    if metadata.is_file() {
        told.expect(metadata.len());
    }
    let contents = archive::read(&workshop.store, Counted { file, told }, &read)?;
    let tags = match contents.document(DOCKER_LIST) {
        Some(bytes) => docker_entries(bytes)?,
        None => Vec::new(),
    };
    match contents.document(layout::INDEX_FILE) {
        Some(bytes) => {
            let mut candidates = listed(bytes)?;
            for candidate in candidates.iter_mut().filter(|candidate| candidate.names.is_empty()) {
                candidate.names = archive::names_of(&workshop.store, &candidate.descriptor, &tags)?;
            }
            Ok(candidates)
        }
        None if !tags.is_empty() => archive::candidates(&workshop.store, &contents, &tags),
        None => {
            let reason = "it has neither `index.json` nor `manifest.json`".to_owned();
            Err(ImageArchiveError::NotImages { reason }.into())
        }
    }
}

/// Returns the images that a layout's `index.json` lists, each once, with its names.
fn listed(bytes: &[u8]) -> Result<Vec<Candidate>, CatalogError> {
    let index = read_index(bytes)?;
    let mut candidates: Vec<Candidate> = Vec::new();
    for entry in index.manifests {
        let name = name_of(&entry)?;
        let known = candidates.iter_mut().find(|candidate| candidate.descriptor.digest == entry.digest);
        match known {
            Some(known) => known.names.extend(name),
            None => {
                let mut descriptor = entry;
                descriptor.annotations.clear();
                candidates.push(Candidate { descriptor, names: name.into_iter().collect() });
            }
        }
    }
    Ok(candidates)
}

/// Returns the full name that an entry has. A tag alone names nothing outside of its layout.
fn name_of(entry: &Descriptor) -> Result<Option<Reference>, CatalogError> {
    let full = entry.annotations.get(layout::CONTAINERD_NAME);
    let short = entry.annotations.get(layout::REF_NAME).filter(|name| name.contains([':', '/']));
    full.or(short).map(|name| parse_name(name)).transpose()
}

fn parse_name(name: &str) -> Result<Reference, CatalogError> {
    let parsed = name.parse::<Reference>();
    parsed.map(|name| name.or_latest()).map_err(|error| damaged(error.to_string()))
}

fn accept_all(
    workshop: &Workshop,
    candidates: Vec<Candidate>,
    platform: Option<&Platform>,
    progress: &dyn Progress,
) -> Result<Vec<Loaded>, CatalogError> {
    if candidates.is_empty() {
        return Err(ImageArchiveError::NotImages { reason: "it lists no image".to_owned() }.into());
    }
    let mut loaded = Vec::new();
    for Candidate { descriptor, names } in candidates {
        let shown = names.first().map_or_else(|| descriptor.digest.to_string(), Reference::familiar);
        let descriptor = of_platform(&workshop.store, &shown, descriptor, platform)?;
        let candidate = Candidate { descriptor, names };
        let told = Told::begin(progress, format!("check {shown}"));
        loaded.extend(accept(workshop, candidate, told)?);
    }
    Ok(loaded)
}

/// Checks an image and gives it its names.
fn accept(
    workshop: &Workshop,
    candidate: Candidate,
    mut told: Told<'_>,
) -> Result<Vec<Loaded>, CatalogError> {
    let Candidate { descriptor, names } = candidate;
    let store = &workshop.store;
    let whole = gather_present(store, &descriptor)?;
    if whole.images.is_empty() {
        let reason = format!("`{}` has no image", descriptor.digest);
        return Err(damaged(reason));
    }
    for blob in whole.blobs().values() {
        let is_foreign = blob.media_type.is_foreign();
        match store
            .blobs()
            .hold(&blob.digest)?
            .then(|| store.blobs().size(&blob.digest))
            .transpose()?
            .flatten()
        {
            Some(size) if size == blob.size => {}
            Some(size) => {
                let reason = format!("blob `{}` has {size} bytes, not {}", blob.digest, blob.size);
                return Err(damaged(reason));
            }
            None if is_foreign => {}
            None => return Err(damaged(format!("it lacks blob `{}`", blob.digest))),
        }
    }
    check_layers(workshop, &whole, &mut told)?;
    told.finish();
    let mut loaded = Vec::new();
    if names.is_empty() {
        store.names().add_untagged(&descriptor)?;
        loaded.push(Loaded::Id(id_of(&whole)));
    }
    for name in names {
        if !loaded.contains(&Loaded::Name(name.clone())) {
            assign(store, &name, &descriptor)?;
            loaded.push(Loaded::Name(name));
        }
    }
    Ok(loaded)
}

/// Reads the layers of an image, which checks their contents.
fn check_layers(workshop: &Workshop, whole: &Whole, told: &mut Told<'_>) -> Result<(), CatalogError> {
    let mut layers = Vec::new();
    for image in &whole.images {
        layers.extend(layers_of(&workshop.store, image)?);
    }
    layers.retain(|layer| !layer.blob.media_type.is_foreign());
    told.expect(layers.iter().map(|layer| layer.blob.size).sum());
    for layer in layers {
        layers::listing(workshop, &layer)?;
        told.moved(layer.blob.size);
    }
    Ok(())
}

/// Returns the error of an archive or layout that says something untrue.
fn damaged(reason: String) -> CatalogError {
    ImageArchiveError::Damaged { reason }.into()
}
