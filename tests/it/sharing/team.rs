//! Twenty builders at once.

use super::places::Place;
use super::{build_in, project, ran, with_each_place};
use crate::support::TestSpace;

const BUILDERS: usize = 20;
/// Several builders have the same project, and all projects have steps in common.
const PROJECTS: usize = 7;

#[test]
fn of_twenty_builders_that_share_a_cache_none_loses_an_entry() {
    with_each_place(|space, place| share(space, &place));
}

fn share(space: &TestSpace, place: &Place) {
    let contexts: Vec<_> = (0..PROJECTS).map(|number| project(space, &format!("project-{number}"))).collect();
    let running: Vec<_> = (0..BUILDERS)
        .map(|number| {
            let call = build_in(space, &contexts[number % PROJECTS], &format!("store-{number}"));
            place.filling(place.asking(call)).start()
        })
        .collect();
    let digests: Vec<String> = running.into_iter().map(|builder| builder.wait().success().digest()).collect();
    for (number, context) in contexts.iter().enumerate() {
        let outcome = place.asking(build_in(space, context, "the-twenty-first")).run().success();
        assert_eq!((ran(&outcome), outcome.digest()), (Vec::new(), digests[number].clone()), "{outcome}");
    }
    // All steps are there, not only those of the results.
    for context in &contexts {
        let tools = place.asking(build_in(space, context, "the-twenty-second"));
        let outcome = tools.args(["--target", "tools"]).run().success();
        assert_eq!(ran(&outcome), Vec::<String>::new(), "{outcome}");
    }
}
