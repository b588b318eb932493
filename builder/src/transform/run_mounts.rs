//! The mounts of a RUN: bind, cache, tmpfs, secret, ssh, and the script of a heredoc.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use kiln_layer::Ownership;
use kiln_layer::owner::User;
use kiln_sandbox::{Mount, MountKind, Owner};
use kiln_store::{CacheMount, Scratch};

use super::caches::{Caches, copy_into};
use super::live_times::LiveTimes;
use super::mount_files::host_path;
use super::{Bench, Given, StepError};
use crate::agents::AgentSocket;
use crate::layers;
use crate::plan::{MountKind as PlanMount, RunMount, RunOp};
use crate::root_kind::{is_chroot, root_kind};
use crate::secrets;
use crate::workshop::RootKind;

/// What a step's mounts need to live: dropped when the step is done.
pub(super) struct Mounts {
    /// The mounts.
    pub(super) mounts: Vec<Mount>,
    /// Variables that hold secrets.
    pub(super) variables: Vec<(OsString, OsString)>,
    _scratch: Vec<Scratch>,
}

pub(super) fn prepare_mounts(
    bench: &Bench,
    op: &RunOp,
    given: &Given,
    user: &User,
    caches: &Caches,
    live: &LiveTimes,
    agents: &[AgentSocket],
) -> Result<Mounts, StepError> {
    let mut mounts = Mounts { mounts: Vec::new(), variables: Vec::new(), _scratch: Vec::new() };
    let mut reads = given.reads.iter();
    for (index, mount) in op.mounts.iter().enumerate() {
        let read = mount.kind.reads().and_then(|_| reads.next());
        match &mount.kind {
            PlanMount::Bind { source, writable, .. } => {
                let read = read.expect("a bind mount reads a step");
                let live = live.of_mount(index);
                let (path, scratch) = host_path(bench, &mount.target, source, read, live)?;
                mounts._scratch.push(scratch);
                bind(bench, mount, path, *writable, &mut mounts)?;
            }
            PlanMount::Cache { readonly, .. } => {
                let own = caches.at(index).expect("every cache mount was opened");
                cache(bench, mount, own, *readonly, &mut mounts)?;
            }
            PlanMount::Tmpfs { size_bytes } => {
                mounts.mounts.push(at(mount, MountKind::Tmpfs { size_bytes: *size_bytes }));
            }
            PlanMount::Secret { .. } => secret(bench, mount, &mut mounts)?,
            PlanMount::Agent { .. } => agent(mount, agents, &mut mounts),
        }
    }
    if let Some(script) = &op.script {
        let owner = Owner { uid: user.owner.uid, gid: user.owner.gid };
        let content = script.text.clone().into_bytes();
        let target = format!("/dev/pipes/{}", script.name).into();
        mounts.mounts.push(Mount { target, kind: MountKind::File { content, mode: 0o755, owner } });
    }
    Ok(mounts)
}

fn at(mount: &RunMount, kind: MountKind) -> Mount {
    Mount { target: mount.target.clone().into(), kind }
}

fn bind(
    bench: &Bench,
    mount: &RunMount,
    path: PathBuf,
    writable: bool,
    mounts: &mut Mounts,
) -> Result<(), StepError> {
    let source = path.into_os_string();
    let is_copy = matches!(root_kind(&bench.workshop)?, RootKind::Copy { .. });
    let kind = if writable && is_copy || is_chroot(&bench.workshop) {
        // `host_path` copied it for this step alone, and the copy goes with the step.
        MountKind::Bind { source }
    } else if writable {
        let scratch = bench.workshop.store.scratch("discard")?;
        let kind = MountKind::BindDiscard { source, scratch: scratch.path().as_os_str().to_owned() };
        mounts._scratch.push(scratch);
        kind
    } else {
        MountKind::BindReadOnly { source }
    };
    mounts.mounts.push(at(mount, kind));
    Ok(())
}

/// Shows a cache. By chroot it is moved into the root; one that is only read is copied then.
fn cache(
    bench: &Bench,
    mount: &RunMount,
    cache: &CacheMount,
    is_readonly: bool,
    mounts: &mut Mounts,
) -> Result<(), StepError> {
    let source = cache.path().as_os_str().to_owned();
    let kind = match (is_readonly, is_chroot(&bench.workshop)) {
        (true, true) => {
            let copy = bench.workshop.store.scratch("bind")?;
            copy_into(cache.path(), copy.path(), Ownership::Real).map_err(|error| StepError::Mount {
                target: mount.target.clone(),
                reason: error.to_string(),
            })?;
            let source = copy.path().as_os_str().to_owned();
            mounts._scratch.push(copy);
            MountKind::Bind { source }
        }
        (true, false) => MountKind::BindReadOnly { source },
        (false, _) => MountKind::Bind { source },
    };
    mounts.mounts.push(at(mount, kind));
    Ok(())
}

fn secret(bench: &Bench, mount: &RunMount, mounts: &mut Mounts) -> Result<(), StepError> {
    let PlanMount::Secret { id, env, required, mode, uid, gid } = &mount.kind else {
        unreachable!("called for secrets only")
    };
    let Some(value) = secrets::resolve(&bench.secrets, id)? else {
        return if *required { Err(StepError::SecretMissing { id: id.clone() }) } else { Ok(()) };
    };
    if let Some(name) = env {
        mounts.variables.push((name.into(), OsString::from_vec(value.reveal().to_vec())));
    }
    if !mount.target.is_empty() {
        let owner = Owner { uid: *uid, gid: *gid };
        let kind = MountKind::File { content: value.reveal().to_vec(), mode: *mode, owner };
        mounts.mounts.push(at(mount, kind));
    }
    Ok(())
}

/// Makes the sockets of the agents that a step mounts. One that is not required may be missing.
pub(super) fn open_agents(bench: &Bench, op: &RunOp) -> Result<Vec<AgentSocket>, StepError> {
    let mut sockets = Vec::new();
    for mount in &op.mounts {
        let PlanMount::Agent { id, required, mode, uid, gid } = &mount.kind else { continue };
        let Some(agent) = bench.agents.socket(id) else {
            if *required {
                return Err(StepError::AgentMissing { id: id.clone() });
            }
            continue;
        };
        let failed = |error: std::io::Error| StepError::Mount {
            target: mount.target.clone(),
            reason: error.to_string(),
        };
        let place = bench.workshop.store.scratch("agent")?;
        let socket = AgentSocket::open(&mount.target, place, agent, *mode).map_err(failed)?;
        if (*uid, *gid) != (0, 0) && layers::ownership(&bench.workshop) == Ownership::Real {
            fs_err::os::unix::fs::chown(socket.path(), Some(*uid), Some(*gid)).map_err(failed)?;
        }
        sockets.push(socket);
    }
    Ok(sockets)
}

fn agent(mount: &RunMount, agents: &[AgentSocket], mounts: &mut Mounts) {
    if let Some(socket) = agents.iter().find(|socket| socket.target == mount.target) {
        let source = socket.path().as_os_str().to_owned();
        mounts.mounts.push(at(mount, MountKind::Socket { source }));
    }
}
