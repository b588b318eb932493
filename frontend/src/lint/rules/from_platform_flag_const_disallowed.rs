//! `FROM --platform=linux/arm64`: a stage that is always for one platform, and does not say so in its name.

use crate::lint::report::{Anchor, Report};
use crate::lint::scene::Scene;
use crate::lint::{Level, Rule};

pub(super) const RULE: Rule = Rule {
    name: "FromPlatformFlagConstDisallowed",
    summary: "the platform of FROM is a variable, or named in the name of the stage",
    level: Level::On,
    page: "from-platform-flag-const-disallowed.md",
    check,
};

fn check(scene: &Scene<'_>, report: &mut Report<'_>) {
    for stage in &scene.stages {
        let Some(flag) = stage.platform_flag.filter(|flag| !flag.is_wrong) else { continue };
        let is_constant = flag.expansion.used.is_empty() && flag.expansion.undefined.is_empty();
        let Some(platform) = (scene.request.vocabulary.platform)(&flag.expansion.text) else { continue };
        let name = stage.stage.name().unwrap_or_default();
        if !is_constant || name.contains(&platform.os) || name.contains(&platform.architecture) {
            continue;
        }
        let message = format!("the stage is always for `{}`", flag.expansion.text);
        let help = format!(
            "use `$BUILDPLATFORM` or `$TARGETPLATFORM`, or name the stage after its platform, such as `{}`",
            platform.architecture
        );
        let found = report.warning(flag.written.span, message).with_help(help);
        report.push(Anchor::of(&stage.stage.from), found);
    }
}

#[cfg(test)]
mod tests {
    use crate::lint::tests::{World, check};

    #[test]
    fn a_platform_that_is_always_the_same_is_found_unless_the_stage_is_named_after_it() {
        let help = |platform: &str, name: &str| {
            format!(
                "{platform} | the stage is always for `{platform}` (use `$BUILDPLATFORM` or `$TARGETPLATFORM`, or \
                 name the stage after its platform, such as `{name}`)"
            )
        };
        let arm = format!("1 {}", help("linux/arm64", "arm64"));
        let cases: &[(&str, &[&str])] = &[
            ("FROM --platform=linux/arm64 a", &[&arm]),
            ("FROM --platform=linux/arm64 a AS app", &[&arm]),
            ("FROM --platform=linux/arm64 a AS build-ARM64", &[]),
            ("FROM --platform=linux/arm64 a AS linux", &[]),
            ("FROM --platform=$BUILDPLATFORM a", &[]),
            ("ARG ARCH=arm64\nFROM --platform=linux/$ARCH a", &[]),
            ("# check=skip=FromPlatformFlagConstDisallowed\nFROM --platform=linux/arm64 a", &[]),
        ];
        check("FromPlatformFlagConstDisallowed", &World::default(), cases);
    }
}
