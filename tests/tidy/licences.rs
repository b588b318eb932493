//! What is taken in from outside: how much of it, and under which terms.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::expect_none;
use super::tree::root;

/// Licences that may be linked into a program under Apache-2.0.
const ACCEPTED: [&str; 12] = [
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "Unlicense",
    "CC0-1.0",
    "bzip2-1.0.6",
];

#[test]
fn every_package_has_a_licence_that_is_accepted() {
    // What this machine builds is there; what only other systems need may not be.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--offline", "--filter-platform", &platform])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let refused = packages.iter().filter(|package| !package["license"].as_str().is_some_and(is_accepted));
    let findings: Vec<String> = refused
        .map(|package| format!("{} {}: {}", package["name"], package["version"], package["license"]))
        .collect();
    expect_none(
        &findings,
        "take another package, or add the licence in tests/tidy/licences.rs after reading it",
    );
}

/// Returns whether one of the alternatives is accepted in all its parts.
fn is_accepted(expression: &str) -> bool {
    let plain = expression.replace(['(', ')'], "").replace('/', " OR ");
    // `AND` binds tighter in every expression that occurs, except where alternatives are in brackets: all parts are asked then.
    let alternatives: Vec<&str> = if expression.contains(") AND") {
        plain.split(" AND ").collect()
    } else {
        plain.split(" OR ").collect()
    };
    let part_is_accepted = |part: &str| {
        part.split(" OR ").flat_map(|part| part.split(" AND ")).any(|name| ACCEPTED.contains(&name.trim()))
    };
    if expression.contains(") AND") {
        return alternatives.into_iter().all(part_is_accepted);
    }
    alternatives
        .into_iter()
        .any(|alternative| alternative.split(" AND ").all(|name| ACCEPTED.contains(&name.trim())))
}

#[test]
fn licence_expressions_are_read_as_meant() {
    let cases = [
        ("MIT OR GPL-3.0", true),
        ("GPL-3.0", false),
        ("Apache-2.0 AND ISC", true),
        ("MIT AND GPL-2.0", false),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("(MIT OR Apache-2.0) AND GPL-3.0", false),
        ("Unlicense/MIT", true),
    ];
    for (expression, expected) in cases {
        assert_eq!(is_accepted(expression), expected, "{expression}");
    }
}

#[test]
fn the_number_of_packages_stays_below_its_ceiling() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let count = lock.lines().filter(|line| *line == "[[package]]").count();
    let ceiling: usize =
        fs::read_to_string(root().join("tests/tidy/packages-max.txt")).unwrap().trim().parse().unwrap();
    let findings: Vec<String> = (count > ceiling)
        .then(|| format!("{count} packages, and the ceiling is {ceiling}"))
        .into_iter()
        .collect();
    expect_none(
        &findings,
        "do without the new dependency; or raise tests/tidy/packages-max.txt and say in the commit why",
    );
}
