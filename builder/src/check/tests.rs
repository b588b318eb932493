use std::fs;

use super::*;
use crate::progress::Silent;
use crate::request::{DockerfilePlace, NamedContext};

/// Checks a Dockerfile without a workshop: nothing is known of images.
fn checked(request: BuildRequest, options: &CheckOptions) -> Checked {
    let progress: Arc<dyn Progress> = Arc::new(Silent);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(check(None, &request, options, &progress)).unwrap()
}

fn text(text: &str) -> BuildRequest {
    BuildRequest {
        context: ContextPlace::Empty,
        dockerfile: DockerfilePlace::Text(text.as_bytes().to_vec()),
        ..BuildRequest::new("")
    }
}

/// Returns what is said: `LINE code`, with `!` for errors.
fn said(checked: &Checked) -> Vec<String> {
    let line = |diagnostic: &Diagnostic| {
        let line = diagnostic.primary().map_or(0, |span| checked.source.position(span.start).line);
        format!("{line} {}{}", diagnostic.code, if diagnostic.is_error() { "!" } else { "" })
    };
    let findings = checked.findings.iter().map(|finding| &finding.diagnostic);
    checked.problems.iter().chain(findings).map(line).collect()
}

#[test]
fn errors_of_all_stages_are_found_at_once() {
    let cases: [(&str, Option<&str>, &[&str]); 6] = [
        (
            "FROM scratch AS a\nEXPOSE 99999\nFROM scratch\nSTOPSIGNAL x\n",
            None,
            &["2 expose!", "4 stop-signal!"],
        ),
        ("FROM scratch AS a\nEXPOSE 99999\nFROM scratch\nSTOPSIGNAL x\n", Some("a"), &["2 expose!"]),
        (
            "FROM missing.invalid/x\nEXPOSE 99999\nFROM also.invalid/y\nVOLUME \"\"\n",
            None,
            &["2 expose!", "4 volume!"],
        ),
        ("FROM scratch\nRUN echo ${x\nENV a=${y!}\n", None, &["3 expansion!"]),
        ("FROM scratch\nBAD x\nWORKDIR w\n", None, &["2 unknown-instruction!", "3 WorkdirRelativePath"]),
        ("", None, &["1 empty-file!"]),
    ];
    for (file, target, expected) in cases {
        let request = BuildRequest { target: target.map(str::to_owned), ..text(file) };
        assert_eq!(said(&checked(request, &CheckOptions::default())), expected, "{file}");
    }
}

#[test]
fn what_an_unknown_image_may_set_is_no_error() {
    let file = "FROM missing.invalid/x AS base\nFROM base\nSTOPSIGNAL $SIGNAL\nENV A=${B:?none} C=${D!}\n";
    let unknown = checked(text(file), &CheckOptions::default());
    let errors = Checked { findings: Vec::new(), ..unknown.clone() };
    assert_eq!(said(&errors), ["3 stop-signal", "4 expansion", "4 expansion!"]);
    let help = "the base image `missing.invalid/x` is not known here";
    let first = &unknown.findings[0].diagnostic;
    assert_eq!(first.code, "UndefinedVar");
    for doubtful in unknown.problems[..2].iter().chain([first]) {
        assert!(doubtful.help.as_ref().is_some_and(|text| text.contains(help)), "{doubtful:?}");
    }
    assert_eq!(unknown.notes, ["base image `missing.invalid/x` is not known: it is not in this store"]);
    let known = checked(text("FROM scratch\nSTOPSIGNAL $SIGNAL\n"), &CheckOptions::default());
    assert_eq!(said(&known), ["2 stop-signal!", "2 UndefinedVar"]);
}

#[test]
fn rules_are_switched_by_file_argument_and_caller() {
    let body = "FROM scratch AS A\nWORKDIR w\n";
    let skip = |name: &str| Config { skip: [name.to_owned()].into(), ..Config::default() };
    let enable = |name: &str| Config { enabled: [name.to_owned()].into(), ..Config::default() };
    let argument = |value: &str| BTreeMap::from([("BUILDKIT_DOCKERFILE_CHECK".to_owned(), value.to_owned())]);
    let (casing, path) = ("1 StageNameCasing", "2 WorkdirRelativePath");
    let (casing_below, path_below) = ("2 StageNameCasing", "3 WorkdirRelativePath");
    let directive = format!("# check=skip=StageNameCasing\n{body}");
    for (file, given, changes, expected) in [
        (body, None, Config::default(), vec![casing, path]),
        (body, None, skip("StageNameCasing"), vec![path]),
        (body, Some("skip=all"), Config::default(), vec![]),
        (&directive, None, Config::default(), vec![path_below]),
        (&directive, None, skip("WorkdirRelativePath"), vec![]),
        (&directive, None, enable("StageNameCasing"), vec![casing_below, path_below]),
        (&directive, Some("skip=WorkdirRelativePath"), Config::default(), vec![casing_below]),
        (body, Some("skp=all"), Config::default(), vec!["0 check-option!", casing, path]),
    ] {
        let build_args = given.map(argument).unwrap_or_default();
        let options = CheckOptions { changes, ..CheckOptions::default() };
        let checked = checked(BuildRequest { build_args, ..text(file) }, &options);
        assert_eq!(said(&checked), expected, "{file} {given:?}");
    }
}

#[test]
fn findings_fail_a_build_where_the_file_says_so() {
    let violated = |file: &str| checked(text(file), &CheckOptions::default()).violated;
    assert_eq!(
        violated("# check=error=true\nFROM scratch AS A\nWORKDIR w\n"),
        ["StageNameCasing", "WorkdirRelativePath"]
    );
    assert_eq!(violated("# check=error=true\nFROM scratch\n"), Vec::<&str>::new());
    assert_eq!(violated("FROM scratch AS A\n"), Vec::<&str>::new());
}

#[test]
fn the_ignore_file_of_the_dockerfile_goes_before_that_of_the_context() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| fs::write(folder.path().join(name), content).unwrap();
    file("Dockerfile", "FROM scratch\nCOPY a b /\n");
    file(".dockerignore", "a\n");
    let outcome = || said(&checked(BuildRequest::new(folder.path()), &CheckOptions::default()));
    assert_eq!(outcome(), ["2 CopyIgnoredFile"]);
    file("Dockerfile.dockerignore", "");
    assert_eq!(outcome(), Vec::<String>::new());
}

#[test]
fn layouts_are_looked_into_and_contexts_take_the_place_of_images() {
    let folder = tempfile::tempdir().unwrap();
    let context = |context| BTreeMap::from([("base".to_owned(), context)]);
    let file = "FROM base\nENV A=$PORT\n";
    let named = |named_contexts| {
        let checked = checked(BuildRequest { named_contexts, ..text(file) }, &CheckOptions::default());
        (said(&checked), checked.notes)
    };
    let directory = context(NamedContext::Directory(folder.path().to_owned()));
    assert_eq!(named(directory), (vec!["2 UndefinedVar".to_owned()], Vec::new()));
}
