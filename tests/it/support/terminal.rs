//! A terminal for the program under test: a pair of which the test holds the keyboard and the screen.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, ExitStatus};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{OptionalActions, Termios, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

use super::Invocation;
use super::waiting::PATIENCE;

/// A terminal with a program on it.
pub(crate) struct Terminal {
    /// The program.
    pub(crate) child: Child,
    keyboard: File,
    screen: Vec<u8>,
    /// Up to where the screen has been looked at.
    seen: usize,
    /// Keeps the terminal open when the program has ended.
    line: OwnedFd,
    first_modes: Termios,
}

impl Terminal {
    /// Starts a call as the leader of a session on a new terminal.
    pub(crate) fn start(call: Invocation) -> Self {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let line = ioctl_tiocgptpeer(&keyboard, flags).unwrap();
        // Before a program looks at it: one that has begun is told of another size, and draws twice.
        set_size(&keyboard, 24, 80);
        let first_modes = tcgetattr(&line).unwrap();
        let child = call.under(["setsid", "--ctty"]).env("TERM", "xterm").start_on(&line);
        Self { child, keyboard: File::from(keyboard), screen: Vec::new(), seen: 0, line, first_modes }
    }

    /// Types.
    pub(crate) fn keys(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until a text appears, behind what was waited for before.
    #[track_caller]
    pub(crate) fn shows(&mut self, text: &str) {
        let begun = Instant::now();
        loop {
            let unseen = &self.screen[self.seen..];
            if let Some(at) = unseen.windows(text.len()).position(|window| window == text.as_bytes()) {
                self.seen += at + text.len();
                return;
            }
            let is_late = begun.elapsed() > PATIENCE;
            assert!(!is_late, "{text:?} does not appear: {}", String::from_utf8_lossy(&self.screen));
            self.look();
        }
    }

    /// Changes the size.
    pub(crate) fn resize(&self, ws_row: u16, ws_col: u16) {
        set_size(&self.keyboard, ws_row, ws_col);
    }

    /// Returns how the terminal treated keys before the program came.
    pub(crate) fn first_modes(&self) -> &Termios {
        &self.first_modes
    }

    /// Returns how the terminal treats keys now.
    pub(crate) fn modes(&self) -> Termios {
        tcgetattr(&self.line).unwrap()
    }

    /// Sets how it treats keys.
    pub(crate) fn set_modes(&self, modes: &Termios) {
        tcsetattr(&self.line, OptionalActions::Now, modes).unwrap();
    }

    /// Takes the terminal away.
    pub(crate) fn hang_up(&mut self) {
        self.keyboard = File::open("/dev/null").unwrap();
    }

    /// Waits for the program's end; returns how it ended and all that was on the screen.
    #[track_caller]
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let begun = Instant::now();
        let status = loop {
            self.look();
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            let screen = || String::from_utf8_lossy(&self.screen).into_owned();
            assert!(begun.elapsed() < PATIENCE, "the program does not end: {}", screen());
        };
        while self.look() {}
        (status, String::from_utf8_lossy(&self.screen).into_owned())
    }

    /// Takes what has been written, if there is something within a moment.
    fn look(&mut self) -> bool {
        let moment = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        let mut polled = [PollFd::new(&self.keyboard, PollFlags::IN)];
        if poll(&mut polled, Some(&moment)).unwrap() == 0 {
            return false;
        }
        let mut buffer = [0; 4096];
        let count = self.keyboard.read(&mut buffer).unwrap();
        self.screen.extend_from_slice(&buffer[..count]);
        count > 0
    }
}

fn set_size(keyboard: impl AsFd, ws_row: u16, ws_col: u16) {
    tcsetwinsize(keyboard, Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A test that failed leaves no program behind; one that has ended cannot be killed.
        self.child.kill().and_then(|()| self.child.wait().map(drop)).ok();
    }
}
