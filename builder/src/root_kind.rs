//! What the roots of steps are made of on this machine: found out once, by trying.

use std::io;

use kiln_sandbox::Identity;
use kiln_store::StoreError;
use rustix::io::Errno;

use crate::workshop::{RootKind, Roots, Workshop};

/// Returns what the root of a step is here: what was asked for, else an overlay if one can be mounted on the file system of the store.
///
/// # Errors
/// When it cannot be tried because the disk is full or cannot be written.
pub fn root_kind(workshop: &Workshop) -> Result<&RootKind, StoreError> {
    if let Some(known) = workshop.root_kind.get() {
        return Ok(known);
    }
    let found = match (workshop.roots, &workshop.identity) {
        (Roots::Overlay, _) => RootKind::Overlay,
        (Roots::Copy, _) => RootKind::Copy { reason: "`build.root` in config.toml".to_owned() },
        (Roots::Detected, Ok(Identity::Chroot { .. })) => {
            RootKind::Copy { reason: "this process may neither make namespaces nor mount".to_owned() }
        }
        (Roots::Detected, Err(reason)) => RootKind::Copy { reason: reason.clone() },
        (Roots::Detected, Ok(_)) => tried(workshop)?,
    };
    Ok(workshop.root_kind.get_or_init(|| found))
}

fn tried(workshop: &Workshop) -> Result<RootKind, StoreError> {
    let place = workshop.store.scratch("trial")?;
    let outcome = kiln_sandbox::try_overlay(place.path());
    let path = place.path().to_owned();
    place.close()?;
    match outcome {
        Ok(()) => Ok(RootKind::Overlay),
        Err(source) if is_passing(&source) => Err(StoreError::Io { verb: "try an overlay in", path, source }),
        Err(source) => Ok(RootKind::Copy { reason: source.to_string() }),
    }
}

/// Whether steps run by `chroot`, without mounts.
pub fn is_chroot(workshop: &Workshop) -> bool {
    matches!(workshop.identity, Ok(Identity::Chroot { .. }))
}

/// Whether an error says nothing about overlays.
fn is_passing(error: &io::Error) -> bool {
    let passing =
        [Errno::NOSPC, Errno::DQUOT, Errno::ROFS, Errno::NOMEM, Errno::MFILE, Errno::NFILE, Errno::AGAIN];
    Errno::from_io_error(error).is_some_and(|errno| passing.contains(&errno))
}
