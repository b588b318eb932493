//! A cache in a bucket: each entry and each blob is an object, which appears when it is whole.

use bytes::Bytes;
use kiln_oci::{Descriptor, Digest};
use kiln_registry::{ObjectUpload, ProgressSink};
use kiln_store::Partial;

use super::gather::gather;
use super::outgoing::open_at;
use super::seal::{sealed, sealed_bytes_max, unsealed};
use super::{EntryKind, FarError};
use crate::lanes::blocking;
use crate::request::BucketCache;
use crate::workshop::Workshop;

pub(super) async fn get(
    workshop: &Workshop,
    cache: &BucketCache,
    kind: EntryKind,
    name: &str,
) -> Result<Option<Bytes>, FarError> {
    let limit = usize::try_from(sealed_bytes_max(kind)).unwrap_or(usize::MAX);
    match workshop.registry.object(&cache.bucket, &entry_key(cache, name), limit).await? {
        Some(bytes) => unsealed(name, bytes).map(Some),
        None => Ok(None),
    }
}

pub(super) async fn has_entry(
    workshop: &Workshop,
    cache: &BucketCache,
    name: &str,
) -> Result<bool, FarError> {
    Ok(workshop.registry.object_size(&cache.bucket, &entry_key(cache, name)).await?.is_some())
}

pub(super) async fn put(
    workshop: &Workshop,
    cache: &BucketCache,
    name: &str,
    document: Bytes,
) -> Result<(), FarError> {
    let bytes = sealed(&document).into();
    Ok(workshop.registry.put_object(&cache.bucket, &entry_key(cache, name), bytes).await?)
}

pub(super) async fn has(
    workshop: &Workshop,
    cache: &BucketCache,
    blob: &Descriptor,
) -> Result<bool, FarError> {
    let size = workshop.registry.object_size(&cache.bucket, &blob_key(cache, &blob.digest)).await?;
    Ok(size == Some(blob.size))
}

pub(super) async fn fetch(
    workshop: &Workshop,
    cache: &BucketCache,
    blob: &Descriptor,
    sink: ProgressSink,
) -> Result<(), FarError> {
    let (blobs, digest, size) = (workshop.store.blobs().clone(), blob.digest, blob.size);
    // May wait for another process that fetches the same blob now.
    let mut partial = match blocking(move || blobs.partial(&digest, size)).await? {
        Partial::There => return Ok(()),
        Partial::Resume(partial) => partial,
    };
    // What an earlier attempt left may be of another place.
    partial.restart()?;
    let key = blob_key(cache, &digest);
    let mut stream = workshop.registry.object_stream(&cache.bucket, &key, size).on_progress(sink);
    loop {
        match stream.next_chunk().await {
            Ok(Some(chunk)) => partial.append(&chunk)?,
            Ok(None) => break,
            Err(error) if error.is_not_found() => return Err(FarError::Missing { digest }),
            Err(error) => return Err(error.into()),
        }
    }
    blocking(move || partial.commit()).await.map_err(|error| FarError::received(digest, error))
}

pub(super) async fn send(
    workshop: &Workshop,
    cache: &BucketCache,
    blob: &Descriptor,
    sink: ProgressSink,
) -> Result<(), FarError> {
    let (blobs, digest, key) = (workshop.store.blobs().clone(), blob.digest, blob_key(cache, &blob.digest));
    let open = move |offset| open_at(blobs.clone(), digest, offset);
    let (bucket, key) = (&cache.bucket, key.as_str());
    let upload = ObjectUpload { bucket, key, blob, open: &open, progress: Some(sink) };
    Ok(workshop.registry.upload_object(upload).await?)
}

pub(super) async fn read(
    workshop: &Workshop,
    cache: &BucketCache,
    blob: &Descriptor,
) -> Result<Bytes, FarError> {
    let key = blob_key(cache, &blob.digest);
    gather(&blob.digest, workshop.registry.object_stream(&cache.bucket, &key, blob.size).into_stream()).await
}

pub(super) async fn write(
    workshop: &Workshop,
    cache: &BucketCache,
    blob: &Descriptor,
    bytes: Bytes,
) -> Result<(), FarError> {
    Ok(workshop.registry.put_object(&cache.bucket, &blob_key(cache, &blob.digest), bytes).await?)
}

fn entry_key(cache: &BucketCache, name: &str) -> String {
    format!("{}{name}", cache.entries)
}

fn blob_key(cache: &BucketCache, digest: &Digest) -> String {
    format!("{}sha256/{}", cache.blobs, digest.hex())
}
