//! The list of known failures, which only shrinks: what fails without being listed fails the test, and so does what
//! is listed and passes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::compare::{Aspect, Difference};

/// `category/name` or `category/name:aspect`, each with its reason.
#[derive(Default)]
pub(crate) struct Known {
    entries: BTreeMap<String, String>,
}

/// Returns the name of a failure in the list.
pub(crate) fn key(case: &str, aspect: Aspect) -> String {
    if aspect == Aspect::Image { case.to_owned() } else { format!("{case}:{}", aspect.name()) }
}

impl Known {
    /// Reads the list; a line is a key, blanks, and a reason. An absent list is empty.
    pub(crate) fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_default();
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let entry = |line: &str| {
            let (key, reason) =
                line.split_once(char::is_whitespace).unwrap_or_else(|| panic!("no reason given: {line}"));
            (key.to_owned(), reason.trim().to_owned())
        };
        Self { entries: lines.map(entry).collect() }
    }

    /// Returns what is wrong with the list, given every failure of the cases that ran.
    pub(crate) fn check(
        &self,
        failures: &BTreeMap<String, Vec<Difference>>,
        ran: impl Fn(&str) -> bool,
    ) -> Vec<String> {
        let unknown = failures.iter().filter(|(key, _)| !self.entries.contains_key(*key));
        let mut wrong: Vec<String> = unknown
            .map(|(key, differences)| format!("fails and is not listed: {key}\n{}", show(differences)))
            .collect();
        let mended = self.entries.keys().filter(|key| ran(case_of(key)) && !failures.contains_key(*key));
        wrong.extend(mended.map(|key| format!("is listed and passes: take it out of the list: {key}")));
        wrong
    }

    /// Writes the list anew from the failures of a whole run, keeping the reasons that are known.
    pub(crate) fn write(&self, path: &Path, failures: &BTreeMap<String, Vec<Difference>>) {
        let mut text =
            "# Cases that fail, as `category/name[:aspect]  reason`. The list only shrinks.\n".to_owned();
        for (key, differences) in failures {
            let first = || {
                differences
                    .first()
                    .map_or_else(String::new, |difference| format!("unexplained: {}", short(difference)))
            };
            text.push_str(&format!("{key}  {}\n", self.entries.get(key).cloned().unwrap_or_else(first)));
        }
        fs::write(path, text).unwrap();
    }
}

fn case_of(key: &str) -> &str {
    key.split(':').next().unwrap_or(key)
}

fn short(difference: &Difference) -> String {
    let line = format!("{}: {}", difference.at, difference.text).replace('\n', " ");
    line.chars().take(160).collect()
}

/// Returns differences, one a line, each bounded.
pub(crate) fn show(differences: &[Difference]) -> String {
    let line = |difference: &Difference| {
        format!(
            "    [{}] {}: {}\n",
            difference.aspect.name(),
            difference.at,
            difference.text.chars().take(2000).collect::<String>()
        )
    };
    differences.iter().take(40).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_must_be_exactly_what_fails() {
        let known = Known {
            entries: [("a/x".to_owned(), "why".to_owned()), ("a/y:history".to_owned(), "why".to_owned())]
                .into(),
        };
        let failures = [("a/x".to_owned(), Vec::new()), ("a/z".to_owned(), Vec::new())].into();
        let wrong = known.check(&failures, |_| true);
        assert_eq!(
            wrong,
            ["fails and is not listed: a/z\n", "is listed and passes: take it out of the list: a/y:history"]
        );
        assert_eq!(known.check(&failures, |case| case == "a/z").len(), 1, "what did not run is not judged");
    }
}
