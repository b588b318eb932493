//! The step's side of a terminal: a pair of which it controls one end, and whose other end goes to the caller. It is from the step's own
//! `/dev/pts`, or from the container's where a step has none.

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

/// Opens the controlling end of a new terminal, from the `/dev` that this process sees.
pub(crate) fn open_new() -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    match open(c"/dev/pts/ptmx", flags, Mode::empty()) {
        // Of a container's own, this one may be closed to everybody.
        Err(Errno::NOENT | Errno::ACCESS) => open(c"/dev/ptmx", flags, Mode::empty()),
        opened => opened,
    }
}

/// Gives this process, the leader of a session, the other end as standard input, output and error, and controls it by that.
pub(crate) fn take_control(master: &OwnedFd, size: Size, give_to: &OwnedFd) -> Result<(), Errno> {
    unlockpt(master)?;
    let own = ioctl_tiocgptpeer(master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    let (ws_row, ws_col) = size;
    tcsetwinsize(&own, Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 })?;
    ioctl_tiocsctty(&own)?;
    dup2_stdin(&own)?;
    dup2_stdout(&own)?;
    dup2_stderr(&own)?;
    handover::give(give_to, master)
}
