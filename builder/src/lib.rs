//! From Dockerfile to finished image.
//!
//! Text → tree → plan → layers → image: each arrow is a function on plain values.
//!
//! - **Does**: plan a build, find what is cached, run what is not, assemble and export the result, manage the store's images.
//! - **Does not**: print, read the environment, contain `unsafe`, mount.
//! - **Main type**: [`request::BuildRequest`].
//! - **Main function**: `build::build`.
//!
//! The modules stand in reading order: each uses only those below it.

pub mod build;

pub mod catalog;

pub mod export;

pub mod image;

pub mod solve;

pub mod transform;

pub mod source;

pub mod lower;

pub mod cache;

pub mod layers;

pub mod upper;

pub mod blobs;

pub mod workshop;
pub use workshop::{Workshop, WorkshopOptions};

pub mod interrupt;

pub mod progress;

pub mod request;

pub mod plan;

pub mod rootfs;

pub mod secrets;

pub mod lanes;
