//! Entering a step: the road of a build up to it, and then a command that somebody attends in the place of the step's own.
//!
//! | Asked for | Root | Environment, user, directory, network | Mounts |
//! |---|---|---|---|
//! | a RUN | what the RUN started from | its own | its own |
//! | another instruction | what it started from | those of the nearest RUN of its stage, else the defaults | none |
//! | a line below the last step | what the stage ends with | as above | none |
//! | a RUN that has just failed ([`on_failure`]) | what it left | its own | its own |

use std::sync::Arc;

use kiln_oci::Digest;
use kiln_sandbox::ExitStatus;

use super::BuildError;
use super::inputs::Inputs;
use super::ready::{Order, keyed, lower, unless_raised};
use super::recorded::recording;
use crate::interrupt::Interrupt;
use crate::lanes::blocking;
use crate::lower::{Dockerfile, Source, parse};
use crate::plan::{Network, Op, Origin, Plan, RunOp, StepId};
use crate::progress::{Progress, ProgressEvent, ShellReason};
use crate::request::{Attendant, BuildRequest};
use crate::solve::{SolveError, solve};
use crate::transform::{Bench, Command, Given, OpenStep, StepError, open_step};
use crate::workshop::Workshop;

/// A step to enter, and what to do there.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Name or number of the stage; the step that is meant is the last RUN of it.
    pub stage: Option<String>,
    /// The step that is meant instead: the one that stands there or, if none does, the next one.
    pub line: Option<u32>,
    /// What the Dockerfile was when the step was built.
    pub dockerfile: Option<Digest>,
    /// What runs.
    pub command: Command,
    /// Who attends.
    pub attendant: Attendant,
}

/// Why a step could not be entered.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// What the step needs could not be made.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// There is no such stage.
    #[error("the Dockerfile has no stage `{name}`")]
    NoStage {
        /// The name that was asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// The stage is there, but has no steps in this build.
    #[error("the build has no step of stage `{name}`")]
    NotBuilt {
        /// The stage.
        name: String,
    },
    /// There is no step at all.
    #[error("the build has no step to enter")]
    NoStep,
}

/// Makes what a step needs, mostly by looking it up, and runs a command there. What it changes is thrown away.
///
/// # Errors
/// [`EnterError`]. A command that ran and failed is an [`ExitStatus`].
pub async fn enter(
    workshop: &Arc<Workshop>,
    request: &BuildRequest,
    entry: &Entry,
    progress: &Arc<dyn Progress>,
    interrupt: &Interrupt,
) -> Result<ExitStatus, EnterError> {
    let store = workshop.store.clone();
    blocking(move || store.collect_dead_scratch()).await.map_err(BuildError::from)?;
    let order = Order { workshop, request, progress, interrupt };
    let Opened { step, place, plan, source, _bench } = match open(order, entry).await {
        Err(EnterError::Build(error)) => match recording(workshop, request, &error, progress) {
            Some(workshop) => {
                interrupt.begin_again();
                open(Order { workshop: &workshop, ..order }, entry).await?
            }
            None => return Err(error.into()),
        },
        outcome => outcome?,
    };
    let reason = ShellReason::Entered {
        is_command: entry.command != Command::Shell,
        has_changed: entry.dockerfile.is_some_and(|digest| digest != text_digest(&source)),
    };
    let (origin, argv) = (&plan.step(place.step).origin, place.run.argv.as_slice());
    let attendant = &entry.attendant;
    progress.on(&ProgressEvent::ShellOpened { origin, argv, reason, streams: &attendant.streams });
    let outcome = step.attend(&entry.command, attendant.clone(), interrupt).await;
    progress.on(&ProgressEvent::ShellClosed);
    Ok(outcome.map_err(|error| BuildError::step(place.step, error, &plan, &source))?)
}

/// A step that can be entered, and where it comes from.
struct Opened {
    step: OpenStep,
    place: Place,
    plan: Arc<Plan>,
    source: Source,
    /// What is mounted may lie where only the bench keeps it.
    _bench: Arc<Bench>,
}

/// Plans the build, and makes what the step needs that is not in the store.
async fn open(order: Order<'_>, entry: &Entry) -> Result<Opened, EnterError> {
    let Order { workshop, request, progress, interrupt } = order;
    let inputs = unless_raised(interrupt, Inputs::open(workshop, request, progress)).await?;
    let parsed = parse(&inputs.source, &request.build_args);
    if parsed.has_errors() {
        return Err(BuildError::dockerfile(inputs.source, parsed.diagnostics).into());
    }
    let lowering = lower(order, &inputs, &parsed.file);
    let (planned, timestamp) = unless_raised(interrupt, lowering).await?;
    let plan = Arc::new(planned.lowered.plan);
    let place = choose(&plan, &parsed.file, &inputs.source, entry)?;
    let (bench, keys) = keyed(order, &inputs, &plan, timestamp).await?;
    let failed = |error| BuildError::solve(error, &plan, &inputs.source);
    let reads = Op::Run(Box::new(place.run.clone())).reads();
    let wanted: Vec<StepId> = std::iter::once(place.root).chain(reads.iter().copied()).collect();
    let solution = solve(&bench, &plan, &keys, &wanted, interrupt).await.map_err(failed)?;
    let given = Given {
        again: None,
        parent: Some(solution.rootfs(place.root).clone()),
        reads: reads.iter().map(|step| solution.output(*step).clone()).collect(),
        selections: Vec::new(),
        copies: plan.copies_in(Some(place.root)),
        reason: None,
    };
    let step = open_step(&bench, &place.run, given).await;
    let step = step.map_err(|error| BuildError::step(place.step, error, &plan, &inputs.source))?;
    Ok(Opened { step, place, plan, source: inputs.source, _bench: bench })
}

/// Returns what tells one text of a Dockerfile from another.
pub fn text_digest(source: &Source) -> Digest {
    Digest::of(source.text().as_bytes())
}

/// Gives a shell in the step that failed to whoever the request names for that, and returns the failure as it was.
pub(super) async fn on_failure(
    request: &BuildRequest,
    failure: SolveError,
    plan: &Plan,
    progress: &Arc<dyn Progress>,
    interrupt: &Interrupt,
) -> SolveError {
    let SolveError::Step { step, error } = failure else { return failure };
    let (error, left) = match *error {
        StepError::Left { error, step } => (error, step),
        error => return SolveError::Step { step, error: Box::new(error) },
    };
    let Step { origin, argv } = Step::of(plan, step);
    if let Some(attendant) = request.on_error.as_ref().filter(|_| !interrupt.is_raised()) {
        let message = error.to_string();
        let reason = ShellReason::Failed { message: &message };
        progress.on(&ProgressEvent::ShellOpened { origin, argv, reason, streams: &attendant.streams });
        let outcome = left.attend(&Command::Shell, attendant.clone(), interrupt).await;
        progress.on(&ProgressEvent::ShellClosed);
        if let Err(error) = outcome
            && !interrupt.is_raised()
        {
            let message = format!("no shell was opened: {error}");
            progress.on(&ProgressEvent::Warning { message: &message });
        }
    }
    SolveError::Step { step, error }
}

/// What is told of a step.
struct Step<'a> {
    origin: &'a Origin,
    argv: &'a [String],
}

impl<'a> Step<'a> {
    fn of(plan: &'a Plan, step: StepId) -> Self {
        let step = plan.step(step);
        let argv = match &step.op {
            Op::Run(run) => run.argv.as_slice(),
            _ => &[],
        };
        Self { origin: &step.origin, argv }
    }
}

/// What is entered.
struct Place {
    /// The step that was asked for.
    step: StepId,
    /// The file system.
    root: StepId,
    /// Everything else.
    run: RunOp,
}

fn choose(plan: &Plan, file: &Dockerfile, source: &Source, entry: &Entry) -> Result<Place, EnterError> {
    let needed = plan.reachable();
    let stage = entry.stage.clone().or_else(|| Some(stage_at(file, source, entry.line?)?.to_string()));
    let is_wanted = |origin: &Origin| stage.as_ref().is_none_or(|name| is_of(origin, name, file));
    let mut steps: Vec<(StepId, &crate::plan::Step)> = plan
        .steps()
        .filter(|(id, step)| needed[id.index()] && step.op.parent().is_some() && step.origin.line > 0)
        .filter(|(_, step)| is_wanted(&step.origin))
        .collect();
    // In the order of the file; stages are planned as they are needed.
    steps.sort_by_key(|(_, step)| step.origin.line);
    let (last, _) = *steps.last().ok_or_else(|| nothing(file, stage.as_deref()))?;
    let Some(line) = entry.line else {
        let mut runs = steps.iter().filter_map(|(id, step)| Some((*id, run_of(&step.op)?)));
        return Ok(match runs.next_back() {
            Some((step, run)) => Place { step, root: run.parent, run: run.clone() },
            None => beside(plan, last, last),
        });
    };
    let end = |origin: &Origin| {
        origin.span.map_or(origin.line, |(start, end)| line_of(source, end.max(start + 1) - 1))
    };
    let Some((step, at)) = steps.iter().find(|(_, step)| end(&step.origin) >= line) else {
        return Ok(beside(plan, last, last));
    };
    Ok(match (run_of(&at.op), at.op.parent()) {
        (Some(run), _) if at.origin.line <= line => Place { step: *step, root: run.parent, run: run.clone() },
        (_, parent) => beside(plan, *step, parent.unwrap_or(*step)),
    })
}

/// Returns the number of the stage that a line belongs to.
fn stage_at(file: &Dockerfile, source: &Source, line: u32) -> Option<usize> {
    file.stages.iter().rposition(|stage| line_of(source, stage.from.span.start) <= line)
}

/// Enters a file system with what the nearest RUN of the stage has, but its mounts.
fn beside(plan: &Plan, step: StepId, root: StepId) -> Place {
    let of = &plan.step(step).origin;
    let runs = plan.steps().filter(|(_, other)| other.origin.stage == of.stage);
    let runs = runs.filter_map(|(_, other)| Some((other.origin.line, run_of(&other.op)?)));
    let nearest = runs.min_by_key(|(line, _)| line.abs_diff(of.line)).map(|(_, run)| run.clone());
    let run = match nearest {
        Some(run) => RunOp { parent: root, mounts: Vec::new(), script: None, ..run },
        None => RunOp::new(root),
    };
    Place { step, root, run }
}

fn run_of(op: &Op) -> Option<&RunOp> {
    match op {
        Op::Run(run) => Some(run),
        _ => None,
    }
}

fn line_of(source: &Source, offset: usize) -> u32 {
    u32::try_from(source.position(offset).line).unwrap_or(u32::MAX)
}

/// Whether a step belongs to a stage, which is meant by its name, its number, or as it is shown.
fn is_of(origin: &Origin, name: &str, file: &Dockerfile) -> bool {
    // Several platforms stand before the stage: `linux/amd64 build`.
    let shown = origin.stage.split(' ').next_back().unwrap_or_default();
    let has_number = |index: usize| match file.stages.get(index).map(|stage| stage.name()) {
        Some(Some(name)) => origin.stage_name == name,
        Some(None) => shown == format!("stage-{index}") || file.stages.len() == 1,
        None => false,
    };
    origin.stage == name || origin.stage_name == name.to_lowercase() || name.parse().is_ok_and(has_number)
}

fn nothing(file: &Dockerfile, stage: Option<&str>) -> EnterError {
    let Some(name) = stage else { return EnterError::NoStep };
    let known: Vec<String> = file.stages.iter().filter_map(|stage| stage.name().map(str::to_owned)).collect();
    let is_number = name.parse().is_ok_and(|index: usize| index < file.stages.len());
    match is_number || known.contains(&name.to_lowercase()) {
        true => EnterError::NotBuilt { name: name.to_owned() },
        false => EnterError::NoStage { name: name.to_owned(), known },
    }
}

impl RunOp {
    /// Returns a RUN of nothing as root, for entering a stage that has none.
    fn new(parent: StepId) -> Self {
        Self {
            parent,
            argv: Vec::new(),
            env: vec![("PATH".to_owned(), kiln_sandbox::DEFAULT_PATH.to_owned())],
            arguments: Vec::new(),
            unkeyed_env: Vec::new(),
            cwd: "/".to_owned(),
            user: String::new(),
            network: Network::Host,
            mounts: Vec::new(),
            hostname: "kiln".to_owned(),
            extra_hosts: Vec::new(),
            ulimits: Vec::new(),
            shm_size_bytes: None,
            platform: kiln_oci::Platform::host(),
            shell: Vec::new(),
            script: None,
        }
    }
}
