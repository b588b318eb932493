//! Instructions that change the configuration only.

use std::ops::Range;

use super::{ERRORS_IN_STORED_TRIGGERS, Operands, cut, read};
use crate::ast::{ArgDeclaration, ArgInstruction, Command, OnbuildInstruction, Pair};
use crate::diagnostic::Diagnostic;
use crate::source::Word;

/// ENV and LABEL.
pub(super) fn pairs(operands: &Operands<'_>, found: &mut Vec<Diagnostic>) -> Option<Vec<Pair>> {
    let flags = operands.check_flags(&[], found);
    let ranges = operands.quoted_ranges();
    let Some(first) = ranges.first() else { return operands.needs_an_argument(found) };
    if !operands.text()[first.clone()].contains('=') {
        let pair = legacy_pair(operands, found)?;
        return flags.map(|_| vec![pair]);
    }
    let pairs: Vec<Option<Pair>> = ranges.into_iter().map(|range| pair(operands, range, found)).collect();
    flags?;
    pairs.into_iter().collect()
}

/// `KEY value with blanks`
fn legacy_pair(operands: &Operands<'_>, found: &mut Vec<Diagnostic>) -> Option<Pair> {
    let words = crate::words::split_blanks(operands.text());
    let (Some(key), Some(value)) = (words.first(), words.get(1)) else {
        let message = format!("{} must have two arguments", operands.name);
        return operands.error("key-value", message, found);
    };
    let value = operands.part(value.start..operands.text().len());
    Some(Pair { key: operands.part(key.clone()), value, is_legacy: true })
}

fn pair(operands: &Operands<'_>, range: Range<usize>, found: &mut Vec<Diagnostic>) -> Option<Pair> {
    let text = &operands.text()[range.clone()];
    let Some(equals) = text.find('=') else {
        let message = format!("Syntax error - can't find = in {text:?}. Must be of the form: name=value");
        found.push(Diagnostic::error("key-value", operands.part(range).span, message));
        return None;
    };
    if equals == 0 {
        return blank_name(operands, range, found);
    }
    let key = operands.part(range.start..range.start + equals);
    let value = operands.part(range.start + equals + 1..range.end);
    Some(Pair { key, value, is_legacy: false })
}

fn blank_name<T>(operands: &Operands<'_>, range: Range<usize>, found: &mut Vec<Diagnostic>) -> Option<T> {
    let message = format!("{} names can not be blank", operands.name);
    found.push(Diagnostic::error("blank-name", operands.part(range).span, message));
    None
}

pub(super) fn arg(operands: &Operands<'_>, found: &mut Vec<Diagnostic>) -> Option<ArgInstruction> {
    let flags = operands.check_flags(&[], found);
    let ranges = operands.quoted_ranges();
    if ranges.is_empty() {
        return operands.needs_an_argument(found);
    }
    let declarations: Vec<Option<ArgDeclaration>> =
        ranges.into_iter().map(|range| declaration(operands, range, found)).collect();
    flags?;
    Some(ArgInstruction { declarations: declarations.into_iter().collect::<Option<_>>()? })
}

fn declaration(
    operands: &Operands<'_>,
    range: Range<usize>,
    found: &mut Vec<Diagnostic>,
) -> Option<ArgDeclaration> {
    match operands.text()[range.clone()].find('=') {
        None => Some(ArgDeclaration { name: operands.part(range), default: None }),
        Some(0) => blank_name(operands, range, found),
        Some(equals) => Some(ArgDeclaration {
            name: operands.part(range.start..range.start + equals),
            default: Some(operands.part(range.start + equals + 1..range.end)),
        }),
    }
}

/// Ports are sorted by their text before they are expanded, as in BuildKit.
pub(super) fn expose(operands: &Operands<'_>, found: &mut Vec<Diagnostic>) -> Option<Vec<Word>> {
    let flags = operands.check_flags(&[], found);
    let mut ports = operands.words();
    if ports.is_empty() {
        return operands.needs_an_argument(found);
    }
    ports.sort_by(|left, right| left.text.cmp(&right.text));
    flags.map(|_| ports)
}

pub(super) fn volume(operands: &Operands<'_>, found: &mut Vec<Diagnostic>) -> Option<Vec<Word>> {
    let flags = operands.check_flags(&[], found);
    let volumes = operands.json(0, found)?.unwrap_or_else(|| operands.words());
    if volumes.is_empty() {
        return operands.needs_an_argument(found);
    }
    let trim = |word: Word| Word { text: word.text.trim().to_owned(), span: word.span };
    let volumes: Vec<Word> = volumes.into_iter().map(trim).collect();
    if let Some(empty) = volumes.iter().find(|volume| volume.text.is_empty()) {
        let message = "VOLUME specified can not be an empty string";
        found.push(Diagnostic::error("empty-volume", empty.span, message));
        return None;
    }
    flags.map(|_| volumes)
}

/// USER, WORKDIR, STOPSIGNAL, MAINTAINER: everything to the end of the line.
pub(super) fn single(operands: &Operands<'_>, found: &mut Vec<Diagnostic>) -> Option<Word> {
    let flags = operands.check_flags(&[], found);
    if operands.range.is_empty() {
        let message = format!("{} requires exactly one argument", operands.name);
        return operands.error("missing-argument", message, found);
    }
    flags.map(|_| operands.whole())
}

/// CMD and ENTRYPOINT.
pub(super) fn command(operands: &Operands<'_>, found: &mut Vec<Diagnostic>) -> Option<Command> {
    let flags = operands.check_flags(&[], found);
    let command = operands.command(0, found)?;
    flags.map(|_| command)
}

pub(super) fn shell(operands: &Operands<'_>, found: &mut Vec<Diagnostic>) -> Option<Vec<Word>> {
    let flags = operands.check_flags(&[], found);
    match operands.command(0, found)? {
        Command::Exec(words) if !words.is_empty() => flags.map(|_| words),
        Command::Shell(text) if !text.text.is_empty() => {
            let message = "SHELL requires the arguments to be in JSON form";
            found.push(
                Diagnostic::error("shell-form", text.span, message)
                    .with_help("write a list such as `SHELL [\"/bin/sh\", \"-c\"]`"),
            );
            None
        }
        _ => operands.needs_an_argument(found),
    }
}

pub(super) fn onbuild(operands: &Operands<'_>, found: &mut Vec<Diagnostic>) -> Option<OnbuildInstruction> {
    let flags = operands.check_flags(&[], found);
    if operands.range.is_empty() {
        return operands.needs_an_argument(found);
    }
    let inner = cut(operands.line, operands.range.clone(), operands.escape);
    let refusal = match inner.name {
        "ONBUILD" => Some("chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed".to_owned()),
        name @ ("FROM" | "MAINTAINER") => Some(format!("{name} isn't allowed as an ONBUILD trigger")),
        _ => None,
    };
    if let Some(message) = refusal {
        found.push(Diagnostic::error("onbuild-trigger", inner.keyword.span, message));
        return None;
    }
    let errors = found.len();
    let mut inner_found = Vec::new();
    read(&inner, &mut inner_found);
    found.extend(inner_found.into_iter().filter(|d| ERRORS_IN_STORED_TRIGGERS.contains(&d.code)));
    if found.len() > errors {
        return None;
    }
    flags.map(|_| OnbuildInstruction { trigger: stored_trigger(operands), span: operands.span() })
}

/// The text behind ONBUILD as written (with blanks at its end, and with a `--` at its start), then each heredoc's body and
/// its word.
fn stored_trigger(operands: &Operands<'_>) -> String {
    let behind = &operands.line.text.trim_start()[operands.keyword.text.len()..];
    let mut trigger = behind.trim_start_matches(['\t', '\n', '\x0c', '\r', ' ']).to_owned();
    for heredoc in operands.heredocs {
        trigger.push('\n');
        trigger.push_str(&heredoc.content);
        trigger.push_str(&heredoc.name);
    }
    trigger
}
