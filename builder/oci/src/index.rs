//! The index of several images.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::document::Kind;
use crate::json::null_as_default;
use crate::{Descriptor, MediaType, Platform};

/// OCI image index, also Docker's manifest list and the `index.json` of a layout. Unknown fields are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// The document's own media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    /// Type of the artifact where these are not images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// What the index lists.
    #[serde(default, deserialize_with = "null_as_default")]
    pub manifests: Vec<Descriptor>,
    /// The manifest this index refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_as_default")]
    pub annotations: BTreeMap<String, String>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Kind for Index {
    const NAME: &'static str = "index";
}

impl Index {
    /// Returns an OCI index of `manifests`.
    pub fn oci(manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(MediaType::OCI_INDEX),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: BTreeMap::new(),
            extra: Map::new(),
        }
    }

    /// Returns the entry that fits `wanted` best: the closest variant, and among equals the first.
    pub fn select(&self, wanted: &Platform) -> Option<&Descriptor> {
        let mut best: Option<(u32, &Descriptor)> = None;
        for entry in &self.manifests {
            let fitness = entry.platform.as_ref().and_then(|platform| platform.fitness(wanted));
            if let Some(fitness) = fitness
                && best.is_none_or(|(other, _)| fitness > other)
            {
                best = Some((fitness, entry));
            }
        }
        best.map(|(_, entry)| entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;

    fn entry(platform: &str) -> Descriptor {
        let mut entry = Descriptor::new(MediaType::OCI_MANIFEST, Digest::of(platform.as_bytes()), 1);
        entry.platform = Some(platform.parse().unwrap());
        entry
    }

    #[test]
    fn the_closest_variant_is_selected() {
        let index =
            Index::oci(["linux/amd64", "linux/arm/v5", "linux/arm/v7", "linux/arm64"].map(entry).to_vec());
        let select = |text: &str| index.select(&text.parse().unwrap()).map(|entry| entry.digest);
        assert_eq!(select("linux/arm/v7"), Some(Digest::of(b"linux/arm/v7")));
        assert_eq!(select("linux/arm/v6"), Some(Digest::of(b"linux/arm/v5")));
        assert_eq!(select("linux/arm64/v8"), Some(Digest::of(b"linux/arm64")));
        assert_eq!(select("linux/s390x"), None);
    }
}
