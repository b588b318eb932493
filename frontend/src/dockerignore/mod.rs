//! Ignore files and `COPY --exclude`: parse patterns, match paths, and tell whether anything below a directory can match.
//! On bytes: neither patterns nor paths need be UTF-8. Which file is read, and the walk itself, are not known here.
//!
//! Follows `moby/patternmatcher` and the walk of `tonistiigi/fsutil`: patterns apply in order and the last match wins; a
//! pattern that matches a directory matches everything in it; `!` takes back. A path is judged with what its directory
//! inherited, which is also how BuildKit judges it: a pattern that had nothing to decide at a directory is not looked at
//! again for that directory when a path below it is judged.
//!
//! Made for walks. A [`Directory`] carries what is still undecided, so a name costs a few look-ups, whatever the number of
//! patterns.
//!
//! ```
//! use kiln_frontend::dockerignore::Matcher;
//!
//! let matcher = Matcher::parse(b"# everything but the documentation\ntarget\n!target/doc\n*.log\n")?;
//! let top = matcher.top();
//! assert!(top.excludes(b"build.log") && !top.excludes(b"Cargo.toml"));
//!
//! let target = top.enter(b"target");
//! assert!(target.is_excluded() && !target.can_prune());
//! assert!(target.enter(b"debug").can_prune());
//! assert!(!target.enter(b"doc").is_excluded());
//!
//! let rule = matcher.excluded_by(b"target/debug/app").expect("it is excluded");
//! assert_eq!((rule.line, rule.text()), (2, b"target".as_slice()));
//! # Ok::<(), kiln_frontend::dockerignore::IgnoreError>(())
//! ```

mod directory;
pub use directory::Directory;

mod tree;

mod pattern;

mod name;

mod automaton;

mod expression;

mod class;

mod read;

use thiserror::Error;

use pattern::{Pattern, Whole};
use tree::{RuleIndex, Tree};

/// Longest line of an ignore file, in bytes; BuildKit's is the same.
pub const LINE_BYTES_MAX: usize = (64 << 10) - 1;
/// All patterns of a list together may not be longer, in bytes.
pub const LIST_BYTES_MAX: usize = 4 << 20;
/// Most steps of the programs that patterns on whole paths become, all together: `a{1000}` is short and becomes a thousand.
const LIST_STEPS_MAX: usize = 1 << 20;

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
    /// A line that is too long to be meant.
    #[error("line is longer than {LINE_BYTES_MAX} bytes")]
    LineTooLong {
        /// The line, counted from 1.
        line: usize,
    },
    /// More patterns than anyone has.
    #[error("there are too many patterns, or they are too long")]
    TooLong {
        /// The first line that is too much, counted from 1.
        line: usize,
    },
}

impl IgnoreError {
    /// Returns the line (for `--exclude`: the position) of the pattern, counted from 1.
    pub fn line(&self) -> usize {
        match self {
            Self::EmptyException { line }
            | Self::BadPattern { line, .. }
            | Self::LineTooLong { line }
            | Self::TooLong { line } => *line,
        }
    }
}

/// A list of patterns, in order, that say what to leave out.
#[derive(Debug, Clone, Default)]
pub struct Matcher {
    rules: Vec<Rule>,
    /// The patterns made of names.
    tree: Tree,
    /// The others.
    whole: Vec<(RuleIndex, Whole)>,
}

/// One pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Whether it starts with `!`.
    pub is_exception: bool,
    /// The line it stands on (for `--exclude`: its position), counted from 1.
    pub line: usize,
    text: Vec<u8>,
}

impl Rule {
    /// Returns the pattern as it is matched: cleaned, without `!`.
    pub fn text(&self) -> &[u8] {
        &self.text
    }
}

impl Matcher {
    /// Parses an ignore file.
    ///
    /// # Errors
    /// For the first wrong pattern.
    pub fn parse(file: &[u8]) -> Result<Self, IgnoreError> {
        let lines = read::without_mark(file).split(|byte| *byte == b'\n').enumerate();
        Self::compile(lines.map(|(index, line)| (index + 1, line)), read::line)
    }

    /// Compiles patterns of `--exclude`: no comments, and a leading `/` stays.
    ///
    /// # Errors
    /// For the first wrong pattern.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, IgnoreError> {
        let patterns = patterns.into_iter().enumerate().map(|(index, pattern)| (index + 1, pattern));
        Self::compile(patterns, |pattern| Some(pattern.to_vec()))
    }

    fn compile<'a>(
        lines: impl Iterator<Item = (usize, &'a [u8])>,
        read: impl Fn(&[u8]) -> Option<Vec<u8>>,
    ) -> Result<Self, IgnoreError> {
        let mut rules = Vec::new();
        let mut patterns = Vec::new();
        let (mut bytes_left, mut steps_left) = (LIST_BYTES_MAX, LIST_STEPS_MAX);
        for (line, text) in lines {
            if text.len() > LINE_BYTES_MAX {
                return Err(IgnoreError::LineTooLong { line });
            }
            bytes_left = bytes_left.checked_sub(text.len()).ok_or(IgnoreError::TooLong { line })?;
            let Some(rule) = read(text).map(|text| Rule::new(line, &text)).transpose()?.flatten() else {
                continue;
            };
            let pattern = Pattern::new(&rule.text).map_err(|_| IgnoreError::BadPattern {
                line,
                pattern: String::from_utf8_lossy(&rule.text).into_owned(),
            })?;
            steps_left = steps_left.checked_sub(pattern.size()).ok_or(IgnoreError::TooLong { line })?;
            rules.push(rule);
            patterns.push(pattern);
        }
        Ok(Self::join(rules, patterns))
    }

    fn join(rules: Vec<Rule>, patterns: Vec<Pattern>) -> Self {
        let named = rules.iter().zip(&patterns).map(|(rule, pattern)| match pattern {
            Pattern::Names(steps) => (rule.is_exception, Some(steps.as_slice())),
            Pattern::Whole(_) | Pattern::Nothing => (rule.is_exception, None),
        });
        let tree = Tree::new(named);
        let whole = (0..).zip(patterns).filter_map(|(index, pattern)| match pattern {
            Pattern::Whole(whole) => Some((index, whole)),
            Pattern::Names(_) | Pattern::Nothing => None,
        });
        Self { rules, tree, whole: whole.collect() }
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

    /// Returns the directory that the paths are relative to, where a walk starts. It is never excluded itself.
    pub fn top(&self) -> Directory<'_> {
        Directory::top(self)
    }

    /// Returns the pattern that excludes a path, walking down from the top; `None` where it is not excluded. Paths are
    /// relative, with `/` between names, without `.` or `..`.
    pub fn excluded_by(&self, path: &[u8]) -> Option<&Rule> {
        let mut names = path.split(|byte| *byte == b'/');
        let last = names.next_back().unwrap_or_default();
        names.fold(self.top(), |directory, name| directory.enter(name)).excluded_by(last)
    }
}

impl Rule {
    /// Reads a prepared line; none if nothing is left of it.
    fn new(line: usize, text: &[u8]) -> Result<Option<Self>, IgnoreError> {
        let text = read::trim(text);
        if text.is_empty() {
            return Ok(None);
        }
        let text = read::clean(text);
        match text.strip_prefix(b"!") {
            Some([]) => Err(IgnoreError::EmptyException { line }),
            Some(behind) => Ok(Some(Self { is_exception: true, line, text: behind.to_vec() })),
            None => Ok(Some(Self { is_exception: false, line, text })),
        }
    }
}

/// Compares both ways to match one pattern: by names, and as a whole.
#[cfg(any(fuzzing, test))]
pub(crate) fn check_twice(pattern: &[u8], path: &[u8]) {
    let is_path = path.split(|byte| *byte == b'/').all(|name| !name.is_empty());
    let Some(whole) = Pattern::whole(pattern).filter(|_| is_path) else { return };
    let rule = Rule { is_exception: false, line: 1, text: pattern.to_vec() };
    let Ok(compiled) = Pattern::new(pattern) else { return };
    let named = Matcher::join(vec![rule], vec![compiled]);
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    let expected = ends.chain([path.len()]).any(|end| whole.matches(&path[..end]));
    assert_eq!(named.excluded_by(path).is_some(), expected, "{pattern:?} on {path:?}");
}

#[cfg(test)]
mod tests;
