//! The end of every transform: changes → layer → store → cache. A step is done when its layer is written; that it comes to the
//! disk under its name, and its records after it, is done [aside](crate::aside) while the next step runs.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};

use kiln_layer::{Changes, CommitOptions, EarlierBlocks, LayerTime};
use kiln_oci::Descriptor;

use super::{Bench, Reuse, StepError};
use crate::blobs;
use crate::cache::{Lineage, LocalCache};
use crate::layers::{self, UnpackedLayers};
use crate::plan::key::KeyRecord;
use crate::plan::{Op, StepId, StepKey};
use crate::request::Timestamp;
use crate::rootfs::Layer;

/// A layer to be written.
pub(super) struct NewLayer<'a> {
    /// The step that makes it.
    pub(super) step: StepId,
    /// What that does.
    pub(super) op: &'a Op,
    /// The content key under which it is remembered, and what that is made of.
    pub(super) content: Option<(StepKey, KeyRecord)>,
    /// What it says.
    pub(super) changes: &'a Changes,
    /// The file systems whose contents the changes refer to.
    pub(super) stacks: &'a [Vec<Layer>],
    /// Whether blocks of its earlier versions may be copied.
    pub(super) reuse: Reuse,
}

/// Writes changes as a layer.
pub(super) fn write_layer(bench: &Bench, new: NewLayer<'_>) -> Result<Layer, StepError> {
    let workshop = &bench.workshop;
    let lineage = Lineage::of(&workshop.store, &bench.key_base, new.op);
    let earlier = match new.reuse {
        Reuse::Known => lineage.blocks(),
        Reuse::Nothing => EarlierBlocks::default(),
    };
    let mut writer = workshop.store.blobs().writer_of_hashed();
    let directories = UnpackedLayers { workshop, stacks: new.stacks };
    let options = commit_options(bench);
    let committed = kiln_layer::commit_with(new.changes, &directories, &options, &earlier, &mut writer)?;
    let media_type = bench.compression.media_type();
    let (digest, size, blocks) = (committed.digest, committed.size, committed.blocks);
    let layer = Layer { diff_id: committed.diff_id, blob: Descriptor::new(media_type, digest, size) };
    let listed = layers::know_listing(workshop, committed.listing);
    let (store, made) = (workshop.store.clone(), layer.clone());
    let (cache, exports, step) = (LocalCache::new(workshop), bench.exports.clone(), new.step);
    let key = new.content.as_ref().map(|(key, _)| *key);
    bench.aside.add(step, move || {
        writer.commit(&digest)?;
        lineage.remember(digest, size, blocks)?;
        layers::record_listing(&store, &listed)?;
        if let Some((key, fields)) = new.content {
            cache.record_content(key, Some(&made), &fields)?;
            exports.made_layer(step, key, Some(&made), None);
        }
        Ok(())
    });
    // Afterwards: a step that takes the layer from here adds its own record behind it.
    if let Some(key) = key {
        locked(bench).insert(key, layer.clone());
    }
    Ok(layer)
}

/// Returns the layer that this build has made under a content key.
pub(super) fn made_layer(bench: &Bench, key: StepKey) -> Option<Layer> {
    locked(bench).get(&key).cloned()
}

fn locked(bench: &Bench) -> MutexGuard<'_, HashMap<StepKey, Layer>> {
    // It is only ever inserted into, so a panic elsewhere left it whole.
    bench.made.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for the blobs that this build has made, which may be on their way: for whoever reads files of them.
pub(super) async fn await_blobs(bench: &Bench) {
    bench.aside.done().await;
}

/// Brings the blobs of layers into the store, where they are not.
pub(super) async fn fetch(bench: &Bench, layers: &[Layer]) -> Result<(), StepError> {
    if !layers.is_empty() {
        await_blobs(bench).await;
    }
    Ok(blobs::fetch_layers(&bench.workshop, layers, &bench.progress).await?)
}

/// Runs `job`, which is cheap to start and heavy to do, on the cpu lane.
pub(super) async fn on_cpu<T: Send + 'static>(
    bench: &Arc<Bench>,
    job: impl FnOnce(&Bench) -> Result<T, StepError> + Send + 'static,
) -> Result<T, StepError> {
    let own = Arc::clone(bench);
    bench.workshop.lanes.cpu(move || job(&own)).await
}

fn commit_options(bench: &Bench) -> CommitOptions {
    let time = match bench.timestamp {
        Timestamp::Epoch(seconds) => LayerTime::Fixed(seconds),
        Timestamp::Preserve { .. } => LayerTime::Preserve,
    };
    CommitOptions { time, compression: bench.compression }
}
