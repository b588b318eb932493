//! From what people write to an image: names, digests, beginnings of ids.

use std::collections::BTreeSet;

use kiln_oci::{Descriptor, Digest, ImageConfig, Platform, Reference};
use kiln_store::{NamedImage, Store};

use super::CatalogError;
use crate::export::{SingleImage, Whole, document, gather_present};
use crate::lower::nearest;

/// Fewest characters of an id that are tried as one.
const ID_CHARACTERS_MIN: usize = 4;

/// An image that was found.
#[derive(Debug, Clone)]
pub(crate) struct Located {
    /// Its manifest or index.
    pub(crate) descriptor: Descriptor,
    /// All its names.
    pub(crate) names: Vec<Reference>,
    /// The name by which it was found; `None` when that was an id.
    pub(crate) name: Option<Reference>,
}

/// Finds an image by its name, its digest, or the beginning of its id.
pub(crate) fn locate(store: &Store, text: &str) -> Result<Located, CatalogError> {
    let images = store.names().list()?;
    let located = |descriptor: &Descriptor, name: Option<Reference>| Located {
        descriptor: descriptor.clone(),
        names: names_of(&images, &descriptor.digest),
        name,
    };
    if let Ok(digest) = text.parse::<Digest>().or_else(|_| Digest::from_hex(text)) {
        let found = images.iter().find(|image| ids(store, &image.descriptor).contains(&digest));
        return found.map(|image| located(&image.descriptor, None)).ok_or_else(|| not_found(text, &images));
    }
    if let Ok(reference) = text.parse::<Reference>()
        && let Some((image, name)) = by_name(&images, &reference.or_latest())
    {
        return Ok(located(&image.descriptor, Some(name)));
    }
    let hex = text.strip_prefix("sha256:").unwrap_or(text).to_ascii_lowercase();
    if hex.len() < ID_CHARACTERS_MIN || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(not_found(text, &images));
    }
    let begins =
        |image: &&NamedImage| ids(store, &image.descriptor).iter().any(|id| id.hex().starts_with(&hex));
    let candidates: Vec<&NamedImage> = images.iter().filter(begins).collect();
    let distinct: BTreeSet<Digest> = candidates.iter().map(|image| image.descriptor.digest).collect();
    match (candidates.as_slice(), distinct.len()) {
        ([first, ..], 1) => Ok(located(&first.descriptor, None)),
        ([], _) => Err(not_found(text, &images)),
        _ => Err(CatalogError::Ambiguous {
            image: text.to_owned(),
            candidates: candidates.iter().map(|image| shown(image)).collect(),
        }),
    }
}

/// Returns the names of an image, in their order.
pub(crate) fn names_of(images: &[NamedImage], digest: &Digest) -> Vec<Reference> {
    let same = images.iter().filter(|image| image.descriptor.digest == *digest);
    let mut names: Vec<Reference> = same.filter_map(|image| image.reference.clone()).collect();
    names.sort_by_key(Reference::to_string);
    names
}

fn by_name<'a>(images: &'a [NamedImage], wanted: &Reference) -> Option<(&'a NamedImage, Reference)> {
    let exact = images.iter().find(|image| image.reference.as_ref() == Some(wanted));
    if let Some(image) = exact {
        return Some((image, wanted.clone()));
    }
    let digest = wanted.digest()?;
    let same_repository = |name: &Reference| {
        name.registry() == wanted.registry()
            && name.repository() == wanted.repository()
            && wanted.tag().is_none_or(|tag| name.tag() == Some(tag))
    };
    images.iter().filter(|image| image.descriptor.digest == digest).find_map(|image| {
        let name = image.reference.as_ref().filter(|name| same_repository(name))?;
        Some((image, name.clone()))
    })
}

/// Returns every digest by which an image may be called. What cannot be read has none but its own: others are still found.
fn ids(store: &Store, descriptor: &Descriptor) -> Vec<Digest> {
    let mut ids = vec![descriptor.digest];
    if let Ok(whole) = gather_present(store, descriptor) {
        for image in &whole.images {
            ids.extend([image.descriptor.digest, image.manifest.config.digest]);
        }
    }
    ids
}

fn shown(image: &NamedImage) -> String {
    let name = image.reference.as_ref().map_or_else(|| "<none>".to_owned(), Reference::familiar);
    format!("{name} ({})", image.descriptor.digest)
}

fn not_found(text: &str, images: &[NamedImage]) -> CatalogError {
    let names: Vec<String> =
        images.iter().filter_map(|image| image.reference.as_ref().map(Reference::familiar)).collect();
    let bare: Vec<&str> = names.iter().map(|name| name.strip_suffix(":latest").unwrap_or(name)).collect();
    let options = bare.iter().copied().chain(names.iter().map(String::as_str));
    let suggestion = nearest(text, options).map(str::to_owned);
    CatalogError::NotFound { image: text.to_owned(), suggestion }
}

/// One image of one platform, with its configuration.
pub(crate) struct Chosen {
    pub(crate) image: SingleImage,
    pub(crate) config: ImageConfig,
}

/// Chooses the image for a platform; without one, this machine's, else the first there is.
pub(crate) fn choose(
    store: &Store,
    text: &str,
    descriptor: &Descriptor,
    platform: Option<&Platform>,
) -> Result<Chosen, CatalogError> {
    let mut images = choose_all(store, descriptor)?;
    let wanted = platform.cloned().unwrap_or_else(Platform::host);
    let mut best: Option<(u32, usize)> = None;
    for (position, chosen) in images.iter().enumerate() {
        let fitness = chosen.platform().fitness(&wanted);
        if let Some(fitness) = fitness
            && best.is_none_or(|(other, _)| fitness > other)
        {
            best = Some((fitness, position));
        }
    }
    let position =
        best.map(|(_, position)| position).or((platform.is_none() && !images.is_empty()).then_some(0));
    if let Some(position) = position {
        return Ok(images.swap_remove(position));
    }
    let available: Vec<String> = images.iter().map(|chosen| chosen.platform().to_string()).collect();
    let available = if available.is_empty() { "no image".to_owned() } else { available.join(", ") };
    Err(CatalogError::Platform { image: text.to_owned(), wanted: Box::new(wanted), available })
}

/// Returns all images that are here.
pub(super) fn choose_all(store: &Store, descriptor: &Descriptor) -> Result<Vec<Chosen>, CatalogError> {
    let mut images = Vec::new();
    for image in gather_present(store, descriptor)?.images {
        let config = document::<ImageConfig>(store, &image.manifest.config.digest)?.into_value();
        images.push(Chosen { image, config });
    }
    Ok(images)
}

/// Returns what stands for the image of one platform, where one is named, else for all of them.
pub(super) fn of_platform(
    store: &Store,
    text: &str,
    descriptor: Descriptor,
    platform: Option<&Platform>,
) -> Result<Descriptor, CatalogError> {
    match platform {
        None => Ok(descriptor),
        Some(platform) => Ok(choose(store, text, &descriptor, Some(platform))?.image.descriptor),
    }
}

impl Chosen {
    /// Returns the platform it is for.
    pub(crate) fn platform(&self) -> Platform {
        self.image.descriptor.platform.clone().unwrap_or_else(|| self.config.platform())
    }
}

/// Returns the id of what a descriptor stands for: the configuration's digest of a single image, else its own.
pub(crate) fn id_of(whole: &Whole) -> Digest {
    match whole.images.as_slice() {
        [only] => only.manifest.config.digest,
        _ => whole.top.digest,
    }
}
