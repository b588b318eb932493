//! Earlier versions of a layer: where their compressed blocks are, so that the next version copies what did not change.
//!
//! Versions belong together by the step without its inputs, its *lineage*. A record says where blocks were, and how far the hash
//! of the tar was after each, which nobody computes again: the store's checksum of records, a SHA-256, answers for it. A blob
//! that is gone or damaged by now is made anew, so a record holds none.

use kiln_layer::{BlockIndex, EarlierBlocks};
use kiln_oci::Digest;
use kiln_store::{Lookup, Store, StoreError};
use serde::{Deserialize, Serialize};

use crate::plan::Op;
use crate::plan::key::{Inputs, KeyBase, KeyKind, step_key};

const BLOCKS: &str = "blocks";
/// Version of the records' form; another one counts as none.
const BLOCKS_FORMAT: u32 = 3;
/// So many versions are remembered: a step that several directories or branches have in common has one for each.
const VERSIONS_MAX: usize = 4;
/// Smaller layers are made anew in less time than it takes to remember them.
const BLOB_BYTES_MIN: u64 = 64 * 1024;

#[derive(Serialize, Deserialize)]
struct StoredVersions {
    format: u32,
    /// Newest first: a blob and its blocks.
    versions: Vec<(Digest, BlockIndex)>,
}

/// The versions of one layer.
#[derive(Debug)]
pub struct Lineage {
    store: Store,
    key: Digest,
    versions: Vec<(Digest, BlockIndex)>,
}

impl Lineage {
    /// Looks up the earlier layers of a step.
    pub fn of(store: &Store, base: &KeyBase, op: &Op) -> Self {
        let key = step_key(KeyKind::Definition, base, op, &Inputs::default()).0;
        // Whatever is wrong with a record, nothing is remembered then.
        let record = store.records().get(BLOCKS, &key).ok().and_then(Lookup::hit);
        let stored = record.and_then(|record| postcard::from_bytes::<StoredVersions>(&record.payload).ok());
        let versions = stored.filter(|stored| stored.format == BLOCKS_FORMAT).map(|stored| stored.versions);
        Self { store: store.clone(), key, versions: versions.unwrap_or_default() }
    }

    /// Returns the blocks of those versions whose blobs are still there.
    pub fn blocks(&self) -> EarlierBlocks {
        let mut blocks = EarlierBlocks::default();
        for (digest, index) in &self.versions {
            if let Ok(blob) = self.store.blobs().open(digest) {
                blocks.add(blob, index.clone());
            }
        }
        blocks
    }

    /// Remembers the newest version.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn remember(mut self, digest: Digest, size: u64, index: BlockIndex) -> Result<(), StoreError> {
        if size < BLOB_BYTES_MIN {
            return Ok(());
        }
        self.versions.retain(|(known, _)| *known != digest);
        self.versions.insert(0, (digest, index));
        self.versions.truncate(VERSIONS_MAX);
        let stored = StoredVersions { format: BLOCKS_FORMAT, versions: self.versions };
        let payload = postcard::to_stdvec(&stored).expect("records serialize to memory");
        self.store.records().put(BLOCKS, &self.key, &payload, &[])
    }
}
