//! A variable that no ENV, no ARG and not the base image sets. RUN is not looked at (its variables are the shell's), nor is
//! EXPOSE, as in BuildKit.

use crate::lint::place::Uses;
use crate::lint::report::Report;
use crate::lint::scene::{Scene, Undefined};
use crate::lint::{Level, Rule};

pub(super) const RULE: Rule = Rule {
    name: "UndefinedVar",
    summary: "variables are set before they are used",
    level: Level::On,
    page: "undefined-var.md",
    check,
};

fn check(scene: &Scene<'_>, report: &mut Report<'_>) {
    for stage in &scene.stages {
        for step in &stage.steps {
            for word in step.words.iter().filter(|word| !word.undefined.is_empty()) {
                let uses = Uses::new(word.written.span, scene.request.source);
                for variable in &word.undefined {
                    let place = uses.of(&variable.name);
                    let mut found = report.warning(place, format!("`${}` is not defined", variable.name));
                    if let Some(help) = help(scene, variable) {
                        found = found.with_help(help);
                    }
                    if report.push(step, found) {
                        stage.unknown_image.into_iter().for_each(|image| report.want(image));
                    }
                }
            }
        }
    }
}

/// Returns what was probably meant: most often an ARG that stands before the first FROM and not in the stage.
fn help(scene: &Scene<'_>, variable: &Undefined) -> Option<String> {
    let name = &variable.name;
    if scene.globals.list.value(name).is_some() {
        return Some(format!("it is known before the first FROM only: add `ARG {name}` to the stage"));
    }
    variable.near.as_ref().map(|near| format!("did you mean `${near}`?"))
}
