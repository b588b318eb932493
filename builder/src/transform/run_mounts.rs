//! The mounts of a RUN: bind, cache, tmpfs, secret, and the script of a heredoc.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use kiln_layer::owner::User;
use kiln_layer::{ArchivePath, NoLayers, Tree};
use kiln_sandbox::{Mount, MountKind, Owner};
use kiln_store::{CacheMount, Scratch, Sharing as StoreSharing};

use super::run::{has_single_id, make_directory};
use super::selection::mount_source;
use super::{Bench, Given, StepError, StepOutput};
use crate::layers;
use crate::plan::{MountKind as PlanMount, RunMount, RunOp, Sharing};
use crate::secrets;
use crate::upper;

/// What a step's mounts need to live: dropped when the step is done.
pub(super) struct Mounts {
    /// The mounts.
    pub(super) mounts: Vec<Mount>,
    /// Variables that hold secrets.
    pub(super) variables: Vec<(OsString, OsString)>,
    _scratch: Vec<Scratch>,
    _caches: Vec<CacheMount>,
}

pub(super) fn prepare_mounts(
    bench: &Bench,
    op: &RunOp,
    given: &Given,
    user: &User,
) -> Result<Mounts, StepError> {
    let mut mounts =
        Mounts { mounts: Vec::new(), variables: Vec::new(), _scratch: Vec::new(), _caches: Vec::new() };
    let mut reads = given.reads.iter();
    for mount in &op.mounts {
        let read = mount.kind.reads().and_then(|_| reads.next());
        match &mount.kind {
            PlanMount::Bind { source, writable, .. } => {
                let read = read.expect("a bind mount reads a step");
                bind(bench, mount, source, *writable, read, &mut mounts)?;
            }
            PlanMount::Cache { .. } => cache(bench, mount, read, &mut mounts)?,
            PlanMount::Tmpfs { size_bytes } => {
                mounts.mounts.push(at(mount, MountKind::Tmpfs { size_bytes: *size_bytes }));
            }
            PlanMount::Secret { .. } => secret(bench, mount, &mut mounts)?,
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
    source: &str,
    writable: bool,
    read: &StepOutput,
    mounts: &mut Mounts,
) -> Result<(), StepError> {
    let path = host_path(bench, &mount.target, source, read, mounts)?;
    let source = path.into_os_string();
    let kind = if writable {
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

/// Returns a path of this machine that shows `source` of what is read.
///
/// The files of a context are copied aside unless the context is shown whole as it is: what the ignore file hides must not
/// be seen, owners are root's, and times are the layer's.
fn host_path(
    bench: &Bench,
    target: &str,
    source: &str,
    read: &StepOutput,
    mounts: &mut Mounts,
) -> Result<PathBuf, StepError> {
    let scratch = bench.workshop.store.scratch("bind")?;
    let (tree, stacks) = match read {
        StepOutput::Files(tree) => (std::sync::Arc::clone(tree), Vec::new()),
        StepOutput::Rootfs(rootfs) => {
            (layers::tree(&bench.workshop, &rootfs.layers)?, vec![rootfs.layers.clone()])
        }
        StepOutput::File(_) => unreachable!("the plan mounts no downloads"),
    };
    let path = mount_source(&tree, source)?;
    let directories = layers::UnpackedLayers { workshop: &bench.workshop, stacks: &stacks };
    let options = kiln_layer::MaterializeOptions {
        ownership: layers::ownership(&bench.workshop),
        devices: layers::devices(&bench.workshop),
        time: bench.timestamp.files(),
    };
    let failed = |reason| StepError::Mount { target: target.to_owned(), reason };
    let shown = kiln_layer::materialize(&tree, &path, scratch.path(), &directories, options)
        .map_err(|error| failed(error.to_string()))?;
    if has_single_id(bench) {
        upper::write_owners_of_copy(&tree, &path, &shown).map_err(|error| failed(error.to_string()))?;
    }
    mounts._scratch.push(scratch);
    Ok(shown)
}

fn cache(
    bench: &Bench,
    mount: &RunMount,
    read: Option<&StepOutput>,
    mounts: &mut Mounts,
) -> Result<(), StepError> {
    let PlanMount::Cache { id, sharing, seed, readonly, mode, uid, gid } = &mount.kind else {
        unreachable!("called for cache mounts only")
    };
    let seed = match (seed, read) {
        (Some((_, source)), Some(read)) => Some(host_path(bench, &mount.target, source, read, mounts)?),
        _ => None,
    };
    let sharing = match sharing {
        Sharing::Shared => StoreSharing::Shared,
        Sharing::Private => StoreSharing::Private,
        Sharing::Locked => StoreSharing::Locked,
    };
    let single = has_single_id(bench);
    let cache = bench.workshop.store.cache_mount(id, sharing, &mut |directory: &Path| {
        make_directory(directory, *mode)?;
        if single {
            upper::write_directory_owner(directory, *uid, *gid)?;
        } else {
            std::os::unix::fs::chown(directory, Some(*uid), Some(*gid))?;
        }
        match &seed {
            Some(seed) => copy_into(seed, directory),
            None => Ok(()),
        }
    })?;
    let source = cache.path().as_os_str().to_owned();
    let kind = if *readonly { MountKind::BindReadOnly { source } } else { MountKind::Bind { source } };
    mounts.mounts.push(at(mount, kind));
    mounts._caches.push(cache);
    Ok(())
}

/// Copies the files of a seed into a new cache.
fn copy_into(seed: &Path, directory: &Path) -> std::io::Result<()> {
    let options =
        kiln_layer::WalkOptions { owner: kiln_layer::WalkOwner::AsIs, xattrs: kiln_layer::WalkXattrs::Layer };
    let keep = |_: &ArchivePath, _: bool| kiln_layer::Verdict::Keep;
    let tree: Tree = kiln_layer::walk(seed, &keep, options).map_err(std::io::Error::other)?;
    let options = kiln_layer::MaterializeOptions {
        ownership: kiln_layer::Ownership::Recorded,
        devices: kiln_layer::Devices::Record,
        time: None,
    };
    kiln_layer::materialize(&tree, &ArchivePath::root(), directory, &NoLayers, options)
        .map(drop)
        .map_err(std::io::Error::other)
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
