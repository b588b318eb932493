//! Signals for the command of a step that somebody attends: from the caller to the keeper, and by it to the command.
//!
//! The command is the first process of a pid namespace, and the kernel drops every signal that such a process has no handler for
//! (`pid_namespaces(7)`): most programs would outlive SIGTERM. An init in between, as of `docker run --init`, makes them end of it as
//! they do elsewhere. Here the keeper sees to that, and no process is added: it looks at what the command does about the signal, and
//! kills it in the signal's name where that is nothing.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde::{Deserialize, Serialize};

use crate::cancel::CancelToken;
use crate::kept::Kept;
use crate::spec::ExitStatus;
use crate::wire::{receive, send};

/// A signal that can be handed on. Each ends a process that does nothing about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommandSignal {
    /// `SIGHUP`
    Hangup,
    /// `SIGINT`
    Interrupt,
    /// `SIGQUIT`
    Quit,
    /// `SIGUSR1`
    User1,
    /// `SIGUSR2`
    User2,
    /// `SIGTERM`
    Terminate,
}

impl CommandSignal {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Hangup, Self::Interrupt, Self::Quit, Self::User1, Self::User2, Self::Terminate];

    fn of_kernel(self) -> Signal {
        match self {
            Self::Hangup => Signal::HUP,
            Self::Interrupt => Signal::INT,
            Self::Quit => Signal::QUIT,
            Self::User1 => Signal::USR1,
            Self::User2 => Signal::USR2,
            Self::Terminate => Signal::TERM,
        }
    }

    /// Returns its number.
    pub fn number(self) -> i32 {
        self.of_kernel().as_raw()
    }
}

/// A line on which signals are handed to the command of one step. Clones share it.
#[derive(Clone, Debug)]
pub struct SignalLine {
    reader: Arc<OwnedFd>,
    writer: Arc<OwnedFd>,
}

impl SignalLine {
    /// Returns a line with nothing on it.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(Self { reader: Arc::new(reader), writer: Arc::new(writer) })
    }

    /// Hands a signal on. One that comes before the command has started waits for it.
    pub fn send(&self, signal: CommandSignal) {
        // The only failure is a full line, and thousands wait then.
        rustix::io::write(&*self.writer, &[signal as u8]).ok();
    }

    fn take(&self) -> Option<CommandSignal> {
        let mut number = [0];
        match rustix::io::read(&*self.reader, &mut number) {
            Ok(1) => CommandSignal::ALL.into_iter().find(|signal| *signal as u8 == number[0]),
            _ => None,
        }
    }
}

/// How a step that runs is reached.
#[derive(Clone, Copy, Debug)]
pub struct Control<'a> {
    /// Ends it.
    pub cancel: &'a CancelToken,
    /// Signals for its command.
    pub signals: Option<&'a SignalLine>,
}

impl<'a> From<&'a CancelToken> for Control<'a> {
    fn from(cancel: &'a CancelToken) -> Self {
        Self { cancel, signals: None }
    }
}

impl Control<'_> {
    /// Returns what can be read from when the step is to end, and when there may be a signal.
    pub(crate) fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        let cancel = self.cancel.as_fd();
        [cancel, self.signals.map_or(cancel, |line| line.reader.as_fd())]
    }

    /// Tells the keeper of the signals that are there.
    pub(crate) fn hand_on(&self, keeper: &UnixStream) {
        while let Some(signal) = self.signals.and_then(SignalLine::take) {
            // A keeper that has gone is seen by whoever waits for its report.
            send(keeper, &signal).unwrap_or_default();
        }
    }
}

/// What a caller's signals come to, in the keeper.
pub(crate) struct Delivery {
    step: Pid,
    kept: Kept,
    has_started: bool,
    waiting: Vec<CommandSignal>,
    /// In whose name the command was killed.
    killed_by: Option<CommandSignal>,
}

impl Delivery {
    /// Returns that of a step whose program may not run yet.
    pub(crate) fn new(step: Pid, kept: Kept) -> Self {
        Self { step, kept, has_started: false, waiting: Vec::new(), killed_by: None }
    }

    /// Takes what the caller sent; tells whether it is still there.
    pub(crate) fn hear(&mut self, control: &UnixStream) -> bool {
        // Half a message is of one that died while it sent it.
        let Ok(Some(signal)) = receive::<CommandSignal>(control) else { return false };
        match self.has_started {
            true => self.deliver(signal),
            false => self.waiting.push(signal),
        }
        true
    }

    /// Delivers what waited until the step's program runs, as it does now.
    pub(crate) fn start(&mut self) {
        self.has_started = true;
        for signal in std::mem::take(&mut self.waiting) {
            self.deliver(signal);
        }
    }

    fn deliver(&mut self, signal: CommandSignal) {
        // Elsewhere than in a pid namespace the kernel does that.
        let is_dropped = self.kept == Kept::ByNamespace && has_default_action(self.step, signal);
        if is_dropped {
            self.killed_by = self.killed_by.or(Some(signal));
        }
        let delivered = if is_dropped { Signal::KILL } else { signal.of_kernel() };
        // It has ended, or is somebody's whom this one may not signal, as docker's would not be by its user.
        kill_process(self.step, delivered).unwrap_or_default();
    }

    /// Returns how the command ended to those who know of no keeper.
    pub(crate) fn told(&self, status: ExitStatus) -> ExitStatus {
        match (status, self.killed_by) {
            (ExitStatus::Signal(number), Some(signal)) if number == Signal::KILL.as_raw() => {
                ExitStatus::Signal(signal.number())
            }
            _ => status,
        }
    }
}

/// Whether a process neither handles, ignores nor blocks a signal. One that cannot be looked at does something about it.
fn has_default_action(process: Pid, signal: CommandSignal) -> bool {
    let status = status_of(process).unwrap_or_default();
    is_default_in(&status, signal.number()).unwrap_or(false)
}

/// Reads `/proc/PID/status` of a child, whose number is another one in the pid namespace of that `/proc` than in this process's.
fn status_of(process: Pid) -> io::Result<String> {
    let handle = pidfd_open(process, PidfdFlags::empty())?;
    let about = fs::read_to_string(format!("/proc/self/fdinfo/{}", handle.as_raw_fd()))?;
    let number = about.lines().find_map(|line| line.strip_prefix("Pid:")).unwrap_or_default();
    let number: u32 = number.trim().parse().map_err(|_| Errno::SRCH)?;
    fs::read_to_string(format!("/proc/{number}/status"))
}

fn is_default_in(status: &str, signal: i32) -> Option<bool> {
    let mut is_default = true;
    for mask in ["SigBlk:", "SigIgn:", "SigCgt:"] {
        let text = status.lines().find_map(|line| line.strip_prefix(mask))?;
        let mask = u64::from_str_radix(text.trim(), 16).ok()?;
        is_default &= mask & (1 << (signal - 1)) == 0;
    }
    Some(is_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_has_its_default_action_where_no_mask_has_it() {
        let status = |blocked, ignored, caught| {
            format!("Name:\tsh\nSigBlk:\t{blocked:016x}\nSigIgn:\t{ignored:016x}\nSigCgt:\t{caught:016x}\n")
        };
        let rows = [
            (status(0, 0, 0), Some(true)),
            (status(0x4000, 0, 0), Some(false)),
            (status(0, 0x4000, 0), Some(false)),
            (status(0, 0, 0x4000), Some(false)),
            (status(0x2000, 0x8000, 1), Some(true)),
            (String::new(), None),
            ("SigBlk:\tx\n".to_owned(), None),
        ];
        for (text, expected) in rows {
            assert_eq!(is_default_in(&text, CommandSignal::Terminate.number()), expected, "{text}");
        }
    }

    #[test]
    fn a_line_keeps_the_order_of_signals_and_is_empty_after() {
        let line = SignalLine::new().unwrap();
        CommandSignal::ALL.into_iter().for_each(|signal| line.clone().send(signal));
        for signal in CommandSignal::ALL {
            assert_eq!(line.take(), Some(signal));
        }
        assert_eq!(line.take(), None);
    }
}
