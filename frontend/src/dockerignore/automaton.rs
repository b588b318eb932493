//! Whole paths against whole expressions, in time proportional to path times expression and memory proportional to the
//! expression: all ways to match are followed at once. Only patterns that do not fall into names end up here.

use kiln_glob::first_character;

use super::class::Class;
use super::expression::{Alternative, Assertion, Atom, BadExpression, Part, Times};

/// Most steps that a pattern may take; counts like `a{1000}` are written out.
const STEPS_MAX: usize = 1 << 17;

/// A compiled expression: a small program, followed on all its ways at once.
#[derive(Debug, Clone)]
pub(super) struct Automaton {
    steps: Vec<Step>,
    classes: Vec<Class>,
    /// What every match starts and ends with.
    prefix: Vec<u8>,
    suffix: Vec<u8>,
    /// Where to begin, at the start of the path only or anywhere in it.
    beginnings: Vec<Beginning>,
}

#[derive(Debug, Clone, Copy)]
struct Beginning {
    step: usize,
    is_anchored: bool,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    One(char),
    /// A character of a class, by its number.
    Class(usize),
    Assert(Assertion),
    /// Goes on at the next step, and here.
    Fork(usize),
    Jump(usize),
    Match,
}

impl Automaton {
    /// Compiles an expression.
    pub(super) fn new(alternatives: &[Alternative]) -> Result<Self, BadExpression> {
        let mut this = Self {
            steps: Vec::new(),
            classes: Vec::new(),
            prefix: Vec::new(),
            suffix: Vec::new(),
            beginnings: Vec::new(),
        };
        for parts in alternatives {
            let is_anchored = parts.first().is_some_and(|part| part.asserts(Assertion::Start));
            this.beginnings.push(Beginning { step: this.steps.len(), is_anchored });
            for part in parts {
                this.part(part)?;
            }
            this.steps.push(Step::Match);
        }
        if let [parts] = alternatives {
            (this.prefix, this.suffix) = ends(parts);
        }
        Ok(this)
    }

    fn part(&mut self, part: &Part) -> Result<(), BadExpression> {
        let Times { min, max } = part.times;
        let class = match &part.atom {
            Atom::Class(class) => Some(class.clone()),
            Atom::Directories => Some(Class::not('\n')),
            Atom::One(_) | Atom::Assert(_) => None,
        };
        self.classes.extend(class);
        for _ in 0..min {
            self.atom(&part.atom)?;
        }
        match max {
            None => {
                let fork = self.steps.len();
                self.steps.push(Step::Fork(0));
                self.atom(&part.atom)?;
                self.steps.push(Step::Jump(fork));
                self.steps[fork] = Step::Fork(self.steps.len());
            }
            Some(max) => {
                let mut forks = Vec::new();
                for _ in min..max {
                    forks.push(self.steps.len());
                    self.steps.push(Step::Fork(0));
                    self.atom(&part.atom)?;
                }
                let end = self.steps.len();
                forks.into_iter().for_each(|fork| self.steps[fork] = Step::Fork(end));
            }
        }
        Ok(())
    }

    fn atom(&mut self, atom: &Atom) -> Result<(), BadExpression> {
        let class = Step::Class(self.classes.len().saturating_sub(1));
        match atom {
            Atom::One(character) => self.steps.push(Step::One(*character)),
            Atom::Class(_) => self.steps.push(class),
            Atom::Assert(assertion) => self.steps.push(Step::Assert(*assertion)),
            Atom::Directories => {
                let fork = self.steps.len();
                self.steps.extend([Step::Fork(fork + 3), class, Step::Jump(fork), Step::One('/')]);
            }
        }
        if self.steps.len() > STEPS_MAX { Err(BadExpression) } else { Ok(()) }
    }

    /// Returns what every match starts with.
    pub(super) fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// Returns what every match ends with.
    pub(super) fn suffix(&self) -> &[u8] {
        &self.suffix
    }

    /// Returns how many steps there are.
    pub(super) fn size(&self) -> usize {
        self.steps.len()
    }

    /// Tells whether a path matches.
    pub(super) fn matches(&self, path: &[u8]) -> bool {
        if !path.starts_with(&self.prefix) || !path.ends_with(&self.suffix) {
            return false;
        }
        let mut current = Places::new(self.steps.len());
        let mut next = Places::new(self.steps.len());
        let (mut before, mut rest) = (None, path);
        loop {
            let here = first_character(rest);
            let starts = self.beginnings.iter().filter(|start| before.is_none() || !start.is_anchored);
            starts.for_each(|start| current.add(start.step));
            if self.follow(&mut current, before, here.map(|(character, _)| character)) {
                return true;
            }
            let Some((character, length)) = here else { return false };
            next.clear();
            self.take(&current, &mut next, character);
            if next.list.is_empty() && self.beginnings.iter().all(|start| start.is_anchored) {
                return false;
            }
            std::mem::swap(&mut current, &mut next);
            (before, rest) = (Some(character), &rest[length..]);
        }
    }

    /// Adds what can be reached without taking a character, and tells whether that is a match.
    fn follow(&self, places: &mut Places, before: Option<char>, after: Option<char>) -> bool {
        let mut done = 0;
        while let Some(at) = places.list.get(done).copied() {
            done += 1;
            match self.steps[at] {
                Step::Fork(other) => {
                    places.add(at + 1);
                    places.add(other);
                }
                Step::Jump(to) => places.add(to),
                Step::Assert(assertion) if assertion.holds(before, after) => places.add(at + 1),
                Step::Match => return true,
                Step::Assert(_) | Step::One(_) | Step::Class(_) => {}
            }
        }
        false
    }

    fn take(&self, current: &Places, next: &mut Places, character: char) {
        for at in &current.list {
            let takes = match self.steps[*at] {
                Step::One(one) => one == character,
                Step::Class(class) => self.classes[class].accepts(character),
                _ => false,
            };
            if takes {
                next.add(at + 1);
            }
        }
    }
}

/// Returns what every match of a single way starts and ends with.
fn ends(parts: &[Part]) -> (Vec<u8>, Vec<u8>) {
    let front = parts.split_first().filter(|(first, _)| first.asserts(Assertion::Start));
    let back = parts.split_last().filter(|(last, _)| last.asserts(Assertion::End));
    let prefix: String =
        front.map_or(&[] as &[_], |(_, rest)| rest).iter().map_while(Part::literal).collect();
    let mut suffix: Vec<char> =
        back.map_or(&[] as &[_], |(_, rest)| rest).iter().rev().map_while(Part::literal).collect();
    suffix.reverse();
    (prefix.into_bytes(), suffix.into_iter().collect::<String>().into_bytes())
}

impl Part {
    fn asserts(&self, assertion: Assertion) -> bool {
        self.atom == Atom::Assert(assertion) && self.times.min > 0
    }

    /// Returns the character that a part always is. U+FFFD may also stand for a byte that is not UTF-8.
    fn literal(&self) -> Option<char> {
        match (&self.atom, self.times) {
            (Atom::One(character), Times::ONCE) if *character != char::REPLACEMENT_CHARACTER => {
                Some(*character)
            }
            _ => None,
        }
    }
}

impl Assertion {
    fn holds(self, before: Option<char>, after: Option<char>) -> bool {
        let is_word = |character: Option<char>| {
            character.is_some_and(|character| character.is_ascii_alphanumeric() || character == '_')
        };
        match self {
            Self::Start => before.is_none(),
            Self::End => after.is_none(),
            Self::WordBoundary => is_word(before) != is_word(after),
            Self::NoWordBoundary => is_word(before) == is_word(after),
        }
    }
}

/// A set of places in a program, each named once.
struct Places {
    list: Vec<usize>,
    present: Vec<u64>,
}

impl Places {
    fn new(count: usize) -> Self {
        Self { list: Vec::new(), present: vec![0; count.div_ceil(64)] }
    }

    fn add(&mut self, place: usize) {
        let (word, bit) = (&mut self.present[place / 64], 1 << (place % 64));
        if *word & bit == 0 {
            *word |= bit;
            self.list.push(place);
        }
    }

    fn clear(&mut self) {
        for place in self.list.drain(..) {
            self.present[place / 64] = 0;
        }
    }
}
