//! Stopping a build from outside: Ctrl-C is an event like any other.

use std::sync::Arc;

use kiln_sandbox::CancelToken;
use tokio::sync::watch;

/// A switch that stops a build. Clones share it.
#[derive(Debug, Clone)]
pub struct Interrupt {
    steps: CancelToken,
    raised: Arc<watch::Sender<bool>>,
}

impl Interrupt {
    /// Returns a switch that is off.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { steps: CancelToken::new()?, raised: Arc::new(watch::Sender::new(false)) })
    }

    /// Turns it on, for good: running steps are killed, nothing new starts.
    pub fn raise(&self) {
        // In this order, so that nobody who begins again can miss it.
        self.raised.send_replace(true);
        self.steps.cancel();
    }

    /// Lets steps run again after a failure has ended them, unless the switch is on.
    pub(crate) fn begin_again(&self) {
        self.steps.reset();
        if self.is_raised() {
            self.steps.cancel();
        }
    }

    /// Whether it is on.
    pub fn is_raised(&self) -> bool {
        *self.raised.borrow()
    }

    /// Waits until it is on.
    pub async fn raised(&self) {
        let mut receiver = self.raised.subscribe();
        // The sender lives as long as `self`, so this can only end with the switch on.
        if receiver.wait_for(|raised| *raised).await.is_err() {
            std::future::pending().await
        }
    }

    /// Returns the part of the switch that the sandbox knows.
    pub fn steps(&self) -> &CancelToken {
        &self.steps
    }
}
