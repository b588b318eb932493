//! What comes of a step that is done a second time: the same, or where it differs. Unaware of how it is done again.

mod first_byte;

mod hint;

pub use first_byte::{FirstByte, ReadAt, first_byte};

use std::path::PathBuf;

use crate::difference::FileDifference;
use crate::plan::Origin;

/// Names of a step that are told; of the others only how many there are.
pub const FILES_TOLD_MAX: usize = 10;

/// A step that was done a second time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeated {
    /// Where it comes from.
    pub origin: Origin,
    /// What became of it.
    pub verdict: Verdict,
    /// Whether it has cache mounts, which were as the first time left them.
    pub has_caches: bool,
    /// Whether it can reach the network, which is another one every day.
    pub has_network: bool,
}

/// What became of a step that was done a second time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It made the same bytes.
    Same,
    /// It made others.
    Differs(Differing),
    /// It failed, though it had succeeded before.
    Failed {
        /// How.
        message: String,
        /// Where its output is.
        log: PathBuf,
    },
}

/// In what two results of a step differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Differing {
    /// The first names at which they differ, at most [`FILES_TOLD_MAX`]. None where only the layers differ: one has a name that
    /// the other leaves as it is below.
    pub files: Vec<DifferingFile>,
    /// How many names there are in all.
    pub count: usize,
}

/// A name at which two results of a step differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DifferingFile {
    /// The name, and in what.
    pub difference: FileDifference,
    /// Where the contents of two files do.
    pub first_byte: Option<FirstByte>,
}
