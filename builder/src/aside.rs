//! Work that no step waits for: layers and records are brought to the disk, and what steps left behind is taken away.
//!
//! The next RUN reads the unpacked directory of the one before, never its blob. So while it runs, that blob is synced, gets its
//! name, and its records are written. Jobs are done one after the other in the order in which they were added:
//!
//! | Added by | Job | Holds because of the order |
//! |---|---|---|
//! | a layer that was written | the blob is synced and gets its name; then its records | a record names only blobs that are there |
//! | a step that is done | the record of its file system | the layers below were added before |
//! | a RUN | the directories it left go | – |
//!
//! Who needs a blob that is not there waits until all is done, and so does a build before it makes an image of its layers. A crash
//! loses the steps whose jobs were not done, as if it had come before they ended.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kiln_store::StoreError;
use tokio::sync::Notify;

use crate::lanes::blocking;
use crate::plan::StepId;

/// Steps begin while no more jobs than this wait; each may hold an open file.
const WAITING_MAX: usize = 64;

/// The jobs of a process. Clones are handles to the same queue.
#[derive(Clone, Default)]
pub struct Aside {
    queue: Arc<Mutex<Queue>>,
    changed: Arc<Notify>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(StepId, Job)>,
    is_working: bool,
    failure: Option<(StepId, StoreError)>,
}

type Job = Box<dyn FnOnce() -> Result<(), StoreError> + Send>;

impl Aside {
    /// Adds a job that belongs to `step`.
    pub fn add(&self, step: StepId, job: impl FnOnce() -> Result<(), StoreError> + Send + 'static) {
        self.locked().waiting.push_back((step, Box::new(job)));
        self.changed.notify_waiters();
    }

    /// Does the jobs as they come, those that wait together in one go. To be polled until [`Self::done`] has returned.
    pub async fn work(&self) -> Infallible {
        loop {
            let changed = self.changed.notified();
            let jobs = self.begin();
            if jobs.is_empty() {
                changed.await;
                continue;
            }
            let failure = blocking(move || do_all(jobs)).await;
            self.end(failure);
        }
    }

    /// Returns when there is nothing left to do.
    pub async fn done(&self) {
        self.when(|queue| queue.waiting.is_empty() && !queue.is_working).await;
    }

    /// Returns when the disk has kept up with the steps.
    pub async fn has_room(&self) {
        self.when(|queue| queue.waiting.len() <= WAITING_MAX).await;
    }

    /// Returns when something has failed that [`Self::failure`] has not told yet.
    pub async fn failed(&self) {
        self.when(|queue| queue.failure.is_some()).await;
    }

    /// Returns the first failure since the last call. Jobs after it were done nevertheless.
    pub fn failure(&self) -> Option<(StepId, StoreError)> {
        self.locked().failure.take()
    }

    async fn when(&self, is_so: impl Fn(&Queue) -> bool) {
        loop {
            // Made before the look, so that no change in between is missed.
            let changed = self.changed.notified();
            if is_so(&self.locked()) {
                return;
            }
            changed.await;
        }
    }

    fn begin(&self) -> VecDeque<(StepId, Job)> {
        let mut queue = self.locked();
        queue.is_working = !queue.waiting.is_empty();
        std::mem::take(&mut queue.waiting)
    }

    fn end(&self, failure: Option<(StepId, StoreError)>) {
        let mut queue = self.locked();
        queue.is_working = false;
        queue.failure = queue.failure.take().or(failure);
        drop(queue);
        self.changed.notify_waiters();
    }

    fn locked(&self) -> MutexGuard<'_, Queue> {
        // Only whole jobs come and go, so a panic elsewhere harmed nothing.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn do_all(jobs: VecDeque<(StepId, Job)>) -> Option<(StepId, StoreError)> {
    let mut first = None;
    for (step, job) in jobs {
        if let Err(error) = job() {
            first.get_or_insert((step, error));
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::plan::{Op, Origin, Plan};

    #[tokio::test]
    async fn jobs_are_done_in_order_and_the_first_failure_is_told() {
        let (aside, done) = (Aside::default(), Arc::new(Mutex::new(Vec::new())));
        let step = Plan::default().push(Op::Scratch, Origin::default());
        for number in 0..5 {
            let done = Arc::clone(&done);
            aside.add(step, move || {
                done.lock().unwrap().push(number);
                match number {
                    0 | 4 => Ok(()),
                    _ => Err(StoreError::Io {
                        verb: "sync",
                        path: PathBuf::from(number.to_string()),
                        source: std::io::ErrorKind::StorageFull.into(),
                    }),
                }
            });
        }
        tokio::select! {
            never = aside.work() => match never {},
            () = aside.done() => {}
        }
        let (failed, error) = aside.failure().unwrap();
        assert_eq!(*done.lock().unwrap(), [0, 1, 2, 3, 4]);
        assert_eq!(failed, step);
        assert!(matches!(error, StoreError::Io { path, .. } if path.as_os_str() == "1"));
        assert!(aside.failure().is_none());
    }
}
