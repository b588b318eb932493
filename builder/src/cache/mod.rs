//! What was built before: records from a step's keys to its result.
//!
//! | Record | Key | Says |
//! |---|---|---|
//! | `definition` | definition key | the whole file system after the step |
//! | `content` | content key | the layer the step makes, whatever it lies on |
//! | `fields` | either key | what the key was made of; of a definition key the [`Portrait`] of the step, for explanations |
//! | `blocks` | the step without its inputs | where the blocks of its latest layers are |
//! | `made` | the step without its inputs, and a layer | when it last made that layer, if age counts |
//!
//! A record only names blobs that are in the store, or that a registry or cache known to hold them can give. A hit counts only
//! when that is still so. Whatever is wrong with a record is a miss, never an error.
//!
//! What the store does not know, [`Tiers`] ask the caches for that builders share; what is found out, [`Exports`] give to them.

mod export;
mod tiers;

mod age;
mod entry;
mod lineage;

pub use age::Ages;
pub use entry::{ENTRIES, Entry, EntryError, entry_name};
pub use export::{CacheExportError, Exporter, Exports};
pub use lineage::Lineage;
pub use tiers::{Found, Tiers, told};

use std::collections::BTreeSet;

use kiln_oci::Digest;
use kiln_store::{Lookup, Store, StoreError};
use serde::{Deserialize, Serialize};

use crate::blobs;
use crate::doubts::Doubts;
use crate::explain::Portrait;
use crate::plan::StepKey;
use crate::plan::key::KeyRecord;
use crate::rootfs::{Layer, Rootfs, StoredLayer};
use crate::workshop::Workshop;

const DEFINITIONS: &str = "definition";
const CONTENTS: &str = "content";
const FIELDS: &str = "fields";
/// Version of the records' form and of how steps run; another one is a miss. 2 is for owners that a step with a single id left wrong.
const RECORD_FORMAT: u32 = 2;

#[derive(Serialize, Deserialize)]
struct StoredRootfs {
    format: u32,
    layers: Vec<StoredLayer>,
    made: Vec<bool>,
}

#[derive(Serialize, Deserialize)]
struct StoredResult {
    format: u32,
    layer: Option<StoredLayer>,
}

/// The cache of one store.
#[derive(Debug, Clone)]
pub struct LocalCache {
    store: Store,
    doubts: Doubts,
}

impl LocalCache {
    /// Opens the cache of a workshop's store.
    pub fn new(workshop: &Workshop) -> Self {
        Self { store: workshop.store.clone(), doubts: workshop.doubts.clone() }
    }

    /// Returns the file system that a definition key led to.
    pub fn definition(&self, key: StepKey) -> Option<Rootfs> {
        let stored: StoredRootfs = self.read(DEFINITIONS, key)?;
        if stored.format != RECORD_FORMAT {
            return None;
        }
        let layers: Vec<Layer> = stored.layers.into_iter().map(Layer::from).collect();
        let available = layers.iter().all(|layer| blobs::is_available(&self.store, &self.doubts, layer));
        available.then_some(Rootfs { layers, made: stored.made })
    }

    /// Returns the first layer that keeps the record of a definition key from being a hit.
    pub fn missing_layer(&self, key: StepKey) -> Option<Digest> {
        // The record is read past its blobs, which a look-up would miss for.
        let record = self.store.records().peek(DEFINITIONS, &key.0).ok().and_then(Lookup::hit)?;
        let stored: StoredRootfs = postcard::from_bytes(&record.payload).ok()?;
        let mut layers = stored.layers.into_iter().map(Layer::from);
        layers
            .find(|layer| !blobs::is_available(&self.store, &self.doubts, layer))
            .map(|layer| layer.blob.digest)
    }

    /// Returns what a content key led to: a layer, or that nothing changed.
    pub fn content(&self, key: StepKey) -> Option<Option<Layer>> {
        let stored: StoredResult = self.read(CONTENTS, key)?;
        if stored.format != RECORD_FORMAT {
            return None;
        }
        match stored.layer.map(Layer::from) {
            None => Some(None),
            Some(layer) => blobs::is_available(&self.store, &self.doubts, &layer).then_some(Some(layer)),
        }
    }

    /// Records the file system after a step.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn record_definition(
        &self,
        key: StepKey,
        rootfs: &Rootfs,
        portrait: &Portrait,
    ) -> Result<(), StoreError> {
        let stored = StoredRootfs {
            format: RECORD_FORMAT,
            layers: rootfs.layers.iter().map(StoredLayer::from).collect(),
            made: rootfs.made.clone(),
        };
        self.write(FIELDS, key, portrait, &[])?;
        self.write(DEFINITIONS, key, &stored, &self.present(&rootfs.layers))
    }

    /// Marks what is known of a definition key as used; tells whether the last use was long enough ago for that.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn note_used(&self, key: StepKey) -> Result<bool, StoreError> {
        let records = self.store.records();
        // A look-up marks the file system alone, so the fields tell when this was called last.
        if !records.note_used(FIELDS, &key.0)? {
            return Ok(false);
        }
        records.note_used(DEFINITIONS, &key.0)?;
        Ok(true)
    }

    /// Records the layer that a step made.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn record_content(
        &self,
        key: StepKey,
        layer: Option<&Layer>,
        fields: &KeyRecord,
    ) -> Result<(), StoreError> {
        let stored = StoredResult { format: RECORD_FORMAT, layer: layer.map(StoredLayer::from) };
        self.write(FIELDS, key, fields, &[])?;
        self.write(CONTENTS, key, &stored, &self.present(layer.map(std::slice::from_ref).unwrap_or_default()))
    }

    fn present(&self, layers: &[Layer]) -> Vec<Digest> {
        // Steps that change nothing all have the same layer.
        let named: BTreeSet<_> = layers.iter().map(|layer| layer.blob.digest).collect();
        let is_present = |digest: &Digest| matches!(self.store.blobs().contains(digest), Ok(true));
        named.into_iter().filter(is_present).collect()
    }

    fn read<T: for<'de> Deserialize<'de>>(&self, kind: &str, key: StepKey) -> Option<T> {
        // A record that cannot be read is a miss by design; `fsck` reports damage.
        let record = self.store.records().get(kind, &key.0).ok().and_then(Lookup::hit)?;
        postcard::from_bytes(&record.payload).ok()
    }

    fn write<T: Serialize>(
        &self,
        kind: &str,
        key: StepKey,
        value: &T,
        blobs: &[Digest],
    ) -> Result<(), StoreError> {
        let payload = postcard::to_stdvec(value).expect("records serialize to memory");
        self.store.records().put(kind, &key.0, &payload, blobs)
    }
}
