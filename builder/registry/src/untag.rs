//! Takes a tag away, and no other.
//!
//! A registry of today removes a tag by its name (distribution specification 1.1). Others know digests only, and take all tags away
//! from what is removed: there a placeholder, an image that is nobody's, is put under the tag, and then removed by its digest.
//!
//! ```text
//! DELETE the tag ──► done
//!   └── knows no such thing ──► put the placeholder, without a tag ──► DELETE it ── refused ──► an error, and nothing has changed
//!                                                                         └──► put it under the tag ──► DELETE it ──► done
//! ```
//! Where that ends before the last step, the tag stands for the placeholder, and is taken away like any other.

use bytes::Bytes;
use futures_util::StreamExt;
use http::Method;
use kiln_oci::{Descriptor, Digest, Document, Manifest, MediaType, Reference};
use serde_json::json;

use crate::auth::Access;
use crate::client::{Call, Client, protocol};
use crate::config::ByteStream;
use crate::error::Error;
use crate::limit;
use crate::mirror::Endpoint;
use crate::pages::is_unknown_to;
use crate::session::Upload;

impl Client {
    /// Takes the tag of `name` away at its registry; what it stands for, and other tags of that, stay. Returns whether it was there.
    ///
    /// # Errors
    /// The registry cannot be reached, or does not let us, or nobody, remove anything.
    pub async fn untag(&self, name: &Reference) -> Result<bool, Error> {
        let tag = name.tag().unwrap_or("latest");
        let name = &name.with_tag(tag).expect("it is the tag of a name");
        let Some(media_type) = self.type_of(name).await? else { return Ok(false) };
        match self.delete_manifest(name, tag).await {
            Ok(()) => Ok(true),
            Err(error) if is_unknown_to(&error) => {
                self.replace_and_delete(name, &media_type).await.map(|()| true)
            }
            Err(error) => Err(error),
        }
    }

    async fn replace_and_delete(&self, name: &Reference, like: &MediaType) -> Result<(), Error> {
        let placeholder = Placeholder::new(name, like);
        let (config, bytes) = (&placeholder.config, placeholder.config_bytes.clone());
        let open = |_| {
            let chunk = Ok(bytes.clone());
            Box::pin(async { Ok(futures_util::stream::iter([chunk]).boxed() as ByteStream) }) as _
        };
        self.push_blob(Upload::new(name, config, &open)).await?;
        let (media_type, bytes) = (&placeholder.media_type, &placeholder.manifest);
        let digest = Digest::of(bytes);
        self.push_manifest(&name.with_digest(digest), media_type, bytes.clone()).await?;
        self.delete_manifest(name, &digest.to_string()).await?;

        self.push_manifest(name, media_type, bytes.clone()).await?;
        match self.delete_manifest(name, &digest.to_string()).await {
            // Another did it, or the answer to an earlier attempt was lost.
            Err(error) if error.is_not_found() => {}
            outcome => outcome?,
        }
        match self.type_of(name).await? {
            None => Ok(()),
            Some(_) => {
                let endpoint = Endpoint::upstream(name.registry());
                let call = manifest_call(name, &digest.to_string());
                Err(protocol(&endpoint, &call, "the tag is still there after what it stood for was removed"))
            }
        }
    }

    /// Returns the type of what a tag stands for; `None` where there is no such tag.
    async fn type_of(&self, name: &Reference) -> Result<Option<MediaType>, Error> {
        match self.head(name).await? {
            Some(found) => Ok(Some(found.media_type)),
            // Perhaps the registry does not tell without sending it.
            None => Ok(self.resolve_upstream(name).await?.map(|found| found.descriptor.media_type)),
        }
    }

    async fn delete_manifest(&self, name: &Reference, which: &str) -> Result<(), Error> {
        let endpoint = Endpoint::upstream(name.registry());
        self.fetch(&endpoint, &manifest_call(name, which), limit::ERROR_BODY_BYTES_MAX).await.map(drop)
    }
}

fn manifest_call(name: &Reference, which: &str) -> Call {
    let path = format!("/v2/{}/manifests/{which}", name.repository());
    Call::new(Method::DELETE, path, Access::delete(name.repository()), name.familiar())
}

/// An image of nothing that stands under one tag only.
struct Placeholder {
    config: Descriptor,
    config_bytes: Bytes,
    media_type: MediaType,
    manifest: Bytes,
}

impl Placeholder {
    /// Returns one in the form of what stands there now, which the registry is known to take.
    fn new(name: &Reference, like: &MediaType) -> Self {
        let is_docker = [MediaType::DOCKER_MANIFEST, MediaType::DOCKER_INDEX].contains(like);
        let (media_type, config_type) = match is_docker {
            true => (MediaType::DOCKER_MANIFEST, MediaType::DOCKER_CONFIG),
            false => (MediaType::OCI_MANIFEST, MediaType::OCI_CONFIG),
        };
        let config = json!({
            "architecture": "unknown", "os": "unknown",
            "config": {"Labels": {"kiln.untagged": name.familiar()}},
            "rootfs": {"type": "layers", "diff_ids": []},
        });
        let config_bytes = Bytes::from(config.to_string());
        let config = Descriptor::new(config_type, Digest::of(&config_bytes), config_bytes.len() as u64);
        let manifest =
            Manifest { media_type: Some(media_type.clone()), ..Manifest::oci(config.clone(), Vec::new()) };
        Self { config, config_bytes, media_type, manifest: Document::write(manifest).bytes().clone() }
    }
}
