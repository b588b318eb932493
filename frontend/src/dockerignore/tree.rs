//! All patterns that fall into names, as one tree: a path is walked down it once, whatever the number of patterns.
//!
//! A *spot* is what is left of some patterns behind some names. From a spot a literal name leads on by one look-up, a wild
//! one by its extension, its last or its first byte. A spot that *spans* stays where it is for any name: the `**` of a
//! pattern. A directory is known by the spots it has reached; those without anything behind them are not kept.
//!
//! ```text
//! src/*.o   src/gen   **/.git          top ──src──► ● ──*.o──► ends 1
//!                                       │           └──gen──► ends 2
//!                                       └──**──► ⟳ ──.git──► ends 3
//! ```

use std::collections::HashMap;

use super::name::Name;
use super::pattern::{Span, Step};

/// Number of a spot.
pub(super) type Spot = u32;
/// Number of a pattern.
pub(super) type RuleIndex = u32;

const TOP: Spot = 0;
const NONE: u32 = u32::MAX;

/// The patterns, joined by what they have in common.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    spots: Vec<SpotData>,
    /// The next pattern that ends at the same spot, for each pattern.
    next_end: Vec<RuleIndex>,
    names: HashMap<Box<[u8]>, u32>,
    extensions: HashMap<Box<[u8]>, u32>,
    literal: HashMap<(Spot, u32), Spot>,
    wild: HashMap<(Spot, Key), Vec<(Name, Spot)>>,
}

#[derive(Debug, Clone)]
struct SpotData {
    parent: Spot,
    /// Whether it stays where it is, and for which names.
    spans: Option<Span>,
    /// The spots that are reached without a name, one for each [`Span`].
    without_name: [Spot; 2],
    /// The first pattern that ends here.
    first_end: RuleIndex,
    /// The last exception that ends here or behind, plus one.
    exceptions_end: u32,
    has: Has,
}

/// Which look-ups are worth it.
#[derive(Debug, Clone, Copy, Default)]
struct Has {
    literal: bool,
    extension: bool,
    last: bool,
    first: bool,
    any: bool,
}

/// What wild names are found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Extension(u32),
    Last(u8),
    First(u8),
    Any,
}

impl Default for Tree {
    fn default() -> Self {
        Self {
            spots: vec![SpotData::new(TOP, None)],
            next_end: Vec::new(),
            names: HashMap::new(),
            extensions: HashMap::new(),
            literal: HashMap::new(),
            wild: HashMap::new(),
        }
    }
}

impl SpotData {
    fn new(parent: Spot, spans: Option<Span>) -> Self {
        let without_name = [NONE; 2];
        Self { parent, spans, without_name, first_end: NONE, exceptions_end: 0, has: Has::default() }
    }

    fn leads_on(&self) -> bool {
        let Has { literal, extension, last, first, any } = self.has;
        literal || extension || last || first || any || self.without_name != [NONE; 2]
    }
}

impl Tree {
    /// Joins patterns; a pattern's number is its position. None are those that are compared otherwise.
    pub(super) fn new<'a>(patterns: impl Iterator<Item = (bool, Option<&'a [Step]>)>) -> Self {
        let mut tree = Self::default();
        let mut known = HashMap::new();
        for (index, (is_exception, steps)) in (0..).zip(patterns) {
            tree.next_end.push(NONE);
            let Some(steps) = steps else { continue };
            let end = steps.iter().fold(TOP, |spot, step| tree.grow(spot, step, &mut known));
            let spot = &mut tree.spots[end as usize];
            tree.next_end[index as usize] = std::mem::replace(&mut spot.first_end, index);
            if is_exception {
                spot.exceptions_end = index + 1;
            }
        }
        for at in (1..tree.spots.len()).rev() {
            let SpotData { parent, exceptions_end, .. } = tree.spots[at];
            let above = &mut tree.spots[parent as usize].exceptions_end;
            *above = exceptions_end.max(*above);
        }
        tree
    }

    /// Returns the spot behind a step, a new one if need be.
    fn grow(&mut self, from: Spot, step: &Step, known: &mut HashMap<(Spot, Name), Spot>) -> Spot {
        match step {
            Step::Directories(span) => {
                let slot = usize::from(*span == Span::Lines);
                if self.spots[from as usize].without_name[slot] == NONE {
                    self.spots[from as usize].without_name[slot] = self.add(from, Some(*span));
                }
                self.spots[from as usize].without_name[slot]
            }
            Step::Name(Name::Exact(name)) => {
                let fresh = number(self.names.len());
                let name = *self.names.entry(name.as_slice().into()).or_insert(fresh);
                self.spots[from as usize].has.literal = true;
                if let Some(spot) = self.literal.get(&(from, name)) {
                    return *spot;
                }
                let spot = self.add(from, None);
                self.literal.insert((from, name), spot);
                spot
            }
            Step::Name(name) => {
                if let Some(spot) = known.get(&(from, name.clone())) {
                    return *spot;
                }
                let spot = self.add(from, None);
                known.insert((from, name.clone()), spot);
                let key = self.key(from, name);
                self.wild.entry((from, key)).or_default().push((name.clone(), spot));
                spot
            }
        }
    }

    fn add(&mut self, parent: Spot, spans: Option<Span>) -> Spot {
        self.spots.push(SpotData::new(parent, spans));
        number(self.spots.len() - 1)
    }

    /// Returns what a wild name will be found by, the rarest thing it says about itself.
    fn key(&mut self, from: Spot, name: &Name) -> Key {
        let has = &mut self.spots[from as usize].has;
        let Name::Wild(wild) = name else {
            has.any = true;
            return Key::Any;
        };
        if let Some(extension) = extension(&wild.suffix) {
            has.extension = true;
            let fresh = number(self.extensions.len());
            return Key::Extension(*self.extensions.entry(extension.into()).or_insert(fresh));
        }
        match (wild.suffix.last(), wild.prefix.first()) {
            (Some(last), _) => {
                has.last = true;
                Key::Last(*last)
            }
            (None, Some(first)) => {
                has.first = true;
                Key::First(*first)
            }
            (None, None) => {
                has.any = true;
                Key::Any
            }
        }
    }

    /// Returns the spots of the walk's root.
    pub(super) fn top(&self) -> Vec<Spot> {
        let mut spots = Vec::new();
        self.reach(TOP, &mut spots);
        spots
    }

    /// Returns the spots of a directory, given those of the directory it is in.
    pub(super) fn enter(&self, spots: &[Spot], name: &[u8]) -> Vec<Spot> {
        let mut reached = Vec::new();
        self.look(spots, name, |spot| self.reach(spot, &mut reached));
        let is_line = !name.contains(&b'\n');
        let stays = |spot: &&Spot| match self.spots[**spot as usize].spans {
            Some(Span::Any) => true,
            Some(Span::Lines) => is_line,
            None => false,
        };
        reached.extend(spots.iter().filter(stays));
        reached.sort_unstable();
        reached.dedup();
        reached
    }

    /// Calls with every pattern that matches a name, given the spots of the directory it is in. Each once, in no order.
    pub(super) fn matching(&self, spots: &[Spot], name: &[u8], mut found: impl FnMut(RuleIndex)) {
        self.look(spots, name, |spot| {
            let mut rule = self.spots[spot as usize].first_end;
            while rule != NONE {
                found(rule);
                rule = self.next_end[rule as usize];
            }
        });
    }

    /// Tells whether a pattern with an exclamation mark, this one or a later one, may match below a directory.
    pub(super) fn has_exception_below(&self, spots: &[Spot], since: RuleIndex) -> bool {
        spots.iter().any(|spot| self.spots[*spot as usize].exceptions_end > since)
    }

    fn reach(&self, spot: Spot, reached: &mut Vec<Spot>) {
        let data = &self.spots[spot as usize];
        if data.leads_on() {
            reached.push(spot);
        }
        reached.extend(data.without_name.iter().filter(|spot| **spot != NONE));
    }

    /// Calls with every spot that a name leads to.
    fn look(&self, spots: &[Spot], name: &[u8], mut found: impl FnMut(Spot)) {
        let literal = self.names.get(name).copied();
        let extension = extension(name).and_then(|extension| self.extensions.get(extension)).copied();
        for from in spots {
            let has = self.spots[*from as usize].has;
            if let (true, Some(name)) = (has.literal, literal) {
                self.literal.get(&(*from, name)).into_iter().for_each(|spot| found(*spot));
            }
            let keys = [
                extension.filter(|_| has.extension).map(Key::Extension),
                name.last().filter(|_| has.last).map(|byte| Key::Last(*byte)),
                name.first().filter(|_| has.first).map(|byte| Key::First(*byte)),
                has.any.then_some(Key::Any),
            ];
            for key in keys.into_iter().flatten() {
                let edges = self.wild.get(&(*from, key)).map_or(&[] as &[_], Vec::as_slice);
                edges.iter().filter(|(wild, _)| wild.matches(name)).for_each(|(_, spot)| found(*spot));
            }
        }
    }
}

/// Returns what stands from the last dot on.
fn extension(name: &[u8]) -> Option<&[u8]> {
    name.iter().rposition(|byte| *byte == b'.').map(|at| &name[at..])
}

fn number(count: usize) -> u32 {
    u32::try_from(count).expect("there are fewer names than bytes, and those are limited")
}
