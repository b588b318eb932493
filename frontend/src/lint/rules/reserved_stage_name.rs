//! A stage that is called like something else.

use crate::lint::report::{Anchor, Report};
use crate::lint::scene::Scene;
use crate::lint::{Level, Rule};

pub(super) const RULE: Rule = Rule {
    name: "ReservedStageName",
    summary: "no stage is called `scratch` or `context`",
    level: Level::On,
    page: "reserved-stage-name.md",
    check,
};

const RESERVED: [(&str, &str); 2] =
    [("context", "the directory of the build"), ("scratch", "the empty image")];

fn check(scene: &Scene<'_>, report: &mut Report<'_>) {
    for stage in &scene.request.file.stages {
        let Some(name) = stage.from.operation.name.as_ref() else { continue };
        let Some((_, meaning)) = RESERVED.iter().find(|(reserved, _)| *reserved == name.lower) else {
            continue;
        };
        let found = report
            .warning(name.written.span, format!("`{}` is a reserved name", name.lower))
            .with_help(format!("it means {meaning}: give the stage another name"));
        report.push(Anchor::of(&stage.from), found);
    }
}

#[cfg(test)]
mod tests {
    use crate::lint::tests::{World, check};

    #[test]
    fn stages_called_scratch_and_context_are_found_in_any_case() {
        let cases: &[(&str, &[&str])] = &[
            ("FROM scratch\nFROM context AS contexts", &[]),
            (
                "FROM a AS Scratch\nFROM a AS context",
                &[
                    "1 Scratch | `scratch` is a reserved name (it means the empty image: give the stage another name)",
                    "2 context | `context` is a reserved name (it means the directory of the build: give the stage another name)",
                ],
            ),
        ];
        check("ReservedStageName", &World::default(), cases);
    }
}
