//! A step without namespaces and mounts: root of a container that has neither right. It runs by `chroot` in a directory of its own,
//! with what [`crate::covers`] puts there; the keeper is the subreaper of all that it starts.
//!
//! What it lacks beside a step with namespaces: `/proc` and `/sys`, a network and processes of its own, memory-backed files, mounts
//! that cannot be written to, kiln's own system call filter. The container around it has the last two.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, Uid, chdir, chroot, fchdir, getpid, pidfd_open, set_child_subreaper,
    set_parent_process_death_signal, setsid,
};
use rustix::thread::{CapabilitySet, set_thread_res_uid};

use crate::covers::Covers;
use crate::descendants::end_all;
use crate::error::Operation;
use crate::ids::IdMap;
use crate::kept::Kept;
use crate::program::Program;
use crate::root::{self, MountedRoot};
use crate::signals::Delivery;
use crate::spec::Network;
use crate::stubs::Footprint;
use crate::sys::{self, Waited};
use crate::wire::{Failure, Job, StepMessage, StreamKind, receive, send};
use crate::{capabilities, pty, step};

/// How a step and its processes ended, and what is left in the root.
pub(crate) struct Ended {
    pub(crate) footprint: Footprint,
    pub(crate) waited: Waited,
}

/// Runs a step to its end; `None` when the caller went away meanwhile. In every case nothing of it is left.
pub(crate) fn run(
    job: &Job,
    (directory, aside): (&OsStr, &OsStr),
    control: &UnixStream,
) -> Result<Option<Ended>, Failure> {
    let start = Failure::during(Operation::Fork);
    set_child_subreaper(Some(getpid())).map_err(&start)?;
    setsid().map_err(&start)?;
    if job.spec.network == Network::None {
        return Err(Failure::Unavailable { what: "a network of their own (`--network=none`)".to_owned() });
    }
    let ids = IdMap::of_this_process().map_err(Failure::during_io(Operation::Fork))?;
    let open = |path| root::open_source(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC);
    let changes = open(directory)?;
    let path = root::path_of(&changes).map_err(&start)?;
    let mounted = MountedRoot { root: open(directory)?, files: open(aside)?, path };
    let mut covers = Covers::new(&mounted);
    let ran = covers.put(&job.spec).and_then(|()| {
        covers.footprint.seal(&changes, false).map_err(Failure::during(Operation::Stubs))?;
        start_and_watch(job, &ids, &mounted, control)
    });
    let ended = end_all().map_err(Failure::during(Operation::Wait));
    let untouched = covers.footprint.untouched(&changes);
    let taken = covers.take_back();
    let footprint = std::mem::take(&mut covers.footprint);
    let removed = footprint.take_away(&changes, &untouched).map_err(Failure::during(Operation::Stubs));
    let waited = ran?;
    ended.and(taken).and(removed)?;
    Ok(waited.map(|waited| Ended { footprint, waited }))
}

fn start_and_watch(
    job: &Job,
    ids: &IdMap,
    mounted: &MountedRoot,
    control: &UnixStream,
) -> Result<Option<Waited>, Failure> {
    let (mut channel, channel_end) = UnixStream::pair().map_err(Failure::during_io(Operation::Fork))?;
    let Some(step) = sys::fork().map_err(Failure::during(Operation::Fork))? else {
        drop(channel);
        become_step(job, ids, mounted, channel_end);
    };
    drop(channel_end);
    match receive(&mut channel) {
        Ok(Some(StepMessage::Failed(failure))) => return Err(failure),
        // Closed by `execve`.
        Ok(_) => {}
        Err(error) => return Err(Failure::during_io(Operation::Talk)(error)),
    }
    if !watch(step, control)? {
        return Ok(None);
    }
    sys::wait_with_usage(step).map(Some).map_err(Failure::during(Operation::Wait))
}

/// Returns when the step has ended, or the caller has gone: then `false`.
fn watch(step: Pid, control: &UnixStream) -> Result<bool, Failure> {
    let waiting = Failure::during(Operation::Wait);
    let ended: OwnedFd = pidfd_open(step, PidfdFlags::empty()).map_err(&waiting)?;
    let mut delivery = Delivery::new(step, Kept::ByDescent);
    delivery.start();
    loop {
        let mut polled = [PollFd::new(&ended, PollFlags::IN), PollFd::new(control, PollFlags::IN)];
        match poll(&mut polled, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(waiting(errno)),
        }
        let [has_ended, was_told] = polled.map(|polled| !polled.revents().is_empty());
        if was_told && !delivery.hear(control) {
            return Ok(false);
        }
        if has_ended {
            return Ok(true);
        }
    }
}

fn become_step(job: &Job, ids: &IdMap, mounted: &MountedRoot, mut channel: UnixStream) -> ! {
    let Err(failure) = prepare_and_execute(job, ids, mounted);
    // If the keeper is gone this process is about to be killed with it.
    send(&mut channel, &StepMessage::Failed(failure)).unwrap_or_default();
    sys::exit_now(step::NOT_STARTED)
}

fn prepare_and_execute(job: &Job, ids: &IdMap, mounted: &MountedRoot) -> Result<Infallible, Failure> {
    let spec = &job.spec;
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(Failure::during(Operation::Fork))?;
    step::check_ids(spec, ids)?;
    let program = Program::new(spec)?;
    let terminal = match (job.streams, &job.terminal) {
        (StreamKind::Terminal(size), Some(give_to)) => {
            // Its root will have none.
            Some((pty::open_new().map_err(Failure::during(Operation::Terminal))?, size, give_to))
        }
        _ => None,
    };
    let entered = fchdir(&mounted.root).and_then(|()| chroot(c".")).and_then(|()| chdir(c"/"));
    entered.map_err(Failure::during(Operation::Chroot))?;
    if job.streams == StreamKind::Captured {
        match step::empty_input() {
            // It was not allowed to be made; then the container's stays, as empty.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(Failure::during(Operation::Input)(errno)),
        }
    }
    step::set_process_state(spec)?;
    if let Some((master, size, give_to)) = terminal {
        pty::take_control(&master, size, give_to).map_err(Failure::during(Operation::Terminal))?;
    }
    if job.streams != StreamKind::Own {
        step::own_output(&spec.user).map_err(Failure::during(Operation::User))?;
    }
    // Who may call `chroot` can leave one.
    let without = CapabilitySet::SYS_CHROOT;
    match capabilities::bound(without) {
        // The set stays what the container allows.
        Ok(()) | Err(Errno::PERM) => {}
        Err(errno) => return Err(Failure::during(Operation::Capabilities)(errno)),
    }
    step::set_groups(&spec.user).map_err(Failure::during(Operation::User))?;
    let uid = Uid::from_raw(spec.user.uid);
    set_thread_res_uid(uid, uid, uid).map_err(Failure::during(Operation::User))?;
    capabilities::limit(without).map_err(Failure::during(Operation::Capabilities))?;
    // The kernel has forgotten it with the change of user.
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(Failure::during(Operation::Fork))?;
    sys::close_on_exec_from(3).map_err(Failure::during(Operation::Fork))?;
    sys::reset_signals();
    Err(program.execute())
}
