//! What a build finds out leaves for the caches that builders share, one entry after the other, while it goes on.
//!
//! ```text
//! a step was done ──its records are on the disk──► entry: its blobs, where they are not there, then itself
//! a step was found ──► is its entry there? ── yes ──► nothing more: what it stands on is taken to be there
//!                                          └─ no ───► entry, and the same for what it stands on
//! ```
//!
//! So a build with nothing to do asks for the entries of its results and for nothing else, and a store that knows much fills a
//! cache that knows nothing. The first thing that cannot be written is the last that is tried; the build ends as it would have, and
//! then fails with that, or only tells it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use kiln_oci::Digest;
use tokio::sync::{Notify, OnceCell};

use super::tiers::told;
use super::{ENTRIES, Entry, LocalCache, entry_name};
use crate::blobs::{self, FetchError};
use crate::doubts::Trouble;
use crate::far::{Far, FarError};
use crate::lanes::blocking;
use crate::plan::{KeyKind, Plan, StepId, StepKey};
use crate::progress::{Progress, ProgressEvent};
use crate::request::{CacheExtent, CachePlace, CacheTarget};
use crate::rootfs::{Layer, Rootfs};
use crate::workshop::Workshop;

/// Entries that are on their way at once.
const ENTRIES_MAX: usize = 4;

/// Why a cache was not filled.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the cache `{place}`")]
pub struct CacheExportError {
    place: CachePlace,
    #[source]
    source: Problem,
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    Far(#[from] FarError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Store(#[from] kiln_store::StoreError),
    #[error("it does not answer")]
    Silent,
    #[error("something else could not be written before")]
    GivenUp,
}

/// What waits to be written, and where to. Clones are handles to the same.
#[derive(Clone, Default)]
pub struct Exports {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    targets: Vec<Target>,
    queue: Mutex<Queue>,
    changed: Notify,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(usize, Job)>,
    running: usize,
}

struct Target {
    place: CachePlace,
    ignores_errors: bool,
    /// The steps that go there.
    wanted: Vec<bool>,
    state: Mutex<State>,
    /// Blobs that are there, or on their way.
    brought: Mutex<BTreeMap<Digest, Arc<OnceCell<()>>>>,
}

#[derive(Default)]
struct State {
    failure: Option<CacheExportError>,
    has_failed: bool,
    began: Option<Instant>,
    entries: usize,
    asked: BTreeSet<StepId>,
}

enum Job {
    /// An entry is to be written.
    Write(Entry),
    /// The entry of a step is to be written unless it is there.
    Fill(StepId, Option<Arc<Rootfs>>),
}

/// What jobs are done with.
pub struct Exporter<'a> {
    /// The workshop.
    pub workshop: &'a Workshop,
    /// Is told what happens.
    pub progress: &'a Arc<dyn Progress>,
    /// The plan.
    pub plan: &'a Plan,
    /// Returns the definition key of a step that may be looked up.
    pub key: &'a (dyn Fn(StepId) -> Option<StepKey> + Sync),
}

impl Exports {
    /// Takes the caches that a plan's results go to.
    pub fn new(targets: &[CacheTarget], plan: &Plan) -> Self {
        let target = |target: &CacheTarget| Target {
            place: target.place.clone(),
            ignores_errors: target.ignores_errors,
            wanted: match target.extent {
                CacheExtent::Results => plan.stacked(),
                CacheExtent::Everything => plan.reachable(),
            },
            state: Mutex::default(),
            brought: Mutex::default(),
        };
        let targets = targets.iter().map(target).collect();
        Self { shared: Arc::new(Shared { targets, ..Shared::default() }) }
    }

    /// Adds the file system after a step, whose record and blobs are on the disk.
    pub fn made(&self, step: StepId, key: StepKey, rootfs: &Rootfs) {
        self.add(step, None, || Job::Write(Entry::definition(key, rootfs)));
    }

    /// Adds what a step made, whose record and blobs are on the disk. The cache at `place` told it, if there is one.
    pub fn made_layer(&self, step: StepId, key: StepKey, layer: Option<&Layer>, place: Option<&CachePlace>) {
        self.add(step, place, || Job::Write(Entry::content(key, layer)));
    }

    /// Whether nothing goes anywhere.
    pub fn is_empty(&self) -> bool {
        self.shared.targets.is_empty()
    }

    /// Adds a step that was found in the store, or in the cache at `place`, which needs it least.
    pub fn found(&self, step: StepId, rootfs: &Rootfs, place: Option<&CachePlace>) {
        let rootfs = (!self.is_empty()).then(|| Arc::new(rootfs.clone()));
        self.add(step, place, || Job::Fill(step, rootfs.clone()));
    }

    fn add(&self, step: StepId, except: Option<&CachePlace>, job: impl Fn() -> Job) {
        for (number, target) in self.shared.targets.iter().enumerate() {
            if target.wanted[step.index()] && except != Some(&target.place) {
                self.queue().waiting.push_back((number, job()));
                self.shared.changed.notify_waiters();
            }
        }
    }

    /// Does the jobs as they come. To be polled until [`Self::done`] has returned.
    pub async fn work(&self, exporter: &Exporter<'_>) -> Infallible {
        let mut running = FuturesUnordered::new();
        loop {
            let changed = self.shared.changed.notified();
            while running.len() < ENTRIES_MAX
                && let Some((number, job)) = self.begin()
            {
                running.push(self.run(exporter, number, job));
            }
            tokio::select! {
                Some(()) = running.next() => self.end(),
                () = changed => {}
            }
        }
    }

    /// Returns when there is nothing left to do, with the first failure that is one of the build. Others are told.
    ///
    /// # Errors
    /// [`CacheExportError`].
    pub async fn done(&self, progress: &Arc<dyn Progress>) -> Result<(), CacheExportError> {
        loop {
            // Made before the look, so that no change in between is missed.
            let changed = self.shared.changed.notified();
            if self.is_idle() {
                break;
            }
            changed.await;
        }
        let mut outcome = Ok(());
        for target in &self.shared.targets {
            let mut state = locked(&target.state);
            if let Some(began) = state.began.take() {
                let detail = match state.entries {
                    1 => "1 entry".to_owned(),
                    count => format!("{count} entries"),
                };
                let task = target.task();
                progress.on(&ProgressEvent::Finished { task: &task, took: began.elapsed(), detail: &detail });
            }
            match state.failure.take() {
                Some(failure) if target.ignores_errors => {
                    progress.on(&ProgressEvent::Warning { message: &told(&failure) });
                }
                Some(failure) if outcome.is_ok() => outcome = Err(failure),
                _ => {}
            }
        }
        outcome
    }

    fn is_idle(&self) -> bool {
        let queue = self.queue();
        queue.waiting.is_empty() && queue.running == 0
    }

    fn begin(&self) -> Option<(usize, Job)> {
        let mut queue = self.queue();
        let next = queue.waiting.pop_front()?;
        queue.running += 1;
        Some(next)
    }

    fn end(&self) {
        self.queue().running -= 1;
        self.shared.changed.notify_waiters();
    }

    async fn run(&self, exporter: &Exporter<'_>, number: usize, job: Job) {
        let target = &self.shared.targets[number];
        if exporter.workshop.doubts.trouble(&target.place) == Some(Trouble::Silent) {
            target.fail(Problem::Silent);
        }
        if locked(&target.state).has_failed {
            return;
        }
        let outcome = match job {
            Job::Write(entry) => target.write(exporter, &entry).await,
            Job::Fill(step, rootfs) => self.fill(exporter, number, step, rootfs).await,
        };
        if let Err(problem) = outcome {
            target.fail(problem);
        }
    }

    async fn fill(
        &self,
        exporter: &Exporter<'_>,
        number: usize,
        step: StepId,
        rootfs: Option<Arc<Rootfs>>,
    ) -> Result<(), Problem> {
        let target = &self.shared.targets[number];
        if !locked(&target.state).asked.insert(step) {
            return Ok(());
        }
        if let Some(key) = (exporter.key)(step) {
            let far = Far { workshop: exporter.workshop, place: &target.place };
            if far.has_entry(&entry_name(KeyKind::Definition, key)).await? {
                return Ok(());
            }
            let rootfs = match rootfs {
                Some(rootfs) => Some(rootfs),
                None => {
                    let cache = LocalCache::new(exporter.workshop);
                    blocking(move || cache.definition(key)).await.map(Arc::new)
                }
            };
            if let Some(rootfs) = rootfs {
                target.write(exporter, &Entry::definition(key, &rootfs)).await?;
            }
        }
        for input in exporter.plan.step(step).op.inputs() {
            if target.wanted[input.index()] && exporter.plan.step(input).op.parent().is_some() {
                self.queue().waiting.push_back((number, Job::Fill(input, None)));
            }
        }
        Ok(())
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        locked(&self.shared.queue)
    }
}

impl Target {
    fn task(&self) -> String {
        format!("export cache to {}", self.place)
    }

    async fn write(&self, exporter: &Exporter<'_>, entry: &Entry) -> Result<(), Problem> {
        if locked(&self.state).began.is_none() {
            exporter.progress.on(&ProgressEvent::Began { task: &self.task() });
            locked(&self.state).began.get_or_insert_with(Instant::now);
        }
        let brought = entry.layers().iter().map(|layer| self.bring(exporter, layer));
        futures_util::future::try_join_all(brought).await?;
        let far = Far { workshop: exporter.workshop, place: &self.place };
        exporter
            .workshop
            .lanes
            .net(far.put(ENTRIES, &entry.name(), entry.document(), &entry.blobs()))
            .await?;
        locked(&self.state).entries += 1;
        Ok(())
    }

    /// Sees to it that a blob is there. Many entries name the same, and the first that comes brings it.
    async fn bring(&self, exporter: &Exporter<'_>, layer: &Layer) -> Result<(), Problem> {
        let cell = Arc::clone(locked(&self.brought).entry(layer.blob.digest).or_default());
        let brought = cell.get_or_try_init(|| async {
            // Others wait here for the one that failed, and need not fail as slowly.
            if locked(&self.state).has_failed {
                return Err(Problem::GivenUp);
            }
            let brought = self.bring_first(exporter, layer).await;
            brought.map_err(|problem| {
                self.fail(problem);
                Problem::GivenUp
            })
        });
        brought.await.copied()
    }

    /// Keeps the first problem, after which nothing more is tried.
    fn fail(&self, source: Problem) {
        let mut state = locked(&self.state);
        if !std::mem::replace(&mut state.has_failed, true) {
            state.failure = Some(CacheExportError { place: self.place.clone(), source });
        }
    }

    async fn bring_first(&self, exporter: &Exporter<'_>, layer: &Layer) -> Result<(), Problem> {
        let Exporter { workshop, progress, .. } = exporter;
        let (far, blob) = (Far { workshop, place: &self.place }, &layer.blob);
        let trouble = workshop.doubts.trouble(&self.place);
        // One that could not be had from there is sent again, and so are all where several could not.
        let is_doubted =
            workshop.doubts.about(&blob.digest).is_some() || trouble == Some(Trouble::Unreliable);
        let is_there = workshop.lanes.net(async {
            if !is_doubted && far.has(blob).await? {
                return Ok(true);
            }
            far.adopt(blob, &blobs::mountable(&workshop.store, &blob.digest)).await
        });
        if !is_there.await? {
            // Takes a transfer of its own, so it must not hold one.
            blobs::fetch(workshop, blob, progress).await?;
            workshop.lanes.net(far.send(blob, progress)).await?;
        }
        let (store, layer, place) = (workshop.store.clone(), layer.clone(), self.place.clone());
        Ok(blocking(move || blobs::remember_claim(&store, &layer, &place)).await?)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Only whole values come and go, so a panic elsewhere harmed nothing.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
