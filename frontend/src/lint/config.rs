//! What is switched on and off: `# check=skip=A,B;error=true;experimental=C` at the top of a file, as a build argument, or in
//! the comments right above one instruction, and what flags add. Knows names of rules only to say which do not exist.
//!
//! Read as BuildKit reads it, also where it surprises: the value ends at the first blank; there are at most three options; a
//! later `skip=` replaces an earlier one; `skip` says nothing about experimental rules. Names that do not exist are no
//! errors there, and warnings here. A rule that is off is switched on by naming it as experimental, which other builders
//! accept without a word.

use std::collections::BTreeSet;
use std::ops::Range;

use thiserror::Error;

use super::{Level, LintRequest, RULES, Rule};
use crate::ast::{Comment, Word};
use crate::diagnostic::Diagnostic;
use crate::directive;
use crate::source::Span;
use crate::suggest;

/// What is switched on and off.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// Rules that are skipped.
    pub skip: BTreeSet<String>,
    /// Whether all rules are skipped that are not experimental.
    pub skip_all: bool,
    /// Experimental rules that are looked at, and rules that are off otherwise.
    pub experimental: BTreeSet<String>,
    /// Whether all experimental rules are looked at.
    pub experimental_all: bool,
    /// Rules that are looked at although they are off or experimental, by name.
    pub enabled: BTreeSet<String>,
    /// Whether a finding fails the build.
    pub is_error: bool,
}

/// Why options of checks cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// A part without `=`.
    #[error("invalid check option `{text}`: `option=value` is expected")]
    NotAPair {
        /// The part.
        text: String,
        /// Where it stands.
        range: Range<usize>,
    },
    /// Another option than `skip`, `error`, `experimental`.
    #[error("unknown check option: `{name}`")]
    UnknownOption {
        /// Its name.
        name: String,
        /// Where it stands.
        range: Range<usize>,
    },
    /// `error` is neither true nor false.
    #[error("invalid value of the check option `error`: `{value}`")]
    NotABoolean {
        /// The value.
        value: String,
        /// Where it stands.
        range: Range<usize>,
    },
}

impl ConfigError {
    /// Returns where it stands in the text that was parsed.
    pub fn range(&self) -> Range<usize> {
        match self {
            Self::NotAPair { range, .. }
            | Self::UnknownOption { range, .. }
            | Self::NotABoolean { range, .. } => range.clone(),
        }
    }

    fn suggestion(&self) -> Option<&'static str> {
        match self {
            Self::UnknownOption { name, .. } => suggest::nearest(name, OPTIONS),
            Self::NotABoolean { value, .. } => suggest::nearest(value, ["true", "false"]),
            Self::NotAPair { .. } => None,
        }
    }
}

/// A name of a rule, and where it stands in the text that was parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mention {
    /// The name.
    pub name: String,
    /// Where it stands.
    pub range: Range<usize>,
}

const OPTIONS: [&str; 3] = ["skip", "experimental", "error"];

/// The most options that are read; what follows is part of the last one.
const OPTIONS_MAX: usize = 3;

impl Config {
    /// Reads options of checks, such as `skip=A,B;error=true`.
    ///
    /// # Errors
    /// For an option that does not exist and for a value that is none. Rules that do not exist are none: see
    /// [`Config::mentions`].
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        for (name, range) in options(text)? {
            let value = trim(text, range);
            match name {
                "error" => config.is_error = boolean(text, value)?,
                "skip" => (config.skip, config.skip_all) = list(text, &value),
                _ => (config.experimental, config.experimental_all) = list(text, &value),
            }
        }
        Ok(config)
    }

    /// Returns the names of rules in options of checks; none where they cannot be read.
    pub fn mentions(text: &str) -> Vec<Mention> {
        let options = options(text).unwrap_or_default();
        let lists = options.into_iter().filter(|(name, _)| *name != "error");
        let ranges = lists.flat_map(|(_, range)| split(text, range, ','));
        let trimmed = ranges.map(|range| trim(text, range)).filter(|range| &text[range.clone()] != "all");
        trimmed.map(|range| Mention { name: text[range.clone()].to_owned(), range }).collect()
    }

    /// Adds what the comments above one instruction say.
    #[must_use]
    pub(super) fn merged(&self, other: &Self) -> Self {
        let mut merged = self.clone();
        merged.skip_all |= other.skip_all;
        merged.experimental_all |= other.experimental_all;
        merged.skip.extend(other.skip.iter().cloned());
        merged.experimental.extend(other.experimental.iter().cloned());
        merged
    }

    /// Tells whether a rule is looked at.
    pub fn allows(&self, rule: &Rule) -> bool {
        let (is_named, is_skipped) = (self.experimental.contains(rule.name), self.skip.contains(rule.name));
        match rule.level {
            Level::On => !self.skip_all && !is_skipped,
            _ if self.enabled.contains(rule.name) => !is_skipped,
            Level::Off => is_named,
            Level::Experimental => is_named || self.experimental_all,
        }
    }
}

/// Cuts options into names and the ranges of their values.
fn options(text: &str) -> Result<Vec<(&str, Range<usize>)>, ConfigError> {
    let whole = trim(text, 0..text.len());
    if whole.is_empty() {
        return Ok(Vec::new());
    }
    let parts = text[whole.clone()].splitn(OPTIONS_MAX, ';');
    parts.map(|part| option(text, offset(text, part)..offset(text, part) + part.len())).collect()
}

fn option(text: &str, range: Range<usize>) -> Result<(&str, Range<usize>), ConfigError> {
    let part = &text[range.clone()];
    let Some(equals) = part.find('=') else {
        return Err(ConfigError::NotAPair { text: part.to_owned(), range });
    };
    let name = trim(text, range.start..range.start + equals);
    if !OPTIONS.contains(&&text[name.clone()]) {
        return Err(ConfigError::UnknownOption { name: text[name.clone()].to_owned(), range: name });
    }
    Ok((&text[name], range.start + equals + 1..range.end))
}

fn list(text: &str, range: &Range<usize>) -> (BTreeSet<String>, bool) {
    if &text[range.clone()] == "all" {
        return (BTreeSet::new(), true);
    }
    (text[range.clone()].split(',').map(|name| name.trim().to_owned()).collect(), false)
}

/// Reads a boolean as Go does.
fn boolean(text: &str, range: Range<usize>) -> Result<bool, ConfigError> {
    match &text[range.clone()] {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        value => Err(ConfigError::NotABoolean { value: value.to_owned(), range }),
    }
}

fn split(text: &str, range: Range<usize>, at: char) -> Vec<Range<usize>> {
    text[range].split(at).map(|part| offset(text, part)..offset(text, part) + part.len()).collect()
}

fn trim(text: &str, range: Range<usize>) -> Range<usize> {
    let inner = &text[range];
    let start = offset(text, inner) + inner.len() - inner.trim_start().len();
    start..start + inner.trim().len()
}

/// Returns where a part of a text starts in it.
fn offset(text: &str, part: &str) -> usize {
    part.as_ptr() as usize - text.as_ptr() as usize
}

/// A value of `check=` ends at its first blank.
fn first_word(value: &str) -> &str {
    value.split(' ').next().unwrap_or("")
}

/// Returns what holds for the whole file, and says what is wrong with its `# check=`.
pub(super) fn of_request(request: &LintRequest<'_>, remarks: &mut Vec<Diagnostic>) -> Config {
    if let Some(config) = request.config {
        return config.clone();
    }
    let Some(directive) = request.file.directives.iter().find(|directive| directive.name == "check") else {
        return Config::default();
    };
    let (text, at) = (first_word(&directive.value.text), directive.value.span.start);
    remark_rest(&directive.value.text, at, remarks);
    remark_mentions(text, at, remarks);
    match Config::parse(text) {
        Ok(config) => config,
        Err(error) => {
            remarks.push(unreadable(&error, at, Diagnostic::error));
            Config::default()
        }
    }
}

/// Says what is wrong with `# check=` in the comments above instructions. There it is no error: BuildKit passes it over.
pub(super) fn remark_inline(request: &LintRequest<'_>, remarks: &mut Vec<Diagnostic>) {
    let file = request.file;
    let stages = file.stages.iter();
    let above_stages = stages.flat_map(|stage| {
        std::iter::once(&stage.from.comments).chain(stage.instructions.iter().map(|one| &one.comments))
    });
    let above_globals = file.global_arguments.iter().map(|instruction| &instruction.comments);
    for comments in above_globals.chain(above_stages) {
        let is_directive = |span: Span| file.directives.iter().any(|directive| directive.span == span);
        let Some((value, comment)) = inline(comments).filter(|(_, comment)| !is_directive(comment.span))
        else {
            continue;
        };
        let behind_mark = request.source.slice(comment.span).trim_start_matches('#').trim_start();
        let at = comment.span.end - behind_mark.len() + value.span.start;
        remark_rest(&value.text, at, remarks);
        remark_mentions(first_word(&value.text), at, remarks);
        if let Err(error) = Config::parse(first_word(&value.text)) {
            remarks.push(unreadable(&error, at, Diagnostic::warning));
        }
    }
}

/// Returns what the comments above an instruction add.
pub(super) fn of_comments(comments: &[Comment]) -> Option<Config> {
    let (value, _) = inline(comments)?;
    // What cannot be read is remarked once for the file, and adds nothing.
    Config::parse(first_word(&value.text)).ok()
}

/// Finds the first `check=` in the comments above an instruction: its value, whose span counts in the comment's text.
fn inline(comments: &[Comment]) -> Option<(Word, &Comment)> {
    comments.iter().find_map(|comment| {
        let directive = directive::of_comment(&comment.text, 0)?;
        (directive.name == "check").then_some((directive.value, comment))
    })
}

fn unreadable(
    error: &ConfigError,
    at: usize,
    make: fn(&'static str, Span, String) -> Diagnostic,
) -> Diagnostic {
    let range = error.range();
    make("check-option", Span::new(at + range.start, at + range.end), error.to_string())
        .with_suggestion(error.suggestion().map(str::to_owned))
}

/// Behind the first blank stands a reason, as a rule; not where the options clearly go on.
fn remark_rest(value: &str, at: usize, remarks: &mut Vec<Diagnostic>) {
    let (first, marks) = (first_word(value), [',', ';', '=']);
    let rest = &value[first.len()..];
    if rest.trim().is_empty() || !(first.ends_with(marks) || rest.trim_start().starts_with(marks)) {
        return;
    }
    let span = Span::new(at + first.len(), at + value.len());
    remarks.push(
        Diagnostic::warning("check-option", span, "options of checks end at the first blank")
            .with_label("not read")
            .with_help("write them without blanks"),
    );
}

fn remark_mentions(text: &str, at: usize, remarks: &mut Vec<Diagnostic>) {
    for Mention { name, range } in Config::mentions(text) {
        remarks.extend(unknown_rule(&name, Some(Span::new(at + range.start, at + range.end))));
    }
}

/// Says that a rule does not exist; nothing where it does, and for an empty name.
pub fn unknown_rule(name: &str, place: Option<Span>) -> Option<Diagnostic> {
    if name.is_empty() || RULES.iter().any(|rule| rule.name == name) {
        return None;
    }
    let names = || RULES.iter().map(|rule| rule.name);
    let other_case = names().find(|known| known.eq_ignore_ascii_case(name));
    let near = other_case.or_else(|| suggest::nearest(name, names()));
    let message = format!("there is no rule `{name}`");
    let remark = match place {
        Some(place) => Diagnostic::warning("unknown-rule", place, message),
        None => Diagnostic::warning_at_large("unknown-rule", message),
    };
    Some(remark.with_suggestion(near.map(str::to_owned)))
}

#[cfg(test)]
mod tests;
