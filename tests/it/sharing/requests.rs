//! How little is asked.

use super::places::Place;
use super::{build_in, project, ran, tokens};
use crate::support::http::plain_config;
use crate::support::registry::{ACCOUNT, Registry};
use crate::support::{TestSpace, requires};

#[test]
fn a_build_with_nothing_to_do_asks_at_most_three_times() {
    requires!("docker-registry");
    let space = TestSpace::new();
    let registry = Registry::start_with_password(&space.path("registry"));
    let host = registry.host();
    let place = Place::repository(&space, registry);
    let login = ["login", "-u", ACCOUNT.0, "--password-stdin", &host];
    space.kiln(login).stdin(ACCOUNT.1).run().success();
    let context = project(&space, "project");
    place.filling(build_in(&space, &context, "warm")).run().success();
    let asked = || place.registry.as_ref().unwrap().asked();
    let mut before = asked().len();
    for (store, fills) in [("warm", true), ("empty", false), ("other", true)] {
        let call = place.asking(build_in(&space, &context, store));
        let call = if fills { place.filling(call) } else { call };
        let outcome = call.run().success();
        assert_eq!(ran(&outcome), Vec::<String>::new(), "{outcome}");
        let requests = asked().split_off(before);
        before += requests.len();
        // One finds out how the registry is spoken to, which a host that is not loopback is not asked. A token would be one more.
        assert_eq!(requests.len(), 2, "{store}: {requests:#?}");
        assert!(requests[1].contains("/manifests/kiln-d-"), "{requests:#?}");
    }
}

#[test]
fn a_registry_that_wants_tokens_is_asked_three_times_and_the_token_server_is_one_of_them() {
    requires!("docker-registry");
    let space = TestSpace::new();
    let registry = Registry::start(&space.path("registry"));
    let front = tokens::before(&registry);
    space.config(&plain_config(&front.host()));
    let spec = format!("type=registry,ref={}/team/cache", front.host());
    let place =
        Place { from: spec.clone(), to: spec, directory: None, registry: Some(registry), store: None };
    let context = project(&space, "project");
    place.filling(build_in(&space, &context, "warm")).run().success();
    for store in ["warm", "empty"] {
        let before = front.asked().len();
        let outcome = place.filling(place.asking(build_in(&space, &context, store))).run().success();
        let asked = front.asked().split_off(before);
        assert_eq!((ran(&outcome), asked.len()), (Vec::new(), 3), "{asked:#?}");
        assert!(asked[1].starts_with("GET /token") && asked[2].contains("/manifests/kiln-d-"), "{asked:#?}");
    }
}

#[test]
fn a_bucket_is_asked_once() {
    requires!("s3rver");
    let space = TestSpace::new();
    let place = Place::bucket(&space, "bucket");
    let store = place.store.as_ref().unwrap();
    let context = project(&space, "project");
    place.filling(build_in(&space, &context, "warm")).run().success();
    for name in ["warm", "empty"] {
        let before = store.asked();
        let outcome = place.filling(place.asking(build_in(&space, &context, name))).run().success();
        assert_eq!((ran(&outcome), store.asked() - before), (Vec::new(), 1), "{outcome}");
    }
}

#[test]
fn what_is_there_is_not_sent_again() {
    requires!("docker-registry");
    let space = TestSpace::new();
    let place = Place::registry(&space, "registry");
    let registry = place.registry.as_ref().unwrap();
    let context = project(&space, "project");
    place.filling(build_in(&space, &context, "first")).run().success();
    let sent = |before: usize| {
        let asked = registry.asked().split_off(before);
        let count = asked.iter().filter(|line| line.starts_with("PUT") && line.contains("/blobs/")).count();
        (count, asked)
    };
    // Nine entries with a document each, and five layers.
    let (count, asked) = sent(0);
    assert_eq!(count, 9 + 5, "{asked:#?}");
    // The image goes to another repository of the same registry: its layers are taken over, its configuration is sent.
    let mut before = registry.asked().len();
    let name = format!("{}/team/app:1", registry.host());
    build_in(&space, &context, "first").args(["--push", "-t", &name]).run().success();
    let (count, asked) = sent(before);
    assert_eq!(count, 1, "{asked:#?}");
    before += asked.len();
    // One step has two entries and a layer.
    space.file("project/src", "edited");
    place.filling(build_in(&space, &context, "first")).run().success();
    let (count, asked) = sent(before);
    assert_eq!(count, 2 + 1, "{asked:#?}");
}
