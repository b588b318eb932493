//! Why steps are not in the cache: each is compared with the nearest of its earlier versions.
//!
//! The nearest has the fewest inputs that differ; among equals it is what the nearest version of the step that needs this one was
//! made from, then the newest. So all steps of a build are compared with one and the same earlier build, as far as there is one.
//! What is named is the leaf: a step whose input was made anew, and came out otherwise, names the step where that began.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kiln_oci::{Digest, Hasher};
use kiln_store::StoreError;

use super::keys::Keys;
use super::lists::{Lists, selection_of};
use crate::cache::LocalCache;
use crate::explain::{
    Change, Difference, InputNote, Newest, Portrait, Reason, Slots, Version, difference, place,
};
use crate::plan::key::{Inputs, KeySink, step_key};
use crate::plan::{Caching, KeyKind, Plan, StepId, StepKey};
use crate::rootfs::Rootfs;
use crate::transform::{Bench, Reuse};

/// So many versions are compared file by file.
const LISTED_MAX: usize = 3;

/// Compares the steps of one build with earlier ones.
pub(super) struct Explainer {
    bench: Arc<Bench>,
    plan: Arc<Plan>,
    keys: Arc<Keys>,
    lists: Lists,
    past: Mutex<Past>,
}

/// What was found of earlier builds.
#[derive(Default)]
struct Past {
    nearest: HashMap<StepId, Arc<Earlier>>,
    /// The key that a step had when what needs it was made.
    expected: HashMap<StepId, StepKey>,
    /// What steps of this build came to.
    chains: HashMap<StepId, Digest>,
}

/// Why a step is done, while that is being found out.
struct Causes<'a> {
    missed: &'a BTreeMap<StepId, Reason>,
    changes: Vec<Change>,
    /// The first of the inputs that were done anew.
    rebuilt: Option<StepId>,
    /// The inputs that were looked at.
    seen: BTreeSet<StepId>,
}

impl<'a> Causes<'a> {
    fn of(missed: &'a BTreeMap<StepId, Reason>) -> Self {
        Self { missed, changes: Vec::new(), rebuilt: None, seen: BTreeSet::new() }
    }

    /// Adds changes, once each; those of another step say where that stands.
    fn add(&mut self, changes: Vec<Change>, place: Option<String>) {
        for mut change in changes {
            if let Some(place) = &place {
                change.what = format!("{place}: {}", change.what);
            }
            if !self.changes.contains(&change) {
                self.changes.push(change);
            }
        }
    }
}

/// The nearest version of a step.
struct Earlier {
    key: StepKey,
    portrait: Portrait,
    took: Option<Duration>,
}

impl Explainer {
    pub(super) fn new(bench: &Arc<Bench>, plan: &Arc<Plan>, keys: &Arc<Keys>) -> Self {
        let lists = Lists::new(bench, plan, keys);
        let (bench, plan, keys) = (Arc::clone(bench), Arc::clone(plan), Arc::clone(keys));
        Self { bench, plan, keys, lists, past: Mutex::default() }
    }

    /// Finds the nearest version of a step that missed. To be called for what needs a step before it is for that.
    pub(super) fn look_back(&self, step: StepId) {
        let Some(now) = self.portrait(step) else { return };
        let store = &self.bench.workshop.store;
        let expected = self.past().expected.get(&step).copied();
        let versions = self.slots(step).versions(store);
        let took = |key: StepKey| versions.iter().find(|version| version.key() == key).map(Version::took);
        let mut keys: Vec<StepKey> = expected.into_iter().collect();
        // The very same step is nearest of all.
        keys.extend(self.keys.key(step));
        keys.extend(versions.iter().map(Version::key));
        let mut nearest: Option<(usize, Earlier)> = None;
        for (number, key) in keys.into_iter().enumerate() {
            let Some(portrait) = Portrait::of(store, key) else { continue };
            let distance = self.distance(step, &portrait, &now, number < LISTED_MAX);
            if nearest.as_ref().is_none_or(|(least, _)| distance < *least) {
                nearest = Some((distance, Earlier { key, portrait, took: took(key) }));
            }
            if distance == 0 || (distance == 1 && number > 0) || (expected == Some(key) && distance == 1) {
                break;
            }
        }
        let Some((_, earlier)) = nearest else { return };
        let mut past = self.past();
        for (input, note) in self.plan.step(step).op.inputs().into_iter().zip(&earlier.portrait.inputs) {
            if let InputNote::Step { key } = note {
                past.expected.entry(input).or_insert(StepKey(*key));
            }
        }
        past.nearest.insert(step, Arc::new(earlier));
    }

    /// Returns how long a step took when it ran last.
    pub(super) fn took(&self, step: StepId) -> Option<Duration> {
        self.past().nearest.get(&step).and_then(|earlier| earlier.took)
    }

    /// Returns why a step that missed is done, or `None` where nothing differs. `missed` says why other steps are done.
    pub(super) fn reason(&self, step: StepId, missed: &BTreeMap<StepId, Reason>) -> Option<Reason> {
        let caching = self.plan.step(step).caching;
        if !Reuse::of(&self.bench.no_cache, self.plan.step(step)).is_allowed {
            let by = match caching {
                Caching::Never => "`# kiln: cache=off`".to_owned(),
                Caching::Always | Caching::Within(_) => self.bench.no_cache.to_string(),
            };
            return Some(Reason::Asked { by });
        }
        let inputs = self.plan.step(step).op.inputs();
        let earlier = self.past().nearest.get(&step).cloned();
        let (Some(earlier), Some(now)) = (earlier, self.portrait(step)) else { return Some(Reason::New) };
        if self.keys.key(step) == Some(earlier.key) {
            let is_there = LocalCache::new(&self.bench.workshop).definition(earlier.key).is_some();
            let nearest = |input: &StepId| self.nearest_missed(*input, missed);
            return match inputs.iter().find_map(nearest).filter(|_| is_there) {
                Some(input) => Some(self.rebuilt(input, missed)),
                None if is_there && matches!(caching, Caching::Within(_)) => {
                    Some(Reason::Asked { by: "`# kiln: cache=ttl`: the result is older".to_owned() })
                }
                None if is_there => None,
                None => Some(self.gone(earlier.key)),
            };
        }
        let mut causes = Causes::of(missed);
        self.trace(step, &earlier.portrait, &now, &mut causes);
        let Causes { changes, rebuilt, .. } = causes;
        match changes.is_empty() {
            false => Some(Reason::Changed { changes }),
            true => rebuilt.map(|input| self.rebuilt(input, missed)),
        }
    }

    /// Says what a step came to.
    pub(super) fn came_out(&self, step: StepId, rootfs: &Rootfs) {
        self.past().chains.insert(step, rootfs.chain());
    }

    /// Finds what differs between two portraits of a step: what is its own, what it reads, and what that was made from, down to
    /// steps that were done anew.
    fn trace(&self, step: StepId, before: &Portrait, now: &Portrait, causes: &mut Causes<'_>) {
        let Difference { changes, inputs } = difference(before, now);
        causes.add(changes, (!causes.seen.is_empty()).then(|| place(&self.plan.step(step).origin)));
        for (was, is, what) in inputs {
            let (Some(was), Some(is_now)) = (before.inputs.get(was), now.inputs.get(is)) else { continue };
            let input = self.plan.step(step).op.inputs().get(is).copied();
            match (was, is_now, input) {
                (InputNote::Step { key }, InputNote::Step { .. }, Some(input)) => {
                    self.trace_input(input, StepKey(*key), causes);
                }
                (_, InputNote::Step { .. }, Some(input)) if causes.missed.contains_key(&input) => {
                    causes.rebuilt.get_or_insert(input);
                }
                _ => causes.add(self.leaves(step, &what, was, is_now), None),
            }
        }
    }

    fn trace_input(&self, input: StepId, key: StepKey, causes: &mut Causes<'_>) {
        let chain = self.past().chains.get(&input).copied();
        if self.is_same(key, chain) || !causes.seen.insert(input) {
            return;
        }
        if causes.missed.contains_key(&input) {
            causes.rebuilt.get_or_insert(input);
            return;
        }
        match (Portrait::of(&self.bench.workshop.store, key), self.portrait(input)) {
            (Some(before), Some(now)) => self.trace(input, &before, &now, causes),
            _ => {
                let what = place(&self.plan.step(input).origin);
                causes.add(vec![Change { what, before: None, after: None }], None);
            }
        }
    }

    pub(super) fn missed(&self) -> BTreeMap<StepId, Reason> {
        self.bench.missed()
    }

    /// Remembers a step that is done, with the files that it selected; returns its portrait.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub(super) fn remember(
        &self,
        step: StepId,
        key: StepKey,
        took: Duration,
    ) -> Result<Portrait, StoreError> {
        let mut portrait = self.portrait(step).expect("a step with a key has what it is made of");
        let store = &self.bench.workshop.store;
        let selected: Vec<Digest> = portrait.inputs.iter().filter_map(selection_of).collect();
        let slots = self.slots(step);
        // What the step was compared with is likely to be what the next build starts from, so that is kept, too.
        let compared = self.past().nearest.get(&step).map(|earlier| earlier.key);
        let lists = slots.list_places(store, &selected, compared);
        for place in &lists {
            if !place.is_kept
                && let Some(list) = self.lists.of(step, place.selection())
            {
                list.keep(store, &place.key)?;
            }
        }
        for note in &mut portrait.inputs {
            if let InputNote::Files { selection, list } = note {
                *list = lists.iter().find(|place| place.selection() == *selection).map(|place| place.key);
            }
        }
        slots.remember(store, &Newest { key, took, lists: &lists, compared })?;
        Ok(portrait)
    }

    /// Says that a build has used a step again.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub(super) fn renew(&self, step: StepId) -> Result<(), StoreError> {
        match self.keys.lookup(step) {
            Some(key) => self.slots(step).renew(&self.bench.workshop.store, key),
            None => Ok(()),
        }
    }

    /// How many inputs differ.
    fn distance(&self, step: StepId, before: &Portrait, now: &Portrait, counts_files: bool) -> usize {
        let Difference { changes, inputs } = difference(before, now);
        let count =
            |(was, is, _): &(usize, usize, String)| match (before.inputs.get(*was), now.inputs.get(*is)) {
                (Some(before), Some(after)) if counts_files => {
                    self.lists.changes(step, before, after).map_or(1, |changes| changes.len())
                }
                _ => 1,
            };
        changes.len() + inputs.iter().map(count).sum::<usize>()
    }

    /// Says what is another in something that is no step.
    fn leaves(&self, step: StepId, what: &str, before: &InputNote, after: &InputNote) -> Vec<Change> {
        let change = |what: String, before: &str, after: &str| {
            vec![Change { what, before: Some(before.to_owned()), after: Some(after.to_owned()) }]
        };
        match (before, after) {
            (InputNote::Image { name, manifest }, InputNote::Image { name: new_name, manifest: new }) => {
                match name == new_name {
                    true => change(format!("base image {name}"), &short(manifest), &short(new)),
                    false => change("base image".to_owned(), name, new_name),
                }
            }
            (InputNote::Web { url, digest }, InputNote::Web { url: new_url, digest: new }) => {
                match url == new_url {
                    true => change(format!("{url} content"), &short(digest), &short(new)),
                    false => change("address".to_owned(), url, new_url),
                }
            }
            (InputNote::Git { name, commit }, InputNote::Git { name: new_name, commit: new }) => {
                match name == new_name && commit != new {
                    true => change(format!("{name} commit"), commit, new),
                    false => change("git repository".to_owned(), name, new_name),
                }
            }
            (InputNote::Files { .. }, InputNote::Files { .. }) => {
                let named = self.lists.changes(step, before, after).filter(|changes| !changes.is_empty());
                let unknown = || vec![Change { what: format!("files of {what}"), before: None, after: None }];
                named.map_or_else(unknown, |changes| changes.to_vec())
            }
            _ => vec![Change { what: what.to_owned(), before: None, after: None }],
        }
    }

    /// Whether a step came out as the version with a key did.
    fn is_same(&self, key: StepKey, chain: Option<Digest>) -> bool {
        let before = LocalCache::new(&self.bench.workshop).definition(key).map(|rootfs| rootfs.chain());
        before.is_some() && before == chain
    }

    /// Returns the step nearest below that was done anew: `step` itself, or what a step was made from whose layer was known.
    fn nearest_missed(&self, step: StepId, missed: &BTreeMap<StepId, Reason>) -> Option<StepId> {
        let mut level = vec![step];
        let mut seen = BTreeSet::new();
        while !level.is_empty() {
            if let Some(found) = level.iter().find(|step| missed.contains_key(step)) {
                return Some(*found);
            }
            level = level.iter().flat_map(|step| self.plan.step(*step).op.inputs()).collect();
            level.retain(|step| seen.insert(*step));
        }
        None
    }

    /// Names the step where it began that an input was made anew.
    fn rebuilt(&self, input: StepId, missed: &BTreeMap<StepId, Reason>) -> Reason {
        match missed.get(&input) {
            Some(Reason::InputRebuilt { step }) => Reason::InputRebuilt { step: step.clone() },
            _ => Reason::InputRebuilt { step: place(&self.plan.step(input).origin) },
        }
    }

    fn gone(&self, key: StepKey) -> Reason {
        let what = match LocalCache::new(&self.bench.workshop).missing_layer(key) {
            Some(layer) => format!("layer {layer} is not in the store any more, or damaged"),
            None => "there is no record of it any more".to_owned(),
        };
        Reason::ResultGone { what }
    }

    fn portrait(&self, step: StepId) -> Option<Portrait> {
        self.keys.portrait(&self.bench, &self.plan, step)
    }

    fn slots(&self, step: StepId) -> Slots {
        let (op, origin) = (&self.plan.step(step).op, &self.plan.step(step).origin);
        let mut place = Hasher::new();
        place.field("project", self.bench.project.as_bytes());
        place.field("stage", origin.stage.as_bytes());
        place.field("position", &origin.position.to_le_bytes());
        place.field("kind", op.noun().as_bytes());
        let lineage = step_key(KeyKind::Definition, &self.bench.key_base, op, &Inputs::default());
        Slots { place: place.finish(), lineage: lineage.0 }
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        // Only whole entries come, so a panic elsewhere harmed nothing.
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The beginning of a digest, as it is written.
fn short(digest: &Digest) -> String {
    format!("sha256:{}…", &digest.hex()[..12])
}
