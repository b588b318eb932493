//! Is everything in the store what it says it is, and what is to be done where it is not.
//!
//! | Found | Mended by |
//! |---|---|
//! | a blob, record or list that is damaged, a stray file | moving it to `damaged/`; the next build makes or fetches it again |
//! | a record without its blobs | removing it |
//! | an unpacked layer that is not what its listing says | moving it to `damaged/`; it is unpacked again |
//! | an image without a blob | nobody but you: it is to be pulled or built again, or removed |

use std::collections::BTreeSet;

use kiln_oci::{Descriptor, DiffId, Digest};
use kiln_store::fsck::{self, Problem};
use kiln_store::{NamedImage, StoreError};

use super::unpacked;
use crate::blobs::origins;
use crate::catalog::needs;
use crate::layers::layers_by_directory;
use crate::workshop::Workshop;

/// What a check found.
#[derive(Debug)]
pub struct Checked {
    /// What the store says of itself.
    pub store: fsck::Report,
    /// What is wrong with images and unpacked layers.
    pub doubts: Vec<Doubt>,
    /// Unpacked layers looked at.
    pub unpacked: usize,
}

/// Something that is wrong with an image or an unpacked layer.
#[derive(Debug, thiserror::Error)]
pub enum Doubt {
    /// An image needs a blob that is damaged or missing, and nobody is known to have it.
    #[error("incomplete image: `{}` needs `{blob}`, which is {}", name.clone().unwrap_or_else(|| image.to_string()), if *is_damaged { "damaged" } else { "missing" })]
    Incomplete {
        /// The image's name, if it has one.
        name: Option<String>,
        /// Its manifest or index.
        image: Digest,
        /// The blob.
        blob: Digest,
        /// Whether the blob is there, and damaged.
        is_damaged: bool,
    },
    /// A manifest cannot be read.
    #[error("unreadable image: `{}`", name.clone().unwrap_or_else(|| image.to_string()))]
    Unreadable {
        /// The image's name, if it has one.
        name: Option<String>,
        /// Its manifest or index.
        image: Digest,
    },
    /// An unpacked layer is not what its listing says.
    #[error("damaged unpacked layer: `{}`: {reason}", diff_id.0)]
    Unpacked {
        /// The layer.
        diff_id: DiffId,
        /// What differs first.
        reason: String,
    },
}

impl Checked {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.store.problems.is_empty() && self.doubts.is_empty()
    }
}

/// Reads everything in the store.
///
/// # Errors
/// When a folder of the store cannot be listed.
pub fn check(workshop: &Workshop) -> Result<Checked, StoreError> {
    let report = fsck::fsck(&workshop.store)?;
    let damaged: BTreeSet<Digest> = report
        .problems
        .iter()
        .filter_map(|problem| match problem {
            Problem::BlobDamaged { digest, .. } => Some(*digest),
            _ => None,
        })
        .collect();
    let mut checked = Checked { store: report, doubts: Vec::new(), unpacked: 0 };
    // A list that cannot be read was reported.
    for image in workshop.store.names().list().unwrap_or_default() {
        checked.doubts.extend(doubt_of(workshop, &image, &damaged)?);
    }
    let layers = layers_by_directory(workshop)?;
    for entry in workshop.store.snapshots().list()? {
        checked.unpacked += 1;
        let layer = layers.get(&entry.diff_id);
        if let Some(reason) = layer.and_then(|layer| unpacked::difference(workshop, layer, &entry.diff_id)) {
            checked.doubts.push(Doubt::Unpacked { diff_id: entry.diff_id, reason });
        }
        // To look at it is no use of it.
        workshop.store.snapshots().restore_last_used(&entry);
    }
    Ok(checked)
}

fn doubt_of(
    workshop: &Workshop,
    image: &NamedImage,
    damaged: &BTreeSet<Digest>,
) -> Result<Option<Doubt>, StoreError> {
    let store = &workshop.store;
    let digest = image.descriptor.digest;
    let name = image.reference.as_ref().map(|name| name.familiar()).or_else(|| image.foreign_name.clone());
    if !store.blobs().contains(&digest)? {
        return Ok(None); // The store reports it.
    }
    let incomplete =
        |blob: Digest, is_damaged| Doubt::Incomplete { name: name.clone(), image: digest, blob, is_damaged };
    if damaged.contains(&digest) {
        return Ok(Some(incomplete(digest, true)));
    }
    let Ok(needed) = needs(store.blobs(), &image.descriptor) else {
        return Ok(Some(Doubt::Unreadable { name, image: digest }));
    };
    if let Some(blob) = needed.iter().find(|blob| damaged.contains(*blob)) {
        return Ok(Some(incomplete(*blob, true)));
    }
    for blob in needed {
        if !store.blobs().contains(&blob)? && !can_be_fetched(workshop, &image.descriptor, &blob) {
            return Ok(Some(incomplete(blob, false)));
        }
    }
    Ok(None)
}

/// Whether a blob that is not here is no loss: layers of base images are fetched when they are needed, and of an image for
/// several platforms only some are here.
fn can_be_fetched(workshop: &Workshop, image: &Descriptor, blob: &Digest) -> bool {
    image.media_type.is_index() || !origins(&workshop.store, blob).is_empty()
}

/// Moves away what a check found. What only the user can mend stays.
///
/// # Errors
/// What the disk says.
pub fn mend(workshop: &Workshop, checked: &Checked) -> Result<usize, StoreError> {
    let mut mended = fsck::mend(&workshop.store, &checked.store)?;
    for doubt in &checked.doubts {
        if let Doubt::Unpacked { diff_id, .. } = doubt {
            mended += usize::from(fsck::remove_snapshot(&workshop.store, diff_id)?);
        }
    }
    Ok(mended)
}
