//! `manifest.json`: the list of images in archives of `docker save`.
//!
//! Before Docker 25 it is the only description, and the layers beside it are plain tars; an OCI manifest is then written for
//! them, around the configuration as it is.

use kiln_layer::compress::Detected;
use kiln_oci::{Descriptor, Digest, Document, LayerCompression, Manifest, MediaType};
use serde::Deserialize;

use super::{ImageArchiveError, SeenFile, check_count};

/// One entry of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Entry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

impl Entry {
    /// Returns the names of the image.
    pub fn tags(&self) -> impl Iterator<Item = &String> {
        self.repo_tags.iter().flatten()
    }

    /// Whether it is the image with this configuration.
    pub fn is_of(&self, config: &Digest) -> bool {
        self.config.contains(&config.hex())
    }
}

/// Reads the list.
///
/// # Errors
/// [`ImageArchiveError::NotImages`], or that there are too many.
pub fn docker_entries(bytes: &[u8]) -> Result<Vec<Entry>, ImageArchiveError> {
    let entries: Vec<Entry> = serde_json::from_slice(bytes)
        .map_err(|error| ImageArchiveError::NotImages { reason: format!("`manifest.json`: {error}") })?;
    check_count(entries.len())?;
    Ok(entries)
}

/// Returns the manifest of an image of a list without a layout. `find` returns the file that a path of the archive leads to.
///
/// # Errors
/// [`ImageArchiveError::Damaged`], or what `find` says.
pub fn docker_manifest<E: From<ImageArchiveError>>(
    entry: &Entry,
    mut find: impl FnMut(&str) -> Result<Option<SeenFile>, E>,
) -> Result<Document<Manifest>, E> {
    let mut find = |path: &String| {
        let reason = || format!("`manifest.json` names `{}`, which is not in it", path.escape_debug());
        find(path)?.ok_or_else(|| E::from(ImageArchiveError::Damaged { reason: reason() }))
    };
    let config = find(&entry.config)?;
    let config = Descriptor::new(MediaType::OCI_CONFIG, config.digest, config.size);
    let files = entry.layers.iter().flatten().map(find).collect::<Result<Vec<_>, E>>()?;
    let layers = files.into_iter().map(layer).collect::<Result<Vec<_>, _>>()?;
    Ok(Document::write(Manifest::oci(config, layers)))
}

fn layer(file: SeenFile) -> Result<Descriptor, ImageArchiveError> {
    let compression = match file.compression {
        Detected::Plain => LayerCompression::None,
        Detected::Gzip => LayerCompression::Gzip,
        Detected::Zstd => LayerCompression::Zstd,
        other => {
            let reason = format!("layer `{}` is compressed by {other:?}, as layers cannot be", file.digest);
            return Err(ImageArchiveError::Damaged { reason });
        }
    };
    Ok(Descriptor::new(MediaType::layer(compression), file.digest, file.size))
}
