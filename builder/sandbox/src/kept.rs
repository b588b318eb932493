//! How the processes of a step are held together, so that none outlives it, and which others it sees.
//!
//! A pid namespace needs a `/proc` of its own, which the kernel refuses in a user namespace when something covers parts of the
//! `/proc` that is there (`mount_too_revealing`), as container runtimes do. Then steps share the processes of their surroundings.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use crate::error::ExecError;
use crate::spec::{Exit, RootPlan};

/// How the processes of a step are held together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kept {
    /// By a pid namespace, which ends with its keeper.
    ByNamespace,
    /// By being descendants of the keeper, which ends them.
    ByDescent,
}

/// Whether a step of this process was refused a `/proc` of its own. That is so for all that come after it: they are in the
/// same namespaces.
static IS_PROC_REFUSED: AtomicBool = AtomicBool::new(false);

/// Whether steps see the processes around them, and may end those of the same user: no `/proc` of their own can be mounted here.
/// Known when one has run.
pub fn shares_processes() -> bool {
    IS_PROC_REFUSED.load(Ordering::Relaxed)
}

/// Runs a step that has this root: with processes of its own, and without where those are refused before it has begun.
pub(crate) fn run_as_allowed(
    root: &RootPlan,
    mut run: impl FnMut(Kept) -> Result<Exit, ExecError>,
) -> Result<Exit, ExecError> {
    if matches!(root, RootPlan::Chroot { .. }) || shares_processes() {
        return run(Kept::ByDescent);
    }
    match run(Kept::ByNamespace) {
        Err(error) if is_refused_proc(&error) => {}
        outcome => return outcome,
    }
    let outcome = run(Kept::ByDescent);
    // Else there is no other `/proc` either.
    if !outcome.as_ref().is_err_and(is_refused_proc) {
        IS_PROC_REFUSED.store(true, Ordering::Relaxed);
    }
    outcome
}

fn is_refused_proc(error: &ExecError) -> bool {
    matches!(error, ExecError::Mount { target, source }
        if target == Path::new("/proc") && source.kind() == ErrorKind::PermissionDenied)
}
