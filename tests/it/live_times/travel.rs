//! Cache mounts that travel to another store: objects are as fresh there as they were here.

use std::fs;
use std::path::{Path, PathBuf};

use super::{FILES, Project, copied, made, words};
use crate::support::requires;

/// Exports the cache mount of a project and imports it into another store, which is returned.
fn moved(project: &Project, output: &Path) -> PathBuf {
    let (space, elsewhere) = (&project.space, project.space.path("elsewhere"));
    space.kiln(["cache", "mounts", "export", "objects", "-o"]).arg(output).run().success();
    space.kiln(["cache", "mounts", "import", "--replace"]).arg(output).store(&elsewhere).run().success();
    elsewhere
}

#[test]
fn in_another_store_nothing_is_made_again_but_what_depends_on_a_changed_source() {
    requires!("root", "busybox", "make");
    let mut project = Project::new(&copied("make -s"), &["make"], &FILES);
    project.makes("first", &[], &["a", "b", "program"], "a1-b1-");
    project.makes("a source changes", &[("a.c", Some("a2"))], &["a", "program"], "a2-b1-");
    let archive = project.space.path("mounts.tar");
    let elsewhere = moved(&project, &archive);
    let there = |project: &mut Project, edits, expected: &[&str], result: &str| {
        let outcome = project.edited(edits).store(&elsewhere).run().success();
        assert_eq!(made(&outcome), expected, "{outcome}");
        assert_eq!(words(&outcome, "result-"), [result], "{outcome}");
    };
    there(&mut project, &[], &[], "a2-b1-");
    there(&mut project, &[("a.c", Some("a1"))], &["a", "program"], "a1-b1-");
    there(&mut project, &[("b.c", Some("b2"))], &["b", "program"], "a1-b2-");
    there(&mut project, &[], &[], "a1-b2-");
    // Here it is as it was, and so is what this store remembers of it.
    project.makes("here", &[("a.c", Some("a2")), ("b.c", Some("b1"))], &[], "a2-b1-");
}

#[test]
fn into_a_directory_goes_what_changed() {
    requires!("root", "busybox", "make");
    let mut project = Project::new(&copied("make -s"), &["make"], &FILES);
    project.makes("first", &[], &["a", "b", "program"], "a1-b1-");
    let far = project.space.path("far");
    fs::create_dir(&far).unwrap();
    moved(&project, &far);
    let again = project.space.kiln(["cache", "mounts", "export", "objects", "-o"]).arg(&far).run().success();
    assert_eq!(again.stderr, "objects: nothing changed\n");
    let gone = project.space.kiln(["cache", "mounts", "rm", "objects"]).run().success();
    assert_eq!(gone.text(), "objects\n");
    let back = project.space.kiln(["cache", "mounts", "import"]).arg(&far);
    back.run().success();
    project.makes("it came back", &[], &[], "a1-b1-");
    let refused = project.space.kiln(["cache", "mounts", "import"]).arg(&far).run().fails_with(1);
    refused.says(&["cache mount `objects` is here already", "--replace"]);
}
