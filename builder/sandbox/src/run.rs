//! The caller's side: starts the keeper, streams the output, returns how the step ended.

use std::ffi::CString;
use std::io::ErrorKind;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, waitpid};

use crate::cancel::CancelToken;
use crate::child::MARKER;
use crate::error::{ExecError, Operation};
use crate::kept::{Kept, run_as_allowed};
use crate::own_program;
use crate::spec::{Exit, ResourceUsage, RootPlan, RunSpec};
use crate::sys::{self, Spawn};
use crate::wire::{Finished, JobRef, Report, Root, StreamKind, receive, send};

/// Room in the pipe; larger means fewer wake-ups for a step that prints much.
const PIPE_BYTES: usize = 256 << 10;
const READ_BYTES: usize = 64 << 10;

/// Runs one step to its end and hands its output (stdout and stderr, in order) to `output` as it comes.
///
/// Blocks the calling thread. When it returns, with whatever result, no process and no mount of the step is left.
/// [`run_if_child`](crate::run_if_child) must be the first call of the program's `main`.
///
/// # Errors
/// When the step could not be started or was cancelled. A step that ran and failed is an [`Exit`].
pub fn run(
    spec: &RunSpec,
    root: &RootPlan,
    cancel: &CancelToken,
    output: &mut dyn FnMut(&[u8]),
) -> Result<Exit, ExecError> {
    run_with(&Spare::default(), spec, root, cancel, output)
}

/// As [`run`], with a keeper that waits already, and another one for the next step.
///
/// # Errors
/// As [`run`].
pub fn run_with(
    spare: &Spare,
    spec: &RunSpec,
    root: &RootPlan,
    cancel: &CancelToken,
    output: &mut dyn FnMut(&[u8]),
) -> Result<Exit, ExecError> {
    may_start(spec, cancel)?;
    run_as_allowed(root, |kept| run_once(spare, spec, root, kept, cancel, output))
}

fn run_once(
    spare: &Spare,
    spec: &RunSpec,
    root: &RootPlan,
    kept: Kept,
    cancel: &CancelToken,
    output: &mut dyn FnMut(&[u8]),
) -> Result<Exit, ExecError> {
    let started = Instant::now();
    let (mut keeper, pipe) = match kept {
        Kept::ByDescent => start(Kept::ByDescent)?,
        Kept::ByNamespace => spare.take_or_start()?,
    };
    let job = JobRef { spec, root: Root::from(root), streams: StreamKind::Captured, kept };
    let (report, status) = keeper.see_through(&job, |keeper| {
        spare.refill();
        follow(keeper, &pipe, cancel, output)
    })?;
    drain(&pipe, output)?;
    outcome(report, status, started.elapsed())
}

/// Refuses what need not be tried.
pub(crate) fn may_start(spec: &RunSpec, cancel: &CancelToken) -> Result<(), ExecError> {
    match (spec.argv.is_empty(), cancel.is_cancelled()) {
        (true, _) => Err(ExecError::EmptyCommand),
        (false, true) => Err(ExecError::Cancelled),
        (false, false) => Ok(()),
    }
}

/// Returns what a step came to, by its keeper's report, or by how the keeper ended without one.
pub(crate) fn outcome(report: Option<Report>, status: WaitStatus, wall: Duration) -> Result<Exit, ExecError> {
    match report {
        Some(Report::Finished(finished)) => Ok(exit(finished, wall)),
        Some(Report::Failed(failure)) => Err(failure.into()),
        None => Err(ExecError::Lost { how: describe(status) }),
    }
}

/// A keeper that was started before its step is known, so that no step but the first waits for a program to start. It does nothing
/// but wait for its job, and goes when this is dropped or the process ends.
#[derive(Debug, Default)]
pub struct Spare {
    ready: Mutex<Option<(Keeper, OwnedFd)>>,
    /// For how many steps more a keeper is worth having.
    expected: AtomicUsize,
}

impl Spare {
    /// Tells that so many more steps will be run with this, or a few less.
    pub fn expect(&self, steps: usize) {
        self.expected.fetch_add(steps, Ordering::Relaxed);
    }

    fn take_or_start(&self) -> Result<(Keeper, OwnedFd), ExecError> {
        let one_less = |expected: usize| expected.checked_sub(1);
        // Zero stays zero: more steps came than were expected.
        self.expected.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).unwrap_or_default();
        let ready = self.locked().take();
        ready.map_or_else(|| start(Kept::ByNamespace), Ok)
    }

    /// Starts the next keeper if there will be a step for it.
    fn refill(&self) {
        let mut ready = self.locked();
        if ready.is_none() && self.expected.load(Ordering::Relaxed) > 0 {
            // The next step tries again, and says what is wrong.
            *ready = start(Kept::ByNamespace).ok();
        }
    }

    fn locked(&self) -> MutexGuard<'_, Option<(Keeper, OwnedFd)>> {
        // A keeper is there or not, so a panic elsewhere left no half of one.
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The child process and the socket to it; killed and waited for when dropped.
#[derive(Debug)]
pub(crate) struct Keeper {
    pid: Option<Pid>,
    pub(crate) control: UnixStream,
    /// Whether it has to end the step's processes itself when the caller goes away.
    tidies_up: bool,
}

impl Keeper {
    /// Starts it with these standard streams.
    pub(crate) fn start(streams: [&OwnedFd; 3], kept: Kept) -> Result<Self, ExecError> {
        let (control, child_end) =
            UnixStream::pair().map_err(|source| ExecError::Setup { operation: Operation::Pipe, source })?;
        let marker = CString::new(MARKER).expect("the marker has no NUL");
        let number = CString::new(child_end.as_raw_fd().to_string()).expect("digits have no NUL");
        let program = own_program::path()
            .map_err(|source| ExecError::Setup { operation: Operation::CopyProgram, source })?;
        let spawn = Spawn {
            program: &program,
            arguments: &[&marker, &number],
            streams: streams.map(AsRawFd::as_raw_fd),
            kept: child_end.as_raw_fd(),
            in_pid_namespace: kept == Kept::ByNamespace,
        };
        let pid = sys::spawn(&spawn).map_err(setup(Operation::Spawn))?;
        Ok(Self { pid: Some(pid), control, tidies_up: kept == Kept::ByDescent })
    }

    /// Sends it its job and waits until it and all it kept are gone; `stay` is with it until it reports.
    pub(crate) fn see_through(
        &mut self,
        job: &JobRef<'_>,
        stay: impl FnOnce(&Self) -> Result<Option<Report>, ExecError>,
    ) -> Result<(Option<Report>, WaitStatus), ExecError> {
        let report = match send(&self.control, job) {
            Ok(()) => stay(self)?,
            // How one ended that is gone already is found out just below.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => None,
            Err(source) => return Err(ExecError::Setup { operation: Operation::Talk, source }),
        };
        Ok((report, self.wait()?))
    }

    fn wait(&mut self) -> Result<WaitStatus, ExecError> {
        let pid = self.pid.take().expect("waited for once");
        wait_for(pid).map_err(setup(Operation::Wait))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some(pid) = self.pid.take() {
            if self.tidies_up {
                // It ends by itself then; one that is gone already is waited for all the same.
                self.control.shutdown(Shutdown::Both).unwrap_or_default();
                wait_for(pid).map(drop).unwrap_or_default();
                return;
            }
            // Not waited for yet, so the id is still this child's; killing a dead child is no error that matters.
            kill_process(pid, Signal::KILL).and_then(|()| wait_for(pid).map(drop)).unwrap_or_default();
        }
    }
}

fn wait_for(pid: Pid) -> Result<WaitStatus, Errno> {
    loop {
        match waitpid(Some(pid), WaitOptions::empty()) {
            Ok(Some((_, status))) => return Ok(status),
            Ok(None) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

pub(crate) fn setup(operation: Operation) -> impl Fn(Errno) -> ExecError {
    move |errno| ExecError::Setup { operation, source: errno.into() }
}

/// Starts the keeper; returns it and the end of the pipe on which the step's output arrives.
fn start(kept: Kept) -> Result<(Keeper, OwnedFd), ExecError> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(setup(Operation::Pipe))?;
    // Refused when this user has many large pipes already; then the pipe stays small.
    fcntl_setpipe_size(&reader, PIPE_BYTES).unwrap_or_default();
    let null = open(c"/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(setup(Operation::Pipe))?;
    Ok((Keeper::start([&null, &writer, &writer], kept)?, reader))
}

/// Streams output until the keeper reports or is gone.
fn follow(
    keeper: &Keeper,
    pipe: &OwnedFd,
    cancel: &CancelToken,
    output: &mut dyn FnMut(&[u8]),
) -> Result<Option<Report>, ExecError> {
    let mut buffer = vec![0; READ_BYTES];
    let mut pipe_is_open = true;
    loop {
        let mut polled = vec![
            PollFd::from_borrowed_fd(keeper.control.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(cancel.as_fd(), PollFlags::IN),
        ];
        if pipe_is_open {
            polled.push(PollFd::new(pipe, PollFlags::IN));
        }
        match poll(&mut polled, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(setup(Operation::Talk)(errno)),
        }
        let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        if ready[1] {
            return Err(ExecError::Cancelled);
        }
        if ready.get(2) == Some(&true) {
            pipe_is_open = pass_on(pipe, &mut buffer, output)? > 0;
        }
        if ready[0] {
            return receive(&keeper.control)
                .map_err(|source| ExecError::Setup { operation: Operation::Talk, source });
        }
    }
}

/// Reads once and hands it on; returns how much there was.
fn pass_on(pipe: &OwnedFd, buffer: &mut [u8], output: &mut dyn FnMut(&[u8])) -> Result<usize, ExecError> {
    loop {
        match rustix::io::read(pipe, &mut *buffer) {
            Ok(count) => {
                if count > 0 {
                    output(&buffer[..count]);
                }
                return Ok(count);
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(setup(Operation::Pipe)(errno)),
        }
    }
}

/// Hands on what is left in the pipe. Does not wait for its end: a step may have passed the pipe to a process outside.
fn drain(pipe: &OwnedFd, output: &mut dyn FnMut(&[u8])) -> Result<(), ExecError> {
    rustix::io::ioctl_fionbio(pipe, true).map_err(setup(Operation::Pipe))?;
    let mut buffer = vec![0; READ_BYTES];
    // The pipe held at most this much when all writers were gone.
    let mut left = 2 * PIPE_BYTES;
    loop {
        match rustix::io::read(pipe, &mut buffer) {
            Ok(0) | Err(Errno::AGAIN) => return Ok(()),
            Ok(count) => {
                output(&buffer[..count]);
                left = left.saturating_sub(count);
                if left == 0 {
                    return Ok(());
                }
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(setup(Operation::Pipe)(errno)),
        }
    }
}

fn exit(finished: Finished, wall: Duration) -> Exit {
    Exit {
        status: finished.status,
        stubs: finished.stubs.into_iter().map(PathBuf::from).collect(),
        ownership: finished.ownership,
        usage: ResourceUsage {
            wall,
            user: Duration::from_micros(finished.user_us),
            system: Duration::from_micros(finished.system_us),
            memory_bytes_max: finished.memory_bytes_max,
        },
    }
}

fn describe(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown status".to_owned(),
    }
}
