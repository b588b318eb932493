//! Caches that builders share: `--cache-to` and `--cache-from`, with real servers.

mod damage;
mod mounts;
mod places;
mod requests;
mod stopped;
mod team;
mod tokens;

use std::path::{Path, PathBuf};

use crate::support::program::Outcome;
use crate::support::{Invocation, TestSpace, busybox, requires};
use places::Place;

/// The steps that a build did and said to be done in one line: all but those of RUN.
fn ran(outcome: &Outcome) -> Vec<String> {
    let step = |line: &str| {
        let name = line.split_once(" DONE ")?.1.split_once(' ')?.1;
        let name = name.split_once("] ").map_or(name, |(_, name)| name);
        ["COPY ", "WORKDIR "].iter().any(|word| name.starts_with(word)).then(|| name.to_owned())
    };
    outcome.stderr.lines().filter_map(step).collect()
}

/// A project of two stages.
fn project(space: &TestSpace, name: &str) -> PathBuf {
    let dockerfile = "FROM scratch AS tools\nCOPY tool /tool\nWORKDIR /made\nCOPY lib /made/lib\n\
                      FROM scratch\nCOPY --from=tools /made /\nCOPY src /src\n";
    space.context(name, &[("Dockerfile", dockerfile), ("tool", "t"), ("lib", name), ("src", name)])
}

/// Builds with a store of its own.
fn build_in(space: &TestSpace, context: &Path, store: &str) -> Invocation {
    space.build(context).store(&space.path(store))
}

fn with_each_place(test: impl Fn(&TestSpace, Place)) {
    let space = TestSpace::new();
    let place = Place::directory(&space, "cache");
    test(&space, place);
    requires!("docker-registry");
    let space = TestSpace::new();
    let place = Place::registry(&space, "registry");
    test(&space, place);
    requires!("s3rver");
    let space = TestSpace::new();
    let place = Place::bucket(&space, "bucket");
    test(&space, place);
}

#[test]
fn what_one_store_has_made_another_takes_from_the_cache() {
    with_each_place(|space, place| {
        let context = project(space, "project");
        let first = place.filling(build_in(space, &context, "first")).run().success();
        assert_eq!(ran(&first).len(), 5, "{first}");
        let second = place.asking(build_in(space, &context, "second")).run().success();
        assert_eq!(ran(&second), Vec::<String>::new(), "{second}");
        assert_eq!(second.digest(), first.digest());
        // Now the store itself knows: the cache need not be there.
        let third = build_in(space, &context, "second").run().success();
        assert_eq!(ran(&third), Vec::<String>::new(), "{third}");
        // Layers come when somebody needs them, who must only be let in.
        let output = space.path("files");
        let local = format!("type=local,dest={}", output.display());
        let call = build_in(space, &context, "second").env("AWS_PROFILE", "builders");
        call.args(["-o", &local]).run().success();
        assert_eq!(std::fs::read_to_string(output.join("lib")).unwrap(), "project");
    });
}

#[test]
fn a_look_ahead_knows_what_the_caches_know() {
    with_each_place(|space, place| {
        let context = project(space, "project");
        place.filling(build_in(space, &context, "first")).run().success();
        let call = || build_in(space, &context, "second").arg("--fail-on-miss");
        call().run().fails_with(1);
        place.asking(call()).run().success();
    });
}

#[test]
fn an_edit_runs_what_depends_on_it_and_takes_the_rest() {
    with_each_place(|space, place| {
        let context = project(space, "project");
        place.filling(build_in(space, &context, "first")).run().success();
        space.file("project/src", "edited");
        let edited = place.asking(build_in(space, &context, "second")).run().success();
        assert_eq!(ran(&edited), ["COPY src /src"], "{edited}");
        space.file("project/lib", "edited");
        let edited = place.asking(build_in(space, &context, "third")).run().success();
        // The step above is done anew by its definition, and known by its content: it does not depend on its parent.
        assert_eq!(
            ran(&edited),
            ["COPY lib /made/lib", "COPY --from=tools /made /", "COPY src /src"],
            "{edited}"
        );
    });
}

#[test]
fn only_the_steps_of_the_result_are_there_unless_all_are_asked_for() {
    let space = TestSpace::new();
    let context = project(&space, "project");
    let entries = |place: &Place| {
        let folder = place.directory.as_ref().unwrap().join("entries");
        let names =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut kinds: Vec<String> = names.map(|name| name[..1].to_owned()).collect();
        kinds.sort();
        kinds.concat()
    };
    let (small, large) = (Place::directory(&space, "small"), Place::directory(&space, "large"));
    let flags = [format!("--cache-to={}", small.to), format!("--cache-to={},mode=max", large.to)];
    build_in(&space, &context, "first").args(&flags).run().success();
    // WORKDIR has no content key.
    assert_eq!((entries(&small), entries(&large)), ("ccdd".to_owned(), "ccccddddd".to_owned()));
    // A store that knows all fills a cache that knows nothing, by definition keys.
    let late = Place::directory(&space, "late");
    place_filled(&space, &context, &late);
    assert_eq!(entries(&late), "ddddd");
}

fn place_filled(space: &TestSpace, context: &Path, place: &Place) {
    let outcome = place.filling(build_in(space, context, "first")).run().success();
    assert_eq!(ran(&outcome), Vec::<String>::new(), "{outcome}");
}

#[test]
fn platforms_share_what_is_the_same_and_nothing_else() {
    let space = TestSpace::new();
    let place = Place::directory(&space, "cache");
    let dockerfile = "FROM scratch\nCOPY all /\nARG TARGETARCH\nCOPY $TARGETARCH /own\n";
    let files = [("Dockerfile", dockerfile), ("all", "a"), ("amd64", "1"), ("arm64", "2")];
    let context = space.context("context", &files);
    let both = ["--platform", "linux/amd64,linux/arm64"];
    let first = place.filling(build_in(&space, &context, "first")).args(both).run().success();
    // One of the two may wait for the other's `COPY all /`, and then it is not shown in one line.
    assert!((3..=4).contains(&ran(&first).len()), "{first}");
    let second = place.asking(build_in(&space, &context, "second")).args(both).run().success();
    assert_eq!((ran(&second), second.digest()), (Vec::new(), first.digest()), "{second}");
    let one =
        place.asking(build_in(&space, &context, "third")).args(["--platform", "linux/arm64"]).run().success();
    assert_eq!(ran(&one), Vec::<String>::new(), "{one}");
}

#[test]
fn a_step_that_runs_reads_layers_of_the_cache_and_of_its_base() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let _server = busybox::serve(&space);
    let place = Place::directory(&space, "cache");
    let file = |last: &str| {
        format!("FROM busybox\nCOPY a /a\nRUN cat /a /a > /b\nRUN cat /b > /c && echo {last} >> /c\n")
    };
    let context = space.context("context", &[("Dockerfile", &*file("one")), ("a", "a")]);
    place.filling(build_in(&space, &context, "first")).run().success();
    space.file("context/Dockerfile", file("two"));
    let output = space.path("files");
    let call = place.asking(build_in(&space, &context, "second"));
    let outcome = call.args(["-o", &format!("type=local,dest={}", output.display())]).run().success();
    assert_eq!(ran(&outcome), Vec::<String>::new(), "{outcome}");
    let outcome = outcome.says(&["CACHED RUN cat /a /a > /b"]);
    assert_eq!(outcome.stderr.matches(" RUN ").count(), 2, "one step ran: {outcome}");
    assert_eq!(std::fs::read_to_string(output.join("c")).unwrap(), "aatwo\n");
}

#[test]
fn a_base_image_stays_where_it_is() {
    requires!("docker-registry");
    let space = TestSpace::new();
    let place = Place::registry(&space, "registry");
    let host = place.registry.as_ref().unwrap().host();
    let base = space.context("base", &[("Dockerfile", "FROM scratch\nCOPY Dockerfile /base\n")]);
    let name = format!("{host}/library/base:1");
    build_in(&space, &base, "publisher").args(["--push", "-t", &name]).run().success();
    let files = [("Dockerfile", &*format!("FROM {name}\nCOPY a /a\n")), ("a", "a")];
    let context = space.context("context", &files);
    let cache = Place::directory(&space, "cache");
    let first = cache.filling(build_in(&space, &context, "first")).run().success();
    assert_eq!(ran(&first), ["COPY a /a"], "{first}");
    let blobs = std::fs::read_dir(cache.directory.as_ref().unwrap().join("blobs/sha256")).unwrap().count();
    assert_eq!(blobs, 1, "one layer was made");
    let second = cache.asking(build_in(&space, &context, "second")).run().success();
    assert_eq!((ran(&second), second.digest()), (Vec::new(), first.digest()), "{second}");
    let layout = format!("type=oci,dest={}", space.path("app.tar").display());
    build_in(&space, &context, "second").args(["-o", &layout]).run().success();
}
