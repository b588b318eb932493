//! kiln is killed at any moment of a build with live times.

use std::time::Duration;

use super::{FILES, MAKEFILE, Project, copied, made, words};
use crate::support::requires;

/// A build takes about half a second; so it is killed everywhere in it, and twice after its end.
const DELAYS: std::ops::Range<u64> = 0..12;

#[test]
fn a_kill_at_any_moment_leaves_no_stale_object_and_makes_nothing_unchanged_again() {
    requires!("root", "busybox", "make");
    // A program that is killed leaves half of what it writes, on any machine; so what is made appears at once.
    let makefile = MAKEFILE.replace("> $@ &&", "> $@.new && mv $@.new $@ &&");
    let files = FILES.map(|(name, text)| (name, if name == "Makefile" { &*makefile } else { text }));
    let mut project = Project::new(&copied("make -s"), &["make"], &files);
    project.makes("first", &[], &["a", "b", "program"], "a1-b1-");
    let mut killed = 0;
    for turn in DELAYS {
        let text = format!("a{}", turn + 2);
        let mut running = project.edited(&[("a.c", Some(&text))]).start();
        std::thread::sleep(Duration::from_millis(turn * 50));
        running.child.kill().unwrap();
        let was_killed = running.wait().status.code().is_none();
        killed += u32::from(was_killed);
        let next = project.edited(&[]).run().success();
        let result = format!("{text}-b1-");
        assert_eq!(words(&next, "result-"), [&*result], "turn {turn}: {next}");
        let expected: &[&[&str]] = match was_killed {
            // The step may have come to any place.
            true => &[&["a", "program"], &["program"], &[]],
            false => &[&[]],
        };
        assert!(expected.iter().any(|names| made(&next) == **names), "turn {turn}: {next}");
        project.makes("unrelated change", &[], &[], &result);
    }
    assert!(killed > 0, "no build was killed");
}
