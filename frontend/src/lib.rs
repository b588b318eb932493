//! The Dockerfile language: text to tree and diagnostics.

pub mod ast;
pub mod diagnostic;
pub mod expand;
pub mod source;
