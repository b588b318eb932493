use super::*;
use crate::lint::tests::World;
use crate::lint::{Linted, Reach};
use crate::source::Source;

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn options_are_read_as_buildkit_reads_them() {
    let default = Config::default;
    let cases = [
        ("", default()),
        ("  ", default()),
        ("skip=A,B", Config { skip: set(&["A", "B"]), ..default() }),
        (" skip = A , B ;error= true", Config { skip: set(&["A", "B"]), is_error: true, ..default() }),
        ("skip=all", Config { skip_all: true, ..default() }),
        ("skip=all,A", Config { skip: set(&["all", "A"]), ..default() }),
        ("skip=A;skip=B", Config { skip: set(&["B"]), ..default() }),
        ("skip=", Config { skip: set(&[""]), ..default() }),
        ("experimental=all;error=0", Config { experimental_all: true, ..default() }),
        ("experimental=C;error=T", Config { experimental: set(&["C"]), is_error: true, ..default() }),
    ];
    for (text, expected) in cases {
        assert_eq!(Config::parse(text), Ok(expected), "{text}");
    }
}

#[test]
fn an_option_that_cannot_be_read_says_where() {
    let cases = [
        ("skip", "skip", "invalid check option `skip`: `option=value` is expected", None),
        ("skip=A;", "", "invalid check option ``: `option=value` is expected", None),
        ("error=yes", "yes", "invalid value of the check option `error`: `yes`", None),
        ("error=ture", "ture", "invalid value of the check option `error`: `ture`", Some("true")),
        ("error=true;a=b;c=d", "a", "unknown check option: `a`", None),
        (
            "error=true;skip=A;error=1;skip=B",
            "1;skip=B",
            "invalid value of the check option `error`: `1;skip=B`",
            None,
        ),
        ("Skip=A", "Skip", "unknown check option: `Skip`", Some("skip")),
    ];
    for (text, place, message, suggestion) in cases {
        let error = Config::parse(text).unwrap_err();
        assert_eq!((&text[error.range()], error.to_string().as_str()), (place, message), "{text}");
        assert_eq!(error.suggestion(), suggestion, "{text}");
    }
}

#[test]
fn rules_are_mentioned_where_they_stand() {
    let text = "skip= A,B;error=true;experimental=all,C";
    let found: Vec<_> =
        Config::mentions(text).into_iter().map(|mention| (mention.name, mention.range)).collect();
    assert_eq!(found, [("A".to_owned(), 6..7), ("B".to_owned(), 8..9), ("C".to_owned(), 38..39)]);
    assert_eq!(Config::mentions("skip=A;x"), []);
}

/// Returns the rules of the findings and what is remarked, as `code place: message (help)`.
fn seen(text: &str) -> (Vec<&'static str>, Vec<String>) {
    let source = Source::new("Dockerfile", text);
    let Linted { findings, remarks, .. } = World::default().lint(text, Reach::All);
    let show = |remark: &Diagnostic| {
        let place = source.slice(remark.primary().unwrap_or_default());
        let help = remark.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
        let error = if remark.is_error() { "error " } else { "" };
        format!("{error}{} {place}: {}{help}", remark.code, remark.message)
    };
    (findings.iter().map(|finding| finding.rule.name).collect(), remarks.iter().map(show).collect())
}

#[test]
fn rules_are_switched_off_for_a_file_and_for_one_instruction() {
    let (relative, json) = ("WorkdirRelativePath", "JSONArgsRecommended");
    let cases: &[(&str, &[&str])] = &[
        ("FROM a\nWORKDIR b\nCMD c", &[relative, json]),
        ("# check=skip=WorkdirRelativePath\nFROM a\nWORKDIR b\nCMD c", &[json]),
        ("# check=skip=all\nFROM a\nWORKDIR b\nCMD c", &[]),
        ("\n# check=skip=all\n\nFROM a\nWORKDIR b\nCMD c", &[relative, json]),
        ("FROM a\n# check=skip=WorkdirRelativePath\nWORKDIR b\nCMD c", &[json]),
        (
            "FROM a\n# check=skip=JSONArgsRecommended // why\n# check=skip=all\nWORKDIR b\nCMD c",
            &[relative, json],
        ),
        ("FROM a\n# check=skip=all\n#\nWORKDIR b\nCMD c", &[relative, json]),
        ("FROM a\n#CHECK = skip=all\nWORKDIR b\nCMD c", &[json]),
        ("FROM a\n#CHECK=skip=all\n# why\n\nWORKDIR b\nCMD c", &[json]),
    ];
    for (text, expected) in cases {
        assert_eq!(seen(text), (expected.to_vec(), Vec::new()), "{text}");
    }
}

#[test]
fn what_is_wrong_with_options_is_remarked_and_stops_a_build_only_at_the_top() {
    let cases: &[(&str, &[&str])] = &[
        (
            "# check=skp=A\nFROM a",
            &["error check-option skp: unknown check option: `skp` (did you mean `skip`?)"],
        ),
        (
            "FROM a\n# check=skp=A\nUSER b",
            &["check-option skp: unknown check option: `skp` (did you mean `skip`?)"],
        ),
        (
            "FROM a\n#   check=skp=A  \nUSER b",
            &["check-option skp: unknown check option: `skp` (did you mean `skip`?)"],
        ),
        (
            "# check=skip=UndefinedVra,jsonargsrecommended\nFROM a",
            &[
                "unknown-rule UndefinedVra: there is no rule `UndefinedVra` (did you mean `UndefinedVar`?)",
                "unknown-rule jsonargsrecommended: there is no rule `jsonargsrecommended` (did you mean \
                 `JSONArgsRecommended`?)",
            ],
        ),
        ("FROM a\n# check=skip=Nothing\nUSER b", &["unknown-rule Nothing: there is no rule `Nothing`"]),
        (
            "# check=skip=UndefinedVar, JSONArgsRecommended\nFROM a",
            &[
                "check-option  JSONArgsRecommended: options of checks end at the first blank (write them without blanks)",
            ],
        ),
        ("# check=skip=UndefinedVar because\nFROM a", &[]),
    ];
    for (text, expected) in cases {
        assert_eq!(seen(text).1, *expected, "{text}");
    }
}

#[test]
fn findings_fail_the_build_where_that_is_asked_for() {
    let cases = [
        ("# check=error=true\nFROM a\nWORKDIR b", true),
        ("# check=error=true\nFROM a\nWORKDIR /b", false),
        ("# check=skip=WorkdirRelativePath;error=true\nFROM a\nWORKDIR b", false),
        ("FROM a\nWORKDIR b", false),
    ];
    for (text, expected) in cases {
        assert_eq!(World::default().lint(text, Reach::All).fails_build, expected, "{text}");
    }
}

#[test]
fn what_the_caller_says_replaces_what_the_file_says() {
    let text = "# check=skip=all;wrong\nFROM a\nWORKDIR b";
    let config = Some(Config { is_error: true, ..Config::default() });
    let linted = World { config, ..World::default() }.lint(text, Reach::All);
    assert_eq!((linted.findings.len(), linted.remarks.len(), linted.fails_build), (1, 0, true));
}

#[test]
fn each_level_has_its_own_switch() {
    let rule = |level| {
        let any = RULES.iter().find(|rule| rule.level == level).unwrap();
        **any
    };
    let [on, off, experimental] = [Level::On, Level::Off, Level::Experimental].map(rule);
    let named = |rule: Rule| Config { experimental: set(&[rule.name]), ..Config::default() };
    let enabled = |rule: Rule| Config { enabled: set(&[rule.name]), ..Config::default() };
    let all = Config { experimental_all: true, skip_all: true, ..Config::default() };
    let cases = [
        (on, Config::default(), true),
        (on, all.clone(), false),
        (off, Config::default(), false),
        (off, all.clone(), false),
        (off, named(off), true),
        (off, enabled(off), true),
        (off, Config { skip: set(&[off.name]), ..enabled(off) }, false),
        (experimental, Config::default(), false),
        (experimental, all, true),
        (experimental, named(experimental), true),
        (experimental, Config { skip: set(&[experimental.name]), ..named(experimental) }, true),
    ];
    for (rule, config, expected) in cases {
        assert_eq!(config.allows(&rule), expected, "{} {config:?}", rule.name);
    }
}
