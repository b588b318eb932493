//! Values → bytes: configuration, history, manifest and index of a result.

mod assemble;

pub use assemble::{Assembled, ImageParts, assemble, index, rfc3339};
