//! `manifest.json`: the list of images in archives of `docker save`.
//!
//! Before Docker 25 it is the only description, and the layers beside it are plain tars; an OCI manifest is then written for
//! them, around the configuration as it is.

use kiln_layer::compress::Detected;
use kiln_oci::{Descriptor, Document, LayerCompression, Manifest, MediaType, Reference};
use kiln_store::Store;
use serde::Deserialize;

use super::archive::{Contents, StoredFile};
use super::{Candidate, check_count, parse_name};
use crate::catalog::CatalogError;
use crate::export::gather_present;

/// One entry of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Entry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// Reads the list.
pub(super) fn entries(bytes: &[u8]) -> Result<Vec<Entry>, CatalogError> {
    let entries: Vec<Entry> = serde_json::from_slice(bytes)
        .map_err(|error| CatalogError::NotImages { reason: format!("`manifest.json`: {error}") })?;
    check_count(entries.len())?;
    Ok(entries)
}

/// Returns the names that the list has for an image, known by its configuration.
pub(super) fn names_of(
    store: &Store,
    descriptor: &Descriptor,
    entries: &[Entry],
) -> Result<Vec<Reference>, CatalogError> {
    if entries.is_empty() {
        return Ok(Vec::new());
    }
    let whole = gather_present(store, descriptor)?;
    let is_of_image =
        |entry: &&Entry| whole.configs.keys().any(|digest| entry.config.contains(&digest.hex()));
    entries.iter().filter(is_of_image).flat_map(tags).map(|name| parse_name(name)).collect()
}

/// Returns the images of a list without a layout.
pub(super) fn candidates(
    store: &Store,
    contents: &Contents,
    entries: &[Entry],
) -> Result<Vec<Candidate>, CatalogError> {
    entries.iter().map(|entry| candidate(store, contents, entry)).collect()
}

fn tags(entry: &Entry) -> impl Iterator<Item = &String> {
    entry.repo_tags.iter().flatten()
}

fn candidate(store: &Store, contents: &Contents, entry: &Entry) -> Result<Candidate, CatalogError> {
    let find = |path: &String| {
        let reason = || format!("`manifest.json` names `{}`, which is not in it", path.escape_debug());
        contents.file(path).ok_or_else(|| CatalogError::Damaged { reason: reason() })
    };
    let config = find(&entry.config)?;
    let config = Descriptor::new(MediaType::OCI_CONFIG, config.digest, config.size);
    let files = entry.layers.iter().flatten().map(find).collect::<Result<Vec<_>, _>>()?;
    let layers = files.into_iter().map(layer).collect::<Result<Vec<_>, _>>()?;
    let manifest = Document::write(Manifest::oci(config, layers));
    store.blobs().put_bytes(manifest.bytes())?;
    let names = tags(entry).map(|name| parse_name(name)).collect::<Result<Vec<_>, _>>()?;
    Ok(Candidate { descriptor: manifest.descriptor(MediaType::OCI_MANIFEST), names })
}

fn layer(file: StoredFile) -> Result<Descriptor, CatalogError> {
    let compression = match file.compression {
        Detected::Plain => LayerCompression::None,
        Detected::Gzip => LayerCompression::Gzip,
        Detected::Zstd => LayerCompression::Zstd,
        other => {
            let reason = format!("layer `{}` is compressed by {other:?}, as layers cannot be", file.digest);
            return Err(CatalogError::Damaged { reason });
        }
    };
    Ok(Descriptor::new(MediaType::layer(compression), file.digest, file.size))
}
