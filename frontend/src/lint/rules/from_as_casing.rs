//! `AS` in another case than its FROM. A FROM in mixed case is left to the rule about the case of instructions.

use crate::diagnostic::Edit;
use crate::lint::casing::Case;
use crate::lint::report::{Anchor, Report};
use crate::lint::scene::Scene;
use crate::lint::{Level, Rule};

pub(super) const RULE: Rule = Rule {
    name: "FromAsCasing",
    summary: "`AS` is in the case of its `FROM`",
    level: Level::On,
    page: "from-as-casing.md",
    check,
};

fn check(scene: &Scene<'_>, report: &mut Report<'_>) {
    for stage in &scene.request.file.stages {
        let keyword = &stage.from.keyword.text;
        let (Some(case), Some(word)) = (Case::of(keyword), &stage.from.operation.as_keyword) else {
            continue;
        };
        let meant = case.apply(&word.text);
        if word.text == meant {
            continue;
        }
        let found = report
            .warning(word.span, format!("`{}` is not in the case of `{keyword}`", word.text))
            .with_help(format!("write `{meant}`"))
            .with_fix(Edit { span: word.span, replacement: meant });
        report.push(Anchor::of(&stage.from), found);
    }
}

#[cfg(test)]
mod tests {
    use crate::lint::fix::tests::check_fixes;
    use crate::lint::tests::{World, check};

    #[test]
    fn as_in_another_case_than_from_is_found_and_written_in_its_case() {
        let cases: &[(&str, &[&str])] = &[
            ("FROM a AS b\nFROM a", &[]),
            ("from a as b", &[]),
            ("From a as b\nfROM a As c", &[]),
            ("FROM a as b", &["1 as | `as` is not in the case of `FROM` (write `AS`)"]),
            ("FROM a As b", &["1 As | `As` is not in the case of `FROM` (write `AS`)"]),
            ("from a \\\n AS b", &["2 AS | `AS` is not in the case of `from` (write `as`)"]),
        ];
        check("FromAsCasing", &World::default(), cases);
        let fixes =
            [("FROM a as b\nfrom b AS c", "FROM a AS b\nfrom b as c"), ("From a as b", "From a as b")];
        check_fixes("FromAsCasing", &fixes);
    }
}
