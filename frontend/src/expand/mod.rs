//! Variables in words: `$x`, `${x:-y}`, `${x#p}`, `${x/p/r}`. A pure function over a lookup.
//!
//! Follows BuildKit's `frontend/dockerfile/shell/lex.go` (Dockerfile syntax 1.26) in results, also where it surprises:
//!
//! | Written | Gives | Why it surprises |
//! |---|---|---|
//! | `${x//p/'[$0]'}` | `[p]` for every match | the replacement of `//` is a Go template, that of `/` is not |
//! | `${x#*}` | `x` | the shortest match is empty |
//! | `${x//p/\/}` | `\/` | escapes are kept in patterns and replacements |
//! | `a${x:-b}` split into words | `b` | a nested word restarts the word that is being collected |
//! | `$1a` | `a` | digits are a name of their own |
//!
//! Which word of which instruction is expanded is not known here.

mod lexer;
mod name;
mod pattern;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use thiserror::Error;

use crate::diagnostic::Diagnostic;
use crate::source::Word;
use crate::suggest;

pub(crate) use lexer::Reading;

/// The most bytes that one expansion may give, so that `ENV a=$a$a` repeated does not fill the memory.
pub const EXPANSION_BYTES_MAX: usize = 16 << 20;

/// The most characters that the substitutions of one word may look at: a few seconds of work at the worst.
pub const EXPANSION_STEPS_MAX: usize = 1 << 28;

/// The deepest nesting of `${x:-${y:-…}}`.
pub const EXPANSION_DEPTH_MAX: usize = 64;

/// Where the values of variables come from.
pub trait Variables {
    /// Returns the value of a variable, or `None` where it is not set.
    fn get(&self, name: &str) -> Option<Cow<'_, str>>;
}

impl<F: Fn(&str) -> Option<String>> Variables for F {
    fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        self(name).map(Cow::Owned)
    }
}

impl Variables for BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        BTreeMap::get(self, name).map(|value| Cow::Borrowed(value.as_str()))
    }
}

/// No variable is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NoVariables;

impl Variables for NoVariables {
    fn get(&self, _name: &str) -> Option<Cow<'_, str>> {
        None
    }
}

/// Reads words of a Dockerfile with one escape character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lexer {
    escape: char,
}

impl Lexer {
    /// Makes a lexer for the escape character of a file.
    pub fn new(escape: char) -> Self {
        Self { escape }
    }

    /// Expands a word: variables are replaced, quotes and escapes taken away.
    ///
    /// # Errors
    /// For wrong syntax, for `${x?}` of an unset variable, and for a result above [`EXPANSION_BYTES_MAX`].
    pub fn expand(self, word: &str, variables: &dyn Variables) -> Result<Expansion, ExpandError> {
        self.expand_located(word, variables).map_err(|misread| misread.error)
    }

    /// Expands a word as [`Lexer::expand`] does, and tells which part of it an error concerns.
    ///
    /// # Errors
    /// As [`Lexer::expand`].
    pub fn expand_located(self, word: &str, variables: &dyn Variables) -> Result<Expansion, Misread> {
        lexer::read(word, variables, Reading::word(self.escape))
    }

    /// Expands the body of a heredoc: quotes stay; the escape character is always `\`.
    ///
    /// # Errors
    /// As [`Lexer::expand`].
    pub fn expand_body(body: &str, variables: &dyn Variables) -> Result<Expansion, ExpandError> {
        Self::expand_body_located(body, variables).map_err(|misread| misread.error)
    }

    /// Expands the body of a heredoc as [`Lexer::expand_body`] does, and tells which part of it an error concerns.
    ///
    /// # Errors
    /// As [`Lexer::expand`].
    pub fn expand_body_located(body: &str, variables: &dyn Variables) -> Result<Expansion, Misread> {
        lexer::read(body, variables, Reading { keeps_quotes_plain: true, ..Reading::word('\\') })
    }
}

/// Reads a word with no variable set, under the given rules.
pub(crate) fn read_plain(word: &str, reading: Reading) -> Result<Expansion, ExpandError> {
    lexer::read(word, &NoVariables, reading).map_err(|misread| misread.error)
}

/// What became of a word.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expansion {
    /// The text with variables replaced, quotes and escapes taken away.
    pub text: String,
    /// The same, split at blanks that are not quoted (after the replacement: one variable may give several words).
    pub words: Vec<String>,
    /// The variables that were looked up and found.
    pub used: BTreeSet<String>,
    /// The variables that were looked up and not found.
    pub undefined: BTreeSet<String>,
}

/// Why a word cannot be expanded, and which bytes of it are to blame: the innermost `${…}` or quote.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{error}")]
pub struct Misread {
    /// What is wrong.
    pub error: ExpandError,
    /// Where.
    pub range: Range<usize>,
}

impl Misread {
    /// Returns the finding about a word, with the nearest of the names of variables where one is missing.
    pub fn diagnostic<'a>(&self, word: &Word, names: impl IntoIterator<Item = &'a str>) -> Diagnostic {
        let found = Diagnostic::error("expansion", word.part(self.range.clone()), self.error.to_string());
        match &self.error {
            ExpandError::Required { name, .. } => match suggest::nearest(name, names) {
                Some(near) => found.with_help(format!("did you mean the variable `{near}`?")),
                None => found,
            },
            ExpandError::UnsupportedModifier(_) | ExpandError::BadSubstitution => {
                found.with_help("put the escape character before a dollar sign that is meant as one")
            }
            _ => found,
        }
    }
}

/// Why a word cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ExpandError {
    /// `${x` without end.
    #[error("syntax error: missing '}}'")]
    MissingBrace,
    /// `${x/p` without a second `/`.
    #[error("syntax error: missing '/' in ${{}}")]
    MissingSlash,
    /// `${}`, `${:…}`, `${{`.
    #[error("syntax error: bad substitution")]
    BadSubstitution,
    /// `${x=y}` and the like.
    #[error("unsupported modifier ({0}) in substitution")]
    UnsupportedModifier(String),
    /// A quote without its partner.
    #[error("unexpected end of statement while looking for matching {0}-quote")]
    UnmatchedQuote(&'static str),
    /// An escape in a pattern that is neither `\*`, `\?` nor `\\`.
    #[error("invalid pattern ({pattern}) in substitution: invalid escape '\\{escaped}'")]
    InvalidPattern {
        /// The pattern.
        pattern: String,
        /// What follows the backslash; empty at the end.
        escaped: String,
    },
    /// `${x?}` and `${x:?}`.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// The message behind `?`, or the usual one.
        message: String,
    },
    /// More than [`EXPANSION_BYTES_MAX`] bytes.
    #[error("the expanded text is larger than {EXPANSION_BYTES_MAX} bytes")]
    TooLarge,
    /// More than [`EXPANSION_STEPS_MAX`] characters to look at.
    #[error("the substitutions look at more than {EXPANSION_STEPS_MAX} characters")]
    TooSlow,
    /// Deeper than [`EXPANSION_DEPTH_MAX`].
    #[error("substitutions are nested more than {EXPANSION_DEPTH_MAX} deep")]
    TooDeep,
}

#[cfg(test)]
mod tests;
