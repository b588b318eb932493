//! Where the root of a RUN comes from, and what becomes of it.
//!
//! | Root | Made of | Changes are | Afterwards |
//! |---|---|---|---|
//! | overlay | the unpacked layers | the upper directory | the unpacked form of the new layer |
//! | copy | a spare root, brought up to date, or copies of the layers' files | what differs from before ([`changes_from_directory`]) | a spare root |
//!
//! A copy belongs to one step at a time, in scratch: whatever happens to the step or to kiln, nothing that is kept has changed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_layer::{
    Changes, DiffOptions, DirectoryOrigin, Entry, MaterializeOptions, Ownership, ReshapeOptions, Tree,
    WithTime, changes_from_directory, changes_from_overlay_upper, latest_change_ns, reshape, walk_for_diff,
};
use kiln_sandbox::{DEVICE_ATTRIBUTE, Exit, RootPlan};
use kiln_store::Scratch;

use super::again::{Again, halves};
use super::live_times::LiveTimes;
use super::run::lower_directories;
use super::spare_roots::SpareRoot;
use super::{Bench, StepError};
use crate::clock;
use crate::layers::{self, UnpackedLayers};
use crate::plan::StepId;
use crate::root_kind::{is_chroot, root_kind};
use crate::rootfs::Layer;
use crate::upper;
use crate::workshop::{RootKind, Workshop};

/// Layers that the kernel takes for one overlay (`OVL_MAX_STACK`), without those of mount points and of live times.
pub(crate) const OVERLAY_LAYERS_MAX: usize = 498;

/// The root of one step.
pub(super) enum StepRoot {
    /// Layers seen as one.
    Overlay { lower: Vec<PathBuf>, upper: Scratch, work: Scratch, _parts: Vec<Scratch> },
    /// Files of its own.
    Copy { root: Scratch, before: Tree, aside: Option<Scratch> },
}

/// What a step changed, and what is needed to keep its root.
pub(super) struct Found {
    /// What the layer will hold.
    pub(super) changes: Changes,
    /// All that a copy holds now.
    after: Option<Tree>,
}

/// What the root of a step is made of.
pub(super) enum RootForm {
    /// Unpacked layers, base first.
    Overlay { lower: Vec<PathBuf> },
    /// Copies of their files.
    Copy {
        /// Whether the files are made in another order.
        is_again: bool,
    },
    /// Copies of their files, every other one in another lower directory of an overlay.
    Parts,
}

impl RootForm {
    /// Finds out what it is for a stack of layers, which are unpacked for an overlay. A step that is done a second time has a
    /// copy.
    pub(super) fn of(bench: &Bench, stack: &[Layer], again: Option<&Again>) -> Result<Self, StepError> {
        let is_again = again.is_some();
        match root_kind(&bench.workshop)? {
            RootKind::Overlay if is_again => return Ok(Self::Parts),
            RootKind::Overlay => {
                let lower = lower_directories(&bench.workshop, stack)?;
                if lower.len() <= OVERLAY_LAYERS_MAX {
                    return Ok(Self::Overlay { lower });
                }
            }
            RootKind::Copy { reason } => {
                bench.spare_roots.announce(&*bench.progress, reason, is_chroot(&bench.workshop));
            }
        }
        Ok(Self::Copy { is_again })
    }

    pub(super) fn is_overlay(&self) -> bool {
        matches!(self, Self::Overlay { .. })
    }

    /// Makes the root that shows `stack`, whose merged tree is `tree`, with live times.
    pub(super) fn make(
        self,
        bench: &Bench,
        stack: &[Layer],
        tree: &Arc<Tree>,
        live: &LiveTimes,
    ) -> Result<StepRoot, StepError> {
        match self {
            Self::Overlay { mut lower } => {
                let workshop = &bench.workshop;
                lower.splice(..0, bench.points.directory(&workshop.store, workshop.resolv_conf.is_some()));
                lower.extend(live.directory());
                overlay(bench, lower, tree, Vec::new())
            }
            Self::Parts => parts(bench, stack, tree, &live.dated(tree)),
            Self::Copy { is_again } => copy(bench, stack, &live.dated(tree), is_again),
        }
    }
}

impl StepRoot {
    pub(super) fn is_overlay(&self) -> bool {
        matches!(self, Self::Overlay { .. })
    }

    /// Returns what the sandbox is to do.
    pub(super) fn plan(&self) -> RootPlan {
        match self {
            Self::Overlay { lower, upper, work, .. } => RootPlan::Overlay {
                lower: lower.clone(),
                upper: upper.path().to_owned(),
                work: work.path().to_owned(),
            },
            Self::Copy { root, aside: None, .. } => RootPlan::Directory(root.path().to_owned()),
            Self::Copy { root, aside: Some(aside), .. } => {
                RootPlan::Chroot { root: root.path().to_owned(), aside: aside.path().to_owned() }
            }
        }
    }

    /// Finds out what the step changed. `directory` is that of [`RootPlan::changes`].
    pub(super) fn changes(
        &self,
        directory: &Arc<DirectoryOrigin>,
        lower: &Tree,
        options: DiffOptions<'_>,
    ) -> Result<Found, StepError> {
        let failed = |error: kiln_layer::DiffError| StepError::Diff { source: Box::new(error) };
        match self {
            Self::Overlay { .. } => {
                let changes = changes_from_overlay_upper(directory, lower, options).map_err(failed)?;
                Ok(Found { changes, after: None })
            }
            Self::Copy { before, .. } => {
                let (changes, after) =
                    changes_from_directory(directory, lower, before, options).map_err(failed)?;
                Ok(Found { changes, after: Some(after) })
            }
        }
    }

    /// Keeps what may be of use to other steps: both forms are caches, and a step that cannot keep its root has still succeeded.
    pub(super) fn keep(self, bench: &Bench, found: &Found, made: &Made<'_>) -> Result<(), StepError> {
        let workshop = &bench.workshop;
        let ownership = layers::ownership(workshop);
        match self {
            Self::Overlay { upper, work, .. } => {
                // What the kernel keeps there is of no use any more.
                bench.aside.add(made.step, move || work.close());
                let epoch = bench.timestamp.files();
                let settle = |path: &Path| upper::settle(path, &found.changes, made.below, epoch, ownership);
                let layer = (made.layer, made.stack);
                if let Some(upper) = layers::keep(workshop, upper, layer, made.below, settle)? {
                    bench.aside.add(made.step, move || upper.close());
                }
            }
            Self::Copy { root, .. } => {
                let stack = [made.stack, std::slice::from_ref(made.layer)].concat();
                let tree = layers::tree(workshop, &stack)?;
                let after = found.after.as_ref().expect("a copy was looked at as a whole");
                if !has_stubs(root.path(), made.exit)
                    && settle_copy(root.path(), after, &tree, &found.changes, ownership).unwrap_or(false)
                {
                    bench.spare_roots.put(SpareRoot { root, stack, tree });
                }
            }
        }
        Ok(())
    }
}

/// The layer that came of a step.
pub(super) struct Made<'a> {
    pub(super) step: StepId,
    pub(super) stack: &'a [Layer],
    pub(super) layer: &'a Layer,
    /// The tree of `stack`.
    pub(super) below: &'a Tree,
    pub(super) exit: &'a Exit,
}

fn overlay(
    bench: &Bench,
    lower: Vec<PathBuf>,
    tree: &Tree,
    parts: Vec<Scratch>,
) -> Result<StepRoot, StepError> {
    let workshop = &bench.workshop;
    let (upper, work) = (workshop.store.scratch("upper")?, workshop.store.scratch("work")?);
    dress(workshop, upper.path(), tree)?;
    Ok(StepRoot::Overlay { lower, upper, work, _parts: parts })
}

/// Gives an empty directory the mode and owner of a file system's root.
pub(crate) fn dress(workshop: &Workshop, directory: &Path, tree: &Tree) -> Result<(), StepError> {
    upper::dress_root(directory, tree, layers::ownership(workshop))
        .map_err(|source| io_error("cannot prepare the directory of the step", source))
}

fn copy(bench: &Bench, stack: &[Layer], tree: &Arc<Tree>, is_again: bool) -> Result<StepRoot, StepError> {
    let workshop = &bench.workshop;
    let spare = if is_again { None } else { bench.spare_roots.take(stack) };
    let (root, mut held) = match spare {
        Some(spare) => (spare.root, spare.tree),
        None => (workshop.store.scratch("root")?, Arc::new(Tree::new())),
    };
    if is_again {
        let [begun, _] = halves(tree);
        shape(workshop, stack, root.path(), [&held, &begun])?;
        held = Arc::new(begun);
    }
    shape(workshop, stack, root.path(), [&held, tree])?;
    dress(workshop, root.path(), tree)?;
    let failed = |source| io_error("cannot look at the root of the step", source);
    let origin = Arc::new(DirectoryOrigin::open(root.path()).map_err(failed)?);
    let whole = DiffOptions { ignore: None, metadata: None, with_time: WithTime::Yes, hold: None };
    let mut before =
        walk_for_diff(&origin, whole).map_err(|error| StepError::Diff { source: Box::new(error) })?;
    before.distrust_since(clock::outlast(&workshop.store, latest_change_ns(&before))?);
    let aside = is_chroot(workshop).then(|| workshop.store.scratch("aside")).transpose()?;
    Ok(StepRoot::Copy { root, before, aside })
}

/// Makes a root out of two lower directories: overlayfs lists the names of one after those of the other.
fn parts(bench: &Bench, stack: &[Layer], tree: &Tree, dated: &Tree) -> Result<StepRoot, StepError> {
    let workshop = &bench.workshop;
    let mut lower = Vec::from_iter(bench.points.directory(&workshop.store, workshop.resolv_conf.is_some()));
    let mut parts = Vec::new();
    for half in halves(dated) {
        let part = workshop.store.scratch("root")?;
        shape(workshop, stack, part.path(), [&Tree::new(), &half])?;
        lower.push(part.path().to_owned());
        parts.push(part);
    }
    overlay(bench, lower, tree, parts)
}

/// Makes a directory that holds one tree hold another.
pub(crate) fn shape(
    workshop: &Workshop,
    stack: &[Layer],
    root: &Path,
    [held, wanted]: [&Tree; 2],
) -> Result<(), StepError> {
    let ownership = layers::ownership(workshop);
    let stacks = [stack.to_vec()];
    let directories = UnpackedLayers { workshop, stacks: &stacks };
    let devices = layers::devices(workshop);
    let note = |path: &Path, entry: &Entry| upper::note(path, entry, ownership, devices);
    let files = MaterializeOptions { ownership, devices, time: None };
    let options = ReshapeOptions { files, layers: &directories, note: &note };
    reshape(root, held, wanted, options)
        .map_err(|error| io_error(&format!("cannot make the root of the step: {error}"), error.source))
}

/// Whether mount points are still there, which belong to no layer.
fn has_stubs(root: &Path, exit: &Exit) -> bool {
    exit.stubs.iter().any(|stub| {
        let below = stub.strip_prefix("/").unwrap_or(stub);
        root.join(below).symlink_metadata().is_ok()
    })
}

/// Gives everything in a root, in which `after` was found, the time that `tree` has for it; tells whether the root now holds `tree`
/// and nothing else. It does not where names of one file are several files to the layer.
fn settle_copy(
    root: &Path,
    after: &Tree,
    tree: &Tree,
    changes: &Changes,
    ownership: Ownership,
) -> io::Result<bool> {
    let is_missing = |(path, entry): (&_, &Entry)| !entry.kind.is_device() && after.get(path).is_none();
    if tree.iter().any(is_missing) || after.hard_links() != tree.hard_links() {
        return Ok(false);
    }
    for (path, found) in after.iter().filter(|(path, _)| !path.is_root()) {
        let Some(wanted) = tree.get(path) else { return Ok(false) };
        let stands_in =
            || wanted.kind.is_device() && found.metadata.xattrs.get(DEVICE_ATTRIBUTE.as_bytes()).is_some();
        if std::mem::discriminant(&found.kind) != std::mem::discriminant(&wanted.kind) && !stands_in() {
            return Ok(false);
        }
        let place = root.join(path.as_path());
        if ownership == Ownership::Recorded && changes.entries.get(path).is_some() {
            upper::write_owner(&place, wanted)?;
        }
        let (had, time) = (found.metadata.mtime, wanted.metadata.mtime);
        if had != time {
            upper::set_time(&place, (time.seconds, time.nanoseconds))?;
        }
    }
    Ok(true)
}

fn io_error(what: &str, source: io::Error) -> StepError {
    StepError::Io { what: what.to_owned(), source }
}
