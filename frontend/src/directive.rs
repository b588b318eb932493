//! Parser directives: `# syntax=`, `# escape=`, `# check=` in the first lines of a file. Anything else ends them: another
//! comment, a blank line, an instruction.

use crate::diagnostic::{Diagnostic, Edit};
use crate::source::{Span, Word};
use crate::suggest;

/// The newest minor version of Dockerfile syntax 1 that is understood.
pub const SYNTAX_MINOR_MAX: u32 = 26;

const NAMES: [&str; 3] = ["syntax", "escape", "check"];

/// A directive such as ``# escape=` ``.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// Its name in lower case: `syntax`, `escape` or `check`.
    pub name: String,
    /// Its value.
    pub value: Word,
    /// From `#` to the end of the line.
    pub span: Span,
}

/// Recognises directives, line by line.
#[derive(Debug, Default)]
pub(crate) struct DirectiveReader {
    is_done: bool,
    follows_shebang: bool,
    lines: usize,
    seen: Vec<(String, Span)>,
}

impl DirectiveReader {
    /// Reads a line without its leading blanks and its end; `at` is where it starts. Says what is wrong with it.
    pub(crate) fn read(&mut self, line: &str, at: usize, found: &mut Vec<Diagnostic>) -> Option<Directive> {
        self.lines += 1;
        if self.is_done {
            return None;
        }
        if self.lines == 1 && line.starts_with("#!") {
            self.follows_shebang = true;
            return None;
        }
        let directive = split(line, at).filter(|directive| self.is_known(&directive.name));
        let Some(directive) = directive else {
            self.is_done = true;
            return None;
        };
        match self.seen.iter().find(|(name, _)| *name == directive.name) {
            Some((name, first)) => found.push(
                Diagnostic::error(
                    "duplicate-directive",
                    directive.span,
                    format!("only one {name} parser directive can be used"),
                )
                .with_place(*first, "the first one"),
            ),
            None => check(&directive, found),
        }
        self.seen.push((directive.name.clone(), directive.span));
        Some(directive)
    }

    /// After a `#!` line an escape directive is an ordinary comment, as in BuildKit's parser.
    fn is_known(&self, name: &str) -> bool {
        NAMES.contains(&name) && !(self.follows_shebang && name == "escape")
    }
}

/// Splits `# name = value`.
fn split(line: &str, at: usize) -> Option<Directive> {
    let body = line.strip_prefix('#')?.trim_start();
    let directive = of_comment(body, at + line.len() - body.len())?;
    Some(Directive { span: Span::new(at, at + line.len()), ..directive })
}

/// Splits the text of a comment that may be a directive in form, wherever it stands; `at` is where the text starts.
pub(crate) fn of_comment(line: &str, at: usize) -> Option<Directive> {
    let is_blank = |c: char| matches!(c, ' ' | '\t' | '\x0c' | '\r' | '\n');
    let (name, rest) = line.split_once('=')?;
    let name = name.trim_end_matches(is_blank);
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric());
    if !is_name || rest.is_empty() {
        return None;
    }
    let mut value = rest.trim_matches(is_blank);
    if value.is_empty() {
        value = &rest[rest.len() - 1..];
    }
    let start = at + line.len() - rest.len() + rest.find(value)?;
    Some(Directive {
        name: name.to_ascii_lowercase(),
        value: Word { text: value.to_owned(), span: Span::new(start, start + value.len()) },
        span: Span::new(at, at + line.len()),
    })
}

fn check(directive: &Directive, found: &mut Vec<Diagnostic>) {
    match directive.name.as_str() {
        "escape" => check_escape(directive, found),
        "syntax" => check_syntax(directive, found),
        _ => {}
    }
}

fn check_escape(directive: &Directive, found: &mut Vec<Diagnostic>) {
    let value = &directive.value;
    if value.text != "`" && value.text != "\\" {
        let message = format!("invalid escape token '{}' does not match ` or \\", value.text);
        found.push(Diagnostic::error("escape-directive", value.span, message));
    }
}

/// What a `# syntax=` asks for.
enum Wanted {
    /// The language that is built in.
    Known,
    /// A newer version of it.
    Newer,
    /// Another program.
    Foreign,
}

fn check_syntax(directive: &Directive, found: &mut Vec<Diagnostic>) {
    // What follows the first word is a command line for the frontend; the built-in one takes none.
    let reference = directive.value.text.split(' ').next().unwrap_or("");
    let span = Span::new(directive.value.span.start, directive.value.span.start + reference.len());
    let ours = "docker/dockerfile:1";
    match wanted(reference) {
        Wanted::Known => {}
        Wanted::Newer => found.push(
            Diagnostic::error(
                "syntax-version",
                span,
                format!("Dockerfile syntax `{reference}` is newer than 1.{SYNTAX_MINOR_MAX}, the newest that is understood"),
            )
            .with_help(format!("write `# syntax={ours}` if the file needs nothing newer"))
            .with_fix(Edit { span, replacement: ours.to_owned() }),
        ),
        Wanted::Foreign => {
            let near = suggest::nearest(reference, [ours, "docker/dockerfile"]);
            found.push(
                Diagnostic::error(
                    "foreign-frontend",
                    span,
                    format!("frontend images are not supported: `{reference}` (the Dockerfile language is built in)"),
                )
                .with_help(match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("remove the line, or write `# syntax={ours}` if the file is a plain Dockerfile"),
                })
                .with_fix(Edit { span, replacement: ours.to_owned() }),
            );
        }
    }
}

/// Reads an image reference. `docker/dockerfile` and `docker/dockerfile-upstream` are meant in any registry, so that a
/// mirror's name works too.
fn wanted(reference: &str) -> Wanted {
    if reference == "dockerfile.v0" {
        return Wanted::Known;
    }
    let name = reference.split('@').next().unwrap_or("");
    let (repository, tag) = match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (name, None),
    };
    let mut parts = repository.rsplit('/');
    let image = parts.next().unwrap_or("");
    let is_ours = matches!(image, "dockerfile" | "dockerfile-upstream") && parts.next() == Some("docker");
    if !is_ours {
        return Wanted::Foreign;
    }
    match tag.map(version) {
        Some(Some((major, minor))) if major > 1 || (major == 1 && minor > SYNTAX_MINOR_MAX) => Wanted::Newer,
        _ => Wanted::Known,
    }
}

/// Reads `1`, `1.7`, `1.7.0`, `1.7-labs`; other tags (`labs`, `latest`, `master`) have no version.
fn version(tag: &str) -> Option<(u32, u32)> {
    let plain = tag.split('-').next()?;
    let mut numbers = plain.split('.');
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next().map_or(Some(0), |minor| minor.parse().ok())?;
    Some((major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(lines: &[&str]) -> (Vec<String>, Vec<&'static str>) {
        let mut reader = DirectiveReader::default();
        let mut found = Vec::new();
        let read = lines.iter().filter_map(|line| reader.read(line, 0, &mut found)).collect::<Vec<_>>();
        let names = read.iter().map(|d| format!("{}={}", d.name, d.value.text)).collect();
        (names, found.iter().map(|d| d.code).collect())
    }

    #[test]
    fn directives_are_read_until_anything_else_comes() {
        let cases: &[(&[&str], &[&str], &[&str])] = &[
            (&["# escape=`"], &["escape=`"], &[]),
            (&["#EsCaPe = `  "], &["escape=`"], &[]),
            (&["# escape=x"], &["escape=x"], &["escape-directive"]),
            (&["# escape= "], &["escape= "], &["escape-directive"]),
            (&["# escape="], &[], &[]),
            (&["# hello", "# escape=`"], &[], &[]),
            (&["", "# escape=`"], &[], &[]),
            (&["# other=1", "# escape=`"], &[], &[]),
            (&["# check=skip=A;error=true", "# escape=`"], &["check=skip=A;error=true", "escape=`"], &[]),
            (&["# escape=`", "# ESCAPE=\\"], &["escape=`", "escape=\\"], &["duplicate-directive"]),
            (
                &["#!/bin/kiln", "# syntax=docker/dockerfile:1", "# escape=`"],
                &["syntax=docker/dockerfile:1"],
                &[],
            ),
        ];
        for (lines, names, wrong) in cases {
            let (found_names, found_codes) = codes(lines);
            assert_eq!(
                (found_names.as_slice(), found_codes.as_slice()),
                (names.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>().as_slice(), *wrong),
                "{lines:?}"
            );
        }
    }

    #[test]
    fn a_syntax_directive_asks_for_a_version_and_never_for_another_program() {
        let cases: &[(&str, &[&str])] = &[
            ("docker/dockerfile:1", &[]),
            ("docker/dockerfile", &[]),
            ("docker/dockerfile:1.26", &[]),
            ("docker/dockerfile:1.7-labs", &[]),
            ("docker/dockerfile:labs", &[]),
            ("docker.io/docker/dockerfile:1.4.3", &[]),
            ("docker/dockerfile-upstream:master", &[]),
            ("docker/dockerfile:1.2@sha256:00", &[]),
            ("mirror.local:5000/docker/dockerfile:1", &[]),
            ("docker/dockerfile:1 --with=arguments", &[]),
            ("dockerfile.v0", &[]),
            ("docker/dockerfile:1.27", &["syntax-version"]),
            ("docker/dockerfile:2", &["syntax-version"]),
            ("docker/dockerfil:1", &["foreign-frontend"]),
            ("example.org/mine", &["foreign-frontend"]),
        ];
        for (value, expected) in cases {
            assert_eq!(codes(&[&format!("# syntax={value}")]).1, *expected, "{value}");
        }
    }
}
