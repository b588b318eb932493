//! Names and images go.
//!
//! | Asked for | Happens |
//! |---|---|
//! | a name, and the image has others | the name goes |
//! | its last name | the name goes, and names by digest of the same repository; the image goes |
//! | an id, and its names are one tag at most, and digests of the same repository | as with its last name |
//! | an id, and it has other names | an error; with force all names and the image go |
//!
//! What containers use is refused first (`in_use`). Blobs go when neither another image, nor a container, nor a record of the
//! cache needs them.

use std::collections::BTreeSet;
use std::error::Error;

use kiln_oci::validate::{DOCUMENT_SIZE_MAX, INDEX_DEPTH_MAX};
use kiln_oci::{Descriptor, Digest, Document, Index, Manifest, Reference};
use kiln_store::{Blobs, gc};

use super::CatalogError;
use super::find::{Located, locate, names_of};
use super::in_use::refuse_in_use;
use crate::source::image;
use crate::workshop::Workshop;

/// What becomes of layers that nothing needs any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layers {
    /// They go with the image.
    Go,
    /// They stay until somebody collects what nothing needs.
    Stay,
}

/// What went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// A name.
    Untagged(Reference),
    /// An image or layer, by its digest.
    Deleted(Digest),
}

/// Removes a name, or an image with all that only it needs.
///
/// # Errors
/// [`CatalogError::NotFound`], [`CatalogError::Ambiguous`], [`CatalogError::Conflict`], [`CatalogError::ReferenceInUse`],
/// [`CatalogError::ImageInUse`], or what the store says.
pub fn remove(
    workshop: &Workshop,
    image: &str,
    force: bool,
    layers: Layers,
) -> Result<Vec<Removed>, CatalogError> {
    let located = locate(&workshop.store, image)?;
    if located.name.is_none() && !force && !is_of_one_name(&located.names) {
        return Err(CatalogError::Conflict { image: image.to_owned(), names: located.names });
    }
    let digest = located.descriptor.digest;
    let owned = needs(workshop.store.blobs(), &located.descriptor);
    let id = config_of(workshop.store.blobs(), &located.descriptor);
    refuse_in_use(&workshop.store, &located, &id, force)?;
    let untagged = untag(workshop, &located)?;
    let mut removed: Vec<Removed> = untagged.iter().cloned().map(Removed::Untagged).collect();
    for name in &untagged {
        image::forget(workshop, name)?;
    }
    let is_gone = !workshop.store.names().list()?.iter().any(|image| image.descriptor.digest == digest);
    if is_gone && layers == Layers::Stay {
        removed.push(Removed::Deleted(id));
    } else if is_gone {
        let report = gc::gc(&workshop.store, &gc::Policy::default(), &needs)?;
        removed.push(Removed::Deleted(id));
        // What cannot be read is gone all the same; only its layers are not told.
        let owned: BTreeSet<Digest> = owned.unwrap_or_default().into_iter().collect();
        let layers = report.gone_blobs().into_iter().filter(|blob| owned.contains(blob) && *blob != id);
        removed.extend(layers.map(Removed::Deleted));
    }
    Ok(removed)
}

/// Takes away the names that go.
fn untag(workshop: &Workshop, located: &Located) -> Result<Vec<Reference>, CatalogError> {
    let digest = located.descriptor.digest;
    Ok(workshop.store.names().edit(|names| {
        // Anew, under the lock: somebody may have named it meanwhile.
        let all = names_of(&names.list(), &digest);
        let mut going: Vec<Reference> = match &located.name {
            Some(name) => all.iter().filter(|known| *known == name).cloned().collect(),
            None => all.clone(),
        };
        let stays: Vec<&Reference> = all.iter().filter(|name| !going.contains(name)).collect();
        let only_digests = stays.iter().all(|name| {
            let same = |gone: &Reference| {
                gone.registry() == name.registry() && gone.repository() == name.repository()
            };
            name.tag().is_none() && going.iter().any(same)
        });
        if only_digests {
            let rest: Vec<Reference> = stays.into_iter().cloned().collect();
            going.extend(rest);
            names.remove_untagged(&digest);
        }
        for name in &going {
            names.remove(name);
        }
        Ok(going)
    })?)
}

/// Whether names are one tag at most, and digests of the same repository: what Docker takes for one name.
fn is_of_one_name(names: &[Reference]) -> bool {
    let tagged = names.iter().filter(|name| name.tag().is_some()).count();
    let repositories: BTreeSet<String> = names.iter().map(Reference::familiar_name).collect();
    tagged <= 1 && repositories.len() <= 1
}

/// Returns the id that is told when an image went.
pub(super) fn config_of(blobs: &Blobs, descriptor: &Descriptor) -> Digest {
    let manifest = descriptor.media_type.is_manifest().then(|| read::<Manifest>(blobs, &descriptor.digest));
    match manifest {
        Some(Ok(Some(manifest))) => manifest.config.digest,
        // An index has no configuration, and of a damaged manifest nothing else is known.
        _ => descriptor.digest,
    }
}

/// Returns the blobs that a manifest or index needs besides itself; absent ones are named too. For [`kiln_store::gc`].
///
/// # Errors
/// When a document is there and cannot be read.
pub fn needs(blobs: &Blobs, descriptor: &Descriptor) -> Result<Vec<Digest>, Box<dyn Error + Send + Sync>> {
    let mut needed = Vec::new();
    follow(blobs, descriptor, 0, &mut needed)?;
    Ok(needed)
}

fn follow(
    blobs: &Blobs,
    descriptor: &Descriptor,
    depth: u32,
    needed: &mut Vec<Digest>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    if descriptor.media_type.is_index() {
        if depth >= INDEX_DEPTH_MAX {
            return Err(
                format!("index `{}` is nested more than {INDEX_DEPTH_MAX} deep", descriptor.digest).into()
            );
        }
        let Some(index) = read::<Index>(blobs, &descriptor.digest)? else { return Ok(()) };
        for entry in &index.manifests {
            needed.push(entry.digest);
            follow(blobs, entry, depth + 1, needed)?;
        }
    } else if descriptor.media_type.is_manifest() {
        let Some(manifest) = read::<Manifest>(blobs, &descriptor.digest)? else { return Ok(()) };
        needed.push(manifest.config.digest);
        needed.extend(manifest.layers.iter().map(|layer| layer.digest));
    }
    Ok(())
}

fn read<T: kiln_oci::DocumentKind>(
    blobs: &Blobs,
    digest: &Digest,
) -> Result<Option<T>, Box<dyn Error + Send + Sync>> {
    match blobs.read_bytes(digest, DOCUMENT_SIZE_MAX) {
        Ok(bytes) => Ok(Some(Document::<T>::parse(bytes)?.into_value())),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}
