//! Decides what goes: pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use kiln_oci::Digest;

use super::census::{Census, Found};
use super::item::{Fate, Item, Kind, Verdict};
use super::{Policy, Report};
use crate::leases::Pin;
use crate::noted::Left;
use crate::records::TOUCH_INTERVAL;

/// The clocks of machines that share a disk differ by less.
const CLOCKS_DIFFER_MAX: Duration = Duration::from_secs(3600);

/// Returns a verdict for each thing: first those of `census.found`, in their order, then the blobs, sorted.
pub(super) fn condemn(census: &Census, policy: &Policy, now: SystemTime) -> Report {
    let mut court = Court::new(census);
    let mut candidates = Vec::new();
    for (place, found) in census.found.iter().enumerate() {
        match court.first_look(found, policy, now) {
            Some(fate) => _ = court.decide(place, fate),
            None => candidates.push(place),
        }
    }
    candidates.sort_by_key(|place| (order(census.found[*place].last_used, now), *place));
    let mut left = court.left(&candidates);
    for place in candidates {
        if policy.keep_bytes.is_some_and(|keep| left <= keep) {
            court.decide(place, Fate::Fits);
            continue;
        }
        let freed = court.decide(place, Fate::Unused);
        left = left.saturating_sub(freed);
    }
    let left = Left {
        now_bytes: court.left(&court.places_of(&[Fate::Fits])),
        some_day_bytes: court.left(&court.places_of(&[Fate::Fits, Fate::Recent])),
    };
    Report { verdicts: court.verdicts(), kept: Vec::new(), left }
}

/// Returns what decides which of two things goes first. Of a time in the future only one thing is known: the clock was wrong then,
/// or is now. Such things go before those whose time may be right, or else they would outlive all that is used from now on.
fn order(last_used: SystemTime, now: SystemTime) -> (bool, SystemTime) {
    (!is_future(last_used, now), last_used)
}

fn is_future(last_used: SystemTime, now: SystemTime) -> bool {
    last_used.duration_since(now).is_ok_and(|ahead| ahead > CLOCKS_DIFFER_MAX)
}

struct Court<'a> {
    census: &'a Census,
    fates: Vec<Option<Fate>>,
    /// For each blob, how many things that may stay name it.
    users: BTreeMap<Digest, usize>,
    /// The blobs that images without a name need.
    of_nameless: BTreeSet<Digest>,
}

impl<'a> Court<'a> {
    fn new(census: &'a Census) -> Self {
        let mut users: BTreeMap<Digest, usize> = BTreeMap::new();
        for name in census.found.iter().flat_map(|found| unique(&found.names)) {
            *users.entry(name).or_default() += 1;
        }
        let is_image = |found: &&Found| matches!(found.item, Item::Image(_));
        let of_nameless =
            census.found.iter().filter(is_image).flat_map(|found| found.names.iter().copied()).collect();
        Self { census, fates: vec![None; census.found.len()], users, of_nameless }
    }

    /// Decides what needs no comparison with others.
    fn first_look(&self, found: &Found, policy: &Policy, now: SystemTime) -> Option<Fate> {
        let kind = found.item.kind();
        let is_record = kind == Kind::Record;
        let dangles = || found.names.iter().any(|name| !self.census.blobs.contains_key(name));
        if is_record && (found.is_damaged || dangles()) {
            return Some(Fate::Useless);
        }
        let is_held = |item: &Item| match item {
            Item::Record { key, .. } => self.census.pins.contains(&Pin::Blob(*key)),
            _ => false,
        };
        if found.is_in_use || is_held(&found.item) {
            return Some(Fate::InUse);
        }
        if let Some(name) = self.told_of_by_key(&found.item) {
            return Some(Fate::Image(name));
        }
        if kind == Kind::Scratch {
            return Some(Fate::Unneeded);
        }
        if !policy.kinds.contains(&kind) {
            return Some(Fate::NotAsked);
        }
        let age_min = match kind {
            Kind::Image => policy.unused_for_min.max(policy.image_age_min),
            _ => policy.unused_for_min,
        };
        // Uses are noted to within this.
        let is_before = |since: SystemTime| {
            since.duration_since(found.last_used).is_ok_and(|earlier| earlier > TOUCH_INTERVAL)
        };
        let is_since = |since| !is_before(since) && !is_future(found.last_used, now);
        let is_recent = is_younger(now, found.last_used, age_min) || policy.used_since.is_some_and(is_since);
        is_recent.then_some(Fate::Recent)
    }

    /// Returns the places of things that have one of these fates.
    fn places_of(&self, fates: &[Fate]) -> Vec<usize> {
        let has_one = |place: &usize| self.fates[*place].as_ref().is_some_and(|fate| fates.contains(fate));
        (0..self.fates.len()).filter(has_one).collect()
    }

    /// Returns the image that needs the blob which a record is about: it may say where a blob is that is not here.
    fn told_of_by_key(&self, item: &Item) -> Option<Option<String>> {
        let Item::Record { key, .. } = item else { return None };
        self.census.named.get(key).cloned().or_else(|| self.of_nameless.contains(key).then_some(None))
    }

    /// Decides on a thing, and returns how many bytes are free by that.
    fn decide(&mut self, place: usize, fate: Fate) -> u64 {
        let found = &self.census.found[place];
        let goes = fate.goes();
        self.fates[place] = Some(fate);
        if !goes {
            return 0;
        }
        let mut freed = found.bytes.allocated;
        for name in unique(&found.names) {
            let users = self.users.entry(name).or_default();
            *users = users.saturating_sub(1);
            if self.fate_of_blob(&name).goes() {
                freed += self.census.blobs.get(&name).map_or(0, |bytes| bytes.allocated);
            }
        }
        freed
    }

    /// Returns what is left of what may go: the things themselves, and the blobs that only they keep.
    fn left(&self, candidates: &[usize]) -> u64 {
        let mut of_candidates: BTreeMap<Digest, usize> = BTreeMap::new();
        let mut left = 0;
        for found in candidates.iter().map(|place| &self.census.found[*place]) {
            left += found.bytes.allocated;
            for name in unique(&found.names) {
                *of_candidates.entry(name).or_default() += 1;
            }
        }
        let is_only_theirs = |(name, count): &(&Digest, &usize)| {
            self.users.get(*name) == Some(*count) && !self.is_rooted(name)
        };
        let blobs = of_candidates.iter().filter(is_only_theirs);
        left + blobs.filter_map(|(name, _)| Some(self.census.blobs.get(name)?.allocated)).sum::<u64>()
    }

    fn is_rooted(&self, digest: &Digest) -> bool {
        self.census.pins.contains(&Pin::Blob(*digest)) || self.census.named.contains_key(digest)
    }

    fn fate_of_blob(&self, digest: &Digest) -> Fate {
        if let Some(name) = self.census.named.get(digest) {
            return Fate::Image(name.clone());
        }
        if self.census.pins.contains(&Pin::Blob(*digest)) {
            return Fate::InUse;
        }
        match self.users.get(digest) {
            None | Some(0) => Fate::Unneeded,
            Some(_) => Fate::Recorded,
        }
    }

    fn verdicts(self) -> Vec<Verdict> {
        let unnamed = self.kept_by_images_without_name();
        let found = self.census.found.iter().zip(&self.fates).map(|(found, fate)| Verdict {
            item: found.item.clone(),
            bytes: found.bytes,
            last_used: Some(found.last_used),
            fate: fate.clone().expect("everything was decided"),
        });
        let blob = |(digest, bytes): (&Digest, &_)| {
            let fate = match self.fate_of_blob(digest) {
                Fate::Recorded if unnamed.contains(digest) => Fate::Image(None),
                fate => fate,
            };
            Verdict { item: Item::Blob(*digest), bytes: *bytes, last_used: None, fate }
        };
        found.chain(self.census.blobs.iter().map(blob)).collect()
    }

    fn kept_by_images_without_name(&self) -> BTreeSet<Digest> {
        let stays = |(found, fate): &(&Found, &Option<Fate>)| {
            matches!(found.item, Item::Image(_)) && !fate.as_ref().is_some_and(Fate::goes)
        };
        let kept = self.census.found.iter().zip(&self.fates).filter(stays);
        kept.flat_map(|(found, _)| found.names.iter().copied()).collect()
    }
}

fn unique(names: &[Digest]) -> BTreeSet<Digest> {
    names.iter().copied().collect()
}

fn is_younger(now: SystemTime, last_used: SystemTime, age: Duration) -> bool {
    // A time in the future counts as used now: a filter by age takes nothing of which the age is not known.
    now.duration_since(last_used).unwrap_or_default() < age
}
