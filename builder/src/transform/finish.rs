//! The end of every transform: changes → layer → store → cache.

use std::sync::Arc;

use kiln_layer::{Changes, CommitOptions, Compression as LayerCompression, LayerTime};
use kiln_oci::Descriptor;

use super::{Bench, StepError};
use crate::layers::{self, UnpackedLayers};
use crate::request::{Compression, Timestamp};
use crate::rootfs::Layer;

/// Writes changes as a layer. `stacks` are the file systems whose contents the changes refer to.
pub(super) fn write_layer(
    bench: &Bench,
    changes: &Changes,
    stacks: &[Vec<Layer>],
) -> Result<Layer, StepError> {
    let workshop = &bench.workshop;
    let mut writer = workshop.store.blobs().writer_of_hashed()?;
    let directories = UnpackedLayers { workshop, stacks };
    let committed = kiln_layer::commit(changes, &directories, &commit_options(bench), &mut writer)?;
    writer.commit(&committed.digest)?;
    let media_type = compression(bench.compression).media_type();
    let layer = Layer {
        diff_id: committed.diff_id,
        blob: Descriptor::new(media_type, committed.digest, committed.size),
    };
    layers::remember_listing(workshop, committed.listing)?;
    Ok(layer)
}

/// Returns the compressor that a request's compression means.
pub(crate) fn compression(compression: Compression) -> LayerCompression {
    match compression {
        Compression::Gzip => LayerCompression::default(),
        Compression::Zstd => LayerCompression::Zstd(kiln_layer::compress::ZSTD_LEVEL_DEFAULT),
        Compression::Uncompressed => LayerCompression::None,
    }
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
    CommitOptions { time, compression: compression(bench.compression) }
}
