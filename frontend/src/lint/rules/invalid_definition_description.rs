//! A comment above ARG or a named FROM that does not begin with the name, so that the outline does not show it. As in BuildKit
//! only the last comment line counts, and blank lines between it and the instruction do not.

use std::collections::BTreeSet;

use crate::ast::{ArgInstruction, Comment, Instruction, Operation};
use crate::diagnostic::Edit;
use crate::directive;
use crate::lint::report::{Anchor, Report};
use crate::lint::scene::Scene;
use crate::lint::{Level, Rule};
use crate::source::{Source, Span};

pub(super) const RULE: Rule = Rule {
    name: "InvalidDefinitionDescription",
    summary: "a comment right above an ARG or a stage begins with its name",
    level: Level::Experimental,
    page: "invalid-definition-description.md",
    check,
};

fn check(scene: &Scene<'_>, report: &mut Report<'_>) {
    let file = scene.request.file;
    let source = scene.request.source;
    for instruction in &file.global_arguments {
        look_at(instruction, &names(&instruction.operation), source, report);
    }
    for stage in &file.stages {
        let name = stage.from.operation.name.iter().map(|name| name.lower.as_str());
        look_at(&stage.from, &name.collect::<Vec<_>>(), source, report);
        for instruction in &stage.instructions {
            if let Operation::Arg(arg) = &instruction.operation {
                look_at(instruction, &names(arg), source, report);
            }
        }
    }
}

fn names(arg: &ArgInstruction) -> Vec<&str> {
    arg.declarations.iter().map(|declaration| declaration.name.text.as_str()).collect()
}

fn look_at<T>(instruction: &Instruction<T>, names: &[&str], source: &Source, report: &mut Report<'_>) {
    let (Some(comment), Some(name)) = (instruction.comments.last(), names.first()) else { return };
    if comment.text.split(' ').next().is_some_and(|word| names.contains(&word)) {
        return;
    }
    let (message, help) = match names {
        [_] => (
            format!("the comment does not describe `{name}`"),
            format!("write `# {name} …`, or an empty comment line (`#`) below it"),
        ),
        _ => (
            "the comment describes none of the arguments".to_owned(),
            "begin it with the name of one, or write an empty comment line (`#`) below it".to_owned(),
        ),
    };
    let mut found = report.warning(comment.span, message).with_help(help);
    if is_free_to_part(instruction, names) {
        found = found.with_fix(empty_comment_below(comment, source));
    }
    report.push(Anchor::of(instruction), found);
}

/// Tells whether nothing is lost when the comments no longer belong to the instruction: neither a description further up nor
/// options of checks.
fn is_free_to_part<T>(instruction: &Instruction<T>, names: &[&str]) -> bool {
    let names: BTreeSet<&str> = names.iter().copied().collect();
    let describes = |text: &str| text.split_once(' ').is_some_and(|(name, _)| names.contains(name));
    let is_option = |text: &str| directive::of_comment(text, 0).is_some();
    let mut comments = instruction.comments.iter().map(|comment| comment.text.as_str());
    // A quoted name may hold a blank; whether something describes it is not worth finding out.
    !names.iter().any(|name| name.contains(' ')) && !comments.any(|text| describes(text) || is_option(text))
}

fn empty_comment_below(comment: &Comment, source: &Source) -> Edit {
    let behind = &source.text()[comment.span.end..];
    let line_ending = if behind.starts_with("\r\n") { "\r\n" } else { "\n" };
    Edit { span: Span::new(comment.span.end, comment.span.end), replacement: format!("{line_ending}#") }
}

#[cfg(test)]
mod tests {
    use crate::lint::fix::tests::check_fixes;
    use crate::lint::tests::{World, check};

    const RULE: &str = "InvalidDefinitionDescription";

    #[test]
    fn the_last_comment_above_arg_and_stage_begins_with_the_name() {
        let one = |line: usize, comment: &str, name: &str| {
            format!(
                "{line} {comment} | the comment does not describe `{name}` (write `# {name} …`, or an empty comment line \
                 (`#`) below it)"
            )
        };
        let several = "3 # no | the comment describes none of the arguments (begin it with the name of one, or write an empty \
                       comment line (`#`) below it)";
        let cases: &[(&str, &[String])] = &[
            ("# x is good\nARG x\n\n# b\nFROM a AS b\n# y z\nARG x y=1\n# any\nRUN c\n# any\nFROM a", &[]),
            ("# no\n\nARG x", &[one(2, "# no", "x")]),
            ("# B is\nFROM a AS B\n# x: y\nARG x", &[one(2, "# B is", "b"), one(4, "# x: y", "x")]),
            ("# no\n#\nFROM a AS b\n# c\n#\n\nARG x", &[]),
            ("FROM a\n# no\nARG x y", &[several.to_owned()]),
            ("# x is\n# and more\nARG x\nFROM a", &[one(3, "# and more", "x")]),
        ];
        for (text, expected) in cases {
            let text = format!("# check=experimental={RULE}\n{text}\nFROM a");
            let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
            check(RULE, &World::default(), &[(text.as_str(), expected.as_slice())]);
        }
        check(RULE, &World::default(), &[("# no\nARG x\nFROM a", &[])]);
    }

    #[test]
    fn the_fix_parts_a_comment_from_the_instruction_unless_more_would_be_lost() {
        check_fixes(
            RULE,
            &[
                ("FROM a\n# no\nFROM a AS b", "FROM a\n# no\n#\nFROM a AS b"),
                ("FROM a\r\n  # no \r\n\r\nARG x", "FROM a\r\n  # no \r\n#\r\n\r\nARG x"),
                ("FROM a\n# x is\n# and more\nARG x", "FROM a\n# x is\n# and more\nARG x"),
                (
                    "FROM a\n# check=skip=UndefinedVar\n# no\nARG x=$y",
                    "FROM a\n# check=skip=UndefinedVar\n# no\nARG x=$y",
                ),
            ],
        );
    }
}
