//! What a build would do, found out without doing it.
//!
//! | A step whose key is not known | Its inputs | It |
//! |---|---|---|
//! | makes what was made before, by its content key | are all there | is cached |
//! | does not | are all there | must run |
//! | makes directories (WORKDIR) | are all there | must run, and is looked through: nothing runs for it |
//! | cannot be judged without fetching something | are all there | may run |
//! | | some of them must or may run | may run: unless they come out as in an earlier build |
//!
//! So the build that follows runs all that must run, some of what may run, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::SolveError;
use super::driver::given;
use super::explaining::Explainer;
use super::keys::Keys;
use super::scheduler::{Action, Event, Scheduler};
use crate::cache::LocalCache;
use crate::explain::Reason;
use crate::plan::{Op, Plan, StepId, StepKey};
use crate::rootfs::Rootfs;
use crate::transform::{Bench, Foreseen, Given, StepOutput, foresee, to_be_fetched};

/// What becomes of a step that is in no cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It runs.
    Must,
    /// It runs, unless what it needs comes out as it did before.
    May,
}

/// A step that would run.
#[derive(Debug, Clone)]
pub struct Ahead {
    /// The step.
    pub step: StepId,
    /// Whether it is certain.
    pub fate: Fate,
    /// Why.
    pub reason: Reason,
    /// How long the nearest earlier version took.
    pub took: Option<Duration>,
}

/// Something that would be fetched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fetch {
    /// Of what: the name of an image, the address of a repository.
    pub of: String,
    /// The blob, or the commit.
    pub what: String,
    /// How many bytes, where that is known.
    pub bytes: Option<u64>,
}

/// What a build would do.
#[derive(Debug, Clone, Default)]
pub struct Forecast {
    /// The steps that would run, inputs before what needs them.
    pub steps: Vec<Ahead>,
    /// What these would fetch.
    pub fetches: Vec<Fetch>,
}

/// Finds out what `wanted` needs. Nothing is run, fetched or recorded.
///
/// # Errors
/// A step that would fail for what it selects.
pub async fn look_ahead(
    bench: &Arc<Bench>,
    plan: &Arc<Plan>,
    keys: &Arc<Keys>,
    wanted: &[StepId],
) -> Result<Forecast, SolveError> {
    let mut view = View {
        bench,
        plan,
        keys,
        cache: LocalCache::new(&bench.workshop),
        explainer: Explainer::new(bench, plan, keys),
        outputs: vec![None; plan.len()],
        reasons: BTreeMap::new(),
        steps: BTreeMap::new(),
        commits: BTreeSet::new(),
    };
    let mut scheduler = Scheduler::new(plan, wanted);
    while let Some(action) = scheduler.next_action() {
        match action {
            Action::Probe(step) => {
                let hit = view.probe(step).await;
                scheduler.on(Event::Probed { step, hit });
            }
            Action::Execute(step) => {
                view.look_at(step).await?;
                scheduler.on(Event::Executed { step, succeeded: true });
            }
        }
    }
    let fetches = view.fetches().await?;
    Ok(Forecast { steps: view.steps.into_values().collect(), fetches })
}

struct View<'a> {
    bench: &'a Arc<Bench>,
    plan: &'a Arc<Plan>,
    keys: &'a Arc<Keys>,
    cache: LocalCache,
    explainer: Explainer,
    /// What is known without running anything.
    outputs: Vec<Option<StepOutput>>,
    reasons: BTreeMap<StepId, Reason>,
    steps: BTreeMap<StepId, Ahead>,
    commits: BTreeSet<Fetch>,
}

impl View<'_> {
    async fn probe(&mut self, step: StepId) -> bool {
        if self.plan.step(step).op.parent().is_none() {
            return false;
        }
        let key = self.keys.lookup(step);
        let hit = match key.and_then(|key| self.cache.definition(key)) {
            Some(rootfs) => Some(rootfs),
            None => self.far(step, key).await,
        };
        match hit {
            Some(rootfs) => self.know(step, rootfs),
            None => self.explainer.look_back(step),
        }
        self.outputs[step.index()].is_some()
    }

    /// Asks the caches that builders share.
    async fn far(&self, step: StepId, key: Option<StepKey>) -> Option<Rootfs> {
        let (workshop, tiers) = (&self.bench.workshop, &self.bench.tiers);
        let key = key.filter(|_| tiers.may_ask(workshop))?;
        let base = self.plan.base_of(step);
        tiers.definition(workshop, &*self.bench.progress, key, base).await.map(|found| found.value)
    }

    async fn look_at(&mut self, step: StepId) -> Result<(), SolveError> {
        let failed = |error| SolveError::Step { step, error: Box::new(error) };
        match &self.plan.step(step).op {
            Op::Scratch => self.outputs[step.index()] = Some(StepOutput::Rootfs(Rootfs::default())),
            Op::Image(image) => {
                let rootfs = Rootfs { layers: image.layers.clone(), made: Vec::new() };
                self.outputs[step.index()] = Some(StepOutput::Rootfs(rootfs));
            }
            Op::Context(context) => {
                let (bench, name) = (Arc::clone(self.bench), context.name.clone());
                let tree = self.bench.workshop.lanes.cpu(move || bench.contexts[&name].tree()).await;
                self.outputs[step.index()] =
                    Some(StepOutput::Files(tree.map_err(|error| failed(error.into()))?));
            }
            // What it holds is known when it was fetched.
            Op::Http(_) => {}
            Op::Git(git) => {
                if let Some(commit) = self.bench.commits.get(&step) {
                    let (of, what) = (git.reference.shown(), format!("commit {}", commit.commit()));
                    self.commits.insert(Fetch { of, what, bytes: None });
                }
            }
            Op::Run(_) | Op::Copy(_) | Op::MakeDir(_) => self.judge(step).await.map_err(failed)?,
        }
        Ok(())
    }

    async fn judge(&mut self, step: StepId) -> Result<(), crate::transform::StepError> {
        let of = self.plan.step(step);
        let foreseen = match self.given(step) {
            None => None,
            Some(given) => Some(foresee(self.bench, step, of, given).await?),
        };
        let fate = match foreseen {
            Some(Foreseen::Known(rootfs)) => {
                self.know(step, rootfs);
                return Ok(());
            }
            Some(Foreseen::Makes(rootfs)) => {
                self.know(step, rootfs);
                // Directories on the same file system are found anew, which is no miss.
                if self.explainer.reason(step, &self.reasons).is_none() {
                    return Ok(());
                }
                Fate::Must
            }
            Some(Foreseen::Runs) => Fate::Must,
            Some(Foreseen::Unsure) | None => Fate::May,
        };
        let gone = || Reason::ResultGone { what: "the layer that it made before".to_owned() };
        let reason = self.explainer.reason(step, &self.reasons).unwrap_or_else(gone);
        self.reasons.insert(step, reason.clone());
        let took = self.explainer.took(step);
        self.steps.insert(step, Ahead { step, fate, reason, took });
        Ok(())
    }

    fn know(&mut self, step: StepId, rootfs: Rootfs) {
        self.explainer.came_out(step, &rootfs);
        self.outputs[step.index()] = Some(StepOutput::Rootfs(rootfs));
    }

    /// Returns what a step is given, if all of that is known.
    fn given(&self, step: StepId) -> Option<Given> {
        let inputs = self.plan.step(step).op.inputs();
        let is_known = inputs.iter().all(|input| self.outputs[input.index()].is_some());
        let output = |id: StepId| self.outputs[id.index()].clone().expect("all of them are known");
        is_known.then(|| given(self.plan, self.keys, step, output))
    }

    async fn fetches(&self) -> Result<Vec<Fetch>, SolveError> {
        let mut fetches: BTreeSet<Fetch> = self.commits.clone();
        // Each image with a step that needs its files, for the error.
        let mut images: BTreeMap<StepId, StepId> = BTreeMap::new();
        for step in self.steps.keys() {
            let op = &self.plan.step(*step).op;
            // A copy looks at what its target holds; a RUN has all of it.
            let inputs = if matches!(op, Op::Run(_)) { op.inputs() } else { op.reads() };
            images.extend(inputs.into_iter().map(|input| (self.beginning(input), *step)));
        }
        for (image, step) in images {
            let Op::Image(image) = &self.plan.step(image).op else { continue };
            let layers = to_be_fetched(self.bench, &image.layers).await;
            let layers = layers.map_err(|error| SolveError::Step { step, error: Box::new(error) })?;
            fetches.extend(layers.into_iter().map(|layer| Fetch {
                of: image.reference.familiar().to_string(),
                what: format!("layer {}", layer.blob.digest),
                bytes: Some(layer.blob.size),
            }));
        }
        Ok(fetches.into_iter().collect())
    }

    /// Returns what a file system begins with.
    fn beginning(&self, step: StepId) -> StepId {
        let chain = std::iter::successors(Some(step), |step| self.plan.step(*step).op.parent());
        chain.last().unwrap_or(step)
    }
}
