//! The store against a model: whatever is reachable survives, everything else goes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use kiln_oci::{Digest, Reference};
use kiln_store::fsck::fsck;
use kiln_store::gc::{Policy, gc};
use kiln_store::{Lookup, Store, StoreError};
use proptest::prelude::*;

use crate::disks::quick;
use crate::scenario::descriptor;

const CONTENTS: u8 = 6;
const KEYS: u8 = 4;

#[derive(Debug, Clone)]
enum Step {
    Put(u8),
    Name(u8, u8),
    Unname(u8),
    Untagged(u8),
    Record(u8, Vec<u8>),
    RemoveRecord(u8),
    Hold(u8),
    Get(u8),
    Restart,
    Collect,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let content = 0..CONTENTS;
    let key = 0..KEYS;
    let step = prop_oneof![
        3 => content.clone().prop_map(Step::Put),
        2 => (key.clone(), content.clone()).prop_map(|(name, content)| Step::Name(name, content)),
        1 => key.clone().prop_map(Step::Unname),
        1 => content.clone().prop_map(Step::Untagged),
        2 => (key.clone(), prop::collection::vec(content.clone(), 0..3)).prop_map(|(key, names)| Step::Record(key, names)),
        1 => key.clone().prop_map(Step::RemoveRecord),
        1 => content.prop_map(Step::Hold),
        1 => key.prop_map(Step::Get),
        1 => Just(Step::Restart),
        2 => Just(Step::Collect),
    ];
    prop::collection::vec(step, 1..25)
}

#[derive(Debug, Default)]
struct Model {
    blobs: BTreeSet<u8>,
    names: BTreeMap<u8, u8>,
    untagged: BTreeSet<u8>,
    records: BTreeMap<u8, Vec<u8>>,
    held: BTreeSet<u8>,
}

struct Pair {
    root: PathBuf,
    store: Option<Store>,
    model: Model,
}

fn bytes(content: u8) -> Vec<u8> {
    format!("content {content}").into_bytes()
}

fn digest(content: u8) -> Digest {
    Digest::of(&bytes(content))
}

fn reference(name: u8) -> Reference {
    format!("example.org/name:{name}").parse().unwrap()
}

fn key(key: u8) -> Digest {
    Digest::of(&[key])
}

impl Pair {
    fn store(&mut self) -> Store {
        let root = &self.root;
        self.store.get_or_insert_with(|| Store::open_on(root, quick()).unwrap()).clone()
    }

    fn apply(&mut self, step: &Step) {
        let store = self.store();
        let model = &mut self.model;
        match step {
            Step::Put(content) => {
                store.blobs().put_bytes(&bytes(*content)).unwrap();
                model.blobs.insert(*content);
                model.held.insert(*content);
            }
            Step::Name(name, content) => {
                let outcome = store.names().set(&reference(*name), &descriptor(&bytes(*content)));
                model.held.insert(*content);
                if expect_present(outcome, model.blobs.contains(content)) {
                    model.names.insert(*name, *content);
                }
            }
            Step::Unname(name) => {
                let removed = store.names().remove(&reference(*name)).unwrap();
                assert_eq!(removed.map(|found| found.digest), model.names.remove(name).map(digest));
            }
            Step::Untagged(content) => self.add_untagged(&store, *content),
            Step::Record(at, names) => {
                let named: Vec<_> = names.iter().copied().map(digest).collect();
                let outcome = store.records().put("steps", &key(*at), &[*at], &named);
                model.held.extend(names);
                if expect_present(outcome, names.iter().all(|name| model.blobs.contains(name))) {
                    model.records.insert(*at, names.clone());
                }
            }
            Step::RemoveRecord(at) => {
                store.records().remove("steps", &key(*at)).unwrap();
                model.records.remove(at);
            }
            Step::Hold(content) => {
                assert_eq!(store.blobs().hold(&digest(*content)).unwrap(), model.blobs.contains(content));
                model.held.insert(*content);
            }
            Step::Get(at) => {
                let found = store.records().get("steps", &key(*at)).unwrap();
                let names = model.records.get(at);
                assert_eq!(matches!(found, Lookup::Hit(_)), names.is_some());
                model.held.extend(names.into_iter().flatten());
            }
            Step::Restart => {
                self.store = None;
                model.held.clear();
            }
            Step::Collect => self.collect(),
        }
    }

    fn add_untagged(&mut self, store: &Store, content: u8) {
        let model = &mut self.model;
        let is_listed =
            model.untagged.contains(&content) || model.names.values().any(|named| *named == content);
        let outcome = store.names().add_untagged(&descriptor(&bytes(content)));
        if is_listed {
            return outcome.unwrap();
        }
        model.held.insert(content);
        if expect_present(outcome, model.blobs.contains(&content)) {
            model.untagged.insert(content);
        }
    }

    fn collect(&mut self) {
        let other = Store::open_on(&self.root, quick()).unwrap();
        let report = gc(&other, &Policy::default(), &|_, _| Ok(vec![])).unwrap();
        let model = &mut self.model;
        let mut reachable = model.held.clone();
        reachable.extend(model.names.values());
        reachable.extend(&model.untagged);
        reachable.extend(model.records.values().flatten());
        let gone: BTreeSet<u8> = model.blobs.difference(&reachable).copied().collect();
        assert_eq!(
            report.gone_blobs().into_iter().collect::<BTreeSet<_>>(),
            gone.iter().copied().map(digest).collect()
        );
        model.blobs.retain(|content| reachable.contains(content));
    }

    fn compare(&mut self) {
        let store = self.store();
        let listed: BTreeSet<Digest> = store.blobs().list().unwrap().into_iter().collect();
        assert_eq!(listed, self.model.blobs.iter().copied().map(digest).collect());
        for name in 0..KEYS {
            let found = store.names().get(&reference(name)).unwrap();
            let expected = self.model.names.get(&name).map(|content| descriptor(&bytes(*content)));
            assert_eq!(found, expected);
        }
        assert_eq!(store.records().list("steps").unwrap().len(), self.model.records.len());
    }
}

fn expect_present<T>(outcome: Result<T, StoreError>, is_present: bool) -> bool {
    match outcome {
        Ok(_) => assert!(is_present),
        Err(StoreError::BlobMissing { .. }) => assert!(!is_present),
        Err(error) => panic!("{error}"),
    }
    is_present
}

proptest! {
    #[test]
    fn everything_reachable_survives_and_everything_else_goes(steps in steps()) {
        let space = tempfile::tempdir().unwrap();
        let mut pair = Pair { root: space.path().join("store"), store: None, model: Model::default() };
        for step in &steps {
            pair.apply(step);
            pair.compare();
        }
        prop_assert!(fsck(&pair.store()).unwrap().problems.is_empty());
    }
}
