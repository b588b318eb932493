//! Words of instructions, expanded with what is in force there, and the variables that are missing.

use std::borrow::Cow;

use super::{Expanded, Role, Undefined};
use crate::expand::{ExpandError, Expansion, Lexer};
use crate::source::Word;
use crate::suggest;
use crate::variables::{CONTROL_ARGUMENTS, VariableList};

/// The most bytes that all words of a file may expand to; words behind them count as wrong.
const EXPANDED_BYTES_MAX: usize = 32 << 20;

/// The most words that are compared to find suggestions for all findings of a file.
const COMPARISONS_MAX: usize = 200_000;

/// Expands the words of one file.
pub(super) struct Words {
    lexer: Lexer,
    bytes: usize,
    comparisons: usize,
}

impl Words {
    pub(super) fn new(escape: char) -> Self {
        Self { lexer: Lexer::new(escape), bytes: 0, comparisons: 0 }
    }

    /// Expands a word; tells whether it was wrong.
    pub(super) fn expand(&mut self, word: &Word, variables: &VariableList) -> (Expansion, bool) {
        let lexer = self.lexer;
        self.counted(|| lexer.expand(&word.text, variables))
    }

    /// As [`Words::expand`], for the body of a heredoc.
    pub(super) fn expand_body(&mut self, word: &Word, variables: &VariableList) -> (Expansion, bool) {
        self.counted(|| Lexer::expand_body(&word.text, variables))
    }

    /// Expands while there is not too much. Errors are those of whoever plans the file.
    fn counted(&mut self, expand: impl FnOnce() -> Result<Expansion, ExpandError>) -> (Expansion, bool) {
        if self.bytes > EXPANDED_BYTES_MAX {
            return (Expansion::default(), true);
        }
        match expand() {
            Ok(expansion) => {
                self.bytes = self.bytes.saturating_add(expansion.text.len());
                (expansion, false)
            }
            Err(_) => (Expansion::default(), true),
        }
    }

    /// Reads a word of FROM.
    pub(super) fn read<'a>(&mut self, role: Role, word: &'a Word, variables: &VariableList) -> Expanded<'a> {
        let (expansion, is_wrong) = self.expand(word, variables);
        Expanded { role, written: Cow::Borrowed(word), expansion, is_wrong, undefined: Vec::new() }
    }

    /// Returns the variables of an expansion that are neither set nor declared.
    pub(super) fn undefined(
        &mut self,
        expansion: &Expansion,
        variables: &VariableList,
        declared: &VariableList,
    ) -> Vec<Undefined> {
        let is_missing =
            |name: &&String| declared.value(name).is_none() && !CONTROL_ARGUMENTS.contains(&name.as_str());
        let missing = expansion.undefined.iter().filter(is_missing);
        let mut near = |name: &String| {
            let near = nearest_bounded(name, variables.names(), &mut self.comparisons);
            Undefined { name: name.clone(), near }
        };
        missing.map(&mut near).collect()
    }
}

/// As [`suggest::nearest`], and nothing once too much was compared.
pub(crate) fn nearest_bounded<'n>(
    word: &str,
    names: impl Iterator<Item = &'n str>,
    comparisons: &mut usize,
) -> Option<String> {
    let left = COMPARISONS_MAX.saturating_sub(*comparisons);
    let counted = names.take(left).inspect(|_| *comparisons += 1);
    suggest::nearest(word, counted).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions_end_when_too_much_was_compared() {
        let names = ["PATH", "HOME"];
        let mut comparisons = 0;
        assert_eq!(nearest_bounded("PTAH", names.into_iter(), &mut comparisons), Some("PATH".to_owned()));
        assert_eq!(comparisons, 2);
        comparisons = COMPARISONS_MAX;
        assert_eq!(nearest_bounded("PTAH", names.into_iter(), &mut comparisons), None);
    }
}
