//! Layers on this machine: what each contains (its listing), and its unpacked directory. Both are caches.
//!
//! Where roots of steps are overlays, an unpacked layer is ready to be a lower directory of one; else it is there for its contents
//! alone, and has no marks that the file system might not take.
//!
//! A listing is a record (`listing`) under the diff id, written with the layer or when the layer is read for the first time.
//! Many processes may want one layer at once: the first unpacks it, the others wait.

mod snapshot_id;

use std::collections::HashMap;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kiln_layer::compress::decompress_layer;
use kiln_layer::tar::read::Limits;
use kiln_layer::{
    ArchivePath, Devices, DirectoryOrigin, Item, LayerDirectories, Listing, Lower, OverlayMarks, Ownership,
    Tree, TreeError, UnpackError, UnpackForm, UnpackOptions,
};
use kiln_oci::{DiffId, Digest};
use kiln_sandbox::Identity;
use kiln_store::{Lookup, Scratch, Store, StoreError};

use self::snapshot_id::{Manner, snapshot_id, snapshot_ids_alone};
use crate::root_kind::root_kind;
use crate::rootfs::Layer;
use crate::upper;
use crate::workshop::{RootKind, Workshop};

const LISTINGS: &str = "listing";
const READ_BYTES: usize = 1 << 17;

/// Why a layer that is in the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// Its bytes cannot be read or unpacked.
    #[error("cannot read layer `{digest}`")]
    Read {
        /// The blob.
        digest: Digest,
        /// What is wrong.
        source: Box<UnpackError>,
    },
    /// Its compression cannot be undone.
    #[error("cannot decompress layer `{digest}`")]
    Decompress {
        /// The blob.
        digest: Digest,
        /// What is wrong.
        source: std::io::Error,
    },
    /// Its content is not what the image says.
    #[error("layer `{digest}` has the diff id `{actual}`, but the image says `{expected}`")]
    WrongDiffId {
        /// The blob.
        digest: Digest,
        /// What the image says.
        expected: DiffId,
        /// What it has.
        actual: DiffId,
    },
    /// The layers do not fit together.
    #[error("the layers do not fit together")]
    Merge(#[from] TreeError),
    /// A directory could not be opened.
    #[error("cannot open an unpacked layer")]
    Open(#[source] std::io::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Returns a listing that is known already.
pub fn known_listing(workshop: &Workshop, diff_id: &DiffId) -> Option<Arc<Listing>> {
    if let Some(listing) = locked(&workshop.listings).get(diff_id) {
        return Some(Arc::clone(listing));
    }
    // A damaged listing is as good as none: the layer is read again.
    let record = workshop.store.records().get(LISTINGS, &diff_id.0).ok().and_then(Lookup::hit)?;
    let listing = Listing::decode(&record.payload).ok().filter(|listing| listing.diff_id == *diff_id)?;
    let listing = Arc::new(listing);
    locked(&workshop.listings).insert(*diff_id, Arc::clone(&listing));
    Some(listing)
}

/// A listing that this process knows.
#[derive(Debug)]
pub struct Listed {
    /// The listing.
    pub listing: Arc<Listing>,
    /// Whether it has a record, too.
    is_recorded: bool,
}

/// Knows what a layer contains from now on, but only in this process.
pub fn know_listing(workshop: &Workshop, listing: Listing) -> Listed {
    // Steps that change nothing all have the same layer.
    if let Some(listing) = known_listing(workshop, &listing.diff_id) {
        return Listed { listing, is_recorded: true };
    }
    let listing = Arc::new(listing);
    locked(&workshop.listings).insert(listing.diff_id, Arc::clone(&listing));
    Listed { listing, is_recorded: false }
}

/// Remembers a listing for other processes.
///
/// # Errors
/// When the store cannot be written.
pub fn record_listing(store: &Store, listed: &Listed) -> Result<(), StoreError> {
    if listed.is_recorded {
        return Ok(());
    }
    store.records().put(LISTINGS, &listed.listing.diff_id.0, &listed.listing.encode(), &[])
}

/// Remembers what a layer contains.
///
/// # Errors
/// When the store cannot be written.
pub fn remember_listing(workshop: &Workshop, listing: Listing) -> Result<Arc<Listing>, StoreError> {
    let listed = know_listing(workshop, listing);
    record_listing(&workshop.store, &listed)?;
    Ok(listed.listing)
}

/// Returns what a layer contains, reading its blob when that is not known.
///
/// # Errors
/// [`LayerError`] when the blob is not in the store or not what the image says.
pub fn listing(workshop: &Workshop, layer: &Layer) -> Result<Arc<Listing>, LayerError> {
    if let Some(listing) = known_listing(workshop, &layer.diff_id) {
        return Ok(listing);
    }
    let reader = plain(workshop, layer)?;
    let read = |source| LayerError::Read { digest: layer.blob.digest, source: Box::new(source) };
    let unpacked = kiln_layer::read_listing(reader, Limits::default()).map_err(read)?;
    checked(layer, &unpacked.listing)?;
    Ok(remember_listing(workshop, unpacked.listing)?)
}

/// Returns the merged tree of layers whose blobs or listings are in the store.
///
/// # Errors
/// [`LayerError`] of the first layer that cannot be read.
pub fn tree(workshop: &Workshop, layers: &[Layer]) -> Result<Arc<Tree>, LayerError> {
    let chain = crate::rootfs::chain_of(layers);
    if let Some(tree) = locked(&workshop.trees).get(&chain) {
        return Ok(Arc::clone(tree));
    }
    let grown = match layers.split_last() {
        Some((top, below)) => grown(workshop, top, below)?,
        None => None,
    };
    let tree = match grown {
        Some(tree) => tree,
        None => {
            let listings: Vec<_> =
                layers.iter().map(|layer| listing(workshop, layer)).collect::<Result<_, _>>()?;
            Arc::new(Tree::from_listings(listings.iter().map(|listing| &**listing))?)
        }
    };
    locked(&workshop.trees).insert(chain, Arc::clone(&tree));
    Ok(tree)
}

/// Returns the tree of `below` with one layer more, when the former is known.
///
/// What a step changes is mostly small beside what lies below, and the tree below is seldom wanted again. So it is taken and
/// grows, unless somebody else has it: a stage of many steps costs one tree, in memory and in time.
fn grown(workshop: &Workshop, top: &Layer, below: &[Layer]) -> Result<Option<Arc<Tree>>, LayerError> {
    let listing = listing(workshop, top)?;
    let Some(tree) = locked(&workshop.trees).remove(&crate::rootfs::chain_of(below)) else { return Ok(None) };
    if listing.items.is_empty() {
        return Ok(Some(tree));
    }
    let mut tree = Arc::unwrap_or_clone(tree);
    tree.add_layer(&listing)?;
    Ok(Some(Arc::new(tree)))
}

/// Says whether every layer of a stack has an unpacked directory that this process knows. `chains` are those of its layers.
pub fn are_unpacked(workshop: &Workshop, chains: &[Digest]) -> bool {
    let unpacked = locked(&workshop.unpacked);
    chains.iter().all(|chain| unpacked.contains_key(chain))
}

/// Returns the layers of a stack that have no unpacked directory yet. Their listings must be known.
///
/// # Errors
/// When the store cannot be read, or the layers do not fit together.
pub fn packed(workshop: &Workshop, stack: &[Layer]) -> Result<Vec<Layer>, LayerError> {
    let mut packed = Vec::new();
    for (position, layer) in stack.iter().enumerate() {
        if directory_of(workshop, &stack[..=position])?.is_none() {
            packed.push(layer.clone());
        }
    }
    Ok(packed)
}

/// Returns the layers that must be unpacked before contents of the topmost can be read: that one, and where it has names of
/// files in lower layers, those. Their listings must be known.
///
/// # Errors
/// As for [`packed`].
pub fn packed_for_topmost(workshop: &Workshop, stack: &[Layer]) -> Result<Vec<Layer>, LayerError> {
    let Some((layer, below)) = stack.split_last() else { return Ok(Vec::new()) };
    if directory_of(workshop, stack)?.is_some() {
        return Ok(Vec::new());
    }
    let mut needed = match has_links_below(&*listing(workshop, layer)?) {
        true => packed(workshop, below)?,
        false => Vec::new(),
    };
    needed.push(layer.clone());
    Ok(needed)
}

fn has_links_below(listing: &Listing) -> bool {
    let items = &listing.items;
    let is_own = |target: &ArchivePath| {
        let place = items.binary_search_by(|(path, _)| path.cmp(target));
        place.is_ok_and(|place| matches!(items[place].1, Item::Entry(_) | Item::HardLink { .. }))
    };
    items.iter().any(|(_, item)| matches!(item, Item::HardLink { target } if !is_own(target)))
}

/// Keeps the directory of a step as the unpacked form of the layer that it made over `below`, made ready by `settle`. Where that
/// form is there already, as after steps that change nothing, or `settle` fails, the directory is given back.
///
/// # Errors
/// When the store cannot be read or written.
pub fn keep(
    workshop: &Workshop,
    directory: Scratch,
    (layer, below): (&Layer, &[Layer]),
    below_tree: &Tree,
    settle: impl FnOnce(&Path) -> std::io::Result<()>,
) -> Result<Option<Scratch>, LayerError> {
    let listing = listing(workshop, layer)?;
    let id = directory_id(workshop, &listing, below_tree)?;
    let chain = crate::rootfs::chain_of(&[below, std::slice::from_ref(layer)].concat());
    if let Some(path) = workshop.store.snapshots().get(&id)? {
        locked(&workshop.unpacked).insert(chain, path);
        return Ok(Some(directory));
    }
    // A directory that cannot be made ready is only not kept: it is a cache.
    if settle(directory.path()).is_err() {
        return Ok(Some(directory));
    }
    let path = workshop.store.publish_snapshot(directory, &id)?;
    locked(&workshop.unpacked).insert(chain, path);
    Ok(None)
}

/// Returns the directory of the topmost of `layers`, unpacking it if nobody has.
///
/// # Errors
/// [`LayerError`] when it cannot be unpacked.
pub fn unpacked(workshop: &Workshop, layers: &[Layer]) -> Result<PathBuf, LayerError> {
    let Some((layer, below)) = layers.split_last() else {
        unreachable!("an empty stack has no topmost layer, and nobody asks for it")
    };
    if let Some(path) = directory_of(workshop, layers)? {
        return Ok(path);
    }
    let path = unpack(workshop, layer, below, &*tree(workshop, below)?)?;
    locked(&workshop.unpacked).insert(crate::rootfs::chain_of(layers), path.clone());
    Ok(path)
}

/// Returns the directory of the topmost of `layers`, if there is one.
fn directory_of(workshop: &Workshop, layers: &[Layer]) -> Result<Option<PathBuf>, LayerError> {
    let Some((layer, below)) = layers.split_last() else { return Ok(None) };
    let chain = crate::rootfs::chain_of(layers);
    if let Some(path) = locked(&workshop.unpacked).get(&chain) {
        return Ok(Some(path.clone()));
    }
    let found = known_directory(workshop, layer, &*tree(workshop, below)?)?;
    if let Some(path) = &found {
        locked(&workshop.unpacked).insert(chain, path.clone());
    }
    Ok(found)
}

fn known_directory(workshop: &Workshop, layer: &Layer, below: &Tree) -> Result<Option<PathBuf>, LayerError> {
    match known_listing(workshop, &layer.diff_id) {
        Some(listing) => Ok(workshop.store.snapshots().get(&directory_id(workshop, &listing, below)?)?),
        None => Ok(None),
    }
}

fn unpack(
    workshop: &Workshop,
    layer: &Layer,
    below: &[Layer],
    below_tree: &Tree,
) -> Result<PathBuf, LayerError> {
    let _alone = workshop.store.lock(&format!("unpack {}", layer.diff_id))?;
    if let Some(path) = known_directory(workshop, layer, below_tree)? {
        return Ok(path);
    }
    let scratch = workshop.store.scratch("layer")?;
    let directory = DirectoryOrigin::open(scratch.path()).map_err(LayerError::Open)?;
    let stack = [below.to_vec()];
    let directories = UnpackedLayers { workshop, stacks: &stack };
    let options = UnpackOptions {
        form: form(workshop)?,
        ownership: ownership(workshop),
        devices: devices(workshop),
        lower: Some(Lower { tree: below_tree, layers: &directories }),
        limits: Limits::default(),
    };
    let read = |source| LayerError::Read { digest: layer.blob.digest, source: Box::new(source) };
    let unpacked = kiln_layer::unpack(plain(workshop, layer)?, &directory, options).map_err(read)?;
    checked(layer, &unpacked.listing)?;
    if ownership(workshop) == Ownership::Recorded {
        upper::write_owners(scratch.path(), &unpacked.listing).map_err(LayerError::Open)?;
    }
    let id = directory_id(workshop, &unpacked.listing, below_tree)?;
    remember_listing(workshop, unpacked.listing)?;
    Ok(workshop.store.publish_snapshot(scratch, &id)?)
}

/// Returns which layers the unpacked directories of the store are of, as far as that can be told: the name of a directory also covers
/// what it has of layers below.
///
/// # Errors
/// When the store cannot be read.
pub fn layers_by_directory(workshop: &Workshop) -> Result<HashMap<DiffId, DiffId>, StoreError> {
    let mut layers = HashMap::new();
    for entry in workshop.store.records().list(LISTINGS)? {
        let layer = DiffId(entry.key);
        if let Some(listing) = known_listing(workshop, &layer) {
            layers.extend(snapshot_ids_alone(&listing).map(|id| (id, layer)));
        }
    }
    Ok(layers)
}

fn directory_id(workshop: &Workshop, listing: &Listing, below: &Tree) -> Result<DiffId, StoreError> {
    let manner = Manner { form: form(workshop)?, ownership: ownership(workshop), devices: devices(workshop) };
    Ok(snapshot_id(manner, listing, below))
}

/// Returns what the directories of layers are for.
fn form(workshop: &Workshop) -> Result<UnpackForm, StoreError> {
    Ok(match (root_kind(workshop)?, &workshop.identity) {
        (RootKind::Copy { .. }, _) => UnpackForm::Contents,
        (RootKind::Overlay, Ok(Identity::Root)) => UnpackForm::Overlay(OverlayMarks::Trusted),
        (RootKind::Overlay, _) => UnpackForm::Overlay(OverlayMarks::User),
    })
}

/// Returns whether owners can be set on disk by this process.
pub fn ownership(workshop: &Workshop) -> Ownership {
    match workshop.identity {
        Ok(Identity::Root | Identity::Chroot { .. }) => Ownership::Real,
        Ok(Identity::Subordinate { .. }) if !workshop.records_owners => Ownership::Real,
        _ => Ownership::Recorded,
    }
}

/// Returns whether device nodes can be made by this process.
pub fn devices(workshop: &Workshop) -> Devices {
    match workshop.identity {
        Ok(Identity::Root | Identity::Chroot { .. }) => Devices::Create,
        _ => Devices::Record,
    }
}

/// Opens the plain tar of a layer whose blob is in the store; the end is given only where the blob's digest is right.
///
/// # Errors
/// [`LayerError`] when there is no such blob, or its compression is not known.
pub fn plain(workshop: &Workshop, layer: &Layer) -> Result<Box<dyn std::io::Read + Send>, LayerError> {
    let blob = workshop.store.blobs().open_verified(&layer.blob.digest)?;
    let reader = BufReader::with_capacity(READ_BYTES, blob);
    decompress_layer(reader, layer.blob.media_type.layer_compression())
        .map_err(|source| LayerError::Decompress { digest: layer.blob.digest, source })
}

fn checked(layer: &Layer, listing: &Listing) -> Result<(), LayerError> {
    let (expected, actual) = (layer.diff_id, listing.diff_id);
    if expected == actual {
        return Ok(());
    }
    Err(LayerError::WrongDiffId { digest: layer.blob.digest, expected, actual })
}

/// Gives the directories of layers to readers of contents, unpacking on demand.
#[derive(Debug)]
pub struct UnpackedLayers<'a> {
    /// The workshop.
    pub workshop: &'a Workshop,
    /// The stacks that contents may come from.
    pub stacks: &'a [Vec<Layer>],
}

impl LayerDirectories for UnpackedLayers<'_> {
    fn directory(&self, diff_id: DiffId) -> std::io::Result<Arc<DirectoryOrigin>> {
        if let Some(open) = locked(&self.workshop.directories).get(&diff_id) {
            return Ok(Arc::clone(open));
        }
        let unknown = || format!("layer `{diff_id}` belongs to no file system of this step");
        let stack = stack_up_to(self.stacks, diff_id).ok_or_else(|| std::io::Error::other(unknown()))?;
        let path = unpacked(self.workshop, stack).map_err(std::io::Error::other)?;
        let open = Arc::new(DirectoryOrigin::open(&path)?);
        locked(&self.workshop.directories).insert(diff_id, Arc::clone(&open));
        Ok(open)
    }
}

/// Returns the stack in which contents of a layer are read: the first that has it, without what lies above.
pub fn stack_up_to(stacks: &[Vec<Layer>], diff_id: DiffId) -> Option<&[Layer]> {
    stacks.iter().find_map(|stack| {
        let position = stack.iter().position(|layer| layer.diff_id == diff_id)?;
        Some(&stack[..=position])
    })
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is only ever inserted into, so a panic elsewhere left it whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
