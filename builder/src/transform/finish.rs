//! The end of every transform: changes → layer → store → cache. A step is done when its layer is written; that it comes to the
//! disk under its name, and its records after it, is done [aside](crate::aside) while the next step runs.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::{Arc, MutexGuard, PoisonError};

use kiln_layer::{
    Changes, CommitOptions, Committed, Compression, EarlierBlocks, Entry, LayerDirectories, LayerTime, Origin,
};
use kiln_oci::{Descriptor, DiffId};
use kiln_store::Flight;

use super::again::Again;
use super::{Bench, Reuse, StepError};
use crate::blobs;
use crate::cache::{Lineage, LocalCache};
use crate::layers::{self, UnpackedLayers};
use crate::plan::key::KeyRecord;
use crate::plan::{Op, StepId, StepKey};
use crate::request::Timestamp;
use crate::rootfs::{Layer, chains_of};

/// A layer to be written.
pub(super) struct NewLayer<'a> {
    /// The step that makes it.
    pub(super) step: StepId,
    /// What that does.
    pub(super) op: &'a Op,
    /// The content key under which it is remembered, and what that is made of.
    pub(super) content: Option<(StepKey, KeyRecord)>,
    /// Keeps others waiting until that is on the disk.
    pub(super) flight: Option<Flight>,
    /// What it says.
    pub(super) changes: &'a Changes,
    /// The file systems whose contents the changes refer to.
    pub(super) stacks: &'a [Vec<Layer>],
    /// Whether blocks of its earlier versions may be copied, and whether its age will count.
    pub(super) reuse: Reuse,
    /// Whether it is only to be compared.
    pub(super) again: Option<&'a Again>,
}

/// Writes changes as a layer.
pub(super) fn write_layer(bench: &Bench, new: NewLayer<'_>) -> Result<Layer, StepError> {
    if let Some(again) = new.again {
        return again.compare(bench, &new);
    }
    let workshop = &bench.workshop;
    let lineage = Lineage::of(&workshop.store, &bench.key_base, new.op);
    let earlier = match new.reuse.is_allowed {
        true => lineage.blocks(),
        false => EarlierBlocks::default(),
    };
    let ages = new.reuse.age_max.map(|_| bench.ages(new.op));
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
        ages.map_or(Ok(()), |ages| ages.remember(&made.diff_id))?;
        if let Some((key, fields)) = new.content {
            cache.record_content(key, Some(&made), &fields)?;
            exports.made_layer(step, key, Some(&made), None);
        }
        drop(new.flight);
        Ok(())
    });
    // Afterwards: a step that takes the layer from here adds its own record behind it.
    if let Some(key) = key {
        locked(bench).insert(key, layer.clone());
    }
    Ok(layer)
}

/// Finds out which layer changes make, and keeps nothing of it: there is no such blob.
pub(super) fn weigh(
    bench: &Bench,
    changes: &Changes,
    directories: &dyn LayerDirectories,
) -> Result<(Layer, Committed), StepError> {
    let options = CommitOptions { compression: Compression::None, ..commit_options(bench) };
    let committed =
        kiln_layer::commit_with(changes, directories, &options, &EarlierBlocks::default(), &mut io::sink())?;
    let blob = Descriptor::new(bench.compression.media_type(), committed.diff_id.0, committed.size);
    Ok((Layer { diff_id: committed.diff_id, blob }, committed))
}

/// Returns the layer that this build has made under a content key.
pub(super) fn made_layer(bench: &Bench, key: StepKey) -> Option<Layer> {
    locked(bench).get(&key).cloned()
}

fn locked(bench: &Bench) -> MutexGuard<'_, HashMap<StepKey, Layer>> {
    // It is only ever inserted into, so a panic elsewhere left it whole.
    bench.made.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Brings the blobs of layers into the store, where they are not. Those that this build has made may be on their way; so a step comes
/// to a blob by one of the three ways below, and by no other.
async fn fetch(bench: &Bench, layers: &[Layer]) -> Result<(), StepError> {
    if !layers.is_empty() {
        bench.aside.done().await;
    }
    Ok(blobs::fetch_layers(&bench.workshop, layers, &bench.progress).await?)
}

/// Whether it is known what all of these layers hold.
pub(super) fn is_listed(bench: &Bench, stack: &[Layer]) -> bool {
    stack.iter().all(|layer| layers::known_listing(&bench.workshop, &layer.diff_id).is_some())
}

/// Fetches the layers whose listings are not known.
pub(super) async fn fetch_unlisted(bench: &Bench, stack: &[Layer]) -> Result<(), StepError> {
    let workshop = &bench.workshop;
    let is_unlisted = |layer: &&Layer| layers::known_listing(workshop, &layer.diff_id).is_none();
    fetch(bench, &stack.iter().filter(is_unlisted).cloned().collect::<Vec<_>>()).await
}

/// Fetches the layers that are not unpacked. Their listings must be known.
pub(super) async fn fetch_unpacked(bench: &Arc<Bench>, stack: &[Layer]) -> Result<(), StepError> {
    if layers::are_unpacked(&bench.workshop, &chains_of(stack)) {
        return Ok(());
    }
    let stack = stack.to_vec();
    let packed = on_cpu(bench, move |bench| Ok(layers::packed(&bench.workshop, &stack)?)).await?;
    fetch(bench, &packed).await
}

/// Returns those layers of an image that have to be fetched for a step that needs its files: what is unpacked needs no blob.
///
/// # Errors
/// When the store cannot be read.
pub async fn to_be_fetched(bench: &Arc<Bench>, image: &[Layer]) -> Result<Vec<Layer>, StepError> {
    let stack = image.to_vec();
    let find = move |bench: &Bench| {
        let store = &bench.workshop.store;
        let mut absent = Vec::new();
        for layer in &stack {
            if !store.blobs().contains(&layer.blob.digest)? {
                absent.push(layer.clone());
            }
        }
        if !absent.is_empty() && is_listed(bench, &stack) {
            let packed = layers::packed(&bench.workshop, &stack)?;
            absent.retain(|layer| packed.contains(layer));
        }
        Ok(absent)
    };
    on_cpu(bench, find).await
}

/// Returns the layer that holds the content of a file, if one does.
pub(super) fn holder(entry: &Entry) -> Option<DiffId> {
    match entry.content()?.origin {
        Origin::Layer(diff_id) => Some(diff_id),
        Origin::Directory(_) | Origin::Inline(_) => None,
    }
}

/// Fetches what contents of some layers are read from, unless it is unpacked. Listings of all layers must be known.
pub(super) async fn fetch_contents(
    bench: &Arc<Bench>,
    holders: BTreeSet<DiffId>,
    stacks: &[Vec<Layer>],
) -> Result<(), StepError> {
    if holders.is_empty() {
        return Ok(());
    }
    let stacks = stacks.to_vec();
    let find = move |bench: &Bench| {
        let mut packed = Vec::new();
        for holder in holders {
            if let Some(stack) = layers::stack_up_to(&stacks, holder) {
                packed.extend(layers::packed_for_topmost(&bench.workshop, stack)?);
            }
        }
        Ok(packed)
    };
    let packed = on_cpu(bench, find).await?;
    fetch(bench, &packed).await
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
