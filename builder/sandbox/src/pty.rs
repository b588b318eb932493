//! The step's side of a terminal: a pair from its own `/dev/pts`, which it controls, and whose other end goes to the caller.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::process::ioctl_tiocsctty;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::handover;

/// Rows and columns.
pub(crate) type Size = (u16, u16);

/// Gives this process, the leader of a session and within its root, a terminal as standard input, output and error.
pub(crate) fn take_control(size: Size, give_to: &OwnedFd) -> Result<(), Errno> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = open(c"/dev/pts/ptmx", flags, Mode::empty())?;
    unlockpt(&master)?;
    let own = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    let (ws_row, ws_col) = size;
    tcsetwinsize(&own, Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 })?;
    ioctl_tiocsctty(&own)?;
    dup2_stdin(&own)?;
    dup2_stdout(&own)?;
    dup2_stderr(&own)?;
    handover::give(give_to, &master)
}
