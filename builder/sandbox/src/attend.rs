//! The caller's side of a step that somebody attends: on a terminal, or with streams of the caller's own.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

use crate::cancel::CancelToken;
use crate::error::{ExecError, Operation};
use crate::handover;
use crate::kept::{Kept, run_as_allowed};
use crate::run::{Keeper, may_start, outcome, setup};
use crate::spec::{Exit, RootPlan, RunSpec};
use crate::terminal::{Ended, Terminal, pass_on};
use crate::wire::{JobRef, Report, Root, StreamKind, receive};

/// What a step that is attended reads from and writes to.
#[derive(Debug, Clone)]
pub enum Streams {
    /// A terminal of its own, shown on this one.
    Terminal(Arc<Terminal>),
    /// These, and they are all of the caller's that it gets.
    Own(Arc<[OwnedFd; 3]>),
}

/// Runs one step to its end, as [`run`](crate::run()) does, but with standard streams that somebody attends. Nothing is captured.
///
/// A terminal has the modes it had before when this returns, with whatever result.
///
/// # Errors
/// When the step could not be started or was cancelled. A step that ran and failed is an [`Exit`].
pub fn attend(
    spec: &RunSpec,
    root: &RootPlan,
    cancel: &CancelToken,
    streams: &Streams,
) -> Result<Exit, ExecError> {
    may_start(spec, cancel)?;
    run_as_allowed(root, |kept| attend_once(spec, root, kept, cancel, streams))
}

fn attend_once(
    spec: &RunSpec,
    root: &RootPlan,
    kept: Kept,
    cancel: &CancelToken,
    streams: &Streams,
) -> Result<Exit, ExecError> {
    let started = Instant::now();
    let mut keeper = start(streams, kept)?;
    let kind = match streams {
        Streams::Own(_) => StreamKind::Own,
        Streams::Terminal(terminal) => {
            let size = terminal.size();
            StreamKind::Terminal((size.ws_row, size.ws_col))
        }
    };
    let job = JobRef { spec, root: Root::from(root), streams: kind, kept };
    let (report, status) = keeper.see_through(&job, |keeper| {
        if let Streams::Terminal(terminal) = streams {
            show(keeper, terminal, cancel)?;
        }
        await_report(keeper, cancel)
    })?;
    outcome(report, status, started.elapsed())
}

fn start(streams: &Streams, kept: Kept) -> Result<Keeper, ExecError> {
    match streams {
        Streams::Own(own) => Keeper::start([&own[0], &own[1], &own[2]], kept),
        Streams::Terminal(_) => {
            let null = open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
                .map_err(setup(Operation::Terminal))?;
            Keeper::start([&null, &null, &null], kept)
        }
    }
}

/// Shows the step's terminal until the keeper has something to say.
fn show(keeper: &Keeper, terminal: &Terminal, cancel: &CancelToken) -> Result<(), ExecError> {
    let failed = setup(Operation::Terminal);
    let (mine, theirs) =
        UnixStream::pair().map_err(|source| ExecError::Setup { operation: Operation::Terminal, source })?;
    handover::give(&keeper.control, &OwnedFd::from(theirs)).map_err(&failed)?;
    match wait_for_any([keeper.control.as_fd(), cancel.as_fd(), mine.as_fd()]).map_err(&failed)? {
        [_, true, _] => return Err(ExecError::Cancelled),
        // Also when it has ended since: what it wrote waits there.
        [.., true] => {}
        // It could not be started.
        _ => return Ok(()),
    }
    let Some(master) = handover::take(&mine).map_err(&failed)? else { return Ok(()) };
    match pass_on(terminal, &master, &keeper.control, cancel).map_err(&failed)? {
        Ended::Told => Ok(()),
        Ended::Cancelled => Err(ExecError::Cancelled),
    }
}

fn await_report(keeper: &Keeper, cancel: &CancelToken) -> Result<Option<Report>, ExecError> {
    match wait_for_any([keeper.control.as_fd(), cancel.as_fd()]).map_err(setup(Operation::Talk))? {
        [_, true] => Err(ExecError::Cancelled),
        _ => {
            receive(&keeper.control).map_err(|source| ExecError::Setup { operation: Operation::Talk, source })
        }
    }
}

/// Waits until one of some descriptors can be read from; returns which.
fn wait_for_any<const COUNT: usize>(
    descriptors: [std::os::fd::BorrowedFd<'_>; COUNT],
) -> Result<[bool; COUNT], Errno> {
    let mut polled = descriptors.map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN));
    loop {
        match poll(&mut polled, None) {
            Ok(_) => return Ok(polled.map(|polled| !polled.revents().is_empty())),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
