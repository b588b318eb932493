//! Flags behind an instruction's keyword: `--name` and `--name=value`. Cuts them off, and checks them against the few
//! that an instruction knows; what the values mean is for the instructions.
//!
//! BuildKit reads flags byte by byte, so a letter beyond ASCII falls apart there; here it stays whole. No blank beyond
//! ASCII separates flags.

use std::ops::Range;

use crate::diagnostic::Diagnostic;
use crate::lines::LogicalLine;
use crate::source::{Span, Word};
use crate::suggest;
use crate::words::is_blank;

/// A flag `--name` or `--name=value`; quotes and escapes in it are already taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// The name without dashes.
    pub name: Word,
    /// The value; `None` where there is no `=`.
    pub value: Option<Word>,
    /// All of it.
    pub span: Span,
}

/// Cuts flags off the front of a part of a line; returns them and where the rest starts. `--` ends them.
pub(crate) fn split(line: &LogicalLine<'_>, range: Range<usize>, escape: char) -> (Vec<Flag>, usize) {
    let mut flags = Vec::new();
    let mut at = range.start;
    loop {
        let rest = &line.text[at..range.end];
        at = range.end - rest.trim_start_matches(is_blank).len();
        if !line.text[at..range.end].starts_with("--") {
            return (flags, at);
        }
        let word = unquote(&line.text, at..range.end, escape);
        let end = word.end;
        if word.text == "--" {
            return (flags, end);
        }
        flags.push(flag(line, at, &word));
        at = end;
    }
}

/// A word without its quotes and escapes.
struct Unquoted {
    text: String,
    /// Where the first `=` stands: in the text and in the line.
    equals: Option<(usize, usize)>,
    end: usize,
}

fn unquote(line: &str, range: Range<usize>, escape: char) -> Unquoted {
    let mut word = Unquoted { text: String::new(), equals: None, end: range.end };
    let mut quote = None;
    let mut characters = line[range.clone()].char_indices();
    while let Some((offset, character)) = characters.next() {
        let mut character = character;
        match quote {
            None if is_blank(character) => {
                word.end = range.start + offset;
                break;
            }
            None if matches!(character, '\'' | '"') => {
                quote = Some(character);
                continue;
            }
            Some(open) if open == character => {
                quote = None;
                continue;
            }
            _ => {}
        }
        if character == escape {
            // An escape character at the end of the line is dropped.
            let Some((_, escaped)) = characters.next() else { break };
            character = escaped;
        }
        if character == '=' && word.equals.is_none() {
            word.equals = Some((word.text.len(), range.start + offset));
        }
        word.text.push(character);
    }
    word
}

fn flag(line: &LogicalLine<'_>, start: usize, word: &Unquoted) -> Flag {
    let (name_length, name_end) = word.equals.unwrap_or((word.text.len(), word.end));
    let name = word.text.get(2..name_length).unwrap_or("").to_owned();
    let value = word.equals.map(|(at, in_line)| Word {
        text: word.text[at + 1..].to_owned(),
        span: line.span((in_line + 1).min(word.end)..word.end),
    });
    Flag {
        name: Word { text: name, span: line.span(start..name_end) },
        value,
        span: line.span(start..word.end),
    }
}

/// What kind of value a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FlagKind {
    /// `true` or `false`, or no value, which is `true`.
    Switch,
    /// Exactly one value.
    Text,
    /// A value each time; may be repeated.
    List,
}

/// The flags of one instruction after [`check`].
pub(crate) struct Checked<'a> {
    flags: Vec<&'a Flag>,
}

impl Checked<'_> {
    /// Returns the value of a flag.
    pub(crate) fn text(&self, name: &str) -> Option<Word> {
        self.list(name).into_iter().next()
    }

    /// Returns the value of a flag; an empty value counts as none, as in BuildKit.
    pub(crate) fn filled(&self, name: &str) -> Option<Word> {
        self.text(name).filter(|value| !value.text.is_empty())
    }

    /// Returns all values of a flag.
    pub(crate) fn list(&self, name: &str) -> Vec<Word> {
        self.flags
            .iter()
            .filter(|flag| flag.name.text == name)
            .filter_map(|flag| flag.value.clone())
            .collect()
    }

    /// Returns the setting of a switch.
    pub(crate) fn switch(&self, name: &str) -> Option<bool> {
        let flag = self.flags.iter().find(|flag| flag.name.text == name)?;
        Some(!flag.value.as_ref().is_some_and(|value| value.text.eq_ignore_ascii_case("false")))
    }
}

/// The most wrong flags of one instruction that are told.
const ERRORS_MAX: usize = 100;

/// Checks flags against those that an instruction knows. Wrong ones are reported and left out.
pub(crate) fn check<'a>(
    flags: &'a [Flag],
    known: &[(&str, FlagKind)],
    found: &mut Vec<Diagnostic>,
) -> Checked<'a> {
    let mut checked = Checked { flags: Vec::new() };
    let errors_max = found.len() + ERRORS_MAX;
    for flag in flags {
        match problem(flag, known, &checked.flags) {
            Some(diagnostic) => found.push(diagnostic),
            None => checked.flags.push(flag),
        }
        if found.len() == errors_max {
            break;
        }
    }
    checked
}

fn problem(flag: &Flag, known: &[(&str, FlagKind)], before: &[&Flag]) -> Option<Diagnostic> {
    let name = flag.name.text.as_str();
    let Some((_, kind)) = known.iter().find(|(option, _)| *option == name) else {
        let near = suggest::nearest(name, known.iter().map(|(option, _)| *option));
        let message = format!("unknown flag: --{name}");
        return Some(
            Diagnostic::error("unknown-flag", flag.name.span, message)
                .with_suggestion(near.map(|near| format!("--{near}"))),
        );
    };
    let same = |other: &&&Flag| *kind != FlagKind::List && other.name.text == name;
    if let Some(first) = before.iter().find(same) {
        let message = format!("duplicate flag specified: --{name}");
        return Some(
            Diagnostic::error("duplicate-flag", flag.span, message).with_place(first.span, "the first one"),
        );
    }
    let value = flag.value.as_ref().map(|value| value.text.as_str());
    let lacks_value = match kind {
        FlagKind::Switch => value == Some(""),
        FlagKind::Text | FlagKind::List => value.is_none(),
    };
    if lacks_value {
        let message = format!("missing a value on flag: --{name}");
        return Some(Diagnostic::error("missing-flag-value", flag.span, message));
    }
    let is_boolean = |value: &str| ["true", "false"].iter().any(|option| value.eq_ignore_ascii_case(option));
    match value {
        Some(value) if *kind == FlagKind::Switch && !is_boolean(value) => {
            let message = format!("expecting boolean value for flag --{name}, not: {value}");
            let span = flag.value.as_ref().map_or(flag.span, |value| value.span);
            Some(Diagnostic::error("flag-value", span, message).with_help("write `true` or `false`"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines::Lines;
    use crate::source::Source;

    type NamesAndValues = Vec<(String, Option<String>)>;

    fn read(text: &str) -> (NamesAndValues, String, Vec<String>) {
        let source = Source::new("Dockerfile", text);
        let line = Lines::new(&source).next_logical(&mut Vec::new()).unwrap();
        let (flags, rest) = split(&line, 0..line.text.len(), '\\');
        let values = flags.iter().filter_map(|flag| flag.value.as_ref());
        let spans = values.map(|value| source.slice(value.span).to_owned()).collect();
        let flags = flags.into_iter().map(|f| (f.name.text, f.value.map(|value| value.text))).collect();
        (flags, line.text[rest..].to_owned(), spans)
    }

    #[test]
    fn flags_are_cut_off_with_quotes_and_escapes_taken_away() {
        type Flags<'a> = &'a [(&'a str, Option<&'a str>)];
        let cases: &[(&str, Flags<'_>, &str, &[&str])] = &[
            ("--a --b=c d", &[("a", None), ("b", Some("c"))], "d", &["c"]),
            ("--a=\"x y\" --b='p'q d", &[("a", Some("x y")), ("b", Some("pq"))], "d", &["\"x y\"", "'p'q"]),
            (r"--a=x\ y d", &[("a", Some("x y"))], "d", &[r"x\ y"]),
            ("--a -- --b", &[("a", None)], " --b", &[]),
            ("--a --", &[("a", None)], "", &[]),
            ("-a --b", &[], "-a --b", &[]),
            ("--chown=ü:à d", &[("chown", Some("ü:à"))], "d", &["ü:à"]),
            ("--a=b=c", &[("a", Some("b=c"))], "", &["b=c"]),
            ("--a \u{a0}--b d", &[("a", None)], "\u{a0}--b d", &[]),
            ("--a\u{2003}b \x0b--c", &[("a\u{2003}b", None), ("c", None)], "", &[]),
            ("--a= d", &[("a", Some(""))], "d", &[""]),
            ("--=x", &[("", Some("x"))], "", &["x"]),
            ("--a=\\\nb c", &[("a", Some("b"))], "c", &["b"]),
        ];
        for (text, flags, rest, spans) in cases {
            let expected =
                flags.iter().map(|(n, v)| ((*n).to_owned(), v.map(str::to_owned))).collect::<Vec<_>>();
            let (found, found_rest, found_spans) = read(text);
            assert_eq!((found, found_rest.as_str()), (expected, *rest), "{text}");
            assert_eq!(found_spans, *spans, "{text}");
        }
    }

    #[test]
    fn flags_that_an_instruction_does_not_know_are_reported_each() {
        let known = [("link", FlagKind::Switch), ("chown", FlagKind::Text), ("exclude", FlagKind::List)];
        let cases = [
            ("--link --chown=1 --exclude=a --exclude=b", ""),
            ("--link=TRUE", ""),
            ("--link=maybe", "flag-value"),
            ("--link=", "missing-flag-value"),
            ("--chown", "missing-flag-value"),
            ("--chown=", ""),
            ("--chown=1 --chown=2", "duplicate-flag"),
            ("--lnk --chwon=1", "unknown-flag unknown-flag"),
            ("--", ""),
            ("---x", "unknown-flag"),
        ];
        for (text, expected) in cases {
            let source = Source::new("", text);
            let line = Lines::new(&source).next_logical(&mut Vec::new()).unwrap();
            let (flags, _) = split(&line, 0..line.text.len(), '\\');
            let mut found = Vec::new();
            check(&flags, &known, &mut found);
            let codes: Vec<&str> = found.iter().map(|diagnostic| diagnostic.code).collect();
            assert_eq!(codes.join(" "), expected, "{text}");
        }
    }
}
