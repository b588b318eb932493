//! A base that is no image name unless build arguments are given. Looked at for every FROM, with or without variables, as in
//! BuildKit.

use crate::lint::report::{Anchor, Report};
use crate::lint::scene::Scene;
use crate::lint::{Level, Rule};

pub(super) const RULE: Rule = Rule {
    name: "InvalidDefaultArgInFrom",
    summary: "FROM names an image also where no build argument is given",
    level: Level::On,
    page: "invalid-default-arg-in-from.md",
    check,
};

fn check(scene: &Scene<'_>, report: &mut Report<'_>) {
    for stage in &scene.stages {
        // BuildKit looks no further than to the first word that it cannot expand.
        let Some(name) = &stage.default_base else { return };
        if (scene.request.vocabulary.is_image_name)(name) {
            continue;
        }
        let word = &stage.base.written;
        let message = match name.as_str() {
            "" => format!("`{}` is empty unless a build argument is given", word.text),
            name if name == word.text => format!("`{name}` is no image name"),
            name => format!("`{}` is no image name unless a build argument is given: `{name}`", word.text),
        };
        let mut found = report.warning(word.span, message);
        if *name != word.text {
            found = found.with_help("give the ARG above the first FROM a default");
        }
        report.push(Anchor::of(&stage.stage.from), found);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::lint::tests::{World, check};

    const HELP: &str = "(give the ARG above the first FROM a default)";

    #[test]
    fn a_base_without_a_name_is_found_also_where_a_build_argument_names_it() {
        let empty = format!("2 $A | `$A` is empty unless a build argument is given {HELP}");
        let tagless =
            format!("2 b:$A | `b:$A` is no image name unless a build argument is given: `b:` {HELP}");
        let cases: &[(&str, &[&str])] = &[
            ("ARG A\nFROM $A", &[&empty]),
            ("ARG A\nFROM b:$A", &[&tagless]),
            ("ARG A=1\nFROM b:$A", &[]),
            ("ARG A\nFROM b:${A:-1}", &[]),
            ("ARG A\nFROM ${A:+$A/}b", &[]),
            ("FROM B", &["1 B | `B` is no image name"]),
            ("FROM b AS c\nFROM c", &[]),
            ("FROM b:${TARGETARCH}", &[]),
        ];
        let given = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        check("InvalidDefaultArgInFrom", &World { build_args: given, ..World::default() }, cases);
    }
}
