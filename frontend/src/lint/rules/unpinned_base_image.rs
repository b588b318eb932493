//! A base image that is named without its digest: tomorrow the same name may be another image. kiln's own rule; off unless it
//! is asked for, as tags are what most files want.

use crate::lint::report::{Anchor, Report};
use crate::lint::scene::Scene;
use crate::lint::{Level, Rule};
use crate::stage::Base;

pub(super) const RULE: Rule = Rule {
    name: "UnpinnedBaseImage",
    summary: "a base image is named with its digest",
    level: Level::Off,
    page: "unpinned-base-image.md",
    check,
};

fn check(scene: &Scene<'_>, report: &mut Report<'_>) {
    for stage in scene.stages.iter().filter(|stage| stage.is_reached) {
        let Base::Image(name) = stage.link else { continue };
        if name.contains('@') || scene.request.contexts.contains(name) {
            continue;
        }
        let message = format!("`{name}` may be another image tomorrow");
        let help = format!("add its digest: `{name}@sha256:…`");
        let found = report.warning(stage.base.written.span, message).with_help(help);
        report.push(Anchor::of(&stage.stage.from), found);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::lint::tests::{World, check};

    #[test]
    fn a_base_without_digest_is_found_where_the_rule_is_asked_for() {
        let found = "2 a:1 | `a:1` may be another image tomorrow (add its digest: `a:1@sha256:…`)";
        let cases: &[(&str, &[&str])] = &[
            ("\nFROM a:1", &[]),
            ("# check=experimental=all\nFROM a:1", &[]),
            ("# check=experimental=UnpinnedBaseImage\nFROM a:1 AS b\nFROM b\nFROM scratch", &[found]),
            ("# check=experimental=UnpinnedBaseImage\nFROM a:1@sha256:00", &[]),
            ("# check=experimental=UnpinnedBaseImage\nARG D=@sha256:00\nFROM a$D", &[]),
        ];
        check("UnpinnedBaseImage", &World::default(), cases);
    }

    #[test]
    fn a_named_context_is_no_image() {
        let contexts = BTreeSet::from(["a:1".to_owned(), "b".to_owned()]);
        let text = "# check=experimental=UnpinnedBaseImage\nFROM a:1\nFROM c AS b";
        check("UnpinnedBaseImage", &World { contexts, ..World::default() }, &[(text, &[])]);
    }
}
