//! The tags of a repository.

use serde_json::Value;

use super::{closed_registry, push, registry};
use crate::support::registry::ACCOUNT;
use crate::support::{TestSpace, peers, requires};

#[test]
fn tags_of_a_registry_are_listed_as_skopeo_lists_them_and_those_of_one_image_together() {
    requires!("docker-registry", "skopeo");
    let space = TestSpace::new();
    let registry = closed_registry(&space);
    let repository = format!("{}/team/app", registry.host());
    let (old, new) = (push(&space, &format!("{repository}:1.9.0"), "old", &[]), "1.10.0");
    let new_digest = push(&space, &format!("{repository}:{new}"), "new", &[]);
    for tag in ["1.10", "latest", "edge"] {
        space.kiln(["tag", &format!("{repository}:{new}"), &format!("{repository}:{tag}")]).run().success();
        space.kiln(["push", &format!("{repository}:{tag}")]).run().success();
    }
    let quiet = space.kiln(["tags", "-q", &repository]).run().success().text();
    let account = format!("{}:{}", ACCOUNT.0, ACCOUNT.1);
    let listed = peers::run(
        "skopeo",
        ["list-tags", "--tls-verify=false", "--creds", &account, &format!("docker://{repository}")],
    );
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let mut theirs: Vec<&str> = listed["Tags"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    theirs.sort_unstable();
    assert_eq!(quiet.lines().collect::<Vec<_>>(), theirs);

    let json =
        space.kiln(["tags", "--sort", "semver", "--format", "json", &repository]).run().success().text();
    let rows: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows[0]["Tags"], serde_json::json!(["1.10", "1.10.0", "edge", "latest"]));
    assert_eq!((&rows[0]["Digest"], &rows[1]["Digest"]), (&Value::from(new_digest), &Value::from(old)));
    let chosen = ["tags", "-q", "--filter", "tag=1.*", "--sort", "semver", "--limit", "2", &repository];
    assert_eq!(space.kiln(chosen).run().success().text(), "1.10\n1.10.0\n");
    let table = space.kiln(["tags", &repository]).run().success().text();
    assert!(table.starts_with("TAGS ") && table.contains("1.10, 1.10.0, edge, latest   "), "{table}");

    let name = |tag: &str| format!("{repository}:{tag}");
    let removed =
        space.kiln(["tags", "rm", &name("edge"), &name("none"), &name("1.9.0"), &name("edge")]).run();
    let lines = format!("Untagged: {}\nUntagged: {}\n", name("edge"), name("1.9.0"));
    let says = format!("no such tag: `{}`", name("none"));
    assert_eq!(removed.fails_with(1).says(&[&says]).text(), lines);
    assert_eq!(space.kiln(["tags", "-q", &repository]).run().success().text(), "1.10\n1.10.0\nlatest\n");
    // What the others stand for is whole.
    let other = space.path("other-store");
    space.kiln(["pull", &name("latest")]).store(&other).run().success();
    crate::support::image::check_blobs(&other);
    space.kiln(["tags", "rm", &repository]).run().fails_with(2).says(&["has no tag", "kiln tags"]);
}

#[test]
fn what_has_no_tags_to_list_is_an_error_that_says_why() {
    requires!("docker-registry");
    let space = TestSpace::new();
    let registry = registry(&space);
    let absent = format!("{}/team/absent", registry.host());
    space.kiln(["tags", &absent]).run().fails_with(1).says(&[&absent, "404"]);
    space.kiln(["tags", &format!("{absent}:1")]).run().fails_with(2).says(&["is an image", &absent]);
    space.kiln(["tags", "-f", "name=x", &absent]).run().fails_with(2).says(&["tag=PATTERN"]);
}
