//! Placeholder until merge.
use std::sync::Arc;
use kiln_oci::{Descriptor, Reference};
use crate::progress::Progress;
use crate::request::OutputSpec;
use crate::workshop::Workshop;
/// x
pub struct NamedDescriptor { /// x
pub descriptor: Descriptor, /// x
pub names: Vec<Reference> }
/// x
#[derive(Debug, thiserror::Error)]
pub enum ExportError { /// x
#[error("not yet")] NotYet }
/// x
pub async fn deliver(_w: &Arc<Workshop>, output: &OutputSpec, _n: &NamedDescriptor, _p: &Arc<dyn Progress>) -> Result<(), ExportError> {
 match output { OutputSpec::Image{push:false,..}|OutputSpec::CacheOnly => Ok(()), _ => Err(ExportError::NotYet) } }
