//! Whether a RUN can be had with real owners. Found out before much is done; else the step itself is ended when it lacks something.

use kiln_layer::owner::User;

use super::{Bench, StepError};
use crate::layers;
use crate::plan::{MountKind, RunMount, RunOp};
use crate::recording::{Lack, check_ids, check_layers, check_remembered};
use crate::rootfs::{Layer, Rootfs};

/// Refuses a step that is known to lack something: by what it says, by what is known of its layers, or because it did before.
pub(super) fn refuse_known<'a>(
    bench: &Bench,
    op: &RunOp,
    file_systems: impl Iterator<Item = &'a Rootfs>,
) -> Result<(), Lack> {
    let workshop = &bench.workshop;
    let owners: Vec<(u32, u32)> = op.mounts.iter().filter_map(owner_of).collect();
    check_ids(workshop, owners.iter().map(|owner| owner.0), owners.iter().map(|owner| owner.1))?;
    check_remembered(workshop, &bench.key_base, op)?;
    for rootfs in file_systems {
        check_layers(workshop, &rootfs.layers)?;
    }
    Ok(())
}

/// Refuses a step by its user, and by all of its layers.
pub(super) fn refuse<'a>(
    bench: &Bench,
    user: &User,
    stacks: impl Iterator<Item = &'a [Layer]>,
) -> Result<(), StepError> {
    let workshop = &bench.workshop;
    let groups = std::iter::once(user.owner.gid).chain(user.groups.iter().copied());
    check_ids(workshop, [user.owner.uid], groups)?;
    for stack in stacks {
        for layer in stack {
            layers::listing(workshop, layer)?;
        }
        check_layers(workshop, stack)?;
    }
    Ok(())
}

/// Returns the owner that a mount is to have.
fn owner_of(mount: &RunMount) -> Option<(u32, u32)> {
    match mount.kind {
        MountKind::Cache { uid, gid, .. }
        | MountKind::Secret { uid, gid, .. }
        | MountKind::Agent { uid, gid, .. } => Some((uid, gid)),
        MountKind::Bind { .. } | MountKind::Tmpfs { .. } => None,
    }
}
