//! Kinds of cache mounts, and what can happen to the memory of one.

use std::fs;
use std::path::PathBuf;

use super::{FILES, Project, SHOW, copied};
use crate::support::requires;

/// Returns the memories of all slots: the files in which the steps that used them noted what they saw.
fn memories(project: &Project) -> Vec<PathBuf> {
    let mounts = fs::read_dir(project.store().join("cachemounts")).unwrap();
    let slots = mounts.flat_map(|mount| fs::read_dir(mount.unwrap().path()).unwrap());
    let mut found: Vec<PathBuf> = slots.map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "seen"));
    found
}

#[test]
fn when_the_memory_of_a_cache_is_lost_everything_is_new_once() {
    requires!("root", "busybox", "make");
    let mut project = Project::new(&copied("make -s"), &["make"], &FILES);
    project.makes("first", &[], &["a", "b", "program"], "a1-b1-");
    let damages: [fn(&PathBuf); 3] = [
        |memory| fs::remove_file(memory).unwrap(),
        |memory| fs::write(memory, &fs::read(memory).unwrap()[..100]).unwrap(),
        |memory| fs::write(memory, "no memory").unwrap(),
    ];
    for (damage, text) in damages.iter().zip(["a2", "a3", "a4"]) {
        memories(&project).iter().for_each(damage);
        let result = format!("{text}-b1-");
        project.makes("lost", &[("a.c", Some(text))], &["a", "b", "program"], &result);
        project.makes("unrelated change", &[], &[], &result);
    }
}

#[test]
fn a_step_that_only_reads_a_cache_is_not_remembered() {
    requires!("root", "busybox", "make");
    let writes = copied("make -s");
    let reads = writes
        .replace("target=/src/out", "target=/src/out,ro")
        .replace("make -s", "make -s -q || echo made-needed");
    let mut project = Project::new(&writes, &["make"], &FILES);
    project.makes("first", &[], &["a", "b", "program"], "a1-b1-");
    project.makes("same", &[("Dockerfile", Some(&reads))], &[], "a1-b1-");
    project.makes("another content", &[("a.c", Some("a2"))], &["needed"], "a1-b1-");
    project.makes("the first again", &[("Dockerfile", Some(&writes)), ("a.c", Some("a1"))], &[], "a1-b1-");
}

#[test]
fn a_path_is_new_if_it_is_for_one_of_several_caches() {
    requires!("root", "busybox", "make");
    let makefile = "all: /one/a /two/a\n/%/a: a.c\n\t@cat $< > $@ && echo made-$*\n";
    let dockerfile = |mounts: &str, targets: &str| {
        format!(
            "FROM busybox AS base\nCOPY --from=tools / /\nWORKDIR /src\nFROM base\nCOPY . .\n\
             RUN {mounts} make -s {targets} && echo result-$(cat /one/a /two/a | tr -d '\\n')\n"
        )
    };
    let (one, two) = ("--mount=type=cache,target=/one", "--mount=type=cache,sharing=private,target=/two");
    let both = dockerfile(&format!("{one} {two}"), "all");
    let mut project = Project::new(&both, &["make"], &[("Makefile", makefile), ("a.c", "a1")]);
    project.makes("first", &[], &["one", "two"], "a1a1");
    project.makes("unrelated change", &[], &[], "a1a1");
    let only_one = dockerfile(one, "/one/a && mkdir -p /two && touch /two/a");
    project.makes("one sees it", &[("Dockerfile", Some(&only_one)), ("a.c", Some("a2"))], &["one"], "a2");
    // For make both are then older than the source.
    project.makes("the other sees it", &[("Dockerfile", Some(&both))], &["one", "two"], "a2a2");
    project.makes("unrelated change", &[], &[], "a2a2");
}

#[test]
fn builds_that_keep_times_are_remembered_by_those_that_do_not() {
    requires!("root", "busybox", "make");
    let mut project = Project::new(&copied("make -s"), &["make"], &FILES);
    project.makes("first", &[], &["a", "b", "program"], "a1-b1-");
    let kept = project.edited(&[("a.c", Some("a2"))]).arg("--timestamp=preserve").run().success();
    assert_eq!(super::words(&kept, "result-"), ["a2-b1-"], "{kept}");
    let expected: &[&str] = &["a", "program"];
    project.makes("the first content again", &[("a.c", Some("a1"))], expected, "a1-b1-");
}

#[test]
fn another_time_of_layers_makes_nothing_new() {
    requires!("root", "busybox", "make");
    let mut project = Project::new(&copied("make -s"), &["make"], &FILES);
    project.makes("first", &[], &["a", "b", "program"], "a1-b1-");
    // Later than the objects, as the time of a commit that was made since.
    for seconds in ["1000000000", "4000000000", "4000000001"] {
        let outcome = project.edited(&[]).env("SOURCE_DATE_EPOCH", seconds).run().success();
        assert_eq!(super::made(&outcome), Vec::<String>::new(), "{outcome}");
        let image = project.call().env("SOURCE_DATE_EPOCH", seconds).run().success().digest();
        let elsewhere = project.call().env("SOURCE_DATE_EPOCH", seconds).store(&project.space.path(seconds));
        assert_eq!(elsewhere.run().success().digest(), image, "the times reach no layer");
    }
    assert!(SHOW.contains("touch"), "files with live times are copied up");
}
