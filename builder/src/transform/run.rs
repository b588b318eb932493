//! RUN: a process in a sandbox over the unpacked layers; what it changed becomes a layer.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use kiln_layer::owner::{User, resolve_user};
use kiln_layer::{
    ArchivePath, Changes, DiffOptions, DirectoryOrigin, Metadata, Tree, WithTime, changes_from_overlay_upper,
};
use kiln_sandbox::{Exit, Identity, Limits, RootPlan, RunSpec, SystemFiles, Ulimit, UlimitKind};
use kiln_store::{LogWriter, Scratch};

use super::accounts::AccountFiles;
use super::finish::{NewLayer, on_cpu, write_layer};
use super::make_dir::fetch_unlisted;
use super::recorded::{Recorded, remembered};
use super::run_mounts::{Mounts, prepare_mounts};
use super::{Bench, Given, Reuse, RunFailure, StepError};
use crate::blobs;
use crate::cache::LocalCache;
use crate::layers::{self, UnpackedLayers};
use crate::plan::key::{Inputs, KeyRecord, describe, step_key};
use crate::plan::{KeyKind, Network, Op, RunOp, StepId};
use crate::progress::ProgressEvent;
use crate::request::Timestamp;
use crate::rootfs::{Layer, Rootfs};
use crate::upper;

pub(super) async fn run(
    bench: &Arc<Bench>,
    id: StepId,
    op: &RunOp,
    given: Given,
    reuse: Reuse,
) -> Result<Rootfs, StepError> {
    let parent = given.parent.clone().unwrap_or_default();
    fetch_unlisted(bench, &parent.layers).await?;
    for read in &given.reads {
        if let super::StepOutput::Rootfs(rootfs) = read {
            fetch_unlisted(bench, &rootfs.layers).await?;
        }
    }
    let (op, own, inputs) = (op.clone(), Arc::clone(bench), given.clone());
    let probe = {
        let (op, parent) = (op.clone(), parent.clone());
        on_cpu(bench, move |bench| probe(bench, &op, &parent, &inputs, reuse)).await?
    };
    if reuse == Reuse::Known
        && let Some(layer) = LocalCache::new(&bench.workshop.store).content(probe.key)
    {
        return Ok(parent.with(layer));
    }
    if let Err(reason) = &bench.workshop.identity {
        return Err(StepError::Impossible { reason: reason.clone() });
    }
    fetch_unpacked(bench, &parent.layers).await?;
    for read in &given.reads {
        if let super::StepOutput::Rootfs(rootfs) = read {
            fetch_unpacked(bench, &rootfs.layers).await?;
        }
    }
    let stack = parent.layers.clone();
    let ran = bench.workshop.lanes.wait(move || run_blocking(&own, id, &op, &stack, &given)).await?;
    let layer = on_cpu(bench, move |bench| finish(bench, ran, &probe)).await?;
    Ok(parent.with(Some(layer)))
}

/// A step, its content key, and what that is made of.
struct Probe {
    op: Op,
    key: crate::plan::StepKey,
    fields: KeyRecord,
    reuse: Reuse,
}

fn probe(
    bench: &Bench,
    op: &RunOp,
    parent: &Rootfs,
    given: &Given,
    reuse: Reuse,
) -> Result<Probe, StepError> {
    let mut reads = Vec::new();
    let kinds = op.mounts.iter().filter(|mount| mount.kind.reads().is_some());
    for (mount, read) in kinds.zip(&given.reads) {
        reads.push(match read {
            super::StepOutput::Rootfs(rootfs) => {
                let tree = layers::tree(&bench.workshop, &rootfs.layers)?;
                super::mount_selection(&tree, mount.kind.source().unwrap_or("/"))?
            }
            super::StepOutput::Files(tree) => {
                super::mount_selection(tree, mount.kind.source().unwrap_or("/"))?
            }
            super::StepOutput::File(download) => download.announced.digest,
        });
    }
    let inputs = Inputs { parent: Some(parent.chain()), reads };
    let op = Op::Run(Box::new(op.clone()));
    let mut fields = KeyRecord::new();
    describe(KeyKind::Content, &bench.key_base, &op, &inputs, &mut fields);
    let key = step_key(KeyKind::Content, &bench.key_base, &op, &inputs);
    Ok(Probe { op, key, fields, reuse })
}

/// Fetches the blobs of layers that are not unpacked.
async fn fetch_unpacked(bench: &Bench, stack: &[Layer]) -> Result<(), StepError> {
    let store = &bench.workshop.store;
    let packed: Vec<Layer> = stack
        .iter()
        .filter(|layer| !matches!(store.snapshots().get(&layer.diff_id), Ok(Some(_))))
        .cloned()
        .collect();
    Ok(blobs::fetch_layers(&bench.workshop, &packed, &bench.progress).await?)
}

/// A step that ran well, before its changes are looked at.
struct Ran {
    upper: Scratch,
    tree: Arc<Tree>,
    stack: Vec<Layer>,
    exit: Exit,
}

fn run_blocking(
    bench: &Bench,
    id: StepId,
    op: &RunOp,
    stack: &[Layer],
    given: &Given,
) -> Result<Ran, StepError> {
    let workshop = &bench.workshop;
    let tree = layers::tree(workshop, stack)?;
    let lower = lower_directories(bench, stack)?;
    let user = user(bench, op, &tree, stack)?;
    let (upper, work) = (workshop.store.scratch("upper")?, workshop.store.scratch("work")?);
    upper::dress_root(upper.path(), &tree, layers::ownership(workshop)).map_err(|source| StepError::Io {
        what: "cannot prepare the directory of the step".to_owned(),
        source,
    })?;
    let mounts = prepare_mounts(bench, op, given, &user)?;
    let mut spec = spec(bench, op, &user, &mounts);
    spec.remembered = remembered(workshop, &tree);
    let root = RootPlan::Overlay { lower, upper: upper.path().to_owned(), work: work.path().to_owned() };
    let name = log_name(id);
    let mut log = workshop.store.logs().writer(&bench.build_id, &name)?;
    let log_path = log.path().to_owned();
    let mut log_failure = None;
    let mut output = |bytes: &[u8]| {
        write_log(&mut log, bytes, &mut log_failure);
        bench.progress.on(&ProgressEvent::StepOutput { step: id, bytes });
    };
    let exit = kiln_sandbox::run(&spec, &root, &bench.cancel, &mut output)?;
    drop(mounts);
    if let Some(source) = log_failure {
        return Err(StepError::Io {
            what: format!("cannot keep the output in `{}`", log_path.display()),
            source,
        });
    }
    if !exit.status.is_success() {
        return Err(RunFailure { status: exit.status, argv: op.argv.clone(), log: log_path }.into());
    }
    // The kernel keeps a directory in `work` that nobody else may read; it goes with the scratch.
    work.close()?;
    Ok(Ran { upper, tree, stack: stack.to_vec(), exit })
}

/// Returns the unpacked layers, base first. A layer that comes twice stands at its upper place only: overlayfs wants each
/// directory once, and whatever the lower one says the upper one says again. What lies below a layer whose root is opaque
/// does not count; overlayfs knows no such mark on its own root.
fn lower_directories(bench: &Bench, stack: &[Layer]) -> Result<Vec<std::path::PathBuf>, StepError> {
    let mut lower = Vec::with_capacity(stack.len());
    for (position, layer) in stack.iter().enumerate() {
        if layers::listing(&bench.workshop, layer)?.hides_all_below() {
            lower.clear();
        }
        if !stack[position + 1..].iter().any(|above| above.diff_id == layer.diff_id) {
            lower.push(layers::unpacked(&bench.workshop, &stack[..=position])?);
        }
    }
    Ok(lower)
}

/// Returns the name of a step's log.
fn log_name(id: StepId) -> String {
    format!("{:04}", id.index())
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

fn spec(bench: &Bench, op: &RunOp, user: &User, mounts: &Mounts) -> RunSpec {
    let mut spec = RunSpec::new(&op.argv);
    let pairs = op.env.iter().chain(&op.unkeyed_env).map(|(name, value)| (name.into(), value.into()));
    spec.env = pairs.collect();
    if !op.env.iter().any(|(name, _)| name == "HOME") {
        let home = user.home.as_deref().filter(|home| !home.is_empty()).unwrap_or(b"/");
        let home = std::os::unix::ffi::OsStringExt::from_vec(home.to_vec());
        spec.env.push(("HOME".into(), home));
    }
    spec.env.extend(mounts.variables.iter().cloned());
    spec.cwd = op.cwd.clone().into();
    spec.user = kiln_sandbox::User { uid: user.owner.uid, gid: user.owner.gid, groups: user.groups.clone() };
    spec.hostname = op.hostname.clone();
    spec.network = match op.network {
        Network::Host => kiln_sandbox::Network::Host,
        Network::None => kiln_sandbox::Network::None,
    };
    spec.mounts = mounts.mounts.clone();
    let default = Limits::default();
    spec.limits = Limits {
        ulimits: op.ulimits.iter().filter_map(ulimit).collect(),
        shm_size_bytes: op.shm_size_bytes.filter(|size| *size > 0).unwrap_or(default.shm_size_bytes),
        tasks_max: default.tasks_max,
    };
    spec.files = SystemFiles { resolv_conf: bench.workshop.resolv_conf.clone(), hosts: Some(hosts(op)) };
    spec
}

fn ulimit(limit: &crate::plan::Ulimit) -> Option<Ulimit> {
    use UlimitKind::{
        As, Core, Cpu, Data, Fsize, Locks, Memlock, Msgqueue, Nice, Nofile, Nproc, Rss, Rtprio, Rttime,
        Sigpending, Stack,
    };
    let kind = match limit.name.as_str() {
        "as" => As,
        "core" => Core,
        "cpu" => Cpu,
        "data" => Data,
        "fsize" => Fsize,
        "locks" => Locks,
        "memlock" => Memlock,
        "msgqueue" => Msgqueue,
        "nice" => Nice,
        "nofile" => Nofile,
        "nproc" => Nproc,
        "rss" => Rss,
        "rtprio" => Rtprio,
        "rttime" => Rttime,
        "sigpending" => Sigpending,
        "stack" => Stack,
        // The request was checked when it was read.
        _ => return None,
    };
    Some(Ulimit { kind, soft: limit.soft, hard: limit.hard })
}

/// Returns `/etc/hosts` of a step, in the form BuildKit gives it.
fn hosts(op: &RunOp) -> Vec<u8> {
    let mut text =
        format!("127.0.0.1\tlocalhost {}\n::1\tlocalhost ip6-localhost ip6-loopback\n", op.hostname);
    for (name, address) in &op.extra_hosts {
        text.push_str(&format!("{address}\t{name}\n"));
    }
    text.into_bytes()
}

/// Turns what the step changed into a layer, and its directory into that layer's unpacked form.
fn finish(bench: &Bench, ran: Ran, probe: &Probe) -> Result<Layer, StepError> {
    let workshop = &bench.workshop;
    let failed = |error: kiln_layer::DiffError| StepError::Diff { source: Box::new(error) };
    let opened = |source| StepError::Io { what: "cannot open the directory of the step".to_owned(), source };
    let directory = Arc::new(DirectoryOrigin::open(ran.upper.path()).map_err(opened)?);
    let recorded = Recorded::new(workshop, &ran.exit.ownership, &directory);
    let stubs = stub_paths(&ran.exit);
    let is_stub = |path: &ArchivePath, _is_directory: bool| stubs.contains(path);
    let metadata = |path: &ArchivePath, found: Metadata| recorded.metadata(path, found, &ran.tree);
    let options = DiffOptions {
        ignore: (!stubs.is_empty()).then_some(&is_stub),
        metadata: recorded.is_needed().then_some(&metadata),
        with_time: match bench.timestamp {
            Timestamp::Epoch(_) => WithTime::No,
            Timestamp::Preserve { .. } => WithTime::Yes,
        },
    };
    let mut changes: Changes = changes_from_overlay_upper(&directory, &ran.tree, options).map_err(failed)?;
    recorded.apply_devices(&mut changes);
    changes.record_parents(&ran.tree);
    let layer = write_layer(
        bench,
        &NewLayer {
            op: &probe.op,
            changes: &changes,
            stacks: std::slice::from_ref(&ran.stack),
            reuse: probe.reuse,
        },
    )?;
    LocalCache::new(&workshop.store).record_content(probe.key, Some(&layer), &probe.fields)?;
    // The unpacked form is a cache: a step that cannot keep it has still succeeded.
    let ownership = layers::ownership(workshop);
    if upper::settle(ran.upper.path(), &changes, &ran.tree, bench.timestamp.files(), ownership).is_ok() {
        let listing = layers::listing(workshop, &layer)?;
        workshop.store.publish_snapshot(ran.upper, &layers::snapshot_id(&listing, &ran.tree))?;
    }
    Ok(layer)
}

fn stub_paths(exit: &Exit) -> Vec<ArchivePath> {
    let path = |stub: &std::path::PathBuf| ArchivePath::clamp(stub.as_os_str().as_encoded_bytes()).ok();
    exit.stubs.iter().filter_map(path).collect()
}

/// Whether this process is root of a namespace where only its own id exists.
pub(super) fn has_single_id(bench: &Bench) -> bool {
    matches!(bench.workshop.identity, Ok(Identity::Single { .. }))
}

/// Makes a directory that the step may use, with the mode given, whatever the umask.
pub(super) fn make_directory(path: &Path, mode: u32) -> std::io::Result<()> {
    fs_err::create_dir_all(path)?;
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode))
}
