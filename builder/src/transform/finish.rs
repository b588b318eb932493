//! The end of every transform: changes → layer → store → cache.

use std::sync::Arc;

use kiln_layer::{Changes, CommitOptions, EarlierBlocks, LayerTime};
use kiln_oci::Descriptor;

use super::{Bench, Reuse, StepError};
use crate::cache::Lineage;
use crate::layers::{self, UnpackedLayers};
use crate::plan::Op;
use crate::request::Timestamp;
use crate::rootfs::Layer;

/// A layer to be written.
pub(super) struct NewLayer<'a> {
    /// The step that makes it.
    pub(super) op: &'a Op,
    /// What it does.
    pub(super) changes: &'a Changes,
    /// The file systems whose contents the changes refer to.
    pub(super) stacks: &'a [Vec<Layer>],
    /// Whether blocks of its earlier versions may be copied.
    pub(super) reuse: Reuse,
}

/// Writes changes as a layer.
pub(super) fn write_layer(bench: &Bench, new: &NewLayer<'_>) -> Result<Layer, StepError> {
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
    writer.commit(&committed.digest)?;
    lineage.remember(committed.digest, committed.size, committed.blocks)?;
    let media_type = bench.compression.media_type();
    let layer = Layer {
        diff_id: committed.diff_id,
        blob: Descriptor::new(media_type, committed.digest, committed.size),
    };
    layers::remember_listing(workshop, committed.listing)?;
    Ok(layer)
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
