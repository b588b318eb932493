//! Steps in a user namespace that has many ids, but not all: the kernel sets owners, and whoever needs more is found out.
//!
//! Only calls with an id that may be missing, and those that make devices, come here; the filter compares the numbers. What the
//! kernel would refuse ends the step, so that it can be run again with owners remembered.

use rustix::io::Errno;

use super::caller::Proc;
use crate::ids::IdMap;
use crate::seccomp::{Notified, When};
use crate::sys::Notification;
use crate::wire::Failure;

/// The bit that the modes of both kinds of device have, and those of no other file.
const DEVICE_BIT: u32 = libc::S_IFCHR;

/// Where a call has ids: the places of those of users, and of groups.
struct Places {
    number: i64,
    users: &'static [u32],
    groups: &'static [u32],
}

const fn places(number: i64, users: &'static [u32], groups: &'static [u32]) -> Places {
    Places { number, users, groups }
}

const CALLS: &[Places] = &[
    #[cfg(target_arch = "x86_64")]
    places(libc::SYS_chown, &[1], &[2]),
    #[cfg(target_arch = "x86_64")]
    places(libc::SYS_lchown, &[1], &[2]),
    places(libc::SYS_fchown, &[1], &[2]),
    places(libc::SYS_fchownat, &[2], &[3]),
    places(libc::SYS_setuid, &[0], &[]),
    places(libc::SYS_setgid, &[], &[0]),
    places(libc::SYS_setreuid, &[0, 1], &[]),
    places(libc::SYS_setregid, &[], &[0, 1]),
    places(libc::SYS_setresuid, &[0, 1, 2], &[]),
    places(libc::SYS_setresgid, &[], &[0, 1, 2]),
    places(libc::SYS_setfsuid, &[0], &[]),
    places(libc::SYS_setfsgid, &[], &[0]),
];

/// Returns the calls that come here: a few more than the kernel would refuse.
pub(super) fn notified(ids: &IdMap) -> Vec<Notified> {
    let mut notified = vec![
        #[cfg(target_arch = "x86_64")]
        Notified { number: libc::SYS_mknod, when: When::AnyBit(1, DEVICE_BIT) },
        Notified { number: libc::SYS_mknodat, when: When::AnyBit(2, DEVICE_BIT) },
        // Its list is in memory, where a filter cannot look.
        Notified { number: libc::SYS_setgroups, when: When::Always },
    ];
    let from = ids.first_missing();
    notified.extend(CALLS.iter().map(|call| {
        let places = [call.users, call.groups].concat();
        Notified { number: call.number, when: When::IdFrom(places, from) }
    }));
    notified
}

/// Returns what a call needs that the kernel would refuse it; `None` when it would not, or not for that.
pub(super) fn lack(call: &Notification, ids: &IdMap, proc: &Proc) -> Option<Failure> {
    match call.number {
        #[cfg(target_arch = "x86_64")]
        libc::SYS_mknod => proc.may_make_devices(call.pid).then_some(Failure::NoDevices),
        libc::SYS_mknodat => proc.may_make_devices(call.pid).then_some(Failure::NoDevices),
        libc::SYS_setgroups => {
            // A list that cannot be read, or is not allowed, is the kernel's to refuse.
            let groups = groups_of(call, proc).unwrap_or_default();
            ids.lack(&[], &groups).map(Failure::from)
        }
        number => {
            let given = |places: &[u32]| -> Vec<u32> {
                let ids = places.iter().map(|place| call.arguments[*place as usize] as u32);
                // The largest id means none.
                ids.filter(|id| *id != u32::MAX).collect()
            };
            let call = CALLS.iter().find(|call| call.number == number)?;
            ids.lack(&given(call.users), &given(call.groups)).map(Failure::from)
        }
    }
}

/// Returns the list that `setgroups` is given.
pub(super) fn groups_of(call: &Notification, proc: &Proc) -> Result<Vec<u32>, Errno> {
    const GROUPS_MAX: usize = 65536;
    let count = call.arguments[0] as u32 as usize;
    if count > GROUPS_MAX {
        return Err(Errno::INVAL);
    }
    if count == 0 {
        return Ok(Vec::new());
    }
    let bytes = proc.read_memory(call.pid, call.arguments[1], count * 4)?;
    if bytes.len() < count * 4 {
        return Err(Errno::FAULT);
    }
    let (ids, _) = bytes.as_chunks::<4>();
    let mut ids: Vec<u32> = ids.iter().map(|id| u32::from_ne_bytes(*id)).collect();
    ids.sort_unstable();
    // The largest id means none.
    if ids.last() == Some(&u32::MAX) { Err(Errno::INVAL) } else { Ok(ids) }
}
