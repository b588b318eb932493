//! A CMD, ENTRYPOINT or HEALTHCHECK that a later one in the same stage replaces. Said at the one without effect; it is the
//! one with effect, though, whose comments switch the rule off in BuildKit. Here the comments of both do.
//!
//! No fix: every instruction has an entry in the history of the image.

use std::collections::BTreeMap;

use crate::ast::Operation;
use crate::lint::report::Report;
use crate::lint::scene::{Scene, Step};
use crate::lint::{Level, Rule};

pub(super) const RULE: Rule = Rule {
    name: "MultipleInstructionsDisallowed",
    summary: "a stage has one CMD, one ENTRYPOINT and one HEALTHCHECK",
    level: Level::On,
    page: "multiple-instructions-disallowed.md",
    check,
};

fn check(scene: &Scene<'_>, report: &mut Report<'_>) {
    for stage in &scene.stages {
        let mut seen: BTreeMap<&str, &Step<'_>> = BTreeMap::new();
        for step in &stage.steps {
            let Some(name) = once(&step.instruction.operation) else { continue };
            if let Some(earlier) = seen.insert(name, step) {
                replaced(report, name, earlier, step);
            }
        }
    }
}

/// Returns the name of an instruction of which the last one counts.
fn once(operation: &Operation) -> Option<&'static str> {
    match operation {
        Operation::Cmd(_) => Some("CMD"),
        Operation::Entrypoint(_) => Some("ENTRYPOINT"),
        Operation::Healthcheck(_) => Some("HEALTHCHECK"),
        _ => None,
    }
}

fn replaced(report: &mut Report<'_>, name: &str, earlier: &Step<'_>, later: &Step<'_>) {
    if !report.is_on(&later.instruction.comments) {
        return;
    }
    let message = format!("this {name} has no effect: another one follows in the same stage");
    let mut found = report.warning(earlier.instruction.keyword.span, message);
    found = match later.trigger {
        None => found.with_place(later.instruction.keyword.span, "replaces it"),
        Some(_) => found,
    };
    found = match earlier.trigger {
        None => found.with_help("remove it"),
        Some(_) => found.with_help("it comes from the base image, by ONBUILD"),
    };
    report.push(earlier, found);
}

#[cfg(test)]
mod tests {
    use crate::lint::tests::{World, check};

    #[test]
    fn the_instructions_without_effect_are_found_in_each_stage_for_itself() {
        let cases: &[(&str, &[&str])] = &[
            ("FROM a AS b\nCMD [\"x\"]\nENTRYPOINT [\"x\"]\nHEALTHCHECK NONE\nFROM b\nCMD [\"y\"]", &[]),
            (
                "FROM a\nCMD [\"x\"]\nentrypoint [\"y\"]\ncmd [\"x\"]\nCMD [\"z\"]\nENTRYPOINT []\nHEALTHCHECK NONE\nHEALTHCHECK CMD x",
                &[
                    "2 CMD | this CMD has no effect: another one follows in the same stage (remove it)",
                    "3 entrypoint | this ENTRYPOINT has no effect: another one follows in the same stage (remove it)",
                    "4 cmd | this CMD has no effect: another one follows in the same stage (remove it)",
                    "7 HEALTHCHECK | this HEALTHCHECK has no effect: another one follows in the same stage (remove it)",
                ],
            ),
            (
                "FROM a AS b\nONBUILD CMD [\"x\"]\nFROM b\nCMD [\"y\"]",
                &[
                    "3 FROM b | this CMD has no effect: another one follows in the same stage (it comes from the base image, by ONBUILD)",
                ],
            ),
        ];
        check("MultipleInstructionsDisallowed", &World::default(), cases);
    }

    #[test]
    fn the_comments_of_either_instruction_switch_it_off() {
        let skip = "# check=skip=MultipleInstructionsDisallowed";
        let cases: &[(&str, &[&str])] = &[
            (&format!("FROM a\n{skip}\nCMD [\"x\"]\nCMD [\"y\"]"), &[]),
            (&format!("FROM a\nCMD [\"x\"]\n{skip}\nCMD [\"y\"]"), &[]),
            (
                &format!("FROM a\nCMD [\"x\"]\n{skip}\nCMD [\"y\"]\nCMD [\"z\"]\nCMD []"),
                &["5 CMD | this CMD has no effect: another one follows in the same stage (remove it)"],
            ),
        ];
        check("MultipleInstructionsDisallowed", &World::default(), cases);
    }
}
