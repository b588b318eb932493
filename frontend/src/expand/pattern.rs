//! The patterns of `${x#p}` and `${x/p/r}`: `*`, `?` and plain characters; `\*`, `\?` and `\\` are plain.
//! `*` and `?` match everything but a newline. Matching takes time in proportion to pattern times text, never more.

use super::ExpandError;
use super::lexer::without_mark;
use super::name::{is_digit, is_letter};

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
pub(super) fn trim(word: &str, value: &str, direction: Direction) -> Result<String, ExpandError> {
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
    if let Some(end) = match_ends(&tokens, &text, greed)[0] {
        text.drain(..end);
    }
    if direction == Direction::Suffix {
        text.reverse();
    }
    Ok(text.into_iter().collect())
}

/// Replaces the first match. The replacement is taken literally.
pub(super) fn replace_first(pattern: &str, value: &str, replacement: &str) -> Result<String, ExpandError> {
    let tokens = tokens(pattern).map_err(|escaped| invalid(pattern, escaped))?;
    let text: Vec<char> = value.chars().collect();
    let ends = match_ends(&tokens, &text, Greed::Longest);
    let Some((start, end)) = next_match(&ends, 0) else { return Ok(value.to_owned()) };
    let before = text[..start].iter();
    let after = text[end..].iter();
    Ok(before.copied().chain(replacement.chars()).chain(after.copied()).collect())
}

/// Replaces all matches. The replacement is a template as in Go's `regexp.ReplaceAllString`: `$0` is the match, `$$` is
/// `$`, any other `$name` is empty.
pub(super) fn replace_all(pattern: &str, value: &str, replacement: &str) -> Result<String, ExpandError> {
    let tokens = tokens(pattern).map_err(|escaped| invalid(pattern, escaped))?;
    let text: Vec<char> = value.chars().collect();
    let ends = match_ends(&tokens, &text, Greed::Longest);
    let mut result = String::new();
    let mut copied = 0;
    let mut search = 0;
    while let Some((start, end)) = next_match(&ends, search) {
        result.extend(&text[copied..start]);
        // An empty match right behind another match is no match.
        if end > copied || start == 0 {
            fill_template(&mut result, replacement, &text[start..end]);
            if result.len() > super::EXPANSION_BYTES_MAX {
                return Err(ExpandError::TooLarge);
            }
        }
        copied = end;
        search = end.max(search + 1);
    }
    result.extend(&text[copied..]);
    Ok(result)
}

fn next_match(ends: &[Option<usize>], from: usize) -> Option<(usize, usize)> {
    let start = (from..ends.len()).find(|start| ends[*start].is_some())?;
    Some((start, ends[start]?))
}

fn fill_template(result: &mut String, template: &str, matched: &[char]) {
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        result.push_str(before);
        rest = after;
        if let Some(after) = rest.strip_prefix('$') {
            result.push('$');
            rest = after;
        } else if let Some((name, after)) = template_name(rest) {
            if name == "0" {
                result.extend(matched);
            }
            rest = after;
        } else {
            result.push('$');
        }
    }
    result.push_str(rest);
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

/// Reads a pattern; an error is the character behind a wrong backslash.
fn tokens(pattern: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::with_capacity(pattern.len());
    let mut rest = without_mark(pattern).chars().peekable();
    while let Some(character) = rest.next() {
        let token = match character {
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

/// Returns, for every start in the text, the end of the match there. Works from the last token to the first, keeping
/// for one token the end that the tokens from it on give at every start.
fn match_ends(tokens: &[Token], text: &[char], greed: Greed) -> Vec<Option<usize>> {
    let mut ends: Vec<Option<usize>> = (0..=text.len()).map(Some).collect();
    for token in tokens.iter().rev() {
        match token {
            Token::Many => extend_many(&mut ends, text, greed),
            Token::Any => shift(&mut ends, text, |c| c != '\n'),
            Token::Plain(plain) => shift(&mut ends, text, |c| c == *plain),
        }
    }
    ends
}

fn shift(ends: &mut [Option<usize>], text: &[char], accepts: impl Fn(char) -> bool) {
    for (at, character) in text.iter().enumerate() {
        ends[at] = if accepts(*character) { ends[at + 1] } else { None };
    }
    ends[text.len()] = None;
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
