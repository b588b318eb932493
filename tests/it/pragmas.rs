//! Who decides that a step is done again, and what later builds take: `--no-cache`, and pragmas above instructions.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::image::read_one;
use crate::support::{TestSpace, requires};

/// Every run of it makes another file.
const ANEW: &str = "cat /proc/sys/kernel/random/uuid > /made";

fn write(space: &TestSpace, steps: &str) -> PathBuf {
    let dockerfile = format!("FROM scratch\nCOPY busybox /bin/sh\nCOPY busybox /bin/cat\n{steps}");
    let context = space.context("context", &[("Dockerfile", &dockerfile)]);
    std::fs::copy("/bin/busybox", context.join("busybox")).unwrap();
    context
}

fn build(space: &TestSpace, context: &Path, more: &[&str]) -> String {
    space.build(context).args(more).run().success().digest()
}

#[test]
fn what_is_built_without_the_cache_is_what_the_next_build_finds() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let context = write(&space, &format!("RUN {ANEW}\nRUN true\n"));
    let first = build(&space, &context, &[]);
    assert_eq!(build(&space, &context, &[]), first);
    let second = build(&space, &context, &["--no-cache"]);
    assert_ne!(second, first);
    assert_eq!(build(&space, &context, &[]), second);
}

#[test]
fn a_step_whose_cache_is_off_is_done_in_every_build_and_what_stands_on_it_is_asked_by_content() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let steps = format!("RUN echo once > /once\n# kiln: cache=off\nRUN {ANEW}\nRUN echo after\n");
    let context = write(&space, &steps);
    let first = build(&space, &context, &[]);
    assert_ne!(build(&space, &context, &[]), first);
    // The same bytes again: what follows is not done anew.
    let steps = format!("# kiln: cache=off\nRUN echo same > /same\nRUN {ANEW}\n");
    let context = write(&space, &steps);
    let expected = build(&space, &context, &[]);
    assert_eq!(build(&space, &context, &[]), expected);
}

#[test]
fn a_result_is_taken_until_it_is_older_than_its_pragma_says() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let built = |pragma: &str| {
        let context = write(&space, &format!("# kiln: cache={pragma}\nRUN {ANEW}\nRUN true\n"));
        build(&space, &context, &[])
    };
    let first = built("ttl:1h");
    assert_eq!(built("ttl:1h"), first, "it is young");
    std::thread::sleep(Duration::from_millis(2100));
    assert_eq!(built("ttl:1h"), first, "it is young enough for one who takes what is an hour old");
    let second = built("ttl:1s");
    assert_ne!(second, first, "it is too old");
    assert_eq!(built("ttl:1h"), second, "what is new is taken");
}

#[test]
fn the_age_of_a_result_counts_when_it_is_known_by_its_content_too() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let last_layer = |first: &str, pragma: &str| {
        let context = write(&space, &format!("RUN {first}\n# kiln: cache={pragma}\nRUN {ANEW}\n"));
        let (layout, _) = space.build_layout(&context, first, &[]);
        read_one(&layout).manifest["layers"].as_array().unwrap().last().unwrap()["digest"].clone()
    };
    // The first step is written in other ways and makes the same, so the second is known by its content only.
    let first = last_layer("echo a>a", "ttl:1h");
    assert_eq!(last_layer("echo a >a", "ttl:1h"), first);
    std::thread::sleep(Duration::from_millis(2100));
    assert_ne!(last_layer("echo a > a", "ttl:1s"), first);
}

#[test]
fn a_pragma_that_is_not_understood_fails_the_build() {
    let space = TestSpace::new();
    let context = space.context("context", &[("Dockerfile", "FROM scratch\n# kiln: cahce=off\nCOPY a /\n")]);
    let outcome = space.build(&context).run().fails_with(1);
    outcome.says(&["error[pragma]: unknown pragma `cahce`: did you mean `cache`?", "Dockerfile:2:"]);
}
