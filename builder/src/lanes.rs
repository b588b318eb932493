//! Where work runs, and the only bridge between async and blocking code.
//!
//! | Lane | For | Runs on |
//! |---|---|---|
//! | [`net`](Lanes::net) | futures that wait for sockets | the tokio runtime, limited in number |
//! | [`cpu`](Lanes::cpu) | hashing, compression, trees | rayon's pool |
//! | [`wait`](Lanes::wait) | child processes, `fsync`, whole-file moves | tokio's blocking pool, limited by `--jobs` |
//!
//! A job in the cpu lane never waits for another lane, and no lock is held across an `.await`. A panic in a job is raised
//! again in the task that awaits it; rayon itself would abort the process.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use tokio::sync::{Semaphore, oneshot};

/// Transfers that run at once.
const TRANSFERS_MAX: usize = 6;

/// A handle on the lanes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Lanes {
    transfers: Arc<Semaphore>,
    waits: Arc<Semaphore>,
}

impl Lanes {
    /// Opens lanes in which `jobs` blocking steps run at once.
    pub fn new(jobs: usize) -> Self {
        Self {
            transfers: Arc::new(Semaphore::new(TRANSFERS_MAX)),
            waits: Arc::new(Semaphore::new(jobs.max(1))),
        }
    }

    /// Runs a transfer when there is room for one more.
    pub async fn net<T>(&self, transfer: impl Future<Output = T>) -> T {
        let _permit = self.transfers.acquire().await.expect("the semaphore is never closed");
        transfer.await
    }

    /// Runs `job` on rayon's pool.
    pub async fn cpu<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, receiver) = oneshot::channel();
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the lane: panics are caught and raised in the caller"
        )]
        rayon::spawn(move || {
            // The caller may have been dropped, and then nobody wants the result.
            drop(sender.send(catch_unwind(AssertUnwindSafe(job))));
        });
        match receiver.await.expect("the job always answers") {
            Ok(value) => value,
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Runs `job`, which may block, on a thread of its own when one of the `--jobs` is free.
    pub async fn wait<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let _permit = self.waits.acquire().await.expect("the semaphore is never closed");
        blocking(job).await
    }
}

/// Drops something large on another thread. A process that ends meanwhile does not wait for it.
pub fn discard<T: Send + 'static>(value: T) {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the lane, and dropping plain data does not panic"
    )]
    rayon::spawn(move || drop(value));
}

/// Runs `job`, which blocks for moments only (small reads and writes), on a thread where that harms nobody.
pub async fn blocking<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> T {
    #[expect(clippy::disallowed_methods, reason = "this is the lane")]
    match tokio::task::spawn_blocking(job).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(error) => unreachable!("blocking tasks are never cancelled: {error}"),
        },
    }
}

/// Waits for a future on a thread of [`blocking`] or [`Lanes::wait`], where alone that is possible: for synchronous work that asks
/// somebody now and then.
pub fn wait_for<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Handle::current().block_on(future)
}

/// Runs `job`, which blocks, on a thread where nobody waits for it. A process that ends meanwhile leaves it undone.
pub fn unattended(job: impl FnOnce() + Send + 'static) {
    #[expect(clippy::disallowed_methods, reason = "this is the lane")]
    drop(tokio::task::spawn_blocking(job));
}

/// Runs `there` on a thread of its own beside `here`, for two that hand each other work and wait for each other.
pub fn beside<A: Send, B>(there: impl FnOnce() -> A + Send, here: impl FnOnce() -> B) -> (A, B) {
    std::thread::scope(|scope| {
        let there = scope.spawn(there);
        let here = here();
        match there.join() {
            Ok(there) => (there, here),
            Err(panic) => resume_unwind(panic),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_in_a_job_is_raised_where_it_is_awaited() {
        let task = tokio::task::LocalSet::new();
        let outcome = task
            .run_until(async {
                tokio::task::spawn_local(async { Lanes::new(1).cpu(|| panic!("as planned")).await }).await
            })
            .await;
        let panic = outcome.unwrap_err().into_panic();
        assert_eq!(*panic.downcast::<&str>().unwrap(), "as planned");
    }

    #[tokio::test]
    async fn jobs_give_their_results() {
        let lanes = Lanes::new(1);
        assert_eq!((lanes.cpu(|| 1).await, lanes.wait(|| 2).await, lanes.net(async { 3 }).await), (1, 2, 3));
    }

    #[tokio::test]
    async fn blocking_work_waits_for_futures() {
        assert_eq!(Lanes::new(1).wait(|| wait_for(async { 1 })).await, 1);
    }

    #[test]
    fn two_that_wait_for_each_other_run_beside() {
        let (ask, asked) = std::sync::mpsc::sync_channel(0);
        let (answer, answered) = std::sync::mpsc::sync_channel(0);
        let there = move || answer.send(asked.recv().unwrap_or(0) + 1).is_ok();
        let here = || ask.send(1).ok().and_then(|()| answered.recv().ok());
        assert_eq!(beside(there, here), (true, Some(2)));
    }
}
