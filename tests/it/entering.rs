//! `kiln build --on-error=shell` and `kiln enter`: on a terminal, and without one.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use crate::running::{processes_mentioning, until_quiet};
use crate::support::http::HttpServer;
use crate::support::terminal::Terminal;
use crate::support::users::{self, User};
use crate::support::waiting::{until, until_none};
use crate::support::{Invocation, TestSpace, busybox, requires};

/// A place with a base image, and a text that is in the paths of its store.
struct Scene {
    space: TestSpace,
    _server: HttpServer,
}

impl Scene {
    fn new() -> Self {
        let space = TestSpace::shared();
        let _server = busybox::serve(&space);
        Self { space, _server }
    }

    fn build(&self, dockerfile: &str) -> Invocation {
        self.space.build(&self.space.context("context", &[("Dockerfile", dockerfile)]))
    }

    fn enter(&self, arguments: &[&str]) -> Invocation {
        self.space.kiln(["enter"]).args(arguments)
    }

    /// Nothing of the place is mounted or running any more.
    #[track_caller]
    fn is_quiet(&self) {
        let mark = self.space.path("").file_name().unwrap().to_string_lossy().into_owned();
        until_quiet(&mark);
    }
}

/// Waits until a process runs whose command line has a text.
#[track_caller]
pub(crate) fn runs(text: &str) {
    until(&format!("`{text}` runs"), || !processes_mentioning(text).is_empty());
}

/// A build of which one stage fails while another one waits.
fn failing(mark: &str) -> String {
    format!(
        "FROM busybox AS slow\nRUN sleep 7777; echo {mark}\n\
         FROM busybox AS build\nENV COLOR=blue\nWORKDIR /work\n\
         RUN --mount=type=cache,target=/cache --mount=type=tmpfs,target=/t --mount=type=secret,id=s \\\n\
         \x20   echo left > file && echo kept > /cache/c && sleep 1 && exit 7\n\
         FROM scratch\nCOPY --from=slow / /\nCOPY --from=build / /\n"
    )
}

#[test]
fn a_step_that_fails_is_shown_in_a_shell_as_it_left_it() {
    requires!("root", "busybox", "setpriv", "newuidmap", "setsid");
    let scene = Scene::new();
    let secret = scene.space.file("secret", "canary\n");
    for user in
        [None, Some(users::with_subordinate_ids(&scene.space)), Some(users::with_single_id(&scene.space))]
    {
        let mark =
            format!("waits-{}-{}", std::process::id(), user.as_ref().map_or("root", |user| &user.name));
        let call = scene.build(&failing(&mark)).args(["--on-error=shell", "-j4", "--secret"]);
        let call = as_user(call.arg(format!("id=s,src={}", secret.display())), user.as_ref());
        let mut terminal = Terminal::start(call);
        let before = terminal.first_modes().clone();
        terminal.shows("RUN failed: exit code: 7");
        terminal.shows("line 6 of stage `build`: RUN --mount");
        terminal.shows("/work # ");
        assert_eq!(processes_mentioning(&mark), Vec::<String>::new(), "the other stage has ended");
        terminal.keys("cat file /cache/c /run/secrets/s; echo is $COLOR $TERM; busybox tty; ls -d /t\n");
        terminal.shows("left\r\nkept\r\ncanary\r\nis blue xterm\r\n/dev/pts/0\r\n/t\r\n");
        let job = format!("sleep 77{}", std::process::id());
        terminal.keys(&format!("{job}\n"));
        runs(&job);
        terminal.keys("\x03");
        terminal.keys("echo 'al'ive $?\n");
        terminal.shows("alive 130\r\n");
        terminal.resize(33, 99);
        terminal.keys("while [ \"$(busybox stty size)\" != '33 99' ]; do sleep 0.1; done; echo si''zed\n");
        terminal.shows("sized\r\n");
        terminal.keys("exit 3\n");
        terminal.shows("RUN failed: exit code: 7");
        assert_eq!(shown(&terminal.modes()), shown(&before));
        let (status, screen) = terminal.end();
        assert_eq!(status.code(), Some(1), "{screen}");
        scene.is_quiet();
    }
}

fn as_user(call: Invocation, user: Option<&User>) -> Invocation {
    call.by(user)
}

fn shown(modes: &rustix::termios::Termios) -> String {
    format!("{:?} {:?} {:?}", modes.input_modes, modes.output_modes, modes.local_modes)
}

#[test]
fn a_kiln_that_is_asked_to_end_ends_the_shell_and_gives_the_terminal_back() {
    requires!("root", "busybox", "setsid");
    let scene = Scene::new();
    // The program of the step is missing, so nothing has run in it; that is a failure like any other.
    let dockerfile = "FROM busybox\nUSER nobody\nWORKDIR /tmp\nRUN [\"/missing\"]\n";
    let mut terminal = Terminal::start(scene.build(dockerfile).arg("--on-error=shell"));
    let before = terminal.first_modes().clone();
    terminal.shows("/missing");
    terminal.shows("/tmp $ ");
    terminal.keys("stat -c %u $(busybox tty); trap '' TERM HUP; echo is''deaf\n");
    terminal.shows("65534\r\n");
    terminal.shows("isdeaf\r\n");
    assert_ne!(shown(&terminal.modes()), shown(&before));
    kill_process(Pid::from_child(&terminal.child), Signal::TERM).unwrap();
    terminal.shows("interrupted");
    assert_eq!(shown(&terminal.modes()), shown(&before));
    let (status, screen) = terminal.end();
    assert_eq!(status.code(), Some(130), "{screen}");
    scene.is_quiet();
}

#[test]
fn a_terminal_is_raw_again_after_a_stop_and_ends_the_shell_when_it_goes() {
    requires!("root", "busybox", "setsid");
    let scene = Scene::new();
    scene.build("FROM busybox\nRUN true\n").run().success();
    // Nobody ends kiln by a signal then; the terminal alone says that nobody is there.
    let deaf = ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh"];
    let mut terminal = Terminal::start(scene.enter(&[]).under(deaf));
    let before = terminal.first_modes().clone();
    terminal.shows("/ # ");
    let (raw, kiln) = (shown(&terminal.modes()), Pid::from_child(&terminal.child));
    kill_process(kiln, Signal::STOP).unwrap();
    // What an interactive shell does with its terminal meanwhile.
    terminal.set_modes(&before);
    kill_process(kiln, Signal::CONT).unwrap();
    until("the terminal is raw", || shown(&terminal.modes()) == raw);
    terminal.keys("echo al''ive\n");
    terminal.shows("alive\r\n");
    terminal.hang_up();
    until("the shell ends without a terminal", || terminal.child.try_wait().unwrap().is_some());
    scene.is_quiet();
}

#[test]
fn a_kiln_that_is_killed_leaves_no_shell_and_the_next_one_collects_what_it_had() {
    requires!("root", "busybox", "setsid");
    let scene = Scene::new();
    let call = scene.build("FROM busybox\nRUN echo data > /file && false\n").arg("--on-error=shell");
    let mut terminal = Terminal::start(call);
    terminal.shows("/ # ");
    let mark = format!("stays-{}", std::process::id());
    terminal.keys(&format!("sh -c 'sleep 7777; echo {mark}'\n"));
    runs(&mark);
    terminal.child.kill().unwrap();
    terminal.end();
    until_none(|| processes_mentioning(&mark));
    scene.is_quiet();
    assert!(count(&scene.space.store().join("scratch")) > 0, "what it had is still there");
    scene.build("FROM busybox\nRUN true\n").run().success();
    assert_eq!(count(&scene.space.store().join("scratch")), 0);
}

fn count(directory: &Path) -> usize {
    let found = std::fs::read_dir(directory).unwrap();
    found
        .map(|entry| entry.unwrap().path())
        .map(|path| std::fs::read_dir(path).map_or(0, Iterator::count))
        .sum()
}

const STAGES: &str = "FROM busybox AS one\n\
    ENV WHO=one\n\
    RUN echo first > /first\n\
    COPY Dockerfile /copied\n\
    USER nobody\n\
    WORKDIR /home\n\
    RUN test -e /copied && exit 0\n\
    LABEL end=1\n\
    FROM busybox\n\
    ENV WHO=two\n\
    COPY --from=one /first /\n";

#[test]
fn a_command_runs_where_a_step_starts_and_its_exit_code_is_kilns() {
    requires!("root", "busybox", "setpriv");
    let scene = Scene::new();
    let user = users::with_single_id(&scene.space);
    for user in [None, Some(user)] {
        as_user(scene.build(STAGES), user.as_ref()).run().success();
        let script = "echo $WHO $(id -un) $PWD $(ls -d /first /copied 2> /dev/null); echo x > /tmp/x";
        for (step, expected) in [
            ("one:3", "one root /\n"),
            ("0:4", "one root / /first\n"),
            ("ONE:5", "one nobody /home /copied /first\n"),
            ("one", "one nobody /home /copied /first\n"),
            (":7", "one nobody /home /copied /first\n"),
            (":8", "one nobody /home /copied /first\n"),
            ("one:8", "one nobody /home /copied /first\n"),
            ("stage-1", "root / /first\n"),
            ("1:11", "root /\n"),
        ] {
            let call = as_user(scene.enter(&[step, "--", "sh", "-c", script]), user.as_ref());
            let outcome = call.run().success();
            let text = outcome.text();
            assert_eq!(text, expected, "{step}: {outcome}");
        }
        let call =
            as_user(scene.enter(&["one", "--", "sh", "-c", "cat; echo oh >&2; exit 42"]), user.as_ref());
        let outcome = call.stdin("given").run().fails_with(42).says(&["oh"]);
        assert_eq!(outcome.text(), "given");
    }
    scene.is_quiet();
}

#[test]
fn a_step_that_is_not_there_is_an_error_that_says_what_is() {
    requires!("root", "busybox");
    let scene = Scene::new();
    let none = scene.enter(&["--", "true"]).run().fails_with(1);
    none.says(&["this store knows of no last build"]);
    let unused = "FROM busybox AS unused\nRUN true\nFROM busybox AS base\nRUN echo fine > /fine\nFROM base AS final\nRUN --mount=type=secret,id=k,required false\n";
    scene
        .build(unused)
        .args(["--secret=id=k,env=KEY"])
        .env("KEY", "canary")
        .run()
        .fails_with(1)
        .says(&["`kiln enter`"]);
    for (arguments, says) in [
        (["bse", "--", "true"], "help: did you mean `base`?"),
        (["unused", "--", "true"], "the build has no step of stage `unused`"),
        (["9", "--", "true"], "the Dockerfile has no stage `9`"),
        (["final:x", "--", "true"], "`x` is no line of a Dockerfile"),
        (["base", "--", "/none"], "`/none`"),
        (["final", "--", "true"], "secret `k` is required"),
    ] {
        let outcome = scene.enter(&arguments).run();
        assert!(!outcome.status.success(), "{outcome}");
        outcome.says(&[says]);
    }
    // The failed step is meant where none is named.
    let failed = scene.enter(&["--secret=id=k,env=KEY", "--", "cat", "/fine", "/run/secrets/k"]);
    assert_eq!(failed.env("KEY", "canary").run().success().text(), "fine\ncanary");
    scene.enter(&[]).run().fails_with(2).says(&["a shell needs a terminal"]);
    scene
        .build(unused)
        .arg("--on-error=shell")
        .run()
        .fails_with(2)
        .says(&["`--on-error=shell` needs a terminal"]);
}

#[test]
fn a_shell_where_the_last_run_starts_ends_with_its_own_code() {
    requires!("root", "busybox", "setsid");
    let scene = Scene::new();
    scene
        .build("FROM busybox\nSHELL [\"/bin/busybox\", \"ash\", \"-e\", \"-c\"]\nRUN echo a > /a\n")
        .run()
        .success();
    let mut terminal = Terminal::start(scene.enter(&[]));
    terminal.shows("line 3: RUN echo a > /a");
    terminal.shows("its command is: /bin/busybox ash -e -c 'echo a > /a'");
    terminal.shows("/ # ");
    terminal.keys("ls /a; touch /made; exit 3\n");
    terminal.shows("No such file");
    let (status, screen) = terminal.end();
    assert_eq!(status.code(), Some(3), "{screen}");
    let found = scene.enter(&["--", "test", "-e", "/made"]).run();
    assert_eq!(found.status.code(), Some(1), "what is changed is thrown away: {found}");
    std::fs::write(scene.space.path("context/Dockerfile"), "FROM busybox\nRUN echo b > /a\n").unwrap();
    let changed = scene.enter(&["--", "true"]).run().success();
    changed.says(&["the Dockerfile has changed since the last build"]);
    std::fs::remove_file(scene.space.path("context/Dockerfile")).unwrap();
    scene.enter(&["--", "true"]).run().fails_with(1).says(&["Dockerfile"]);
}
