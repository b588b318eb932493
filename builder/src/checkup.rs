//! Whether this machine runs steps: really, in the store's own file system.

use kiln_sandbox::{CancelToken, ExecError, RootPlan, RunSpec};

use crate::root_kind::{is_chroot, root_kind};
use crate::transform::StepError;
use crate::workshop::{RootKind, Workshop};

/// A program that no root has.
const NO_PROGRAM: &str = "/kiln-checkup";

/// What was found.
#[derive(Debug)]
pub struct Checkup {
    /// Why a step cannot run, if it cannot.
    pub step: Result<(), StepError>,
    /// What the roots of steps are; `None` when that could not be found out.
    pub roots: Option<RootKind>,
    /// Whether steps see the processes around them, because no `/proc` of their own can be mounted.
    pub shares_processes: bool,
    /// Free bytes where the store is, for this user; `None` when the file system does not say.
    pub free_bytes: Option<u64>,
}

/// Tries everything that a step needs, in an empty root. The step comes as far as a program that is not there, so nothing
/// runs, and all that could have failed on this machine has not.
pub fn check_up(workshop: &Workshop) -> Checkup {
    let space = rustix::fs::statvfs(workshop.store.path()).ok();
    let step = try_step(workshop);
    Checkup {
        step,
        shares_processes: kiln_sandbox::shares_processes(),
        roots: root_kind(workshop).ok().cloned(),
        free_bytes: space.map(|space| space.f_bavail.saturating_mul(space.f_frsize)),
    }
}

fn try_step(workshop: &Workshop) -> Result<(), StepError> {
    if let Err(reason) = &workshop.identity {
        return Err(StepError::Impossible { reason: reason.clone() });
    }
    let (first, second, third) =
        (workshop.store.scratch("lower")?, workshop.store.scratch("upper")?, workshop.store.scratch("work")?);
    let [lower, upper, work] = [&first, &second, &third].map(|scratch| scratch.path().to_owned());
    let root = match root_kind(workshop)? {
        RootKind::Overlay => RootPlan::Overlay { lower: vec![lower], upper, work },
        RootKind::Copy { .. } if is_chroot(workshop) => RootPlan::Chroot { root: lower, aside: work },
        RootKind::Copy { .. } => RootPlan::Directory(lower),
    };
    let token = CancelToken::new()
        .map_err(|source| StepError::Io { what: "cannot make a switch for the step".to_owned(), source })?;
    match kiln_sandbox::run(&RunSpec::new([NO_PROGRAM]), &root, &token, &mut |_| {}) {
        Err(ExecError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.into()),
        Ok(exit) => unreachable!("`{NO_PROGRAM}` ended: {exit:?}"),
    }
}
