//! Unpacked layers of earlier builds are brought to the disk, so that they outlive a power cut, beside the steps of this one.
//!
//! A build does not sync what it unpacks: that may be gigabytes, for which somebody would wait. What is older than
//! `AGE_MIN` the kernel has written by itself, and to sync it costs next to nothing. It is done when a RUN must run, since a
//! build without one has no time to spare; what is left when the build ends is left for the next one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kiln_store::{Store, StoreError};

use crate::lanes::unattended;

/// The kernel writes what is older than 30 seconds, and looks every 5 (`vm.dirty_expire_centisecs`, `vm.dirty_writeback_centisecs`).
const AGE_MIN: Duration = Duration::from_secs(60);

/// Settles snapshots until it is dropped.
#[derive(Debug, Default)]
pub struct Settling {
    has_begun: bool,
    has_ended: Arc<Mutex<bool>>,
}

impl Settling {
    /// Begins, unless it has.
    pub fn begin(&mut self, store: &Store) {
        if !std::mem::replace(&mut self.has_begun, true) {
            let (store, has_ended) = (store.clone(), Arc::clone(&self.has_ended));
            // What is not settled is unpacked again one day, and whatever is wrong with the disk stops the steps, too.
            unattended(move || drop(settle(&store, &has_ended)));
        }
    }
}

impl Drop for Settling {
    /// Waits for the one note that is being written, so that no half of it is left in scratch.
    fn drop(&mut self) {
        *locked(&self.has_ended) = true;
    }
}

fn settle(store: &Store, has_ended: &Mutex<bool>) -> Result<(), StoreError> {
    let mut settled = store.snapshots().settle(AGE_MIN)?;
    loop {
        let has_ended = locked(has_ended);
        if *has_ended {
            return Ok(());
        }
        match settled.next() {
            Some(noted) => drop(noted?),
            None => return Ok(()),
        }
    }
}

fn locked(mutex: &Mutex<bool>) -> MutexGuard<'_, bool> {
    // It is only ever set, so a panic elsewhere left it whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
