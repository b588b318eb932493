//! `FROM --platform=$TARGETPLATFORM` says what holds without it.

use crate::diagnostic::Edit;
use crate::lint::report::{Anchor, Report};
use crate::lint::scene::{Scene, StageScene};
use crate::lint::{Level, Rule};
use crate::source::{Source, Span};

pub(super) const RULE: Rule = Rule {
    name: "RedundantTargetPlatform",
    summary: "FROM does not ask for the target platform, which is what it gets",
    level: Level::On,
    page: "redundant-target-platform.md",
    check,
};

const NAME: &str = "TARGETPLATFORM";

fn check(scene: &Scene<'_>, report: &mut Report<'_>) {
    for stage in &scene.stages {
        let Some(word) = stage.platform_flag else { continue };
        let (used, undefined) = (&word.expansion.used, &word.expansion.undefined);
        let is_alone = used.len() == 1 && used.contains(NAME) && undefined.is_empty();
        if !is_alone || scene.globals.list.value(NAME) != Some(&word.expansion.text) {
            continue;
        }
        let from = &stage.stage.from;
        let message = format!("`{}` is the platform that FROM takes anyway", word.written.text);
        let mut found = report.warning(word.written.span, message).with_help("remove `--platform`");
        if let Some(fix) = fix(stage, scene.request.source) {
            found = found.with_fix(fix);
        }
        report.push(Anchor::of(from), found);
    }
}

/// Takes the flag away with the blanks behind it; nothing where more stands between it and the base.
fn fix(stage: &StageScene<'_>, source: &Source) -> Option<Edit> {
    let from = &stage.stage.from;
    let flag = from.flag("platform")?.span;
    let behind = Span::new(flag.end, from.operation.base.span.start);
    let is_blank = source.slice(behind).chars().all(|c| matches!(c, ' ' | '\t'));
    is_blank.then(|| Edit { span: flag.cover(behind), replacement: String::new() })
}

#[cfg(test)]
mod tests {
    use crate::lint::tests::{World, check, fixed};

    #[test]
    fn the_target_platform_alone_is_found_in_any_spelling() {
        let cases: &[(&str, &[&str])] = &[
            (
                "FROM --platform=$TARGETPLATFORM a",
                &[
                    "1 $TARGETPLATFORM | `$TARGETPLATFORM` is the platform that FROM takes anyway (remove `--platform`)",
                ],
            ),
            (
                "FROM a\nFROM --platform=${TARGETPLATFORM:-x} b",
                &[
                    "2 ${TARGETPLATFORM:-x} | `${TARGETPLATFORM:-x}` is the platform that FROM takes anyway (remove `--platform`)",
                ],
            ),
            ("FROM --platform=$BUILDPLATFORM a", &[]),
            ("FROM --platform=$TARGETPLATFORM$X a", &[]),
            ("FROM --platform=linux/$TARGETARCH a", &[]),
            ("ARG TARGETPLATFORM=linux/arm64\nARG X=$TARGETPLATFORM\nFROM --platform=$X a", &[]),
        ];
        check("RedundantTargetPlatform", &World::default(), cases);
    }

    #[test]
    fn the_flag_goes_with_the_blanks_behind_it() {
        let cases = [
            ("FROM --platform=$TARGETPLATFORM  a AS b\n", "FROM a AS b\n"),
            ("FROM  --platform=\"$TARGETPLATFORM\" a", "FROM  a"),
            // A comment between them is the user's.
            ("FROM --platform=$TARGETPLATFORM \\\n# x\na", "FROM --platform=$TARGETPLATFORM \\\n# x\na"),
        ];
        for (text, expected) in cases {
            assert_eq!(fixed("RedundantTargetPlatform", &World::default(), text), expected);
        }
    }
}
