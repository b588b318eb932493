//! Patterns of ignore files and of `--exclude`: the one part of the Dockerfile language that files are matched with, and so
//! the one part that is used below [`crate::lower`].

pub use kiln_frontend::dockerignore::{Directory, Matcher};
