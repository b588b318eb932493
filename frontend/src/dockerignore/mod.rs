//! Ignore files and `COPY --exclude`: parse patterns, match paths, and tell whether anything below a directory can match.
//! On bytes: neither patterns nor paths need be UTF-8. Which file is read, and the walk itself, are not known here.
//!
//! Follows `moby/patternmatcher` and the walk of `tonistiigi/fsutil`: patterns apply in order and the last match wins; a
//! pattern that matches a directory matches everything in it; `!` takes back. A path is judged with what its directory
//! inherited ([`Inherited`]), which is also how BuildKit judges it: a pattern that had nothing to decide at a directory is
//! not looked at again for that directory when a path below it is judged.

mod pattern;

mod expression;

use thiserror::Error;

use pattern::Pattern;

/// Why an ignore file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IgnoreError {
    /// `!` with nothing behind it.
    #[error("illegal exclusion pattern: \"!\"")]
    EmptyException {
        /// The line, counted from 1.
        line: usize,
    },
    /// A pattern with wrong syntax.
    #[error("syntax error in pattern: `{pattern}`")]
    BadPattern {
        /// The line, counted from 1.
        line: usize,
        /// The pattern.
        pattern: String,
    },
}

impl IgnoreError {
    /// Returns the line (for `--exclude`: the position) of the pattern, counted from 1.
    pub fn line(&self) -> usize {
        match self {
            Self::EmptyException { line } | Self::BadPattern { line, .. } => *line,
        }
    }
}

/// A list of patterns, in order. They say what to leave out, or, for `COPY --parents`, what to take: then read "is
/// excluded" as "is matched".
#[derive(Debug, Clone, Default)]
pub struct Matcher {
    rules: Vec<Rule>,
}

/// One pattern.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Whether it starts with `!`.
    pub is_exception: bool,
    /// The line it stands on (for `--exclude`: its position), counted from 1.
    pub line: usize,
    pattern: Pattern,
}

impl Rule {
    /// Returns the pattern as it is matched: cleaned, without `!`.
    pub fn text(&self) -> &[u8] {
        self.pattern.text()
    }
}

/// What the paths in a directory inherit from it: which patterns matched it. Made by [`Matcher::enter`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inherited {
    matched: Vec<u64>,
}

impl Inherited {
    fn has(&self, index: usize) -> bool {
        self.matched.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    fn set(&mut self, index: usize) {
        let word = index / 64;
        if self.matched.len() <= word {
            self.matched.resize(word + 1, 0);
        }
        self.matched[word] |= 1 << (index % 64);
    }
}

impl Matcher {
    /// Parses an ignore file.
    ///
    /// # Errors
    /// For the first wrong pattern.
    pub fn parse(file: &[u8]) -> Result<Self, IgnoreError> {
        let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
        let lines = file.split(|byte| *byte == b'\n').enumerate();
        let patterns = lines.filter_map(|(index, line)| Some((index + 1, preprocess(line)?)));
        Self::compile(patterns)
    }

    /// Compiles patterns of `--exclude`: no comments, and a leading `/` stays.
    ///
    /// # Errors
    /// For the first wrong pattern.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, IgnoreError> {
        Self::compile(patterns.into_iter().enumerate().map(|(index, pattern)| (index + 1, pattern.to_vec())))
    }

    fn compile(patterns: impl Iterator<Item = (usize, Vec<u8>)>) -> Result<Self, IgnoreError> {
        let mut rules = Vec::new();
        for (line, pattern) in patterns {
            let pattern = trim(&pattern);
            if pattern.is_empty() {
                continue;
            }
            let pattern = pattern::clean(pattern);
            let (is_exception, text) = match pattern.strip_prefix(b"!") {
                Some([]) => return Err(IgnoreError::EmptyException { line }),
                Some(text) => (true, text.to_vec()),
                None => (false, pattern),
            };
            let bad = |text: &[u8]| IgnoreError::BadPattern {
                line,
                pattern: String::from_utf8_lossy(text).into_owned(),
            };
            let pattern = Pattern::new(&text).map_err(|_| bad(&text))?;
            rules.push(Rule { is_exception, line, pattern });
        }
        Ok(Self { rules })
    }

    /// Returns the patterns in order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Tells whether there are no patterns.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Tells whether a pattern starts with `!`.
    pub fn has_exceptions(&self) -> bool {
        self.rules.iter().any(|rule| rule.is_exception)
    }

    /// Tells whether a path is excluded, given what its directory inherited ([`Inherited::default`] at the top). Paths are
    /// relative, with `/` between names, without `.` or `..`.
    pub fn is_excluded(&self, path: &[u8], parent: &Inherited) -> bool {
        self.judge(path, parent, |_| {}).is_some()
    }

    /// As [`Matcher::is_excluded`] for a directory; also returns what paths in it inherit.
    pub fn enter(&self, directory: &[u8], parent: &Inherited) -> (bool, Inherited) {
        let mut inherited = Inherited::default();
        let is_excluded = self.judge(directory, parent, |index| inherited.set(index)).is_some();
        (is_excluded, inherited)
    }

    /// Tells whether an excluded directory may be left out of the walk: no exception can match anything below it.
    pub fn can_prune(&self, directory: &[u8]) -> bool {
        !self.rules.iter().any(|rule| rule.is_exception && rule.pattern.can_match_below(directory))
    }

    /// Tells whether some path below a directory could match, exceptions aside: what a walk must enter where patterns
    /// say what to take (`COPY --parents`) and not what to leave out. May say yes too often, never no.
    pub fn can_match_below(&self, directory: &[u8]) -> bool {
        self.rules.iter().any(|rule| !rule.is_exception && rule.pattern.can_match_below(directory))
    }

    /// Returns the pattern that excludes a path, walking down from the top; `None` where it is not excluded. For
    /// messages: slower than judging paths in a walk.
    pub fn excluded_by(&self, path: &[u8]) -> Option<&Rule> {
        let mut inherited = Inherited::default();
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in ends {
            inherited = self.enter(&path[..end], &inherited).1;
        }
        self.judge(path, &inherited, |_| {}).map(|index| &self.rules[index])
    }

    /// Applies the patterns; returns the one that excludes the path. `seen` gets every pattern that matched.
    fn judge(&self, path: &[u8], parent: &Inherited, mut seen: impl FnMut(usize)) -> Option<usize> {
        let mut excluded_by = None;
        for (index, rule) in self.rules.iter().enumerate() {
            let decides = rule.is_exception == excluded_by.is_some();
            let is_match = parent.has(index) || (decides && rule.pattern.matches(path));
            if !is_match {
                continue;
            }
            seen(index);
            excluded_by = match (rule.is_exception, excluded_by) {
                (true, _) => None,
                (false, None) => Some(index),
                (false, already) => already,
            };
        }
        excluded_by
    }
}

/// Prepares a line of an ignore file: comments go, blanks around go, the path is cleaned, one leading `/` goes.
fn preprocess(line: &[u8]) -> Option<Vec<u8>> {
    if line.starts_with(b"#") {
        return None;
    }
    let line = trim(line);
    let (is_exception, path) = match line.strip_prefix(b"!") {
        Some(path) => (true, trim(path)),
        None => (false, line),
    };
    if line.is_empty() {
        return None;
    }
    let mut pattern = if is_exception { b"!".to_vec() } else { Vec::new() };
    if !path.is_empty() {
        let cleaned = pattern::clean(path);
        let relative = cleaned.strip_prefix(b"/").filter(|rest| !rest.is_empty()).unwrap_or(&cleaned);
        pattern.extend_from_slice(relative);
    }
    Some(pattern)
}

/// Takes blanks off both ends.
fn trim(bytes: &[u8]) -> &[u8] {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.trim().as_bytes(),
        Err(_) => bytes.trim_ascii(),
    }
}

#[cfg(test)]
mod tests;
