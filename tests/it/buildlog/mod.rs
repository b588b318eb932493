//! `kiln log`: what builds did, also those that failed or were killed; and the report, looked at in a browser.

mod browser;

use std::fs;
use std::path::PathBuf;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::http::HttpServer;
use crate::support::waiting::until;
use crate::support::{Invocation, TestSpace, busybox, requires};

/// A place with a base image.
struct Scene {
    space: TestSpace,
    _server: HttpServer,
}

impl Scene {
    fn new() -> Self {
        let space = TestSpace::new();
        let _server = busybox::serve(&space);
        Self { space, _server }
    }

    fn build(&self, dockerfile: &str) -> Invocation {
        self.space.build(&self.space.context("context", &[("Dockerfile", dockerfile), ("a", "a\n")]))
    }

    fn log(&self, arguments: &[&str]) -> Invocation {
        self.space.kiln(["log"]).args(arguments)
    }

    /// Returns what the log says of a build.
    fn json(&self, build: &str) -> Value {
        let outcome = self.log(&[build, "--format=json"]).run().success();
        serde_json::from_slice(&outcome.stdout).unwrap()
    }

    /// Returns states and texts of the steps of a build that change something.
    fn states(&self, build: &str) -> Vec<(String, String)> {
        let text = |step: &Value, key: &str| step[key].as_str().unwrap().to_owned();
        let value = self.json(build);
        let steps = value["steps"].as_array().unwrap().iter().filter(|step| !step["parent"].is_null());
        steps.map(|step| (text(step, "state"), text(step, "text"))).collect()
    }
}

fn pairs(states: &[(&str, &str)]) -> Vec<(String, String)> {
    states.iter().map(|(state, text)| ((*state).to_owned(), (*text).to_owned())).collect()
}

const STEPS: &str = "FROM busybox AS one\nCOPY a /a\nRUN printf 'x\\033[31m\\377' && seq 3\n";

#[test]
fn a_build_is_told_with_its_steps_and_their_whole_output() {
    requires!("root", "busybox");
    let scene = Scene::new();
    scene.log(&[]).run().success();
    scene
        .log(&["last"])
        .run()
        .fails_with(1)
        .says(&["this store knows of no build", "`kiln build` makes one"]);
    scene.build(STEPS).args(["-t", "app:1"]).run().success();
    scene.build(STEPS).args(["--label=a=https://me:hunter2@host/"]).run().success();
    scene.build(&format!("{STEPS}RUN echo no >&2; exit 3\n")).run().fails_with(1);
    let run = "RUN printf 'x\\033[31m\\377' && seq 3";
    assert_eq!(scene.states("app:1"), pairs(&[("ran", "COPY a /a"), ("ran", run)]));
    assert_eq!(scene.states("-2"), pairs(&[("cached", "COPY a /a"), ("cached", run)]));
    let failed = [("cached", "COPY a /a"), ("cached", run), ("failed", "RUN echo no >&2; exit 3")];
    assert_eq!(scene.states("last"), pairs(&failed));
    let first = scene.json("app:1");
    assert_eq!((&first["outcome"], &first["names"][0]), (&"done".into(), &"app:1".into()));
    assert_eq!(scene.json("last")["message"], "RUN failed: exit code: 3");
    let has_layer = |step: &Value| step["layer_bytes"].as_u64() > Some(0);
    let layers = first["steps"].as_array().unwrap().iter().filter(|step| has_layer(step)).count();
    assert_eq!(layers, 2, "each step that changes something has one");
    assert_eq!(scene.log(&["app:1", "printf"]).run().success().stdout, b"x\x1b[31m\xff1\n2\n3\n");
    assert_eq!(scene.log(&["app:1", "one:3"]).run().success().stdout, b"x\x1b[31m\xff1\n2\n3\n");
    assert_eq!(scene.log(&["last", "exit 3"]).run().success().stdout, b"no\n");
    let id = first["id"].as_str().unwrap().to_owned();
    scene.log(&["-2", ":3"]).run().success().says(&[&format!("it last ran in another: `kiln log {id} ")]);
    let list = scene.log(&[]).run().success().text();
    let columns: Vec<Vec<&str>> =
        list.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(columns.len(), 3, "{list}");
    assert!(columns[0].contains(&"failed") && columns[0].contains(&"2/3"), "{list}");
    assert!(columns[2].contains(&"0/2") && columns[2].contains(&"app:1") && columns[2][0] == id, "{list}");
    assert_eq!(scene.log(&["--failed", "-q"]).run().success().text().lines().count(), 1);
    let told = scene.log(&["last", "-f"]).run().success().text();
    assert_eq!(told.lines().count(), 8, "{told}");
    assert!(told.contains("not built here before"), "{told}");
    for (arguments, says) in [
        (&["nothing"][..], "no build `nothing` is known"),
        (&["-9"], "no build `-9` is known"),
        (&["last", "RUN"], "`RUN` is in 2 steps"),
        (&["last", "WORKDIR"], "has no step `WORKDIR`"),
        (&["last", "99"], "has no step `99`"),
    ] {
        let outcome = scene.log(arguments).run();
        assert!(!outcome.status.success(), "{arguments:?}");
        outcome.says(&[says, "help: "]);
    }
    for folder in fs::read_dir(scene.space.store().join("logs")).unwrap() {
        let journal = fs::read_to_string(folder.unwrap().path().join("journal.jsonl")).unwrap();
        assert!(!journal.contains("hunter2"), "{journal}");
    }
}

#[test]
fn a_build_that_is_killed_is_told_up_to_its_end() {
    requires!("root", "busybox");
    let scene = Scene::new();
    let call = scene.build(&format!("{STEPS}RUN echo at work; sleep 7654\n"));
    let mut running = call.start();
    until("the step is at work", || scene.log(&["last", "sleep"]).run().stdout == b"at work\n");
    assert_eq!(scene.json("last")["outcome"], "running");
    kill_process(Pid::from_child(&running.child), Signal::KILL).unwrap();
    running.child.wait().unwrap();
    assert_eq!(scene.json("last")["outcome"], "killed");
    let states: Vec<String> = scene.states("last").into_iter().map(|(state, _)| state).collect();
    assert_eq!(states, ["ran", "ran", "unfinished"]);
    assert_eq!(scene.log(&["last", "-f", "sleep"]).run().success().stdout, b"at work\n");
    let page: PathBuf = scene.space.path("page.html");
    scene.log(&["--html"]).arg(&page).run().success();
    assert!(fs::read_to_string(page).unwrap().contains("<span class=\"outcome killed\">killed</span>"));
}
