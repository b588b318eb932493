//! RUN in containers of the usual kinds: what `kiln doctor` says there, and that a build does it.

use std::fs;
use std::path::PathBuf;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::faults::{assert_nothing_left, start_sleeping_under};
use crate::running::processes_mentioning;
use crate::support::space::program;
use crate::support::{Invocation, TestSpace, busybox, confined, requires};

/// A kind of container, and what becomes of RUN in it.
struct Row {
    name: &'static str,
    /// As [`confined::prefix`] has them; none stands for a privileged container.
    words: Option<&'static [&'static str]>,
    rung: &'static str,
    shares_processes: bool,
    /// What is said of the reason.
    says: &'static str,
}

const fn row(name: &'static str, words: &'static [&'static str], rung: &'static str) -> Row {
    Row { name, words: Some(words), rung, shares_processes: false, says: "" }
}

const FILTER: &str = "a system call filter surrounds this process";

const ROWS: [Row; 12] = [
    Row { words: None, ..row("privileged, as runners of GitLab have it", &[], "root") },
    row("docker run", &["covered"], "chroot"),
    Row { says: FILTER, ..row("docker run --user", &["covered", "user=4321"], "none") },
    Row { says: FILTER, ..row("runAsNonRoot of Kubernetes", &["covered", "user=4321", "fixed"], "none") },
    Row {
        says: "CAP_SYS_CHROOT, CAP_CHOWN",
        ..row("docker run --cap-drop", &["covered", "sys_chroot", "chown"], "none")
    },
    Row { shares_processes: true, ..row("seccomp=unconfined", &["covered", "filter=none"], "single id") },
    Row {
        shares_processes: true,
        ..row("seccomp=unconfined --user", &["covered", "filter=none", "user=4321", "fixed"], "single id")
    },
    row("seccomp=unconfined systempaths=unconfined", &["filter=none", "user=4321"], "single id"),
    Row {
        says: FILTER,
        ..row("a profile of AppArmor --user", &["covered", "filter=mounts", "user=4321"], "none")
    },
    row("seccomp=unconfined, a profile of AppArmor", &["covered", "filter=mounts"], "chroot"),
    Row {
        says: "something around it forbids mounts",
        ..row(
            "--cap-add SYS_ADMIN, a profile of AppArmor",
            &["covered", "filter=mounts", "+sys_admin"],
            "chroot",
        )
    },
    row("--cap-add SYS_ADMIN, unconfined", &["covered", "filter=none", "+sys_admin"], "root"),
];

const DOCKERFILE: &str = "FROM busybox\n\
    RUN echo data > /file && chown 12:34 /file && mkdir -m 750 /made\n\
    USER nobody\n\
    RUN id -u > /tmp/user && test \"$(cat /tmp/user)\" = 65534\n";

#[test]
fn a_build_in_a_container_does_what_doctor_says_of_it() {
    requires!("root", "busybox", "setpriv", "python3");
    let space = TestSpace::shared();
    let server = busybox::serve(&space);
    let program = open_program(&space);
    let context = space.context("context", &[("Dockerfile", DOCKERFILE)]);
    let expected = space.build(&context).run().success().digest();
    for (number, row) in ROWS.iter().enumerate() {
        let store = open_store(&space, number);
        let there = |call: Invocation| {
            let call = call.program(&program).store(&store);
            match row.words {
                Some(words) => call.under(confined::prefix(words)),
                None => call,
            }
        };
        let doctor = there(space.kiln(["doctor", "--format=json"])).run();
        let report: Value = serde_json::from_slice(&doctor.stdout).unwrap();
        let runs = row.rung != "none";
        let found = (taken(&report), &report["run"], &report["shares_processes"]);
        assert_eq!(found, (row.rung, &runs.into(), &row.shares_processes.into()), "{}: {report}", row.name);
        assert!(report.to_string().contains(row.says), "{}: {report}", row.name);
        assert_eq!(doctor.status.code(), Some(if runs { 0 } else { 4 }), "{}", row.name);
        let build = there(space.build(&context)).run();
        match runs {
            true => assert_eq!(build.success().digest(), expected, "{}", row.name),
            false => drop(build.fails_with(4).says(&["Dockerfile:2", "`kiln doctor` says", "not permitted"])),
        }
    }
    drop(server);
}

/// Returns the rung that doctor says is taken.
fn taken(report: &Value) -> &str {
    let rungs = report["rungs"].as_array().unwrap();
    rungs.iter().find(|rung| rung["state"] == "taken").unwrap()["name"].as_str().unwrap()
}

/// Returns a copy of the program that every user can execute.
fn open_program(space: &TestSpace) -> PathBuf {
    let copy = space.path("kiln");
    fs::copy(program(), &copy).unwrap();
    copy
}

/// Makes a store that the ordinary user of the containers may write to, as root may.
fn open_store(space: &TestSpace, number: usize) -> PathBuf {
    let store = space.path(&format!("store-{number}"));
    fs::create_dir(&store).unwrap();
    let is_users = ROWS[number].words.is_some_and(|words| words.contains(&"user=4321"));
    let owner = is_users.then_some(4321);
    std::os::unix::fs::chown(&store, owner, owner).unwrap();
    store
}

#[test]
fn steps_that_share_the_processes_around_them_see_them_and_leave_none() {
    requires!("root", "busybox", "setpriv", "python3");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    // Not the name itself: a kiln that looks after the store when the build has ended has that in its command line.
    let mark = format!("of-{}", space.path("").file_name().unwrap().to_string_lossy());
    // The parent of the step's shell is not in sight of a namespace of its own.
    let dockerfile = format!(
        "FROM busybox\n\
         RUN test $PPID != 0 && test -d /proc/$PPID && test \"$(readlink /proc/self/exe)\" = /bin/busybox && \\\n\
         \x20   test \"$(cut -d' ' -f1 /proc/$$/stat)\" = $$ && ! echo 1 > /proc/sys/kernel/sysrq && test ! -s /proc/interrupts\n\
         RUN (busybox setsid sh -c 'trap \"\" TERM HUP; (sleep 7777; echo {mark}) & (sh -c \"sleep 7777; echo {mark}\" &) ; sleep 7777; echo {mark}' &); true\n"
    );
    let around = || confined::prefix(&["covered", "filter=none"]);
    let context = space.context("context", &[("Dockerfile", &dockerfile)]);
    let outcome = space.build(&context).under(around()).run().success();
    outcome.says(&["steps see the processes around them"]);
    assert_eq!(processes_mentioning(&mark), Vec::<String>::new());
    drop(server);
    for signal in [Signal::KILL, Signal::TERM] {
        let space = TestSpace::new();
        let server = busybox::serve(&space);
        let (running, mark) = start_sleeping_under(&space, around());
        kill_process(Pid::from_child(&running.child), signal).unwrap();
        assert!(!running.wait().status.success());
        assert_nothing_left(&space, &mark);
        drop(server);
    }
}
