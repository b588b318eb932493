//! The child's side: what this binary does when the sandbox re-executed it.

/// Becomes the sandbox's child when this process was started as one; it then never returns. Else does nothing.
///
/// To be called first in `main`, before any thread exists and before anything else is read or opened.
pub fn run_if_child() {}
