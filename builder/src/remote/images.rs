//! The documents of an image at a registry or in files: all of them, or those of one platform. Their size together is bounded.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use kiln_oci::validate::INDEX_DEPTH_MAX;
use kiln_oci::{Descriptor, Digest, Document, Index, Manifest, Platform, Reference};
use kiln_registry::{Client, Resolved};

use super::RemoteError;
use super::origin::{Found, Origin};

/// Most bytes that the documents of one image may have together.
const DOCUMENTS_BYTES_MAX: usize = 64 << 20;
/// Most manifests and indexes of one image.
const DOCUMENTS_MAX: usize = 1000;
/// Documents that are asked for at once.
const ASKED_AT_ONCE: usize = 4;

/// One document of an image, as it is where it came from.
#[derive(Debug, Clone)]
pub struct RemoteDocument {
    /// What it is.
    pub descriptor: Descriptor,
    /// Its bytes.
    pub bytes: Bytes,
    /// Its configuration and layers, of a manifest.
    pub blobs: Vec<Descriptor>,
}

/// Returns the manifest or index that a name leads to, byte for byte.
///
/// # Errors
/// [`RemoteError::Read`].
pub async fn manifest(client: &Client, reference: &Reference) -> Result<Resolved, RemoteError> {
    client.resolve(reference).await.map_err(RemoteError::read(reference))
}

/// Returns all documents of an image at a registry, each before what refers to it; with a platform, its manifest alone.
///
/// # Errors
/// [`RemoteError`]: what the registry says, what is wrong with a document, or that there is none for the platform.
pub async fn documents(
    client: &Client,
    from: &Reference,
    platform: Option<&Platform>,
) -> Result<Vec<RemoteDocument>, RemoteError> {
    let origin = Origin::Registry { client: client.clone(), name: from.clone() };
    let top = origin.top().await?;
    documents_of(&origin, top, platform).await
}

/// Returns all documents below and with `top`, each before what refers to it; with a platform, its manifest alone.
///
/// # Errors
/// As for [`documents`].
pub(super) async fn documents_of(
    origin: &Origin,
    mut top: Found,
    platform: Option<&Platform>,
) -> Result<Vec<RemoteDocument>, RemoteError> {
    if let Some(platform) = platform {
        top = for_platform(origin, top, platform).await?;
    }
    let mut gathered = Gathered { origin, documents: Vec::new(), seen: BTreeSet::new(), bytes: 0 };
    // From the top down, floor by floor; what was found later is sent earlier.
    let mut floor = vec![gathered.add(top)?];
    for _ in 0..=INDEX_DEPTH_MAX {
        let next: Vec<Descriptor> = floor.into_iter().flatten().collect();
        if next.is_empty() {
            return Ok(gathered.in_order());
        }
        floor = gathered.fetch(next).await?;
    }
    Err(too_deep(origin))
}

struct Gathered<'a> {
    origin: &'a Origin,
    documents: Vec<RemoteDocument>,
    seen: BTreeSet<Digest>,
    bytes: usize,
}

impl Gathered<'_> {
    /// Fetches documents that were not seen yet; returns what they refer to.
    async fn fetch(&mut self, wanted: Vec<Descriptor>) -> Result<Vec<Vec<Descriptor>>, RemoteError> {
        let is_document = |entry: &Descriptor| entry.media_type.is_manifest() || entry.media_type.is_index();
        let mut asked = Vec::new();
        for entry in wanted.into_iter().filter(is_document) {
            if self.seen.insert(entry.digest) {
                asked.push(entry);
            }
        }
        if self.seen.len() > DOCUMENTS_MAX {
            return Err(too_large(self.origin, format!("has more than {DOCUMENTS_MAX} manifests")));
        }
        let origin = self.origin;
        let ask = |entry: Descriptor| async move { origin.document(&entry).await };
        let answers = futures_util::stream::iter(asked).map(ask).buffered(ASKED_AT_ONCE);
        futures_util::pin_mut!(answers);
        let mut below = Vec::new();
        while let Some(found) = answers.try_next().await? {
            below.push(self.add(found)?);
        }
        Ok(below)
    }

    /// Takes a document in; returns the documents that it refers to.
    fn add(&mut self, found: Found) -> Result<Vec<Descriptor>, RemoteError> {
        let Found { descriptor, bytes } = found;
        self.seen.insert(descriptor.digest);
        self.bytes += bytes.len();
        if self.bytes > DOCUMENTS_BYTES_MAX {
            let reason = format!("has more than {DOCUMENTS_BYTES_MAX} bytes of manifests");
            return Err(too_large(self.origin, reason));
        }
        let (below, blobs) = match descriptor.media_type.is_index() {
            true => (index(self.origin, &bytes)?.manifests, Vec::new()),
            false => {
                let manifest = Document::<Manifest>::parse(bytes.clone());
                let manifest = manifest.map_err(|source| malformed(self.origin, source))?.into_value();
                (Vec::new(), std::iter::once(manifest.config).chain(manifest.layers).collect())
            }
        };
        self.documents.push(RemoteDocument { descriptor, bytes, blobs });
        Ok(below)
    }

    fn in_order(self) -> Vec<RemoteDocument> {
        // An index may name a manifest that lies deeper elsewhere, too: manifests go first, whatever the floor.
        let (indexes, manifests): (Vec<_>, Vec<_>) =
            self.documents.into_iter().rev().partition(|document| document.descriptor.media_type.is_index());
        manifests.into_iter().chain(indexes).collect()
    }
}

/// Follows indexes to the manifest for a platform.
async fn for_platform(origin: &Origin, mut top: Found, platform: &Platform) -> Result<Found, RemoteError> {
    for _ in 0..=INDEX_DEPTH_MAX {
        if !top.descriptor.media_type.is_index() {
            return Ok(top);
        }
        let index = index(origin, &top.bytes)?;
        let Some(entry) = index.select(platform) else {
            let platforms = index.manifests.iter().filter_map(|entry| entry.platform.as_ref());
            let available: Vec<String> = platforms.map(Platform::to_string).collect();
            return Err(RemoteError::Platform {
                image: origin.to_string(),
                wanted: Box::new(platform.clone()),
                available: if available.is_empty() { "no platform".to_owned() } else { available.join(", ") },
            });
        };
        top = origin.document(entry).await?;
    }
    Err(too_deep(origin))
}

fn index(origin: &Origin, bytes: &Bytes) -> Result<Index, RemoteError> {
    let index = Document::<Index>::parse(bytes.clone());
    Ok(index.map_err(|source| malformed(origin, source))?.into_value())
}

fn malformed(origin: &Origin, source: kiln_oci::DocumentError) -> RemoteError {
    RemoteError::Document { image: origin.to_string(), source }
}

fn too_deep(origin: &Origin) -> RemoteError {
    too_large(origin, format!("has indexes that are nested more than {INDEX_DEPTH_MAX} deep"))
}

fn too_large(origin: &Origin, reason: String) -> RemoteError {
    RemoteError::TooLarge { image: origin.to_string(), reason }
}
