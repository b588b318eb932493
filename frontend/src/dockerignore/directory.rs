//! A directory as the patterns see it, on the way down of a walk.

use super::tree::{RuleIndex, Spot};
use super::{Matcher, Rule};

/// A directory on the way down: what has matched so far, and what is still undecided. [`Matcher::top`] is the first one.
#[derive(Debug, Clone)]
pub struct Directory<'a> {
    matcher: &'a Matcher,
    /// Where patterns made of names stand.
    spots: Vec<Spot>,
    /// Which patterns on whole paths may match below, by their position in the list of these.
    whole: Vec<u32>,
    /// The path with a last `/`, where `whole` needs it.
    path: Vec<u8>,
    /// The patterns that matched, in order: all that is in here inherits them.
    matched: Vec<RuleIndex>,
    excluded_by: Option<RuleIndex>,
}

impl<'a> Directory<'a> {
    pub(super) fn top(matcher: &'a Matcher) -> Self {
        Self {
            matcher,
            spots: matcher.tree.top(),
            whole: (0..).take(matcher.whole.len()).collect(),
            path: Vec::new(),
            matched: Vec::new(),
            excluded_by: None,
        }
    }

    /// Tells whether this directory is excluded. Something in it may be taken back all the same: see
    /// [`can_prune`](Self::can_prune).
    pub fn is_excluded(&self) -> bool {
        self.excluded_by.is_some()
    }

    /// Tells whether a name in this directory is excluded; for a directory, [`enter`](Self::enter) tells more.
    pub fn excludes(&self, name: &[u8]) -> bool {
        self.judge(name, |_| {}).is_some()
    }

    /// Returns the pattern that excludes a name in this directory, if it is excluded.
    pub fn excluded_by(&self, name: &[u8]) -> Option<&'a Rule> {
        self.judge(name, |_| {}).and_then(|index| self.matcher.rules.get(index as usize))
    }

    /// Returns a directory in this one.
    #[must_use]
    pub fn enter(&self, name: &[u8]) -> Self {
        let mut matched = Vec::new();
        let excluded_by = self.judge(name, |rule| matched.push(rule));
        let matcher = self.matcher;
        let mut path = Vec::new();
        let mut whole = Vec::new();
        if !self.whole.is_empty() {
            path = [self.path.as_slice(), name, b"/"].concat();
            let is_open = |at: &&u32| matcher.whole[**at as usize].1.can_match_below(&path);
            whole = self.whole.iter().filter(is_open).copied().collect();
        }
        let spots = if self.spots.is_empty() { Vec::new() } else { matcher.tree.enter(&self.spots, name) };
        Self { matcher, spots, whole, path, matched, excluded_by }
    }

    /// Tells whether a walk may leave this directory out: it is excluded, and no exception can match anything below it.
    pub fn can_prune(&self) -> bool {
        if !self.is_excluded() {
            return false;
        }
        // Only what stands behind the last pattern that excludes the directory can take something back.
        let rules = &self.matcher.rules;
        let is_exclusion = |rule: &&RuleIndex| !rules[**rule as usize].is_exception;
        let since = self.matched.iter().rev().find(is_exclusion).copied().unwrap_or_default();
        let mut whole = self.whole.iter().map(|at| self.matcher.whole[*at as usize].0);
        !self.matcher.tree.has_exception_below(&self.spots, since)
            && !whole.any(|rule| rule > since && rules[rule as usize].is_exception)
    }

    /// Applies the patterns to a name; returns the one that excludes it. `seen` gets every pattern that matched, in order.
    fn judge(&self, name: &[u8], mut seen: impl FnMut(RuleIndex)) -> Option<RuleIndex> {
        let own = self.matching(name);
        let mut excluded_by = None;
        let (mut own, mut inherited) = (own.as_slice(), self.matched.as_slice());
        loop {
            let (rule, is_inherited) = match (own, inherited) {
                ([], []) => return excluded_by,
                ([first, rest @ ..], []) => {
                    own = rest;
                    (*first, false)
                }
                ([first, rest @ ..], [other, ..]) if first < other => {
                    own = rest;
                    (*first, false)
                }
                ([first, rest @ ..], [other, others @ ..]) if first == other => {
                    (own, inherited) = (rest, others);
                    (*first, true)
                }
                (_, [first, rest @ ..]) => {
                    inherited = rest;
                    (*first, true)
                }
            };
            let is_exception = self.matcher.rules[rule as usize].is_exception;
            // A pattern that has nothing to decide is not even looked at, and so not inherited.
            if is_inherited || is_exception == excluded_by.is_some() {
                seen(rule);
                excluded_by = if is_exception { None } else { excluded_by.or(Some(rule)) };
            }
        }
    }

    /// Returns the patterns that match a name as it stands, in order.
    fn matching(&self, name: &[u8]) -> Vec<RuleIndex> {
        let mut found = Vec::new();
        if !self.spots.is_empty() {
            self.matcher.tree.matching(&self.spots, name, |rule| found.push(rule));
        }
        let mut path = Vec::new();
        for at in &self.whole {
            let (rule, whole) = &self.matcher.whole[*at as usize];
            if !whole.can_end(name.last()) {
                continue;
            }
            if path.is_empty() {
                path = [self.path.as_slice(), name].concat();
            }
            if whole.matches(&path) {
                found.push(*rule);
            }
        }
        found.sort_unstable();
        found
    }
}
