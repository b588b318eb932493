//! The case of a word.

/// The case of a word that is in one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    Lower,
    Upper,
}

impl Case {
    /// Returns the case of a word, or `None` where it is mixed. A word without letters is in lower case.
    pub(crate) fn of(word: &str) -> Option<Self> {
        [Self::Lower, Self::Upper].into_iter().find(|case| case.apply(word) == word)
    }

    /// Returns a word in this case.
    pub(crate) fn apply(self, word: &str) -> String {
        match self {
            Self::Lower => word.to_lowercase(),
            Self::Upper => word.to_uppercase(),
        }
    }

    /// Returns what it is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lower => "lower case",
            Self::Upper => "upper case",
        }
    }
}
