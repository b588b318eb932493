//! Applies resource limits to this process. Unaware of who asked for them.

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::spec::{Limits, UlimitKind};

/// Sets the limits; raising a hard limit needs `CAP_SYS_RESOURCE` in the initial user namespace.
pub(crate) fn apply(limits: &Limits) -> Result<(), Errno> {
    for limit in &limits.ulimits {
        setrlimit(resource(limit.kind), Rlimit { current: limit.soft, maximum: limit.hard })?;
    }
    Ok(())
}

/// Bounds the number of tasks in the pid namespace of this process. Kernels before 6.14 have one bound for the whole
/// machine, which is left alone.
pub(crate) fn bound_tasks(limits: &Limits, proc: &rustix::fd::OwnedFd) -> Result<(), Errno> {
    use rustix::fs::{Mode, OFlags, openat};
    if !has_own_task_bound() {
        return Ok(());
    }
    let file = openat(proc, c"sys/kernel/pid_max", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    let value = limits.tasks_max.max(TASKS_MIN).to_string();
    match rustix::io::write(&file, value.as_bytes()) {
        // Above the bound of an outer namespace: then that one counts.
        Ok(_) | Err(Errno::INVAL) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// The kernel takes no smaller bound (`RESERVED_PIDS + 1`).
const TASKS_MIN: u32 = 301;

fn has_own_task_bound() -> bool {
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy();
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0u32));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    version >= (6, 14)
}

fn resource(kind: UlimitKind) -> Resource {
    match kind {
        UlimitKind::Core => Resource::Core,
        UlimitKind::Cpu => Resource::Cpu,
        UlimitKind::Data => Resource::Data,
        UlimitKind::Fsize => Resource::Fsize,
        UlimitKind::Locks => Resource::Locks,
        UlimitKind::Memlock => Resource::Memlock,
        UlimitKind::Msgqueue => Resource::Msgqueue,
        UlimitKind::Nice => Resource::Nice,
        UlimitKind::Nofile => Resource::Nofile,
        UlimitKind::Nproc => Resource::Nproc,
        UlimitKind::Rss => Resource::Rss,
        UlimitKind::Rtprio => Resource::Rtprio,
        UlimitKind::Rttime => Resource::Rttime,
        UlimitKind::Sigpending => Resource::Sigpending,
        UlimitKind::Stack => Resource::Stack,
        UlimitKind::As => Resource::As,
    }
}
