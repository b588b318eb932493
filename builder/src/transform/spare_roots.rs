//! Roots that steps have left behind, each with all files of a file system: the next step of a chain goes on in the last one's.
//!
//! Whoever takes a root has it alone. One that nobody takes goes with the build.

use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use kiln_layer::Tree;
use kiln_store::Scratch;

use crate::progress::{Progress, ProgressEvent};
use crate::rootfs::Layer;

/// Roots that are kept; of more, the oldest goes.
const SPARE_ROOTS_MAX: usize = 4;

/// What is told of steps that run by `chroot`.
const CHROOT_LACKS: &str = "steps run by chroot, for want of the right to make namespaces and to mount: they have no /proc and no /sys, \
    see the processes around them, and nothing but this container confines them (docs/rootless.md)";

/// Roots that steps of one build have left behind.
#[derive(Debug)]
pub struct SpareRoots {
    roots: Mutex<Vec<SpareRoot>>,
    announced: Once,
}

/// A directory that holds exactly what a stack of layers does.
#[derive(Debug)]
pub(super) struct SpareRoot {
    pub(super) root: Scratch,
    pub(super) stack: Vec<Layer>,
    /// The tree of `stack`.
    pub(super) tree: Arc<Tree>,
}

impl Default for SpareRoots {
    fn default() -> Self {
        Self { roots: Mutex::default(), announced: Once::new() }
    }
}

impl SpareRoots {
    /// Says once that steps run in copies, and why; and what they lack that run by `chroot`.
    pub(super) fn announce(&self, progress: &dyn Progress, reason: &str, is_chroot: bool) {
        let task = "preparing steps";
        self.announced.call_once(|| {
            progress.on(&ProgressEvent::Began { task });
            let detail = format!("in copies of their files, not overlays: {reason}");
            progress.on(&ProgressEvent::Finished { task, took: Duration::ZERO, detail: &detail });
            if is_chroot {
                progress.on(&ProgressEvent::Warning { message: CHROOT_LACKS });
            }
        });
    }

    /// Takes the root that is closest below `stack`.
    pub(super) fn take(&self, stack: &[Layer]) -> Option<SpareRoot> {
        let mut roots = self.locked();
        let is_below = |spare: &SpareRoot| {
            spare.stack.len() <= stack.len()
                && spare.stack.iter().zip(stack).all(|(left, right)| left.diff_id == right.diff_id)
        };
        let closest =
            (0..roots.len()).filter(|at| is_below(&roots[*at])).max_by_key(|at| roots[*at].stack.len());
        closest.map(|at| roots.remove(at))
    }

    /// Leaves a root for others.
    pub(super) fn put(&self, spare: SpareRoot) {
        let mut roots = self.locked();
        let oldest = (roots.len() >= SPARE_ROOTS_MAX).then(|| roots.remove(0));
        roots.push(spare);
        drop(roots);
        // Emptied when nobody waits for the lock.
        drop(oldest);
    }

    /// Removes all of them.
    pub fn clear(&self) {
        let roots = std::mem::take(&mut *self.locked());
        drop(roots);
    }

    fn locked(&self) -> MutexGuard<'_, Vec<SpareRoot>> {
        // A root is in the list or it is not, so a panic elsewhere left it whole.
        self.roots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
