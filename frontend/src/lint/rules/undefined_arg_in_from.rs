//! A variable in FROM that is no global argument. Stage arguments do not count there: they come after FROM.

use crate::lint::place::Uses;
use crate::lint::report::{Anchor, Report};
use crate::lint::scene::{Scene, nearest_bounded};
use crate::lint::{Level, Rule};

pub(super) const RULE: Rule = Rule {
    name: "UndefinedArgInFrom",
    summary: "variables in FROM are declared by an ARG before the first FROM",
    level: Level::On,
    page: "undefined-arg-in-from.md",
    check,
};

fn check(scene: &Scene<'_>, report: &mut Report<'_>) {
    let mut comparisons = 0;
    for stage in &scene.stages {
        for word in std::iter::once(stage.base).chain(stage.platform_flag) {
            let uses = Uses::new(word.written.span, scene.request.source);
            for name in &word.expansion.undefined {
                if scene.global_names.contains(name.as_str()) {
                    continue;
                }
                let place = uses.of(name);
                let mut found =
                    report.warning(place, format!("`${name}` is not declared before the first FROM"));
                let names = scene.global_names.iter().copied();
                found = match nearest_bounded(name, names, &mut comparisons) {
                    Some(near) => found.with_help(format!("did you mean `${near}`?")),
                    None => found.with_help(format!("write `ARG {name}` above the first FROM")),
                };
                report.push(Anchor::of(&stage.stage.from), found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::lint::tests::{World, check};

    #[test]
    fn a_variable_that_no_global_arg_declares_is_found_in_base_and_platform() {
        let cases: &[(&str, &[&str])] = &[
            (
                "FROM a:$X",
                &["1 $X | `$X` is not declared before the first FROM (write `ARG X` above the first FROM)"],
            ),
            (
                "FROM a:$X$X-${X}",
                &["1 $X | `$X` is not declared before the first FROM (write `ARG X` above the first FROM)"],
            ),
            (
                "ARG VERSION=1\nFROM a:${VERSOIN:-2}",
                &["2 VERSOIN | `$VERSOIN` is not declared before the first FROM (did you mean `$VERSION`?)"],
            ),
            (
                "FROM --platform=${BULDPLATFORM} a",
                &[
                    "1 ${BULDPLATFORM} | `$BULDPLATFORM` is not declared before the first FROM (did you mean `$BUILDPLATFORM`?)",
                ],
            ),
            (
                "FROM a\nARG X=1\nFROM b:$X",
                &["3 $X | `$X` is not declared before the first FROM (write `ARG X` above the first FROM)"],
            ),
            ("ARG X\nFROM a:$X", &[]),
            ("FROM --platform=$TARGETPLATFORM a:$TARGETARCH", &[]),
            ("FROM a:\\$X", &[]),
        ];
        check("UndefinedArgInFrom", &World::default(), cases);
    }
}
