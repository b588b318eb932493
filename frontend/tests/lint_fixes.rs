//! What holds for every fix of the linter: the file means the same afterwards, the finding is gone, and a second time there
//! is nothing left to do.

use std::collections::{BTreeMap, BTreeSet};

use kiln_frontend::ast::{Dockerfile, Instruction, Operation, Pair, Word};
use kiln_frontend::expand::{Lexer, Variables};
use kiln_frontend::lint::fix::apply;
use kiln_frontend::lint::{Config, Finding, LintRequest, RULES, Reach, Vocabulary, lint};
use kiln_frontend::parse;
use kiln_frontend::source::Source;
use kiln_frontend::variables::VariableList;
use proptest::prelude::*;

/// After this many runs with all rules nothing is left to do.
const RUNS_MAX: usize = 4;

proptest! {
    #[test]
    fn the_fixes_of_one_rule_keep_the_meaning_and_take_its_findings_away(text in file()) {
        for rule in RULES {
            let of_rule = |finding: &Finding| finding.rule.name == rule.name;
            let Some(once) = fixed(&text, of_rule) else { continue };
            prop_assert_eq!(meaning(&text), meaning(&once), "{}:\n{}\n=>\n{}", rule.name, text, once);
            prop_assert_eq!(fixed(&once, of_rule), None, "{}:\n{}\n=>\n{}", rule.name, text, once);
        }
    }

    #[test]
    fn the_fixes_of_all_rules_come_to_an_end_and_keep_the_meaning(text in file()) {
        let mut last = text.clone();
        let mut runs = 0;
        while let Some(next) = fixed(&last, |_| true) {
            prop_assert!(runs < RUNS_MAX, "{}\n=>\n{}", text, next);
            (last, runs) = (next, runs + 1);
        }
        prop_assert_eq!(meaning(&text), meaning(&last), "{}\n=>\n{}", text, last);
    }

    #[test]
    fn a_value_between_quotes_is_the_same_for_every_variable(
        pieces in proptest::collection::vec(prop_oneof![
            6 => prop::sample::select(vec![
                " ", "  ", "\t", "'", "\"", "\\", "$", "{", "}", "$x", "${x}", "${x:-", "$1", "$$", "$@", "x", "1", "_", "=",
                "<<", "#", "a b", "\u{a0}",
                "\u{feff}", "é", "`", "/", ":", "\\$", "\\\\", "\\\"", "'a b'", "\"c d\"", "--",
            ]).prop_map(str::to_owned),
            1 => "[ -~]{0,6}",
        ], 1..9),
        is_backtick: bool,
    ) {
        let directive = if is_backtick { "# escape=`\n" } else { "\n" };
        let text = format!("{directive}FROM a\nENV key {}\n", pieces.concat());
        prop_assume!(!parse(&Source::new("Dockerfile", text.clone())).has_errors());
        if let Some(once) = fixed(&text, |finding| finding.rule.name == "LegacyKeyValueFormat") {
            prop_assert!(!once.contains("ENV key "), "{}", once);
            prop_assert_eq!(meaning(&text), meaning(&once), "{}\n=>\n{}", text, once);
        }
    }
}

/// Files without errors, of lines that rules say something about.
fn file() -> impl Strategy<Value = String> {
    let instruction = prop::sample::select(vec![
        "ENV a b c",
        "env a 'b $x' c",
        "ENV a \\\n  b \\\n\n  c",
        "ENV a=1 TOKEN=2",
        "LABEL a \\\n# why\n b",
        "Label a b",
        "ENV a \"$x\" \\\n  'c'",
        "ENV a b \\\n# why\n  c",
        "ENV a \\\n# why\n\n  \\\n\t# so\n  b \"c\"",
        "ENV a \\\n# why\n  b c",
        "RUN a \\\n\n  b \\\n \t\n  c",
        "run <<E\na \\\n\nb\nE",
        "CMD [\"x\"]",
        "Entrypoint x",
        "MAINTAINER me",
        "EXPOSE 80/TCP 8080:90",
        "EXPOSE \\\n\n 53/UDP",
        "ARG x=1 y",
        "arg KEY",
        "ONBUILD ENV a b",
        "onbuild cmd x",
        "COPY --from=B1 /a /b",
        "WORKDIR a",
    ]);
    let comment = prop::sample::select(vec![
        "# no description",
        "  # x: neither",
        "# x one",
        "# b1 one",
        "#",
        "",
        "# check=skip=LegacyKeyValueFormat",
    ]);
    let from = prop::sample::select(vec![
        "FROM a",
        "from a",
        "FROM a as B1",
        "FROM B1 AS scratch",
        "From b1 aS \\\n\n b1",
        "from --platform=$TARGETPLATFORM a AS c",
        "FROM --platform=linux/amd64 a AS d",
    ]);
    let line = prop_oneof![4 => instruction, 2 => comment.clone(), 1 => from.clone()];
    let lines = proptest::collection::vec(line, 0..12);
    (any::<bool>(), comment, from, lines).prop_map(|(is_crlf, comment, from, lines)| {
        let text = format!("{comment}\nARG x\n{comment}\n{from}\n{}", lines.join("\n"));
        if is_crlf { text.replace('\n', "\r\n") } else { text }
    })
}

/// Makes the fixes of some findings; `None` where there is none to make.
fn fixed(text: &str, is_wanted: impl Fn(&Finding) -> bool) -> Option<String> {
    let source = Source::new("Dockerfile", text);
    let parsed = parse(&source);
    assert!(!parsed.has_errors(), "{text}: {:?}", parsed.diagnostics);
    let mut automatic = VariableList::default();
    automatic.set("TARGETPLATFORM", "linux/amd64");
    let linted = lint(&LintRequest {
        source: &source,
        file: &parsed.file,
        config: Some(&Config { experimental_all: true, ..Config::default() }),
        automatic_arguments: &automatic,
        build_args: &BTreeMap::new(),
        reach: Reach::All,
        target_platform: None,
        ignore: None,
        images: &BTreeMap::new(),
        contexts: &BTreeSet::new(),
        vocabulary: Vocabulary { is_image_name: |_| true, platform: |_| None },
    });
    let wanted = linted.findings.iter().filter(|finding| is_wanted(finding));
    let applied = apply(text, wanted.map(|finding| finding.diagnostic.fix.as_slice()));
    assert!(applied.count() > 0 || applied.text == text);
    (applied.count() > 0).then_some(applied.text)
}

/// Returns what a file says: everything but places, the case of keywords and names, and the ways to write a pair.
fn meaning(text: &str) -> Vec<String> {
    let parsed = parse(&Source::new("Dockerfile", text));
    let Dockerfile { escape, global_arguments, stages, .. } = parsed.file;
    let mut all = vec![format!("{escape} {:?}", parsed.diagnostics.len())];
    all.extend(global_arguments.into_iter().map(|one| of(&one.map(Operation::Arg), escape)));
    for stage in stages {
        let from = &stage.from;
        let name = stage.name();
        let platform = from.operation.platform.as_ref().map(|word| word.text.as_str());
        let platform = platform.filter(|text| *text != "$TARGETPLATFORM");
        let description = name.and_then(|name| from.description(name));
        all.push(format!("FROM {} {platform:?} {name:?} {description:?}", from.operation.base.text));
        all.extend(stage.instructions.iter().map(|one| of(one, escape)));
    }
    all
}

fn of(instruction: &Instruction, escape: char) -> String {
    let heredocs: Vec<&str> = instruction.heredocs.iter().map(|one| one.content.as_str()).collect();
    let said = match &instruction.operation {
        Operation::Env(pairs) => format!("ENV {:?}", values(pairs, escape)),
        Operation::Label(pairs) => format!("LABEL {:?}", values(pairs, escape)),
        Operation::Expose(ports) => format!("EXPOSE {:?}", ports.iter().map(port).collect::<Vec<_>>()),
        Operation::Arg(arg) => {
            let names = arg.declarations.iter().map(|declaration| declaration.name.text.as_str());
            let described: Vec<_> = names.map(|name| instruction.description(name)).collect();
            format!("{} {described:?}", without_places(&format!("{arg:?}")))
        }
        other => without_places(&format!("{other:?}")),
    };
    format!("{said} {heredocs:?}")
}

/// Returns keys and values after expansion, for variables of several kinds.
fn values(pairs: &[Pair], escape: char) -> Vec<String> {
    let plain = |name: &str| Some(format!("<{name}>"));
    let special = |name: &str| Some(format!("\" '{name} \\$x `"));
    let some = |name: &str| (name.len() > 1).then(String::new);
    let unset = |_: &str| None;
    let kinds: [&dyn Variables; 4] = [&plain, &special, &some, &unset];
    let words = pairs.iter().flat_map(|pair| [&pair.key, &pair.value]);
    let expanded = words.flat_map(|word| {
        kinds.map(|kind| {
            let expansion = Lexer::new(escape).expand(&word.text, kind);
            format!("{:?}", expansion.map(|all| (all.text, all.used, all.undefined)))
        })
    });
    expanded.collect()
}

fn port(word: &Word) -> String {
    word.text.rsplit(':').next().unwrap_or_default().to_lowercase()
}

/// Takes the places out of a tree that was written for debugging.
fn without_places(tree: &str) -> String {
    let mut parts = tree.split("Span {");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('}').map_or(part, |(_, rest)| rest))
}
