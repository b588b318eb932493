//! One pattern of an ignore file, as names one below the other where that says the same, else as something that whole paths
//! are compared with.
//!
//! BuildKit compares a pattern in one of four ways, and which one has consequences: an expression's `.*` takes no newline,
//! and the bytes of the simple ones need not be UTF-8.
//!
//! | pattern | compared | becomes |
//! |---|---|---|
//! | no wildcard | equal bytes | names |
//! | `dir/**`, `dir**` | starts with | names and anything below; a beginning |
//! | `**/name`, `**name` | ends with, or is it | any directories, then names |
//! | others | regular expression | names, if no part reaches across a `/`; else an automaton |

use kiln_glob::{first_character, matches_lazily};

use super::automaton::Automaton;
use super::expression::{self, Assertion, Atom, BadExpression, Part, Times};
use super::name::{Name, Token, Wild};

/// What a pattern is compared with.
#[derive(Debug, Clone)]
pub(super) enum Pattern {
    /// Names, from the top.
    Names(Vec<Step>),
    /// A whole path.
    Whole(Whole),
    /// Nothing: no path is like that.
    Nothing,
}

/// A part of a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// Any number of directories.
    Directories(Span),
    /// One name.
    Name(Name),
}

/// What directories may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Span {
    /// Anything.
    Any,
    /// Anything without a newline.
    Lines,
}

/// What whole paths are compared with.
#[derive(Debug, Clone)]
pub(super) enum Whole {
    /// They start with this.
    Beginning(Vec<u8>),
    /// They match.
    Automaton(Automaton),
}

impl Whole {
    pub(super) fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Beginning(beginning) => path.starts_with(beginning),
            Self::Automaton(automaton) => automaton.matches(path),
        }
    }

    /// Tells whether a path with such an end can match, so that most paths need not be looked at.
    pub(super) fn can_end(&self, last: Option<&u8>) -> bool {
        match self {
            Self::Beginning(_) => true,
            Self::Automaton(automaton) => automaton.suffix().last().is_none_or(|byte| Some(byte) == last),
        }
    }

    /// Tells whether some path below a directory, named with a last `/`, could match. May say yes too often, never no.
    pub(super) fn can_match_below(&self, directory: &[u8]) -> bool {
        let start = match self {
            Self::Beginning(beginning) => beginning,
            Self::Automaton(automaton) => automaton.prefix(),
        };
        let common = start.len().min(directory.len());
        start[..common] == directory[..common]
    }
}

impl Pattern {
    /// Compiles a cleaned pattern.
    pub(super) fn new(text: &[u8]) -> Result<Self, BadExpression> {
        matches_lazily(text, b".").map_err(|_| BadExpression)?;
        let (kind, expression) = translate(text);
        match kind {
            Kind::Exact => Ok(names(text).map_or(Self::Nothing, Self::Names)),
            Kind::Beginning => Ok(Self::beginning(&text[..text.len() - 2])),
            Kind::End => Ok(Self::end(&text[2..])),
            Kind::Expression => {
                let alternatives = expression::read(&expression)?;
                if let [parts] = alternatives.as_slice()
                    && let Some(steps) = steps(parts)
                {
                    return Ok(Self::Names(steps));
                }
                Automaton::new(&alternatives).map(|automaton| Self::Whole(Whole::Automaton(automaton)))
            }
        }
    }

    /// Compiles a pattern that is an expression as one for whole paths, whether or not names would do.
    #[cfg(any(fuzzing, test))]
    pub(super) fn whole(text: &[u8]) -> Option<Whole> {
        matches_lazily(text, b".").ok()?;
        let (Kind::Expression, expression) = translate(text) else { return None };
        let alternatives = expression::read(&expression).ok()?;
        Automaton::new(&alternatives).ok().map(Whole::Automaton)
    }

    /// Returns how many steps it takes that a pattern can make out of few bytes.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Whole(Whole::Automaton(automaton)) => automaton.size(),
            Self::Whole(Whole::Beginning(_)) | Self::Names(_) | Self::Nothing => 0,
        }
    }

    /// `dir/**` or `dir**`.
    fn beginning(text: &[u8]) -> Self {
        let Some(directory) = text.strip_suffix(b"/") else {
            return Self::Whole(Whole::Beginning(text.to_vec()));
        };
        let Some(mut steps) = names(directory) else { return Self::Nothing };
        steps.extend([Step::Directories(Span::Any), Step::Name(Name::Any)]);
        Self::Names(steps)
    }

    /// `**/name`, `**name`, or `**` alone.
    fn end(text: &[u8]) -> Self {
        let anywhere = Step::Directories(Span::Any);
        if text.is_empty() {
            return Self::Names(vec![anywhere, Step::Name(Name::Any)]);
        }
        let Some(mut steps) = names(text.strip_prefix(b"/").unwrap_or(text)) else { return Self::Nothing };
        if let (false, Some(Step::Name(first))) = (text.starts_with(b"/"), steps.first_mut())
            && let Name::Exact(suffix) = first
        {
            let suffix = std::mem::take(suffix);
            *first = Name::Wild(Wild { prefix: Vec::new(), suffix, middle: vec![Token::Star] });
        }
        steps.insert(0, anywhere);
        Self::Names(steps)
    }
}

/// Returns the literal names of a path; none if one is empty, which no path has.
fn names(path: &[u8]) -> Option<Vec<Step>> {
    let names = path.split(|byte| *byte == b'/');
    names.map(|name| (!name.is_empty()).then(|| Step::Name(Name::Exact(name.to_vec())))).collect()
}

/// Cuts an expression at every `/`; none where some part of it could take one, or asks about its surroundings.
fn steps(parts: &[Part]) -> Option<Vec<Step>> {
    let is = |part: &Part, assertion| *part == Part { atom: Atom::Assert(assertion), times: Times::ONCE };
    let [first, rest @ .., last] = parts else { return None };
    if !is(first, Assertion::Start) || !is(last, Assertion::End) {
        return None;
    }
    let mut steps = Vec::new();
    let mut rest = rest;
    loop {
        if let [Part { atom: Atom::Directories, .. }, behind @ ..] = rest {
            steps.push(Step::Directories(Span::Lines));
            rest = behind;
        }
        if let [Part { atom: Atom::Class(class), times: Times::ANY }] = rest
            && class.is_not('\n')
        {
            if steps.last() != Some(&Step::Directories(Span::Lines)) {
                steps.push(Step::Directories(Span::Lines));
            }
            steps.push(Step::Name(Name::Line));
            return Some(steps);
        }
        let is_separator = |part: &Part| *part == Part { atom: Atom::One('/'), times: Times::ONCE };
        let length = rest.iter().position(is_separator);
        steps.push(Step::Name(name(&rest[..length.unwrap_or(rest.len())])?));
        match length {
            Some(length) => rest = &rest[length + 1..],
            None => return Some(steps),
        }
    }
}

/// Reads what stands between two `/`.
fn name(parts: &[Part]) -> Option<Name> {
    let tokens: Vec<Token> = parts.iter().map(token).collect::<Option<_>>()?;
    let is_literal = |token: &Token| matches!(token, Token::One(_));
    let start = tokens.iter().position(|token| !is_literal(token)).unwrap_or(tokens.len());
    let end = tokens.iter().rposition(|token| !is_literal(token)).map_or(tokens.len(), |last| last + 1);
    let (prefix, suffix) = (bytes(&tokens[..start]), bytes(&tokens[end..]));
    match (tokens.is_empty(), start == tokens.len()) {
        (true, _) => None,
        (false, true) => Some(Name::Exact(prefix)),
        (false, false) => Some(Name::Wild(Wild { prefix, suffix, middle: tokens[start..end].to_vec() })),
    }
}

fn token(part: &Part) -> Option<Token> {
    match (&part.atom, part.times) {
        // Bytes that are not UTF-8 are read as this one.
        (Atom::One('/' | char::REPLACEMENT_CHARACTER), _) => None,
        (Atom::One(character), Times::ONCE) => Some(Token::One(*character)),
        (Atom::Class(class), Times::ONCE) if !class.accepts('/') => Some(Token::Class(class.clone())),
        (Atom::Class(class), Times::ANY) if class.is_not('/') => Some(Token::Star),
        _ => None,
    }
}

fn bytes(tokens: &[Token]) -> Vec<u8> {
    let characters = tokens.iter().filter_map(|token| match token {
        Token::One(character) => Some(*character),
        _ => None,
    });
    characters.collect::<String>().into_bytes()
}

/// The four ways to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Exact,
    Beginning,
    End,
    Expression,
}

/// Writes a pattern as the regular expression that BuildKit makes of it, and tells which comparison is used. The text is read
/// without regard to classes, and `{`, `|` and `}` are not escaped, which is why `[a?]` and `a|b*` mean what they mean there.
fn translate(text: &[u8]) -> (Kind, String) {
    let text = characters(text);
    let mut characters = text.chars().peekable();
    let mut expression = String::from("^");
    let mut kind = Kind::Exact;
    let mut is_first = true;
    while let Some(character) = characters.next() {
        match character {
            '*' if characters.next_if_eq(&'*').is_some() => {
                characters.next_if_eq(&'/');
                let is_last = characters.peek().is_none();
                expression.push_str(if is_last { ".*" } else { "(.*/)?" });
                kind = match (is_first, is_last, kind) {
                    (true, ..) => Kind::End,
                    (false, true, Kind::Exact) => Kind::Beginning,
                    _ => Kind::Expression,
                };
            }
            '*' => {
                expression.push_str("[^/]*");
                kind = Kind::Expression;
            }
            '?' => {
                expression.push_str("[^/]");
                kind = Kind::Expression;
            }
            '.' | '+' | '(' | ')' | '$' => expression.extend(['\\', character]),
            '\\' => {
                expression.push('\\');
                // At the end it escapes the `$`, and a path may go on behind what matches.
                if let Some(escaped) = characters.next() {
                    expression.push(escaped);
                    kind = Kind::Expression;
                }
            }
            '[' | ']' => {
                expression.push(character);
                kind = Kind::Expression;
            }
            plain => expression.push(plain),
        }
        is_first = false;
    }
    expression.push('$');
    (kind, expression)
}

/// Returns the characters as Go's `text/scanner` gives them: one U+FFFD for each byte that is not UTF-8, and no byte order
/// mark in front.
fn characters(text: &[u8]) -> String {
    let mut characters = String::with_capacity(text.len());
    let mut rest = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    while let Some((character, length)) = first_character(rest) {
        characters.push(character);
        rest = &rest[length..];
    }
    characters
}
