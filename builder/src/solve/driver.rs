//! The one loop that runs steps. It owns all state and handles one event at a time; work happens in the lanes.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use kiln_sandbox::{Emulation, ExecError, emulation};

use super::explaining::Explainer;
use super::foreign::RunsLeft;
use super::keys::Keys;
use super::lookups::{Answer, Lookups, Wanted};
use super::recorder::Recorder;
use super::scheduler::{Action, Event, Scheduler};
use crate::aside::Aside;
use crate::cache::{Found, LocalCache};
use crate::interrupt::Interrupt;
use crate::plan::{Op, Plan, StepId};
use crate::progress::ProgressEvent;
use crate::recording::{lack_of, may_record};
use crate::request::CachePlace;
use crate::rootfs::Rootfs;
use crate::settling::Settling;
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
    let mut driver = Driver::new(bench, plan, keys, wanted, interrupt);
    let (mut running, mut asking) = (FuturesUnordered::new(), FuturesUnordered::new());
    let aside = &bench.aside;
    let mut work_aside = pin!(aside.work());
    loop {
        while let Some(action) = driver.scheduler.next_action() {
            match action {
                Action::Probe(step) => driver.probe(step),
                Action::Execute(step) => driver.ready.push(step),
            }
        }
        for step in driver.startable() {
            running.push(driver.start(step));
        }
        asking.extend(std::mem::take(&mut driver.to_ask).into_iter().map(|step| driver.ask(step)));
        if running.is_empty() && !driver.is_waiting() {
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
            // A step may run for long after the disk is full.
            () = aside.failed(), if driver.failure.is_none() => driver.fail_aside(),
            Some(finished) = running.next() => driver.finished(finished),
            Some((step, answer)) = asking.next() => driver.answered(step, answer),
            never = &mut work_aside => match never {},
        }
    }
    driver.renew(wanted);
    until_done(aside, work_aside, interrupt).await;
    driver.fail_aside();
    drop(driver.settling);
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

/// Returns what a step is given, where `output` returns what its inputs made.
pub fn given(plan: &Plan, keys: &Keys, step: StepId, output: impl Fn(StepId) -> StepOutput) -> Given {
    let op = &plan.step(step).op;
    Given {
        parent: op.parent().map(|parent| output(parent).rootfs().clone()),
        reads: op.reads().into_iter().map(output).collect(),
        selections: keys.selections(step).to_vec(),
        copies: plan.copies_in(op.parent()),
        reason: None,
        again: None,
    }
}

struct Driver<'a> {
    bench: &'a Arc<Bench>,
    plan: &'a Arc<Plan>,
    keys: &'a Arc<Keys>,
    recorder: Recorder<'a>,
    cache: LocalCache,
    lookups: Lookups,
    /// Steps that far caches are to be asked for.
    to_ask: Vec<StepId>,
    scheduler: Scheduler,
    outputs: Vec<Option<StepOutput>>,
    ready: Vec<StepId>,
    runs_left: RunsLeft,
    interrupt: &'a Interrupt,
    explainer: Arc<Explainer>,
    failure: Option<SolveError>,
    settling: Settling,
}

struct Finished {
    step: StepId,
    took: Duration,
    outcome: Result<StepOutput, StepError>,
}

impl<'a> Driver<'a> {
    fn new(
        bench: &'a Arc<Bench>,
        plan: &'a Arc<Plan>,
        keys: &'a Arc<Keys>,
        wanted: &[StepId],
        interrupt: &'a Interrupt,
    ) -> Self {
        let cache = LocalCache::new(&bench.workshop);
        let explainer = Arc::new(Explainer::new(bench, plan, keys));
        Self {
            bench,
            plan,
            keys,
            recorder: Recorder::new(bench, plan, keys, &cache, &explainer),
            cache,
            lookups: Lookups::new(plan.len()),
            to_ask: Vec::new(),
            scheduler: Scheduler::new(plan, wanted),
            outputs: vec![None; plan.len()],
            ready: Vec::new(),
            runs_left: RunsLeft::default(),
            interrupt,
            explainer,
            failure: None,
            settling: Settling::default(),
        }
    }

    fn probe(&mut self, step: StepId) {
        let key = self.keys.lookup(step).filter(|_| self.plan.step(step).op.parent().is_some());
        match key.map(|key| self.cache.definition(key)) {
            Some(Some(rootfs)) => {
                self.recorder.hit(step);
                self.hit(step, rootfs, None);
            }
            Some(None) if self.bench.tiers.may_ask(&self.bench.workshop) => match self.lookups.want(step) {
                Wanted::Ask => self.to_ask.push(step),
                Wanted::Wait => {}
                Wanted::Known(answer) => self.looked_up(step, answer),
            },
            _ => self.missed(step),
        }
    }

    fn hit(&mut self, step: StepId, rootfs: Rootfs, place: Option<&CachePlace>) {
        self.bench.exports.found(step, &rootfs, place);
        self.explainer.came_out(step, &rootfs);
        self.bench.progress.on(&ProgressEvent::StepMade { step, rootfs: &rootfs });
        self.outputs[step.index()] = Some(StepOutput::Rootfs(rootfs));
        self.bench.progress.on(&ProgressEvent::StepCached { step });
        self.scheduler.on(Event::Probed { step, hit: true });
    }

    fn missed(&mut self, step: StepId) {
        if let Op::Run(op) = &self.plan.step(step).op {
            self.bench.spare.expect(1);
            let is_impossible = matches!(emulation(&op.platform.architecture), Emulation::Missing(_));
            self.runs_left.add(step, !is_impossible);
            self.settling.begin(&self.bench.workshop.store);
        }
        if self.plan.step(step).op.parent().is_some() {
            self.explainer.look_back(step);
        }
        self.scheduler.on(Event::Probed { step, hit: false });
    }

    /// Asks far caches for a step.
    fn ask(&self, step: StepId) -> impl Future<Output = (StepId, Answer)> + use<> {
        let (bench, plan) = (Arc::clone(self.bench), Arc::clone(self.plan));
        let key = self.keys.lookup(step);
        async move {
            let Some(key) = key else { return (step, None) };
            let base = plan.base_of(step);
            (step, bench.tiers.definition(&bench.workshop, &*bench.progress, key, base).await)
        }
    }

    fn answered(&mut self, step: StepId, answer: Answer) {
        if let Some(answer) = self.lookups.answered(step, answer) {
            self.looked_up(step, answer);
        }
    }

    fn looked_up(&mut self, step: StepId, answer: Answer) {
        let Some(Found { value, place }) = answer else {
            if self.lookups.is_first_miss() {
                self.ask_ahead();
            }
            return self.missed(step);
        };
        self.recorder.found(step, &value, &place);
        self.hit(step, value, Some(&place));
    }

    /// Asks for all that the store does not know, since what is wanted must be made of it.
    fn ask_ahead(&mut self) {
        for (step, _) in self.plan.steps().filter(|(_, step)| step.op.parent().is_some()) {
            let key = self.keys.lookup(step);
            if key.is_some_and(|key| self.cache.definition(key).is_none()) && self.lookups.ask_ahead(step) {
                self.to_ask.push(step);
            }
        }
    }

    /// Whether a step waits for the answer of a far cache, and may still be done.
    fn is_waiting(&self) -> bool {
        self.failure.is_none() && self.lookups.is_awaited()
    }

    /// Returns what is ready and need not wait; nothing once something failed.
    fn startable(&mut self) -> Vec<StepId> {
        if self.failure.is_some() {
            self.ready.clear();
        }
        if self.ready.is_empty() {
            return Vec::new();
        }
        let waiting = self.runs_left.waiting(self.plan, |step| self.scheduler.is_done(step));
        self.ready.extract_if(.., |step| !waiting.contains(step)).collect()
    }

    fn start(&mut self, step: StepId) -> impl Future<Output = Finished> + use<> {
        let op = &self.plan.step(step).op;
        let output =
            |id: StepId| self.outputs[id.index()].clone().expect("inputs are done before what needs them");
        let given = given(self.plan, self.keys, step, output);
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
        let is_known = is_transform && !self.bench.has_missed(step);
        // What was only found took no time, and the next plan wants to know how long it takes to do.
        let took = self.explainer.took(step).filter(|_| is_known).unwrap_or(took);
        self.runs_left.remove(step);
        self.scheduler.on(Event::Executed { step, succeeded: outcome.is_ok() });
        // First: a step that waited for a blob which did not reach the disk only says that the blob is missing.
        self.fail_aside();
        match outcome {
            Ok(done) => {
                if is_transform {
                    self.explainer.came_out(step, done.rootfs());
                    self.recorder.made(step, done.rootfs(), took);
                    self.bench.progress.on(&ProgressEvent::StepMade { step, rootfs: done.rootfs() });
                }
                self.outputs[step.index()] = Some(done);
                if is_transform {
                    self.bench.progress.on(&match is_known {
                        true => ProgressEvent::StepCached { step },
                        false => ProgressEvent::StepDone { step, took },
                    });
                }
            }
            Err(error) => {
                if self.failure.is_none() {
                    let begins_again = may_record(&self.bench.workshop) && lack_of(error.told()).is_some();
                    self.bench.progress.on(&match begins_again {
                        true => ProgressEvent::StepPutOff { step, took },
                        false => ProgressEvent::StepFailed { step, took },
                    });
                }
                let failure = if self.interrupt.is_raised() && self.failure.is_none() {
                    SolveError::Interrupted
                } else {
                    SolveError::Step { step, error: Box::new(error) }
                };
                self.fail(failure);
            }
        }
    }

    /// Records the results that were found, and nothing of what was done, as the newest.
    fn renew(&self, wanted: &[StepId]) {
        let missed = self.bench.missed();
        for step in wanted.iter().copied().filter(|step| !missed.contains_key(step)) {
            let is_transform = self.plan.step(step).op.parent().is_some();
            if is_transform && self.scheduler.is_done(step) {
                self.recorder.renew(step);
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
