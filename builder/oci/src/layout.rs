//! The names of things in an OCI image layout.

use serde::{Deserialize, Serialize};

use crate::document::Kind;

/// The marker file.
pub const MARKER_FILE: &str = "oci-layout";
/// The list of images.
pub const INDEX_FILE: &str = "index.json";
/// Where blobs are, below the layout's root.
pub const BLOBS_DIRECTORY: &str = "blobs/sha256";
/// Annotation of an entry in `index.json`: its tag or full name.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Annotation of an entry in `index.json`: its full name, as containerd and Docker read it.
pub const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// The version this program writes, and the only one there is.
pub const VERSION: &str = "1.0.0";

/// Content of the marker file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OciLayout {
    /// Version of the layout.
    pub image_layout_version: String,
}

impl Kind for OciLayout {
    const NAME: &'static str = "layout marker";
}

impl Default for OciLayout {
    fn default() -> Self {
        Self { image_layout_version: VERSION.to_owned() }
    }
}
