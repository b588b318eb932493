//! After the build: chosen steps are done a second time. Each is given what it was given the first time, so a step that does not
//! make the same again makes no other look as if it did not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt};

use super::BuildError;
use crate::interrupt::Interrupt;
use crate::lanes::blocking;
use crate::plan::{MountKind, Network, Op, Plan, RunMount, StepId};
use crate::progress::ProgressEvent;
use crate::repeated::Repeated;
use crate::request::Repeat;
use crate::solve::{Keys, Solution, SolveError, given};
use crate::transform::{Bench, can_repeat, repeat as do_again};

/// So much later than the first time a step is done again at least: in another second.
const LATER: Duration = Duration::from_millis(1100);
const TASK: &str = "waiting for another second";

/// What steps that are done again are taken from.
#[derive(Clone, Copy)]
pub(super) struct Again<'a> {
    pub(super) bench: &'a Arc<Bench>,
    pub(super) plan: &'a Arc<Plan>,
    pub(super) keys: &'a Keys,
    pub(super) solution: &'a Solution,
    pub(super) interrupt: &'a Interrupt,
}

/// Returns the steps that are to be done again, inputs before what needs them.
///
/// # Errors
/// [`BuildError::NothingToRepeat`], when a stage is named that has no step in this build.
pub(super) fn chosen(plan: &Plan, repeat: &Repeat) -> Result<Vec<StepId>, BuildError> {
    let needed = plan.reachable();
    let possible = plan.steps().filter(|(id, step)| needed[id.index()] && can_repeat(&step.op));
    match repeat {
        Repeat::Nothing => Ok(Vec::new()),
        Repeat::Everything => Ok(possible.map(|(id, _)| id).collect()),
        Repeat::Stages(stages) => {
            let possible: Vec<_> = possible.collect();
            let is_of = |stage: &str, id: StepId| {
                let origin = &plan.step(id).origin;
                origin.stage_name.eq_ignore_ascii_case(stage) || origin.stage == stage
            };
            let is_empty = |stage: &&String| !possible.iter().any(|(id, _)| is_of(stage, *id));
            if let Some(stage) = stages.iter().find(is_empty) {
                return Err(BuildError::NothingToRepeat { stage: stage.clone() });
            }
            let ids = possible.into_iter().map(|(id, _)| id);
            Ok(ids.filter(|id| stages.iter().any(|stage| is_of(stage, *id))).collect())
        }
    }
}

/// Returns the steps whose results are needed: those of the images, and to do the chosen ones again, what they are given.
pub(super) fn wanted(plan: &Plan, chosen: &[StepId]) -> Vec<StepId> {
    let outputs = plan.outputs.iter().map(|output| output.root);
    let again = chosen.iter().flat_map(|id| plan.step(*id).op.inputs().into_iter().chain([*id]));
    outputs.chain(again).collect()
}

/// Does the chosen steps again, so many at once.
pub(super) async fn repeat(
    again: Again<'_>,
    chosen: &[StepId],
    jobs: usize,
) -> Result<Vec<Repeated>, SolveError> {
    if chosen.is_empty() {
        return Ok(Vec::new());
    }
    let Again { bench, interrupt, .. } = again;
    bench.progress.on(&ProgressEvent::Began { task: TASK });
    let stopped = || SolveError::Interrupted;
    tokio::select! {
        () = interrupt.raised() => return Err(stopped()),
        () = tokio::time::sleep(LATER) => {}
    }
    bench.progress.on(&ProgressEvent::Finished { task: TASK, took: LATER, detail: "" });
    let steps =
        futures_util::stream::iter(chosen).map(|step| repeat_step(again, *step)).buffered(jobs.max(1));
    let aside = &bench.aside;
    let work = async {
        let repeated = steps.try_collect::<Vec<_>>().await?;
        aside.done().await;
        Ok(repeated)
    };
    let repeated = tokio::select! {
        never = aside.work() => match never {},
        repeated = work => repeated,
    };
    let own = Arc::clone(bench);
    blocking(move || own.spare_roots.clear()).await;
    match aside.failure() {
        _ if interrupt.is_raised() => Err(stopped()),
        Some((step, error)) => Err(SolveError::Step { step, error: Box::new(error.into()) }),
        None => repeated,
    }
}

async fn repeat_step(again: Again<'_>, id: StepId) -> Result<Repeated, SolveError> {
    let Again { bench, plan, keys, solution, .. } = again;
    let (step, started) = (plan.step(id), Instant::now());
    let given = given(plan, keys, id, |input| solution.output(input).clone());
    let verdict = do_again(bench, id, step, given).await;
    let verdict = verdict.map_err(|error| SolveError::Step { step: id, error: Box::new(error) })?;
    bench.progress.on(&ProgressEvent::StepRepeated { step: id, verdict: &verdict, took: started.elapsed() });
    let (has_caches, has_network) = match &step.op {
        Op::Run(run) => {
            let is_cache = |mount: &RunMount| matches!(mount.kind, MountKind::Cache { .. });
            (run.mounts.iter().any(is_cache), run.network == Network::Host)
        }
        _ => (false, false),
    };
    Ok(Repeated { origin: step.origin.clone(), verdict, has_caches, has_network })
}
