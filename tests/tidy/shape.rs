//! How long files and functions may be, and what stands at their top.

use std::fs;

use super::expect_none;
use super::tree::{root, rust};

const FILE_LINES_MAX: usize = 700;
const FUNCTION_LINES_MAX: usize = 70;

#[test]
fn files_are_short() {
    let long = rust()
        .into_iter()
        .map(|file| (file.text.lines().count(), file))
        .filter(|(lines, _)| *lines > FILE_LINES_MAX);
    let findings: Vec<String> = long.map(|(lines, file)| format!("{}: {lines} lines", file.path)).collect();
    expect_none(&findings, "split the file by subject; 400 lines are good, 700 the limit");
}

#[test]
fn functions_are_short() {
    let mut findings = Vec::new();
    for file in rust() {
        let lines: Vec<&str> = file.text.lines().collect();
        let starts = lines.iter().enumerate().filter(|(_, line)| is_function(line));
        let lengths = starts.map(|(start, _)| (start, function_length(&lines[start..])));
        findings.extend(
            lengths
                .filter(|(_, length)| *length > FUNCTION_LINES_MAX)
                .map(|(start, length)| format!("{} ({length} lines)", file.at(start + 1, lines[start]))),
        );
    }
    expect_none(
        &findings,
        "give the parts of the function names of their own; 40 lines are good, 70 the limit",
    );
}

fn is_function(line: &str) -> bool {
    let mut words = line.split_whitespace().skip_while(|word| {
        word.starts_with("pub")
            || matches!(*word, "const" | "async" | "unsafe" | "extern" | "\"C\"" | "default")
    });
    words.next() == Some("fn")
}

/// Returns the lines from a function's first to the brace that closes it at the same indentation.
fn function_length(lines: &[&str]) -> usize {
    let indentation = |line: &str| line.len() - line.trim_start().len();
    let own = indentation(lines[0]);
    if lines[0].ends_with('}') || lines[0].ends_with(';') {
        return 1;
    }
    let ends =
        |line: &&str| indentation(line) == own && (line.trim_start().starts_with('}') || line.ends_with(';'));
    lines.iter().skip(1).position(ends).map_or(lines.len(), |position| position + 2)
}

#[test]
fn function_lengths_are_counted_to_the_closing_brace() {
    assert_eq!(
        function_length(&[
            "    fn a(",
            "        b: u8,",
            "    ) {",
            "        {",
            "        }",
            "    }",
            "    fn c() {"
        ]),
        6
    );
    assert_eq!(function_length(&["fn a();", "fn b() {", "}"]), 1);
}

#[test]
fn every_module_says_what_it_is_for() {
    let findings: Vec<String> = rust()
        .iter()
        .filter(|file| !file.text.starts_with("//!") && !file.path.ends_with("/tests.rs"))
        .map(|file| file.path.clone())
        .collect();
    expect_none(
        &findings,
        "open the file with `//!`: what it is for, and what it deliberately does not know",
    );
}

#[test]
fn no_test_file_is_forgotten() {
    let main = fs::read_to_string(root().join("tests/it/main.rs")).unwrap();
    let declared: Vec<&str> =
        main.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';')).collect();
    let names = fs::read_dir(root().join("tests/it"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let modules = names.map(|name| name.trim_end_matches(".rs").to_owned()).filter(|name| name != "main");
    let findings: Vec<String> = modules.filter(|name| !declared.contains(&name.as_str())).collect();
    expect_none(&findings, "declare the file as a module in tests/it/main.rs, or delete it");
}
