//! Hands a result on: to the store, to files, to registries.

use std::sync::Arc;

use kiln_oci::{Descriptor, Reference};

use crate::progress::Progress;
use crate::request::OutputSpec;
use crate::workshop::Workshop;

/// A manifest or index in the store, and the names it is to have.
#[derive(Debug, Clone)]
pub struct NamedDescriptor {
    /// The manifest or index.
    pub descriptor: Descriptor,
    /// The names.
    pub names: Vec<Reference>,
}

/// Why a result could not be handed on.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// An output that is not built yet.
    #[error("this output is not built yet: only the store is written")]
    NotBuilt,
}

/// Hands a result on as one output says.
///
/// # Errors
/// [`ExportError`].
pub async fn deliver(
    _workshop: &Arc<Workshop>,
    output: &OutputSpec,
    _named: &NamedDescriptor,
    _progress: &Arc<dyn Progress>,
) -> Result<(), ExportError> {
    match output {
        OutputSpec::Image { push: false, .. } | OutputSpec::CacheOnly => Ok(()),
        _ => Err(ExportError::NotBuilt),
    }
}
