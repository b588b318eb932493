//! Earlier versions of a step, found by where it stands in its project, and by what it does.

use std::time::Duration;

use kiln_oci::Digest;
use kiln_store::{Lookup, Store, StoreError};
use serde::{Deserialize, Serialize};

use crate::plan::StepKey;

const SLOT: &str = "slot";
/// Version of the records' form; another one counts as none.
const FORMAT: u32 = 1;
/// So many versions are remembered in each slot.
pub const VERSIONS_MAX: usize = 8;

/// A version of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    key: Digest,
    /// Milliseconds that it took.
    took: u64,
    /// What it selected of contexts, and the number of the list.
    lists: Vec<(Digest, u8)>,
}

impl Version {
    /// Returns its definition key.
    pub fn key(&self) -> StepKey {
        StepKey(self.key)
    }

    /// Returns how long the step took.
    pub fn took(&self) -> Duration {
        Duration::from_millis(self.took)
    }
}

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    /// Newest first.
    versions: Vec<Version>,
}

/// The slots of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slots {
    /// By where it stands in its project.
    pub place: Digest,
    /// By what it does.
    pub lineage: Digest,
}

/// A list of files that is still to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListPlace {
    /// Under which key.
    pub key: Digest,
    /// Whether it is there already.
    pub is_kept: bool,
    number: u8,
    selection: Digest,
}

/// The newest version of a step.
#[derive(Debug, Clone, Copy)]
pub struct Newest<'a> {
    /// Its definition key.
    pub key: StepKey,
    /// How long the step took.
    pub took: Duration,
    /// The lists of what it selected.
    pub lists: &'a [ListPlace],
    /// The version that it was compared with, which is the second newest from now on.
    pub compared: Option<StepKey>,
}

impl ListPlace {
    /// Returns the digest of what is selected.
    pub fn selection(&self) -> Digest {
        self.selection
    }
}

impl Slots {
    /// Returns the versions of a step, those of its place first, the newest of each first.
    pub fn versions(&self, store: &Store) -> Vec<Version> {
        let mut versions = load(store, &self.place);
        for version in load(store, &self.lineage) {
            if versions.iter().all(|known| known.key != version.key) {
                versions.push(version);
            }
        }
        versions
    }

    /// Returns where the list of each selection goes: where it is, or where one lies that no version needs any more.
    /// What the version `compared` needs stays.
    pub fn list_places(
        &self,
        store: &Store,
        selections: &[Digest],
        compared: Option<StepKey>,
    ) -> Vec<ListPlace> {
        let versions = with_first(load(store, &self.place), compared);
        let stay = versions.into_iter().take(VERSIONS_MAX - 1);
        let mut known: Vec<(Digest, u8)> = stay.flat_map(|version| version.lists).collect();
        let mut places = Vec::new();
        for selection in selections {
            let number = known.iter().find(|(kept, _)| kept == selection).map(|(_, number)| *number);
            let is_kept = number.is_some();
            let is_free = |number: &u8| known.iter().all(|(_, taken)| taken != number);
            let Some(number) = number.or_else(|| (0..=u8::MAX).find(is_free)) else { continue };
            known.push((*selection, number));
            let key = Digest::of(&[&self.place.as_bytes()[..], &[number]].concat());
            places.push(ListPlace { key, is_kept, number, selection: *selection });
        }
        places
    }

    /// Remembers the newest version.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn remember(&self, store: &Store, newest: &Newest<'_>) -> Result<(), StoreError> {
        let lists = newest.lists.iter().map(|place| (place.selection, place.number)).collect();
        let took = u64::try_from(newest.took.as_millis()).unwrap_or(u64::MAX);
        let version = Version { key: newest.key.0, took, lists };
        for slot in [&self.place, &self.lineage] {
            put_first(store, slot, version.clone(), newest.compared)?;
        }
        Ok(())
    }

    /// Says that a build has used a version again, so that it is the newest. Nothing is written where it is.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn renew(&self, store: &Store, key: StepKey) -> Result<(), StoreError> {
        let versions = self.versions(store);
        match versions.iter().position(|version| version.key == key.0) {
            None | Some(0) => Ok(()),
            Some(place) => put_first(store, &self.place, versions[place].clone(), None),
        }
    }
}

/// Puts the version with a key first, if it is there.
fn with_first(mut versions: Vec<Version>, key: Option<StepKey>) -> Vec<Version> {
    if let Some(place) = key.and_then(|key| versions.iter().position(|version| version.key == key.0)) {
        versions[..=place].rotate_right(1);
    }
    versions
}

fn put_first(
    store: &Store,
    slot: &Digest,
    newest: Version,
    second: Option<StepKey>,
) -> Result<(), StoreError> {
    let mut versions = with_first(load(store, slot), second);
    versions.retain(|version| version.key != newest.key);
    versions.insert(0, newest);
    versions.truncate(VERSIONS_MAX);
    let stored = Stored { format: FORMAT, versions };
    let payload = postcard::to_stdvec(&stored).expect("records serialize to memory");
    store.records().put(SLOT, slot, &payload, &[])
}

fn load(store: &Store, slot: &Digest) -> Vec<Version> {
    // What cannot be read is not remembered.
    let record = store.records().get(SLOT, slot).ok().and_then(Lookup::hit);
    let stored = record.and_then(|record| postcard::from_bytes::<Stored>(&record.payload).ok());
    stored.filter(|stored| stored.format == FORMAT).map(|stored| stored.versions).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_versions_are_remembered_and_their_lists_lie_where_no_other_needs_one() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let slots = Slots { place: Digest::of(b"place"), lineage: Digest::of(b"lineage") };
        let digest = |number: u8| Digest::of(&[number]);
        for number in 0..20 {
            // Two versions each select the same.
            let places = slots.list_places(&store, &[digest(number / 2)], None);
            assert_eq!(places[0].is_kept, number % 2 == 1, "{number}");
            let (key, took) = (StepKey(digest(number)), Duration::from_secs(1));
            slots.remember(&store, &Newest { key, took, lists: &places, compared: None }).unwrap();
        }
        let versions = slots.versions(&store);
        let keys: Vec<Digest> = versions.iter().map(|version| version.key).collect();
        assert_eq!(keys, (12..20).rev().map(digest).collect::<Vec<_>>());
        let numbers: std::collections::BTreeSet<u8> =
            versions.iter().flat_map(|version| &version.lists).map(|(_, number)| *number).collect();
        assert_eq!(numbers.len(), 4);
        assert!(numbers.iter().all(|number| usize::from(*number) < VERSIONS_MAX));
        let (compared, took) = (Some(StepKey(digest(14))), Duration::ZERO);
        for number in 20..40 {
            let places = slots.list_places(&store, &[digest(number)], compared);
            slots
                .remember(&store, &Newest { key: StepKey(digest(number)), took, lists: &places, compared })
                .unwrap();
        }
        assert_eq!(
            slots.versions(&store)[1].key(),
            StepKey(digest(14)),
            "what others are compared with stays"
        );
        slots.renew(&store, StepKey(digest(14))).unwrap();
        assert_eq!(slots.versions(&store)[0].key(), StepKey(digest(14)));
    }
}
