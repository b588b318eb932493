//! The codes of errors: each is made somewhere, and has a row in the manual. What the rows say is tested in the builder.

use std::collections::BTreeSet;

use super::expect_none;
use super::tree::{TextFile, all};

const LIST: &str = "frontend/src/diagnostic.rs";
const PAGE: &str = "docs/errors.md";
const MAKERS: [&str; 2] = ["frontend/src/", "builder/src/"];

#[test]
fn every_error_code_is_made_and_documented() {
    let files = all();
    let (listed, rows) = (listed(&files), rows(&files));
    let mut findings = unlisted(&files, &listed);
    for code in listed.union(&rows) {
        for (place, codes) in [(LIST, &listed), (PAGE, &rows)] {
            if !codes.contains(code) {
                findings.push(format!("`{code}` is not in {place}"));
            }
        }
        if !is_made(&files, code) {
            findings.push(format!("`{code}` is never made"));
        }
    }
    expect_none(
        &findings,
        "a code is a literal where the error is made, a line of `CODES` and a row of the manual",
    );
}

fn listed(files: &[TextFile]) -> BTreeSet<String> {
    let text = files.iter().find(|file| file.path == LIST).map_or("", |file| file.text.as_str());
    let list = text
        .split_once("pub const CODES")
        .and_then(|(_, rest)| rest.split_once("];"))
        .map_or("", |(list, _)| list);
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

fn rows(files: &[TextFile]) -> BTreeSet<String> {
    let page = files.iter().filter(|file| file.path == PAGE);
    let rows = page.flat_map(|file| file.text.lines()).filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split_once('`')).map(|(code, _)| code.to_owned()).collect()
}

/// Returns the codes that are made and not listed.
fn unlisted(files: &[TextFile], listed: &BTreeSet<String>) -> Vec<String> {
    const CALLS: [&str; 6] = [
        "Diagnostic::error(",
        "Diagnostic::error_at_large(",
        "Diagnostic::warning(",
        "Diagnostic::warning_at_large(",
        "expander.error(",
        "operands.error(",
    ];
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| MAKERS.iter().any(|maker| file.path.starts_with(maker))) {
        let code: String = file.code().map(|(_, line)| format!("{line}\n")).collect();
        for rest in CALLS.iter().flat_map(|call| code.split(call).skip(1)) {
            let Some(literal) = rest.trim_start().strip_prefix('"') else { continue };
            let made = literal.split('"').next().unwrap_or_default();
            if !file.path.ends_with("tests.rs") && !listed.contains(made) {
                findings.push(format!("{}: `{made}` is not in {LIST}", file.path));
            }
        }
    }
    findings
}

fn is_made(files: &[TextFile], code: &str) -> bool {
    let literal = format!("\"{code}\"");
    let makers = files.iter().filter(|file| MAKERS.iter().any(|maker| file.path.starts_with(maker)));
    let mut others = makers.filter(|file| file.path != LIST && !file.path.ends_with("tests.rs"));
    others.any(|file| file.code().any(|(_, line)| line.contains(&literal)))
}
