//! What this process has found out to be wrong with caches that builders share, so that it does not ask for the same again.
//!
//! A blob that one of them does not give as promised is made anew. One that fails so in two attempts of a build gives nothing any
//! more: a build must not begin again for each layer that somebody deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kiln_oci::Digest;

use crate::cache_place::CachePlace;

/// Attempts that may fail on a place before nothing more is asked of it.
const ROUNDS_MAX: u32 = 2;

/// What is wrong with a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// It could not be had. One with this digest that is in the store is right.
    Absent,
    /// It is not the layer that entries say it is.
    Wrong,
}

/// Why a place is not asked any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing answers there.
    Silent,
    /// It does not let itself be read.
    Unreadable,
    /// It did not give what it was said to have, time and again.
    Unreliable,
}

/// The doubts of a process. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Doubts(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    blobs: BTreeMap<Digest, Doubt>,
    entries: BTreeSet<(CachePlace, String)>,
    places: BTreeMap<CachePlace, Trouble>,
    failed: BTreeSet<CachePlace>,
    rounds: BTreeMap<CachePlace, u32>,
}

impl Doubts {
    /// Takes note of a blob that `place` was said to have.
    pub fn blob(&self, place: &CachePlace, digest: Digest, doubt: Doubt) {
        let mut state = self.locked();
        state.blobs.insert(digest, doubt);
        state.failed.insert(place.clone());
    }

    /// Takes note of an entry that leads to nothing good.
    pub fn entry(&self, place: &CachePlace, name: &str) {
        self.locked().entries.insert((place.clone(), name.to_owned()));
    }

    /// Whether an entry is known to lead to nothing good.
    pub fn is_bad_entry(&self, place: &CachePlace, name: &str) -> bool {
        self.locked().entries.contains(&(place.clone(), name.to_owned()))
    }

    /// Takes note of a place that cannot be asked. Returns whether that is news.
    pub fn place(&self, place: &CachePlace, trouble: Trouble) -> bool {
        self.locked().places.insert(place.clone(), trouble).is_none()
    }

    /// Returns why a place is not asked any more.
    pub fn trouble(&self, place: &CachePlace) -> Option<Trouble> {
        self.locked().places.get(place).copied()
    }

    /// Begins another attempt: what failed in the last one has failed once more.
    pub fn begin_again(&self) {
        let mut state = self.locked();
        for place in std::mem::take(&mut state.failed) {
            let rounds = state.rounds.entry(place.clone()).or_default();
            *rounds += 1;
            if *rounds >= ROUNDS_MAX {
                state.places.insert(place, Trouble::Unreliable);
            }
        }
    }

    /// Returns what is wrong with a blob, as far as is known.
    pub fn about(&self, digest: &Digest) -> Option<Doubt> {
        self.locked().blobs.get(digest).copied()
    }

    /// Whether a place may be asked.
    pub fn may_ask(&self, place: &CachePlace) -> bool {
        self.trouble(place).is_none()
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        // Whole values come and go, so a panic elsewhere harmed nothing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_given_up_when_it_fails_in_two_attempts() {
        let (doubts, place) = (Doubts::default(), CachePlace::Local("/c".into()));
        for (attempt, may_ask) in [(1, true), (2, false)] {
            doubts.blob(&place, Digest::of(&[attempt]), Doubt::Absent);
            doubts.blob(&place, Digest::of(&[attempt, 0]), Doubt::Wrong);
            assert!(doubts.may_ask(&place));
            doubts.begin_again();
            assert_eq!(doubts.may_ask(&place), may_ask);
        }
        assert_eq!(doubts.about(&Digest::of(&[1])), Some(Doubt::Absent));
        assert_eq!(doubts.about(&Digest::of(&[2, 0])), Some(Doubt::Wrong));
        assert_eq!(doubts.about(&Digest::of(b"other")), None);
    }
}
