//! The cache mounts of a RUN: opened before anything else of it, since they say which times it sees.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use kiln_layer::{ArchivePath, NoLayers, Ownership, Tree};
use kiln_store::{CacheMount, Sharing as StoreSharing};

use super::mount_files::host_path;
use super::{Bench, Given, StepError, StepOutput};
use crate::layers;
use crate::plan::{MountKind, RunMount, RunOp, Sharing};
use crate::root_kind::is_chroot;
use crate::upper;

/// The cache mounts of a step, each with its place among all mounts; dropping them frees them.
pub(super) struct Caches(Vec<(usize, CacheMount)>);

/// A cache mount of a step.
pub(super) struct Cache<'a> {
    /// The mount.
    pub(super) mount: &'a CacheMount,
    /// Whether the step may leave something in it.
    pub(super) is_writable: bool,
}

impl Caches {
    /// Returns the mounts with how they are used.
    pub(super) fn in_use(&self, op: &RunOp) -> Vec<Cache<'_>> {
        let is_writable =
            |index: usize| !matches!(op.mounts[index].kind, MountKind::Cache { readonly: true, .. });
        self.0.iter().map(|(index, mount)| Cache { mount, is_writable: is_writable(*index) }).collect()
    }

    /// Returns the mounts.
    pub(super) fn mounts(&self) -> impl Iterator<Item = &CacheMount> {
        self.0.iter().map(|(_, mount)| mount)
    }

    /// Takes note of mounts that may have something new, for caches that take them.
    pub(super) fn note_used(&self, bench: &Bench, op: &RunOp) {
        for (index, _) in &self.0 {
            if let MountKind::Cache { id, readonly: false, .. } = &op.mounts[*index].kind {
                bench.travels.note_used(id);
            }
        }
    }

    /// Returns the mount at a place among all mounts.
    pub(super) fn at(&self, place: usize) -> Option<&CacheMount> {
        self.0.iter().find(|(index, _)| *index == place).map(|(_, mount)| mount)
    }
}

/// Opens the cache mounts of a step, and waits where that is asked for.
pub(super) fn open_caches(bench: &Bench, op: &RunOp, given: &Given) -> Result<Caches, StepError> {
    let mut caches = Vec::new();
    let mut reads = given.reads.iter();
    for (index, mount) in op.mounts.iter().enumerate() {
        let read = mount.kind.reads().and_then(|_| reads.next());
        if matches!(mount.kind, MountKind::Cache { .. }) {
            caches.push((index, open_cache(bench, mount, read)?));
        }
    }
    Ok(Caches(caches))
}

fn open_cache(bench: &Bench, mount: &RunMount, read: Option<&StepOutput>) -> Result<CacheMount, StepError> {
    let MountKind::Cache { id, sharing, seed, mode, uid, gid, .. } = &mount.kind else {
        unreachable!("called for cache mounts only")
    };
    let seed = match (seed, read) {
        (Some((_, source)), Some(read)) => Some(host_path(bench, &mount.target, source, read, None)?),
        _ => None,
    };
    let sharing = match sharing {
        // Without mounts it is moved into the root, and can be in one only.
        Sharing::Shared if is_chroot(&bench.workshop) => StoreSharing::Locked,
        Sharing::Shared => StoreSharing::Shared,
        Sharing::Private => StoreSharing::Private,
        Sharing::Locked => StoreSharing::Locked,
    };
    bench.travels.bring(bench.travel(), id);
    let is_recorded = layers::ownership(&bench.workshop) == Ownership::Recorded;
    Ok(bench.workshop.store.cache_mount(id, sharing, &mut |directory: &Path| {
        make_directory(directory, *mode)?;
        if is_recorded {
            upper::write_directory_owner(directory, *uid, *gid)?;
        } else {
            std::os::unix::fs::chown(directory, Some(*uid), Some(*gid))?;
        }
        match &seed {
            Some((seed, _)) => copy_into(seed, directory, Ownership::Recorded),
            None => Ok(()),
        }
    })?)
}

/// Copies files into a new directory.
pub(super) fn copy_into(seed: &Path, directory: &Path, ownership: Ownership) -> std::io::Result<()> {
    let options =
        kiln_layer::WalkOptions { owner: kiln_layer::WalkOwner::AsIs, xattrs: kiln_layer::WalkXattrs::Layer };
    let keep = |_: &ArchivePath, _: bool| kiln_layer::Verdict::Keep;
    let tree: Tree = kiln_layer::walk(seed, &keep, options).map_err(std::io::Error::other)?;
    let options =
        kiln_layer::MaterializeOptions { ownership, devices: kiln_layer::Devices::Record, time: None };
    kiln_layer::materialize(&tree, &ArchivePath::root(), directory, &NoLayers, options)
        .map(drop)
        .map_err(std::io::Error::other)
}

/// Makes a directory that the step may use, with the mode given, whatever the umask.
fn make_directory(path: &Path, mode: u32) -> std::io::Result<()> {
    fs_err::create_dir_all(path)?;
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode))
}
