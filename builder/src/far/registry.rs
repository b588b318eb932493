//! A cache in a repository. An entry is a manifest, so that the registry's own garbage collection keeps the blobs it names; the
//! document is its configuration and stands in its `data` as well, so that reading an entry is one request.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use kiln_oci::{Descriptor, Digest, Document, Manifest, MediaType, Reference};
use kiln_registry::{ProgressSink, Upload};
use kiln_store::{Partial, StoreError};

use super::gather::gather;
use super::outgoing::open_bytes;
use super::upload::push_blob;
use super::{EntryKind, FarError};
use crate::boxed::boxed;
use crate::lanes::blocking;
use crate::request::RepositoryCache;
use crate::workshop::Workshop;

/// Longest document that stands in the manifest itself, which may have 4 MiB.
const EMBEDDED_BYTES_MAX: usize = 1 << 20;

/// How often a manifest is put again that a registry refused for a reason of the moment.
const PUTS_MAX: u32 = 5;
const PUT_AGAIN_AFTER: Duration = Duration::from_millis(50);

pub(super) async fn get(
    workshop: &Workshop,
    cache: &RepositoryCache,
    kind: EntryKind,
    name: &str,
) -> Result<Option<Bytes>, FarError> {
    let Some(found) = workshop.registry.resolve_upstream(&cache.tagged(name)).await? else {
        return Ok(None);
    };
    let damaged = |reason: &str| FarError::Entry { name: name.to_owned(), reason: reason.to_owned() };
    let manifest = Document::<Manifest>::parse(found.bytes);
    let config = manifest.map_err(|error| damaged(&error.to_string()))?.into_value().config;
    if config.media_type.as_str() != kind.media_type {
        return Err(damaged("it is an image, and no entry of a cache"));
    }
    if config.size > kind.bytes_max {
        return Err(FarError::too_large(name));
    }
    let document = match &config.data {
        Some(data) => Bytes::from(STANDARD.decode(data).map_err(|_| damaged("its data is not base64"))?),
        None => {
            // Without what else a configuration may say.
            let blob = Descriptor::new(config.media_type.clone(), config.digest, config.size);
            read(workshop, cache, &blob).await?
        }
    };
    if document.len() as u64 != config.size || Digest::of(&document) != config.digest {
        return Err(damaged("its data is not what its digest says"));
    }
    Ok(Some(document))
}

pub(super) async fn read(
    workshop: &Workshop,
    cache: &RepositoryCache,
    blob: &Descriptor,
) -> Result<Bytes, FarError> {
    gather(&blob.digest, workshop.registry.blob(cache.repository(), blob)?.into_stream()).await
}

pub(super) async fn write(
    workshop: &Workshop,
    cache: &RepositoryCache,
    blob: &Descriptor,
    bytes: Bytes,
) -> Result<(), FarError> {
    let open = |offset| open_bytes(&bytes, offset);
    Ok(workshop.registry.push_blob(Upload::new(cache.repository(), blob, &open)).await?)
}

pub(super) async fn put(
    workshop: &Workshop,
    cache: &RepositoryCache,
    (kind, name): (EntryKind, &str),
    document: Bytes,
    blobs: &[Descriptor],
) -> Result<(), FarError> {
    let media_type = MediaType::new(kind.media_type);
    let mut config = Descriptor::new(media_type, Digest::of(&document), document.len() as u64);
    let open = |offset| open_bytes(&document, offset);
    workshop.registry.push_blob(Upload::new(cache.repository(), &config, &open)).await?;
    if document.len() <= EMBEDDED_BYTES_MAX {
        config.data = Some(STANDARD.encode(&document));
    }
    let manifest = Document::write(Manifest::oci(config, blobs.to_vec()));
    let target = cache.tagged(name);
    let mut attempts = 0;
    loop {
        let bytes = manifest.bytes().clone();
        match workshop.registry.push_manifest(&target, &MediaType::OCI_MANIFEST, bytes).await {
            Ok(_) => return Ok(()),
            Err(error) if is_of_a_moment(&error) && attempts < PUTS_MAX => {
                attempts += 1;
                tokio::time::sleep(PUT_AGAIN_AFTER * attempts).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether a registry may have looked at one of its own files while another request wrote it: `docker-registry` 2.8 on a file
/// system then finds an empty link, and says that a digest is invalid, or a blob that was just sent unknown.
fn is_of_a_moment(error: &kiln_registry::Error) -> bool {
    let codes = ["DIGEST_INVALID", "BLOB_UNKNOWN", "MANIFEST_BLOB_UNKNOWN"];
    matches!(error, kiln_registry::Error::Status { code: Some(code), .. } if codes.contains(&code.as_str()))
}

pub(super) async fn adopt(
    workshop: &Workshop,
    cache: &RepositoryCache,
    blob: &Descriptor,
    from: &[Reference],
) -> Result<bool, FarError> {
    let to = cache.repository();
    let is_other =
        |origin: &&Reference| origin.registry() == to.registry() && origin.repository() != to.repository();
    for origin in from.iter().filter(is_other) {
        match workshop.registry.mount(to, &blob.digest, origin.repository()).await {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            // Perhaps this user may not read there any more; then the blob goes the long way.
            Err(error) if error.is_unauthorized() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}

pub(super) async fn send(
    workshop: &Workshop,
    cache: &RepositoryCache,
    blob: &Descriptor,
    sink: ProgressSink,
) -> Result<(), FarError> {
    Ok(push_blob(workshop, cache.repository(), blob, sink).await?)
}

/// Why a registry's blob did not come into the store.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The registry does not give it.
    #[error(transparent)]
    Registry(#[from] Box<kiln_registry::Error>),
    /// The store cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

boxed!(ReceiveError { Registry: kiln_registry::Error });

pub(super) async fn fetch(
    workshop: &Workshop,
    cache: &RepositoryCache,
    blob: &Descriptor,
    sink: ProgressSink,
) -> Result<(), FarError> {
    receive(workshop, cache.repository(), blob, sink).await.map_err(|error| match error {
        ReceiveError::Registry(error) if error.is_not_found() => FarError::Missing { digest: blob.digest },
        ReceiveError::Registry(error) => FarError::Registry(error),
        ReceiveError::Store(error) => FarError::Store(error),
    })
}

/// Brings a blob from the repository of `reference`, or a mirror of it, into the store. What an earlier attempt left is continued.
///
/// # Errors
/// [`ReceiveError`].
pub async fn receive(
    workshop: &Workshop,
    reference: &Reference,
    blob: &Descriptor,
    sink: ProgressSink,
) -> Result<(), ReceiveError> {
    let (blobs, digest, size) = (workshop.store.blobs().clone(), blob.digest, blob.size);
    // May wait for another process that fetches the same blob now.
    let mut partial = match blocking(move || blobs.partial(&digest, size)).await? {
        Partial::There => return Ok(()),
        Partial::Resume(partial) => partial,
    };
    let stream = workshop.registry.blob(reference, blob)?;
    let mut stream = stream.resume(partial.len_bytes(), partial.hasher()).on_progress(sink);
    loop {
        match stream.next_chunk().await {
            // The stream has hashed it.
            Ok(Some(chunk)) => match stream.checkpoint() {
                Some((_, hasher)) => partial.append_hashed(&chunk, hasher)?,
                None => partial.append(&chunk)?,
            },
            Ok(None) => break,
            Err(error) => {
                if matches!(error, kiln_registry::Error::Verify { .. }) {
                    partial.restart()?;
                }
                stream.start_over(error).await?;
            }
        }
    }
    Ok(blocking(move || partial.commit()).await?)
}
