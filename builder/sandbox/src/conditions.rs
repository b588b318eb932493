//! What a step finds otherwise than on other machines or at other times, on purpose: to see whether what it makes depends on it.

use rustix::io::Errno;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::spec::Conditions;
use crate::sys;

/// Gives this process, which is about to be the step, other conditions.
pub(crate) fn apply(conditions: Conditions) -> Result<(), Errno> {
    for _ in 0..conditions.burned_pids {
        let Some(child) = sys::fork()? else { sys::exit_now(0) };
        sys::wait_with_usage(child)?;
    }
    if conditions.has_one_processor {
        let allowed = sched_getaffinity(None)?;
        let mut one = CpuSet::new();
        if let Some(first) = (0..CpuSet::MAX_CPU).find(|number| allowed.is_set(*number)) {
            one.set(first);
            sched_setaffinity(None, &one)?;
        }
    }
    Ok(())
}
