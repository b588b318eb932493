//! What is written down, aside, of the steps of a build, so that the next one finds their results.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::explaining::Explainer;
use super::keys::Keys;
use crate::blobs;
use crate::cache::LocalCache;
use crate::plan::{Plan, StepId};
use crate::request::CachePlace;
use crate::rootfs::Rootfs;
use crate::transform::Bench;

/// Adds the records of one build to the work that no step waits for.
pub(super) struct Recorder<'a> {
    bench: &'a Bench,
    plan: &'a Arc<Plan>,
    keys: &'a Arc<Keys>,
    cache: LocalCache,
    explainer: Arc<Explainer>,
}

impl<'a> Recorder<'a> {
    pub(super) fn new(
        bench: &'a Bench,
        plan: &'a Arc<Plan>,
        keys: &'a Arc<Keys>,
        cache: &LocalCache,
        explainer: &Arc<Explainer>,
    ) -> Self {
        Self { bench, plan, keys, cache: cache.clone(), explainer: Arc::clone(explainer) }
    }

    /// Records the result under the definition key, so that the next build finds it without running anything; also the result
    /// of a step that was not looked up, since it is the newest.
    pub(super) fn made(&self, step: StepId, rootfs: &Rootfs, took: Duration) {
        let Some(key) = self.keys.key(step) else { return };
        let (explainer, exports) = (Arc::clone(&self.explainer), self.bench.exports.clone());
        let (cache, rootfs) = (self.cache.clone(), rootfs.clone());
        self.bench.aside.add(step, move || {
            let portrait = explainer.remember(step, key, took)?;
            cache.record_definition(key, &rootfs, &portrait)?;
            exports.made(step, key, &rootfs);
            Ok(())
        });
    }

    /// Records what a far cache knew, so that the next build need not ask.
    pub(super) fn found(&self, step: StepId, rootfs: &Rootfs, place: &CachePlace) {
        let Some(key) = self.keys.lookup(step) else { return };
        let explainer = Arc::clone(&self.explainer);
        let base = self.plan.base_of(step).0.len();
        let store = self.bench.workshop.store.clone();
        let (cache, rootfs, place) = (self.cache.clone(), rootfs.clone(), place.clone());
        self.bench.aside.add(step, move || {
            for layer in &rootfs.layers[base..] {
                blobs::remember_claim(&store, layer, &place)?;
            }
            // How long it took elsewhere nobody knows.
            let portrait = explainer.remember(step, key, Duration::ZERO)?;
            cache.record_definition(key, &rootfs, &portrait)
        });
    }

    /// Takes note that the store had the result of a step. It answers for all steps below, whose records nobody read: they are as
    /// much in use, and one day something changes above them.
    pub(super) fn hit(&self, step: StepId) {
        let (plan, keys, cache) = (Arc::clone(self.plan), Arc::clone(self.keys), self.cache.clone());
        self.bench.aside.add(step, move || {
            let note = |step: StepId| keys.lookup(step).map_or(Ok(false), |key| cache.note_used(key));
            if !note(step)? {
                return Ok(());
            }
            let (mut seen, mut next) = (BTreeSet::from([step]), vec![step]);
            while let Some(step) = next.pop() {
                for input in plan.step(step).op.inputs() {
                    if seen.insert(input) {
                        note(input)?;
                        next.push(input);
                    }
                }
            }
            Ok(())
        });
    }

    /// Says of a result that was found that it is the newest again: the next build is compared with this one. That of the last
    /// build is, so a build that is repeated writes nothing.
    pub(super) fn renew(&self, step: StepId) {
        let explainer = Arc::clone(&self.explainer);
        self.bench.aside.add(step, move || explainer.renew(step));
    }
}
