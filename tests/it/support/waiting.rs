//! Waiting for what happens beside a test.

use std::time::{Duration, Instant};

/// How long something may take that takes a moment where nothing else runs: no test fails because the machine is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// Waits until something is so.
#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until nothing is left.
#[track_caller]
pub(crate) fn until_none(left: impl Fn() -> Vec<String>) {
    let begun = Instant::now();
    while !left().is_empty() {
        assert!(begun.elapsed() < PATIENCE, "still there: {:#?}", left());
        std::thread::sleep(Duration::from_millis(10));
    }
}
