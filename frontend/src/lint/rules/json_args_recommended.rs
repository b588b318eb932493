//! CMD or ENTRYPOINT in shell form where nobody chose a shell: the shell gets the signals, and not the program. There is no
//! safe fix: the program that runs would be another one.

use crate::ast::{Command, Operation};
use crate::lint::report::Report;
use crate::lint::scene::Scene;
use crate::lint::{Level, Rule};

pub(super) const RULE: Rule = Rule {
    name: "JSONArgsRecommended",
    summary: "CMD and ENTRYPOINT are JSON lists, so that the program gets the signals",
    level: Level::On,
    page: "json-args-recommended.md",
    check,
};

fn check(scene: &Scene<'_>, report: &mut Report<'_>) {
    for stage in &scene.stages {
        for step in stage.steps.iter().filter(|step| !step.has_shell) {
            let (Operation::Cmd(Command::Shell(text)) | Operation::Entrypoint(Command::Shell(text))) =
                &step.instruction.operation
            else {
                continue;
            };
            let name = step.instruction.keyword.text.to_uppercase();
            let message = format!("{name} in shell form: signals reach the shell, not the program");
            let found = report
                .warning(text.span, message)
                .with_help(format!("write a JSON list, such as `{name} [\"program\", \"argument\"]`"));
            if report.push(step, found) {
                stage.unknown_image.into_iter().for_each(|image| report.want(image));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::lint::ImageFacts;
    use crate::lint::tests::{World, check};

    #[test]
    fn shell_forms_are_found_where_nobody_chose_a_shell() {
        let cmd = |line: usize, text: &str| {
            format!(
                "{line} {text} | CMD in shell form: signals reach the shell, not the program (write a JSON list, such as \
                 `CMD [\"program\", \"argument\"]`)"
            )
        };
        let entrypoint = cmd(2, "b").replace("CMD", "ENTRYPOINT");
        let cases: &[(&str, &[&str])] = &[
            ("FROM a\nCMD b c", &[&cmd(2, "b c")]),
            ("FROM a\nentrypoint b", &[&entrypoint]),
            ("FROM a\nCMD [b]", &[&cmd(2, "[b]")]),
            ("FROM a\nCMD [\"b\"]", &[]),
            ("FROM a\nSHELL [\"b\"]\nCMD c", &[]),
            ("FROM a\nCMD b\nSHELL [\"b\"]", &[&cmd(2, "b")]),
            ("FROM a AS s\nSHELL [\"b\"]\nFROM s\nCMD c", &[]),
            ("FROM a\nHEALTHCHECK CMD b", &[]),
            ("FROM a AS s\nONBUILD CMD b\nFROM s", &[&cmd(3, "FROM s")]),
        ];
        check("JSONArgsRecommended", &World::default(), cases);
        let world = World::default().with_image("a", ImageFacts { has_shell: true, ..ImageFacts::default() });
        check("JSONArgsRecommended", &world, &[("FROM a\nCMD b", &[])]);
    }
}
