//! The regular expressions that BuildKit makes of wild patterns, read as Go's `regexp` reads them: characters, escapes,
//! `[classes]`, `[…]*`, `.*`, `(.*/)?` and `^…$`, which the translation in [`super::pattern`] writes, and what it lets through:
//! assertions, `\Q…\E`, `a{2,3}` and `a|b`. Everything else is refused, and so are `\pL` and its like, which would need
//! tables of Unicode.

use super::class::{Class, Named, perl, posix};

/// Highest count of a repetition, as in Go.
const COUNT_MAX: u32 = 1000;

/// An expression that Go's `regexp` refuses, or that no sensible pattern turns into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadExpression;

/// One of the ways to match: parts one behind the other.
pub(super) type Alternative = Vec<Part>;

/// A part of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) atom: Atom,
    pub(super) times: Times,
}

/// What is repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Atom {
    /// This character.
    One(char),
    /// One character of a set.
    Class(Class),
    /// `.*/`
    Directories,
    /// Nothing, where something is true of the place.
    Assert(Assertion),
}

/// How often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) min: u32,
    /// None is any number.
    pub(super) max: Option<u32>,
}

impl Times {
    pub(super) const ONCE: Self = Self { min: 1, max: Some(1) };
    pub(super) const ANY: Self = Self { min: 0, max: None };
    const MAYBE: Self = Self { min: 0, max: Some(1) };
}

/// What can be asked of a place between two characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Assertion {
    Start,
    End,
    WordBoundary,
    NoWordBoundary,
}

/// Reads an expression.
pub(super) fn read(text: &str) -> Result<Vec<Alternative>, BadExpression> {
    let mut alternatives = vec![Vec::new()];
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let parts = alternatives.last_mut().ok_or(BadExpression)?;
        let behind = &rest[character.len_utf8()..];
        rest = match character {
            '(' => directories(rest, parts)?,
            '[' => {
                let (class, behind) = class(behind)?;
                repeatable(class, behind, parts)
            }
            '.' => repeatable(Class::not('\n'), behind, parts),
            '\\' => escape(behind, parts)?,
            '^' => push(parts, Atom::Assert(Assertion::Start), behind),
            '$' => push(parts, Atom::Assert(Assertion::End), behind),
            '|' => {
                alternatives.push(Vec::new());
                behind
            }
            '{' => match times(behind)? {
                Some((times, behind)) => {
                    // What is repeated already cannot be repeated again.
                    let last =
                        parts.last_mut().filter(|last| last.times == Times::ONCE).ok_or(BadExpression)?;
                    last.times = times;
                    // A count of one leaves it repeated all the same.
                    if times == Times::ONCE && behind.starts_with('{') && self::times(&behind[1..])?.is_some()
                    {
                        return Err(BadExpression);
                    }
                    behind
                }
                None => push(parts, Atom::One('{'), behind),
            },
            plain => push(parts, Atom::One(plain), behind),
        };
    }
    Ok(alternatives)
}

fn push<'a>(parts: &mut Alternative, atom: Atom, behind: &'a str) -> &'a str {
    parts.push(Part { atom, times: Times::ONCE });
    behind
}

fn directories<'a>(text: &'a str, parts: &mut Alternative) -> Result<&'a str, BadExpression> {
    let behind = text.strip_prefix("(.*/)?").ok_or(BadExpression)?;
    let part = Part { atom: Atom::Directories, times: Times::MAYBE };
    // Twice is the same as once, and keeps what can be skipped short.
    if parts.last() != Some(&part) {
        parts.push(part);
    }
    Ok(behind)
}

fn repeatable<'a>(class: Class, behind: &'a str, parts: &mut Alternative) -> &'a str {
    let (times, behind) = match behind.strip_prefix('*') {
        Some(behind) => (Times::ANY, behind),
        None => (Times::ONCE, behind),
    };
    parts.push(Part { atom: Atom::Class(class), times });
    behind
}

/// Reads `2}`, `2,}` or `2,3}`; what does not look like that is no repetition, but text.
fn times(text: &str) -> Result<Option<(Times, &str)>, BadExpression> {
    let Some((min, rest)) = count(text) else { return Ok(None) };
    let (max, rest) = match rest.strip_prefix(',') {
        None => (Some(min), rest),
        Some(rest) if rest.starts_with('}') => (None, rest),
        Some(rest) => match count(rest) {
            Some((max, rest)) => (Some(max), rest),
            None => return Ok(None),
        },
    };
    let Some(behind) = rest.strip_prefix('}') else { return Ok(None) };
    let is_sensible = min <= COUNT_MAX && max.is_none_or(|max| max <= COUNT_MAX && min <= max);
    if is_sensible { Ok(Some((Times { min, max }, behind))) } else { Err(BadExpression) }
}

/// Reads a number without leading zeros; one that is too large stays too large.
fn count(text: &str) -> Option<(u32, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 || (digits > 1 && text.starts_with('0')) {
        return None;
    }
    Some((text[..digits].parse().unwrap_or(u32::MAX), &text[digits..]))
}

/// Reads what follows a backslash outside of a class.
fn escape<'a>(text: &'a str, parts: &mut Alternative) -> Result<&'a str, BadExpression> {
    let letter = text.chars().next().ok_or(BadExpression)?;
    let behind = &text[letter.len_utf8()..];
    let assertion = match letter {
        'A' => Assertion::Start,
        'z' => Assertion::End,
        'b' => Assertion::WordBoundary,
        'B' => Assertion::NoWordBoundary,
        'Q' => {
            let (literal, behind) = behind.split_once("\\E").unwrap_or((behind, ""));
            parts.extend(literal.chars().map(|one| Part { atom: Atom::One(one), times: Times::ONCE }));
            return Ok(behind);
        }
        _ => {
            if let Some(set) = perl(letter) {
                let mut class = Class::default();
                class.add(set);
                return Ok(push(parts, Atom::Class(class), behind));
            }
            let (character, behind) = escaped_character(text)?;
            return Ok(push(parts, Atom::One(character), behind));
        }
    };
    Ok(push(parts, Atom::Assert(assertion), behind))
}

/// Reads an escape that is one character: octal, hexadecimal, a control character, or punctuation.
fn escaped_character(text: &str) -> Result<(char, &str), BadExpression> {
    let letter = text.chars().next().ok_or(BadExpression)?;
    let behind = &text[letter.len_utf8()..];
    let character = match letter {
        // A single digit that is not 0 would be a reference to a group.
        '1'..='7' if !behind.starts_with(|next| matches!(next, '0'..='7')) => return Err(BadExpression),
        '0'..='7' => return number(text, 3, 8),
        'x' => {
            let is_number =
                behind.len() >= 2 && behind.bytes().take(2).all(|digit| digit.is_ascii_hexdigit());
            return if is_number { number(behind, 2, 16) } else { Err(BadExpression) };
        }
        'a' => '\x07',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        plain if plain.is_ascii() && !plain.is_ascii_alphanumeric() => plain,
        _ => return Err(BadExpression),
    };
    Ok((character, behind))
}

/// Reads a number of at most so many digits, as the character that has it.
fn number(text: &str, digits_max: usize, radix: u32) -> Result<(char, &str), BadExpression> {
    let digits = text.chars().take(digits_max).take_while(|digit| digit.is_digit(radix)).count();
    let value = u32::from_str_radix(&text[..digits], radix).map_err(|_| BadExpression)?;
    Ok((char::from_u32(value).ok_or(BadExpression)?, &text[digits..]))
}

/// Reads a class behind its `[`.
fn class(text: &str) -> Result<(Class, &str), BadExpression> {
    let (is_negated, mut rest) = text.strip_prefix('^').map_or((false, text), |rest| (true, rest));
    let mut class = Class { is_negated, ..Class::default() };
    let mut is_first = true;
    loop {
        if let (Some(behind), false) = (rest.strip_prefix(']'), is_first) {
            return Ok((class, behind));
        }
        is_first = false;
        if let Some((set, behind)) = named(rest)? {
            class.add(set);
            rest = behind;
            continue;
        }
        let (low, behind) = class_character(rest)?;
        rest = behind;
        let high = match rest.strip_prefix('-') {
            Some(behind) if !behind.is_empty() && !behind.starts_with(']') => {
                let (high, behind) = class_character(behind)?;
                rest = behind;
                high
            }
            _ => low,
        };
        if high < low {
            return Err(BadExpression);
        }
        class.ranges.push((low, high));
    }
}

/// Reads `[:name:]` or `\d` inside of a class, if one stands there.
fn named(text: &str) -> Result<Option<(Named, &str)>, BadExpression> {
    if let Some((name, behind)) = text.strip_prefix("[:").and_then(|name| name.split_once(":]")) {
        return posix(name).map(|set| Some((set, behind))).ok_or(BadExpression);
    }
    let letter = text.strip_prefix('\\').and_then(|text| text.chars().next());
    Ok(letter.and_then(perl).map(|set| (set, &text[2..])))
}

fn class_character(text: &str) -> Result<(char, &str), BadExpression> {
    match text.strip_prefix('\\') {
        Some(escaped) => escaped_character(escaped),
        None => {
            let character = text.chars().next().ok_or(BadExpression)?;
            Ok((character, &text[character.len_utf8()..]))
        }
    }
}
