//! Wildcards of paths: the patterns of Go's `filepath.Match`, on bytes.
//!
//! - **Does**: reads patterns and matches names with them. `*` and `?` match anything but `/`; `[a-z]` and `[^a-z]` match
//!   one character; `\` takes the next one as it is. With [`DoubleStar::Spans`] a component `**` is any number of components.
//! - **Does not**: know files, or the patterns of ignore files, which only borrow the syntax.
//! - **Main type**: [`Glob`]; [`PathGlob`] matches component by component.
//! - **Main function**: [`Glob::matches`].
//!
//! ```
//! use kiln_glob::Glob;
//!
//! let glob = Glob::new(b"src/*.[ch]")?;
//! assert!(glob.matches(b"src/main.c"));
//! assert!(!glob.matches(b"src/lib/main.c"));
//! # Ok::<(), kiln_glob::BadPattern>(())
//! ```

mod path;
pub use path::{DoubleStar, PathGlob};

use std::fmt;

/// A pattern that is none: a class without end, an empty class or range, or an escape of nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadPattern;

impl fmt::Display for BadPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("`[` without `]`, an empty range, or `\\` at the end")
    }
}

impl std::error::Error for BadPattern {}

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    chunks: Vec<Chunk>,
}

/// Tokens between stars.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Chunk {
    follows_star: bool,
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Byte(u8),
    Any,
    Class { is_negated: bool, ranges: Vec<(char, char)> },
}

/// Matches a name as Go does, which reads a pattern only as far as the name leads: what is wrong behind the first star that
/// nothing fits is not found. Patterns of ignore files are checked in this way.
///
/// # Errors
/// For what is wrong in the part that was read.
pub fn matches_lazily(pattern: &[u8], name: &[u8]) -> Result<bool, BadPattern> {
    let (mut pattern, mut name) = (pattern, name);
    while !pattern.is_empty() {
        let follows_star = pattern.starts_with(b"*");
        let stars = pattern.iter().take_while(|byte| **byte == b'*').count();
        let behind = &pattern[stars..];
        let (text, rest) = behind.split_at(chunk_length(behind));
        pattern = rest;
        let chunk = Chunk { follows_star, tokens: tokens(text)? };
        match chunk.matches(name, rest.is_empty()) {
            Some(behind) => name = behind,
            None => return Ok(false),
        }
    }
    Ok(name.is_empty())
}

/// Tells whether a pattern has wildcards at all; without, it names one path.
pub fn has_wildcards(pattern: &[u8]) -> bool {
    let mut bytes = pattern.iter();
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

impl Glob {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// For a class without end, an empty one, and an escape of nothing.
    pub fn new(pattern: &[u8]) -> Result<Self, BadPattern> {
        let mut chunks = vec![Chunk::default()];
        let mut rest = pattern;
        while let Some(first) = rest.first() {
            if *first == b'*' {
                if chunks.last().is_some_and(|chunk| !chunk.follows_star || !chunk.tokens.is_empty()) {
                    chunks.push(Chunk { follows_star: true, tokens: Vec::new() });
                }
                rest = &rest[1..];
                continue;
            }
            let (token, behind) = token(rest)?;
            if let Some(chunk) = chunks.last_mut() {
                chunk.tokens.push(token);
            }
            rest = behind;
        }
        Ok(Self { chunks })
    }

    /// Tells whether a whole name matches.
    pub fn matches(&self, name: &[u8]) -> bool {
        let last = self.chunks.len() - 1;
        let mut chunks = self.chunks.iter().enumerate();
        let rest = chunks.try_fold(name, |rest, (index, chunk)| chunk.matches(rest, index == last));
        rest.is_some_and(<[u8]>::is_empty)
    }
}

impl Chunk {
    /// Returns what a name has behind these tokens, the first time that they fit; the last ones must fit its end.
    fn matches<'a>(&self, name: &'a [u8], is_last: bool) -> Option<&'a [u8]> {
        if self.follows_star && self.tokens.is_empty() {
            return (!name.contains(&b'/')).then_some(&[]);
        }
        // Without a star the chunk must match here; behind one it may match further on, but not behind a `/`.
        let reach = match self.follows_star {
            true => name.iter().position(|byte| *byte == b'/').unwrap_or(name.len()),
            false => 0,
        };
        (0..=reach).find_map(|start| {
            let behind = matches_tokens(&self.tokens, &name[start..])?;
            (!is_last || behind.is_empty()).then_some(behind)
        })
    }
}

/// Returns how long the text before the next star is. A star in a class is none.
fn chunk_length(pattern: &[u8]) -> usize {
    let mut is_class = false;
    let mut at = 0;
    while let Some(byte) = pattern.get(at) {
        match byte {
            b'\\' => at += 1,
            b'[' => is_class = true,
            b']' => is_class = false,
            b'*' if !is_class => break,
            _ => {}
        }
        at += 1;
    }
    at.min(pattern.len())
}

fn tokens(pattern: &[u8]) -> Result<Vec<Token>, BadPattern> {
    let mut tokens = Vec::new();
    let mut rest = pattern;
    while !rest.is_empty() {
        let (token, behind) = token(rest)?;
        tokens.push(token);
        rest = behind;
    }
    Ok(tokens)
}

fn matches_tokens<'a>(tokens: &[Token], name: &'a [u8]) -> Option<&'a [u8]> {
    let mut rest = name;
    for token in tokens {
        rest = match token {
            Token::Byte(byte) => rest.strip_prefix(std::slice::from_ref(byte))?,
            Token::Any => {
                let (_, length) = first_character(rest).filter(|_| rest[0] != b'/')?;
                &rest[length..]
            }
            Token::Class { is_negated, ranges } => {
                let (character, length) = first_character(rest)?;
                let is_listed = ranges.iter().any(|(low, high)| (*low..=*high).contains(&character));
                if is_listed == *is_negated {
                    return None;
                }
                &rest[length..]
            }
        };
    }
    Some(rest)
}

/// Returns the first character and its length; a byte that is not UTF-8 is U+FFFD of length 1.
pub fn first_character(bytes: &[u8]) -> Option<(char, usize)> {
    let first = *bytes.first()?;
    if first.is_ascii() {
        return Some((char::from(first), 1));
    }
    let head = &bytes[..bytes.len().min(4)];
    let valid = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or(""),
    };
    Some(valid.chars().next().map_or((char::REPLACEMENT_CHARACTER, 1), |c| (c, c.len_utf8())))
}

fn token(pattern: &[u8]) -> Result<(Token, &[u8]), BadPattern> {
    match pattern {
        [b'[', rest @ ..] => class(rest),
        [b'?', rest @ ..] => Ok((Token::Any, rest)),
        [b'\\', byte, rest @ ..] => Ok((Token::Byte(*byte), rest)),
        [b'\\'] | [] => Err(BadPattern),
        [byte, rest @ ..] => Ok((Token::Byte(*byte), rest)),
    }
}

fn class(pattern: &[u8]) -> Result<(Token, &[u8]), BadPattern> {
    let (is_negated, mut rest) = pattern.strip_prefix(b"^").map_or((false, pattern), |rest| (true, rest));
    let mut ranges = Vec::new();
    loop {
        if let (Some(behind), false) = (rest.strip_prefix(b"]"), ranges.is_empty()) {
            return Ok((Token::Class { is_negated, ranges }, behind));
        }
        let (low, behind) = class_character(rest)?;
        let (high, behind) = match behind.strip_prefix(b"-") {
            Some(behind) => class_character(behind)?,
            None => (low, behind),
        };
        ranges.push((low, high));
        rest = behind;
    }
}

/// Reads a character of a class; something must follow it.
fn class_character(pattern: &[u8]) -> Result<(char, &[u8]), BadPattern> {
    let rest = match pattern {
        [] | [b'-' | b']', ..] => return Err(BadPattern),
        [b'\\', rest @ ..] => rest,
        rest => rest,
    };
    let (character, length) = first_character(rest).ok_or(BadPattern)?;
    let is_broken = character == char::REPLACEMENT_CHARACTER && length == 1;
    if is_broken || rest.len() == length {
        return Err(BadPattern);
    }
    Ok((character, &rest[length..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_gos_filepath_match() {
        let cases: &[(&str, &str, Result<bool, BadPattern>)] = &[
            ("abc", "abc", Ok(true)),
            ("abc", "abcd", Ok(false)),
            ("*", "abc", Ok(true)),
            ("*", "a/b", Ok(false)),
            ("*", "", Ok(true)),
            ("*c", "abc", Ok(true)),
            ("a*", "a", Ok(true)),
            ("a*", "ab/c", Ok(false)),
            ("a*/b", "abc/b", Ok(true)),
            ("a*/b", "a/c/b", Ok(false)),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", Ok(true)),
            ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", Ok(false)),
            ("a*b?c*x", "abxbbxdbxebxczzx", Ok(true)),
            ("a*b?c*x", "abxbbxdbxebxczzy", Ok(false)),
            ("**", "ab", Ok(true)),
            ("ab[c]", "abc", Ok(true)),
            ("ab[b-d]", "abc", Ok(true)),
            ("ab[^b-d]", "abc", Ok(false)),
            ("ab[^e-g]", "abc", Ok(true)),
            ("a?b", "a☺b", Ok(true)),
            ("a[^a]b", "a☺b", Ok(true)),
            ("a???b", "a☺b", Ok(false)),
            ("[a-ζ]*", "α", Ok(true)),
            ("a?b", "a/b", Ok(false)),
            ("a[^x]b", "a/b", Ok(true)),
            ("[\\]a]", "]", Ok(true)),
            ("[x\\-]", "-", Ok(true)),
            ("[*]", "*", Ok(true)),
            ("a\\*b", "a*b", Ok(true)),
            ("a\\*b", "axb", Ok(false)),
            ("[]a]", "]", Err(BadPattern)),
            ("[-]", "-", Err(BadPattern)),
            ("[x-]", "x", Err(BadPattern)),
            ("[a-b-c]", "a", Err(BadPattern)),
            ("[", "a", Err(BadPattern)),
            ("[^", "a", Err(BadPattern)),
            ("a[", "ab", Err(BadPattern)),
            ("a*[", "b", Err(BadPattern)),
            ("\\", "a", Err(BadPattern)),
        ];
        for (pattern, name, expected) in cases {
            let found = Glob::new(pattern.as_bytes()).map(|glob| glob.matches(name.as_bytes()));
            assert_eq!(found, *expected, "{pattern} {name}");
        }
        assert!(Glob::new(b"a?b").is_ok_and(|glob| glob.matches(b"a\xffb")));
    }

    #[test]
    fn what_go_does_not_read_is_not_found_wrong() {
        for (pattern, expected) in [
            (".", Ok(true)),
            ("*", Ok(true)),
            (".*", Ok(true)),
            ("x", Ok(false)),
            ("x[", Err(BadPattern)),
            ("x*[", Ok(false)),
            (".*[", Err(BadPattern)),
            ("x*\\", Ok(false)),
            ("x\\", Err(BadPattern)),
            ("**/\\", Err(BadPattern)),
            ("x[*]*[]", Ok(false)),
            ("", Ok(false)),
        ] {
            assert_eq!(matches_lazily(pattern.as_bytes(), b"."), expected, "{pattern}");
        }
    }

    #[test]
    fn only_unescaped_wildcards_make_a_pattern() {
        for (pattern, expected) in
            [("a*", true), ("a?", true), ("[a]", true), ("a\\*b", false), ("a/b", false)]
        {
            assert_eq!(has_wildcards(pattern.as_bytes()), expected, "{pattern}");
        }
    }
}
