//! The linter's rules: each has its file, its page and its row in the overview. What the pages say is tested in the frontend.

use std::collections::BTreeSet;

use super::expect_none;
use super::tree::{TextFile, all};

const FILES: &str = "frontend/src/lint/rules/";
const PAGES: &str = "docs/lint/";

#[test]
fn every_rule_has_a_file_a_page_and_a_row() {
    let files = all();
    let (rules, pages, rows) = (rules(&files), pages(&files), rows(&files));
    let mut findings = Vec::new();
    let every: BTreeSet<&String> = rules.iter().chain(&pages).chain(&rows).collect();
    for name in every {
        let places = [(FILES, &rules), (PAGES, &pages), ("the table of docs/lint/README.md", &rows)];
        let missing = places.iter().filter(|(_, names)| !names.contains(name));
        findings.extend(missing.map(|(place, _)| format!("{name} is not in {place}")));
    }
    expect_none(&findings, "a rule is a file, a page of the same name and a row that links to it");
}

fn rules(files: &[TextFile]) -> BTreeSet<String> {
    let names = files.iter().filter_map(|file| file.path.strip_prefix(FILES)?.split(['/', '.']).next());
    names.filter(|name| *name != "mod").map(|name| name.replace('_', "-")).collect()
}

fn pages(files: &[TextFile]) -> BTreeSet<String> {
    let names = files.iter().filter_map(|file| file.path.strip_prefix(PAGES)?.strip_suffix(".md"));
    names.filter(|name| *name != "README").map(str::to_owned).collect()
}

fn rows(files: &[TextFile]) -> BTreeSet<String> {
    let overview = files.iter().filter(|file| file.path == format!("{PAGES}README.md"));
    let rows = overview.flat_map(|file| file.text.lines()).filter(|line| line.starts_with("| ["));
    let target = |row: &str| Some(row.split_once("](")?.1.split_once(".md)")?.0.to_owned());
    rows.filter_map(target).collect()
}
