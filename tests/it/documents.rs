//! What README and the examples promise: their commands are run.

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
