//! Variables: `$x`, `${x:-y}`, `${x#p}`, `${x/p/r}`.

use std::borrow::Cow;
use std::collections::BTreeSet;

use thiserror::Error;

/// Where the values of variables come from.
pub trait Variables {
    /// Returns the value of a variable, or `None` where it is not set.
    fn get(&self, name: &str) -> Option<Cow<'_, str>>;
}

/// Reads words of a Dockerfile with one escape character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lexer {
    escape: char,
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

/// Why a word cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ExpandError {
    /// `${x?}` and `${x:?}`.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// The message behind `?`, or the usual one.
        message: String,
    },
    /// Not written yet.
    #[error("expansion is not finished")]
    Unfinished,
}

impl Lexer {
    /// Makes a lexer for the escape character of a file.
    pub fn new(escape: char) -> Self {
        Self { escape }
    }

    /// Expands a word: variables are replaced, quotes and escapes taken away.
    pub fn expand(self, word: &str, variables: &dyn Variables) -> Result<Expansion, ExpandError> {
        if word.contains(['$', '\'', '"', self.escape]) && variables.get(word).is_some() {
            return Err(ExpandError::Unfinished);
        }
        Ok(Expansion { text: word.to_owned(), ..Expansion::default() })
    }

    /// Expands the body of a heredoc: quotes stay; the escape character is always `\`.
    pub fn expand_body(body: &str, variables: &dyn Variables) -> Result<Expansion, ExpandError> {
        Self::new('\\').expand(body, variables)
    }
}
