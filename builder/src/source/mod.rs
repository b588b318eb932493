//! Where files come from: images, contexts, archives and URLs. One file a kind.

pub mod context;

pub mod archive;
pub mod dockerfile;
pub mod http;
pub mod image;
pub mod layout;
pub mod spool;
