//! BuildKit's document of a lint, `frontend/subrequests/lint` version 1.0.0, with what is ours beside it. docs/lint.md tells
//! its fields to users; fields of ours have no counterpart there, so either reader finds what it knows.

use std::ops::RangeInclusive;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kiln_builder::check::Checked;
use kiln_builder::lower::{place, violation};
use kiln_builder::progress::NoticePlace;
use kiln_frontend::diagnostic::{Diagnostic, Edit};
use kiln_frontend::lint::{Level, RULES, Rule};
use kiln_frontend::source::{Source, Span};
use serde::Serialize;

use super::{Entry, entries, page};

/// Number of what is ours in the format.
const FORMAT: u32 = 1;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    format: u32,
    warnings: Vec<Warning<'a>>,
    sources: Vec<SourceInfo<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    build_error: Option<BuildError>,
    errors: Vec<Warning<'a>>,
    notes: Vec<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Warning<'a> {
    rule_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<Location>,
    level: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<Place>,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<Fix<'a>>,
}

/// Lines, one range each, as BuildKit has them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Location {
    #[serde(skip_serializing_if = "is_first")]
    source_index: usize,
    ranges: Vec<Range>,
}

#[derive(Serialize)]
struct Range {
    start: Position,
    end: Position,
}

#[derive(Serialize)]
struct Position {
    line: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    line: usize,
    column: usize,
    end_line: usize,
    end_column: usize,
    start: usize,
    end: usize,
}

#[derive(Serialize)]
struct Fix<'a> {
    edits: Vec<EditText<'a>>,
}

#[derive(Serialize)]
struct EditText<'a> {
    place: Place,
    replacement: &'a str,
}

#[derive(Serialize)]
struct SourceInfo<'a> {
    filename: &'a str,
    data: String,
    language: &'static str,
}

#[derive(Serialize)]
struct BuildError {
    message: String,
    location: Location,
}

/// Returns the document of a check.
pub(crate) fn render(files: &[Checked]) -> String {
    let said = |is_error: bool| {
        let of_file = move |(index, file)| {
            let wanted =
                entries(file).into_iter().filter(move |entry| entry.diagnostic.is_error() == is_error);
            wanted.map(move |entry| warning(index, file, &entry)).collect::<Vec<_>>()
        };
        files.iter().enumerate().flat_map(of_file).collect::<Vec<_>>()
    };
    to_text(&Document {
        format: FORMAT,
        warnings: said(false),
        sources: files.iter().map(|file| info(&file.source)).collect(),
        build_error: files.iter().enumerate().find_map(|(index, file)| build_error(index, file)),
        errors: said(true),
        notes: files.iter().flat_map(|file| &file.notes).map(String::as_str).collect(),
    })
}

fn info(source: &Source) -> SourceInfo<'_> {
    SourceInfo { filename: source.name(), data: data(source), language: "Dockerfile" }
}

/// Returns a value as an indented document with a line end.
pub(crate) fn to_text(value: &impl Serialize) -> String {
    let text = serde_json::to_string_pretty(value).expect("these types always serialize");
    format!("{text}\n")
}

/// Returns a text as documents have it.
pub(crate) fn data(source: &Source) -> String {
    STANDARD.encode(source.text())
}

/// Returns the lines of a span in the only source of a document.
pub(crate) fn location(source: &Source, span: Span) -> Location {
    located(0, source, Some(span))
}

fn located(source_index: usize, source: &Source, span: Option<Span>) -> Location {
    let lines = span.into_iter().flat_map(|span| lines(source, span));
    let range = |line| Range { start: Position { line }, end: Position { line } };
    Location { source_index, ranges: lines.map(range).collect() }
}

/// Returns the lines of a span. One that ends behind a line's end does not reach into the next.
fn lines(source: &Source, span: Span) -> RangeInclusive<usize> {
    let last = if span.is_empty() { span.start } else { span.end - 1 };
    source.position(span.start).line..=source.position(last).line
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_first(index: &usize) -> bool {
    *index == 0
}

fn warning<'a>(index: usize, file: &'a Checked, entry: &Entry<'a>) -> Warning<'a> {
    let Diagnostic { message, help, .. } = entry.diagnostic;
    Warning {
        rule_name: entry.name(),
        description: entry.rule.map(|rule| rule.summary),
        url: entry.rule.map(page),
        detail: message,
        location: entry.instruction.map(|span| located(index, &file.source, Some(span))),
        level: if entry.diagnostic.is_error() { "error" } else { "warning" },
        place: entry.diagnostic.primary().map(|span| placed(&file.source, span)),
        help: help.as_deref(),
        fix: entry.is_fixable().then(|| fix(&file.source, &entry.diagnostic.fix)),
    }
}

fn fix<'a>(source: &Source, edits: &'a [Edit]) -> Fix<'a> {
    let edit = |edit: &'a Edit| EditText { place: placed(source, edit.span), replacement: &edit.replacement };
    Fix { edits: edits.iter().map(edit).collect() }
}

fn placed(source: &Source, span: Span) -> Place {
    let NoticePlace { line, column, end_line, end_column, start, end } = place(source, span);
    Place { line, column, end_line, end_column, start, end }
}

/// Returns the first error, or that findings are to fail the build.
fn build_error(index: usize, file: &Checked) -> Option<BuildError> {
    let error = entries(file).into_iter().find(|entry| entry.diagnostic.is_error());
    if let Some(error) = error {
        let location = located(index, &file.source, error.instruction);
        return Some(BuildError { message: error.diagnostic.message.clone(), location });
    }
    let violation = violation(&file.violated)?;
    Some(BuildError { message: violation.message, location: located(index, &file.source, None) })
}

#[derive(Serialize)]
struct RuleText {
    name: &'static str,
    level: &'static str,
    summary: &'static str,
    url: String,
}

/// Returns the rules as a document.
pub(crate) fn rules() -> String {
    let rule = |rule: &&'static Rule| RuleText {
        name: rule.name,
        level: level(rule.level),
        summary: rule.summary,
        url: page(rule),
    };
    to_text(&RULES.iter().map(rule).collect::<Vec<_>>())
}

/// Returns the word for when a rule is looked at.
pub(crate) fn level(level: Level) -> &'static str {
    match level {
        Level::On => "on",
        Level::Off => "off",
        Level::Experimental => "experimental",
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::checked;
    use super::*;
    use serde_json::{Value, json};

    fn document(files: &[Checked]) -> Value {
        serde_json::from_str(&render(files)).unwrap()
    }

    #[test]
    fn the_document_has_the_fields_of_buildkit_and_ours() {
        let file = checked("Dockerfile", "FROM a AS Bx\nRUN \\\n  true\n");
        let message = &file.findings[0].diagnostic;
        let expected = json!({
            "format": 1,
            "warnings": [{
                "ruleName": "StageNameCasing",
                "description": file.findings[0].rule.summary,
                "url": "https://github.com/kiln-build/kiln/blob/main/docs/lint/stage-name-casing.md",
                "detail": message.message,
                "location": { "ranges": [{ "start": { "line": 1 }, "end": { "line": 1 } }] },
                "level": "warning",
                "place": { "line": 1, "column": 11, "endLine": 1, "endColumn": 13, "start": 10, "end": 12 },
                "fix": { "edits": [{
                    "place": { "line": 1, "column": 11, "endLine": 1, "endColumn": 13, "start": 10, "end": 12 },
                    "replacement": "bx",
                }] },
            }],
            "sources": [{
                "filename": "Dockerfile",
                "data": STANDARD.encode("FROM a AS Bx\nRUN \\\n  true\n"),
                "language": "Dockerfile",
            }],
            "errors": [],
            "notes": [],
        });
        let mut found = document(&[file]);
        found["warnings"][0].as_object_mut().unwrap().remove("help");
        assert_eq!(found, expected);
    }

    #[test]
    fn errors_say_their_file_and_every_line() {
        let (one, other) = (checked("a", "FROM scratch\n"), checked("b", "FROM a\nCOPPY \\\n  x /\n"));
        let found = document(&[one, other]);
        let line = |line: usize| json!({ "start": { "line": line }, "end": { "line": line } });
        let location = json!({ "sourceIndex": 1, "ranges": [line(2)] });
        let message = "unknown instruction: COPPY";
        assert_eq!(found["buildError"], json!({ "message": message, "location": location }));
        let error = &found["errors"][0];
        assert_eq!((&error["ruleName"], &error["detail"]), (&json!("unknown-instruction"), &json!(message)));
        assert_eq!((&error["level"], &error["location"]), (&json!("error"), &location));
        // What an error suggests is a guess, and no fix.
        assert_eq!((&error["fix"], &error["help"]), (&Value::Null, &json!("did you mean `COPY`?")));
    }

    #[test]
    fn findings_that_fail_the_build_are_its_error() {
        let mut file = checked("Dockerfile", "FROM a AS B\n");
        file.violated = vec!["A", "B"];
        let message = "lint violation found for rules: A, B";
        let expected = json!({ "message": message, "location": { "ranges": [] } });
        assert_eq!(document(&[file])["buildError"], expected);
    }
}
