//! Findings for people: excerpts, and a line with counts.

use kiln_builder::check::Checked;
use kiln_frontend::lint::{RULES, Rule};

use super::{Tally, entries};
use crate::ui::style::Style;
use crate::ui::{diagnostic, table};

/// Most that is shown of one file: more help nobody, and a hostile file has any number.
const SHOWN_MAX: usize = 200;

/// Returns what was found in files, each with its excerpt, and what it comes to.
pub(crate) fn render(files: &[Checked], style: Style) -> String {
    let mut text = String::new();
    for file in files {
        let entries = entries(file);
        for entry in entries.iter().take(SHOWN_MAX) {
            text.push_str(&diagnostic::render(&file.source, entry.diagnostic, style));
            text.push('\n');
        }
        if entries.len() > SHOWN_MAX {
            let name = crate::ui::heading(file.source.name(), usize::MAX);
            text.push_str(&format!("{name}: {} more\n\n", entries.len() - SHOWN_MAX));
        }
        for note in &file.notes {
            text.push_str(&format!("note: {}\n\n", crate::ui::heading(note, usize::MAX)));
        }
    }
    text.push_str(&closing(files));
    text
}

fn closing(files: &[Checked]) -> String {
    let tally = Tally::of(files);
    let fixable = match tally.fixable {
        0 => String::new(),
        count => format!("; `kiln lint --fix` mends {count} of them"),
    };
    let subject = match files {
        [only] => crate::ui::heading(only.source.name(), usize::MAX),
        files => format!("{} files", files.len()),
    };
    format!("{subject}: {tally}{fixable}\n")
}

/// Returns the table of rules.
pub(crate) fn rules() -> String {
    let row = |rule: &&Rule| {
        vec![rule.name.to_owned(), super::json::level(rule.level).to_owned(), rule.summary.to_owned()]
    };
    table::render(&["RULE", "DEFAULT", "SUMMARY"], &RULES.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::super::tests::checked;
    use super::*;

    #[test]
    fn findings_have_excerpts_and_counts() {
        let mut file = checked("Dockerfile", "FROM a AS X\nCOPPY a b\n");
        file.notes.push("base image `a` is not known: it is not in this store".to_owned());
        let expected = "\
warning[StageNameCasing]: [..]
  --> Dockerfile:1:11
   |
 1 | FROM a AS X
   |           ^
help: [..]

error[unknown-instruction]: unknown instruction: COPPY
  --> Dockerfile:2:1
   |
 2 | COPPY a b
   | ^^^^^
help: did you mean `COPY`?

note: base image `a` is not known: it is not in this store

Dockerfile: 1 error, 1 warning; `kiln lint --fix` mends 1 of them
";
        snapbox::assert_data_eq!(render(std::slice::from_ref(&file), Style::PLAIN), expected);
        let clean = checked("Dockerfile", "FROM scratch\n");
        assert_eq!(render(std::slice::from_ref(&clean), Style::PLAIN), "Dockerfile: no findings\n");
        assert!(render(&[clean, file], Style::PLAIN).contains("\n2 files: 1 error, 1 warning;"));
    }

    #[test]
    fn a_file_with_very_many_findings_is_cut_short() {
        let file = checked("Dockerfile", &format!("FROM a\n{}", "MAINTAINER me\n".repeat(1000)));
        let more = file.findings.len() + file.problems.len() - SHOWN_MAX;
        assert!(render(&[file], Style::PLAIN).contains(&format!("\nDockerfile: {more} more\n")));
    }
}
