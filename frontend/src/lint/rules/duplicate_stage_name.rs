//! Two stages of one name. Which of them is meant depends on where it is asked: see `stage`.

use std::collections::BTreeMap;

use crate::lint::report::{Anchor, Report};
use crate::lint::scene::Scene;
use crate::lint::{Level, Rule};

pub(super) const RULE: Rule = Rule {
    name: "DuplicateStageName",
    summary: "no two stages have the same name",
    level: Level::On,
    page: "duplicate-stage-name.md",
    check,
};

fn check(scene: &Scene<'_>, report: &mut Report<'_>) {
    let mut first = BTreeMap::new();
    for stage in &scene.request.file.stages {
        let Some(name) = stage.from.operation.name.as_ref() else { continue };
        let Some(earlier) = first.insert(name.lower.as_str(), name.written.span) else { continue };
        first.insert(name.lower.as_str(), earlier);
        let found = report
            .warning(name.written.span, format!("another stage is called `{}` too", name.lower))
            .with_place(earlier, "the first of this name")
            .with_help(
                "FROM takes the nearest above, `--from` and `--target` the last of the file: rename one",
            );
        report.push(Anchor::of(&stage.from), found);
    }
}

#[cfg(test)]
mod tests {
    use crate::lint::tests::{World, check};

    #[test]
    fn every_stage_of_a_name_that_is_taken_is_found() {
        let help = "(FROM takes the nearest above, `--from` and `--target` the last of the file: rename one)";
        let (second, third) = (
            format!("2 B | another stage is called `b` too {help}"),
            format!("3 b | another stage is called `b` too {help}"),
        );
        let cases: &[(&str, &[&str])] = &[
            ("FROM a\nFROM a\nFROM a AS b\nFROM a AS c", &[]),
            ("FROM a AS b\nFROM a AS B\nFROM a AS b", &[&second, &third]),
        ];
        check("DuplicateStageName", &World::default(), cases);
    }
}
