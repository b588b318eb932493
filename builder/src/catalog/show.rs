//! What there is: lists, details, histories.

use std::collections::BTreeMap;

use kiln_oci::{Descriptor, Digest, ImageConfig, Platform, Reference};

use super::CatalogError;
use super::find::{Chosen, choose, locate};
use super::sizes::size_of;
use crate::rootfs::Layer;
use crate::workshop::Workshop;

/// One name of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRow {
    /// The name, if it has one.
    pub reference: Option<Reference>,
    /// The digest of the configuration.
    pub id: Digest,
    /// The digest of the manifest or index.
    pub manifest: Digest,
    /// RFC 3339 time.
    pub created: Option<String>,
    /// Size of the files of all layers; zero where nobody asked for it.
    pub size_bytes: u64,
    /// What it runs on.
    pub platform: Platform,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// Everything about one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageDetails {
    /// All its names.
    pub names: Vec<Reference>,
    /// The manifest or index that the names stand for.
    pub descriptor: Descriptor,
    /// The digest of the configuration.
    pub id: Digest,
    /// The configuration.
    pub config: ImageConfig,
    /// Size of the files of all layers.
    pub size_bytes: u64,
}

/// One line of an image's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryRow {
    /// The image's id, on the newest line only.
    pub id: Option<Digest>,
    /// RFC 3339 time.
    pub created: Option<String>,
    /// The instruction.
    pub created_by: String,
    /// Size of the files of its layer.
    pub size_bytes: u64,
    /// A remark.
    pub comment: String,
}

/// Whether sizes are wanted: a layer that was never read is read for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sizes {
    /// They are shown.
    Wanted,
    /// Nobody sees them.
    Unwanted,
}

/// Lists the images, one row a name, in the order of `index.json`. An image whose documents are damaged or gone is listed
/// under its manifest's digest, with the size zero.
///
/// # Errors
/// When the list of names cannot be read.
pub fn list(workshop: &Workshop, sizes: Sizes) -> Result<Vec<ImageRow>, CatalogError> {
    let images = workshop.store.names().list()?;
    let rows = images.into_iter().map(|named| match choose(&workshop.store, "", &named.descriptor, None) {
        Ok(chosen) => ImageRow {
            reference: named.reference,
            id: chosen.image.manifest.config.digest,
            manifest: named.descriptor.digest,
            created: chosen.config.created.clone(),
            size_bytes: match sizes {
                Sizes::Wanted => size(workshop, &chosen),
                Sizes::Unwanted => 0,
            },
            platform: chosen.platform(),
            labels: chosen.config.config.labels,
        },
        // Whoever lists images wants to see the others, and this one in order to remove it.
        Err(_) => ImageRow {
            reference: named.reference,
            id: named.descriptor.digest,
            manifest: named.descriptor.digest,
            created: None,
            size_bytes: 0,
            platform: named.descriptor.platform.unwrap_or_else(Platform::host),
            labels: BTreeMap::new(),
        },
    });
    Ok(rows.collect())
}

/// Returns everything about an image.
///
/// # Errors
/// [`CatalogError::NotFound`], [`CatalogError::Ambiguous`], [`CatalogError::Platform`], or what is wrong with its documents.
pub fn inspect(
    workshop: &Workshop,
    image: &str,
    platform: Option<&Platform>,
) -> Result<ImageDetails, CatalogError> {
    let located = locate(&workshop.store, image)?;
    let chosen = choose(&workshop.store, image, &located.descriptor, platform)?;
    Ok(ImageDetails {
        names: located.names,
        descriptor: located.descriptor,
        id: chosen.image.manifest.config.digest,
        size_bytes: size(workshop, &chosen),
        config: chosen.config,
    })
}

/// Returns how an image came to be, newest line first.
///
/// # Errors
/// As for [`inspect`].
pub fn history(
    workshop: &Workshop,
    image: &str,
    platform: Option<&Platform>,
) -> Result<Vec<HistoryRow>, CatalogError> {
    let located = locate(&workshop.store, image)?;
    let chosen = choose(&workshop.store, image, &located.descriptor, platform)?;
    let mut sizes = layer_sizes(workshop, &chosen).into_iter();
    let line = |entry: &kiln_oci::HistoryEntry| HistoryRow {
        id: None,
        created: entry.created.clone(),
        created_by: entry.created_by.clone().unwrap_or_default(),
        size_bytes: if entry.empty_layer { 0 } else { sizes.next().unwrap_or_default() },
        comment: entry.comment.clone().unwrap_or_default(),
    };
    let mut rows: Vec<HistoryRow> = chosen.config.history.iter().map(line).collect();
    rows.reverse();
    if let Some(newest) = rows.first_mut() {
        newest.id = Some(chosen.image.manifest.config.digest);
    }
    Ok(rows)
}

fn size(workshop: &Workshop, chosen: &Chosen) -> u64 {
    layer_sizes(workshop, chosen).iter().sum()
}

fn layer_sizes(workshop: &Workshop, chosen: &Chosen) -> Vec<u64> {
    let layers = chosen.image.manifest.layers.iter().zip(&chosen.config.rootfs.diff_ids);
    layers
        .map(|(blob, diff_id)| size_of(workshop, &Layer { diff_id: *diff_id, blob: blob.clone() }))
        .collect()
}
