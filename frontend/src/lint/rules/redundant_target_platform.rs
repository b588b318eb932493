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
