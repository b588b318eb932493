//! Where in the file a part of a word stands, also where continuations make the word shorter than what is written.

use std::ops::Range;

use crate::lines::strip_continuation;
use crate::source::{Source, Span, Word};

/// Returns where a variable is used in a place of the file: `$name` or `${name}`, or the place itself where continuations
/// or quotes hide it.
pub(crate) fn of_variable(name: &str, place: Span, source: &Source) -> Span {
    let text = source.slice(place);
    let found = text.match_indices('$').find_map(|(at, _)| {
        let rest = &text[at + 1..];
        let (braces, rest) = rest.strip_prefix('{').map_or((0, rest), |rest| (1, rest));
        let behind = rest.strip_prefix(name)?;
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        if behind.starts_with(is_name) && name.chars().all(is_name) {
            return None;
        }
        let start = place.start + at;
        let end = start + 1 + braces + name.len();
        match (braces, behind.starts_with('}')) {
            (1, true) => Some(Span::new(start, end + 1)),
            (1, false) => Some(Span::new(start + 2, end)),
            _ => Some(Span::new(start, end)),
        }
    });
    found.unwrap_or(place)
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
            assert_eq!(
                source.slice(of_variable(name, Span::new(0, text.len()), &source)),
                expected,
                "{text}"
            );
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
