//! One component of a pattern: what a single name has to look like.

use kiln_glob::first_character;

use super::class::Class;

/// What a name may be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Name {
    /// This.
    Exact(Vec<u8>),
    /// Anything.
    Any,
    /// Anything without a newline, which `.` of an expression does not take.
    Line,
    /// What has these ends, and something between.
    Wild(Wild),
}

/// A name with literal ends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Wild {
    pub(super) prefix: Vec<u8>,
    pub(super) suffix: Vec<u8>,
    pub(super) middle: Vec<Token>,
}

/// What stands between the ends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Token {
    /// Any number of characters.
    Star,
    /// This character.
    One(char),
    /// One character of a set without `/`.
    Class(Class),
}

impl Name {
    /// Tells whether a name is one of these. It has no `/`.
    pub(super) fn matches(&self, name: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => name == exact,
            Self::Any => true,
            Self::Line => !name.contains(&b'\n'),
            Self::Wild(wild) => wild.matches(name),
        }
    }
}

impl Wild {
    fn matches(&self, name: &[u8]) -> bool {
        let Some(rest) = name.strip_prefix(self.prefix.as_slice()) else { return false };
        let Some(middle) = rest.strip_suffix(self.suffix.as_slice()) else { return false };
        match self.middle.as_slice() {
            [] => middle.is_empty(),
            [Token::Star] => true,
            tokens => matches_tokens(tokens, middle),
        }
    }
}

/// Greedy with one point of return: where nothing fits, the last star takes one character more.
fn matches_tokens(tokens: &[Token], name: &[u8]) -> bool {
    let (mut tokens, mut name) = (tokens, name);
    let mut star: Option<(&[Token], &[u8])> = None;
    loop {
        let here = first_character(name);
        match (tokens, here) {
            ([], None) => return true,
            ([Token::Star, rest @ ..], _) => {
                star = Some((rest, name));
                tokens = rest;
                continue;
            }
            ([token, rest @ ..], Some((character, length))) if token.accepts(character) => {
                (tokens, name) = (rest, &name[length..]);
                continue;
            }
            _ => {}
        }
        let Some((behind, from)) = star else { return false };
        let Some((_, length)) = first_character(from) else { return false };
        star = Some((behind, &from[length..]));
        (tokens, name) = (behind, &from[length..]);
    }
}

impl Token {
    fn accepts(&self, character: char) -> bool {
        match self {
            Self::Star => false,
            Self::One(one) => *one == character,
            Self::Class(class) => class.accepts(character),
        }
    }
}
