//! The variables that an instruction sees, and the expansion of its words.
//!
//! What was in force before an instruction is what all of its words see.

use std::collections::{BTreeMap, BTreeSet};

use kiln_frontend::ast::{Dockerfile, Word};
use kiln_frontend::diagnostic::Diagnostic;
use kiln_frontend::expand::{ExpandError, Expansion, Lexer, Misread};
use kiln_frontend::source::Span;
pub(super) use kiln_frontend::variables::VariableList;
use kiln_oci::Platform;

/// Expands words of one file and collects what is wrong with them.
#[derive(Debug)]
pub(super) struct Expander {
    lexer: Lexer,
    /// Where findings are shown instead of at the word: the FROM that brought an ONBUILD trigger.
    pub(super) place: Option<Span>,
    /// What was found.
    pub(super) diagnostics: Vec<Diagnostic>,
    doubt: Option<Doubt>,
}

/// What is not certain while something is missing: the base image is not known yet, or the file has errors elsewhere.
#[derive(Debug, Default)]
struct Doubt {
    /// Whether even a variable that is set may have another value.
    covers_all: bool,
    /// Variables that were set to something that is not certain.
    uncertain: BTreeSet<String>,
    /// Whether anything since the last look was not certain.
    is_raised: bool,
}

impl Expander {
    pub(super) fn new(escape: char) -> Self {
        Self { lexer: Lexer::new(escape), place: None, diagnostics: Vec::new(), doubt: None }
    }

    /// Starts to distrust variables: those that are not set, or all.
    pub(super) fn distrust(&mut self, covers_all: bool) {
        self.doubt = Some(Doubt { covers_all, ..Doubt::default() });
    }

    /// Trusts variables again.
    pub(super) fn trust(&mut self) {
        self.doubt = None;
    }

    /// Says that what follows depends on something that is not known.
    pub(super) fn raise_doubt(&mut self) {
        if let Some(doubt) = &mut self.doubt {
            doubt.is_raised = true;
        }
    }

    /// Begins something of which only what is certain counts; returns a mark for [`Expander::settle`].
    pub(super) fn begin(&mut self) -> usize {
        if let Some(doubt) = &mut self.doubt {
            doubt.is_raised = false;
        }
        self.diagnostics.len()
    }

    /// Takes back what was found since the mark, if that is not certain. The variables that were set are then as uncertain.
    /// Returns whether all is certain.
    pub(super) fn settle(&mut self, mark: usize, sets: &[&str]) -> bool {
        let Some(doubt) = &mut self.doubt else { return true };
        if doubt.is_raised {
            self.diagnostics.truncate(mark);
            doubt.uncertain.extend(sets.iter().map(|name| (*name).to_owned()));
            return false;
        }
        for name in sets {
            doubt.uncertain.remove(*name);
        }
        true
    }

    /// Returns the expanded word; an error is collected, and the word is then empty.
    pub(super) fn word(&mut self, word: &Word, variables: &VariableList) -> String {
        self.expansion(word, variables).text
    }

    /// Returns the words that one word gives: a variable may hold several.
    pub(super) fn words(&mut self, word: &Word, variables: &VariableList) -> Vec<String> {
        self.expansion(word, variables).words
    }

    /// Returns everything about an expanded word.
    pub(super) fn expansion(&mut self, word: &Word, variables: &VariableList) -> Expansion {
        match self.value(&word.text, variables) {
            Ok(expansion) => expansion,
            Err(misread) => {
                self.push(misread.diagnostic(word, variables.names()));
                Expansion::default()
            }
        }
    }

    /// Expands a text without collecting what is wrong with it.
    pub(super) fn value(&mut self, text: &str, variables: &VariableList) -> Result<Expansion, Misread> {
        let result = self.lexer.expand_located(text, variables);
        self.look_at(&result);
        result
    }

    /// Returns a heredoc's body with its variables replaced.
    pub(super) fn body(&mut self, body: &str, span: Span, variables: &VariableList) -> String {
        let result = Lexer::expand_body_located(body, variables);
        self.look_at(&result);
        match result {
            Ok(expansion) => expansion.text,
            Err(misread) => {
                let line = body[..misread.range.start].matches('\n').count() + 1;
                let word = Word { text: String::new(), span };
                let mut error = misread.diagnostic(&word, variables.names());
                error.message = format!("{} (line {line} of the heredoc)", error.message);
                error.fix.clear();
                self.push(error);
                String::new()
            }
        }
    }

    /// Notes whether a result may come out differently when everything is known.
    fn look_at(&mut self, result: &Result<Expansion, Misread>) {
        let Some(doubt) = &mut self.doubt else { return };
        doubt.is_raised |= match result {
            Ok(Expansion { used, undefined, .. }) => {
                let is_uncertain = |name| doubt.covers_all || doubt.uncertain.contains(name);
                !undefined.is_empty() || used.iter().any(is_uncertain)
            }
            Err(Misread { error, .. }) => match error {
                ExpandError::Required { .. }
                | ExpandError::InvalidPattern { .. }
                | ExpandError::TooLarge
                | ExpandError::TooSlow
                | ExpandError::TooDeep => true,
                ExpandError::MissingBrace
                | ExpandError::MissingSlash
                | ExpandError::BadSubstitution
                | ExpandError::UnsupportedModifier(_)
                | ExpandError::UnmatchedQuote(_) => false,
            },
        };
    }

    /// Collects an error at a place.
    pub(super) fn error(&mut self, code: &'static str, span: Span, message: impl Into<String>) {
        self.push(Diagnostic::error(code, span, message));
    }

    /// Collects a finding, moved to the place where findings are shown.
    pub(super) fn push(&mut self, mut diagnostic: Diagnostic) {
        if let Some(place) = self.place {
            diagnostic.fix.clear();
            for label in &mut diagnostic.labels {
                label.span = place;
            }
        }
        self.diagnostics.push(diagnostic);
    }
}

/// Proxy settings: usable without ARG, never in a key or the history unless declared.
const PROXY_ARGUMENTS: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

/// Whether `name` is a proxy setting, in capitals or not.
pub(super) fn is_proxy(name: &str) -> bool {
    PROXY_ARGUMENTS.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Returns the variables of a process that come from undeclared proxy arguments: both spellings of each.
pub(super) fn proxy_variables(arguments: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let mut values = BTreeMap::new();
    for (name, value) in arguments.iter().filter(|(name, _)| is_proxy(name)) {
        values.insert(name.to_ascii_uppercase(), value.clone());
        values.insert(name.to_ascii_lowercase(), value.clone());
    }
    values.into_iter().collect()
}

/// Returns the arguments that are there before any ARG: what is built, and where.
pub(super) fn automatic_arguments(
    build: &Platform,
    target: &Platform,
    stage: &str,
    overrides: &BTreeMap<String, String>,
) -> VariableList {
    let mut list = VariableList::default();
    let texts = |platform: &Platform| {
        let part = |value: &Option<String>| value.clone().unwrap_or_default();
        [
            ("PLATFORM", platform.to_string()),
            ("OS", platform.os.clone()),
            ("OSVERSION", part(&platform.os_version)),
            ("ARCH", platform.architecture.clone()),
            ("VARIANT", part(&platform.variant)),
        ]
    };
    let named = [("BUILD", build), ("TARGET", target)].into_iter().flat_map(|(prefix, platform)| {
        texts(platform).map(|(name, value)| (format!("{prefix}{name}"), value))
    });
    for (name, value) in named.chain([("TARGETSTAGE".to_owned(), stage.to_owned())]) {
        list.set(&name, overrides.get(&name).unwrap_or(&value));
    }
    list
}

/// Returns the name that `TARGETSTAGE` has: that of the stage to build as it was asked for, that of the last one, or `default`.
pub(super) fn target_name<'a>(file: &'a Dockerfile, wanted: Option<&'a str>) -> &'a str {
    let last = || file.stages.last().and_then(|stage| stage.name());
    wanted.or_else(last).unwrap_or("default")
}

/// Returns the build arguments that no ARG declares and nothing else reads.
pub(super) fn unused_arguments<'a>(
    given: &'a BTreeMap<String, String>,
    declared: &BTreeSet<String>,
    automatic: &VariableList,
) -> Vec<&'a str> {
    let known = |name: &str| {
        declared.contains(name)
            || is_proxy(name)
            || name.starts_with("BUILDKIT_")
            || name == "SOURCE_DATE_EPOCH"
            || automatic.value(name).is_some()
    };
    given.keys().map(String::as_str).filter(|name| !known(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn automatic_arguments_can_be_overridden() {
        let arm = Platform::new("linux", "arm", Some("v7"));
        let overrides = BTreeMap::from([("TARGETARCH".to_owned(), "mine".to_owned())]);
        let list = automatic_arguments(&Platform::linux("amd64"), &arm, "default", &overrides);
        assert_eq!(list.value("BUILDPLATFORM"), Some("linux/amd64"));
        assert_eq!(list.value("TARGETPLATFORM"), Some("linux/arm/v7"));
        assert_eq!((list.value("TARGETARCH"), list.value("TARGETVARIANT")), (Some("mine"), Some("v7")));
        assert_eq!(list.pairs().len(), 11);
    }

    #[test]
    fn proxies_reach_a_process_in_both_spellings() {
        let given =
            BTreeMap::from([("http_proxy".to_owned(), "p".to_owned()), ("X".to_owned(), "y".to_owned())]);
        let names: Vec<_> = proxy_variables(&given).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["HTTP_PROXY", "http_proxy"]);
    }
}
