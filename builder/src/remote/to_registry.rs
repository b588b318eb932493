//! To a registry. For every blob, in this order: the repository has it; it is mounted from the source, where that is of the same
//! registry; it passes through ([`Passage`]). A manifest that is there has its blobs there.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt};
use kiln_oci::{Descriptor, Digest, Reference};
use kiln_registry::{Client, Upload};

use super::RemoteError;
use super::images::RemoteDocument;
use super::origin::Origin;
use super::passage::{Failure, Passage};
use crate::far::sink;
use crate::progress::{Progress, ProgressEvent};

/// Blobs that are copied at once. Each may take two of the five connections that a client opens to one host, one to write and one
/// to read: with four, those that write leave one for those that read, whatever the hosts are.
pub(super) const COPIED_AT_ONCE: usize = 4;

/// What became of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It was there.
    There,
    /// The registry took it from the other repository.
    Mounted,
    /// It passed through.
    Sent,
    /// It may not be distributed, and was left out.
    LeftOut,
}

/// Sends the documents of an image and their blobs, each document after what it names and the last under the name.
pub(super) async fn copy_to_registry(
    copier: &Copier<'_>,
    documents: &[RemoteDocument],
    top: &Descriptor,
) -> Result<BTreeMap<Digest, Fate>, RemoteError> {
    let blobs = copier.blobs(documents).await?;
    let Copier { client, to, .. } = copier;
    for document in documents {
        let is_top = document.descriptor.digest == top.digest;
        let name = if is_top { to.or_latest() } else { to.with_digest(document.descriptor.digest) };
        let push = client.push_manifest(&name, &document.descriptor.media_type, document.bytes.clone());
        push.await.map_err(RemoteError::write(&name))?;
    }
    Ok(blobs)
}

/// What blobs are copied with.
pub(super) struct Copier<'a> {
    pub(super) client: &'a Client,
    pub(super) from: &'a Origin,
    pub(super) to: &'a Reference,
    pub(super) progress: &'a Arc<dyn Progress>,
}

impl Copier<'_> {
    async fn blobs(&self, documents: &[RemoteDocument]) -> Result<BTreeMap<Digest, Fate>, RemoteError> {
        let missing = futures_util::stream::iter(documents).map(|document| self.blobs_of(document));
        let missing: Vec<Vec<Descriptor>> = missing.buffered(COPIED_AT_ONCE).try_collect().await?;
        let wanted: BTreeMap<Digest, Descriptor> =
            missing.into_iter().flatten().map(|blob| (blob.digest, blob)).collect();
        let copies = futures_util::stream::iter(wanted.into_values()).map(|blob| async move {
            let fate = self.blob(&blob).await?;
            Ok((blob.digest, fate))
        });
        copies.buffer_unordered(COPIED_AT_ONCE).try_collect().await
    }

    /// Returns the blobs of a manifest, unless that is there already.
    async fn blobs_of(&self, document: &RemoteDocument) -> Result<Vec<Descriptor>, RemoteError> {
        if document.blobs.is_empty() {
            return Ok(Vec::new());
        }
        let name = self.to.with_digest(document.descriptor.digest);
        match self.client.head(&name).await {
            Ok(Some(_)) => Ok(Vec::new()),
            Ok(None) => Ok(document.blobs.clone()),
            // Some registries refuse to show what does not exist yet; whether it can be written will be seen.
            Err(error) if error.is_unauthorized() => Ok(document.blobs.clone()),
            Err(error) => Err(RemoteError::write(&name)(error)),
        }
    }

    async fn blob(&self, blob: &Descriptor) -> Result<Fate, RemoteError> {
        if blob.media_type.is_foreign() {
            return Ok(Fate::LeftOut);
        }
        if self.client.blob_exists(self.to, &blob.digest).await.map_err(RemoteError::write(self.to))? {
            self.tell_done(blob);
            return Ok(Fate::There);
        }
        if self.is_mounted(blob).await? {
            self.tell_done(blob);
            return Ok(Fate::Mounted);
        }
        match self.pass_through(blob).await {
            // They may have been changed on the way.
            Err(error) if error.is_wrong_content() => self.pass_through(blob).await?,
            outcome => outcome?,
        }
        Ok(Fate::Sent)
    }

    async fn pass_through(&self, blob: &Descriptor) -> Result<(), RemoteError> {
        let passage = Passage::new(self.from, blob);
        let open = |offset| passage.open(offset);
        let progress = sink(&self.to.familiar_name(), blob.digest, self.progress);
        let upload = Upload { progress: Some(progress), ..Upload::new(self.to, blob, &open) };
        let Err(error) = self.client.push_blob(upload).await else { return Ok(()) };
        Err(match (passage.failure().await, self.from) {
            (Some(Failure::Registry(source)), Origin::Registry { name, .. }) => {
                RemoteError::Read { reference: Box::new(name.clone()), source }
            }
            (Some(Failure::Files(source)), from) => {
                RemoteError::ReadFiles { place: from.to_string(), digest: blob.digest, source }
            }
            _ => RemoteError::write(self.to)(error),
        })
    }

    /// Whether the blob could be mounted from the source.
    async fn is_mounted(&self, blob: &Descriptor) -> Result<bool, RemoteError> {
        let Origin::Registry { name: from, .. } = self.from else { return Ok(false) };
        if from.registry() != self.to.registry() || from.repository() == self.to.repository() {
            return Ok(false);
        }
        match self.client.mount(self.to, &blob.digest, from.repository()).await {
            Ok(is_mounted) => Ok(is_mounted),
            // Who may read it here may perhaps not mount it there; then it goes the long way.
            Err(error) if error.is_unauthorized() => Ok(false),
            Err(error) => Err(RemoteError::write(self.to)(error)),
        }
    }

    fn tell_done(&self, blob: &Descriptor) {
        self.progress.on(&ProgressEvent::Transfer {
            what: &self.to.familiar_name(),
            blob: blob.digest,
            done: blob.size,
            total: blob.size,
        });
    }
}
