//! Where in the file a part of a word stands, also where continuations make the word shorter than what is written.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::lines::strip_continuation;
use crate::source::{Source, Span, Word};

/// Where the variables of one place of the file are used: `$name` or `${name}`.
pub(crate) struct Uses<'s> {
    place: Span,
    first: BTreeMap<&'s str, Span>,
}

impl<'s> Uses<'s> {
    /// Finds them, whether they are quoted or not.
    pub(crate) fn new(place: Span, source: &'s Source) -> Self {
        let text = source.slice(place);
        let mut first = BTreeMap::new();
        for (at, _) in text.match_indices('$') {
            let rest = &text[at + 1..];
            let braces = usize::from(rest.starts_with('{'));
            let name = name(&rest[braces..]);
            let start = place.start + at;
            let end = start + 1 + braces + name.len();
            let span = match (braces, rest[braces + name.len()..].starts_with('}')) {
                (1, true) => Span::new(start, end + 1),
                (1, false) => Span::new(start + 2, end),
                _ => Span::new(start, end),
            };
            first.entry(name).or_insert(span);
        }
        Self { place, first }
    }

    /// Returns where a variable is used first; the whole place where continuations or quotes hide it.
    pub(crate) fn of(&self, name: &str) -> Span {
        self.first.get(name).copied().unwrap_or(self.place)
    }
}

/// Returns the name of a variable at the start of a text, as expansion reads it.
fn name(text: &str) -> &str {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let length = match text.chars().next() {
        Some(first) if first.is_ascii_digit() => text.find(|c: char| !c.is_ascii_digit()),
        Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => Some(1),
        _ => text.find(|c: char| !is_name(c)),
    };
    &text[..length.unwrap_or(text.len())]
}

/// Returns where a part of a word stands; all of the word where that cannot be told.
pub(crate) fn of_part(word: &Word, part: Range<usize>, escape: char, source: &Source) -> Span {
    let raw = source.slice(word.span);
    if raw.len() == word.text.len() {
        return word.part(part);
    }
    let Some(pieces) = pieces(raw, &word.text, escape) else { return word.span };
    let offset = |at: usize| {
        let (logical, written) = pieces[pieces.partition_point(|(logical, _)| *logical <= at) - 1];
        word.span.start + written + (at - logical)
    };
    match part.end.checked_sub(1).filter(|last| *last >= part.start && *last < word.text.len()) {
        Some(last) => Span::new(offset(part.start), offset(last) + 1),
        None => word.span,
    }
}

/// Joins the lines of a part of the file as the parser does. Returns where each piece of the text comes from, if that gives
/// the text.
fn pieces(raw: &str, text: &str, escape: char) -> Option<Vec<(usize, usize)>> {
    let (mut pieces, mut joined, mut at) = (Vec::new(), String::with_capacity(text.len()), 0);
    for line in raw.split_inclusive('\n') {
        let content = line.trim_end_matches(['\r', '\n']);
        let start = content.trim_start();
        let is_left_out = at > 0 && (start.starts_with('#') || start.is_empty());
        if !is_left_out {
            pieces.push((joined.len(), at));
            let is_last = at + line.len() == raw.len();
            joined.push_str(if is_last { content } else { strip_continuation(content, escape).0 });
        }
        at += line.len();
    }
    (joined == text).then_some(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ast::{Command, Operation};

    #[test]
    fn a_variable_is_found_where_it_is_used() {
        let cases = [
            ("a $x", "x", "$x"),
            ("a ${x}b", "x", "${x}"),
            ("$xy ${x:-$x}", "x", "x"),
            ("${y:-$x}", "x", "$x"),
            ("$y", "x", "$y"),
            ("$xü $x", "x", "$x"),
        ];
        for (text, name, expected) in cases {
            let source = Source::new("Dockerfile", text);
            let uses = Uses::new(Span::new(0, text.len()), &source);
            assert_eq!(source.slice(uses.of(name)), expected, "{text}");
        }
    }

    #[test]
    fn parts_of_a_command_are_found_across_continuations() {
        let cases = [
            ("RUN a b; c", "b", "b"),
            ("RUN a \\\n  b; c", "b;", "b;"),
            ("RUN a \\\n# b\n\n  b; \\  \n c", "b;", "b;"),
            ("RUN a b\\\n c; d", "b c", "b\\\n c"),
            ("RUN a \\\r\n b", "b", "b"),
        ];
        for (text, part, expected) in cases {
            let source = Source::new("Dockerfile", format!("FROM x\n{text}\n"));
            let file = crate::parse(&source).file;
            let Operation::Run(run) = &file.stages[0].instructions[0].operation else { panic!("{text}") };
            let Command::Shell(word) = &run.command else { panic!("{text}") };
            let at = word.text.find(part).unwrap();
            let place = of_part(word, at..at + part.len(), '\\', &source);
            assert_eq!(source.slice(place), expected, "{text}");
        }
    }
}
