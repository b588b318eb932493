//! What checks found, as text and as documents. Knows nothing of how it was found.
//!
//! | File | Form |
//! |---|---|
//! | [`text`] | excerpts, and a line with counts |
//! | [`json`] | BuildKit's document of a lint, with what is ours beside it |
//! | [`sarif`] | SARIF 2.1.0 |
//! | [`outline`] | targets of a file, and what one of them takes, as BuildKit has them |

pub(crate) mod json;
pub(crate) mod outline;
pub(crate) mod sarif;
pub(crate) mod text;

use kiln_builder::check::Checked;
use kiln_frontend::diagnostic::Diagnostic;
use kiln_frontend::lint::Rule;
use kiln_frontend::source::Span;

use crate::failure::{Failure, Kind};

/// One thing that is said about a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'a> {
    /// What is said.
    pub(crate) diagnostic: &'a Diagnostic,
    /// The rule that says it; errors have none, nor have warnings of the planner.
    pub(crate) rule: Option<&'static Rule>,
    /// The instruction that it is about.
    pub(crate) instruction: Option<Span>,
}

impl Entry<'_> {
    /// Returns the name of the rule, or the code of what is none.
    pub(crate) fn name(&self) -> &'static str {
        self.rule.map_or(self.diagnostic.code, |rule| rule.name)
    }

    /// Whether it can be mended without changing the image. What is only a guess has no rule.
    pub(crate) fn is_fixable(&self) -> bool {
        self.rule.is_some() && !self.diagnostic.fix.is_empty()
    }
}

/// Returns all that is said about a file: what has no place first, then in the order of the file, errors before findings.
pub(crate) fn entries(checked: &Checked) -> Vec<Entry<'_>> {
    let problems = checked.problems.iter().map(|diagnostic| Entry {
        diagnostic,
        rule: None,
        instruction: diagnostic.primary(),
    });
    let findings = checked.findings.iter().map(|finding| Entry {
        diagnostic: &finding.diagnostic,
        rule: Some(finding.rule),
        instruction: Some(finding.instruction),
    });
    let mut entries: Vec<Entry<'_>> = problems.chain(findings).collect();
    entries.sort_by_key(|entry| (entry.diagnostic.primary().map(|span| span.start), entry.rule.is_some()));
    entries
}

/// How much was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Errors.
    pub(crate) errors: usize,
    /// Warnings, those of rules and others.
    pub(crate) warnings: usize,
    /// Those that can be mended.
    pub(crate) fixable: usize,
}

impl Tally {
    /// Counts what was found in files.
    pub(crate) fn of(files: &[Checked]) -> Self {
        let mut tally = Self::default();
        for entry in files.iter().flat_map(entries) {
            match entry.diagnostic.is_error() {
                true => tally.errors += 1,
                false => tally.warnings += 1,
            }
            tally.fixable += usize::from(entry.is_fixable());
        }
        tally
    }

    /// Returns how a check ends that has printed this: well, or with the exit code of errors or of findings.
    pub(crate) fn outcome(self) -> Result<(), Failure> {
        let kind = match (self.errors, self.warnings) {
            (0, 0) => return Ok(()),
            (0, _) => Kind::Findings,
            _ => Kind::Failed,
        };
        Err(Failure { is_shown: true, ..Failure::new(kind, self.to_string()) })
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = |count: usize, word: &str| match count {
            0 => None,
            1 => Some(format!("1 {word}")),
            count => Some(format!("{count} {word}s")),
        };
        let counts = [count(self.errors, "error"), count(self.warnings, "warning")];
        let counts: Vec<String> = counts.into_iter().flatten().collect();
        match counts.as_slice() {
            [] => formatter.write_str("no findings"),
            counts => formatter.write_str(&counts.join(", ")),
        }
    }
}

/// Returns the address of a rule's page.
pub(crate) fn page(rule: &Rule) -> String {
    format!("{}/blob/main/docs/lint/{}", env!("CARGO_PKG_REPOSITORY"), rule.page)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use kiln_builder::lower::{self, Config, Extent, LintInput, PlanOptions, Source};
    use kiln_oci::Platform;

    use super::*;

    /// Returns what a check without images finds in a text, without planning it.
    pub(crate) fn checked(name: &str, text: &str) -> Checked {
        let source = Source::new(name, text);
        let parsed = lower::parse(&source, &BTreeMap::new());
        let request = kiln_builder::request::BuildRequest::new("/");
        let options = PlanOptions {
            build_platform: Platform::linux("amd64"),
            ..PlanOptions::of(&request, request.timestamp, Extent::Whole)
        };
        let linted = lower::lint(&LintInput {
            source: &source,
            file: &parsed.file,
            options: &options,
            changes: &Config::default(),
            ignore: None,
            images: &BTreeMap::new(),
            replaced: &BTreeSet::new(),
        });
        let problems = parsed.diagnostics;
        let (findings, notes, violated) = (linted.findings, Vec::new(), Vec::new());
        Checked { source, problems, findings, notes, violated }
    }

    #[test]
    fn entries_stand_in_the_order_of_the_file_and_are_counted() {
        let file = checked("Dockerfile", "FROM a as X\nCOPPY a b\nWORKDIR w\n");
        let names: Vec<&str> = entries(&file).iter().map(Entry::name).collect();
        assert_eq!(names, ["FromAsCasing", "StageNameCasing", "unknown-instruction", "WorkdirRelativePath"]);
        let tally = Tally::of(std::slice::from_ref(&file));
        assert_eq!(tally, Tally { errors: 1, warnings: 3, fixable: 2 });
        assert_eq!(tally.to_string(), "1 error, 3 warnings");
        assert_eq!(Tally::default().to_string(), "no findings");
    }

    #[test]
    fn errors_end_a_check_otherwise_than_findings() {
        let code = |errors, warnings| {
            let tally = Tally { errors, warnings, fixable: 0 };
            tally.outcome().map_err(|failure| (failure.exit_code(), failure.is_shown))
        };
        assert_eq!(
            [code(0, 0), code(0, 2), code(1, 0), code(2, 2)],
            [Ok(()), Err((3, true)), Err((1, true)), Err((1, true))]
        );
    }
}
