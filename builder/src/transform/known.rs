//! What a content key leads to: asked when a step is about to run, of this build, the store's records, and the caches that builders
//! share.

use super::finish::made_layer;
use super::{Bench, Reuse};
use crate::blobs::remember_claim;
use crate::cache::{Found, LocalCache};
use crate::plan::key::{Inputs, KeyRecord, describe, step_key};
use crate::plan::{KeyKind, Op, StepId, StepKey};
use crate::rootfs::Layer;

/// A step whose inputs are there: what it is looked up by.
pub(super) struct Probe {
    /// The step.
    pub(super) step: StepId,
    /// What it does.
    pub(super) op: Op,
    /// Its content key.
    pub(super) key: StepKey,
    /// What that is made of.
    pub(super) fields: KeyRecord,
    /// How far its result may come from the cache.
    pub(super) reuse: Reuse,
}

impl Probe {
    /// Computes the content key of a step.
    pub(super) fn new(bench: &Bench, (step, op): (StepId, Op), inputs: &Inputs, reuse: Reuse) -> Self {
        let mut fields = KeyRecord::new();
        describe(KeyKind::Content, &bench.key_base, &op, inputs, &mut fields);
        let key = step_key(KeyKind::Content, &bench.key_base, &op, inputs);
        Self { step, op, key, fields, reuse }
    }

    /// Returns what the key leads to in this build or by a record, if that may be used: a layer, or that nothing changed.
    pub(super) fn near_layer(&self, bench: &Bench) -> Option<Option<Layer>> {
        if !self.reuse.is_allowed {
            return None;
        }
        let (step, key) = (self.step, self.key);
        let known = match made_layer(bench, key) {
            Some(layer) => Some(layer),
            None => {
                let known = LocalCache::new(&bench.workshop).content(key)?;
                let takes = |layer: &Layer| self.reuse.takes(bench, &self.op, &layer.diff_id);
                known.as_ref().is_none_or(takes).then_some(known)?
            }
        };
        if !bench.exports.is_empty() {
            let (exports, layer) = (bench.exports.clone(), known.clone());
            // Behind what brings a layer of this build to the disk.
            bench.aside.add(step, move || {
                exports.made_layer(step, key, layer.as_ref(), None);
                Ok(())
            });
        }
        Some(known)
    }

    /// Returns what the key leads to in a cache that builders share, and where. Nobody knows how old that is.
    pub(super) async fn far_content(&self, bench: &Bench) -> Option<Found<Option<Layer>>> {
        let (workshop, reuse) = (&bench.workshop, self.reuse);
        if !reuse.is_allowed || reuse.age_max.is_some() || !bench.tiers.may_ask(workshop) {
            return None;
        }
        bench.tiers.content(workshop, &*bench.progress, self.key).await
    }

    /// Returns what the key leads to in a cache that builders share, and remembers it.
    pub(super) async fn far_layer(&self, bench: &Bench) -> Option<Option<Layer>> {
        let found = self.far_content(bench).await?;
        let (workshop, layer) = (&bench.workshop, found.value);
        let (cache, store, exports) =
            (LocalCache::new(workshop), workshop.store.clone(), bench.exports.clone());
        let (step, key, known, fields) = (self.step, self.key, layer.clone(), self.fields.clone());
        bench.aside.add(step, move || {
            if let Some(layer) = &known {
                remember_claim(&store, layer, &found.place)?;
            }
            cache.record_content(key, known.as_ref(), &fields)?;
            exports.made_layer(step, key, known.as_ref(), Some(&found.place));
            Ok(())
        });
        Some(layer)
    }
}
