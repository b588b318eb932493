//! The few regular expressions that patterns of ignore files turn into, matched in time proportional to path times
//! expression. Written for exactly what [`super::pattern`] makes: characters, `\x`, `[classes]`, `[…]*`, `.*`, `(.*/)?`
//! and anchors, with the meaning of Go's `regexp` (`.` is anything but a newline; a byte that is not UTF-8 is U+FFFD).

use kiln_glob::first_character;

/// An expression that Go's `regexp` refuses, or that no sensible pattern turns into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadExpression;

/// A compiled expression. A position is a place that takes one character; sets of positions are bit sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expression {
    positions: Vec<Position>,
    start: BitSet,
    /// What every match starts and ends with.
    prefix: Vec<u8>,
    suffix: Vec<u8>,
    /// For each ASCII character the positions that take it, where a set fits in one word.
    takers: Vec<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Position {
    takes: Taken,
    /// Where matching may go on; the number behind the last position means "at the end".
    next: BitSet,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Taken {
    One(char),
    Class(Class),
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Class {
    is_negated: bool,
    ranges: Vec<(char, char)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Once(Taken),
    Repeated(Taken),
    /// `(.*/)?`
    AnyDirectories,
    /// `^`
    Start,
}

type BitSet = Vec<u64>;

fn insert(set: &mut BitSet, bit: usize) {
    set[bit / 64] |= 1 << (bit % 64);
}

fn unite(set: &mut BitSet, other: &BitSet) {
    set.iter_mut().zip(other).for_each(|(word, more)| *word |= more);
}

impl Expression {
    /// Compiles `^…$`.
    pub(super) fn new(text: &str) -> Result<Self, BadExpression> {
        let body = text.strip_prefix('^').and_then(|text| text.strip_suffix('$')).ok_or(BadExpression)?;
        Ok(Self::link(parse(body)?))
    }

    /// Returns what every match starts with.
    pub(super) fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// Returns what every match ends with.
    pub(super) fn suffix(&self) -> &[u8] {
        &self.suffix
    }

    /// Tells whether a whole path matches.
    pub(super) fn matches(&self, path: &[u8]) -> bool {
        if !path.starts_with(&self.prefix) || !path.ends_with(&self.suffix) {
            return false;
        }
        match self.start.as_slice() {
            [start] => self.matches_narrow(path, *start),
            _ => self.matches_wide(path),
        }
    }

    /// The same as [`Self::matches_wide`] where a set fits in one word.
    fn matches_narrow(&self, path: &[u8], start: u64) -> bool {
        let mut current = start;
        let mut rest = path;
        while let Some((character, length)) = first_character(rest) {
            let mut left = current & self.takers_of(character);
            current = 0;
            while left != 0 {
                current |= self.positions[left.trailing_zeros() as usize].next[0];
                left &= left - 1;
            }
            if current == 0 {
                return false;
            }
            rest = &rest[length..];
        }
        current >> self.positions.len() & 1 == 1
    }

    fn takers_of(&self, character: char) -> u64 {
        match self.takers.get(character as usize) {
            Some(takers) => *takers,
            None => takers(&self.positions, character),
        }
    }

    fn matches_wide(&self, path: &[u8]) -> bool {
        let end = self.positions.len();
        let mut current = self.start.clone();
        let mut rest = path;
        while let Some((character, length)) = first_character(rest) {
            let mut next = vec![0; current.len()];
            for (index, position) in self.positions.iter().enumerate() {
                if current[index / 64] >> (index % 64) & 1 == 1 && position.takes.accepts(character) {
                    unite(&mut next, &position.next);
                }
            }
            current = next;
            rest = &rest[length..];
        }
        current[end / 64] >> (end % 64) & 1 == 1
    }

    /// Numbers the positions and works out which may follow which, from the last node to the first.
    fn link(nodes: Vec<Node>) -> Self {
        let count: usize = nodes.iter().map(Node::position_count).sum();
        let empty = || vec![0; count / 64 + 1];
        let (prefix, suffix) = literal_ends(&nodes);
        let mut enter = empty();
        insert(&mut enter, count);
        let mut enter_at_start = enter.clone();
        let mut positions = Vec::with_capacity(count);
        let mut first = count;
        for node in nodes.into_iter().rev() {
            first -= node.position_count();
            match node {
                Node::Start => {
                    enter = empty();
                    continue;
                }
                Node::Once(takes) => {
                    positions.push(Position { takes, next: enter });
                    enter = empty();
                    enter_at_start = empty();
                }
                Node::Repeated(takes) => {
                    let mut next = enter.clone();
                    insert(&mut next, first);
                    positions.push(Position { takes, next });
                }
                Node::AnyDirectories => {
                    let mut inside = empty();
                    insert(&mut inside, first);
                    insert(&mut inside, first + 1);
                    positions.push(Position { takes: Taken::One('/'), next: enter.clone() });
                    positions.push(Position { takes: Taken::Class(Class::not('\n')), next: inside });
                    insert(&mut enter, first + 1);
                    insert(&mut enter_at_start, first + 1);
                }
            }
            insert(&mut enter, first);
            insert(&mut enter_at_start, first);
        }
        positions.reverse();
        let is_narrow = enter_at_start.len() == 1;
        let ascii = '\0'..='\x7f';
        let takers = ascii.filter(|_| is_narrow).map(|character| takers(&positions, character)).collect();
        Self { positions, start: enter_at_start, prefix, suffix, takers }
    }
}

/// Returns the positions, fewer than 64, that take a character.
fn takers(positions: &[Position], character: char) -> u64 {
    let bits = positions.iter().enumerate().map(|(at, position)| (at, position.takes.accepts(character)));
    bits.fold(0, |set, (at, accepts)| set | u64::from(accepts) << at)
}

impl Node {
    fn position_count(&self) -> usize {
        match self {
            Self::Start => 0,
            Self::Once(_) | Self::Repeated(_) => 1,
            Self::AnyDirectories => 2,
        }
    }

    /// Returns the character that this node always is. U+FFFD may also stand for a byte that is not UTF-8.
    fn literal(&self) -> Option<char> {
        match self {
            Self::Once(Taken::One(character)) if *character != char::REPLACEMENT_CHARACTER => {
                Some(*character)
            }
            _ => None,
        }
    }
}

fn literal_ends(nodes: &[Node]) -> (Vec<u8>, Vec<u8>) {
    let prefix: String = nodes.iter().map_while(Node::literal).collect();
    let mut suffix: Vec<char> = nodes.iter().rev().map_while(Node::literal).collect();
    suffix.reverse();
    (prefix.into_bytes(), suffix.into_iter().collect::<String>().into_bytes())
}

impl Taken {
    fn accepts(&self, character: char) -> bool {
        match self {
            Self::One(one) => *one == character,
            Self::Class(class) => class.accepts(character),
        }
    }
}

impl Class {
    fn not(character: char) -> Self {
        Self { is_negated: true, ranges: vec![(character, character)] }
    }

    fn accepts(&self, character: char) -> bool {
        self.ranges.iter().any(|(low, high)| (*low..=*high).contains(&character)) != self.is_negated
    }
}

fn parse(text: &str) -> Result<Vec<Node>, BadExpression> {
    let mut nodes = Vec::new();
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        if let Some(behind) = rest.strip_prefix("(.*/)?") {
            nodes.push(Node::AnyDirectories);
            rest = behind;
            continue;
        }
        let (taken, behind) = match character {
            '^' => {
                nodes.push(Node::Start);
                rest = &rest[1..];
                continue;
            }
            '[' => class(&rest[1..])?,
            '\\' => escaped(&rest[1..])?,
            '.' => (Taken::Class(Class::not('\n')), &rest[1..]),
            plain => (Taken::One(plain), &rest[plain.len_utf8()..]),
        };
        rest = behind;
        match rest.strip_prefix('*') {
            Some(behind) => {
                nodes.push(Node::Repeated(taken));
                rest = behind;
            }
            None => nodes.push(Node::Once(taken)),
        }
    }
    Ok(nodes)
}

/// Reads a class behind its `[`.
fn class(text: &str) -> Result<(Taken, &str), BadExpression> {
    let (is_negated, mut rest) = text.strip_prefix('^').map_or((false, text), |rest| (true, rest));
    let mut class = Class { is_negated, ranges: Vec::new() };
    let mut is_first = true;
    loop {
        if let (Some(behind), false) = (rest.strip_prefix(']'), is_first) {
            return Ok((Taken::Class(class), behind));
        }
        is_first = false;
        if rest.starts_with("[:") && rest.contains(":]") {
            rest = named(rest, &mut class)?;
            continue;
        }
        let (low, behind) = class_item(rest, &mut class)?;
        rest = behind;
        let Some(low) = low else { continue };
        let high = match rest.strip_prefix('-') {
            Some(behind) if !behind.starts_with(']') => {
                let (high, behind) = class_item(behind, &mut class)?;
                rest = behind;
                high.ok_or(BadExpression)?
            }
            _ => low,
        };
        if high < low {
            return Err(BadExpression);
        }
        class.ranges.push((low, high));
    }
}

/// Reads a character of a class, or a set such as `\d`, which is added to it.
fn class_item<'a>(text: &'a str, class: &mut Class) -> Result<(Option<char>, &'a str), BadExpression> {
    let character = text.chars().next().ok_or(BadExpression)?;
    if character != '\\' {
        return Ok((Some(character), &text[character.len_utf8()..]));
    }
    match escaped(&text[1..])? {
        (Taken::One(character), rest) => Ok((Some(character), rest)),
        (Taken::Class(set), rest) if !set.is_negated => {
            class.ranges.extend(set.ranges);
            Ok((None, rest))
        }
        _ => Err(BadExpression),
    }
}

/// Reads `[:name:]` inside a class.
fn named<'a>(text: &'a str, class: &mut Class) -> Result<&'a str, BadExpression> {
    let (name, rest) = text[2..].split_once(":]").ok_or(BadExpression)?;
    let ranges: &[(char, char)] = match name {
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
        _ => return Err(BadExpression),
    };
    class.ranges.extend_from_slice(ranges);
    Ok(rest)
}

/// Reads what a backslash escapes. Letters and digits have the meaning of Go's `regexp` where it is a character or a simple
/// set; all others are refused rather than misread.
fn escaped(text: &str) -> Result<(Taken, &str), BadExpression> {
    let character = text.chars().next().ok_or(BadExpression)?;
    let set =
        |is_negated, ranges: &[(char, char)]| Taken::Class(Class { is_negated, ranges: ranges.to_vec() });
    let blanks = [('\t', '\n'), ('\x0c', '\r'), (' ', ' ')];
    let words = [('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')];
    let taken = match character {
        'd' | 'D' => set(character == 'D', &[('0', '9')]),
        's' | 'S' => set(character == 'S', &blanks),
        'w' | 'W' => set(character == 'W', &words),
        'a' => Taken::One('\x07'),
        'f' => Taken::One('\x0c'),
        'n' => Taken::One('\n'),
        'r' => Taken::One('\r'),
        't' => Taken::One('\t'),
        'v' => Taken::One('\x0b'),
        plain if plain.is_ascii() && !plain.is_ascii_alphanumeric() => Taken::One(plain),
        _ => return Err(BadExpression),
    };
    Ok((taken, &text[character.len_utf8()..]))
}
