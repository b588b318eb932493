//! Which capabilities a step has: Docker's default set, `00000000a80425fb`.

use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities,
};

/// What root of a step may do.
const GRANTED: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::AUDIT_WRITE);

/// Capability numbers fit a 64-bit set.
const NUMBER_MAX: u32 = 63;

/// Takes from the bounding set all that no process of the step may ever have, and `without`.
pub(crate) fn bound(without: CapabilitySet) -> Result<(), Errno> {
    for number in 0..=NUMBER_MAX {
        let one = CapabilitySet::from_bits_retain(1 << number);
        if (GRANTED - without).contains(one) {
            continue;
        }
        match remove_capability_from_bounding_set(one) {
            Ok(()) => {}
            // This kernel knows no capability of this number, nor any above.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Limits this process to the granted set less `without`; one that is not root any more keeps nothing.
pub(crate) fn limit(without: CapabilitySet) -> Result<(), Errno> {
    clear_ambient_capability_set()?;
    let now = capabilities(None)?;
    set_capabilities(
        None,
        CapabilitySets {
            effective: now.effective & (GRANTED - without),
            permitted: now.permitted & (GRANTED - without),
            inheritable: CapabilitySet::empty(),
        },
    )
}

/// What root needs to unpack layers and to run steps by `chroot`.
const NEEDED: [(CapabilitySet, &str); 7] = [
    (CapabilitySet::SYS_CHROOT, "CAP_SYS_CHROOT"),
    (CapabilitySet::CHOWN, "CAP_CHOWN"),
    (CapabilitySet::DAC_OVERRIDE, "CAP_DAC_OVERRIDE"),
    (CapabilitySet::FOWNER, "CAP_FOWNER"),
    (CapabilitySet::SETUID, "CAP_SETUID"),
    (CapabilitySet::SETGID, "CAP_SETGID"),
    (CapabilitySet::KILL, "CAP_KILL"),
];

/// Returns the names of the capabilities that this process lacks for steps by `chroot`.
pub(crate) fn missing_for_chroot() -> Result<Vec<&'static str>, Errno> {
    let effective = capabilities(None)?.effective;
    Ok(NEEDED.iter().filter(|(one, _)| !effective.contains(*one)).map(|(_, name)| *name).collect())
}

/// Whether this process may mount in its user namespace.
pub(crate) fn may_administer() -> Result<bool, Errno> {
    Ok(capabilities(None)?.effective.contains(CapabilitySet::SYS_ADMIN))
}
