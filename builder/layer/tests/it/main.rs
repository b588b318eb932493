//! The room as a whole, through its public interface: one binary, one file a subject.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod archive;
mod commit;
mod copy;
mod diff;
mod gnu;
mod hold;
mod hostile;
mod properties;
mod reshape;
mod support;
mod unpack;
mod walk;
