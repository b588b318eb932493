//! `kiln lint`, `kiln build --check` and `--call`: what they print, how they end, and what they leave alone.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::support::registry::Registry;
use crate::support::{Outcome, TestSpace, requires};

const CLEAN: &str = "FROM scratch\nCOPY Dockerfile /\n";
const DOUBTFUL: &str = "FROM scratch AS Base\nWORKDIR w\n";
const WRONG: &str = "FROM scratch AS Base\nCOPPY a /\n";

fn document(outcome: &Outcome) -> Value {
    serde_json::from_slice(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome}"))
}

/// Returns source, rule and line of what a document says, errors last.
fn said(document: &Value) -> Vec<String> {
    let lists = ["warnings", "errors"].map(|list| document[list].as_array().unwrap().clone());
    let line = |entry: &Value| {
        let source = entry["location"]["sourceIndex"].as_u64().unwrap_or(0);
        let line = &entry["location"]["ranges"][0]["start"]["line"];
        format!("{source}:{line} {}", entry["ruleName"].as_str().unwrap())
    };
    lists.iter().flatten().map(line).collect()
}

#[test]
fn the_exit_code_tells_errors_findings_and_wrong_usage_apart() {
    let space = TestSpace::new();
    for (text, flags, code, end) in [
        (CLEAN, &[][..], 0, "Dockerfile: no findings\n"),
        (DOUBTFUL, &[], 3, "Dockerfile: 2 warnings; `kiln lint --fix` mends 1 of them\n"),
        (DOUBTFUL, &["--skip=WorkdirRelativePath,StageNameCasing"], 0, "Dockerfile: no findings\n"),
        (DOUBTFUL, &["--skip=all"], 0, "Dockerfile: no findings\n"),
        (WRONG, &[], 1, "Dockerfile: 1 error, 1 warning; `kiln lint --fix` mends 1 of them\n"),
        ("FROM scratch\nEXPOSE 99999\n", &[], 1, "Dockerfile: 1 error\n"),
        (CLEAN, &["--skip=WorkdirRelativePaht"], 2, ""),
        (CLEAN, &["missing"], 1, ""),
    ] {
        let context = space.context("context", &[("Dockerfile", text)]);
        let outcome = space.kiln(["lint"]).args(flags).directory(&context).run().fails_with(code);
        assert!(outcome.text().ends_with(end), "{text} {flags:?}: {outcome}");
    }
}

#[test]
fn documents_speak_of_several_files_at_once() {
    let space = TestSpace::new();
    space.context("one", &[("Dockerfile", DOUBTFUL)]);
    space.file("Other", WRONG);
    let stdin = "FROM a\nENV a b\n";
    let lint = |format: &str| {
        space.kiln(["lint", "--offline", "--format", format, "one", "Other", "-"]).stdin(stdin).run()
    };
    let found = document(&lint("json").fails_with(1));
    let names: Vec<&Value> =
        found["sources"].as_array().unwrap().iter().map(|source| &source["filename"]).collect();
    assert_eq!(names, ["one/Dockerfile", "Other", "Dockerfile"]);
    let expected = [
        "0:1 StageNameCasing",
        "0:2 WorkdirRelativePath",
        "1:1 StageNameCasing",
        "2:2 LegacyKeyValueFormat",
        "1:2 unknown-instruction",
    ];
    assert_eq!(said(&found), expected);
    assert_eq!(found["buildError"]["location"]["sourceIndex"], 1);
    let sarif = document(&lint("sarif").fails_with(1));
    let results = sarif["runs"][0]["results"].as_array().unwrap().len();
    assert_eq!((&sarif["version"], results), (&json!("2.1.0"), 5));
}

#[test]
fn fixes_are_written_whole_and_leave_nothing_to_mend() {
    let space = TestSpace::new();
    let text = "# check=skip=JSONArgsRecommended\r\nfrom scratch as Base\r\nENV a b c\r\nCMD x\r\n";
    let file = space.file("real/Dockerfile", text);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o604)).unwrap();
    let link = space.path("Dockerfile");
    std::os::unix::fs::symlink("real/Dockerfile", &link).unwrap();
    let lint = |flags: &[&str]| space.kiln(["lint", "--offline"]).args(flags).arg("Dockerfile").run();
    lint(&["--fix"]).success().says(&["mended Dockerfile:2: StageNameCasing: ", "LegacyKeyValueFormat"]);
    let mended = fs::read_to_string(&file).unwrap();
    let expected = "# check=skip=JSONArgsRecommended\r\nFROM scratch AS base\r\nENV a=\"b c\"\r\nCMD x\r\n";
    assert_eq!(mended, expected);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o604);
    assert_eq!(fs::read_link(&link).unwrap().to_str(), Some("real/Dockerfile"));
    assert_eq!(fs::read_dir(space.path("real")).unwrap().count(), 1);
    let again = lint(&["--fix"]).success();
    assert_eq!((again.stderr.as_str(), fs::read_to_string(&file).unwrap()), ("", mended));
}

#[test]
fn a_check_of_a_build_says_what_lint_says() {
    let space = TestSpace::new();
    let context = space.context("context", &[("Dockerfile", DOUBTFUL)]);
    let linted = space.kiln(["lint", "--format=json"]).directory(&context).run().fails_with(3);
    let check = |flags: &[&str]| space.kiln(["build"]).args(flags).arg(".").directory(&context).run();
    for flags in [&["--check", "--format=json"][..], &["--call=check,format=json", "-t", "app", "--push"]] {
        assert_eq!(document(&check(flags).fails_with(3)), document(&linted), "{flags:?}");
    }
    check(&["--call=check,ignorestatus=true"]).success();
    check(&["--check", "--target", "bsae"]).fails_with(1);
    let images = space.kiln(["images", "-q"]).run().success();
    assert_eq!(images.text(), "", "nothing is built");
}

#[test]
fn outline_and_targets_are_told_without_a_build() {
    let space = TestSpace::new();
    let text = "# V is the version\nARG V=1\n# base is where all begins\nFROM missing.invalid/base:$V AS base\n\
                RUN --mount=type=secret,id=token,required true\nFROM base\n";
    let context = space.context("context", &[("Dockerfile", text)]);
    let call = |value: &str| space.kiln(["build", "--call", value]).arg(&context).run().success();
    let targets = "TARGET    DESCRIPTION\nbase      is where all begins\n(default)\n";
    assert_eq!(call("targets").text(), targets);
    let outline = "BUILD ARG   VALUE   DESCRIPTION\nV           1       is the version\n\n\
                   SECRET   REQUIRED\ntoken    true\n\n";
    assert_eq!(call("outline").text(), outline);
    let found = document(&call("outline,format=json"));
    let place = |line: usize| json!({ "ranges": [{ "start": { "line": line }, "end": { "line": line } }] });
    let argument =
        json!({ "name": "V", "value": "1", "description": "is the version", "location": place(2) });
    assert_eq!((&found["args"], &found["secrets"][0]["location"]), (&json!([argument]), &place(5)));
}

#[test]
fn a_build_names_its_findings_and_can_fail_by_them() {
    let space = TestSpace::new();
    let unused = "FROM scratch AS Unused\nWORKDIR u\n";
    let context = space.context("context", &[("Dockerfile", &format!("{unused}{DOUBTFUL}"))]);
    let build = |flags: &[&str]| space.kiln(["build"]).args(flags).arg(&context).run();
    let short =
        "warning: 3 findings in the Dockerfile; `kiln lint` shows more about them\n  StageNameCasing: ";
    build(&["--progress=plain"]).success().says(&[
        short,
        " (line 1)\n",
        "WorkdirRelativePath: ",
        " (line 4)\n",
    ]);
    let outcome = build(&["--progress=json"]).success();
    let warning = |line: &str| serde_json::from_str::<Value>(line).ok().filter(|it| it["event"] == "warning");
    let warnings: Vec<Value> = outcome.stderr.lines().filter_map(warning).collect();
    let last = warnings.last().unwrap();
    assert_eq!((warnings.len(), &last["code"]), (3, &json!("WorkdirRelativePath")));
    assert_eq!((&last["line"], &last["column"], &last["file"]), (&json!(4), &json!(9), &json!("Dockerfile")));
    assert_eq!(build(&["-q"]).success().stderr, "");

    let error = ["--build-arg", "BUILDKIT_DOCKERFILE_CHECK=error=true"];
    let failed = build(&error).fails_with(1);
    let failed = failed.says(&[
        "error[lint-violation]: lint violation found for rules: StageNameCasing, WorkdirRelativePath",
    ]);
    failed.never_says(&["DONE", "CACHED"]);
    let text = format!("# check=skip=StageNameCasing,WorkdirRelativePath;error=true\n{DOUBTFUL}");
    space.file("context/Dockerfile", text);
    build(&["--progress=plain"]).success().never_says(&["findings"]);
    build(&error).fails_with(1);
    build(&["--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skp=all"])
        .fails_with(1)
        .says(&["BUILDKIT_DOCKERFILE_CHECK"]);
}

#[test]
fn the_ignore_file_of_a_directory_and_of_a_dockerfile_counts() {
    let space = TestSpace::new();
    let text = "FROM scratch\nCOPY secret /\n";
    let context =
        space.context("context", &[("Dockerfile", text), ("Other", text), (".dockerignore", "secret\n")]);
    space.file("context/Other.dockerignore", "");
    let lint = |places: &[&str]| {
        said(&document(&space.kiln(["lint", "--format=json"]).args(places).directory(&context).run()))
    };
    assert_eq!(lint(&[]), ["0:2 CopyIgnoredFile"]);
    assert_eq!(lint(&["-f", "Other"]), Vec::<String>::new());
    assert_eq!(lint(&["Dockerfile"]), Vec::<String>::new(), "a file alone has no context");
}

#[test]
fn a_registry_is_asked_about_bases_that_matter_and_nothing_is_kept() {
    requires!("docker-registry");
    let space = TestSpace::new();
    let registry = Registry::start(&space.path("registry"));
    space.config(&registry.config());
    let name = format!("{}/base:1", registry.host());
    let base = space.context("base", &[("Dockerfile", "FROM scratch\nENV KNOWN=1\nONBUILD WORKDIR /x\n")]);
    space.build(&base).args(["-t", &name, "--push"]).run().success();
    let text = format!("FROM {name}\nENV A=$KNOWN B=$UNKNOWN\n");
    let context = space.context("context", &[("Dockerfile", &text)]);
    let other = space.path("other-store");
    let lint = |flags: &[&str]| {
        let outcome = space.kiln(["lint", "--format=json"]).args(flags).arg(&context).store(&other).run();
        document(&outcome.fails_with(3))
    };
    let offline = lint(&["--offline"]);
    let note = format!("base image `{name}` is not known: it is not in this store");
    assert_eq!((said(&offline).len(), &offline["notes"]), (2, &json!([note])));
    let online = lint(&[]);
    assert_eq!((said(&online), &online["notes"]), (vec!["0:2 UndefinedVar".to_owned()], &json!([])));
    drop(registry);
    // Neither of them decided what the name stands for.
    space.build(&context).store(&other).run().fails_with(1).says(&["cannot resolve image"]);
}
