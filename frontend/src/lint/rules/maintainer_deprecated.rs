//! MAINTAINER. No fix: it fills a field of the image that a label does not fill.

use crate::ast::Operation;
use crate::lint::report::{Anchor, Report};
use crate::lint::scene::Scene;
use crate::lint::{Level, Rule};

pub(super) const RULE: Rule = Rule {
    name: "MaintainerDeprecated",
    summary: "authors are named by a label, not by MAINTAINER",
    level: Level::On,
    page: "maintainer-deprecated.md",
    check,
};

fn check(scene: &Scene<'_>, report: &mut Report<'_>) {
    for instruction in scene.request.file.stages.iter().flat_map(|stage| &stage.instructions) {
        if !matches!(instruction.operation, Operation::Maintainer(_)) {
            continue;
        }
        let found = report
            .warning(instruction.keyword.span, format!("`{}` is deprecated", instruction.keyword.text))
            .with_help("write `LABEL org.opencontainers.image.authors=\"…\"`");
        report.push(Anchor::of(instruction), found);
    }
}

#[cfg(test)]
mod tests {
    use crate::lint::tests::{World, check};

    #[test]
    fn every_maintainer_is_found_also_in_stages_that_are_not_built() {
        let help = "(write `LABEL org.opencontainers.image.authors=\"…\"`)";
        let (second, fourth) = (
            format!("2 MAINTAINER | `MAINTAINER` is deprecated {help}"),
            format!("4 maintainer | `maintainer` is deprecated {help}"),
        );
        let cases: &[(&str, &[&str])] = &[
            ("FROM a\nLABEL maintainer=me", &[]),
            ("FROM a\nMAINTAINER me\nFROM a\nmaintainer \\\n you", &[&second, &fourth]),
            ("FROM a\n# check=skip=MaintainerDeprecated // later\nMAINTAINER me", &[]),
        ];
        check("MaintainerDeprecated", &World::default(), cases);
    }
}
