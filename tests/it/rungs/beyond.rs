//! A build beyond the range of a user's ids: what is seen of its going on with owners recorded.

use serde_json::Value;

use crate::support::{TestSpace, busybox, requires, users};

/// Its second step has an owner that the range does not reach, and its third one finds it.
const DOCKERFILE: &str = "FROM busybox\nRUN echo first > /g\nRUN echo at work && touch /f && chown 123456:7 /f\n\
    RUN stat -c %u /f > /u\n";

const CURE: &str = "so owners and devices are recorded and steps are slower (a longer range in /etc/subuid and /etc/subgid helps)";

#[test]
fn a_step_beyond_the_ids_is_put_off_and_done_and_not_said_to_have_failed() {
    requires!("root", "busybox", "setpriv", "newuidmap");
    let space = TestSpace::shared();
    let _server = busybox::serve(&space);
    let user = users::with_subordinate_ids(&space);
    let context = space.context("context", &[("Dockerfile", DOCKERFILE)]);
    let built = space.build(&context).by(Some(&user)).run().success();
    assert!(!built.stderr.contains("ERROR"), "{built}");
    assert_eq!(built.stderr.matches("PUT OFF").count(), 1, "{built}");
    let warnings: Vec<&str> = built.stderr.lines().filter(|line| line.starts_with("warning: ")).collect();
    let [warning] = &warnings[..] else { panic!("{built}") };
    assert!(warning.contains("123456") && warning.contains(CURE), "{warning}");

    // What the first attempt did counts as done by this build.
    let log = |arguments: &[&str]| space.kiln(["log"]).args(arguments).by(Some(&user)).run().success();
    let story: Value = serde_json::from_slice(&log(&["last", "--format=json"]).stdout).unwrap();
    let steps = story["steps"].as_array().unwrap();
    let state = |line: u64| &steps.iter().find(|step| step["line"] == line).unwrap()["state"];
    assert_eq!([2, 3, 4].map(|line| state(line).as_str().unwrap()), ["ran"; 3], "{story}");

    // A shell falls back in the same way.
    let words = ["enter", ":4", "--", "stat", "-c", "%u:%g", "/f"];
    let entered = space.kiln(words).by(Some(&user)).run().success();
    assert_eq!(entered.text(), "123456:7\n", "{entered}");

    // Another step that is put off shows nothing where only failures are shown.
    space.file("context/Dockerfile", DOCKERFILE.replace("at work", "at work again"));
    let quiet = space.kiln(["build", "-q"]).arg(&context).by(Some(&user)).run().success();
    assert!(!quiet.stderr.contains("at work"), "{quiet}");
}
