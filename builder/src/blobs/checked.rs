//! Whether a blob of the store is the layer that an entry of a cache says it is. That takes reading it to its end, so it is done
//! once: the record `diff-id` under the blob's digest says what came out.

use std::io::BufReader;

use kiln_layer::compress::decompress_layer;
use kiln_layer::tar::read::Limits;
use kiln_oci::DiffId;
use kiln_store::{Lookup, Store};

use crate::far::FarError;
use crate::rootfs::Layer;
use crate::workshop::Workshop;

const DIFF_IDS: &str = "diff-id";
const READ_BYTES: usize = 1 << 17;

/// Finds out whether a blob of the store is the layer that an entry of a cache says it is. Images name layers by both digests, so
/// one that nobody has compared must not get into one.
///
/// # Errors
/// [`FarError::NoLayer`] when it is not, or what the store says.
pub async fn check_layer(workshop: &Workshop, layer: &Layer) -> Result<(), FarError> {
    let (store, layer) = (workshop.store.clone(), layer.clone());
    workshop.lanes.cpu(move || check(&store, &layer)).await
}

fn check(store: &Store, layer: &Layer) -> Result<(), FarError> {
    let digest = layer.blob.digest;
    let no_layer = |reason: String| FarError::NoLayer { digest, reason };
    let known = known(store, layer);
    let actual = match known {
        Some(diff_id) => diff_id,
        None => {
            let reader = BufReader::with_capacity(READ_BYTES, store.blobs().open(&digest)?);
            let plain = decompress_layer(reader, layer.blob.media_type.layer_compression());
            let plain = plain.map_err(|error| no_layer(error.to_string()))?;
            let read = kiln_layer::read_listing(plain, Limits::default());
            read.map_err(|error| no_layer(error.to_string()))?.listing.diff_id
        }
    };
    if known.is_none() {
        let payload = postcard::to_stdvec(&(layer.blob.media_type.as_str(), actual));
        let payload = payload.expect("records serialize to memory");
        // Without the record the blob is read again.
        store.records().put(DIFF_IDS, &digest, &payload, &[]).ok();
    }
    match actual == layer.diff_id {
        true => Ok(()),
        false => Err(no_layer(format!("its diff id is `{actual}`, and not `{}`", layer.diff_id))),
    }
}

/// Returns the diff id of a blob that was read before as what the entry says it is: the compression must be that of the media type.
fn known(store: &Store, layer: &Layer) -> Option<DiffId> {
    // Whatever is wrong with a record, nothing is known then.
    let record = store.records().get(DIFF_IDS, &layer.blob.digest).ok().and_then(Lookup::hit)?;
    let (media_type, diff_id): (String, DiffId) = postcard::from_bytes(&record.payload).ok()?;
    (media_type == layer.blob.media_type.as_str()).then_some(diff_id)
}

#[cfg(test)]
mod tests {
    use kiln_oci::{Descriptor, Digest, MediaType};

    use super::*;

    #[test]
    fn a_layer_is_read_once_and_another_media_type_is_another_question() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        // An archive without members, as it is.
        let bytes = [0; 1024];
        let digest = store.blobs().put_bytes(&bytes).unwrap();
        let layer = |media_type, diff_id| Layer {
            diff_id: DiffId(diff_id),
            blob: Descriptor::new(media_type, digest, bytes.len() as u64),
        };
        let right = layer(MediaType::OCI_LAYER, digest);
        let wrong = layer(MediaType::OCI_LAYER, Digest::of(b"other"));
        let damage = || std::fs::write(folder.path().join("blobs/sha256").join(digest.hex()), "x").unwrap();
        assert!(check(&store, &wrong).is_err());
        damage();
        // It is not read any more.
        assert!(check(&store, &right).is_ok() && check(&store, &wrong).is_err());
        assert!(check(&store, &layer(MediaType::OCI_LAYER_GZIP, digest)).is_err());
    }
}
