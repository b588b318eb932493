//! Stages: what they are based on, what they hand on, and the images they ask for.

use std::collections::BTreeMap;

use kiln_oci::{Digest, ImageConfig, Platform, Reference};

use super::scope::VariableList;
use crate::plan::{HistoryLine, StepId};
use crate::rootfs::Layer;

/// An image whose layers and configuration the planner must know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageRequest {
    /// Where it is.
    pub source: ImageSource,
    /// The platform wanted.
    pub platform: Platform,
    /// Whether another platform will do when the image has only one: nobody said which platform is wanted.
    pub any_platform: bool,
}

impl ImageRequest {
    /// Returns the image's name as people write it.
    pub fn name(&self) -> String {
        match &self.source {
            ImageSource::Named(reference) => reference.familiar(),
            ImageSource::Layout { path, .. } => path.display().to_string(),
        }
    }
}

/// Where an image is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ImageSource {
    /// In the store or at a registry.
    Named(Reference),
    /// In an OCI layout on this machine.
    Layout {
        /// Directory of the layout.
        path: std::path::PathBuf,
        /// Tag or digest in it.
        name: Option<String>,
    },
}

/// What there is to know of an image.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedImage {
    /// What was asked for.
    pub request: ImageRequest,
    /// Digest of its manifest.
    pub manifest: Digest,
    /// Its configuration.
    pub config: ImageConfig,
    /// Its layers, base first.
    pub layers: Vec<Layer>,
}

/// A stage while its instructions are read, and what it hands on when they are.
#[derive(Debug, Clone)]
pub(super) struct StageState {
    /// The file system so far.
    pub(super) root: StepId,
    /// The platform the stage runs as.
    pub(super) platform: Platform,
    /// The configuration so far.
    pub(super) config: ImageConfig,
    /// Where each variable stands in the environment of the configuration.
    pub(super) env_places: BTreeMap<String, usize>,
    /// History since the base image.
    pub(super) history: Vec<HistoryLine>,
    /// What words see: environment and arguments in one list.
    pub(super) variables: VariableList,
    /// Arguments in the order of their declaration; they are named in the history of RUN.
    pub(super) arguments: Vec<(String, Option<String>)>,
    /// Whether CMD was set in this stage: then ENTRYPOINT leaves it.
    pub(super) cmd_is_set: bool,
    /// Name for display.
    pub(super) label: String,
    /// Name for options that name stages; empty when it has none.
    pub(super) name: String,
    /// Instructions that made steps so far, and how many there will be.
    pub(super) progress: (u32, u32),
}
