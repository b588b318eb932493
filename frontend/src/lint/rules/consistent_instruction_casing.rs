//! Instructions in another case than most. ARGs above the first FROM neither count nor are looked at, as in BuildKit; of
//! ONBUILD only that word counts. Without a majority, upper case is asked for.

use crate::ast::{FromInstruction, Instruction, Word};
use crate::diagnostic::{Diagnostic, Edit};
use crate::lint::casing::Case;
use crate::lint::report::{Anchor, Report};
use crate::lint::scene::Scene;
use crate::lint::{Level, Rule};

pub(super) const RULE: Rule = Rule {
    name: "ConsistentInstructionCasing",
    summary: "all instructions are in one case, upper or lower",
    level: Level::On,
    page: "consistent-instruction-casing.md",
    check,
};

fn check(scene: &Scene<'_>, report: &mut Report<'_>) {
    let stages = &scene.request.file.stages;
    let keywords = stages.iter().flat_map(|stage| {
        std::iter::once(&stage.from.keyword).chain(stage.instructions.iter().map(|one| &one.keyword))
    });
    let most = most(keywords);
    for stage in stages {
        if let Some(found) = finding(report, &stage.from, most) {
            report.push(Anchor::of(&stage.from), with_as(found, &stage.from, most));
        }
        for instruction in &stage.instructions {
            if let Some(found) = finding(report, instruction, most) {
                report.push(Anchor::of(instruction), found);
            }
        }
    }
}

fn most<'a>(keywords: impl Iterator<Item = &'a Word>) -> Case {
    let (mut lower, mut upper) = (0, 0);
    for keyword in keywords {
        match Case::of(&keyword.text) {
            Some(Case::Lower) => lower += 1,
            Some(Case::Upper) => upper += 1,
            None => {}
        }
    }
    if lower > upper { Case::Lower } else { Case::Upper }
}

fn finding<T>(report: &Report<'_>, instruction: &Instruction<T>, most: Case) -> Option<Diagnostic> {
    let keyword = &instruction.keyword;
    let meant = most.apply(&keyword.text);
    if keyword.text == meant {
        return None;
    }
    let message = format!("`{}` is not in {} like the other instructions", keyword.text, most.name());
    let found = report.warning(keyword.span, message).with_help(format!("write `{meant}`"));
    Some(found.with_fix(Edit { span: keyword.span, replacement: meant }))
}

/// Adds the change of `AS`, so that the changed FROM does not disagree with it.
fn with_as(found: Diagnostic, from: &Instruction<FromInstruction>, most: Case) -> Diagnostic {
    let Some(word) = &from.operation.as_keyword else { return found };
    let replacement = most.apply(&word.text);
    if replacement == word.text {
        return found;
    }
    found.with_fix(Edit { span: word.span, replacement })
}

#[cfg(test)]
mod tests {
    use crate::lint::fix::tests::check_fixes;
    use crate::lint::tests::{World, check};

    #[test]
    fn instructions_are_in_the_case_of_most_and_in_upper_case_without_a_majority() {
        let upper = |line: usize, word: &str| {
            let meant = word.to_uppercase();
            format!(
                "{line} {word} | `{word}` is not in upper case like the other instructions (write `{meant}`)"
            )
        };
        let lower = |line: usize, word: &str| {
            let meant = word.to_lowercase();
            format!(
                "{line} {word} | `{word}` is not in lower case like the other instructions (write `{meant}`)"
            )
        };
        let cases: &[(&str, &[String])] = &[
            ("FROM a\nRUN b", &[]),
            ("from a\nrun b", &[]),
            ("from a\nRUN b", &[upper(1, "from")]),
            ("From a", &[upper(1, "From")]),
            ("From a\nrun b", &[lower(1, "From")]),
            ("arg x\narg y\nFROM a", &[]),
            ("FROM a\nrun b\nrun c\nRun d", &[lower(1, "FROM"), lower(4, "Run")]),
            ("FROM a\nonbuild copy x y\nONBUILD run b", &[upper(2, "onbuild")]),
            ("FROM a\n# check=skip=ConsistentInstructionCasing\nrun b", &[]),
        ];
        for (text, expected) in cases {
            let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
            check("ConsistentInstructionCasing", &World::default(), &[(text, &expected)]);
        }
    }

    #[test]
    fn the_fix_writes_the_other_case_and_that_of_as_with_it() {
        check_fixes(
            "ConsistentInstructionCasing",
            &[
                ("FROM a\nrun b\nCopy c d", "FROM a\nRUN b\nCOPY c d"),
                ("from a as b\nRUN c\nRUN d", "FROM a AS b\nRUN c\nRUN d"),
                ("FROM a\nEN\\\nv a=b", "FROM a\nENV a=b"),
            ],
        );
    }
}
