//! A stage whose name is not in lower case. Names are kept in lower case, and FROM looks for them as written.

use crate::diagnostic::Edit;
use crate::lint::report::{Anchor, Report};
use crate::lint::scene::Scene;
use crate::lint::{Level, Rule};

pub(super) const RULE: Rule = Rule {
    name: "StageNameCasing",
    summary: "names of stages are in lower case",
    level: Level::On,
    page: "stage-name-casing.md",
    check,
};

fn check(scene: &Scene<'_>, report: &mut Report<'_>) {
    for stage in &scene.request.file.stages {
        let Some(name) = stage.from.operation.name.as_ref() else { continue };
        if name.written.text == name.lower {
            continue;
        }
        let message = format!("the name of the stage is not in lower case: `{}`", name.written.text);
        // `--from` and `--target` find stages in any case, FROM finds them in lower case only, and both find what the name
        // in lower case finds: nothing that refers to the stage needs a change.
        let found = report
            .warning(name.written.span, message)
            .with_help(format!("write `{}`", name.lower))
            .with_fix(Edit { span: name.written.span, replacement: name.lower.clone() });
        report.push(Anchor::of(&stage.from), found);
    }
}

#[cfg(test)]
mod tests {
    use crate::lint::fix::tests::check_fixes;
    use crate::lint::tests::{World, check};

    #[test]
    fn a_name_with_upper_case_letters_is_found_and_written_in_lower_case() {
        let cases: &[(&str, &[&str])] = &[
            ("FROM a AS base\nFROM a\nFROM base AS other_1.x-y", &[]),
            (
                "FROM a AS Base\nFROM Base\nFROM a AS b\nFROM a as C-2",
                &[
                    "1 Base | the name of the stage is not in lower case: `Base` (write `base`)",
                    "4 C-2 | the name of the stage is not in lower case: `C-2` (write `c-2`)",
                ],
            ),
            ("# check=skip=StageNameCasing\nFROM a AS Base", &[]),
            ("FROM a\n# check=skip=StageNameCasing\nFROM a AS Base", &[]),
        ];
        check("StageNameCasing", &World::default(), cases);
        check_fixes(
            "StageNameCasing",
            &[(
                "FROM a AS Base\nFROM b\nCOPY --from=Base /a /b\n",
                "FROM a AS base\nFROM b\nCOPY --from=Base /a /b\n",
            )],
        );
    }
}
