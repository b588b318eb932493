//! What fuzzers run: functions of bytes that panic where something is not as promised. Built for fuzzers and tests alone; the
//! tests replay every input that is kept in `tests/fuzz/corpus`.

use std::collections::{BTreeMap, BTreeSet};

use crate::ast::Instruction;
use crate::diagnostic::Diagnostic;
use crate::dockerignore::{self, Matcher};
use crate::expand::{EXPANSION_BYTES_MAX, Lexer};
use crate::lint::{self, Config, LintRequest, Linted, Reach, Vocabulary};
use crate::outline::{OutlineRequest, outline, targets};
use crate::source::{Source, Span};
use crate::stage::StageGraph;
use crate::variables::VariableList;
use crate::{parse, parse_onbuild};

/// Runs in which all fixes have to come to an end.
const FIX_RUNS_MAX: usize = 16;

/// Parses a file, looks at all places, and links its stages.
pub fn dockerfile_parse(bytes: &[u8]) {
    let source = Source::from_bytes("Dockerfile", bytes);
    let parsed = parse(&source);
    check_diagnostics(&source, &parsed.diagnostics);
    let file = &parsed.file;
    file.global_arguments.iter().for_each(|argument| check_instruction(&source, argument));
    for stage in &file.stages {
        check_instruction(&source, &stage.from);
        stage.instructions.iter().for_each(|instruction| check_instruction(&source, instruction));
    }
    for comment in &file.comments {
        assert!(source.slice(comment.span).starts_with('#'), "{comment:?}");
    }
    if let Ok(trigger) = parse_onbuild(&source) {
        check_instruction(&source, &trigger);
    }
    let bases: Vec<String> = file.stages.iter().map(|stage| stage.from.operation.base.text.clone()).collect();
    let graph = StageGraph::new(file, &bases);
    for stage in 0..file.stages.len() {
        let needed = graph.needed(stage);
        assert!(needed.contains(&stage), "a stage needs itself");
        check_diagnostics(&source, &graph.errors_in(&needed));
    }
    assert_eq!(targets(file).len(), file.stages.len(), "every stage can be built");
    let request = OutlineRequest {
        file,
        target: None,
        automatic_arguments: &VariableList::default(),
        build_args: &BTreeMap::new(),
    };
    if let Err(errors) = outline(&request) {
        check_diagnostics(&source, &errors);
    }
}

/// Expands a text, up to the first NUL, with a variable that has what follows for its value.
pub fn expand(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (word, value) = text.split_once('\0').unwrap_or((&text, "a b"));
    let variables = |name: &str| match name {
        "x" => Some(value.to_owned()),
        "empty" => Some(String::new()),
        _ => None,
    };
    for escape in ['\\', '`'] {
        if let Ok(expanded) = Lexer::new(escape).expand(word, &variables) {
            assert!(expanded.text.len() <= EXPANSION_BYTES_MAX, "the limit holds");
            assert!(expanded.used.is_disjoint(&expanded.undefined), "a variable is set or not");
            if !word.contains(['$', '"', '\'', escape]) {
                assert_eq!(expanded.text, word, "nothing is to be replaced");
            }
        }
        if let Err(misread) = Lexer::new(escape).expand_located(word, &variables) {
            assert!(word.get(misread.range.clone()).is_some(), "{misread:?}");
        }
    }
    if let Ok(expanded) = Lexer::expand_body(word, &variables) {
        assert!(expanded.text.len() <= EXPANSION_BYTES_MAX, "the limit holds");
    }
}

/// Matches paths, behind the first NUL and one each, with the patterns of an ignore file.
pub fn dockerignore(bytes: &[u8]) {
    let at = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (file, paths) = bytes.split_at(at);
    let Ok(matcher) = Matcher::parse(file) else { return };
    for rule in matcher.rules() {
        paths.split(|byte| *byte == 0).for_each(|path| dockerignore::check_twice(rule.text(), path));
    }
    for path in paths.split(|byte| *byte == 0) {
        let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        let Some((last, above)) = names.split_last() else { continue };
        let (mut directory, mut pruned) = (matcher.top(), false);
        for name in above {
            directory = directory.enter(name);
            pruned |= directory.can_prune();
        }
        let excluded = directory.excludes(last);
        assert!(excluded || !pruned, "what is pruned is excluded");
        assert_eq!(matcher.excluded_by(path).is_some(), excluded, "both ways down lead to the same");
        assert_eq!(directory.enter(last).is_excluded(), excluded, "files and directories are judged alike");
    }
}

/// Lints a file, with every rule, whether or not it has errors.
pub fn lint(bytes: &[u8]) {
    let source = Source::from_bytes("Dockerfile", bytes);
    let linted = linted(&source);
    check_diagnostics(&source, &linted.remarks);
    for finding in &linted.findings {
        check_diagnostics(&source, std::slice::from_ref(&finding.diagnostic));
        check_span(&source, finding.instruction);
    }
}

/// Makes the fixes of a file without errors until there are none, which must be soon, and looks that it still has no errors.
pub fn lint_fix(bytes: &[u8]) {
    let mut text = String::from_utf8_lossy(bytes).into_owned();
    for _ in 0..FIX_RUNS_MAX {
        let source = Source::new("Dockerfile", text.clone());
        if parse(&source).has_errors() {
            return;
        }
        let linted = linted(&source);
        let fixes = linted.findings.iter().map(|finding| finding.diagnostic.fix.as_slice());
        let applied = lint::fix::apply(source.text(), fixes);
        if applied.count() == 0 {
            assert_eq!(applied.text, source.text(), "what is not made changes nothing");
            return;
        }
        let fixed = parse(&Source::new("Dockerfile", applied.text.clone()));
        assert!(!fixed.has_errors(), "{text:?} became {:?}: {:?}", applied.text, fixed.diagnostics);
        text = applied.text;
    }
    panic!("fixes come to no end: {text:?}");
}

fn linted(source: &Source) -> Linted {
    lint::lint(&LintRequest {
        source,
        file: &parse(source).file,
        config: Some(&Config { experimental_all: true, ..Config::default() }),
        automatic_arguments: &VariableList::default(),
        build_args: &BTreeMap::new(),
        reach: Reach::All,
        target_platform: None,
        ignore: None,
        images: &BTreeMap::new(),
        contexts: &BTreeSet::new(),
        vocabulary: Vocabulary { is_image_name: |name| !name.is_empty(), platform: |_| None },
    })
}

fn check_diagnostics(source: &Source, diagnostics: &[Diagnostic]) {
    for diagnostic in diagnostics {
        diagnostic.labels.iter().for_each(|label| check_span(source, label.span));
        diagnostic.fix.iter().for_each(|edit| check_span(source, edit.span));
        assert!(!diagnostic.message.is_empty(), "{diagnostic:?}");
    }
}

/// Checks one instruction: everything it holds stands inside of it.
fn check_instruction<T>(source: &Source, instruction: &Instruction<T>) {
    let flags = instruction.flags.iter();
    let values = flags.clone().filter_map(|flag| flag.value.as_ref()).map(|value| value.span);
    let heredocs = instruction.heredocs.iter().map(|heredoc| heredoc.span);
    let inner = flags.map(|flag| flag.span).chain(values).chain(heredocs);
    check_span(source, instruction.span);
    for span in inner.chain([instruction.keyword.span]) {
        check_span(source, span);
        assert_eq!(span.cover(instruction.span), instruction.span, "{span:?} is outside");
    }
}

fn check_span(source: &Source, span: Span) {
    assert!(source.text().get(span.range()).is_some(), "{span:?} is no part of the text");
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Runs a target on every input that is kept for it. What reads Dockerfiles shares them.
    #[expect(clippy::disallowed_methods, reason = "what is kept of fuzzing lies in files")]
    fn replay(target: fn(&[u8]), name: &str) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus").join(name);
        let mut files: Vec<_> = folder.read_dir().unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "{name} has inputs");
        for file in files {
            target(&std::fs::read(&file).unwrap());
        }
    }

    #[test]
    fn kept_inputs_of_the_parser_hold() {
        replay(super::dockerfile_parse, "dockerfile_parse");
    }

    #[test]
    fn kept_inputs_of_expansion_hold() {
        replay(super::expand, "expand");
    }

    #[test]
    fn kept_inputs_of_ignore_files_hold() {
        replay(super::dockerignore, "dockerignore");
    }

    #[test]
    fn kept_inputs_of_the_linter_hold() {
        replay(super::lint, "dockerfile_parse");
    }

    #[test]
    fn kept_inputs_of_fixes_hold() {
        replay(super::lint_fix, "dockerfile_parse");
    }
}
