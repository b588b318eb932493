//! What steps hand each other: stacks of layers, by name. Nothing on disk is implied.

use kiln_oci::{Descriptor, DiffId, Digest, Hasher};
use serde::{Deserialize, Serialize};

/// One layer: the identity of its content, and the blob that holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Digest of the uncompressed layer.
    pub diff_id: DiffId,
    /// The blob. A layer of a base image need not be in the store yet.
    pub blob: Descriptor,
}

/// A file system: layers, base first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rootfs {
    /// The layers, base first.
    pub layers: Vec<Layer>,
    /// For each transform since the base image, whether it made a layer; history needs it.
    pub made: Vec<bool>,
}

impl Rootfs {
    /// Returns this file system with what one more transform made: a layer, or nothing when it changed nothing.
    #[must_use]
    pub fn with(&self, layer: Option<Layer>) -> Self {
        let mut next = self.clone();
        next.made.push(layer.is_some());
        next.layers.extend(layer);
        next
    }

    /// Returns the identity of the content: a digest over the diff ids, and nothing else.
    pub fn chain(&self) -> Digest {
        chain_of(&self.layers)
    }

    /// Returns the diff ids, base first.
    pub fn diff_ids(&self) -> impl Iterator<Item = DiffId> + '_ {
        self.layers.iter().map(|layer| layer.diff_id)
    }
}

/// Returns the identity of a stack of layers: a digest over the diff ids, and nothing else.
pub fn chain_of(layers: &[Layer]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(b"kiln.rootfs.1");
    for layer in layers {
        hasher.update(layer.diff_id.0.as_bytes());
    }
    hasher.finish()
}

/// Returns [`chain_of`] the lowest layer, the lowest two, and so on.
pub fn chains_of(layers: &[Layer]) -> Vec<Digest> {
    let mut hasher = Hasher::new();
    hasher.update(b"kiln.rootfs.1");
    let chain = |layer: &Layer| {
        hasher.update(layer.diff_id.0.as_bytes());
        hasher.clone().finish()
    };
    layers.iter().map(chain).collect()
}

/// The stored form of a [`Layer`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredLayer {
    diff_id: DiffId,
    media_type: String,
    digest: Digest,
    size: u64,
    urls: Vec<String>,
}

impl From<&Layer> for StoredLayer {
    fn from(layer: &Layer) -> Self {
        Self {
            diff_id: layer.diff_id,
            media_type: layer.blob.media_type.as_str().to_owned(),
            digest: layer.blob.digest,
            size: layer.blob.size,
            urls: layer.blob.urls.clone(),
        }
    }
}

impl From<StoredLayer> for Layer {
    fn from(stored: StoredLayer) -> Self {
        let media_type = kiln_oci::MediaType::new(stored.media_type);
        let mut blob = Descriptor::new(media_type, stored.digest, stored.size);
        blob.urls = stored.urls;
        Self { diff_id: stored.diff_id, blob }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_oci::MediaType;

    fn layer(content: &[u8]) -> Layer {
        let digest = Digest::of(content);
        Layer { diff_id: DiffId(digest), blob: Descriptor::new(MediaType::OCI_LAYER_GZIP, digest, 1) }
    }

    #[test]
    fn the_chain_follows_the_content_and_not_the_way_there() {
        let base = Rootfs::default().with(Some(layer(b"a")));
        let direct = Rootfs { layers: vec![layer(b"a")], made: Vec::new() };
        assert_eq!(base.chain(), direct.chain());
        assert_eq!(base.with(None).chain(), base.chain());
        let two = base.with(Some(layer(b"b")));
        assert_eq!(chains_of(&two.layers), [base.chain(), two.chain()]);
        assert_ne!(base.with(Some(layer(b"b"))).chain(), base.chain());
    }
}
