//! The one loop that runs steps. It owns all state and handles one event at a time; work happens in the lanes.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use kiln_sandbox::ExecError;

use super::explaining::Explainer;
use super::keys::Keys;
use super::scheduler::{Action, Event, Scheduler};
use crate::aside::Aside;
use crate::cache::LocalCache;
use crate::interrupt::Interrupt;
use crate::plan::{Op, Plan, StepId};
use crate::progress::ProgressEvent;
use crate::rootfs::Rootfs;
use crate::transform::{Bench, Given, StepError, StepOutput, execute};

/// How long running work may take to end after an interrupt, before it is left behind.
const GRACE: Duration = Duration::from_secs(5);

/// Why a plan was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum SolveError {
    /// A step failed.
    #[error("{error}")]
    Step {
        /// The step.
        step: StepId,
        /// What failed.
        error: Box<StepError>,
    },
    /// Somebody stopped it.
    #[error("interrupted")]
    Interrupted,
}

/// The results of the steps that were needed.
#[derive(Debug)]
pub struct Solution {
    outputs: Vec<Option<StepOutput>>,
}

impl Solution {
    /// Returns the result of a step that was wanted.
    ///
    /// # Panics
    /// When the step was not wanted.
    pub fn output(&self, step: StepId) -> &StepOutput {
        self.outputs[step.index()].as_ref().expect("only wanted steps are asked for")
    }

    /// Returns the file system of a step that was wanted.
    ///
    /// # Panics
    /// When the step was not wanted.
    pub fn rootfs(&self, step: StepId) -> &Rootfs {
        self.output(step).rootfs()
    }
}

/// Carries out what `wanted` needs.
///
/// # Errors
/// The first [`SolveError`]; what was finished before it stays in the cache.
pub async fn solve(
    bench: &Arc<Bench>,
    plan: &Arc<Plan>,
    keys: &Arc<Keys>,
    wanted: &[StepId],
    interrupt: &Interrupt,
) -> Result<Solution, SolveError> {
    let mut driver = Driver {
        bench,
        plan,
        keys,
        cache: LocalCache::new(&bench.workshop.store),
        scheduler: Scheduler::new(plan, wanted),
        outputs: vec![None; plan.len()],
        interrupt,
        explainer: Arc::new(Explainer::new(bench, plan, keys)),
        failure: None,
    };
    let mut running = FuturesUnordered::new();
    let aside = &bench.aside;
    let mut work_aside = pin!(aside.work());
    loop {
        while let Some(action) = driver.scheduler.next_action() {
            match action {
                Action::Probe(step) => driver.probe(step),
                Action::Execute(step) => running.push(driver.start(step)),
            }
        }
        if running.is_empty() {
            break;
        }
        tokio::select! {
            biased;
            () = interrupt.raised(), if driver.failure.is_none() => {
                driver.fail(SolveError::Interrupted);
                // Killed steps end at once; what hangs on a socket is dropped.
                let ended = tokio::time::timeout(GRACE, async { while running.next().await.is_some() {} });
                tokio::select! {
                    never = &mut work_aside => match never {},
                    _ = ended => break,
                }
            }
            Some(finished) = running.next() => driver.finished(finished),
            never = &mut work_aside => match never {},
        }
    }
    driver.explainer_renews(wanted);
    until_done(aside, work_aside, interrupt).await;
    driver.fail_aside();
    match driver.failure {
        Some(failure) => Err(failure),
        None if interrupt.is_raised() => Err(SolveError::Interrupted),
        None => Ok(Solution { outputs: driver.outputs }),
    }
}

/// Waits for all that is done aside; once somebody stopped the build, not for ever.
async fn until_done(
    aside: &Aside,
    work_aside: Pin<&mut impl Future<Output = Infallible>>,
    interrupt: &Interrupt,
) {
    let deadline = async {
        interrupt.raised().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        never = work_aside => match never {},
        () = aside.done() => {}
        () = deadline => {}
    }
}

struct Driver<'a> {
    bench: &'a Arc<Bench>,
    plan: &'a Arc<Plan>,
    keys: &'a Arc<Keys>,
    cache: LocalCache,
    scheduler: Scheduler,
    outputs: Vec<Option<StepOutput>>,
    interrupt: &'a Interrupt,
    explainer: Arc<Explainer>,
    failure: Option<SolveError>,
}

struct Finished {
    step: StepId,
    took: Duration,
    outcome: Result<StepOutput, StepError>,
}

impl Driver<'_> {
    fn probe(&mut self, step: StepId) {
        let hit = self.keys.lookup(step).and_then(|key| self.cache.definition(key));
        let is_transform = self.plan.step(step).op.parent().is_some();
        let hit = hit.filter(|_| is_transform);
        if hit.is_none() && matches!(self.plan.step(step).op, Op::Run(_)) {
            self.bench.spare.expect(1);
        }
        if let Some(rootfs) = &hit {
            self.explainer.came_out(step, rootfs);
            self.outputs[step.index()] = Some(StepOutput::Rootfs(rootfs.clone()));
            self.bench.progress.on(&ProgressEvent::StepCached { step });
        }
        if hit.is_none() && is_transform {
            self.explainer.look_back(step);
        }
        self.scheduler.on(Event::Probed { step, hit: hit.is_some() });
    }

    fn start(&mut self, step: StepId) -> impl Future<Output = Finished> + use<> {
        let op = &self.plan.step(step).op;
        let output =
            |id: StepId| self.outputs[id.index()].clone().expect("inputs are done before what needs them");
        let given = Given {
            parent: op.parent().map(|parent| output(parent).rootfs().clone()),
            reads: op.reads().into_iter().map(output).collect(),
            selections: self.keys.selections(step).to_vec(),
            copies: self.plan.copies_in(self.plan.step(step).op.parent()),
            reason: None,
        };
        let explainer = op.parent().is_some().then(|| Arc::clone(&self.explainer));
        let (bench, plan) = (Arc::clone(self.bench), Arc::clone(self.plan));
        if op.parent().is_some() {
            bench.progress.on(&ProgressEvent::StepStarted { step });
        }
        let interrupt = self.interrupt.clone();
        async move {
            bench.aside.has_room().await;
            let mut given = given;
            if let Some(explainer) = explainer {
                let job = move || explainer.reason(step, &explainer.missed());
                given.reason = bench.workshop.lanes.cpu(job).await;
            }
            let started = Instant::now();
            let work = execute(&bench, step, plan.step(step), given);
            let outcome = match plan.step(step).op {
                // What hangs on a socket is dropped at once; a process is waited for until it is killed.
                Op::Http(_) => tokio::select! {
                    () = interrupt.raised() => Err(StepError::Exec(ExecError::Cancelled)),
                    outcome = work => outcome,
                },
                _ => work.await,
            };
            Finished { step, took: started.elapsed(), outcome }
        }
    }

    fn finished(&mut self, finished: Finished) {
        let Finished { step, took, outcome } = finished;
        let is_transform = self.plan.step(step).op.parent().is_some();
        self.scheduler.on(Event::Executed { step, succeeded: outcome.is_ok() });
        match outcome {
            Ok(done) => {
                if is_transform {
                    self.explainer.came_out(step, done.rootfs());
                    self.bench.is_done(step, took);
                    self.record(step, done.rootfs(), took);
                }
                self.outputs[step.index()] = Some(done);
                if is_transform {
                    self.bench.progress.on(&ProgressEvent::StepDone { step, took });
                }
            }
            Err(error) => {
                if self.failure.is_none() {
                    self.bench.progress.on(&ProgressEvent::StepFailed { step, took });
                }
                let failure = if self.interrupt.is_raised() && self.failure.is_none() {
                    SolveError::Interrupted
                } else {
                    SolveError::Step { step, error: Box::new(error) }
                };
                self.fail(failure);
            }
        }
        self.fail_aside();
    }

    /// Records the result under the definition key, so that the next build finds it without running anything, and can say why if
    /// it does not.
    fn record(&self, step: StepId, rootfs: &Rootfs, took: Duration) {
        let Some(key) = self.keys.lookup(step) else { return };
        let (cache, rootfs, explainer) = (self.cache.clone(), rootfs.clone(), Arc::clone(&self.explainer));
        self.bench.aside.add(step, move || {
            let portrait = explainer.remember(step, key, took)?;
            cache.record_definition(key, &rootfs, &portrait)
        });
    }

    /// Says of the results that were found that they are the newest again: the next build is compared with this one. That of the
    /// last build is, so a build that is repeated writes nothing.
    fn explainer_renews(&self, wanted: &[StepId]) {
        let missed = self.bench.missed();
        for step in wanted.iter().copied().filter(|step| !missed.contains_key(step)) {
            let is_transform = self.plan.step(step).op.parent().is_some();
            if is_transform && self.scheduler.is_done(step) {
                let explainer = Arc::clone(&self.explainer);
                self.bench.aside.add(step, move || explainer.renew(step));
            }
        }
    }

    /// Fails when something that was done aside has failed.
    fn fail_aside(&mut self) {
        if let Some((step, error)) = self.bench.aside.failure() {
            self.fail(SolveError::Step { step, error: Box::new(error.into()) });
        }
    }

    /// Keeps the first failure and stops everything else.
    fn fail(&mut self, failure: SolveError) {
        if self.failure.is_none() {
            self.failure = Some(failure);
            self.scheduler.on(Event::Interrupted);
            self.bench.cancel.cancel();
        }
    }
}
