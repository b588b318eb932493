//! The caller's side of a step that somebody attends: on a terminal, or with streams of the caller's own.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

use crate::error::{ExecError, Operation};
use crate::handover;
use crate::kept::{Kept, run_as_allowed};
use crate::run::{Keeper, may_start, outcome, setup};
use crate::signals::Control;
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
/// A terminal has the modes it had before when this returns, with whatever result. With `control` it can be ended, or signalled.
///
/// # Errors
/// When the step could not be started or was cancelled. A step that ran and failed is an [`Exit`].
pub fn attend<'a>(
    spec: &RunSpec,
    root: &RootPlan,
    control: impl Into<Control<'a>>,
    streams: &Streams,
) -> Result<Exit, ExecError> {
    let control = control.into();
    may_start(spec, control.cancel)?;
    run_as_allowed(root, |kept| attend_once(spec, root, kept, control, streams))
}

fn attend_once(
    spec: &RunSpec,
    root: &RootPlan,
    kept: Kept,
    control: Control<'_>,
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
            show(keeper, terminal, control)?;
        }
        await_report(keeper, control)
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
fn show(keeper: &Keeper, terminal: &Terminal, control: Control<'_>) -> Result<(), ExecError> {
    let failed = setup(Operation::Terminal);
    let (mine, theirs) =
        UnixStream::pair().map_err(|source| ExecError::Setup { operation: Operation::Terminal, source })?;
    handover::give(&keeper.control, &OwnedFd::from(theirs)).map_err(&failed)?;
    // What it wrote waits there also when it has ended since.
    if let [_, false] = wait_for_any(keeper, [keeper.control.as_fd(), mine.as_fd()], control)? {
        // It could not be started.
        return Ok(());
    }
    let Some(master) = handover::take(&mine).map_err(&failed)? else { return Ok(()) };
    match pass_on(terminal, &master, &keeper.control, control).map_err(&failed)? {
        Ended::Told => Ok(()),
        Ended::Cancelled => Err(ExecError::Cancelled),
    }
}

fn await_report(keeper: &Keeper, control: Control<'_>) -> Result<Option<Report>, ExecError> {
    wait_for_any(keeper, [keeper.control.as_fd()], control)?;
    receive(&keeper.control).map_err(|source| ExecError::Setup { operation: Operation::Talk, source })
}

/// Waits until one of some descriptors can be read from, and hands signals on meanwhile; returns which.
fn wait_for_any<const COUNT: usize>(
    keeper: &Keeper,
    descriptors: [BorrowedFd<'_>; COUNT],
    control: Control<'_>,
) -> Result<[bool; COUNT], ExecError> {
    let [cancel, signals] = control.descriptors();
    let told = [cancel, signals].into_iter().chain(descriptors);
    let mut polled: Vec<PollFd<'_>> =
        told.map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN)).collect();
    loop {
        match poll(&mut polled, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(setup(Operation::Talk)(errno)),
        }
        let ready: Vec<bool> = polled.iter().map(|polled| !polled.revents().is_empty()).collect();
        if ready[0] {
            return Err(ExecError::Cancelled);
        }
        control.hand_on(&keeper.control);
        if ready[2..].contains(&true) {
            return Ok(std::array::from_fn(|index| ready[2 + index]));
        }
    }
}
