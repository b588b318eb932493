//! How large the files of layers are: what Docker shows as the size of an image.
//!
//! That is known of a layer that was read. One that was only pulled is read when somebody asks for the first time, since a pull hashes
//! what comes and decompresses nothing. What was found is kept under the layer's blob, and stays as long as an image needs that,
//! whatever a prune takes: an image has the same size all its life.

use kiln_oci::Digest;
use kiln_store::Lookup;

use crate::layers::listing;
use crate::rootfs::Layer;
use crate::workshop::Workshop;

const SIZES: &str = "size";

/// Returns the size of a layer's files in bytes; that of its blob where it cannot be read, because it is damaged or not here.
pub(super) fn size_of(workshop: &Workshop, layer: &Layer) -> u64 {
    let blob = &layer.blob;
    if let Some(size) = known(workshop, &blob.digest) {
        return size;
    }
    if blob.media_type.is_foreign() {
        return blob.size;
    }
    let Ok(listing) = listing(workshop, layer) else { return blob.size };
    let size = listing.content_bytes();
    let payload = postcard::to_stdvec(&size).expect("a number serializes to memory");
    // Whoever may only read the store finds it out again.
    let _kept = workshop.store.records().put(SIZES, &blob.digest, &payload, &[]);
    size
}

fn known(workshop: &Workshop, blob: &Digest) -> Option<u64> {
    let record = workshop.store.records().get(SIZES, blob).ok().and_then(Lookup::hit)?;
    postcard::from_bytes(&record.payload).ok()
}
