//! One pattern of an ignore file. The common shapes are compared as plain bytes; the rest becomes an [`Expression`].

use kiln_glob::Glob;

use super::expression::{BadExpression, Expression};

#[derive(Debug, Clone)]
pub(super) struct Pattern {
    text: Vec<u8>,
    shape: Shape,
    /// The bytes that every match starts and ends with, where they are known: most paths fail here.
    first: Option<u8>,
    last: Option<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    /// The path itself.
    Exact,
    /// `dir/**`: everything that starts with this.
    Prefix(Vec<u8>),
    /// `**/name`: everything that ends with this.
    Suffix(Vec<u8>),
    /// Anything else.
    Expression(Expression),
}

/// What is known of a pattern while it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Exact,
    Prefix,
    Suffix,
    Expression,
}

impl Pattern {
    /// Compiles a cleaned pattern.
    pub(super) fn new(text: &[u8]) -> Result<Self, BadExpression> {
        Glob::new(text).map_err(|_| BadExpression)?;
        let (kind, expression) = translate(text);
        let shape = match kind {
            Kind::Exact => Shape::Exact,
            Kind::Prefix => Shape::Prefix(text[..text.len() - 2].to_vec()),
            Kind::Suffix => Shape::Suffix(text[2..].to_vec()),
            Kind::Expression => Shape::Expression(Expression::new(&expression)?),
        };
        let (first, last) = match &shape {
            Shape::Exact => (text.first(), text.last()),
            Shape::Prefix(prefix) => (prefix.first(), None),
            Shape::Suffix(suffix) => (None, suffix.last()),
            Shape::Expression(expression) => (expression.prefix().first(), expression.suffix().last()),
        };
        let (first, last) = (first.copied(), last.copied());
        Ok(Self { text: text.to_vec(), shape, first, last })
    }

    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    pub(super) fn matches(&self, path: &[u8]) -> bool {
        let fails = |known: Option<u8>, found: Option<&u8>| known.is_some() && known != found.copied();
        if fails(self.last, path.last()) || fails(self.first, path.first()) {
            return false;
        }
        match &self.shape {
            Shape::Exact => path == self.text,
            Shape::Prefix(prefix) => path.starts_with(prefix),
            // `**/name` also matches `name` itself.
            Shape::Suffix(suffix) => path.ends_with(suffix) || suffix.strip_prefix(b"/") == Some(path),
            Shape::Expression(expression) => expression.matches(path),
        }
    }

    /// Tells whether some path below a directory could match. May say yes too often, never no.
    pub(super) fn can_match_below(&self, directory: &[u8]) -> bool {
        let start = match &self.shape {
            Shape::Exact => return is_below(&self.text, directory),
            Shape::Prefix(prefix) => prefix,
            Shape::Suffix(_) => return true,
            Shape::Expression(expression) => expression.prefix(),
        };
        let common = start.len().min(directory.len());
        start[..common] == directory[..common]
            && start.get(directory.len()).is_none_or(|separator| *separator == b'/')
    }
}

fn is_below(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
}

/// Writes a pattern as the regular expression that BuildKit makes of it, and tells which shape is enough. The text is read
/// without regard to classes, which is why `[a?]` means what it means there.
fn translate(text: &[u8]) -> (Kind, String) {
    let text = String::from_utf8_lossy(text);
    let mut characters = text.chars().peekable();
    let mut expression = String::from("^");
    let mut kind = Kind::Exact;
    let mut is_first = true;
    while let Some(character) = characters.next() {
        match character {
            '*' if characters.next_if_eq(&'*').is_some() => {
                characters.next_if_eq(&'/');
                kind = if characters.peek().is_some() {
                    expression.push_str("(.*/)?");
                    Kind::Expression
                } else if kind == Kind::Exact {
                    Kind::Prefix
                } else {
                    expression.push_str(".*");
                    Kind::Expression
                };
                if is_first {
                    kind = Kind::Suffix;
                }
            }
            '*' => {
                expression.push_str("[^/]*");
                kind = Kind::Expression;
            }
            '?' => {
                expression.push_str("[^/]");
                kind = Kind::Expression;
            }
            '.' | '+' | '(' | ')' | '|' | '{' | '}' | '$' => expression.extend(['\\', character]),
            '\\' => {
                expression.push('\\');
                expression.extend(characters.next());
                kind = Kind::Expression;
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

/// Returns the shortest name of the same path, as Go's `filepath.Clean`: no `.`, no `..` that can be resolved, no repeated
/// or trailing `/`; `.` for nothing.
pub(super) fn clean(path: &[u8]) -> Vec<u8> {
    let is_absolute = path.starts_with(b"/");
    let mut names: Vec<&[u8]> = Vec::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." if names.last().is_some_and(|last| *last != b"..") => {
                names.pop();
            }
            b".." if is_absolute => {}
            name => names.push(name),
        }
    }
    let joined = names.join(&b'/');
    match (is_absolute, joined.is_empty()) {
        (true, _) => [b"/", joined.as_slice()].concat(),
        (false, true) => b".".to_vec(),
        (false, false) => joined,
    }
}
