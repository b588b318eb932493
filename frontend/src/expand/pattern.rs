//! The patterns of `${x#p}` and `${x/p/r}`: `*`, `?` and plain characters; `\*`, `\?` and `\\` are plain.
//! `*` and `?` match everything but a newline.
//!
//! A pattern without `*` and `?` is searched for in time in proportion to pattern and text. Another one takes, in time,
//! text times the shorter of pattern and text, which is counted: see [`Steps`].

use std::ops::Range;

use super::lexer::without_mark;
use super::name::{is_digit, is_letter};
use super::{EXPANSION_BYTES_MAX, EXPANSION_STEPS_MAX, ExpandError};

/// Characters that the substitutions of one word have looked at, never more than [`EXPANSION_STEPS_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Steps(usize);

impl Steps {
    /// Counts what is about to be looked at.
    pub(super) fn take(&mut self, count: usize) -> Result<(), ExpandError> {
        self.0 = self.0.saturating_add(count);
        if self.0 > EXPANSION_STEPS_MAX { Err(ExpandError::TooSlow) } else { Ok(()) }
    }
}

/// Which end of a value is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// `${x#p}`
    Prefix,
    /// `${x%p}`
    Suffix,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Plain(char),
    Any,
    Many,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Greed {
    Shortest,
    Longest,
}

/// Cuts what matches from one end; a word that starts with a second `#` or `%` cuts the longest match.
pub(super) fn trim(
    word: &str,
    value: &str,
    direction: Direction,
    steps: &mut Steps,
) -> Result<String, ExpandError> {
    let mark = if direction == Direction::Prefix { '#' } else { '%' };
    let (greed, word) = match word.strip_prefix(mark) {
        Some(rest) => (Greed::Longest, rest),
        None => (Greed::Shortest, word),
    };
    // A shortest match at the end is found as a shortest match at the start of everything reversed.
    let (pattern, mut text) = match direction {
        Direction::Prefix => (word.to_owned(), value.chars().collect::<Vec<_>>()),
        Direction::Suffix => (reverse_pattern(word), value.chars().rev().collect()),
    };
    let tokens = tokens(&pattern).map_err(|escaped| invalid(word, escaped))?;
    let end = match plain_text(&tokens) {
        Some(plain) => plain.chars().eq(text.iter().copied().take(tokens.len())).then_some(tokens.len()),
        None => match_ends(&tokens, &text, greed, steps)?[0],
    };
    if let Some(end) = end {
        text.drain(..end);
    }
    if direction == Direction::Suffix {
        text.reverse();
    }
    Ok(text.into_iter().collect())
}

/// Replaces the first match. The replacement is taken literally.
pub(super) fn replace_first(
    pattern: &str,
    value: &str,
    replacement: &str,
    steps: &mut Steps,
) -> Result<String, ExpandError> {
    let tokens = tokens(pattern).map_err(|escaped| invalid(pattern, escaped))?;
    let found = match plain_text(&tokens) {
        Some(plain) => value.find(&plain).map(|start| start..start + plain.len()),
        None => matches(&tokens, value, steps)?.next(),
    };
    Ok(match found {
        Some(found) => [&value[..found.start], replacement, &value[found.end..]].concat(),
        None => value.to_owned(),
    })
}

/// Replaces all matches. The replacement is a template as in Go's `regexp.ReplaceAllString`: `$0` is the match, `$$` is
/// `$`, any other `$name` is empty.
pub(super) fn replace_all(
    pattern: &str,
    value: &str,
    replacement: &str,
    steps: &mut Steps,
) -> Result<String, ExpandError> {
    let tokens = tokens(pattern).map_err(|escaped| invalid(pattern, escaped))?;
    let template = Template::read(replacement);
    match plain_text(&tokens) {
        Some(plain) => {
            let found = value.match_indices(&plain).map(|(start, matched)| start..start + matched.len());
            fill(value, found, &template)
        }
        None => fill(value, matches(&tokens, value, steps)?, &template),
    }
}

fn fill(
    value: &str,
    matches: impl Iterator<Item = Range<usize>>,
    template: &Template<'_>,
) -> Result<String, ExpandError> {
    let mut result = String::new();
    let mut copied = 0;
    for found in matches {
        let matched = &value[found.clone()];
        let before = &value[copied..found.start];
        if result.len() + before.len() + template.filled_bytes(matched) > EXPANSION_BYTES_MAX {
            return Err(ExpandError::TooLarge);
        }
        result.push_str(before);
        template.fill(&mut result, matched);
        copied = found.end;
    }
    result.push_str(&value[copied..]);
    Ok(result)
}

/// What is put in the place of every match. Filling it takes no longer than what comes of it.
struct Template<'a> {
    /// Text that is not empty, or `None` for the match.
    pieces: Vec<Option<&'a str>>,
    /// What comes of an empty match.
    unmatched: String,
    /// How often the match is named.
    mentions: usize,
}

impl<'a> Template<'a> {
    fn read(template: &'a str) -> Self {
        let mut pieces = Vec::new();
        let mut rest = template;
        while let Some(at) = rest.find('$') {
            let (before, from_dollar) = rest.split_at(at);
            let (dollar, after) = from_dollar.split_at(1);
            pieces.push(Some(before));
            if let Some(after) = after.strip_prefix('$') {
                pieces.push(Some(dollar));
                rest = after;
            } else if let Some((name, after)) = template_name(after) {
                pieces.push(if name == "0" { None } else { Some("") });
                rest = after;
            } else {
                pieces.push(Some(dollar));
                rest = after;
            }
        }
        pieces.push(Some(rest));
        pieces.retain(|piece| *piece != Some(""));
        let unmatched = pieces.iter().flatten().copied().collect();
        let mentions = pieces.iter().filter(|piece| piece.is_none()).count();
        Self { pieces, unmatched, mentions }
    }

    fn filled_bytes(&self, matched: &str) -> usize {
        self.unmatched.len().saturating_add(matched.len().saturating_mul(self.mentions))
    }

    fn fill(&self, result: &mut String, matched: &str) {
        if matched.is_empty() {
            result.push_str(&self.unmatched);
        } else {
            self.pieces.iter().for_each(|piece| result.push_str(piece.unwrap_or(matched)));
        }
    }
}

/// Reads `name` or `{name}` and returns it with the text behind.
fn template_name(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('{');
    let name_start = inner.unwrap_or(text);
    let length = name_start.find(|c| !(is_letter(c) || is_digit(c) || c == '_')).unwrap_or(name_start.len());
    let (name, rest) = name_start.split_at(length);
    if name.is_empty() {
        return None;
    }
    match inner {
        Some(_) => Some((name, rest.strip_prefix('}')?)),
        None => Some((name, rest)),
    }
}

fn invalid(pattern: &str, escaped: String) -> ExpandError {
    ExpandError::InvalidPattern { pattern: pattern.to_owned(), escaped }
}

/// Reads a pattern; an error is the character behind a wrong backslash. Several `*` in a row are one.
fn tokens(pattern: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::with_capacity(pattern.len());
    let mut rest = without_mark(pattern).chars().peekable();
    while let Some(character) = rest.next() {
        let token = match character {
            '*' if tokens.last() == Some(&Token::Many) => continue,
            '*' => Token::Many,
            '?' => Token::Any,
            // These had to be escaped to stand inside `${}`; the backslash is no part of the pattern.
            '\\' if matches!(rest.peek(), Some('}' | '/')) => continue,
            '\\' => match rest.next() {
                Some(escaped @ ('*' | '?' | '\\')) => Token::Plain(escaped),
                other => return Err(other.map(String::from).unwrap_or_default()),
            },
            plain => Token::Plain(plain),
        };
        tokens.push(token);
    }
    Ok(tokens)
}

/// Reverses a pattern; a backslash stays before what it escapes.
fn reverse_pattern(pattern: &str) -> String {
    let mut pieces = Vec::new();
    let mut rest = pattern.chars();
    while let Some(character) = rest.next() {
        pieces.push(character);
        if character == '\\'
            && let Some(escaped) = rest.next()
        {
            pieces.pop();
            pieces.extend([escaped, character]);
        }
    }
    pieces.into_iter().rev().collect()
}

/// Returns the text of a pattern without `*` and `?`.
fn plain_text(tokens: &[Token]) -> Option<String> {
    let plain = |token: &Token| match token {
        Token::Plain(character) => Some(*character),
        Token::Any | Token::Many => None,
    };
    tokens.iter().map(plain).collect()
}

/// Returns the bytes of the matches, from the first to the last.
fn matches<'a>(
    tokens: &[Token],
    value: &'a str,
    steps: &mut Steps,
) -> Result<impl Iterator<Item = Range<usize>> + 'a, ExpandError> {
    let text: Vec<char> = value.chars().collect();
    let ends = match_ends(tokens, &text, Greed::Longest, steps)?;
    let mut places = value.char_indices().map(|(place, _)| place).chain([value.len()]).enumerate();
    // The character behind the last match; an empty match right there is no match.
    let mut behind = 0;
    Ok(std::iter::from_fn(move || {
        let (start, end, place) = places.find_map(|(start, place)| {
            let end = ends[start].filter(|end| start >= behind && (*end > behind || start == 0))?;
            Some((start, end, place))
        })?;
        behind = end;
        let length: usize = text[start..end].iter().map(|character| character.len_utf8()).sum();
        Some(place..place + length)
    }))
}

/// Returns, for every start in the text, the end of the match there. Works from the last token to the first, keeping
/// for one token the end that the tokens from it on give at every start, until there is none: what is plain and longer
/// than the text matches nowhere.
fn match_ends(
    tokens: &[Token],
    text: &[char],
    greed: Greed,
    steps: &mut Steps,
) -> Result<Vec<Option<usize>>, ExpandError> {
    let mut ends: Vec<Option<usize>> = (0..=text.len()).map(Some).collect();
    for token in tokens.iter().rev() {
        steps.take(ends.len())?;
        let has_match = match token {
            Token::Many => {
                extend_many(&mut ends, text, greed);
                true
            }
            Token::Any => shift(&mut ends, text, |c| c != '\n'),
            Token::Plain(plain) => shift(&mut ends, text, |c| c == *plain),
        };
        if !has_match {
            break;
        }
    }
    Ok(ends)
}

/// Returns whether there is an end at all.
fn shift(ends: &mut [Option<usize>], text: &[char], accepts: impl Fn(char) -> bool) -> bool {
    let mut has_match = false;
    for (at, character) in text.iter().enumerate() {
        ends[at] = if accepts(*character) { ends[at + 1] } else { None };
        has_match |= ends[at].is_some();
    }
    ends[text.len()] = None;
    has_match
}

fn extend_many(ends: &mut [Option<usize>], text: &[char], greed: Greed) {
    for at in (0..text.len()).rev() {
        let longer = if text[at] == '\n' { None } else { ends[at + 1] };
        ends[at] = match greed {
            Greed::Longest => longer.or(ends[at]),
            Greed::Shortest => ends[at].or(longer),
        };
    }
}
