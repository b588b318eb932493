//! Soundness of the cache: small projects are edited at random, and after every edit a build that may take whatever earlier ones
//! made gives the digest that a build from nothing gives.
//!
//! `KILN_RANDOM_EDITS` is the number of edits, `KILN_RANDOM_SEED` the first project. A difference says with which seed it comes
//! again.

mod chance;
mod edit;
mod project;

use std::fs;
use std::path::Path;

use self::chance::Chance;
use self::edit::edit;
use self::project::Project;
use crate::support::{TestSpace, requires};

/// Edits where nobody says how many.
const EDITS_DEFAULT: u64 = 12;
/// Edits of one project, which all share a store.
const EDITS_OF_A_PROJECT: u64 = 25;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// Returns the digest, or nothing where the project cannot be built.
fn built(space: &TestSpace, context: &Path, store: &Path, flags: &[String]) -> Option<String> {
    let outcome = space.build(context).store(store).args(flags).run();
    assert!(!outcome.crashed(), "{outcome:?}");
    let is_built = outcome.status.success();
    if !is_built {
        let reason = outcome.stderr.lines().find(|line| line.starts_with("error"));
        eprintln!("not built: {}", reason.unwrap_or_default());
    }
    is_built.then(|| outcome.digest())
}

/// Edits a project and builds it in both ways; returns how many of the builds succeeded.
fn edited(seed: u64, count: u64) -> u64 {
    let space = TestSpace::new();
    let (context, warm, fresh) = (space.path("context"), space.store(), space.path("fresh"));
    let mut chance = Chance::new(seed);
    // One that can be built: edits that break it are taken back.
    let mut project = loop {
        let project = Project::new(&mut chance);
        project.write(&context, None);
        if built(&space, &context, &warm, &project.flags(&context)).is_some() {
            break project;
        }
    };
    let (mut history, mut states, mut succeeded) = (Vec::new(), vec![project.clone()], 0);
    let mut written = project.clone();
    for _ in 0..count {
        let last = project.clone();
        if chance.once_in(8) {
            project = states[chance.below(states.len())].clone();
            history.push("back to an earlier state".to_owned());
        } else {
            history.push(edit(&mut project, &mut chance));
        }
        states.push(project.clone());
        project.write(&context, Some(&written));
        written = project.clone();
        let mut flags = project.flags(&context);
        let by_cache = built(&space, &context, &warm, &flags);
        flags.push("--no-cache".to_owned());
        let from_nothing = built(&space, &context, &fresh, &flags);
        fs::remove_dir_all(&fresh).unwrap();
        assert!(
            by_cache == from_nothing,
            "seed {seed}: {by_cache:?} by cache, {from_nothing:?} from nothing, flags {flags:?}, after\n{}\n\n{}",
            history.join("\n"),
            project.dockerfile(),
        );
        match by_cache {
            Some(_) => succeeded += 1,
            // Nobody goes on from there, either.
            None => project = last.clone(),
        }
    }
    succeeded
}

#[test]
fn after_every_random_edit_the_cache_gives_what_a_build_from_nothing_gives() {
    requires!("root", "busybox");
    let (mut left, mut seed) = (number("KILN_RANDOM_EDITS", EDITS_DEFAULT), number("KILN_RANDOM_SEED", 1));
    let (mut done, mut succeeded) = (0, 0);
    while left > 0 {
        let count = left.min(EDITS_OF_A_PROJECT);
        succeeded += edited(seed, count);
        (done, left, seed) = (done + count, left - count, seed + 1);
    }
    eprintln!("{done} edits, {succeeded} of which could be built");
    assert!(succeeded * 2 >= done, "most edits lead to projects that can be built");
}
