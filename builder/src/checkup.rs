//! Whether this machine runs steps: really, in the store's own file system.

use kiln_sandbox::{CancelToken, ExecError, RootPlan, RunSpec};

use crate::transform::StepError;
use crate::workshop::Workshop;

/// A program that no root has.
const NO_PROGRAM: &str = "/kiln-checkup";

/// What was found.
#[derive(Debug)]
pub struct Checkup {
    /// Why a step cannot run, if it cannot.
    pub step: Result<(), StepError>,
    /// Free bytes where the store is, for this user; `None` when the file system does not say.
    pub free_bytes: Option<u64>,
}

/// Tries everything that a step needs, in an empty root. The step comes as far as a program that is not there, so nothing
/// runs, and all that could have failed on this machine has not.
pub fn check_up(workshop: &Workshop) -> Checkup {
    let space = rustix::fs::statvfs(workshop.store.path()).ok();
    Checkup {
        step: try_step(workshop),
        free_bytes: space.map(|space| space.f_bavail.saturating_mul(space.f_frsize)),
    }
}

fn try_step(workshop: &Workshop) -> Result<(), StepError> {
    if let Err(reason) = &workshop.identity {
        return Err(StepError::Impossible { reason: reason.clone() });
    }
    let (lower, upper) = (workshop.store.scratch("lower")?, workshop.store.scratch("upper")?);
    let work = workshop.store.scratch("work")?;
    let root = RootPlan::Overlay {
        lower: vec![lower.path().to_owned()],
        upper: upper.path().to_owned(),
        work: work.path().to_owned(),
    };
    let token = CancelToken::new()
        .map_err(|source| StepError::Io { what: "cannot make a switch for the step".to_owned(), source })?;
    match kiln_sandbox::run(&RunSpec::new([NO_PROGRAM]), &root, &token, &mut |_| {}) {
        Err(ExecError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.into()),
        Ok(exit) => unreachable!("`{NO_PROGRAM}` ended: {exit:?}"),
    }
}
