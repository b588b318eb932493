//! All tags of a repository at once.

use super::{build, push, registry};
use crate::support::image::check_blobs;
use crate::support::{TestSpace, peers, requires};

#[test]
fn all_tags_of_a_repository_are_pushed_and_pulled_and_each_blob_once() {
    requires!("docker-registry", "skopeo");
    let space = TestSpace::new();
    let registry = registry(&space);
    let repository = format!("{}/team/app", registry.host());
    let first = build(&space, &format!("{repository}:1"), "same", &[]);
    build(&space, &format!("{repository}:2"), "same", &["--label", "l=2"]);
    build(&space, &format!("{}/team/other:1", registry.host()), "other", &[]);
    let pushed = space.kiln(["push", "-a", &repository]).run().success().text();
    let tags: Vec<&str> = pushed.lines().filter_map(|line| line.split(':').next()).collect();
    assert_eq!(tags, ["1", "2"]);
    assert!(pushed.contains(&format!("1: digest: {first} size: ")), "{pushed}");
    for tag in ["1", "2"] {
        peers::skopeo_inspect(&format!("docker://{repository}:{tag}"));
    }
    let fetched = || {
        let asked = registry.asked();
        asked.iter().filter(|asked| asked.starts_with("GET") && asked.contains("/blobs/")).count()
    };
    let before = fetched();
    let other = space.path("other-store");
    let pulled = space.kiln(["pull", "--all-tags", &repository]).store(&other).run().success().text();
    assert_eq!(pulled, format!("{repository}:1\n{repository}:2\n"));
    check_blobs(&other);
    // A layer, and two configurations.
    assert_eq!(fetched() - before, 3);
}

#[test]
fn one_platform_of_an_image_for_several_is_pushed_as_an_image_of_its_own() {
    requires!("docker-registry", "skopeo");
    let space = TestSpace::new();
    let registry = registry(&space);
    let repository = format!("{}/team/app", registry.host());
    let name = format!("{repository}:1");
    build(&space, &name, "both", &["--platform", "linux/amd64,linux/arm64"]);
    let single = build(&space, "single", "both", &["--platform", "linux/arm64"]);
    for words in [
        vec!["push", "--platform", "arm64", &name],
        vec!["push", "-a", "--platform", "linux/arm64", &repository],
    ] {
        let pushed = space.kiln(&words).run().success().text();
        assert!(pushed.starts_with(&format!("1: digest: {single} size: ")), "{words:?}: {pushed}");
        assert_eq!(peers::skopeo_inspect(&format!("docker://{name}"))["Digest"], *single);
    }
    let absent = space.kiln(["push", "--platform", "linux/s390x", &name]).run().fails_with(1);
    absent.says(&["is not here for linux/s390x", "linux/amd64, linux/arm64"]);
    // Without it all is sent.
    let whole = space.kiln(["push", &name]).run().success().text();
    assert!(!whole.contains(&*single), "{whole}");
}

#[test]
fn a_tag_that_fails_is_told_and_the_others_come() {
    requires!("docker-registry");
    let space = TestSpace::new();
    let registry = registry(&space);
    let repository = format!("{}/team/app", registry.host());
    push(&space, &format!("{repository}:1"), "one", &["--platform", "linux/amd64"]);
    push(&space, &format!("{repository}:2"), "two", &["--platform", "linux/arm64,linux/s390x"]);
    push(&space, &format!("{repository}:3"), "three", &["--platform", "linux/amd64"]);
    let other = space.path("other-store");
    let pull = space.kiln(["pull", "-a", "--platform", "linux/amd64", &repository]).store(&other);
    let outcome = pull.run().fails_with(1);
    assert_eq!(outcome.text(), format!("{repository}:1\n{repository}:3\n"));
    let not_for = format!("image `{repository}:2` is not available for linux/amd64");
    outcome.says(&[&not_for, "1 of 3 tags could not be pulled"]);
    check_blobs(&other);
}

#[test]
fn a_tag_cannot_be_given_with_all_tags() {
    let space = TestSpace::new();
    for command in ["pull", "push"] {
        let refused = space.kiln([command, "-a", "localhost:1/app:1"]).run().fails_with(2);
        refused.says(&["tag can't be used with --all-tags/-a"]);
    }
    space.kiln(["push", "-a", "localhost:1/app"]).run().fails_with(1).says(&["localhost:1/app"]);
}
