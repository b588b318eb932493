//! Media types of manifests, configurations and layers, OCI's and Docker's.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A media type as a document writes it. Unknown ones are kept as they are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MediaType(std::borrow::Cow<'static, str>);

/// How the bytes of a layer blob are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LayerCompression {
    /// A plain tar archive.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl MediaType {
    /// OCI image manifest.
    pub const OCI_MANIFEST: Self = Self::known("application/vnd.oci.image.manifest.v1+json");
    /// OCI image index.
    pub const OCI_INDEX: Self = Self::known("application/vnd.oci.image.index.v1+json");
    /// OCI image configuration.
    pub const OCI_CONFIG: Self = Self::known("application/vnd.oci.image.config.v1+json");
    /// OCI layer, uncompressed.
    pub const OCI_LAYER: Self = Self::known("application/vnd.oci.image.layer.v1.tar");
    /// OCI layer, gzip.
    pub const OCI_LAYER_GZIP: Self = Self::known("application/vnd.oci.image.layer.v1.tar+gzip");
    /// OCI layer, zstd.
    pub const OCI_LAYER_ZSTD: Self = Self::known("application/vnd.oci.image.layer.v1.tar+zstd");
    /// OCI layer that ordinary registries do not distribute, uncompressed.
    pub const OCI_FOREIGN_LAYER: Self =
        Self::known("application/vnd.oci.image.layer.nondistributable.v1.tar");
    /// OCI layer that ordinary registries do not distribute, gzip.
    pub const OCI_FOREIGN_LAYER_GZIP: Self =
        Self::known("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip");
    /// OCI layer that ordinary registries do not distribute, zstd.
    pub const OCI_FOREIGN_LAYER_ZSTD: Self =
        Self::known("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd");
    /// Docker manifest, schema 2.
    pub const DOCKER_MANIFEST: Self = Self::known("application/vnd.docker.distribution.manifest.v2+json");
    /// Docker manifest list.
    pub const DOCKER_INDEX: Self = Self::known("application/vnd.docker.distribution.manifest.list.v2+json");
    /// Docker image configuration.
    pub const DOCKER_CONFIG: Self = Self::known("application/vnd.docker.container.image.v1+json");
    /// Docker layer, uncompressed.
    pub const DOCKER_LAYER: Self = Self::known("application/vnd.docker.image.rootfs.diff.tar");
    /// Docker layer, gzip.
    pub const DOCKER_LAYER_GZIP: Self = Self::known("application/vnd.docker.image.rootfs.diff.tar.gzip");
    /// Docker layer, zstd.
    pub const DOCKER_LAYER_ZSTD: Self = Self::known("application/vnd.docker.image.rootfs.diff.tar.zstd");

    const fn known(text: &'static str) -> Self {
        Self(std::borrow::Cow::Borrowed(text))
    }

    /// Wraps a text from a document.
    pub fn new(text: impl Into<String>) -> Self {
        Self(std::borrow::Cow::Owned(text.into()))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the manifest of one image.
    pub fn is_manifest(&self) -> bool {
        [Self::OCI_MANIFEST, Self::DOCKER_MANIFEST].contains(self)
    }

    /// Whether this is an index of several images.
    pub fn is_index(&self) -> bool {
        [Self::OCI_INDEX, Self::DOCKER_INDEX].contains(self)
    }

    /// Whether this is an image configuration.
    pub fn is_config(&self) -> bool {
        [Self::OCI_CONFIG, Self::DOCKER_CONFIG].contains(self)
    }

    /// Whether this is one of Docker's own types, and not an OCI one.
    pub fn is_docker(&self) -> bool {
        self.0.starts_with("application/vnd.docker.")
    }

    /// Whether a layer of this type must not be distributed by ordinary registries ("foreign" layers).
    pub fn is_foreign(&self) -> bool {
        self.0.contains(".layer.nondistributable.") || self.0.contains(".rootfs.foreign.")
    }

    /// Returns the compression of a layer, or `None` when this is not a file system layer.
    pub fn layer_compression(&self) -> Option<LayerCompression> {
        let is_layer = self.0.starts_with("application/vnd.oci.image.layer.")
            || self.0.starts_with("application/vnd.docker.image.rootfs.");
        let compression = match self.0.rsplit(['.', '+']).next()? {
            "tar" => LayerCompression::None,
            "gzip" | "gz" => LayerCompression::Gzip,
            "zstd" => LayerCompression::Zstd,
            _ => return None,
        };
        is_layer.then_some(compression)
    }

    /// Returns the OCI layer type of a compression.
    pub fn layer(compression: LayerCompression) -> Self {
        match compression {
            LayerCompression::None => Self::OCI_LAYER,
            LayerCompression::Gzip => Self::OCI_LAYER_GZIP,
            LayerCompression::Zstd => Self::OCI_LAYER_ZSTD,
        }
    }

    /// Returns the OCI type of the same meaning; types without one stay as they are.
    #[must_use]
    pub fn to_oci(&self) -> Self {
        if self.is_manifest() {
            Self::OCI_MANIFEST
        } else if self.is_index() {
            Self::OCI_INDEX
        } else if self.is_config() {
            Self::OCI_CONFIG
        } else {
            match self.layer_compression() {
                Some(LayerCompression::None) if self.is_foreign() => Self::OCI_FOREIGN_LAYER,
                Some(LayerCompression::Gzip) if self.is_foreign() => Self::OCI_FOREIGN_LAYER_GZIP,
                Some(LayerCompression::Zstd) if self.is_foreign() => Self::OCI_FOREIGN_LAYER_ZSTD,
                Some(compression) => Self::layer(compression),
                None => self.clone(),
            }
        }
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_tell_their_compression_and_oci_form() {
        for (text, compression, oci) in [
            ("application/vnd.oci.image.layer.v1.tar", Some(LayerCompression::None), MediaType::OCI_LAYER),
            (
                "application/vnd.oci.image.layer.v1.tar+zstd",
                Some(LayerCompression::Zstd),
                MediaType::OCI_LAYER_ZSTD,
            ),
            (
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
                Some(LayerCompression::Gzip),
                MediaType::OCI_LAYER_GZIP,
            ),
            (
                "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                Some(LayerCompression::Gzip),
                MediaType::OCI_FOREIGN_LAYER_GZIP,
            ),
            ("application/octet-stream", None, MediaType::new("application/octet-stream")),
        ] {
            let media_type = MediaType::new(text);
            assert_eq!((media_type.layer_compression(), media_type.to_oci()), (compression, oci));
        }
        assert!(MediaType::new("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip").is_foreign());
    }
}
