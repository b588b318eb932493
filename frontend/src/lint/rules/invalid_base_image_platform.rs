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

#[cfg(test)]
mod tests {
    use crate::lint::ImageFacts;
    use crate::lint::tests::{World, check, platform};

    #[test]
    fn an_image_for_another_platform_is_found_where_its_platform_is_known() {
        let facts = |text: &str| ImageFacts { platform: platform(text), ..ImageFacts::default() };
        let world = World::default()
            .with_image("arm", facts("linux/arm64"))
            .with_image("amd", facts("linux/amd64"))
            .with_image("silent", ImageFacts::default());
        let cases: &[(&str, &[&str])] = &[
            ("FROM arm", &["1 arm | `arm` is for `linux/arm64`, and `linux/amd64` is to be built"]),
            (
                "ARG X=amd\nFROM --platform=linux/arm64 $X",
                &["2 $X | `amd` is for `linux/amd64`, and `linux/arm64` is to be built"],
            ),
            ("FROM --platform=linux/arm64 arm", &[]),
            ("FROM amd AS arm\nFROM arm", &[]),
            ("FROM silent\nFROM unknown\nFROM scratch", &[]),
            (
                "FROM --platform=nonsense arm",
                &["1 arm | `arm` is for `linux/arm64`, and `nonsense/amd64` is to be built"],
            ),
        ];
        check("InvalidBaseImagePlatform", &world, cases);
    }
}
