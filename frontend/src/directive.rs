//! Parser directives: `# syntax=`, `# escape=`, `# check=` in the first lines of a file. Anything else ends them: another
//! comment, a blank line, an instruction.

use thiserror::Error;

use crate::diagnostic::{Diagnostic, Edit};
use crate::json;
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

/// Recognises directives, line by line. There are two readers in BuildKit, and they do not agree:
///
/// | Reader | reads | blanks before `#` | after a first line `#!` |
/// |---|---|---|---|
/// | of the grammar | `escape`, refuses what is repeated | allowed | nothing is a directive |
/// | of the head | `syntax`, `check` | end it | the next line is the first |
#[derive(Debug, Default)]
pub(crate) struct DirectiveReader {
    grammar_is_done: bool,
    head_is_done: bool,
    is_begun: bool,
    /// The language is settled elsewhere.
    pub(crate) ignores_syntax: bool,
    seen: Vec<(String, Span)>,
}

/// What a line is at the top of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Head {
    /// A directive.
    Directive(Directive),
    /// A directive for the head and an ordinary comment for the grammar.
    Both(Directive),
    /// Something that looks like a directive and has no effect.
    Nothing,
    /// No directive.
    Other,
}

impl DirectiveReader {
    /// Reads a line without its leading blanks and its end; `at` is where it starts. Says what is wrong with it.
    pub(crate) fn read(
        &mut self,
        line: &str,
        at: usize,
        is_indented: bool,
        found: &mut Vec<Diagnostic>,
    ) -> Head {
        if self.grammar_is_done && self.head_is_done {
            return Head::Other;
        }
        let is_first = !std::mem::replace(&mut self.is_begun, true);
        if is_first && !is_indented && line.starts_with("#!") {
            self.grammar_is_done = true;
            return Head::Other;
        }
        let directive = split(line, "#", at).filter(|directive| NAMES.contains(&directive.name.as_str()));
        let Some(directive) = directive else {
            (self.grammar_is_done, self.head_is_done) = (true, true);
            return Head::Other;
        };
        self.head_is_done |= is_indented;
        let first = self.seen.iter().find(|(name, _)| *name == directive.name).map(|(_, span)| *span);
        self.seen.push((directive.name.clone(), directive.span));
        if self.grammar_is_done {
            return self.behind_shebang(directive, first, found);
        }
        if let Some(first) = first {
            let message = format!("only one {} parser directive can be used", directive.name);
            let error = Diagnostic::error("duplicate-directive", directive.span, message);
            found.push(error.with_place(first, "the first one"));
            return Head::Directive(directive);
        }
        if self.head_is_done && directive.name != "escape" {
            found.push(without_effect(&directive));
            return Head::Nothing;
        }
        self.check(&directive, found);
        Head::Directive(directive)
    }

    fn behind_shebang(
        &mut self,
        directive: Directive,
        first: Option<Span>,
        found: &mut Vec<Diagnostic>,
    ) -> Head {
        self.head_is_done |= first.is_some();
        if self.head_is_done || directive.name == "escape" {
            return Head::Other;
        }
        self.check(&directive, found);
        Head::Both(directive)
    }

    fn check(&self, directive: &Directive, found: &mut Vec<Diagnostic>) {
        match directive.name.as_str() {
            "escape" => check_escape(directive, found),
            "syntax" if !self.ignores_syntax => report_syntax(directive, found),
            _ => {}
        }
    }
}

fn without_effect(directive: &Directive) -> Diagnostic {
    let message = format!("the {} directive has no effect", directive.name);
    Diagnostic::warning("directive-without-effect", directive.span, message)
        .with_label("blanks before this or an earlier `#`")
        .with_help("let it start in the first column, and those above it too")
}

/// Splits `# name = value`, where the mark is `#`.
fn split(line: &str, mark: &str, at: usize) -> Option<Directive> {
    let body = line.strip_prefix(mark)?.trim_start();
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

fn check_escape(directive: &Directive, found: &mut Vec<Diagnostic>) {
    let value = &directive.value;
    if value.text != "`" && value.text != "\\" {
        let message = format!("invalid escape token '{}' does not match ` or \\", value.text);
        found.push(Diagnostic::error("escape-directive", value.span, message));
    }
}

/// Why a `# syntax=` (or the build argument `BUILDKIT_SYNTAX` in its place) cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SyntaxError {
    /// A newer version of the language.
    #[error("Dockerfile syntax `{0}` is newer than 1.{SYNTAX_MINOR_MAX}, the newest that is understood")]
    Newer(String),
    /// Another program that reads another language.
    #[error("frontend images are not supported: `{0}` (the Dockerfile language is built in)")]
    Foreign(String),
}

/// The reference that is always understood.
const OURS: &str = "docker/dockerfile:1";

impl SyntaxError {
    /// Returns the code of a finding that says it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Newer(_) => "syntax-version",
            Self::Foreign(_) => "foreign-frontend",
        }
    }

    fn into_diagnostic(self, span: Span) -> Diagnostic {
        let (code, message) = (self.code(), self.to_string());
        let help = match &self {
            Self::Newer(_) => format!("write `# syntax={OURS}` if the file needs nothing newer"),
            Self::Foreign(reference) => {
                let near = suggest::nearest(reference, [OURS, "docker/dockerfile"]);
                let help = near.map(|near| format!("did you mean `{near}`?"));
                let usual = || {
                    format!("remove the line, or write `# syntax={OURS}` if the file is a plain Dockerfile")
                };
                help.unwrap_or_else(usual)
            }
        };
        Diagnostic::error(code, span, message).with_help(help)
    }
}

/// Checks the value of a `# syntax=` or of `BUILDKIT_SYNTAX`: its first word must name the Dockerfile language, as
/// `docker/dockerfile` does in any registry, in a version that is understood.
///
/// # Errors
/// For another language and for a newer version.
pub fn check_syntax(value: &str) -> Result<(), SyntaxError> {
    let reference = reference(value);
    if reference == "dockerfile.v0" {
        return Ok(());
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
        return Err(SyntaxError::Foreign(reference.to_owned()));
    }
    match tag.map(version) {
        Some(Some((major, minor))) if major > 1 || (major == 1 && minor > SYNTAX_MINOR_MAX) => {
            Err(SyntaxError::Newer(reference.to_owned()))
        }
        _ => Ok(()),
    }
}

/// What follows the first word is a command line for the frontend; the built-in one takes none.
fn reference(value: &str) -> &str {
    value.split(' ').next().unwrap_or("")
}

fn report_syntax(directive: &Directive, found: &mut Vec<Diagnostic>) {
    if let Err(error) = check_syntax(&directive.value.text) {
        let start = directive.value.span.start;
        let span = Span::new(start, start + reference(&directive.value.text).len());
        let fix = Edit { span, replacement: OURS.to_owned() };
        found.push(error.into_diagnostic(span).with_fix(fix));
    }
}

/// Says what is wrong with a file that is written for another frontend in another language, where a directive cannot be
/// a `#` comment: it starts with `// syntax=`, or is a JSON document with a member `syntax`. A `#!` line may precede.
pub(crate) fn foreign_file(text: &str) -> Option<Diagnostic> {
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    let body = if body.starts_with("#!") { body.split_once('\n').map_or("", |(_, rest)| rest) } else { body };
    let at = text.len() - body.len();
    let first_line = body.trim_start().lines().next().unwrap_or("").trim_end();
    let start = at + body.len() - body.trim_start().len();
    let value = slashed_syntax(body).or_else(|| json::string_member(body, "syntax"))?;
    let span = Span::new(start, start + first_line.len());
    check_syntax(&value).err().map(|error| error.into_diagnostic(span))
}

/// Finds `// syntax=` among directives of this form at the top of a text.
fn slashed_syntax(text: &str) -> Option<String> {
    let mut seen: Vec<String> = Vec::new();
    for line in text.lines() {
        let Directive { name, value, .. } = split(line, "//", 0)?;
        if name == "syntax" {
            return Some(value.text);
        }
        if !NAMES.contains(&name.as_str()) || seen.contains(&name) {
            return None;
        }
        seen.push(name);
    }
    None
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
        let read = lines.iter().filter_map(|line| {
            let text = line.trim_start();
            match reader.read(text, 0, text.len() < line.len(), &mut found) {
                Head::Directive(directive) | Head::Both(directive) => Some(directive),
                Head::Nothing | Head::Other => None,
            }
        });
        let names = read.map(|d| format!("{}={}", d.name, d.value.text)).collect();
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
                &["#!/bin/kiln", "# syntax=docker/dockerfile:1", "# escape=`", "# check=x"],
                &["syntax=docker/dockerfile:1", "check=x"],
                &[],
            ),
            (&["#!/bin/kiln", "# check=x", "# check=y", "# syntax=z"], &["check=x"], &[]),
            (&["#!/bin/kiln", " # check=x"], &[], &[]),
            (&[" #!/bin/kiln", "# check=x"], &[], &[]),
            (&["# check=x", "#!/bin/kiln", "# syntax=docker/dockerfile:1"], &["check=x"], &[]),
            (&[" # escape=`"], &["escape=`"], &[]),
            (&["\t# check=x", "# escape=`"], &["escape=`"], &["directive-without-effect"]),
            (&["  # escape=`", "# syntax=other"], &["escape=`"], &["directive-without-effect"]),
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

    #[test]
    fn a_file_in_another_language_says_so_in_its_own_comments_or_in_json() {
        type CodeAndPlace = (&'static str, usize, usize);
        let cases: &[(&str, Option<CodeAndPlace>)] = &[
            ("// syntax=a/b\nx", Some(("foreign-frontend", 0, 13))),
            ("\u{feff}#!/x\n//syntax = a/b c\r\n", Some(("foreign-frontend", 8, 24))),
            ("// escape=x\n// syntax=a/b", Some(("foreign-frontend", 0, 11))),
            ("// escape=x\n// escape=x\n// syntax=a/b", None),
            ("// other=x\n// syntax=a/b", None),
            (" // syntax=a/b", None),
            ("// syntax=docker/dockerfile:1", None),
            ("// syntax=docker/dockerfile:1.99", Some(("syntax-version", 0, 32))),
            ("\n{\"syntax\": \"a/b\"}\n", Some(("foreign-frontend", 1, 18))),
            ("{\"syntax\": \"a/b\"", None),
            ("# syntax=a/b", None),
            ("FROM x", None),
            ("#!/x", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let found = foreign_file(text).map(|found| {
                let span = found.primary().unwrap();
                (found.code, span.start, span.end)
            });
            assert_eq!(found, *expected, "{text}");
        }
    }
}
