//! What steps selected of a context, by the state that the context was in: as long as that state stays, their digests are known
//! without a tree of it, and no file is looked at twice.
//!
//! A state is the [fingerprint](kiln_layer::Survey::fingerprint) of a survey, with which ignore rules were applied already. The
//! last few states are remembered, so that several Dockerfiles with rules of their own do not drive each other out.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kiln_layer::ContentDigest;
use kiln_layer::content_hash::SELECTION_FORMAT;
use kiln_oci::Digest;
use kiln_store::{Lookup, Store, StoreError};
use serde::{Deserialize, Serialize};

const SELECTIONS: &str = "selections";
/// Version of the records' form; another one counts as none.
const SELECTIONS_FORMAT: u32 = 1;
const STATES_MAX: usize = 4;
/// A state with more is remembered anew, by what this build asks.
const SELECTIONS_MAX: usize = 10_000;

/// A state of a context: its fingerprint, what was asked of it, and the digests of what that selects.
type State = (ContentDigest, BTreeMap<Digest, Digest>);

#[derive(Serialize, Deserialize)]
struct StoredStates {
    formats: (u32, u32),
    /// Newest first.
    states: Vec<State>,
}

/// The selections of one context that are known.
#[derive(Debug)]
pub(super) struct KnownSelections {
    key: Digest,
    /// None when nothing may be remembered of this state.
    fingerprint: Option<ContentDigest>,
    others: Vec<State>,
    selections: Mutex<Selections>,
}

#[derive(Debug, Default)]
struct Selections {
    known: BTreeMap<Digest, Digest>,
    is_changed: bool,
}

impl KnownSelections {
    /// Looks up what is known of the context `key` in the state that `fingerprint` tells.
    pub(super) fn load(store: &Store, key: Digest, fingerprint: Option<ContentDigest>) -> Self {
        // Whatever is wrong with a record, nothing is known then.
        let record = store.records().get(SELECTIONS, &key).ok().and_then(Lookup::hit);
        let stored = record.and_then(|record| postcard::from_bytes::<StoredStates>(&record.payload).ok());
        let stored = stored.filter(|stored| stored.formats == (SELECTIONS_FORMAT, SELECTION_FORMAT));
        let mut others = stored.map(|stored| stored.states).unwrap_or_default();
        let own = others.iter().position(|(known, _)| Some(*known) == fingerprint);
        let known = own.map(|at| others.remove(at).1).unwrap_or_default();
        let selections = Mutex::new(Selections { known, is_changed: false });
        Self { key, fingerprint, others, selections }
    }

    /// Returns the digest of what `query` selects.
    pub(super) fn get(&self, query: &Digest) -> Option<Digest> {
        self.locked().known.get(query).copied()
    }

    /// Adds what was found out.
    pub(super) fn add(&self, query: Digest, selection: Digest) {
        let mut selections = self.locked();
        if selections.known.len() >= SELECTIONS_MAX {
            selections.known.clear();
        }
        selections.known.insert(query, selection);
        selections.is_changed = true;
    }

    /// Keeps what was added, for later builds.
    pub(super) fn keep(&self, store: &Store) -> Result<(), StoreError> {
        let mut selections = self.locked();
        let Some(fingerprint) = self.fingerprint.filter(|_| selections.is_changed) else { return Ok(()) };
        let own = (fingerprint, selections.known.clone());
        let states = std::iter::once(own).chain(self.others.iter().cloned()).take(STATES_MAX).collect();
        let stored = StoredStates { formats: (SELECTIONS_FORMAT, SELECTION_FORMAT), states };
        let payload = postcard::to_stdvec(&stored).expect("records serialize to memory");
        store.records().put(SELECTIONS, &self.key, &payload, &[])?;
        selections.is_changed = false;
        Ok(())
    }

    fn locked(&self) -> MutexGuard<'_, Selections> {
        // Selections are only ever inserted, so a panic elsewhere left them whole.
        self.selections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
