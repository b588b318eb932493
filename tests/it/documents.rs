//! What README and the examples promise: their commands are run.

use std::collections::BTreeSet;
use std::fs;

use crate::support::image::read_one;
use crate::support::layer::Kind;
use crate::support::space::repository;
use crate::support::{TestSpace, peers, requires};

/// Returns the arguments of README's first command after `--`.
fn first_command() -> Vec<String> {
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    let line = readme
        .lines()
        .find(|line| line.contains("cargo run --release -- build"))
        .expect("README shows a first command");
    let (_, arguments) = line.split_once(" -- ").unwrap();
    arguments.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn the_first_command_of_the_readme_makes_an_image_that_others_read() {
    requires!("skopeo");
    let space = TestSpace::new();
    let examples = space.path("examples");
    peers::run("cp", ["-r".as_ref(), repository().join("examples").as_os_str(), examples.as_os_str()]);
    let arguments = first_command();
    let file =
        arguments.iter().find_map(|argument| argument.split("dest=").nth(1)).expect("it writes a file");
    let outcome = space.kiln(&arguments).directory(&space.path("")).run().success();
    let inspected = peers::skopeo_inspect(&format!("oci-archive:{}", space.path(file).display()));
    assert_eq!(inspected["Digest"], outcome.digest().as_str());
}

#[test]
fn the_digest_that_the_readme_shows_is_the_one_that_comes_out() {
    if cfg!(not(target_arch = "x86_64")) {
        return; // The platform is part of the configuration, and so of the digest.
    }
    let space = TestSpace::new();
    let outcome = space.build(&repository().join("examples/hello")).run().success();
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    let digest = outcome.digest();
    assert!(readme.contains(&digest), "README shows another digest of examples/hello than {digest}");
}

#[test]
fn every_flag_of_build_is_in_its_page_and_no_other() {
    let space = TestSpace::new();
    let help = space.kiln(["build", "--help"]).run().success().text();
    let global = ["--help", "--store", "--config"];
    let flags: BTreeSet<&str> = flags(&help).filter(|flag| !global.contains(flag)).collect();
    let page = fs::read_to_string(repository().join("docs/build.md")).unwrap();
    let (body, errors) = page.split_once("## What is an error today").unwrap();
    // Flags of instructions stand in the same sentence as their instruction.
    let rows =
        body.lines().filter(|line| line.starts_with("| `-")).map(|row| row.split(" | ").next().unwrap());
    let documented: BTreeSet<&str> = rows.flat_map(flags_of_row).collect();
    let missing: Vec<_> = flags.iter().filter(|flag| !has_flag(body, flag)).collect();
    assert!(missing.is_empty(), "docs/build.md does not mention {missing:?}");
    let unknown: Vec<_> = documented.difference(&flags).collect();
    assert!(unknown.is_empty(), "docs/build.md has flags that `kiln build` has not: {unknown:?}");
    let promised: Vec<_> = flags.iter().filter(|flag| has_flag(errors, flag)).collect();
    assert!(promised.is_empty(), "docs/build.md calls errors what is built: {promised:?}");
}

/// Returns the long flags at the beginning of lines of a help text.
fn flags(help: &str) -> impl Iterator<Item = &str> {
    let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    lines.flat_map(flags_of_row)
}

/// Returns the long flags of a line.
fn flags_of_row(line: &str) -> impl Iterator<Item = &str> {
    let end = |text: &str| {
        text.find(|letter: char| !letter.is_ascii_lowercase() && letter != '-').unwrap_or(text.len())
    };
    line.match_indices("--")
        .map(move |(at, _)| &line[at..at + end(&line[at..])])
        .filter(|flag| flag.len() > 2)
}

fn has_flag(text: &str, flag: &str) -> bool {
    flags_of_row(text).any(|found| found == flag)
}

#[test]
fn the_smallest_example_holds_what_it_says() {
    let space = TestSpace::new();
    let (layout, _) = space.build_layout(&repository().join("examples/hello"), "layout", &[]);
    let expected = fs::read(repository().join("examples/hello/expect.txt")).unwrap();
    let flat = read_one(&layout).flatten();
    match &flat.get(b"srv/hello.txt").expect("srv/hello.txt").kind {
        Kind::File(_, _, Some(content)) => assert_eq!(*content, expected),
        other => panic!("srv/hello.txt is another thing: {other:?}"),
    }
}
