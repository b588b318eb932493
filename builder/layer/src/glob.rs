//! Wildcards of COPY and ADD: Go's `filepath.Match`, and `**` for `--parents`.
//!
//! `*` and `?` do not match `/`; `[a-z]` and `[^a-z]` match one character; `\` takes the next character literally. With
//! [`DoubleStar::Yes`] a component `**` matches any number of components, none included.

/// Whether `**` spans components.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DoubleStar {
    /// It does.
    Yes,
    /// It is the same as `*`.
    No,
}

/// A pattern that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` is not a pattern: `[` without `]`, an empty range, or `\\` at the end")]
pub struct BadPattern {
    /// The pattern, escaped.
    pub pattern: String,
}

/// Tells whether `text` has wildcards at all.
pub fn has_wildcards(text: &[u8]) -> bool {
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'*' | b'?' | b'[' => return true,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
    false
}

/// Tells whether the whole of `path` matches `pattern`; both are components joined by `/`.
///
/// # Errors
/// When the pattern is malformed, found as far as matching looks at it.
pub fn matches(pattern: &[u8], path: &[u8], double_star: DoubleStar) -> Result<bool, BadPattern> {
    let split =
        |bytes: &[u8]| -> Vec<Vec<u8>> { bytes.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect() };
    let (patterns, components) = (split(pattern), split(path));
    let bad = || BadPattern { pattern: crate::path::escape(pattern) };
    matches_components(&patterns, &components, double_star).ok_or_else(bad)
}

/// Checks the form of a pattern.
///
/// # Errors
/// When it is malformed.
pub fn check(pattern: &[u8]) -> Result<(), BadPattern> {
    let mut rest = pattern;
    while !rest.is_empty() {
        let piece = next_piece(rest).ok_or_else(|| BadPattern { pattern: crate::path::escape(pattern) })?;
        rest = piece.1;
    }
    Ok(())
}

/// Dynamic programming over components, so that many `**` cost no more than a table.
fn matches_components(patterns: &[Vec<u8>], components: &[Vec<u8>], double_star: DoubleStar) -> Option<bool> {
    let mut reachable = vec![false; components.len() + 1];
    reachable[0] = true;
    for pattern in patterns {
        let mut next = vec![false; components.len() + 1];
        if double_star == DoubleStar::Yes && pattern == b"**" {
            let first = reachable.iter().position(|reached| *reached).unwrap_or(reachable.len());
            next[first.min(components.len() + 1)..].fill(true);
        } else {
            for (at, component) in components.iter().enumerate() {
                next[at + 1] = reachable[at] && matches_component(pattern, component)?;
            }
        }
        reachable = next;
    }
    reachable.last().copied()
}

enum Piece<'a> {
    Star,
    One(Class<'a>),
}

enum Class<'a> {
    Any,
    Literal(&'a [u8]),
    Set { negated: bool, ranges: Vec<(char, char)> },
}

/// Greedy with one point of return: the last star.
fn matches_component(pattern: &[u8], name: &[u8]) -> Option<bool> {
    let (mut pattern, mut name) = (pattern, name);
    let mut star: Option<(&[u8], &[u8])> = None;
    loop {
        if pattern.is_empty() && name.is_empty() {
            return Some(true);
        }
        let step = if pattern.is_empty() { None } else { Some(next_piece(pattern)?) };
        match step {
            Some((Piece::Star, rest)) => {
                star = Some((rest, name));
                pattern = rest;
                continue;
            }
            Some((Piece::One(class), rest)) if !name.is_empty() => {
                let (character, length) = next_character(name);
                if class.has(character, &name[..length]) {
                    (pattern, name) = (rest, &name[length..]);
                    continue;
                }
            }
            _ => {}
        }
        // Mismatch: let the last star take one character more.
        let Some((after, from)) = star.filter(|(_, from)| !from.is_empty()) else {
            return Some(false);
        };
        let (_, length) = next_character(from);
        star = Some((after, &from[length..]));
        (pattern, name) = (after, &from[length..]);
    }
}

impl Class<'_> {
    fn has(&self, character: char, bytes: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Literal(literal) => *literal == bytes,
            Self::Set { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&character)) != *negated
            }
        }
    }
}

fn next_piece(pattern: &[u8]) -> Option<(Piece<'_>, &[u8])> {
    match pattern {
        [b'*', rest @ ..] => Some((Piece::Star, rest)),
        [b'?', rest @ ..] => Some((Piece::One(Class::Any), rest)),
        [b'[', rest @ ..] => set(rest).map(|(class, rest)| (Piece::One(class), rest)),
        [b'\\'] => None,
        [b'\\', rest @ ..] => Some(literal(rest)),
        _ => Some(literal(pattern)),
    }
}

fn literal(bytes: &[u8]) -> (Piece<'_>, &[u8]) {
    let (_, length) = next_character(bytes);
    (Piece::One(Class::Literal(&bytes[..length])), &bytes[length..])
}

fn set(mut rest: &[u8]) -> Option<(Class<'_>, &[u8])> {
    let negated = rest.first() == Some(&b'^');
    if negated {
        rest = &rest[1..];
    }
    let mut ranges = Vec::new();
    loop {
        if rest.first() == Some(&b']') && !ranges.is_empty() {
            return Some((Class::Set { negated, ranges }, &rest[1..]));
        }
        let low;
        (low, rest) = bound(rest)?;
        let mut high = low;
        if rest.first() == Some(&b'-') {
            (high, rest) = bound(&rest[1..])?;
        }
        ranges.push((low, high));
    }
}

fn bound(rest: &[u8]) -> Option<(char, &[u8])> {
    let rest = match rest {
        [] | [b'-' | b']', ..] | [b'\\'] => return None,
        [b'\\', rest @ ..] => rest,
        _ => rest,
    };
    let (character, length) = next_character(rest);
    (rest.len() > length).then(|| (character, &rest[length..]))
}

/// The first character, or the first byte as U+FFFD where it is no UTF-8.
fn next_character(bytes: &[u8]) -> (char, usize) {
    let length = bytes.len().min(4);
    let valid = match std::str::from_utf8(&bytes[..length]) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or(""),
    };
    valid
        .chars()
        .next()
        .map_or((char::REPLACEMENT_CHARACTER, 1), |character| (character, character.len_utf8()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_go() {
        for (pattern, path, expected) in [
            ("abc", "abc", Some(true)),
            ("*", "abc", Some(true)),
            ("*c", "abc", Some(true)),
            ("a*", "ab/c", Some(false)),
            ("a*/b", "abc/b", Some(true)),
            ("a*/b", "a/c/b", Some(false)),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", Some(true)),
            ("a*b?c*x", "abxbbxdbxebxczzx", Some(true)),
            ("ab[c]", "abc", Some(true)),
            ("ab[b-d]", "abc", Some(true)),
            ("ab[^c]", "abc", Some(false)),
            ("ab[^e-g]", "abc", Some(true)),
            ("a\\*b", "a*b", Some(true)),
            ("a\\*b", "ab", Some(false)),
            ("a?b", "a\u{263a}b", Some(true)),
            ("a???b", "a\u{263a}b", Some(false)),
            ("[a-\u{3b6}]*", "\u{3b1}", Some(true)),
            ("a?b", "a/b", Some(false)),
            ("[]a]", "]", None),
            ("[-]", "-", None),
            ("[a", "a", None),
            ("a\\", "a\\", None),
            ("[\\]a]", "]", Some(true)),
            ("**/a", "x/a", Some(true)),
            ("**/a", "a", Some(false)),
            ("*x", "xxx", Some(true)),
            ("", "", Some(true)),
        ] {
            let result = matches(pattern.as_bytes(), path.as_bytes(), DoubleStar::No).ok();
            assert_eq!(result, expected, "{pattern} on {path}");
        }
    }

    #[test]
    fn two_stars_span_components() {
        for (pattern, path, expected) in [
            ("**/a", "a", true),
            ("**/a", "x/y/a", true),
            ("x/**", "x/y/z", true),
            ("x/**/z", "x/z", true),
            ("x/**/z", "y/z", false),
            ("**", "a/b", true),
            ("**/*.c", "a/b.c", true),
            ("**/*.c", "a/b.h", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), path.as_bytes(), DoubleStar::Yes),
                Ok(expected),
                "{pattern} {path}"
            );
        }
    }

    #[test]
    fn bytes_that_are_not_text_match_one_by_one() {
        assert_eq!(matches(b"a?b", b"a\xffb", DoubleStar::No), Ok(true));
        assert_eq!(matches(b"a\xffb", b"a\xfeb", DoubleStar::No), Ok(false));
    }
}
