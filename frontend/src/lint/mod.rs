//! What is legal in a Dockerfile and probably not meant. Pure: what is known of images and of the ignore file is told.
//!
//! ```text
//! LintRequest ──► Scene (every stage and instruction, evaluated once) ──► each rule ──► Report ──► Linted
//!                 scene/                                                  rules/        report.rs
//! ```
//!
//! One file a rule, below `rules/`; names, triggers and lines are BuildKit's where it has the rule. What is switched on and
//! off is read in `config.rs`. A tree with errors can be linted too: findings may then be missing or superfluous.
//!
//! ```
//! use std::collections::{BTreeMap, BTreeSet};
//! use kiln_frontend::lint::{LintRequest, Reach, Vocabulary, lint};
//! use kiln_frontend::{parse, source::Source, variables::VariableList};
//!
//! let source = Source::new("Dockerfile", "FROM scratch\nENV VERSION=1 URL=$VERSOIN\n");
//! let linted = lint(&LintRequest {
//!     source: &source,
//!     file: &parse(&source).file,
//!     config: None,
//!     automatic_arguments: &VariableList::default(),
//!     build_args: &BTreeMap::new(),
//!     reach: Reach::All,
//!     target_platform: None,
//!     ignore: None,
//!     images: &BTreeMap::new(),
//!     contexts: &BTreeSet::new(),
//!     vocabulary: Vocabulary { is_image_name: |name| !name.is_empty(), platform: |_| None },
//! });
//! assert_eq!(linted.findings[0].rule.name, "UndefinedVar");
//! assert_eq!(linted.findings[0].diagnostic.message, "`$VERSOIN` is not defined");
//! ```

pub mod fix;

mod rules;

mod casing;

mod installs;

mod place;

mod ports;

mod shell;

mod report;

mod scene;

mod config;

use std::collections::{BTreeMap, BTreeSet};

use crate::ast::Dockerfile;
use crate::diagnostic::Diagnostic;
use crate::dockerignore::Matcher;
use crate::source::{Source, Span};
use crate::variables::VariableList;

pub use config::{Config, ConfigError, Mention, unknown_rule};
pub use rules::RULES;

use report::Report;
use scene::Scene;

/// All that a linter is told.
#[derive(Debug, Clone, Copy)]
pub struct LintRequest<'a> {
    /// The text.
    pub source: &'a Source,
    /// Its tree.
    pub file: &'a Dockerfile,
    /// What is switched on and off; replaces the `# check=` line of the file.
    pub config: Option<&'a Config>,
    /// The arguments that are there before all: `TARGETPLATFORM` to `TARGETSTAGE`.
    pub automatic_arguments: &'a VariableList,
    /// `--build-arg`
    pub build_args: &'a BTreeMap<String, String>,
    /// Which stages are looked at.
    pub reach: Reach<'a>,
    /// The platform to build for; `None` where it does not matter.
    pub target_platform: Option<&'a PlatformWords>,
    /// The ignore file of the context; `None` where there is none, or no context.
    pub ignore: Option<&'a Matcher>,
    /// What is known of base images, by their expanded name as FROM has it.
    pub images: &'a BTreeMap<String, ImageFacts>,
    /// The names of stages and images that named contexts replace.
    pub contexts: &'a BTreeSet<String>,
    /// What words mean that belong to images.
    pub vocabulary: Vocabulary,
}

/// Which stages are looked at. What can be seen without evaluating anything is reported for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach<'a> {
    /// All.
    All,
    /// The last one and what it needs.
    Last,
    /// The stage of this name and what it needs; all, if there is none.
    Stage(&'a str),
}

/// What is known of a base image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageFacts {
    /// Its variables.
    pub env: Vec<(String, String)>,
    /// Whether it has a SHELL of its own.
    pub has_shell: bool,
    /// The platform it is for; `None` where it says nothing, or has no layers.
    pub platform: Option<PlatformWords>,
    /// Its ONBUILD triggers.
    pub onbuild: Vec<String>,
}

/// A platform as rules compare it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformWords {
    /// The operating system, such as `linux`.
    pub os: String,
    /// The processor, such as `arm64`.
    pub architecture: String,
    /// The whole as it is shown, such as `linux/arm64`.
    pub text: String,
}

/// What words mean that belong to images: the frontend knows nothing of them.
#[derive(Debug, Clone, Copy)]
pub struct Vocabulary {
    /// Tells whether a text can be the name of an image.
    pub is_image_name: fn(&str) -> bool,
    /// Reads a platform, with the usual words for others (`aarch64` is `arm64`).
    pub platform: fn(&str) -> Option<PlatformWords>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Linted {
    /// The findings: by place, then by rule.
    pub findings: Vec<Finding>,
    /// What is wrong with `# check=` itself: an error for what cannot be read, a warning for rules that do not exist.
    pub remarks: Vec<Diagnostic>,
    /// Base images that are not known and whose facts might take a finding away.
    pub wants: BTreeSet<String>,
    /// Whether the file asks for findings to be errors, and has some.
    pub fails_build: bool,
}

/// A finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// What to say; its code is the name of the rule.
    pub diagnostic: Diagnostic,
    /// The whole instruction that it is about: its lines are those that BuildKit reports.
    pub instruction: Span,
    /// The base image that is not known and whose facts might take the finding away: one of [`Linted::wants`].
    pub unknown_image: Option<String>,
}

/// A rule.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Its name, as `# check=skip=` has it.
    pub name: &'static str,
    /// What it asks for, in a sentence.
    pub summary: &'static str,
    /// When it is looked at.
    pub level: Level,
    /// Its page below `docs/lint/`, such as `undefined-var.md`.
    pub page: &'static str,
    check: fn(&Scene<'_>, &mut Report<'_>),
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Rule {}

/// When a rule is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Unless it is skipped.
    On,
    /// Only when it is named: by `--enable`, or as an experimental one.
    Off,
    /// Only when it is named, or all experimental ones are.
    Experimental,
}

/// Looks at a file with every rule that is switched on.
pub fn lint(request: &LintRequest<'_>) -> Linted {
    let mut linted = Linted::default();
    let config = config::of_request(request, &mut linted.remarks);
    config::remark_inline(request, &mut linted.remarks);
    let links = scene::Links::new(request);
    let scene = Scene::new(request, &links);
    for rule in RULES {
        let mut report = Report::new(rule, &config, &mut linted);
        (rule.check)(&scene, &mut report);
    }
    let key = |finding: &Finding| (finding.diagnostic.primary(), finding.rule.name);
    linted.findings.sort_by(|a, b| key(a).cmp(&key(b)));
    linted.findings.dedup();
    linted.fails_build = config.is_error && !linted.findings.is_empty();
    linted
}

#[cfg(test)]
mod tests;
