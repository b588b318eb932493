//! What a content key leads to: asked when a step is about to run, of this build, the store's records, and the caches that builders
//! share.

use super::finish::made_layer;
use super::{Bench, Reuse};
use crate::blobs::remember_claim;
use crate::cache::{Found, LocalCache};
use crate::plan::key::KeyRecord;
use crate::plan::{Op, StepId, StepKey};
use crate::rootfs::Layer;

/// Returns what a content key leads to, in this build or by a record, if that may be used: a layer, or that nothing changed.
pub(super) fn near_layer(
    bench: &Bench,
    step: StepId,
    key: StepKey,
    op: &Op,
    reuse: Reuse,
) -> Option<Option<Layer>> {
    if !reuse.is_allowed {
        return None;
    }
    let known = match made_layer(bench, key) {
        Some(layer) => Some(layer),
        None => {
            let known = LocalCache::new(&bench.workshop).content(key)?;
            let is_young = known.as_ref().is_none_or(|layer| reuse.takes(bench, op, &layer.diff_id));
            is_young.then_some(known)?
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

/// Returns what a content key leads to in a cache that builders share, and where. Nobody knows how old that is.
pub(super) async fn far_content(bench: &Bench, key: StepKey, reuse: Reuse) -> Option<Found<Option<Layer>>> {
    let workshop = &bench.workshop;
    if !reuse.is_allowed || reuse.age_max.is_some() || !bench.tiers.may_ask(workshop) {
        return None;
    }
    bench.tiers.content(workshop, &*bench.progress, key).await
}

/// Returns what a content key leads to in a cache that builders share, and remembers it.
pub(super) async fn far_layer(
    bench: &Bench,
    step: StepId,
    key: StepKey,
    fields: &KeyRecord,
    reuse: Reuse,
) -> Option<Option<Layer>> {
    let found = far_content(bench, key, reuse).await?;
    let (workshop, layer) = (&bench.workshop, found.value);
    let (cache, store, exports) = (LocalCache::new(workshop), workshop.store.clone(), bench.exports.clone());
    let (known, fields) = (layer.clone(), fields.clone());
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
