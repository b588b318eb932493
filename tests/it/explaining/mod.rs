//! Scripted edits of one project: exactly the right steps run, what is named is the leaf that was changed, and what was said ahead
//! agrees with the build that follows.

mod rows;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::support::files::{File, FileServer};
use crate::support::http::HttpServer;
use crate::support::served::{Served, mirror_config};
use crate::support::{Invocation, TestSpace, busybox, requires};

/// A project that is edited, built and put back.
struct Project {
    space: TestSpace,
    web: FileServer,
    base: Arc<Mutex<Served>>,
    _registry: HttpServer,
    flags: Vec<String>,
    environment: Vec<(String, String)>,
}

/// The project as it is before each edit; `HOST` is a server of files.
const DOCKERFILE: &str = "\
FROM busybox AS tools
RUN echo tools > /tools

FROM busybox AS build
ARG VERSION=1
ENV MODE=fast
WORKDIR /src
COPY src/ /src/
RUN --mount=type=secret,id=token head -n 1 /src/main.c > /app && echo $VERSION >> /app

FROM busybox AS other
RUN echo other > /other

FROM busybox AS last
ARG BUILD_NUMBER=1
COPY --from=tools /tools /tools
COPY --from=build /app /app
ADD http://HOST/file /file
RUN --mount=type=cache,target=/cache --mount=type=bind,source=bound,target=/bound cat /bound/x > /seen
RUN <<EOF
echo heredoc > /heredoc
EOF
COPY --from=extra /x /extra
LABEL a=b
CMD [\"/app\"]
";

const FILES: [(&str, &str); 8] = [
    ("context/src/main.c", "main\n// comment\n"),
    ("context/src/lib/a.h", "a\n"),
    ("context/src/ignored.log", "log\n"),
    ("context/bound/x", "x\n"),
    ("context/.dockerignore", "**/*.log\n"),
    ("extra/x", "extra\n"),
    ("other-extra/x", "extra\n"),
    ("token", "secret\n"),
];

impl Project {
    fn new() -> Self {
        let space = TestSpace::shared();
        let base = Arc::new(Mutex::new(busybox::images()));
        let served = Arc::clone(&base);
        let registry = HttpServer::start(move |request| served.lock().unwrap().answer(request));
        space.config(&mirror_config(&registry.host()));
        let (web, flags, environment) = (FileServer::start(), Vec::new(), Vec::new());
        let project = Self { space, web, base, _registry: registry, flags, environment };
        project.web.put("/other", File::new("file\n", "1"));
        project
    }

    /// Puts everything back as it was.
    fn restore(&mut self) {
        for directory in ["context", "extra", "other-extra"] {
            fs::remove_dir_all(self.space.path(directory)).ok();
        }
        for (name, content) in FILES {
            self.space.file(name, content);
        }
        std::os::unix::fs::symlink("main.c", self.path("src/link")).unwrap();
        self.space.file("context/Dockerfile", DOCKERFILE.replace("HOST", &self.web.host()));
        *self.base.lock().unwrap() = busybox::images();
        self.web.put("/file", File::new("file\n", "1"));
        self.flags = vec![
            "--pull".to_owned(),
            format!("--build-context=extra={}", self.space.path("extra").display()),
            format!("--secret=id=token,src={}", self.space.path("token").display()),
        ];
        self.environment.clear();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.space.path("context").join(name)
    }

    fn write(&self, name: &str, content: &str) {
        self.space.file(&format!("context/{name}"), content);
    }

    /// Replaces a text of the Dockerfile.
    fn replace(&self, old: &str, new: &str) {
        let text = fs::read_to_string(self.path("Dockerfile")).unwrap();
        assert!(text.contains(old), "{old}");
        fs::write(self.path("Dockerfile"), text.replacen(old, new, 1)).unwrap();
    }

    fn flag(&mut self, flag: impl Into<String>) {
        self.flags.push(flag.into());
    }

    fn call(&self, more: &[&str]) -> Invocation {
        let call = self
            .space
            .kiln(["build", "--progress=json", "-o", "type=cacheonly"])
            .args(more)
            .args(&self.flags);
        let call = self.environment.iter().fold(call, |call, (name, value)| call.env(name, value));
        call.arg(self.space.path("context"))
    }

    fn build(&self) -> Ran {
        let outcome = self.call(&["--explain"]).run().success();
        let count = |event: &str| outcome.stderr.matches(&format!("\"event\":\"{event}\"")).count();
        let missed = count("step-missed");
        // What is known by its inputs is begun, and done by nobody.
        assert_eq!(count("step-done"), missed, "{outcome}");
        if missed == 0 {
            return Ran::new();
        }
        let told = self.space.kiln(["explain", "--format", "json"]).run().success();
        let told: Value = serde_json::from_str(&told.text()).unwrap();
        let ran = by_line(&told["ran"]);
        assert_eq!(missed, ran.len(), "{outcome}");
        ran.into_iter().map(|(line, step)| (line, said(&step["reason"]))).collect()
    }

    fn plan(&self) -> Plan {
        let outcome = self.call(&["--plan=json"]).run().success();
        let plan: Value = serde_json::from_str(&outcome.text()).unwrap();
        let steps = by_line(&plan["steps"]).into_iter();
        steps.map(|(line, step)| (line, (step["runs"] == "must", said(&step["reason"])))).collect()
    }
}

/// The steps that ran, by line, and why.
type Ran = BTreeMap<u64, String>;
/// The steps that would run, by line: whether it is certain, and why.
type Plan = BTreeMap<u64, (bool, String)>;

fn by_line(steps: &Value) -> BTreeMap<u64, Value> {
    let steps = steps.as_array().unwrap();
    steps.iter().map(|step| (step["line"].as_u64().unwrap(), step.clone())).collect()
}

/// Returns a reason in few words, with `#` for digests.
fn said(reason: &Value) -> String {
    let text = |value: &Value| value.as_str().map(elided);
    match reason["kind"].as_str().unwrap() {
        "changed" => {
            let changes = reason["changes"].as_array().unwrap().iter().map(|change| {
                let what = text(&change["what"]).unwrap();
                match (text(&change["before"]), text(&change["after"])) {
                    (Some(before), Some(after)) => format!("{what} {before}→{after}"),
                    (None, Some(after)) => format!("{what} +{after}"),
                    (Some(before), None) => format!("{what} -{before}"),
                    (None, None) => what,
                }
            });
            changes.collect::<Vec<_>>().join("; ")
        }
        "input-rebuilt" => format!("after {}", reason["step"].as_str().unwrap()),
        "asked" => format!("asked by {}", reason["by"].as_str().unwrap()),
        "result-gone" => format!("gone: {}", text(&reason["what"]).unwrap()),
        kind => kind.to_owned(),
    }
}

/// Puts `#` for the beginnings of digests: hexadecimal digits before `…`.
fn elided(text: &str) -> String {
    let mut parts: Vec<&str> = text.split('…').collect();
    let last = parts.pop().unwrap_or_default();
    let elided = parts.iter().map(|part| {
        let rest = part.trim_end_matches(|char: char| char.is_ascii_hexdigit());
        if part.len() - rest.len() < 8 {
            format!("{part}…")
        } else {
            format!("{}#", rest.trim_end_matches("sha256:"))
        }
    });
    elided.collect::<String>() + last
}

#[test]
fn each_edit_runs_the_right_steps_and_names_the_leaf_and_the_plan_agrees() {
    requires!("root", "busybox");
    let mut project = Project::new();
    let mut wrong = String::new();
    for (number, row) in rows::ROWS.iter().enumerate() {
        project.restore();
        // What ran nothing has left everything as it was.
        if number == 0 || !rows::ROWS[number - 1].ran.is_empty() {
            let base = project.build();
            assert!(number == 0 || base.is_empty(), "before {}: {base:#?}", row.name);
        }
        (row.edit)(&mut project);
        let plan = project.plan();
        let ran = project.build();
        let expected: Ran =
            row.ran.iter().map(|(line, why)| (*line, (*why).replace("HOST", &project.web.host()))).collect();
        let unsaid = ran.keys().find(|line| !plan.contains_key(line));
        let idle = plan.iter().find(|(line, (is_certain, _))| *is_certain && !ran.contains_key(line));
        let other = plan.iter().find(|(line, (is_certain, why))| *is_certain && ran.get(line) != Some(why));
        if ran != expected || unsaid.is_some() || idle.is_some() || other.is_some() {
            wrong.push_str(&format!(
                "{}:\n  ran {ran:#?}\n  expected {expected:#?}\n  plan {plan:#?}\n",
                row.name
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn with_args_referenced_a_run_neither_sees_nor_depends_on_arguments_that_it_does_not_name() {
    requires!("root", "busybox");
    let space = TestSpace::shared();
    let _server = busybox::serve(&space);
    let dockerfile = "FROM busybox\nARG USED=1\nARG IDLE=1\nARG MODE=1\nENV MODE=fast\n\
        RUN env && echo $USED\nRUN <<EOF\nenv; echo ${IDLE}\nEOF\nRUN echo $USED_TOO\n";
    let context = space.context("context", &[("Dockerfile", dockerfile)]);
    let build = |more: &[&str]| {
        space.build(&context).args(["--args=referenced", "--explain"]).args(more).run().success()
    };
    let first = build(&[]);
    let seen = |name: &str| first.stderr.lines().filter(|line| line.ends_with(name)).count();
    assert_eq!([seen(" USED=1"), seen(" IDLE=1"), seen(" MODE=fast")], [1, 1, 2], "{first}");
    build(&["--build-arg=IDLE=2"])
        .says(&["because build argument IDLE 1→2"])
        .says(&["CACHED RUN env && echo $USED\n"]);
    build(&["--build-arg=USED=2", "--build-arg=IDLE=2"]).says(&["because build argument USED 1→2"]);
    space
        .build(&context)
        .args(["--explain", "--build-arg=USED=2", "--build-arg=IDLE=2"])
        .run()
        .success()
        .says(&["because build argument IDLE added: 2"]);
}

#[test]
fn a_miss_can_fail_the_build_before_its_first_step() {
    let space = TestSpace::new();
    let context = space.context("context", &[("Dockerfile", "FROM scratch\nCOPY file /\n"), ("file", "1")]);
    let miss = |text: &str| space.build(&context).arg("--fail-on-miss").run().fails_with(1).says(&[text]);
    miss("1 step is not in the cache; the first is :2 `COPY file /`: not built here before");
    miss("not built here before");
    let digest = space.build(&context).run().success().digest();
    assert_eq!(space.build(&context).arg("--fail-on-miss").run().success().digest(), digest);
    let plan = |more: &[&str]| space.build(&context).arg("--plan").args(more).run();
    assert_eq!(plan(&["--fail-on-miss"]).success().text(), "every step is in the cache\n");
    space.file("context/file", "2");
    miss("file content ");
    let planned = plan(&["--fail-on-miss"]).fails_with(1);
    assert!(planned.text().starts_with("runs :2 COPY file /"), "{planned}");
    for (arguments, text) in [
        (&["--plan", "--check"][..], "which a check does not know"),
        (&["--check-repro", "--check"], "which a check does not know"),
        (&["--check-repro=x", "--call=outline"], "which a check does not know"),
        (&["--check-repro", "--plan"], "`--plan` does no step"),
    ] {
        space.build(&context).args(arguments).run().fails_with(2).says(&[text]);
    }
}

#[test]
fn a_step_is_explained_after_the_build_or_it_is_said_which_there_are() {
    let space = TestSpace::new();
    let explain = |arguments: &[&str]| space.kiln(["explain"]).args(arguments).run();
    explain(&[]).fails_with(1).says(&["this store knows of no last build", "`kiln build` makes one"]);
    let dockerfile = "FROM scratch AS one\nCOPY file /\nFROM scratch\nCOPY --from=one /file /copy\n";
    let context = space.context("context", &[("Dockerfile", dockerfile), ("file", "1")]);
    space.build(&context).run().success();
    assert_eq!(
        explain(&["one:2"]).success().text().lines().nth(1),
        Some("  not built here before"),
        "it ran in the last build"
    );
    space.build(&context).run().success();
    assert_eq!(explain(&["one"]).success().text(), "one:2 COPY file /\n  it was in the cache\n");
    assert_eq!(explain(&[]).success().text(), "every step of `Dockerfile` was in the cache\n");
    explain(&["ona:2"]).fails_with(1).says(&["no step in stage `ona`", "did you mean `one`?", "kiln build"]);
    explain(&["one:9"])
        .fails_with(1)
        .says(&["of stage `one` of the last build begins in line 9", "in lines 2"]);
    explain(&["one:x\n"]).fails_with(2).says(&["is no line of a Dockerfile"]);
    // What comes no further than its Dockerfile has nothing to explain.
    space.file("context/Dockerfile", "NOTHING\n");
    space.build(&context).run().fails_with(1);
    assert_eq!(
        explain(&[":4"]).success().text(),
        "stage-1:4 COPY --from=one /file /copy\n  it was in the cache\n"
    );
}

#[test]
fn a_context_on_standard_input_is_compared_with_the_one_before_and_keeps_no_more_records() {
    let space = TestSpace::new();
    let build = |text: &str| {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, content) in [("Dockerfile", "FROM scratch\nCOPY . /x\n"), ("file", text)] {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, name, content.as_bytes()).unwrap();
        }
        let archive = archive.into_inner().unwrap();
        space.kiln(["build", "--explain", "--progress=plain", "-"]).stdin(archive).run().success()
    };
    let lists = || count_files(&space.store().join("records/selected"));
    build("1");
    for text in 2..13 {
        build(&text.to_string()).says(&["because file content "]);
    }
    assert!(lists() <= 8, "{}", lists());
}

fn count_files(folder: &std::path::Path) -> usize {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| if entry.path().is_dir() { count_files(&entry.path()) } else { 1 }).sum()
}

#[test]
fn a_look_ahead_goes_on_behind_a_directory_that_is_to_be_made() {
    let space = TestSpace::new();
    let dockerfile = "FROM scratch\nWORKDIR /a\nCOPY file /b\n";
    let context = space.context("context", &[("Dockerfile", dockerfile), ("file", "1")]);
    space.build(&context).run().success();
    space.file("context/Dockerfile", dockerfile.replace("/a", "/c/d"));
    let plan = space.build(&context).arg("--plan").run().success().text();
    assert_eq!(plan.lines().count(), 2, "{plan}");
    assert!(plan.starts_with("runs :2 WORKDIR /c/d"), "{plan}");
    let built = space.build(&context).arg("--explain").run().success();
    assert_eq!(built.stderr.matches("because").count(), 1, "{built}");
    // Another instruction with the same result: a directory above it is no other.
    let [copy, both] = ["", "WORKDIR /w\n"].map(|more| format!("FROM scratch\nCOPY file /f\n{more}"));
    for (dockerfile, plan) in [
        (&both, None),
        (&copy.replace("COPY", "COPY --chmod=0644"), None),
        (&both.replace("COPY", "COPY --chmod=0644"), Some("every step is in the cache\n")),
    ] {
        space.file("context/Dockerfile", dockerfile);
        let told = space.build(&context).arg("--plan").run().success().text();
        assert_eq!(told, plan.unwrap_or(&told), "{dockerfile}");
        let built = space.build(&context).arg("--explain").run().success();
        assert!(plan.is_none() || !built.stderr.contains("because"), "{built}");
    }
}

#[test]
fn an_unpacked_layer_is_not_said_to_be_fetched() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let _server = busybox::serve(&space);
    let context = space.context("context", &[("Dockerfile", "FROM busybox\nRUN echo 1 > /a\n")]);
    let fetches = || -> Vec<String> {
        let plan = space.build(&context).arg("--plan").on_a_damaged_store().run().success().text();
        plan.lines().filter(|line| line.starts_with("fetches ")).map(str::to_owned).collect()
    };
    let before = fetches();
    let [layer] = &before[..] else { panic!("{before:?}") };
    let digest = layer.split_whitespace().find_map(|word| word.strip_prefix("sha256:")).unwrap();
    space.build(&context).run().success();
    space.file("context/Dockerfile", "FROM busybox\nRUN echo 2 > /a\n");
    fs::remove_file(space.store().join("blobs/sha256").join(digest)).unwrap();
    assert_eq!(fetches(), Vec::<String>::new());
    fs::remove_dir_all(space.store().join("snapshots")).unwrap();
    fs::create_dir(space.store().join("snapshots")).unwrap();
    assert_eq!(fetches(), before);
}

#[test]
fn a_result_that_is_gone_is_told_from_one_that_never_was() {
    let space = TestSpace::new();
    let context = space.context("context", &[("Dockerfile", "FROM scratch\nCOPY file /\n"), ("file", "1")]);
    let layer = |outcome: &str| outcome.contains("because the result is gone: layer sha256:");
    assert!(!layer(&space.build(&context).arg("--explain").run().success().stderr));
    for blob in fs::read_dir(space.store().join("blobs/sha256")).unwrap() {
        fs::remove_file(blob.unwrap().path()).unwrap();
    }
    let again = space.build(&context).arg("--explain").on_a_damaged_store().run().success();
    assert!(layer(&again.stderr), "{again}");
    let told = space.kiln(["explain"]).run().success();
    assert!(told.text().contains("\n  the result is gone: layer sha256:"), "{told}");
}
