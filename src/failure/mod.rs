//! Any error → what the user is told: kind, message, causes, hints, exit code. The only place with hints.
//!
//! | A hint about … | There |
//! |---|---|
//! | the configuration file, a place for the store | `settings` |
//! | stages, outputs, anything that a whole build says | `build` |
//! | a step: its exit code, what it lacks | `step` |
//! | git repositories | `git` |
//! | keys and agents of `--ssh` | `agent` |
//! | namespaces, overlays, foreign processors | `machine` |
//! | the disk, locks, damage, cache mounts | `store` |
//! | images and lists of the store | `images` |
//! | registries, buckets, files of the web | `servers` |
//! | templates of `--format` | `template` |
//!
//! | Exit code | Kind | When |
//! |---|---|---|
//! | 0 | | done; also when whoever read the output went away |
//! | 1 | [`Kind::Failed`] | the build or command failed |
//! | 2 | [`Kind::Usage`] | wrong usage: flags, variables, configuration file |
//! | 3 | [`Kind::Findings`] | `lint` or `build --check` has findings, and no errors; `fsck` found damage; `diff --exit-code` a difference |
//! | 4 | [`Kind::Machine`] | this machine cannot do it |
//! | 70 | [`Kind::Bug`] | a mistake in kiln |
//! | 130 | [`Kind::Interrupted`] | ended by a signal |
//!
//! `kiln run` has 125 for all but the last two: its codes are the command's.

use std::error::Error;
use std::io;

use kiln_frontend::diagnostic::Diagnostic;
use kiln_frontend::source::{Source, Span};

pub(crate) use machine::hint_of_machine;
use servers::Mirrors;

mod settings;

mod build;

mod step;

mod git;

mod agent;

mod machine;

mod store;

mod images;

mod servers;

mod template;

/// What a failure means to the caller of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The build or command failed.
    Failed,
    /// Wrong usage.
    Usage,
    /// A check has findings.
    Findings,
    /// This machine cannot do it.
    Machine,
    /// A mistake in kiln.
    Bug,
    /// Ended by a signal.
    Interrupted,
}

impl Kind {
    /// Returns the exit code.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Findings => 3,
            Self::Machine => 4,
            Self::Bug => 70,
            Self::Interrupted => 130,
        }
    }

    /// Returns the word that machine-readable output has for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Findings => "findings",
            Self::Machine => "machine",
            Self::Bug => "bug",
            Self::Interrupted => "interrupted",
        }
    }
}

/// Something that went wrong, in the words the user gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What it means to the caller.
    pub(crate) kind: Kind,
    /// One sentence.
    pub(crate) message: String,
    /// What was below, nearest first.
    pub(crate) causes: Vec<String>,
    /// What to do about it.
    pub(crate) hints: Vec<String>,
    /// Places in the Dockerfile. Where there are some, they say the message.
    pub(crate) report: Option<Box<Report>>,
    /// Whether `message` is a whole text with its own heading.
    pub(crate) is_rendered: bool,
    /// Whether the user has seen it already.
    pub(crate) is_shown: bool,
}

/// Findings in one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    /// The Dockerfile.
    pub(crate) source: Source,
    /// The findings, in order.
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl Failure {
    /// Returns a failure with nothing but a message.
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            causes: Vec::new(),
            hints: Vec::new(),
            report: None,
            is_rendered: false,
            is_shown: false,
        }
    }

    /// Returns a failure of wrong usage.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// Returns a failure whose text is whole.
    pub(crate) fn rendered(kind: Kind, text: String) -> Self {
        Self { is_rendered: true, ..Self::new(kind, text) }
    }

    /// Returns the failure that an error is, with its causes and the hints that follow from them.
    pub(crate) fn of(kind: Kind, error: &(dyn Error + 'static)) -> Self {
        let mut failure = Self::new(kind, error.to_string());
        let mut next = error.source();
        let mut said = failure.message.clone();
        while let Some(cause) = next {
            let text = cause.to_string();
            // Some libraries repeat their source in their own message.
            if !said.ends_with(&text) {
                failure.causes.push(text.clone());
                said = text;
            }
            next = cause.source();
        }
        failure.hints.extend(hint_of_chain(error));
        failure
    }

    /// Returns the failure of work that was interrupted.
    pub(crate) fn interrupted() -> Self {
        Self::new(Kind::Interrupted, "interrupted")
    }

    /// Adds what to do about it.
    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Says the message at a place in the Dockerfile, if it has one.
    fn at(self, span: Option<(usize, usize)>, source: Source, label: String) -> Self {
        let Some((start, end)) = span else { return self };
        let diagnostic = Diagnostic::error("", Span::new(start, end), self.message.clone()).with_label(label);
        self.with_report(source, vec![diagnostic])
    }

    /// Adds the places it speaks of.
    fn with_report(self, source: Source, diagnostics: Vec<Diagnostic>) -> Self {
        Self { report: Some(Box::new(Report { source, diagnostics })), ..self }
    }

    /// Returns the exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        self.kind.exit_code()
    }
}

/// What knows hints about a single error, whatever it was met in.
const HINTS: [fn(&(dyn Error + 'static)) -> Option<String>; 3] = [store::hint, images::hint, template::hint];

/// Returns what to do about the deepest error that something is known about.
fn hint_of_chain(error: &(dyn Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    let mut hint = None;
    let mut mirrors = Mirrors::of(error);
    while let Some(error) = next {
        mirrors = mirrors.within(error);
        let of_one = HINTS.iter().find_map(|hint| hint(error));
        hint = of_one.or_else(|| servers::hint(error, mirrors)).or(hint);
        next = error.source();
    }
    hint
}

/// Returns an error as what it is. One that holds another in a box gives the box as its source.
fn unboxed<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    error.downcast_ref().or_else(|| error.downcast_ref::<Box<T>>().map(|boxed| &**boxed))
}

/// Whether an error means that whoever read our output has gone away.
pub(crate) fn is_broken_pipe(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

#[cfg(test)]
mod tests;
