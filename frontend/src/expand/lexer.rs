//! The reader of one word, character by character.

use std::collections::BTreeSet;
use std::ops::Range;

use super::name::{is_digit, is_letter};
use super::pattern::{self, Direction, Steps};
use super::{EXPANSION_BYTES_MAX, EXPANSION_DEPTH_MAX, ExpandError, Expansion, Misread, Variables};

/// How a word is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    /// The escape character.
    pub(crate) escape: char,
    /// Quotes stay in the result (they still group).
    pub(crate) keeps_quotes: bool,
    /// Escape characters stay in the result (they still escape).
    pub(crate) keeps_escapes: bool,
    /// Quotes are ordinary characters.
    pub(crate) keeps_quotes_plain: bool,
    /// A variable that is not set stays as written.
    pub(crate) keeps_unset: bool,
}

impl Reading {
    /// The reading of ordinary words.
    pub(crate) fn word(escape: char) -> Self {
        Self {
            escape,
            keeps_quotes: false,
            keeps_escapes: false,
            keeps_quotes_plain: false,
            keeps_unset: false,
        }
    }
}

/// Reads a whole word. A byte order mark at its start is dropped, as Go's scanner drops it.
pub(crate) fn read(word: &str, variables: &dyn Variables, reading: Reading) -> Result<Expansion, Misread> {
    let mut reader = Reader {
        rest: Rest(without_mark(word)),
        length: word.len(),
        blamed: None,
        keeps_escapes: reading.keeps_escapes,
        reading,
        variables,
        word: String::new(),
        used: BTreeSet::new(),
        undefined: BTreeSet::new(),
        bytes: 0,
        steps: Steps::default(),
        depth: 0,
    };
    match reader.until(None, reading.keeps_escapes) {
        Ok((text, words)) => Ok(Expansion { text, words, used: reader.used, undefined: reader.undefined }),
        Err(error) => Err(Misread { error, range: reader.blamed.unwrap_or(0..word.len()) }),
    }
}

/// What is still to be read.
#[derive(Clone, Copy)]
struct Rest<'a>(&'a str);

impl Rest<'_> {
    fn peek(self) -> Option<char> {
        self.0.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let first = self.peek()?;
        self.0 = &self.0[first.len_utf8()..];
        Some(first)
    }

    fn next_if(&mut self, is_wanted: impl FnOnce(char) -> bool) -> Option<char> {
        self.peek().filter(|first| is_wanted(*first)).and_then(|_| self.next())
    }

    fn next_if_eq(&mut self, wanted: char) -> Option<char> {
        self.next_if(|first| first == wanted)
    }
}

pub(super) fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

struct Reader<'a> {
    rest: Rest<'a>,
    /// Bytes of the whole word.
    length: usize,
    /// The innermost part that an error arose in.
    blamed: Option<Range<usize>>,
    reading: Reading,
    keeps_escapes: bool,
    variables: &'a dyn Variables,
    /// The word that is being collected. Shared by all levels: a nested level clears it, as BuildKit's does.
    word: String,
    used: BTreeSet<String>,
    undefined: BTreeSet<String>,
    bytes: usize,
    steps: Steps,
    depth: usize,
}

/// The words collected at one level.
#[derive(Default)]
struct Words {
    list: Vec<String>,
    in_word: bool,
}

impl Words {
    fn push_plain(&mut self, word: &mut String, character: char) {
        if !character.is_whitespace() {
            word.push(character);
            self.in_word = true;
        } else if self.in_word && !word.is_empty() {
            self.list.push(std::mem::take(word));
            self.in_word = false;
        }
    }

    fn push_raw(&mut self, word: &mut String, text: &str) {
        word.push_str(text);
        self.in_word = true;
    }

    fn finish(mut self, word: &mut String) -> Vec<String> {
        if !word.is_empty() {
            self.list.push(std::mem::take(word));
        }
        self.list
    }
}

impl Reader<'_> {
    /// Reads up to a character, which is consumed, or to the end.
    fn until(
        &mut self,
        stop: Option<char>,
        keeps_escapes: bool,
    ) -> Result<(String, Vec<String>), ExpandError> {
        self.depth += 1;
        if self.depth > EXPANSION_DEPTH_MAX {
            return Err(ExpandError::TooDeep);
        }
        let before = std::mem::replace(&mut self.keeps_escapes, keeps_escapes);
        let result = self.level(stop);
        self.keeps_escapes = before;
        self.depth -= 1;
        result
    }

    fn level(&mut self, stop: Option<char>) -> Result<(String, Vec<String>), ExpandError> {
        let mut text = String::new();
        let mut words = Words::default();
        self.word.clear();
        while let Some(character) = self.rest.peek() {
            if stop == Some(character) {
                self.rest.next();
                return Ok((text, words.finish(&mut self.word)));
            }
            match character {
                '$' => {
                    let value = self.dollar()?;
                    value.chars().for_each(|c| words.push_plain(&mut self.word, c));
                    self.append(&mut text, &value)?;
                }
                '\'' | '"' if !self.reading.keeps_quotes_plain => {
                    let quoted = match character {
                        '"' => self.blame(Self::double_quoted)?,
                        _ => self.blame(Self::single_quoted)?,
                    };
                    words.push_raw(&mut self.word, &quoted);
                    self.append(&mut text, &quoted)?;
                }
                '<' => {
                    let mark = self.heredoc_mark();
                    words.push_raw(&mut self.word, &mark);
                    text.push_str(&mark);
                }
                _ => self.plain(&mut text, &mut words),
            }
        }
        match stop {
            None => Ok((text, words.finish(&mut self.word))),
            Some('/') => Err(ExpandError::MissingSlash),
            Some(_) => Err(ExpandError::MissingBrace),
        }
    }

    fn append(&mut self, text: &mut String, value: &str) -> Result<(), ExpandError> {
        self.bytes += value.len();
        if self.bytes > EXPANSION_BYTES_MAX {
            return Err(ExpandError::TooLarge);
        }
        text.push_str(value);
        Ok(())
    }

    /// A character without meaning, or an escape.
    fn plain(&mut self, text: &mut String, words: &mut Words) {
        let Some(mut character) = self.rest.next() else { return };
        if character == self.reading.escape {
            if self.keeps_escapes {
                words.push_raw(&mut self.word, character.encode_utf8(&mut [0; 4]));
                text.push(character);
            }
            // An escape at the end of the word escapes nothing.
            let Some(escaped) = self.rest.next() else { return };
            character = escaped;
            words.push_raw(&mut self.word, character.encode_utf8(&mut [0; 4]));
        } else {
            words.push_plain(&mut self.word, character);
        }
        text.push(character);
    }

    fn single_quoted(&mut self) -> Result<String, ExpandError> {
        let mut text = String::new();
        self.quote(&mut text);
        loop {
            match self.rest.next() {
                None => return Err(ExpandError::UnmatchedQuote("single")),
                Some('\'') => break,
                Some(character) => text.push(character),
            }
        }
        if self.reading.keeps_quotes {
            text.push('\'');
        }
        Ok(text)
    }

    fn double_quoted(&mut self) -> Result<String, ExpandError> {
        let mut text = String::new();
        self.quote(&mut text);
        loop {
            match self.rest.peek() {
                None => return Err(ExpandError::UnmatchedQuote("double")),
                Some('"') => {
                    self.quote(&mut text);
                    return Ok(text);
                }
                Some('$') => {
                    let value = self.dollar()?;
                    self.append(&mut text, &value)?;
                }
                Some(_) => self.double_quoted_character(&mut text),
            }
        }
    }

    fn double_quoted_character(&mut self, text: &mut String) {
        let escape = self.reading.escape;
        let Some(mut character) = self.rest.next() else { return };
        if character == escape {
            if self.keeps_escapes {
                text.push(character);
            }
            match self.rest.peek() {
                None => return,
                Some(next) if next == '"' || next == '$' || next == escape => {
                    self.rest.next();
                    character = next;
                }
                Some(_) => {}
            }
        }
        text.push(character);
    }

    /// Consumes a quote and keeps it where quotes are kept.
    fn quote(&mut self, text: &mut String) {
        let quote = self.rest.next();
        if self.reading.keeps_quotes {
            text.extend(quote);
        }
    }

    /// `<`, or `<<` with the blanks behind it, so that `<< WORD` is one word.
    fn heredoc_mark(&mut self) -> String {
        self.rest.next();
        if self.rest.next_if_eq('<').is_none() {
            return "<".to_owned();
        }
        let mut mark = "<<".to_owned();
        while let Some(blank) = self.rest.next_if(|c| matches!(c, '\t' | '\r' | ' ')) {
            mark.push(blank);
        }
        mark
    }

    /// Remembers which part an error arose in, unless a part of that part is to blame already.
    fn blame<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, ExpandError>) -> Result<T, ExpandError> {
        let start = self.length - self.rest.0.len();
        read(self).inspect_err(|_| {
            let end = self.length - self.rest.0.len();
            self.blamed.get_or_insert(start..end);
        })
    }

    fn dollar(&mut self) -> Result<String, ExpandError> {
        self.blame(Self::substitution)
    }

    fn substitution(&mut self) -> Result<String, ExpandError> {
        self.rest.next();
        if self.rest.next_if_eq('{').is_some() {
            return self.braces();
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".to_owned());
        }
        match self.value(&name) {
            None if self.reading.keeps_unset => Ok(format!("${name}")),
            value => Ok(value.unwrap_or_default()),
        }
    }

    fn braces(&mut self) -> Result<String, ExpandError> {
        match self.rest.peek() {
            None => return Err(ExpandError::MissingBrace),
            Some('{' | '}' | ':') => return Err(ExpandError::BadSubstitution),
            Some(_) => {}
        }
        let name = self.name();
        match self.rest.next() {
            None => Err(ExpandError::MissingBrace),
            Some('}') => match self.value(&name) {
                None if self.reading.keeps_unset => Ok(format!("${{{name}}}")),
                value => Ok(value.unwrap_or_default()),
            },
            Some(':') => {
                let Some(modifier) = self.rest.next() else { return Err(ExpandError::MissingBrace) };
                self.modified(&name, modifier, true)
            }
            Some(modifier @ ('+' | '-' | '?' | '#' | '%')) => self.modified(&name, modifier, false),
            Some('/') => self.replaced(&name),
            Some(other) => Err(ExpandError::UnsupportedModifier(other.to_string())),
        }
    }

    /// `${x:-w}` and its like, behind the modifier.
    fn modified(&mut self, name: &str, modifier: char, empty_is_unset: bool) -> Result<String, ExpandError> {
        let written = if empty_is_unset { format!(":{modifier}") } else { modifier.to_string() };
        let is_trim = matches!(modifier, '#' | '%');
        if empty_is_unset && is_trim {
            return Err(ExpandError::UnsupportedModifier(written));
        }
        let word = self.operand('}', is_trim)?;
        let value = self.worked_on(name)?;
        if value.is_none() && self.reading.keeps_unset {
            return Ok(format!("${{{name}{written}{word}}}"));
        }
        let is_empty = empty_is_unset && value.as_ref().is_some_and(String::is_empty);
        match modifier {
            '-' => Ok(value.filter(|_| !is_empty).unwrap_or(word)),
            '+' => Ok(value.filter(|_| !is_empty).map(|_| word).unwrap_or_default()),
            '?' => required(name, value, is_empty, word),
            '#' => pattern::trim(&word, &value.unwrap_or_default(), Direction::Prefix, &mut self.steps),
            '%' => pattern::trim(&word, &value.unwrap_or_default(), Direction::Suffix, &mut self.steps),
            _ => Err(ExpandError::UnsupportedModifier(written)),
        }
    }

    /// `${x/p/r}` and `${x//p/r}`, behind the first `/`.
    fn replaced(&mut self, name: &str) -> Result<String, ExpandError> {
        let is_all = self.rest.next_if_eq('/').is_some();
        let search = self.operand('/', true)?;
        let replacement = self.operand('}', true)?;
        match self.worked_on(name)? {
            None if self.reading.keeps_unset => Ok(format!("${{{name}/{search}/{replacement}}}")),
            value => {
                let replace = if is_all { pattern::replace_all } else { pattern::replace_first };
                replace(&search, &value.unwrap_or_default(), &replacement, &mut self.steps)
            }
        }
    }

    /// A nested word. Whatever goes wrong in it at the end of the text is reported as the missing end.
    fn operand(&mut self, stop: char, keeps_escapes: bool) -> Result<String, ExpandError> {
        let missing = if stop == '/' { ExpandError::MissingSlash } else { ExpandError::MissingBrace };
        match self.until(Some(stop), keeps_escapes) {
            Ok((word, _)) => Ok(word),
            Err(error @ (ExpandError::TooDeep | ExpandError::TooLarge | ExpandError::TooSlow)) => Err(error),
            Err(_) if self.rest.peek().is_none() => {
                self.blamed = None;
                Err(missing)
            }
            Err(error) => Err(error),
        }
    }

    /// Letters, digits and `_`; or digits alone; or one of the shell's special characters.
    fn name(&mut self) -> String {
        let mut name = String::new();
        match self.rest.peek() {
            Some(first) if is_digit(first) => {
                while let Some(digit) = self.rest.next_if(is_digit) {
                    name.push(digit);
                }
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => name.extend(self.rest.next()),
            _ => {
                while let Some(c) = self.rest.next_if(|c| is_letter(c) || is_digit(c) || c == '_') {
                    name.push(c);
                }
            }
        }
        name
    }

    /// Returns a value of which less may come out than is looked at.
    fn worked_on(&mut self, name: &str) -> Result<Option<String>, ExpandError> {
        let value = self.value(name);
        self.steps.take(value.as_ref().map_or(0, String::len))?;
        Ok(value)
    }

    fn value(&mut self, name: &str) -> Option<String> {
        let value = self.variables.get(name).map(std::borrow::Cow::into_owned);
        let set = if value.is_some() { &mut self.used } else { &mut self.undefined };
        if !set.contains(name) {
            set.insert(name.to_owned());
        }
        value
    }
}

fn required(name: &str, value: Option<String>, is_empty: bool, word: String) -> Result<String, ExpandError> {
    let usual = match value {
        Some(value) if !is_empty => return Ok(value),
        Some(_) => "is not allowed to be empty",
        None => "is not allowed to be unset",
    };
    let message = if word.is_empty() { usual.to_owned() } else { word };
    Err(ExpandError::Required { name: name.to_owned(), message })
}
