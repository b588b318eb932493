//! Blank lines inside an instruction that is continued. One finding an instruction, at its last line, as in BuildKit; the
//! place that is shown is the first of the blank lines.

use crate::ast::{Comment, Dockerfile};
use crate::diagnostic::Edit;
use crate::lint::report::{Anchor, Report};
use crate::lint::scene::Scene;
use crate::lint::{Level, Rule};

pub(super) const RULE: Rule = Rule {
    name: "NoEmptyContinuation",
    summary: "instructions have no blank lines inside",
    level: Level::On,
    page: "no-empty-continuation.md",
    check,
};

fn check(scene: &Scene<'_>, report: &mut Report<'_>) {
    let file = scene.request.file;
    for (gap, comments) in file.gaps.iter().zip(comments_above(file)) {
        let Some(first) = gap.blanks.first() else { continue };
        let mut found = report
            .warning(*first, "a blank line inside an instruction")
            .with_help("remove it, or make it a comment: later versions of the language refuse it");
        for blank in &gap.blanks {
            found = found.with_fix(Edit { span: *blank, replacement: String::new() });
        }
        report.push(Anchor::at(gap.last).below(comments), found);
    }
}

/// Returns the comments above the instruction of each gap: the last instruction that starts before the gap's last line ends.
fn comments_above(file: &Dockerfile) -> impl Iterator<Item = &[Comment]> {
    let globals = file.global_arguments.iter().map(|one| (one.span, one.comments.as_slice()));
    let stages = file.stages.iter().flat_map(|stage| {
        let from = std::iter::once((stage.from.span, stage.from.comments.as_slice()));
        from.chain(stage.instructions.iter().map(|one| (one.span, one.comments.as_slice())))
    });
    let mut instructions = globals.chain(stages).peekable();
    file.gaps.iter().map(move |gap| {
        let mut above: &[Comment] = &[];
        while let Some((_, comments)) = instructions.next_if(|(span, _)| span.start <= gap.last.end) {
            above = comments;
        }
        above
    })
}

#[cfg(test)]
mod tests {
    use crate::lint::fix::tests::check_fixes;
    use crate::lint::tests::{World, check};
    use crate::lint::{RULES, Reach};
    use crate::source::Source;

    #[test]
    fn blank_lines_inside_an_instruction_are_one_finding_at_its_last_line() {
        let shown = |line: usize| {
            format!(
                "{line} \n | a blank line inside an instruction (remove it, or make it a comment: later versions of the \
                 language refuse it)"
            )
        };
        let (second, third) = (shown(2), shown(3));
        let cases: &[(&str, &[&str])] = &[
            ("FROM a\n\nRUN b \\\n# c\n d\n\n", &[]),
            ("FROM a\nRUN <<E\na \\\n\nb\nE", &[]),
            ("FROM \\\n\na\nRUN b", &[&second]),
            ("FROM a\nRUN b \\\n\n c \\\n\n d\nRUN e", &[&third]),
            ("FROM a\n# check=skip=NoEmptyContinuation\nRUN b \\\n\n c", &[]),
            ("# check=skip=NoEmptyContinuation\n\\\n\nFROM a\nRUN b \\\n\n", &[]),
        ];
        check("NoEmptyContinuation", &World::default(), cases);
        let ends: &[(&str, usize)] = &[
            ("FROM a\nRUN b \\\n\n c \\\n\n d <<E\nx\nE\nRUN e", 6),
            ("FROM a\nRUN b \\\n\n", 3),
            ("FROM a\nRUN b \\\n\n# c\n", 4),
        ];
        for (text, line) in ends {
            let linted = World::default().lint(text, Reach::All);
            let rule = RULES.iter().find(|rule| rule.name == "NoEmptyContinuation");
            let own = linted.findings.iter().filter(|finding| Some(&finding.rule) == rule);
            let source = Source::new("Dockerfile", *text);
            let lines: Vec<usize> = own.map(|one| source.position(one.instruction.end).line).collect();
            assert_eq!(lines, [*line], "{text}");
        }
    }

    #[test]
    fn the_fix_takes_all_blank_lines_out() {
        check_fixes(
            "NoEmptyContinuation",
            &[
                (
                    "FROM a\nRUN b \\\n\n  \t\n c \\\n\n# d\n e\n\nRUN f",
                    "FROM a\nRUN b \\\n c \\\n# d\n e\n\nRUN f",
                ),
                ("FROM a\r\nRUN b \\\r\n\r\n c\r\n", "FROM a\r\nRUN b \\\r\n c\r\n"),
                ("FROM a\nRUN b \\\n  ", "FROM a\nRUN b \\\n"),
                ("\\\n\nFROM a", "\\\nFROM a"),
            ],
        );
    }
}
