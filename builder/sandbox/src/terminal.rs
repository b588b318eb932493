//! A terminal that somebody sits at, and what passes between it and the terminal of a step.
//!
//! The step never gets this terminal itself: it could type into it for whoever comes after (`TIOCSTI`), leave it in any mode, and
//! could not have it as its controlling one, which belongs to another session. It has a pair from its own `/dev/pts` instead, so
//! `tty`, job control and Ctrl-C work, and this side passes bytes on. This terminal is raw meanwhile: every key goes to the step.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionbio, read, write};
use rustix::process::getpgrp;
use rustix::termios::{
    LocalModes, OptionalActions, Termios, Winsize, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr,
    tcsetwinsize,
};

use crate::signals::Control;

/// Bytes that are passed on at once.
const CHUNK_BYTES: usize = 16 << 10;

/// Time between two looks at the size of the terminal. A handler of `SIGWINCH` would be the whole process's.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// A terminal, with the modes it had when it was opened.
#[derive(Debug)]
pub struct Terminal {
    input: OwnedFd,
    output: OwnedFd,
    modes: Termios,
}

impl Terminal {
    /// Returns the terminal that `input` and `output` belong to.
    ///
    /// # Errors
    /// When `input` is no terminal.
    pub fn new(input: OwnedFd, output: OwnedFd) -> io::Result<Self> {
        let modes = tcgetattr(&input)?;
        Ok(Self { input, output, modes })
    }

    /// Gives the terminal the modes it had at first.
    pub fn restore(&self) {
        // A terminal that is gone needs no modes.
        tcsetattr(&self.input, OptionalActions::Now, &self.modes).ok();
    }

    /// Returns the size of the terminal.
    pub(crate) fn size(&self) -> Winsize {
        const FALLBACK: Winsize = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        match tcgetwinsize(&self.input) {
            Ok(size) if size.ws_row > 0 && size.ws_col > 0 => size,
            Ok(_) | Err(_) => FALLBACK,
        }
    }
}

/// The terminal while keys are not for it; ends when dropped.
struct Raw<'a>(&'a Terminal);

impl<'a> Raw<'a> {
    fn enter(terminal: &'a Terminal) -> Result<Self, Errno> {
        let raw = Self(terminal);
        raw.set()?;
        Ok(raw)
    }

    fn set(&self) -> Result<(), Errno> {
        let mut modes = self.0.modes.clone();
        modes.make_raw();
        tcsetattr(&self.0.input, OptionalActions::Now, &modes)
    }

    /// Makes it raw again where a shell has given it other modes while this process was stopped. Who is in the background has no
    /// say in that.
    fn hold(&self) -> Result<(), Errno> {
        let is_ours = tcgetpgrp(&self.0.input).is_ok_and(|group| group == getpgrp());
        let is_raw = |modes: Termios| !modes.local_modes.contains(LocalModes::ICANON);
        // One that is gone says so to whoever reads from it.
        match tcgetattr(&self.0.input).is_ok_and(is_raw) || !is_ours {
            true => Ok(()),
            false => self.set(),
        }
    }
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        self.0.restore();
    }
}

/// Why nothing is passed on any more.
pub(crate) enum Ended {
    /// The keeper has something to say.
    Told,
    /// Somebody turned the switch, or the terminal is gone.
    Cancelled,
}

/// Passes bytes between a terminal and the controlling side of a step's own, and signals to its keeper, until that has something to
/// say. What the step wrote before that has been passed on when this returns.
pub(crate) fn pass_on(
    terminal: &Terminal,
    master: &OwnedFd,
    until: &UnixStream,
    control: Control<'_>,
) -> Result<Ended, Errno> {
    ioctl_fionbio(master, true)?;
    let raw = Raw::enter(terminal)?;
    let mut line = Line { terminal, master, keys: Vec::new(), is_open: true };
    let mut size = terminal.size();
    let [cancel, signals] = control.descriptors();
    loop {
        let wants_keys = line.keys.is_empty();
        let of_master = if wants_keys { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
        let mut polled = vec![
            PollFd::from_borrowed_fd(until.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(cancel, PollFlags::IN),
            PollFd::from_borrowed_fd(signals, PollFlags::IN),
        ];
        // What would only say again that it is closed is asked once in a while: a process may open it by its name.
        polled.extend(line.is_open.then(|| PollFd::new(master, of_master)));
        polled.extend((line.is_open && wants_keys).then(|| PollFd::new(&terminal.input, PollFlags::IN)));
        match poll(&mut polled, Some(&LOOK_EVERY)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        let ready: Vec<bool> = polled.iter().map(|polled| !polled.revents().is_empty()).collect();
        line.is_open = true;
        if ready[1] {
            return Ok(Ended::Cancelled);
        }
        control.hand_on(until);
        raw.hold()?;
        if ready.get(3) == Some(&true) {
            line.send_keys()?;
            line.show()?;
        }
        if ready.get(4) == Some(&true) && !line.take_keys()? {
            return Ok(Ended::Cancelled);
        }
        if ready[0] {
            while line.show()? {}
            return Ok(Ended::Told);
        }
        let now = terminal.size();
        if now != size {
            size = now;
            // The kernel tells the step's foreground job. One that has ended needs no size.
            tcsetwinsize(master, now).ok();
        }
    }
}

struct Line<'a> {
    terminal: &'a Terminal,
    master: &'a OwnedFd,
    /// Keys that the step has not taken yet.
    keys: Vec<u8>,
    /// Whether some process of the step has its terminal open.
    is_open: bool,
}

impl Line<'_> {
    /// Tells whether the terminal is still there.
    fn take_keys(&mut self) -> Result<bool, Errno> {
        let mut buffer = [0; CHUNK_BYTES];
        match read(&self.terminal.input, &mut buffer) {
            Ok(0) | Err(Errno::IO) => return Ok(false),
            Ok(count) => {
                self.keys.extend_from_slice(&buffer[..count]);
                self.send_keys()?;
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(errno) => return Err(errno),
        }
        Ok(true)
    }

    fn send_keys(&mut self) -> Result<(), Errno> {
        match write(self.master, &self.keys) {
            Ok(count) => drop(self.keys.drain(..count)),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(Errno::IO) => self.keys.clear(),
            Err(errno) => return Err(errno),
        }
        Ok(())
    }

    /// Shows what the step wrote; returns whether there was something.
    fn show(&mut self) -> Result<bool, Errno> {
        let mut buffer = [0; CHUNK_BYTES];
        match read(self.master, &mut buffer) {
            // All that had the step's side open have closed it.
            Ok(0) | Err(Errno::IO) => {
                self.is_open = false;
                Ok(false)
            }
            Ok(count) => write_all(&self.terminal.output, &buffer[..count]).map(|()| true),
            Err(Errno::INTR) => Ok(true),
            Err(Errno::AGAIN) => Ok(false),
            Err(errno) => Err(errno),
        }
    }
}

/// Writes to a terminal, which may have been made non-blocking by whoever shares it.
fn write_all(to: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match write(to, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                poll(&mut [PollFd::new(to, PollFlags::OUT)], Some(&LOOK_EVERY))
                    .map(drop)
                    .or_else(|errno| if errno == Errno::INTR { Ok(()) } else { Err(errno) })?;
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
