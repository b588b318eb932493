//! Random system calls about owners, modes, names and ids, the same on every rung: what each answers, and what it leaves.
//!
//! `KILN_CALL_SEEDS` is the number of seeds, `KILN_CALL_SEED` the first one.

use std::path::Path;

use crate::support::peers;
use crate::support::space::repository;
use crate::support::users::{self, User};
use crate::support::{TestSpace, requires};

/// Seeds where nobody says how many. Each is some 1,500 calls in a step, and as many in the next one, which finds files of the first.
const SEEDS_DEFAULT: u32 = 6;

fn number(variable: &str, default: u32) -> u32 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// Builds with one seed; returns what was printed, and the image.
fn build(space: &TestSpace, context: &Path, user: Option<&User>) -> (String, String) {
    let files = user.map_or_else(|| space.path("files"), |user| user.path("files"));
    drop(std::fs::remove_dir_all(&files));
    let output = format!("type=local,dest={}", files.display());
    let digest =
        space.build(context).by(user).args(["-o", &output, "-o", "type=image"]).run().success().digest();
    (std::fs::read_to_string(files.join("trace")).unwrap(), digest)
}

/// Compares what all `users` get with what root gets, in roots that are overlays or copies.
fn compare(space: &TestSpace, users: &[&User], root: &str, more: &str) {
    space.config(&format!("[build]\nroot = \"{root}\"\n"));
    let context = space.context("context", &[]);
    let program = context.join("calls");
    let source = repository().join("tests/it/rungs/calls.c");
    let words = [Path::new("-static"), Path::new("-O1"), Path::new("-o"), &program, &source];
    let compiled = peers::output("cc", words);
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let first = number("KILN_CALL_SEED", 1);
    for seed in first..first + number("KILN_CALL_SEEDS", SEEDS_DEFAULT) {
        let run = |seed: u32| format!("RUN [\"/calls\",\"{seed}\",\"20\",\"{root}\"{more}]\n");
        let dockerfile = format!("FROM scratch\nCOPY calls /calls\n{}{}", run(seed), run(seed + 1000));
        std::fs::write(context.join("Dockerfile"), dockerfile).unwrap();
        let (expected, expected_digest) = build(space, &context, None);
        for user in users {
            let (trace, digest) = build(space, &context, Some(user));
            let differs = expected.lines().zip(trace.lines()).position(|(root, other)| root != other);
            if let Some(line) = differs {
                let before = expected.lines().take(line + 1).skip(line.saturating_sub(5));
                let before: Vec<_> = before.collect();
                let found = trace.lines().nth(line);
                panic!("seed {seed}, line {line}, as {}: {found:?}, not as {before:#?}", user.name);
            }
            assert_eq!((trace.len(), digest), (expected.len(), expected_digest.clone()), "seed {seed}");
        }
    }
}

fn compare_all(root: &str) {
    requires!("root", "cc", "setpriv", "newuidmap");
    let space = TestSpace::shared();
    compare(&space, &[&users::with_subordinate_ids(&space), &users::with_single_id(&space)], root, "");
}

fn compare_with_devices(root: &str) {
    requires!("root", "cc", "setpriv", "newuidmap");
    let space = TestSpace::shared();
    let users = [&users::with_subordinate_ids(&space), &users::with_single_id(&space)];
    compare(&space, &users, root, ",\"devices\"");
}

#[test]
fn random_calls_are_answered_alike_on_all_rungs() {
    compare_all("overlay");
}

#[test]
fn random_calls_in_copies_are_answered_alike_on_all_rungs() {
    compare_all("copy");
}

#[test]
fn random_calls_with_devices_are_answered_alike_on_all_rungs() {
    compare_with_devices("overlay");
}

#[test]
fn random_calls_with_devices_in_copies_are_answered_alike_on_all_rungs() {
    compare_with_devices("copy");
}
