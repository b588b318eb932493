//! How old results are, of steps that may come from the cache only while they are young.
//!
//! An age belongs to a step without its inputs and to the layer that it made: whichever key leads to the layer, and however
//! often it was taken from the cache since, it is as old as the run that made it last.

use std::time::Duration;

use kiln_oci::{DiffId, Digest, Hasher};
use kiln_store::{Lookup, Store, StoreError};
use serde::{Deserialize, Serialize};

use crate::plan::Op;
use crate::plan::key::{Inputs, KeyBase, KeyKind, KeySink, step_key};

const MADE: &str = "made";
/// Version of the records' form; another one counts as none.
const MADE_FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct StoredTime {
    format: u32,
    /// Seconds since 1970.
    made: u64,
}

/// The ages of one step's results.
#[derive(Debug)]
pub struct Ages {
    store: Store,
    step: Digest,
    now: Duration,
}

impl Ages {
    /// Looks at the results of a step. `now_ns` is the time, in nanoseconds since 1970.
    pub fn of(store: &Store, base: &KeyBase, op: &Op, now_ns: i128) -> Self {
        let step = step_key(KeyKind::Definition, base, op, &Inputs::default()).0;
        let now = Duration::from_nanos(u64::try_from(now_ns).unwrap_or_default());
        Self { store: store.clone(), step, now }
    }

    /// Says whether the step has made a layer no longer ago than `limit`. A time that is to come counts like one that was: clocks
    /// are set, and a result must not stay young for ever.
    pub fn is_within(&self, limit: Duration, layer: &DiffId) -> bool {
        // Whatever is wrong with a record, nothing is known then.
        let record = self.store.records().get(MADE, &self.key(layer)).ok().and_then(Lookup::hit);
        let stored = record.and_then(|record| postcard::from_bytes::<StoredTime>(&record.payload).ok());
        stored.is_some_and(|stored| {
            stored.format == MADE_FORMAT && self.now.as_secs().abs_diff(stored.made) <= limit.as_secs()
        })
    }

    /// Remembers that the step has made a layer now.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn remember(&self, layer: &DiffId) -> Result<(), StoreError> {
        let stored = StoredTime { format: MADE_FORMAT, made: self.now.as_secs() };
        let payload = postcard::to_stdvec(&stored).expect("records serialize to memory");
        self.store.records().put(MADE, &self.key(layer), &payload, &[])
    }

    fn key(&self, layer: &DiffId) -> Digest {
        let mut hasher = Hasher::new();
        hasher.field("step", self.step.as_bytes());
        hasher.field("layer", layer.0.as_bytes());
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_as_old_as_its_last_making() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let base = KeyBase { epoch: None, compression: "gzip".to_owned(), formats: (0, 0) };
        let at = |seconds: i128| Ages::of(&store, &base, &Op::Scratch, seconds * 1_000_000_000);
        let layer = DiffId(Digest::of(b"layer"));
        let hour = Duration::from_secs(3600);
        assert!(!at(1000).is_within(hour, &layer));
        at(1000).remember(&layer).unwrap();
        for (now, expected) in [(1000, true), (4600, true), (4601, false), (0, true), (100_000, false)] {
            assert_eq!(at(now).is_within(hour, &layer), expected, "{now}");
        }
        assert!(!at(1000).is_within(hour, &DiffId(Digest::of(b"other"))));
        at(9000).remember(&layer).unwrap();
        assert!(at(9000).is_within(hour, &layer) && !at(1000).is_within(hour, &layer));
    }
}
