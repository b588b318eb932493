//! Which caches that builders share were said to hold a layer: the record `far` under its blob's digest.

use kiln_oci::{DiffId, Digest};
use kiln_store::{Lookup, Store, StoreError};

use crate::cache_place::{CachePlace, StoredPlace};
use crate::rootfs::Layer;

const FAR: &str = "far";
/// Most places that are remembered for a blob.
const PLACES_MAX: usize = 8;

/// What an entry of a cache said of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Where the cache is.
    pub place: CachePlace,
    /// Which layer it is, if the entry is right.
    pub diff_id: DiffId,
}

/// Returns what entries of caches said of a blob, the latest first.
pub fn claims(store: &Store, digest: &Digest) -> Vec<Claim> {
    // Without the record the layer is made again.
    let Some(record) = store.records().get(FAR, digest).ok().and_then(Lookup::hit) else {
        return Vec::new();
    };
    let stored: Vec<(StoredPlace, DiffId)> = postcard::from_bytes(&record.payload).unwrap_or_default();
    stored
        .iter()
        .filter_map(|(place, diff_id)| Some(Claim { place: place.place()?, diff_id: *diff_id }))
        .collect()
}

/// Remembers that an entry of the cache at `place` names the layer, or that it was written there.
///
/// # Errors
/// When the store cannot be written.
pub fn remember_claim(store: &Store, layer: &Layer, place: &CachePlace) -> Result<(), StoreError> {
    let digest = &layer.blob.digest;
    let claim = Claim { place: place.clone(), diff_id: layer.diff_id };
    let mut claims = claims(store, digest);
    if claims.first() == Some(&claim) {
        return Ok(());
    }
    claims.retain(|known| known.place != *place);
    claims.insert(0, claim);
    claims.truncate(PLACES_MAX);
    write(store, digest, &claims)
}

/// Forgets what an entry of the cache at `place` said of the blob.
///
/// # Errors
/// When the store cannot be written.
pub fn forget_claim(store: &Store, digest: &Digest, place: &CachePlace) -> Result<(), StoreError> {
    let mut claims = claims(store, digest);
    claims.retain(|known| known.place != *place);
    write(store, digest, &claims)
}

fn write(store: &Store, digest: &Digest, claims: &[Claim]) -> Result<(), StoreError> {
    let stored = |claim: &Claim| Some((StoredPlace::of(&claim.place)?, claim.diff_id));
    let stored: Vec<(StoredPlace, DiffId)> = claims.iter().filter_map(stored).collect();
    let payload = postcard::to_stdvec(&stored).expect("names serialize to memory");
    store.records().put(FAR, digest, &payload, &[])
}
