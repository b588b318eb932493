//! What is said about a Dockerfile: plain values. Knows nothing of terminals and of colours.

use crate::source::Span;

/// The codes of errors and warnings, in alphabetical order; `docs/errors.md` says what each means. A finding of the linter has the
/// name of its rule instead, and what is said of a step has none.
pub const CODES: [&str; 61] = [
    "blank-base",
    "blank-name",
    "check-option",
    "checksum",
    "chmod",
    "circular-dependency",
    "copy-source",
    "device",
    "directive-without-effect",
    "duplicate-directive",
    "duplicate-flag",
    "duration",
    "empty-file",
    "empty-volume",
    "escape-directive",
    "expansion",
    "expose",
    "extra-argument",
    "flag-value",
    "foreign-frontend",
    "from-arguments",
    "git-source",
    "healthcheck-type",
    "heredoc",
    "heredoc-destination",
    "heredoc-size",
    "heredoc-unterminated",
    "heredoc-unused",
    "heredoc-without-body",
    "image-name",
    "json-element",
    "key-value",
    "later-stage",
    "lint-violation",
    "missing-argument",
    "missing-flag-value",
    "mount",
    "no-instructions",
    "no-stage",
    "no-stages",
    "not-utf8",
    "onbuild-trigger",
    "platform",
    "pragma",
    "pragma-without-effect",
    "shell-form",
    "source-date-epoch",
    "stage-name",
    "stop-signal",
    "syntax-version",
    "too-large",
    "too-many-errors",
    "undefined-stage",
    "undefined-target",
    "unknown-flag",
    "unknown-instruction",
    "unknown-rule",
    "unsupported",
    "unused-build-arg",
    "variable-in-from",
    "volume",
];

/// One finding: an error or a warning, with the places it speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// A stable name of this kind of finding, such as `unknown-instruction`.
    pub code: &'static str,
    /// One sentence: lowercase, no full stop, names in backticks.
    pub message: String,
    /// The places, the most important first.
    pub labels: Vec<Label>,
    /// What to do about it.
    pub help: Option<String>,
    /// Changes of the text that together remove the finding; empty where there are none. None overlaps another.
    pub fix: Vec<Edit>,
}

impl Diagnostic {
    /// Makes an error at a place.
    pub fn error(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, span, message.into())
    }

    /// Makes a warning at a place.
    pub fn warning(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, span, message.into())
    }

    /// Makes an error that is about no place of the text: a flag, or the file as a whole.
    pub fn error_at_large(code: &'static str, message: impl Into<String>) -> Self {
        Self { labels: Vec::new(), ..Self::error(code, Span::default(), message) }
    }

    /// Makes a warning that is about no place of the text.
    pub fn warning_at_large(code: &'static str, message: impl Into<String>) -> Self {
        Self { labels: Vec::new(), ..Self::warning(code, Span::default(), message) }
    }

    fn new(severity: Severity, code: &'static str, span: Span, message: String) -> Self {
        let labels = vec![Label { span, text: String::new() }];
        Self { severity, code, message, labels, help: None, fix: Vec::new() }
    }

    /// Adds text to the first label.
    #[must_use]
    pub fn with_label(mut self, text: impl Into<String>) -> Self {
        if let Some(label) = self.labels.first_mut() {
            label.text = text.into();
        }
        self
    }

    /// Adds another place.
    #[must_use]
    pub fn with_place(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds a change of the text. All changes together remove the finding.
    #[must_use]
    pub fn with_fix(mut self, edit: Edit) -> Self {
        self.fix.push(edit);
        self
    }

    /// Adds "did you mean" where there is something similar, with the change that writes it at the first place.
    #[must_use]
    pub fn with_suggestion(self, suggestion: Option<String>) -> Self {
        let Some(meant) = suggestion else { return self };
        let fix = self.primary().map(|span| Edit { span, replacement: meant.clone() });
        let said = self.with_help(format!("did you mean `{meant}`?"));
        match fix {
            Some(fix) => said.with_fix(fix),
            None => said,
        }
    }

    /// Returns the most important place.
    pub fn primary(&self) -> Option<Span> {
        self.labels.first().map(|label| label.span)
    }

    /// Tells whether this is an error.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file works, but probably not as meant.
    Warning,
    /// The file cannot be built.
    Error,
}

/// A place and what is to be said of it; the text may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// A few words shown beside the carets.
    pub text: String,
}

/// A change of the text: the bytes of the span are replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// What goes away; empty to insert.
    pub span: Span,
    /// What comes instead.
    pub replacement: String,
}
