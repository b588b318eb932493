//! Blobs of layers, here or at a registry: where they can be had, and fetching them when they are needed.
//!
//! A base image's layers are fetched when a step must read them or an exporter must write them, and not before. What a
//! registry was seen to hold is recorded under the blob's digest (`origin`), which also serves to mount blobs across
//! repositories when an image is pushed.

mod foreign;

use std::sync::Arc;

use kiln_oci::{Descriptor, Digest, Reference};
use kiln_registry::ProgressSink;
use kiln_store::{Lookup, Partial, Store, StoreError};

use crate::lanes::blocking;
use crate::progress::{Progress, ProgressEvent};
use crate::rootfs::Layer;
use crate::workshop::Workshop;
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
    /// A layer that registries do not distribute, and nobody else gives either.
    #[error(transparent)]
    Foreign(#[from] ForeignError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whether a layer can be had: its blob is in the store, and held there from now on, or a registry or address is known to have it.
pub fn is_available(store: &Store, layer: &Layer) -> bool {
    // A store that cannot answer is no reason to fail: the step is done again, and that will say what is wrong.
    // One that was cut short counts as missing; other damage shows when it is read.
    let digest = &layer.blob.digest;
    (matches!(store.blobs().hold(digest), Ok(true))
        && matches!(store.blobs().size(digest), Ok(Some(size)) if size == layer.blob.size))
        || !origins(store, &layer.blob.digest).is_empty()
        || foreign::has_address(&layer.blob)
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

/// Brings a blob into the store, if it is not there, from the first repository that gives it. A layer that registries do not
/// distribute comes from the addresses that its image names, if they give it.
///
/// # Errors
/// [`FetchError`] of the last repository or address asked.
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
    Err(failure)
}

/// Brings the blobs of layers into the store, side by side.
///
/// # Errors
/// [`FetchError`] of the first that cannot be had.
pub async fn fetch_layers(
    workshop: &Workshop,
    layers: &[Layer],
    progress: &Arc<dyn Progress>,
) -> Result<(), FetchError> {
    let fetches = layers.iter().map(|layer| fetch(workshop, &layer.blob, progress));
    futures_util::future::try_join_all(fetches).await.map(drop)
}

async fn fetch_from(
    workshop: &Workshop,
    reference: &Reference,
    blob: &Descriptor,
    progress: &Arc<dyn Progress>,
) -> Result<(), FetchError> {
    let failed = |source: kiln_registry::Error| FetchError::Registry {
        digest: blob.digest,
        reference: Box::new(reference.clone()),
        source: Box::new(source),
    };
    let (blobs, digest, size) = (workshop.store.blobs().clone(), blob.digest, blob.size);
    // May wait for another process that fetches the same blob now.
    let mut partial = match blocking(move || blobs.partial(&digest, size)).await? {
        Partial::There => return Ok(()),
        Partial::Resume(partial) => partial,
    };
    loop {
        let offset = partial.len_bytes();
        let stream = workshop.registry.blob(reference, blob).map_err(failed)?;
        let mut stream =
            stream.resume(offset, partial.hasher()).on_progress(sink(reference, blob.digest, progress));
        let outcome = loop {
            match stream.next_chunk().await {
                Ok(Some(chunk)) => partial.append(&chunk)?,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        match outcome {
            Ok(()) => break,
            // What an earlier attempt left was not the beginning of this blob: start over, once.
            Err(error) if offset > 0 && matches!(error, kiln_registry::Error::Verify { .. }) => {
                partial.restart()?
            }
            Err(error) => return Err(failed(error)),
        }
    }
    blocking(move || partial.commit()).await?;
    Ok(())
}

/// Returns a sink that passes a blob's bytes on as events.
pub fn sink(reference: &Reference, digest: Digest, progress: &Arc<dyn Progress>) -> ProgressSink {
    let (progress, what) = (Arc::clone(progress), reference.familiar_name());
    Arc::new(move |done, total| {
        progress.on(&ProgressEvent::Transfer { what: &what, blob: digest, done, total })
    })
}
