//! RUN as root of a container that allows neither namespaces nor mounts: by chroot, with the same layers.

use rustix::process::{Pid, Signal, kill_process};

use crate::entering::runs;
use crate::faults::{assert_nothing_left, start_sleeping_under};
use crate::roots::CHANGES;
use crate::running::processes_mentioning;
use crate::support::image::{check_blobs, read_one};
use crate::support::layer::Kind;
use crate::support::terminal::Terminal;
use crate::support::{Invocation, Outcome, TestSpace, busybox, confined, peers, requires};

fn build(space: &TestSpace, store: &str, dockerfile: &str) -> Invocation {
    space.build(&space.context("context", &[("Dockerfile", dockerfile)])).store(&space.path(store))
}

fn build_confined(space: &TestSpace, dockerfile: &str) -> Invocation {
    build(space, "store", dockerfile).under(confined::prefix(&[]))
}

#[test]
fn steps_by_chroot_give_the_layers_that_namespaces_give() {
    requires!("root", "busybox", "setpriv", "python3");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    for target in ["one", "two"] {
        let expected = build(&space, "free", CHANGES).args(["--target", target]).run().success().digest();
        let outcome = build_confined(&space, CHANGES).args(["--target", target]).run().success();
        assert_eq!(outcome.digest(), expected, "{target}");
        outcome.says(&["steps run by chroot", "they have no /proc"]);
    }
    check_blobs(&space.store());
    drop(server);
}

#[test]
fn what_is_there_for_a_step_by_chroot_is_there_for_its_time_only() {
    requires!("root", "busybox", "setpriv", "python3");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    let canary = "canary-7e1c40";
    let argument = format!("id=key,src={}", space.file("secret", canary).display());
    let dockerfile = "FROM busybox\n\
        COPY Dockerfile /etc/hosts\n\
        COPY Dockerfile /dev/mine/\n\
        RUN --mount=type=secret,id=key --mount=type=cache,target=/cache <<E\n\
        set -e\n\
        test \"$(wc -c < /run/secrets/key)\" = 13\n\
        busybox grep -q buildkitsandbox /etc/hosts\n\
        echo > /dev/null\n\
        test ! -e /dev/mine\n\
        echo kept >> /cache/file\n\
        wc -l < /cache/file > /lines\n\
        echo gone > /etc/hosts\n\
        E\n\
        RUN cat /etc/hosts > /hosts; ls -A /run /dev / > /seen 2> /dev/null; true\n";
    for lines in ["1\n", "2\n"] {
        let layout = space.path(&format!("layout-{}", lines.trim()));
        let output = format!("type=oci,tar=false,dest={}", layout.display());
        let call =
            build_confined(&space, dockerfile).args(["--no-cache", "--secret", &argument, "-o", &output]);
        call.run().success().never_says(&[canary]);
        let flat = read_one(&layout).flatten();
        let content = |path: &str| match &flat.get(path.as_bytes()).unwrap().kind {
            Kind::File(_, _, Some(content)) => String::from_utf8(content.clone()).unwrap(),
            other => panic!("{path}: {other:?}"),
        };
        assert_eq!([content("etc/hosts").as_str(), content("lines").as_str()], [dockerfile, lines]);
        assert!(flat.get(b"dev/mine").is_some(), "what the image has in /dev comes back");
        let strange = ["run", "run/secrets", "cache", "dev/null", "dev/shm", "dev/pipes", "etc/hostname"];
        let left: Vec<_> = strange.iter().filter(|path| flat.get(path.as_bytes()).is_some()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
    let found = peers::output("grep", ["-rlF".as_ref(), canary.as_ref(), space.store().as_os_str()]);
    assert_eq!(String::from_utf8_lossy(&found.stdout), "", "the secret is in the store");
    drop(server);
}

#[test]
fn a_step_by_chroot_that_keeps_a_secret_fails() {
    requires!("root", "busybox", "setpriv", "python3");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    let argument = format!("id=key,src={}", space.file("secret", "canary-19d0aa").display());
    for how in ["ln /run/secrets/key /kept", "mv /run/secrets/key /kept", "mv /run /kept"] {
        let dockerfile = format!("FROM busybox\nRUN --mount=type=secret,id=key {how}\n");
        let outcome = build_confined(&space, &dockerfile).args(["--secret", &argument]).run().fails_with(1);
        outcome.says(&["the step moved or linked `/run/secrets/key`", "Dockerfile:2"]);
    }
    // A name that goes is no name that stays.
    for how in ["rm /run/secrets/key", "rm -r /run", "ln /run/secrets/key /link && rm /link"] {
        let dockerfile = format!("FROM busybox\nRUN --mount=type=secret,id=key {how}; test ! -e /link\n");
        build_confined(&space, &dockerfile).args(["--secret", &argument]).run().success();
    }
    let found = peers::output("grep", ["-rlF".as_ref(), "canary-19d0aa".as_ref(), space.store().as_os_str()]);
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    drop(server);
}

#[test]
fn no_process_of_a_step_by_chroot_outlives_it() {
    requires!("root", "busybox", "setpriv", "python3");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    // Not the name itself: a kiln that looks after the store when the build has ended has that in its command line.
    let mark = format!("of-{}", space.path("").file_name().unwrap().to_string_lossy());
    let dockerfile = format!(
        "FROM busybox\nRUN (busybox setsid sh -c 'trap \"\" TERM HUP; (sleep 7777; echo {mark}) & (sh -c \"sleep 7777; echo {mark}\" &) ; sleep 7777; echo {mark}' &); true\n"
    );
    build_confined(&space, &dockerfile).run().success();
    assert_eq!(processes_mentioning(&mark), Vec::<String>::new());
    drop(server);
    for signal in [Signal::KILL, Signal::TERM] {
        let space = TestSpace::new();
        let server = busybox::serve(&space);
        let (running, mark) = start_sleeping_under(&space, confined::prefix(&[]));
        kill_process(Pid::from_child(&running.child), signal).unwrap();
        assert!(!running.wait().status.success());
        assert_nothing_left(&space, &mark);
        drop(server);
    }
}

#[test]
fn what_a_step_by_chroot_cannot_have_is_a_limit_of_the_machine() {
    requires!("root", "busybox", "setpriv", "python3");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    let dockerfile = "FROM busybox\nRUN true\n";
    let outcome = build_confined(&space, dockerfile).arg("--network=none").run().fails_with(4);
    outcome.says(&["cannot have a network of their own", "Dockerfile:2"]);
    let powerless = build(&space, "store", dockerfile).under(confined::prefix(&["sys_chroot", "chown"]));
    powerless.run().fails_with(4).says(&["it lacks CAP_SYS_CHROOT, CAP_CHOWN", "Operation not permitted"]);
    drop(server);
}

#[test]
fn a_step_by_chroot_does_without_devices_that_it_may_not_make() {
    requires!("root", "busybox", "setpriv", "python3");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    let dockerfile = "FROM busybox\nRUN ls /dev > /devices; echo thrown away > /dev/null\n";
    let layout = space.path("layout");
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    let call = build(&space, "store", dockerfile).under(confined::prefix(&["mknod"])).args(["-o", &output]);
    call.run().success();
    let flat = read_one(&layout).flatten();
    assert!(flat.get(b"dev/null").is_none(), "what is written to /dev reaches no layer");
    drop(server);
}

#[test]
fn a_step_by_chroot_is_entered_on_a_terminal() {
    requires!("root", "busybox", "setpriv", "python3", "setsid");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    build_confined(&space, "FROM busybox\nUSER nobody\nRUN echo a > /tmp/a\n").run().success();
    let mut terminal = Terminal::start(space.kiln(["enter"]).under(confined::prefix(&[])));
    terminal.shows("/ $ ");
    terminal
        .keys("test -t 0 && test -t 2 && echo o''n $(busybox stty size) $(busybox stat -c %u /dev/null)\n");
    terminal.shows("on 24 80 0\r\n");
    // Keys reach the foreground job.
    let job = format!("sleep 78{}", std::process::id());
    terminal.keys(&format!("{job}\n"));
    runs(&job);
    terminal.keys("\x03");
    terminal.keys("echo al''ive $?; exit 4\n");
    terminal.shows("alive 130\r\n");
    let (status, screen) = terminal.end();
    assert_eq!(status.code(), Some(4), "{screen}");
    drop(server);
}

/// Names, and where they lead.
type Links = &'static [(&'static str, &'static str)];

/// Roots in which the places of mounts lead elsewhere: links and files, and whether a step runs with namespaces, and by chroot.
const HOSTILE: [(&str, Links, bool, bool); 9] = [
    ("devices in /etc", &[("dev", "/etc")], true, true),
    ("devices in /", &[("dev", "/")], false, false),
    ("processes outside", &[("proc", "../../../../OUTSIDE")], true, true),
    ("processes in /etc", &[("proc", "/etc")], false, true),
    ("/etc in /proc", &[("etc", "/proc")], false, true),
    ("/etc outside", &[("etc", "../../../../../OUTSIDE")], true, true),
    (
        "names outside",
        &[("etc/resolv.conf", "/../../../OUTSIDE/file"), ("etc/hosts", "../../OUTSIDE/new")],
        true,
        true,
    ),
    ("a name that leads to itself", &[("etc/resolv.conf", "resolv.conf")], false, false),
    ("a name that leads to another", &[("etc/hosts", "hostname"), ("etc/hostname", "/dev/null")], true, true),
];

#[test]
fn what_is_put_into_a_root_stays_in_it_wherever_its_links_lead() {
    requires!("root", "busybox", "setpriv", "python3");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    let outside = space.path("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("file"), "canary").unwrap();
    for (name, links, runs, runs_by_chroot) in HOSTILE {
        let root = space.path("context/root");
        std::fs::remove_dir_all(&root).ok();
        for directory in ["bin", "etc"] {
            std::fs::create_dir_all(root.join(directory)).unwrap();
        }
        std::fs::copy("/bin/busybox", root.join("bin/sh")).unwrap();
        for (link, target) in links {
            std::fs::remove_dir(root.join(link)).ok();
            let target = target.replace("/OUTSIDE", &outside.display().to_string());
            std::os::unix::fs::symlink(target, root.join(link)).unwrap();
        }
        let dockerfile = "FROM scratch\nCOPY root /\nRUN [\"/bin/sh\", \"-c\", \"echo > /after\"]\n";
        let [free, confined] = [build(&space, "free", dockerfile), build_confined(&space, dockerfile)]
            .map(|call| call.arg("--no-cache").run());
        let outcome = |outcome: Outcome, runs: bool| match runs {
            true => Some(outcome.success().digest()),
            false => {
                outcome.fails_with(1).says(&["cannot mount `/", "Dockerfile:3"]);
                None
            }
        };
        let found = (outcome(free, runs), outcome(confined, runs_by_chroot));
        if let (Some(free), Some(confined)) = found {
            assert_eq!(free, confined, "{name}");
        }
        let left: Vec<_> =
            std::fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["file"], "{name}");
        assert_eq!(std::fs::read_to_string(outside.join("file")).unwrap(), "canary", "{name}");
    }
    drop(server);
}

#[test]
fn processes_that_multiply_are_ended_with_a_step_by_chroot() {
    requires!("root", "busybox", "setpriv", "python3");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    // Some are never there for long, each is another process; the others fill their limit. The step's own shell makes one before there are
    // any, and then none.
    let dockerfile = "FROM busybox\nUSER 45454\n\
        RUN chain() { chain & }; (chain; chain; while :; do (while :; do sh -c : & done) & done) 2>/dev/null & \\\n\
        n=0; while [ $n -lt 100000 ]; do n=$((n + 1)); done\n";
    build_confined(&space, dockerfile).arg("--ulimit=nproc=200").run().success();
    let left = peers::output("pgrep", ["-u", "45454"]);
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
    drop(server);
}
