//! A switch that stops steps from another thread. Unaware of what a step is.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// Stops every step it was given to, at once. Clones share one switch.
#[derive(Clone, Debug)]
pub struct CancelToken {
    event: Arc<OwnedFd>,
}

impl CancelToken {
    /// Returns a switch that is off.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(CancelToken { event: Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?) })
    }

    /// Turns the switch on: running steps are killed, later ones do not start. Safe in a signal handler.
    pub fn cancel(&self) {
        // The only failure is a counter at its limit, and then the switch is on already.
        rustix::io::write(&*self.event, &1u64.to_ne_bytes()).ok();
    }

    /// Turns the switch off, when nothing that it was given to runs any more.
    pub fn reset(&self) {
        // The only failure says that it is off.
        rustix::io::read(&*self.event, &mut [0; 8]).ok();
    }

    /// Whether the switch is on.
    pub fn is_cancelled(&self) -> bool {
        let mut polled = [PollFd::new(&*self.event, PollFlags::IN)];
        // An interrupted poll means "not seen yet"; whoever asks will ask again.
        matches!(poll(&mut polled, Some(&Timespec::default())), Ok(ready) if ready > 0)
    }
}

impl AsFd for CancelToken {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_sees_that_the_switch_was_turned_on_and_off() {
        let token = CancelToken::new().unwrap();
        let clone = token.clone();
        assert!(!clone.is_cancelled());
        token.cancel();
        token.cancel();
        assert!(clone.is_cancelled());
        clone.reset();
        clone.reset();
        assert!(!token.is_cancelled());
    }
}
