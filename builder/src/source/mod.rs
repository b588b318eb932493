//! Where files come from: images, contexts, archives, git repositories and URLs. One file or folder a kind.

pub mod context;

pub mod archive;
pub mod dockerfile;
pub mod git;
pub mod http;
pub mod image;
pub mod image_archive;
pub mod image_files;
pub mod layout;
pub mod spool;
