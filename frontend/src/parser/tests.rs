use super::*;
use crate::ast::Script;
use crate::diagnostic::Severity;

const TABLE: &str = include_str!("../../testdata/errors.txt");

fn describe(source: &Source, diagnostic: &Diagnostic) -> String {
    let severity = if diagnostic.severity == Severity::Error { "E" } else { "W" };
    let span = diagnostic.primary().unwrap();
    let (start, end) = (source.position(span.start), source.position(span.end));
    let place = format!("{}:{}-{}:{}", start.line, start.column, end.line, end.column);
    let help = diagnostic.help.iter().map(|help| format!("\n  ? {help}")).collect::<String>();
    format!("! {severity} {place} {}: {}{help}\n", diagnostic.code, diagnostic.message)
}

#[test]
fn wrong_files_are_told_everything_that_is_wrong() {
    for case in TABLE.split("\n\n").skip(1) {
        let (file, expected): (Vec<&str>, Vec<&str>) = case.lines().partition(|line| line.starts_with('|'));
        let file: String =
            file.iter().map(|line| line[1..].strip_prefix(' ').unwrap_or("").to_owned() + "\n").collect();
        let source = Source::new("Dockerfile", file);
        let found: String =
            parse(&source).diagnostics.iter().map(|diagnostic| describe(&source, diagnostic)).collect();
        assert_eq!(found.trim_end(), expected.join("\n"), "\n{case}");
    }
}

#[test]
fn an_empty_file_is_an_error_of_its_own() {
    let parsed = parse(&Source::new("Dockerfile", ""));
    assert_eq!(parsed.diagnostics[0].message, "the Dockerfile cannot be empty");
}

#[test]
fn a_suggestion_can_be_applied() {
    let source = Source::new("Dockerfile", "FORM a\n");
    let parsed = parse(&source);
    let [edit] = parsed.diagnostics[0].fix.as_slice() else { panic!("one change") };
    let mut text = source.text().to_owned();
    text.replace_range(edit.span.range(), &edit.replacement);
    assert_eq!(text, "FROM a\n");
    assert!(!parse(&Source::new("Dockerfile", text)).has_errors());
}

#[test]
fn bytes_that_are_not_utf8_are_allowed_in_comments_only() {
    let source = Source::from_bytes("Dockerfile", b"# \xff\nFROM a\nRUN \xfe\nRUN <<E\n\xff\nE\n");
    let lines: Vec<usize> = parse(&source)
        .diagnostics
        .iter()
        .map(|diagnostic| source.position(diagnostic.primary().unwrap().start).line)
        .collect();
    assert_eq!(lines, [3, 5]);
}

#[test]
fn descriptions_stand_in_the_comments_above() {
    let text = "# tag is the version\n# other\n\nARG tag=1\n# app runs it\n#\n# note\nFROM a AS app\n";
    let file = parse(&Source::new("Dockerfile", text)).file;
    assert_eq!(file.global_arguments[0].description("tag"), Some("is the version"));
    assert_eq!(file.stages[0].from.description("app"), None);
}

#[test]
fn a_line_may_be_of_any_length() {
    let text = format!("FROM a\nLABEL a={}\n", "x".repeat(1 << 20));
    assert!(!parse(&Source::new("Dockerfile", text)).has_errors());
}

#[test]
fn a_trigger_is_exactly_one_instruction() {
    let cases = [
        ("RUN x", Ok("RUN")),
        ("COPY <<a /b\ntext\na", Ok("COPY")),
        ("RUN x\nRUN y", Err("onbuild-trigger")),
        ("", Err("onbuild-trigger")),
        ("FROM x", Err("onbuild-trigger")),
        ("BOGUS", Err("unknown-instruction")),
        ("RUN <<E\nx", Err("heredoc-unterminated")),
        ("ENV a", Err("key-value")),
    ];
    for (text, expected) in cases {
        let found = parse_onbuild(&Source::new("ONBUILD", text));
        let found = match &found {
            Ok(instruction) => Ok(instruction.keyword.text.as_str()),
            Err(errors) => Err(errors[0].code),
        };
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn a_script_is_the_body_of_a_lone_heredoc_or_the_whole_command() {
    let script = |text: &str| {
        let file = parse(&Source::new("Dockerfile", format!("FROM a\nRUN {text}\n"))).file;
        let instruction = file.stages[0].instructions[0].clone();
        let crate::ast::Operation::Run(run) = &instruction.operation else { panic!("{text} is a RUN") };
        let crate::ast::Command::Shell(command) = &run.command else { panic!("{text} is in shell form") };
        instruction.script(&command.text)
    };
    let body = |text: &str| Script::Body { name: "E".to_owned(), text: text.to_owned() };
    let cases = [
        ("make", Script::Text("make".to_owned())),
        ("<<E\nx\nE", body("x\n")),
        ("<<-'E'\n\t#!/bin/x\n\tE", body("#!/bin/x\n")),
        ("cat <<-E\n\tx\n\tE", Script::Text("cat <<-E\n\tx\nE".to_owned())),
        ("cat <<A 3<<E\na\nA\ne\nE", Script::Text("cat <<A 3<<E\na\nA\ne\nE".to_owned())),
    ];
    for (text, expected) in cases {
        assert_eq!(script(text), expected, "{text}");
    }
}

#[test]
fn a_file_with_very_many_errors_is_not_told_all_of_them() {
    let codes = |text: &str| {
        let found = parse(&Source::new("Dockerfile", text)).diagnostics;
        (found.len(), found.last().map(|last| last.code))
    };
    let lines = format!("FROM a\n{}", "NONE b\n".repeat(5000));
    assert_eq!(codes(&lines), (ERRORS_MAX + 2, Some("too-many-errors")));
    let flags = format!("FROM a\nCOPY {} a b\n", "--nix ".repeat(5000));
    assert_eq!(codes(&flags), (ERRORS_OF_ONE_MAX, Some("unknown-flag")));
    let words = format!("FROM a\nENV a=b {}\n", "c ".repeat(5000));
    assert_eq!(codes(&words), (ERRORS_OF_ONE_MAX, Some("key-value")));
}

#[test]
fn one_large_heredoc_cannot_be_multiplied_without_bound() {
    let body = "x".repeat(1 << 20);
    let text = format!("FROM a\nCOPY {}/d/\n{}{body}\nA\n", "<<A ".repeat(100), "A\n".repeat(99));
    let found = parse(&Source::new("Dockerfile", text)).diagnostics;
    assert_eq!(found.iter().map(|found| found.code).collect::<Vec<_>>(), ["heredoc-size"]);
}
