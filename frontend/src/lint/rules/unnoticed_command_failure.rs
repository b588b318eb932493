//! A script of a RUN that goes on when a command in its middle fails: commands on lines of a heredoc, or behind one another
//! with `;`, and neither `set -e` nor a shell that was told to stop. kiln's own rule.
//!
//! Looked at are scripts for the usual shells. What says itself what becomes of a failure (`||`, `$?`, `if`, a last
//! `exit 0`), loops and groups, and commands that have nothing to fail at, are left alone.

use crate::ast::{Command, Instruction, Operation, Word};
use crate::lint::report::Report;
use crate::lint::scene::{Scene, Step};
use crate::lint::shell::{self, Script, Statement};
use crate::lint::{Level, Rule, place};

pub(super) const RULE: Rule = Rule {
    name: "UnnoticedCommandFailure",
    summary: "a script stops where a command fails",
    level: Level::On,
    page: "unnoticed-command-failure.md",
    check,
};

const SHELLS: [&str; 6] = ["sh", "bash", "dash", "ash", "ksh", "zsh"];

/// Commands whose failure changes nothing, or ends the script by itself.
const HARMLESS: [&str; 31] = [
    ".", ":", "[", "[[", "alias", "date", "df", "echo", "eval", "exit", "export", "id", "local", "ls",
    "printf", "pwd", "readonly", "return", "set", "shopt", "sleep", "source", "test", "trap", "true",
    "ulimit", "umask", "uname", "unset", "wait", "which",
];

/// Commands that ask a question where `&&` stands behind them.
const QUESTIONS: [&str; 11] =
    ["[", "[[", "test", "grep", "egrep", "fgrep", "which", "type", "hash", "getent", "cmp"];

/// The longest statement that a message shows as it is written.
const SHOWN_BYTES_MAX: usize = 40;

fn check(scene: &Scene<'_>, report: &mut Report<'_>) {
    let (source, escape) = (scene.request.source, scene.request.file.escape);
    for stage in &scene.stages {
        let is_windows = stage.is_for_windows(escape);
        for step in stage.steps.iter().filter(|step| !is_windows && has_lenient_shell(step)) {
            let Operation::Run(run) = &step.instruction.operation else { continue };
            let Command::Shell(command) = &run.command else { continue };
            let Some(text) = judged(step.instruction, command) else { continue };
            let script = shell::read(&text.text);
            let Some(statement) = unnoticed(&script, &text.text) else { continue };
            let place = place::of_part(&text, statement.range.clone(), escape, source);
            let shown = shown(statement, &text.text);
            let found = report
                .warning(place, format!("the script goes on where `{shown}` fails"))
                .with_help("begin the script with `set -e`, or join its commands with `&&`");
            if report.push(step, found) {
                stage.unknown_image.into_iter().for_each(|image| report.want(image));
            }
        }
    }
}

/// Tells whether the shell of a step is a usual one that goes on after failures.
fn has_lenient_shell(step: &Step<'_>) -> bool {
    match step.shell {
        None => !step.has_shell,
        Some(words) => {
            let words: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
            is_lenient(&words)
        }
    }
}

/// Tells whether a call of a shell has no `-e`.
fn is_lenient(words: &[&str]) -> bool {
    let Some((program, flags)) = words.split_first() else { return true };
    SHELLS.contains(&program.rsplit('/').next().unwrap_or(program)) && !asks_to_stop(flags)
}

/// Tells whether flags of a shell, or of `set`, ask it to stop at failures.
fn asks_to_stop(flags: &[&str]) -> bool {
    flags.iter().any(|flag| {
        let is_short = flag.starts_with('-') && !flag.starts_with("--");
        (is_short && flag.contains('e')) || *flag == "errexit"
    })
}

/// Returns the script that is judged: the command, or the heredoc that is given to a shell.
fn judged(instruction: &Instruction, command: &Word) -> Option<Word> {
    let Some(heredoc) = instruction.heredocs.first() else { return Some(command.clone()) };
    let body = || Word { text: heredoc.content.clone(), span: heredoc.span };
    let called = shell::read(&command.text);
    let mut commands = called.commands();
    match (commands.next(), commands.next(), instruction.heredocs.len()) {
        // Nothing but the heredoc: it is given to the shell of the step, or is a program.
        (Some(only), None, 1)
            if only.words.iter().all(|word| word.contains("<<")) || only.words.is_empty() =>
        {
            let interpreter = heredoc.content.trim_start_matches('\t').strip_prefix("#!");
            let Some(line) = interpreter.and_then(|rest| rest.lines().next()) else { return Some(body()) };
            let words: Vec<&str> =
                line.split_whitespace().filter(|word| !word.ends_with("/env") && *word != "-S").collect();
            is_lenient(&words).then(body)
        }
        (Some(only), None, 1) => {
            let (program, words) = only.program()?;
            let is_input = |word: &str| {
                word.contains("<<") || word.starts_with('-') || word == only.words[only.words.len() - 1]
            };
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let takes_script = SHELLS.contains(&program) && words.iter().all(|word| is_input(word));
            (takes_script && !asks_to_stop(&words)).then(body)
        }
        _ => Some(command.clone()),
    }
}

/// Finds the first statement whose failure nobody notices.
fn unnoticed<'s>(script: &'s Script, text: &str) -> Option<&'s Statement> {
    let (last, others) = script.statements.split_last()?;
    let ends_anyway = last.commands.first().and_then(|command| command.program());
    let is_handled = ["$?", "PIPESTATUS", "trap "].iter().any(|word| text.contains(word));
    if is_handled || ends_anyway.is_some_and(|(name, _)| ["exit", "true", ":"].contains(&name)) {
        return None;
    }
    let judged = others.iter().take_while(|statement| !stops_from_here(statement));
    judged.into_iter().find(|statement| can_fail(statement))
}

/// `set -e`, in any spelling.
fn stops_from_here(statement: &Statement) -> bool {
    statement.commands.iter().any(|command| match command.program() {
        Some(("set", flags)) => asks_to_stop(&flags.iter().map(String::as_str).collect::<Vec<_>>()),
        _ => false,
    })
}

fn can_fail(statement: &Statement) -> bool {
    if statement.is_compound || statement.has_alternative || statement.is_background {
        return false;
    }
    let names: Vec<_> = statement.commands.iter().map(|command| (command.program(), command)).collect();
    let asks = names.len() > 1
        && names.first().and_then(|(program, _)| *program).is_some_and(|(name, _)| {
            // What is left of `command -v x` begins with its flag.
            QUESTIONS.contains(&name) || name.starts_with('-')
        });
    !asks
        && names
            .into_iter()
            .any(|(program, _)| program.is_some_and(|(name, words)| !is_harmless(name, words)))
}

fn is_harmless(name: &str, words: &[String]) -> bool {
    let is_forced = || words.iter().any(|word| word.starts_with('-') && word.contains('f'));
    HARMLESS.contains(&name) || name.starts_with(['-', '>', '<']) || (name == "rm" && is_forced())
}

fn shown<'t>(statement: &Statement, text: &'t str) -> std::borrow::Cow<'t, str> {
    let written = text.get(statement.range.clone()).unwrap_or_default();
    if written.len() <= SHOWN_BYTES_MAX && !written.contains('\n') {
        return written.split_whitespace().collect::<Vec<_>>().join(" ").into();
    }
    let program = statement.commands.iter().find_map(|command| command.program());
    program.map_or_else(|| "a command".to_owned(), |(name, _)| name.to_owned()).into()
}

#[cfg(test)]
mod tests {
    use crate::lint::ImageFacts;
    use crate::lint::tests::{World, check};

    const HELP: &str = "(begin the script with `set -e`, or join its commands with `&&`)";

    fn found(line: usize, place: &str) -> String {
        format!("{line} {place} | the script goes on where `{place}` fails {HELP}")
    }

    #[test]
    fn a_command_whose_failure_is_not_noticed_is_found() {
        let cases = [
            ("RUN <<E\napt-get update\nmake\nE", Some((3, "apt-get update"))),
            ("RUN <<-E\n\tapt-get update\n\tmake\n\tE", Some((3, "apt-get update"))),
            ("RUN <<E\nset -x\nmake\nmake install\nE", Some((4, "make"))),
            ("RUN <<E\n#!/bin/bash -x\nmake\nmake install\nE", Some((4, "make"))),
            ("RUN <<E\n#!/usr/bin/env bash\nmake\nmake install\nE", Some((4, "make"))),
            ("RUN bash -x <<E\nmake\nmake install\nE", Some((3, "make"))),
            ("RUN make; make install", Some((2, "make"))),
            (
                "RUN echo a; \\\n  # why\n  make && make all; \\\n  make install",
                Some((4, "make && make all")),
            ),
            (
                "SHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]\nRUN make; make install",
                Some((3, "make")),
            ),
            ("RUN cd /x; make", Some((2, "cd /x"))),
            ("RUN cat <<E >/x; make\nin\nE", Some((2, "cat <<E >/x"))),
            ("ONBUILD RUN make; make install", None),
        ];
        for (text, expected) in cases {
            let expected: Vec<String> =
                expected.into_iter().map(|(line, place)| found(line, place)).collect();
            let findings = World::default().findings("UnnoticedCommandFailure", &format!("FROM a\n{text}\n"));
            assert_eq!(findings, expected, "{text}");
        }
    }

    #[test]
    fn scripts_that_stop_or_say_what_becomes_of_a_failure_are_good() {
        let cases = [
            "RUN make && make install",
            "RUN <<E\nset -eux\nmake\nmake install\nE",
            "RUN <<E\nset -o errexit\nmake\nmake install\nE",
            "RUN set -ex; make; make install",
            "RUN set -e && cd /x; make",
            "RUN <<E\n#!/bin/sh -e\nmake\nmake install\nE",
            "RUN <<E\n#!/usr/bin/env -S bash -eu\nmake\nmake install\nE",
            "RUN <<E\n#!/usr/bin/env python3\nimport os\nprint(os)\nE",
            "RUN python3 <<E\nimport os\nprint(os)\nE",
            "RUN bash -e <<E\nmake\nmake install\nE",
            "RUN cat <<E >/x\nmake\nmake install\nE",
            "RUN make || true; make install",
            "RUN make; exit 0",
            "RUN make; code=$?; echo $code",
            "RUN for x in a b; do make $x; done; make install",
            "RUN if make; then make a; fi; make install",
            "RUN [ -f x ] && make; make install",
            "RUN command -v x >/dev/null && make; make install",
            "RUN server & sleep 1; make",
            "RUN X=1; export Y=2; rm -rf /x; make",
            "RUN sh -c 'make; make install'",
            "RUN make; # the end",
            "RUN [\"sh\", \"-c\", \"make; make install\"]",
            "SHELL [\"/bin/bash\", \"-eo\", \"pipefail\", \"-c\"]\nRUN make; make install",
            "SHELL [\"pwsh\", \"-Command\"]\nRUN make; make install",
            "SHELL [\"/bin/sh\", \"-ec\"]\nRUN make; make install",
        ];
        for text in cases {
            let findings = World::default().findings("UnnoticedCommandFailure", &format!("FROM a\n{text}\n"));
            assert_eq!(findings, Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn the_shell_of_an_image_is_not_judged() {
        let world = World::default().with_image("a", ImageFacts { has_shell: true, ..ImageFacts::default() });
        check("UnnoticedCommandFailure", &world, &[("FROM a\nRUN make; make install", &[])]);
    }
}
