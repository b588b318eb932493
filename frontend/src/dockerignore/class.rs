//! Sets of characters, as classes of Go's `regexp` write them.

/// Ranges of characters, both ends included.
type Ranges = &'static [(char, char)];

/// A set of characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Class {
    pub(super) is_negated: bool,
    pub(super) ranges: Vec<(char, char)>,
    /// Characters that are in none of one of these belong to the set as well: `\D` inside of a class.
    pub(super) complements: Vec<Ranges>,
}

impl Class {
    /// Returns every character but one.
    pub(super) fn not(character: char) -> Self {
        Self { is_negated: true, ranges: vec![(character, character)], complements: Vec::new() }
    }

    pub(super) fn is_not(&self, character: char) -> bool {
        self.is_negated && self.ranges == [(character, character)] && self.complements.is_empty()
    }

    pub(super) fn accepts(&self, character: char) -> bool {
        let within =
            |ranges: &[(char, char)]| ranges.iter().any(|(low, high)| (*low..=*high).contains(&character));
        let is_listed = within(&self.ranges) || self.complements.iter().any(|ranges| !within(ranges));
        is_listed != self.is_negated
    }

    /// Adds a named set, or everything outside of it.
    pub(super) fn add(&mut self, set: Named) {
        if set.is_negated {
            self.complements.push(set.ranges);
        } else {
            self.ranges.extend_from_slice(set.ranges);
        }
    }
}

/// A set that has a name in expressions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named {
    is_negated: bool,
    ranges: Ranges,
}

/// Returns the set that a letter behind a backslash means.
pub(super) fn perl(letter: char) -> Option<Named> {
    let ranges: Ranges = match letter.to_ascii_lowercase() {
        'd' => &[('0', '9')],
        's' => &[('\t', '\n'), ('\x0c', '\r'), (' ', ' ')],
        'w' => &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')],
        _ => return None,
    };
    Some(Named { is_negated: letter.is_ascii_uppercase(), ranges })
}

/// Returns the set of `[:name:]` or `[:^name:]`.
pub(super) fn posix(name: &str) -> Option<Named> {
    let (is_negated, name) = name.strip_prefix('^').map_or((false, name), |name| (true, name));
    let ranges: Ranges = match name {
        "alnum" => &[('0', '9'), ('A', 'Z'), ('a', 'z')],
        "alpha" => &[('A', 'Z'), ('a', 'z')],
        "ascii" => &[('\0', '\x7f')],
        "blank" => &[('\t', '\t'), (' ', ' ')],
        "cntrl" => &[('\0', '\x1f'), ('\x7f', '\x7f')],
        "digit" => &[('0', '9')],
        "graph" => &[('!', '~')],
        "lower" => &[('a', 'z')],
        "print" => &[(' ', '~')],
        "punct" => &[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')],
        "space" => &[('\t', '\r'), (' ', ' ')],
        "upper" => &[('A', 'Z')],
        "word" => &[('0', '9'), ('A', 'Z'), ('a', 'z'), ('_', '_')],
        "xdigit" => &[('0', '9'), ('A', 'F'), ('a', 'f')],
        _ => return None,
    };
    Some(Named { is_negated, ranges })
}
