//! The pages of the linter's rules: every rule has one, its bad examples have the finding, its good ones have none, and what
//! it says of fixes is true. An example is a block of a Dockerfile; a block of an ignore file above it belongs to it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use kiln_frontend::dockerignore::Matcher;
use kiln_frontend::lint::fix::apply;
use kiln_frontend::lint::{
    ImageFacts, Level, LintRequest, Linted, PlatformWords, RULES, Reach, Rule, Vocabulary, lint,
};
use kiln_frontend::parse;
use kiln_frontend::source::Source;
use kiln_frontend::variables::VariableList;

const SECTIONS: [&str; 5] = ["Why", "Bad", "Good", "Fix", "Switching it off"];

#[test]
fn every_page_has_its_sections_and_says_how_to_switch_the_rule_off() {
    for rule in RULES {
        let text = page(rule);
        assert!(text.starts_with(&format!("# {}\n\n", rule.name)), "{}: its heading is its name", rule.page);
        let sections: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(sections, SECTIONS, "{}", rule.page);
        let option = match rule.level {
            Level::On => format!("# check=skip={}", rule.name),
            Level::Off | Level::Experimental => "# check=experimental=".to_owned(),
        };
        assert!(section(&text, "Switching it off").contains(&option), "{}: {option}", rule.page);
    }
}

#[test]
fn bad_examples_have_the_finding_and_nothing_else() {
    for rule in RULES {
        let text = page(rule);
        let examples = examples(section(&text, "Bad"));
        assert!(!examples.is_empty(), "{} has a bad example", rule.page);
        for example in examples {
            let linted = example.lint();
            let found: BTreeSet<&str> = linted.findings.iter().map(|finding| finding.rule.name).collect();
            assert_eq!(found, BTreeSet::from([rule.name]), "{}: {}", rule.page, example.dockerfile);
            assert_eq!(linted.remarks, [], "{}: {}", rule.page, example.dockerfile);
        }
    }
}

#[test]
fn good_examples_have_no_finding_at_all() {
    for rule in RULES {
        let text = page(rule);
        let examples = examples(section(&text, "Good"));
        assert!(!examples.is_empty(), "{} has a good example", rule.page);
        for example in examples {
            let linted = example.lint();
            assert_eq!((linted.findings, linted.remarks), (vec![], vec![]), "{}", rule.page);
        }
    }
}

#[test]
fn what_a_page_says_of_the_fix_is_true() {
    for rule in RULES {
        let text = page(rule);
        for example in examples(section(&text, "Bad")) {
            let findings = example.lint().findings;
            let fixes = findings.iter().map(|finding| finding.diagnostic.fix.as_slice());
            let applied = apply(&example.dockerfile, fixes);
            let expected = if is_fixed(&text) { findings.len() } else { 0 };
            assert_eq!(applied.count(), expected, "{}: {}", rule.page, applied.text);
            if is_fixed(&text) {
                let fixed = Example { dockerfile: applied.text, ..example };
                assert_eq!(fixed.lint().findings, [], "{}: {}", rule.page, fixed.dockerfile);
            }
        }
    }
}

#[test]
fn the_table_of_all_rules_is_complete_and_in_order() {
    let mut table = String::from("| Rule | Asks that | Looked at | Fix |\n|---|---|---|---|\n");
    for rule in RULES {
        let when = match rule.level {
            Level::On => "always",
            Level::Off => "when named",
            Level::Experimental => "when named, or all experimental ones are",
        };
        let fix = if is_fixed(&page(rule)) { "yes" } else { "–" };
        table += &format!("| [{}]({}) | {} | {when} | {fix} |\n", rule.name, rule.page, rule.summary);
    }
    let overview = read("README.md");
    let found = overview.lines().skip_while(|line| !line.starts_with("| Rule |"));
    let found: String =
        found.take_while(|line| line.starts_with('|')).map(|line| format!("{line}\n")).collect();
    assert_eq!(found, table, "\nwrite into docs/lint/README.md:\n{table}");
}

/// A Dockerfile of a page, and the ignore file that belongs to it.
struct Example {
    dockerfile: String,
    ignore: Option<Matcher>,
}

impl Example {
    fn lint(&self) -> Linted {
        let source = Source::new("Dockerfile", self.dockerfile.clone());
        let parsed = parse(&source);
        assert_eq!(parsed.diagnostics, [], "{}", self.dockerfile);
        let mut automatic = VariableList::default();
        for (name, value) in AUTOMATIC {
            automatic.set(name, value);
        }
        lint(&LintRequest {
            source: &source,
            file: &parsed.file,
            config: None,
            automatic_arguments: &automatic,
            build_args: &BTreeMap::new(),
            reach: Reach::All,
            target_platform: platform("linux/arm64").as_ref(),
            ignore: self.ignore.as_ref(),
            images: &images(),
            contexts: &BTreeSet::new(),
            vocabulary: Vocabulary { is_image_name, platform },
        })
    }
}

const AUTOMATIC: [(&str, &str); 3] =
    [("TARGETPLATFORM", "linux/arm64"), ("TARGETARCH", "arm64"), ("BUILDPLATFORM", "linux/amd64")];

/// What the pages say of images.
fn images() -> BTreeMap<String, ImageFacts> {
    let facts = ImageFacts { platform: platform("linux/amd64"), ..ImageFacts::default() };
    BTreeMap::from([("example.org/legacy/toolchain:4".to_owned(), facts)])
}

fn platform(text: &str) -> Option<PlatformWords> {
    let (os, architecture) = text.split_once('/')?;
    let (os, architecture) = (os.to_owned(), architecture.to_owned());
    Some(PlatformWords { os, architecture, text: text.to_owned() })
}

fn is_image_name(name: &str) -> bool {
    !name.is_empty() && !name.ends_with(':')
}

fn page(rule: &Rule) -> String {
    read(rule.page)
}

#[expect(clippy::disallowed_methods, reason = "the pages are documents, not a part of the crate")]
fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/lint").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn is_fixed(page: &str) -> bool {
    !section(page, "Fix").starts_with("None: ")
}

/// Returns the text of a section.
fn section<'a>(page: &'a str, name: &str) -> &'a str {
    let heading = format!("\n## {name}\n");
    let (_, rest) = page.split_once(&heading).unwrap_or_else(|| panic!("a section `{name}`"));
    rest.split("\n## ").next().unwrap_or_default().trim()
}

fn examples(section: &str) -> Vec<Example> {
    let mut examples = Vec::new();
    let mut ignore = None;
    let mut blocks = section.split("```").skip(1).step_by(2);
    while let Some((language, text)) = blocks.next().and_then(|block| block.split_once('\n')) {
        match language {
            "dockerignore" => {
                ignore = Some(Matcher::parse(text.as_bytes()).expect("patterns of a page are right"))
            }
            "dockerfile" => examples.push(Example { dockerfile: text.to_owned(), ignore: ignore.take() }),
            other => panic!("a block of `{other}`"),
        }
    }
    examples
}
