//! Whether a container or a rule of the machine refuses this process what steps need, although its capabilities, or those that it
//! would have in a user namespace, say otherwise: looked for first, and tried where something is found. Leaves nothing behind.

use std::fs;

use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags};
use rustix::mount::{fsconfig_create, fsmount, fsopen, mount_change};
use rustix::thread::UnshareFlags;

use crate::probe::{apparmor_restricts, is_filtered};
use crate::sys;

/// Makes namespaces, together with `others`, and a mount in a process of its own, unless nothing confines this one: a machine without
/// a container does not pay for the answer. To be called while this process has one thread.
///
/// # Errors
/// What the kernel said.
pub(crate) fn try_mounting(others: UnshareFlags) -> Result<(), Errno> {
    if !is_filtered() && !has_profile() && apparmor_restricts() != Some(true) {
        return Ok(());
    }
    let Some(child) = sys::fork()? else {
        let outcome = attempt(others);
        sys::exit_now(outcome.err().map_or(0, Errno::raw_os_error))
    };
    // The numbers of errors fit an exit code; a child that was killed had no answer.
    match sys::wait_with_usage(child)?.status {
        0 => Ok(()),
        status if status & 0x7f == 0 => Err(Errno::from_raw_os_error(status >> 8)),
        _ => Err(Errno::PERM),
    }
}

fn attempt(others: UnshareFlags) -> Result<(), Errno> {
    sys::unshare(others | UnshareFlags::NEWNS | UnshareFlags::NEWPID | UnshareFlags::NEWIPC)?;
    mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).map(drop)
}

/// Whether a profile of AppArmor or a context of SELinux may forbid something.
fn has_profile() -> bool {
    // Without such a module there is nothing to read.
    fs::read_to_string("/proc/self/attr/current").is_ok_and(|profile| !profile.starts_with("unconfined"))
}
