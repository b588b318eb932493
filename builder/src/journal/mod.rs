//! The journal: what a build did, written while it does it, and read again when it has ended, however it ended.
//!
//! A [`Journal`] is a [`Progress`](crate::progress::Progress) before another one, so that nothing in the build knows of it. It
//! appends JSON objects to `logs/<build>/journal.jsonl`, one a line ([`entry::Entry`]). What takes no time waits in memory for
//! what does, so that a build that finds everything in the cache writes three times: how it was called, its plan, how it ended.
//! Nothing is brought to the disk on purpose: a journal survives the end of its process, not that of the machine.
//!
//! [`read()`] makes a [`BuildStory`] of the lines. It understands the half of a line that a killed process leaves, and passes over what a
//! later version wrote.

pub mod entry;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use entry::{Ended, Header, PlannedStep, StepKind};
pub use read::{BuildStory, Moved, State, StepStory, Task, last_planned, read, stories};
pub use write::{Journal, build_id};
