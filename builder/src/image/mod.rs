//! Values → bytes: configuration, history, manifest and index of a result.

mod assemble;

pub use assemble::{Assembled, ImageParts, assemble, index, oci_descriptor, repaired, rfc3339};
