//! The child's side: what this binary does when the sandbox re-executed it. It becomes the *keeper*: the first process
//! of a pid namespace around the step, which forks the step, waits for it and tidies up.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, set_child_subreaper, setsid};
use rustix::thread::UnshareFlags;

use crate::descendants::end_all;
use crate::error::Operation;
use crate::ids::IdMap;
use crate::kept::Kept;
use crate::ownership::{Supervisor, notified};
use crate::signals::Delivery;
use crate::spec::{ExitStatus, OwnershipRecord, Owning, RunSpec};
use crate::stubs::Footprint;
use crate::sys::{self, Waited};
use crate::wire::{Failure, Finished, Job, Report, Root, StepMessage, StreamKind, receive, send};
use crate::{chrooted, handover, root, step};

/// `argv[0]` of a re-executed child; `argv[1]` is the number of its control socket.
pub(crate) const MARKER: &str = "kiln-sandbox-child";

/// Exit code of a child that could not talk to its caller.
const PROTOCOL_BROKEN: i32 = 70;

/// Becomes the sandbox's child when this process was started as one; it then never returns. Else does nothing.
///
/// To be called first in `main`, before any thread exists and before anything else is read or opened.
pub fn run_if_child() {
    let mut arguments = std::env::args_os();
    if arguments.next().is_none_or(|name| name != MARKER) {
        return;
    }
    let number = arguments.next().and_then(|text| std::str::from_utf8(text.as_bytes()).ok()?.parse().ok());
    let Some(Ok(control)) = number.map(sys::inherited_fd) else {
        sys::exit_now(PROTOCOL_BROKEN);
    };
    keep(UnixStream::from(control))
}

fn keep(mut control: UnixStream) -> ! {
    let Ok(Some(mut job)) = receive::<Job>(&mut control) else {
        sys::exit_now(PROTOCOL_BROKEN);
    };
    if matches!(job.streams, StreamKind::Terminal(_)) {
        let Ok(Some(terminal)) = handover::take(&control) else {
            sys::exit_now(PROTOCOL_BROKEN);
        };
        job.terminal = Some(terminal);
    }
    let report = match run_step(&mut job, &control) {
        Ok(finished) => Report::Finished(finished),
        Err(failure) => Report::Failed(failure),
    };
    let sent = send(&mut control, &report);
    sys::exit_now(if sent.is_ok() { 0 } else { PROTOCOL_BROKEN })
}

fn run_step(job: &mut Job, control: &UnixStream) -> Result<Finished, Failure> {
    if let Root::Chroot { root, aside } = &job.root {
        return match chrooted::run(job, (root, aside), control)? {
            Some(ended) => Ok(finished(&ended.footprint, Vec::new(), &ended.waited)),
            // Nobody is there to hear more.
            None => sys::exit_now(PROTOCOL_BROKEN),
        };
    }
    let start = Failure::during(Operation::Fork);
    // Signals of a terminal are for the caller, who decides what becomes of the step.
    setsid().map_err(&start)?;
    let ids = IdMap::of_this_process().map_err(Failure::during_io(Operation::Fork))?;
    if ids.is_single() {
        job.spec.remembered.owners = Owning::Remember;
    }
    let job = &*job;
    let changes = root::open_source(job.root.changes(), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC)?;
    let pair = || UnixStream::pair().map_err(Failure::during_io(Operation::Fork));
    let ((mut channel, channel_end), (listeners, listeners_end)) = (pair()?, pair()?);
    match job.kept {
        Kept::ByNamespace => {
            sys::unshare(UnshareFlags::NEWPID).map_err(Failure::during(Operation::Unshare))?;
        }
        Kept::ByDescent => set_child_subreaper(Some(getpid())).map_err(&start)?,
    }
    let Some(step) = sys::fork().map_err(&start)? else {
        drop((channel, listeners));
        step::become_step(job, &ids, channel_end, listeners_end);
    };
    drop((channel_end, listeners_end));
    let supervise = || match notified(&job.spec, &ids).is_empty() {
        true => Ok(None),
        false => supervisor(&listeners, &changes, &job.spec, &ids),
    };
    let mut caller = Caller { control, kept: job.kept, delivery: Delivery::new(step, job.kept) };
    let (footprint, mut started) = await_start(&mut channel, &mut caller, supervise);
    let watched = match &mut started {
        Ok(supervisor) => watch(step, &mut caller, supervisor.as_mut()),
        Err(_) => Ok(()),
    };
    if started.is_err() || watched.is_err() {
        // It may still run, and nobody watches it any more; if it is gone already, so much the better.
        rustix::process::kill_process(step, Signal::KILL).unwrap_or_default();
    }
    let waited = sys::wait_with_usage(step).map_err(Failure::during(Operation::Wait))?;
    let ended = match job.kept {
        Kept::ByNamespace => Ok(()),
        Kept::ByDescent => end_all().map_err(Failure::during(Operation::Wait)),
    };
    let removed = footprint.remove(&changes).map_err(Failure::during(Operation::Stubs));
    // Until here, so that no call that nobody answers comes back to a step that is being ended.
    let supervisor = started?;
    watched?;
    let ownership = supervisor.map(Supervisor::into_records).unwrap_or_default();
    ended.and(removed)?;
    let mut finished = finished(&footprint, ownership, &waited);
    finished.status = caller.delivery.told(finished.status);
    Ok(finished)
}

/// Returns who answers the step's system calls; `None` when the step failed before it had any to ask.
fn supervisor<'a>(
    listeners: &UnixStream,
    changes: &'a OwnedFd,
    spec: &RunSpec,
    ids: &'a IdMap,
) -> Result<Option<Supervisor<'a>>, Failure> {
    let supervising = Failure::during(Operation::Supervise);
    let Some(listener) = handover::take(listeners).map_err(&supervising)? else { return Ok(None) };
    // A `/proc` for this pid namespace can be made only where mounts belong to us.
    let supervisor =
        sys::unshare(UnshareFlags::NEWNS).and_then(|()| Supervisor::new(listener, changes, spec, ids));
    supervisor.map(Some).map_err(supervising)
}

/// Waits until the step's program runs or cannot; returns what its mounts left behind in either case. Becoming a program is
/// a call that is supervised, too.
fn await_start<'a>(
    channel: &mut UnixStream,
    caller: &mut Caller<'_>,
    supervise: impl Fn() -> Result<Option<Supervisor<'a>>, Failure>,
) -> (Footprint, Result<Option<Supervisor<'a>>, Failure>) {
    let (mut footprint, mut started) =
        (Footprint::default(), Err(Failure::during(Operation::Fork)(Errno::CHILD)));
    loop {
        let supervisor = started.as_mut().ok().and_then(Option::as_mut);
        if let Err(failure) = wait_beside_caller(&*channel, caller, supervisor) {
            return (footprint, Err(failure));
        }
        match receive(&mut *channel) {
            Ok(Some(StepMessage::Mounted(left))) => (footprint, started) = (left, supervise()),
            Ok(Some(StepMessage::Failed(failure))) => return (footprint, Err(failure)),
            // Closed by `execve`, or by death before anything was mounted.
            Ok(None) => return (footprint, started),
            Err(error) => return (footprint, Err(Failure::during_io(Operation::Talk)(error))),
        }
        if started.is_err() {
            return (footprint, started);
        }
    }
}

/// Returns when the step, whose program runs, has ended.
fn watch(step: Pid, caller: &mut Caller<'_>, supervisor: Option<&mut Supervisor<'_>>) -> Result<(), Failure> {
    caller.delivery.start();
    let ended = pidfd_open(step, PidfdFlags::empty()).map_err(Failure::during(Operation::Wait))?;
    wait_beside_caller(&ended, caller, supervisor)
}

/// Whoever asked for the step, and how it ends when they have gone.
struct Caller<'a> {
    control: &'a UnixStream,
    kept: Kept,
    delivery: Delivery,
}

impl Caller<'_> {
    /// Ends this process and the step's.
    fn has_gone(&self) -> ! {
        if self.kept == Kept::ByDescent {
            // Nobody is there to hear that some could not be ended.
            end_all().unwrap_or_default();
        }
        sys::exit_now(PROTOCOL_BROKEN)
    }
}

/// Waits until something can be read, and answers the step's calls and delivers the caller's signals meanwhile. When the caller goes
/// away first, so does this process, and the kernel, or this process itself, ends the step with it. (No death signal: that would
/// come when the *thread* ends that started this process, and the caller may have used another one since.)
fn wait_beside_caller(
    from: &impl AsFd,
    caller: &mut Caller<'_>,
    mut supervisor: Option<&mut Supervisor<'_>>,
) -> Result<(), Failure> {
    loop {
        let mut polled = vec![PollFd::new(from, PollFlags::IN), PollFd::new(caller.control, PollFlags::IN)];
        if let Some(supervisor) = &supervisor {
            polled.push(PollFd::from_borrowed_fd(supervisor.as_fd(), PollFlags::IN));
        }
        match poll(&mut polled, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Failure::during(Operation::Wait)(errno)),
        }
        let happened: Vec<PollFlags> = polled.iter().map(PollFd::revents).collect();
        if !happened[1].is_empty() && !caller.delivery.hear(caller.control) {
            caller.has_gone();
        }
        match supervisor.as_deref_mut() {
            Some(supervisor) if happened[2].contains(PollFlags::IN) => {
                supervisor.serve()?;
            }
            _ if !happened[0].is_empty() => return Ok(()),
            _ => {}
        }
    }
}

fn finished(footprint: &Footprint, ownership: Vec<OwnershipRecord>, waited: &Waited) -> Finished {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    Finished {
        status: exit_status(waited.status),
        stubs: footprint.paths(),
        ownership,
        user_us: micros(waited.user),
        system_us: micros(waited.system),
        memory_bytes_max: waited.memory_bytes_max,
    }
}

/// Reads a status of `wait4`; the step was not traced, so it exited or was killed.
fn exit_status(raw: i32) -> ExitStatus {
    match raw & 0x7f {
        0 => ExitStatus::Code(((raw >> 8) & 0xff) as u8),
        signal => ExitStatus::Signal(signal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_status_is_a_code_or_a_signal() {
        let rows = [
            (0, ExitStatus::Code(0)),
            (0x0300, ExitStatus::Code(3)),
            (0xff00, ExitStatus::Code(255)),
            (9, ExitStatus::Signal(9)),
            (0x8b, ExitStatus::Signal(11)),
        ];
        for (raw, expected) in rows {
            assert_eq!(exit_status(raw), expected);
        }
    }
}
