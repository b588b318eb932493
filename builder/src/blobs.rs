//! Blobs of layers, here or at a registry: where they can be had, and fetching them when they are needed.
//!
//! A base image's layers are fetched when a step must read them or an exporter must write them, and not before. What a
//! registry was seen to hold is recorded under the blob's digest (`origin`), which also serves to mount blobs across
//! repositories when an image is pushed. What a cache that builders share was said to hold is recorded apart (`far`): that is a
//! promise, and when it is not kept the layer is made again.

mod checked;
mod claims;
mod foreign;

use std::sync::Arc;

use kiln_oci::{Descriptor, Digest, Reference};
use kiln_store::{Lookup, Store, StoreError};

use crate::cache_place::CachePlace;
use crate::doubts::{Doubt, Doubts};
use crate::far::{Far, FarError, ReceiveError, receive, sink};
use crate::progress::Progress;
use crate::rootfs::Layer;
use crate::workshop::Workshop;
pub use checked::check_layer;
pub use claims::{Claim, claims, forget_claim, remember_claim};
pub use foreign::ForeignError;

const ORIGINS: &str = "origin";
/// Most repositories that are remembered for a blob.
const ORIGINS_MAX: usize = 16;

/// Why a blob could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Neither the store nor any registry known to this store has it.
    #[error("blob `{digest}` is neither in the store nor known to be in any registry")]
    Unknown {
        /// The blob.
        digest: Digest,
    },
    /// The registry failed.
    #[error("cannot fetch blob `{digest}` of `{reference}`")]
    Registry {
        /// The blob.
        digest: Digest,
        /// The repository.
        reference: Box<Reference>,
        /// What the registry said.
        source: Box<kiln_registry::Error>,
    },
    /// A cache that was said to have it does not give it.
    #[error("cache `{place}` does not give blob `{digest}`")]
    Far {
        /// The blob.
        digest: Digest,
        /// The cache.
        place: Box<CachePlace>,
        /// What it did.
        source: Box<FarError>,
    },
    /// A layer that registries do not distribute, and nobody else gives either.
    #[error(transparent)]
    Foreign(#[from] ForeignError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whether a layer can be had: its blob is in the store, and held there from now on, or a registry, a cache or an address is known
/// to have it.
pub fn is_available(store: &Store, doubts: &Doubts, layer: &Layer) -> bool {
    let digest = &layer.blob.digest;
    let doubt = doubts.about(digest);
    if doubt == Some(Doubt::Wrong) {
        return false;
    }
    // A store that cannot answer is no reason to fail: the step is done again, and that will say what is wrong.
    // One that was cut short counts as missing; other damage shows when it is read.
    (matches!(store.blobs().hold(digest), Ok(true))
        && matches!(store.blobs().size(digest), Ok(Some(size)) if size == layer.blob.size))
        || !origins(store, digest).is_empty()
        || foreign::has_address(&layer.blob)
        || (doubt.is_none() && claims(store, digest).iter().any(|claim| doubts.may_ask(&claim.place)))
}

/// Returns the repositories that were seen to hold a blob, the latest first.
pub fn origins(store: &Store, digest: &Digest) -> Vec<Reference> {
    // Origins are hints: without them a blob is fetched or uploaded the long way.
    let Some(record) = store.records().get(ORIGINS, digest).ok().and_then(Lookup::hit) else {
        return Vec::new();
    };
    let names: Vec<String> = postcard::from_bytes(&record.payload).unwrap_or_default();
    names.iter().filter_map(|name| name.parse().ok()).collect()
}

/// Returns repositories that a blob may be mounted from: those that were seen to hold it, and those of caches.
pub fn mountable(store: &Store, digest: &Digest) -> Vec<Reference> {
    let caches = claims(store, digest).into_iter().filter_map(|claim| match claim.place {
        CachePlace::Registry(cache) => Some(cache.repository().clone()),
        CachePlace::Local(_) | CachePlace::S3(_) => None,
    });
    origins(store, digest).into_iter().chain(caches).collect()
}

/// Remembers that the repository of `reference` holds the blobs.
///
/// # Errors
/// When the store cannot be written.
pub fn remember_origin<'a>(
    store: &Store,
    reference: &Reference,
    digests: impl IntoIterator<Item = &'a Digest>,
) -> Result<(), StoreError> {
    let repository = repository_of(reference);
    for digest in digests {
        // Before the look: gc leaves what says where a held blob is, also while that is not here.
        store.blobs().hold(digest)?;
        let mut known: Vec<String> = origins(store, digest).iter().map(repository_of).collect();
        if known.first() == Some(&repository) {
            continue;
        }
        known.retain(|name| *name != repository);
        known.insert(0, repository.clone());
        known.truncate(ORIGINS_MAX);
        let payload = postcard::to_stdvec(&known).expect("names serialize to memory");
        store.records().put(ORIGINS, digest, &payload, &[])?;
    }
    Ok(())
}

fn repository_of(reference: &Reference) -> String {
    format!("{}/{}", reference.registry(), reference.repository())
}

/// Brings a blob into the store, if it is not there, from the first repository or cache that gives it. A layer that registries do
/// not distribute comes from the addresses that its image names, if they give it.
///
/// # Errors
/// [`FetchError`] of the last repository, cache or address asked.
pub async fn fetch(
    workshop: &Workshop,
    blob: &Descriptor,
    progress: &Arc<dyn Progress>,
) -> Result<(), FetchError> {
    if workshop.store.blobs().hold(&blob.digest)? {
        return Ok(());
    }
    let known = origins(&workshop.store, &blob.digest);
    let mut failure = FetchError::Unknown { digest: blob.digest };
    if blob.media_type.is_foreign() {
        match workshop.lanes.net(foreign::fetch(workshop, blob, progress)).await {
            Err(FetchError::Foreign(error)) => failure = error.into(),
            // Here, or something is wrong with the store.
            outcome => return outcome,
        }
    }
    for reference in known {
        match workshop.lanes.net(fetch_from(workshop, &reference, blob, progress)).await {
            Ok(()) => return Ok(()),
            // That a registry lacks a foreign layer says less than what its addresses said.
            Err(FetchError::Registry { .. }) if blob.media_type.is_foreign() => {}
            Err(error @ FetchError::Registry { .. }) => failure = error,
            Err(error) => return Err(error),
        }
    }
    for claim in claims(&workshop.store, &blob.digest) {
        if !workshop.doubts.may_ask(&claim.place) {
            continue;
        }
        match fetch_far(workshop, &claim, blob, progress).await {
            Ok(()) => return Ok(()),
            Err(error @ FetchError::Far { .. }) => failure = error,
            Err(error) => return Err(error),
        }
    }
    Err(failure)
}

/// Brings the blobs of layers into the store, side by side.
///
/// # Errors
/// [`FetchError`] of the first that cannot be had; the others were tried.
pub async fn fetch_layers(
    workshop: &Workshop,
    layers: &[Layer],
    progress: &Arc<dyn Progress>,
) -> Result<(), FetchError> {
    let fetches = layers.iter().map(|layer| fetch(workshop, &layer.blob, progress));
    futures_util::future::join_all(fetches).await.into_iter().collect()
}

async fn fetch_from(
    workshop: &Workshop,
    reference: &Reference,
    blob: &Descriptor,
    progress: &Arc<dyn Progress>,
) -> Result<(), FetchError> {
    let sink = sink(&reference.familiar_name(), blob.digest, progress);
    receive(workshop, reference, blob, sink).await.map_err(|error| match error {
        ReceiveError::Store(error) => error.into(),
        ReceiveError::Registry(source) => {
            FetchError::Registry { digest: blob.digest, reference: Box::new(reference.clone()), source }
        }
    })
}

/// Fetches from a cache. What that does not give as it said is not expected from it again.
async fn fetch_far(
    workshop: &Workshop,
    claim: &Claim,
    blob: &Descriptor,
    progress: &Arc<dyn Progress>,
) -> Result<(), FetchError> {
    let Claim { place, diff_id } = claim;
    let given = async {
        Far { workshop, place }.fetch(blob, progress).await?;
        check_layer(workshop, &Layer { diff_id: *diff_id, blob: blob.clone() }).await
    };
    let error = match workshop.lanes.net(given).await {
        Ok(()) => return Ok(()),
        Err(FarError::Store(error)) => return Err(error.into()),
        Err(error) => error,
    };
    let doubt = match &error {
        FarError::NoLayer { .. } => Doubt::Wrong,
        _ => Doubt::Absent,
    };
    workshop.doubts.blob(place, blob.digest, doubt);
    if error.is_about_one() {
        forget_claim(&workshop.store, &blob.digest, place)?;
    } else {
        workshop.doubts.place(place, error.trouble());
    }
    Err(FetchError::Far { digest: blob.digest, place: Box::new(place.clone()), source: Box::new(error) })
}
