//! To a registry: layers and configuration → manifest → index, each document only after what it names.
//!
//! For every blob, in this order: the registry has it; it can be mounted from another repository of the same registry; it is in
//! the store; it is fetched from where it is known to be. A base image's layers thus often never come to this machine.

use std::sync::Arc;

use bytes::Bytes;
use kiln_oci::validate::DOCUMENT_SIZE_MAX;
use kiln_oci::{Descriptor, Digest, Reference};

use super::ExportError;
use super::whole::{Whole, gather};
use crate::blobs;
use crate::far::{push_blob, sink};
use crate::lanes::blocking;
use crate::progress::{LayerStage, Progress, ProgressEvent};
use crate::workshop::Workshop;

/// What was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// Digest of the manifest or index.
    pub digest: Digest,
    /// Its size in bytes.
    pub size_bytes: u64,
}

/// Pushes an image to the repository of `name` and gives it the name's tag there.
///
/// # Errors
/// [`ExportError`]: what is missing, or what the registry says.
pub async fn push(
    workshop: &Arc<Workshop>,
    image: &Descriptor,
    name: &Reference,
    progress: &Arc<dyn Progress>,
) -> Result<Pushed, ExportError> {
    let (own, descriptor) = (Arc::clone(workshop), image.clone());
    let whole = blocking(move || gather(&own.store, &descriptor)).await?;
    if whole.top.digest != image.digest {
        let message = format!("only the part of index `{}` that is in the store is pushed", image.digest);
        progress.on(&ProgressEvent::Warning { message: &message });
    }
    let pusher = Pusher { workshop, name, progress };
    let layers: Vec<_> = whole.layers.values().filter(|layer| !layer.media_type.is_foreign()).collect();
    for layer in &layers {
        pusher.tell(layer, LayerStage::Pushing);
    }
    let layers = futures_util::future::try_join_all(layers.into_iter().map(|layer| pusher.layer(layer)));
    let configs =
        futures_util::future::try_join_all(whole.configs.values().map(|config| pusher.blob(config)));
    futures_util::future::try_join(layers, configs).await?;
    pusher.documents(&whole).await?;
    let digests: Vec<Digest> = whole.blobs().into_keys().collect();
    let (own, repository) = (Arc::clone(workshop), name.clone());
    blocking(move || blobs::remember_origin(&own.store, &repository, &digests)).await?;
    Ok(Pushed { digest: whole.top.digest, size_bytes: whole.top.size })
}

struct Pusher<'a> {
    workshop: &'a Arc<Workshop>,
    name: &'a Reference,
    progress: &'a Arc<dyn Progress>,
}

/// How a blob came to be in the repository.
enum Arrival {
    /// It was there.
    Before,
    /// It was mounted from this repository.
    Mounted(String),
    /// It was sent.
    Sent,
}

impl Pusher<'_> {
    /// Pushes a layer, and tells how it came there.
    async fn layer(&self, layer: &Descriptor) -> Result<(), ExportError> {
        match self.blob(layer).await? {
            Arrival::Before => self.tell(layer, LayerStage::ExistsThere),
            Arrival::Mounted(from) => self.tell(layer, LayerStage::Mounted { from: &from }),
            Arrival::Sent => self.tell(layer, LayerStage::Pushed),
        }
        Ok(())
    }

    fn tell(&self, layer: &Descriptor, stage: LayerStage<'_>) {
        self.progress.on(&ProgressEvent::Layer { blob: layer.digest, stage });
    }

    async fn blob(&self, blob: &Descriptor) -> Result<Arrival, ExportError> {
        let workshop = self.workshop;
        if let Some(arrival) = workshop.lanes.net(self.without_sending(blob)).await? {
            self.progress.on(&ProgressEvent::Transfer {
                what: &format!("pushing {}", self.name.familiar_name()),
                blob: blob.digest,
                done: blob.size,
                total: blob.size,
            });
            return Ok(arrival);
        }
        // Takes a transfer of its own, so it must not hold one.
        blobs::fetch(workshop, blob, self.progress).await?;
        let sink = sink(&self.name.familiar_name(), blob.digest, self.progress);
        let upload = push_blob(workshop, self.name, blob, sink);
        workshop.lanes.net(upload).await.map_err(|error| self.failed(error))?;
        Ok(Arrival::Sent)
    }

    /// Returns how the repository has a blob, perhaps after mounting it; `None` when it must be sent.
    async fn without_sending(&self, blob: &Descriptor) -> Result<Option<Arrival>, ExportError> {
        let registry = &self.workshop.registry;
        if registry.blob_exists(self.name, &blob.digest).await.map_err(|error| self.failed(error))? {
            return Ok(Some(Arrival::Before));
        }
        for origin in blobs::mountable(&self.workshop.store, &blob.digest) {
            let is_other =
                origin.registry() == self.name.registry() && origin.repository() != self.name.repository();
            if !is_other {
                continue;
            }
            match registry.mount(self.name, &blob.digest, origin.repository()).await {
                Ok(true) => return Ok(Some(Arrival::Mounted(origin.repository().to_owned()))),
                Ok(false) => {}
                // Perhaps this user may not read there any more; then the blob goes the long way.
                Err(error) if error.is_unauthorized() => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        Ok(None)
    }

    async fn documents(&self, whole: &Whole) -> Result<(), ExportError> {
        for document in &whole.documents {
            let store = self.workshop.store.clone();
            let digest = document.digest;
            let bytes = blocking(move || store.blobs().read_bytes(&digest, DOCUMENT_SIZE_MAX)).await?;
            let is_top = digest == whole.top.digest;
            let target = if is_top { self.target() } else { self.name.with_digest(digest) };
            let registry = &self.workshop.registry;
            let push = registry.push_manifest(&target, &document.media_type, Bytes::from(bytes));
            self.workshop.lanes.net(push).await.map_err(|error| self.failed(error))?;
        }
        Ok(())
    }

    fn target(&self) -> Reference {
        self.name.or_latest()
    }

    fn failed(&self, source: kiln_registry::Error) -> ExportError {
        ExportError::Registry { reference: self.name.clone(), source: Box::new(source) }
    }
}
