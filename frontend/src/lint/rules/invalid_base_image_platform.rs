//! A base image that is for another platform than the stage. Only images that are known can be judged.

use crate::lint::report::{Anchor, Report};
use crate::lint::scene::Scene;
use crate::lint::{Level, Rule};
use crate::stage::Base;

pub(super) const RULE: Rule = Rule {
    name: "InvalidBaseImagePlatform",
    summary: "a base image is for the platform that is built",
    level: Level::On,
    page: "invalid-base-image-platform.md",
    check,
};

fn check(scene: &Scene<'_>, report: &mut Report<'_>) {
    for stage in &scene.stages {
        let Base::Image(name) = stage.link else { continue };
        let actual = stage.facts.and_then(|facts| facts.platform.as_ref());
        let Some((actual, expected)) = actual.zip(stage.platform.as_ref()).filter(|_| stage.is_reached)
        else {
            continue;
        };
        if (&actual.os, &actual.architecture) == (&expected.os, &expected.architecture) {
            continue;
        }
        let message = format!("`{name}` is for `{}`, and `{}` is to be built", actual.text, expected.text);
        let found = report.warning(stage.base.written.span, message);
        report.push(Anchor::of(&stage.stage.from), found);
    }
}
