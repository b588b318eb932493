//! Tables of files and findings: one row a file, one function that lints it.

use super::*;
use crate::parse;

/// What a test knows beside the file.
#[derive(Default)]
pub(super) struct World {
    pub(super) images: BTreeMap<String, ImageFacts>,
    pub(super) build_args: BTreeMap<String, String>,
    pub(super) contexts: BTreeSet<String>,
    pub(super) config: Option<Config>,
    pub(super) ignore: Option<Matcher>,
}

impl World {
    pub(super) fn with_image(mut self, name: &str, facts: ImageFacts) -> Self {
        self.images.insert(name.to_owned(), facts);
        self
    }

    pub(super) fn lint(&self, text: &str, reach: Reach<'_>) -> Linted {
        let source = Source::new("Dockerfile", text);
        let parsed = parse(&source);
        assert!(!parsed.has_errors(), "{text}: {:?}", parsed.diagnostics);
        let mut automatic = VariableList::default();
        automatic.set("TARGETPLATFORM", "linux/amd64");
        automatic.set("TARGETARCH", "amd64");
        automatic.set("BUILDPLATFORM", "linux/amd64");
        lint(&LintRequest {
            source: &source,
            file: &parsed.file,
            config: self.config.as_ref(),
            automatic_arguments: &automatic,
            build_args: &self.build_args,
            reach,
            target_platform: platform("linux/amd64").as_ref(),
            ignore: self.ignore.as_ref(),
            images: &self.images,
            contexts: &self.contexts,
            vocabulary: Vocabulary { is_image_name, platform },
        })
    }

    /// Returns the findings of one rule as `line text | message`, with the help behind it.
    pub(super) fn findings(&self, rule: &str, text: &str) -> Vec<String> {
        let source = Source::new("Dockerfile", text);
        let linted = self.lint(text, Reach::All);
        let of_rule = linted.findings.iter().filter(|finding| finding.rule.name == rule);
        of_rule.map(|finding| shown(finding, &source)).collect()
    }
}

fn shown(finding: &Finding, source: &Source) -> String {
    let found = &finding.diagnostic;
    let place = found.primary().unwrap_or_default();
    let line = source.position(place.start).line;
    let help = found.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
    format!("{line} {} | {}{help}", source.slice(place), found.message)
}

pub(super) fn platform(text: &str) -> Option<PlatformWords> {
    let mut parts = text.split('/');
    let (os, architecture) = (parts.next()?, parts.next().unwrap_or("amd64"));
    Some(PlatformWords {
        os: os.to_owned(),
        architecture: architecture.to_owned(),
        text: format!("{os}/{architecture}"),
    })
}

fn is_image_name(name: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "./:-_@".contains(c);
    !name.is_empty() && name.chars().all(is_letter) && !name.ends_with(':')
}

pub(super) fn check(rule: &str, world: &World, cases: &[(&str, &[&str])]) {
    for (text, expected) in cases {
        assert_eq!(world.findings(rule, text), *expected, "{text}");
    }
}

/// Returns a file with the fixes of one rule applied.
pub(super) fn fixed(rule: &str, world: &World, text: &str) -> String {
    let linted = world.lint(text, Reach::All);
    let of_rule = linted.findings.iter().filter(|finding| finding.rule.name == rule);
    fix::apply(text, of_rule.map(|finding| finding.diagnostic.fix.as_slice())).text
}

#[test]
fn rules_stand_by_name_and_have_their_page() {
    for pair in RULES.windows(2) {
        assert!(pair[0].name < pair[1].name, "{} stands before {}", pair[0].name, pair[1].name);
    }
    for rule in RULES {
        let page: Vec<&str> = rule.page.trim_end_matches(".md").split('-').collect();
        assert_eq!(page.concat(), rule.name.to_lowercase(), "{}", rule.name);
    }
}

#[test]
fn what_a_stage_defines_is_defined_in_the_stages_on_it() {
    let cases: &[(&str, &[&str])] = &[
        ("FROM a AS b\nARG X\nENV Y=1\nFROM b\nENV Z=$X$Y", &[]),
        ("FROM a AS b\nENV Y=1\nFROM a\nENV Z=$Y", &["4 $Y | `$Y` is not defined"]),
        ("FROM a\nENV X=1 Y=$X", &["2 $X | `$X` is not defined"]),
        ("FROM a\nARG X=1 Y=$X", &[]),
        (
            "FROM a\nENV VERSION=1\nLABEL v=${VERSOIN}",
            &["3 ${VERSOIN} | `$VERSOIN` is not defined (did you mean `$VERSION`?)"],
        ),
        (
            "ARG V=1\nFROM a\nENV X=$V",
            &[
                "3 $V | `$V` is not defined (it is known before the first FROM only: add `ARG V` to the stage)",
            ],
        ),
        ("FROM scratch\nENV X=$PATH", &[]),
        ("FROM a\nONBUILD ENV X=$Y", &[]),
        ("FROM a AS b\nONBUILD ENV X=$Y\nFROM b", &["3 FROM b | `$Y` is not defined"]),
        ("FROM a\nEXPOSE $Y", &[]),
        ("FROM a\nRUN --mount=target=/x,source=$Y echo $Z", &["2 $Y | `$Y` is not defined"]),
        ("FROM a\nCOPY <<E <<'F' /x/\n$Y\nE\n$Z\nF\n", &["3 $Y | `$Y` is not defined"]),
        ("FROM a\nENV X=${Y:-1}", &["2 Y | `$Y` is not defined"]),
        ("FROM a\nENV X='$Y' Z=\\$Y", &[]),
        ("FROM a\nARG BUILDKIT_SBOM_SCAN_STAGE=1\nENV X=$BUILDKIT_SBOM_SCAN_STAGE", &[]),
    ];
    check("UndefinedVar", &World::default(), cases);
}

#[test]
fn an_unknown_image_is_wanted_where_it_could_take_a_finding_away() {
    let text = "FROM base\nENV X=$HOME_OF_BASE\nCMD echo";
    let unknown = World::default().lint(text, Reach::All);
    let rules: Vec<_> = unknown.findings.iter().map(|finding| finding.rule.name).collect();
    assert_eq!(rules, ["UndefinedVar", "JSONArgsRecommended"]);
    assert_eq!(unknown.wants, BTreeSet::from(["base".to_owned()]));
    let env = vec![("HOME_OF_BASE".to_owned(), "/".to_owned())];
    let facts = ImageFacts { env, has_shell: true, ..ImageFacts::default() };
    assert_eq!(World::default().with_image("base", facts).lint(text, Reach::All), Linted::default());
}

#[test]
fn what_an_image_says_counts_again_in_the_next_stage() {
    let relative = "5 $P | `rel` is relative to whatever directory the base image names (begin the first WORKDIR with `/`)";
    let cases: &[(&str, &[&str])] = &[
        ("FROM a AS b\nENV P=rel\nARG P=/abs\nFROM b\nWORKDIR $P", &[relative]),
        ("FROM a AS b\nENV P=rel\nARG P=/abs\nENV P=$P\nFROM b\nWORKDIR $P", &[]),
        ("FROM a AS b\nENV P=rel\nARG P=/abs\nWORKDIR $P", &[]),
    ];
    check("WorkdirRelativePath", &World::default(), cases);
}
