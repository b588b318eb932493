//! RUN: a process in a sandbox over the unpacked layers; what it changed becomes a layer.

use std::sync::Arc;

use kiln_layer::owner::{User, resolve_user};
use kiln_layer::{ArchivePath, Tree};
use kiln_sandbox::{Emulation, RunSpec, emulation, shares_processes};
use kiln_store::LogWriter;

use super::accounts::AccountFiles;
use super::again::{conditions, elsewhere};
use super::caches::open_caches;
use super::finish::{fetch_unlisted, fetch_unpacked, is_listed, on_cpu};
use super::flight::{Boarding, board};
use super::known::Probe;
use super::lacks::{refuse, refuse_known};
use super::live_times::{Below, LiveTimes};
use super::mount_files::tree_of;
use super::recorded::remembered;
use super::run_finish::{Ran, finish};
use super::run_mounts::{open_agents, prepare_mounts};
use super::run_root::RootForm;
use super::run_spec::spec;
use super::{Bench, Foreseen, Given, OpenStep, Reuse, RunFailure, StepError, StepOutput};
use crate::agents::{AgentSocket, serve};
use crate::layers::{self, UnpackedLayers};
use crate::plan::key::Inputs;
use crate::plan::{Op, RunOp, StepId};
use crate::progress::ProgressEvent;
use crate::recording::{self, Lack};
use crate::rootfs::{Layer, Rootfs};
use crate::workshop::Workshop;

pub(super) async fn run(
    bench: &Arc<Bench>,
    id: StepId,
    op: &RunOp,
    given: Given,
    reuse: Reuse,
) -> Result<Rootfs, StepError> {
    let parent = given.parent.clone().unwrap_or_default();
    for rootfs in file_systems(&parent, &given) {
        fetch_unlisted(bench, &rootfs.layers).await?;
    }
    let (op, own, inputs) = (op.clone(), Arc::clone(bench), given.clone());
    let probe = {
        let (op, parent) = (op.clone(), parent.clone());
        match given.reads.is_empty() {
            // Nothing but a few hashes.
            true => probe(bench, (id, &op), &parent, &inputs, reuse)?,
            false => on_cpu(bench, move |bench| probe(bench, (id, &op), &parent, &inputs, reuse)).await?,
        }
    };
    let known = match probe.near_layer(bench) {
        Some(layer) => Some(layer),
        None => probe.far_layer(bench).await,
    };
    if let Some(layer) = known {
        return Ok(parent.with(layer));
    }
    if let Err(reason) = &bench.workshop.identity {
        return Err(StepError::Impossible { reason: reason.clone() });
    }
    let mut flight = None;
    if reuse.is_allowed {
        match board(bench, &probe).await? {
            Boarding::Ours(ours) => flight = Some(ours),
            Boarding::Done(layer) => return Ok(parent.with(layer.map(|layer| *layer))),
        }
    }
    if given.again.is_none() {
        bench.misses(id, given.reason.as_ref());
    }
    refuse_foreign(bench, &op, &parent)?;
    refuse_known(bench, &op, file_systems(&parent, &given))?;
    for rootfs in file_systems(&parent, &given) {
        fetch_unpacked(bench, &rootfs.layers).await?;
    }
    let stack = parent.layers.clone();
    let agents = Arc::new(open_agents(bench, &op)?);
    let served = Arc::clone(&agents);
    // All on one thread: what a step changes is mostly less than a change of lanes costs, and what is more is read, compressed
    // and hashed side by side on the cpu lane's threads all the same.
    let work = move || {
        let ran = run_blocking(&own, id, &op, &stack, &given, &agents)?;
        finish(&own, ran, probe, flight)
    };
    let layer = tokio::select! {
        layer = bench.workshop.lanes.wait(work) => layer?,
        never = serve(&served) => match never {},
    };
    Ok(parent.with(Some(layer)))
}

/// Says without running a step whether it would run, or returns what it would come to.
pub(super) async fn foresee(
    bench: &Arc<Bench>,
    id: StepId,
    op: &RunOp,
    given: Given,
    reuse: Reuse,
) -> Result<Foreseen, StepError> {
    let parent = given.parent.clone().unwrap_or_default();
    if !file_systems(&parent, &given).all(|rootfs| is_listed(bench, &rootfs.layers)) {
        return Ok(Foreseen::Unsure);
    }
    let (op, below) = (op.clone(), parent.clone());
    let probe = on_cpu(bench, move |bench| probe(bench, (id, &op), &below, &given, reuse)).await?;
    let known = match probe.near_layer(bench) {
        Some(layer) => Some(layer),
        None => probe.far_content(bench).await.map(|found| found.value),
    };
    Ok(known.map_or(Foreseen::Runs, |layer| Foreseen::Known(parent.with(layer))))
}

/// Returns the file systems that a step is over or reads.
fn file_systems<'a>(parent: &'a Rootfs, given: &'a Given) -> impl Iterator<Item = &'a Rootfs> {
    std::iter::once(parent).chain(read_by(given))
}

fn read_by(given: &Given) -> impl Iterator<Item = &Rootfs> {
    given.reads.iter().filter_map(|read| match read {
        StepOutput::Rootfs(rootfs) => Some(rootfs),
        StepOutput::Files(_) | StepOutput::File(_) => None,
    })
}

/// Refuses a step whose programs are for a machine that neither this one is nor emulates. Where that cannot be told, the step
/// is tried.
fn refuse_foreign(bench: &Bench, op: &RunOp, parent: &Rootfs) -> Result<(), StepError> {
    let (handler, interpreter) = match emulation(&op.platform.architecture) {
        Emulation::Native | Emulation::Unknown => return Ok(()),
        Emulation::Missing(handler) => (handler, None),
        Emulation::Handler(handler) if handler.is_fixed => return Ok(()),
        Emulation::Handler(handler) => {
            let tree = layers::tree(&bench.workshop, &parent.layers)?;
            let path = ArchivePath::clamp(handler.interpreter.as_bytes());
            if path.is_ok_and(|path| tree.resolve(&path).is_ok_and(|found| tree.get(&found.path).is_some())) {
                return Ok(());
            }
            (handler.name, Some(handler.interpreter))
        }
    };
    Err(StepError::Foreign { platform: op.platform.to_string(), handler, interpreter })
}

fn probe(
    bench: &Bench,
    (id, op): (StepId, &RunOp),
    parent: &Rootfs,
    given: &Given,
    reuse: Reuse,
) -> Result<Probe, StepError> {
    let mut reads = Vec::new();
    let kinds = op.mounts.iter().filter(|mount| mount.kind.reads().is_some());
    for (mount, read) in kinds.zip(&given.reads) {
        reads.push(match read {
            StepOutput::File(download) => download.announced.digest,
            files => {
                let (tree, _) = tree_of(bench, files)?;
                super::mount_selection(&tree, mount.kind.source().unwrap_or("/"))?
            }
        });
    }
    let inputs = Inputs { parent: Some(parent.chain()), reads };
    Ok(Probe::new(bench, (id, Op::Run(Box::new(op.clone()))), &inputs, reuse))
}

/// What is told where steps have no `/proc` of their own.
const SHARES_PROCESSES: &str = "steps see the processes around them, and can end those of the same user: parts of /proc are covered \
    here, so none of their own can be mounted (docs/rootless.md)";

fn run_blocking(
    bench: &Bench,
    id: StepId,
    op: &RunOp,
    stack: &[Layer],
    given: &Given,
    agents: &Arc<Vec<AgentSocket>>,
) -> Result<Ran, StepError> {
    let Prepared { tree, open } = prepare(bench, op, stack, given, agents)?;
    let is_again = given.again.is_some();
    let name = log_name(id, is_again);
    let mut log = bench.workshop.store.logs().writer(&bench.build_id, &name)?;
    let log_path = log.path().to_owned();
    let mut log_failure = None;
    let mut output = |bytes: &[u8]| {
        write_log(&mut log, bytes, &mut log_failure);
        if !is_again {
            bench.progress.on(&ProgressEvent::StepOutput { step: id, bytes });
        }
    };
    let exit =
        match kiln_sandbox::run_with(&bench.spare, &open.spec, &open.root.plan(), &bench.cancel, &mut output)
        {
            Ok(exit) => exit,
            Err(error) if error.shell_code().is_some() => return Err(left(bench, given, error.into(), open)),
            Err(error) => {
                drop(open.end());
                if let Some(lack) = Lack::of_step(&error) {
                    recording::remember(&bench.workshop.store, &bench.key_base, op, &lack)?;
                }
                return Err(error.into());
            }
        };
    if shares_processes() {
        let message = SHARES_PROCESSES;
        bench.processes_told.call_once(|| bench.progress.on(&ProgressEvent::Warning { message }));
    }
    if let Some(source) = log_failure {
        drop(open.end());
        return Err(StepError::Io {
            what: format!("cannot keep the output in `{}`", log_path.display()),
            source,
        });
    }
    if !exit.status.is_success() {
        let failure = RunFailure { status: exit.status, argv: op.argv.clone(), log: log_path };
        return Err(left(bench, given, failure.into(), open));
    }
    open.caches.note_used(bench, op);
    let root = open.end()?;
    Ok(Ran { root, tree, stack: stack.to_vec(), exit, again: given.again.clone() })
}

/// Leaves a step that failed as it is, where somebody wants to enter it.
fn left(bench: &Bench, given: &Given, error: StepError, open: OpenStep) -> StepError {
    match bench.leaves_failed && given.again.is_none() {
        true => StepError::Left { error: Box::new(error), step: Box::new(open) },
        false => {
            drop(open.end());
            error
        }
    }
}

/// A step that is ready to run.
struct Prepared {
    tree: Arc<Tree>,
    open: OpenStep,
}

fn prepare(
    bench: &Bench,
    op: &RunOp,
    stack: &[Layer],
    given: &Given,
    agents: &Arc<Vec<AgentSocket>>,
) -> Result<Prepared, StepError> {
    let workshop = &bench.workshop;
    // These come first: to unpack layers takes the trees of those below, one after the other.
    let form = RootForm::of(bench, stack, given.again.as_deref())?;
    let tree = layers::tree(workshop, stack)?;
    let user = user(bench, op, &tree, stack)?;
    refuse(
        bench,
        &user,
        std::iter::once(stack).chain(read_by(given).map(|rootfs| rootfs.layers.as_slice())),
    )?;
    let caches = open_caches(bench, op, given)?;
    let below = Below { stack, tree: &tree };
    let live = LiveTimes::begin(bench, op, given, below, &caches.in_use(op), form.is_overlay())?;
    let mounts = prepare_mounts(bench, op, given, &user, &caches, &live, agents)?;
    let root = form.make(bench, stack, &tree, &live)?;
    let mut spec = match given.again {
        Some(_) => RunSpec { conditions: conditions(), ..spec(bench, &elsewhere(op), &user, &mounts) },
        None => spec(bench, op, &user, &mounts),
    };
    spec.remembered = remembered(workshop, &tree);
    let (shell, agents) = (op.shell.clone(), Arc::clone(agents));
    let open = OpenStep { spec, root, shell, agents, mounts, live, caches };
    Ok(Prepared { tree, open })
}

/// Prepares a step that somebody enters instead of running its command.
///
/// # Errors
/// [`StepError`]: a layer cannot be had, a mount cannot be made, or this machine runs no steps.
pub async fn open(bench: &Arc<Bench>, op: &RunOp, given: Given) -> Result<OpenStep, StepError> {
    let parent = given.parent.clone().unwrap_or_default();
    if let Err(reason) = &bench.workshop.identity {
        return Err(StepError::Impossible { reason: reason.clone() });
    }
    refuse_known(bench, op, file_systems(&parent, &given))?;
    for rootfs in file_systems(&parent, &given) {
        fetch_unlisted(bench, &rootfs.layers).await?;
        fetch_unpacked(bench, &rootfs.layers).await?;
    }
    let agents = Arc::new(open_agents(bench, op)?);
    let (own, op) = (Arc::clone(bench), op.clone());
    let work = move || prepare(&own, &op, &parent.layers, &given, &agents);
    Ok(bench.workshop.lanes.wait(work).await?.open)
}

/// Returns the unpacked layers, base first. A layer that comes twice stands at its upper place only: overlayfs wants each
/// directory once, and whatever the lower one says the upper one says again. What lies below a layer whose root is opaque
/// does not count; overlayfs knows no such mark on its own root.
pub(crate) fn lower_directories(
    workshop: &Workshop,
    stack: &[Layer],
) -> Result<Vec<std::path::PathBuf>, StepError> {
    let mut lower = Vec::with_capacity(stack.len());
    for (position, layer) in stack.iter().enumerate() {
        if layers::listing(workshop, layer)?.hides_all_below() {
            lower.clear();
        }
        if !stack[position + 1..].iter().any(|above| above.diff_id == layer.diff_id) {
            lower.push(layers::unpacked(workshop, &stack[..=position])?);
        }
    }
    Ok(lower)
}

/// Returns the name of a step's log.
fn log_name(id: StepId, is_again: bool) -> String {
    format!("{:04}{}", id.index(), if is_again { "-again" } else { "" })
}

fn write_log(log: &mut LogWriter, bytes: &[u8], failure: &mut Option<std::io::Error>) {
    if failure.is_none() {
        *failure = std::io::Write::write_all(log, bytes).err();
    }
}

fn user(bench: &Bench, op: &RunOp, tree: &Tree, stack: &[Layer]) -> Result<User, StepError> {
    let text = if op.user.is_empty() { "0" } else { &op.user };
    let stacks = [stack.to_vec()];
    let files = AccountFiles::read(tree, &UnpackedLayers { workshop: &bench.workshop, stacks: &stacks })?;
    resolve_user(text, files.accounts()).map_err(|source| StepError::Owner {
        what: "USER",
        text: op.user.clone(),
        source,
    })
}
