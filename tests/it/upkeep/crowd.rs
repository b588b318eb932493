//! Many kilns at one store: one does what several want, and a kill at any moment harms nobody.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::aside::files_named;
use crate::support::http::HttpServer;
use crate::support::program::Running;
use crate::support::served::mirror_config;
use crate::support::waiting::{PATIENCE, until};
use crate::support::{TestSpace, busybox, requires};

/// Reads what a build says until it has said `text`, or everything; returns that.
fn read_until(running: &mut Running, text: &str) -> String {
    let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let count = running.child.stderr.as_mut().unwrap().read(&mut buffer).unwrap();
        seen.extend_from_slice(&buffer[..count]);
        let said = String::from_utf8_lossy(&seen);
        if count == 0 || said.contains(text) {
            return said.into_owned();
        }
    }
}

#[track_caller]
fn await_text(running: &mut Running, text: &str) {
    let said = read_until(running, text);
    assert!(said.contains(text), "the build ended early: {said}");
}

/// What a waiting build says.
const WAITS: &str = "waits for another kiln (pid ";

/// What a step does to wait, for some minutes at most, until [`open_gate`] lets it go on; its cache mount is at `/c`.
const GATE: &str =
    "touch /c/gate; i=0; until [ -e /c/open ] || [ $i = 6000 ]; do i=$((i+1)); sleep 0.05; done";

fn open_gate(space: &TestSpace) {
    let gates = || files_named(&space.store().join("cachemounts"), "gate");
    until("the step is at its gate", || !gates().is_empty());
    gates().iter().for_each(|gate| fs::write(gate.with_file_name("open"), "").unwrap());
}

/// Starts a build of a step that goes differently the second time, and returns when it runs.
fn start_first(space: &TestSpace, first: &str, then: &str) -> Running {
    let line = format!("if [ -e /c/flag ]; then {then}; else touch /c/flag; echo at work; {first}; fi");
    let dockerfile = format!("FROM busybox\nRUN --mount=type=cache,target=/c {line}\n");
    let context = space.context("context", &[("Dockerfile", &dockerfile)]);
    let mut running = space.build(&context).start();
    // The command's own text is shown first, with more behind it.
    await_text(&mut running, " at work\n");
    running
}

fn start_second(space: &TestSpace) -> Running {
    // The first may be killed meanwhile, and leaves what the build after this one takes away.
    let mut running = space.build(&space.path("context")).on_a_damaged_store().start();
    await_text(&mut running, WAITS);
    running
}

#[test]
fn two_kilns_that_want_the_same_steps_do_each_once() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    let noise = "head -c 64 /dev/urandom | od > /noise";
    let dockerfile = format!(
        "FROM busybox\nRUN --mount=type=cache,target=/c {noise}; {GATE}\nCOPY Dockerfile /\nRUN {noise}2\n"
    );
    let context = space.context("context", &[("Dockerfile", &dockerfile)]);
    // Nobody waits for the base, then.
    space.kiln(["pull", "busybox"]).run().success();
    let (sender, receiver) = channel();
    let started = [(); 3].map(|()| {
        let (mut running, sender) = (space.build(&context).start(), sender.clone());
        std::thread::spawn(move || {
            if read_until(&mut running, WAITS).contains(WAITS) {
                sender.send(()).unwrap();
            }
            running.wait().success().digest()
        })
    });
    (0..2).for_each(|_| receiver.recv_timeout(PATIENCE).expect("two wait for the third"));
    open_gate(&space);
    let digests = started.map(|thread| thread.join().unwrap());
    // Whoever had done a step once more would have made other noise.
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
    drop(server);
}

#[test]
fn when_the_first_is_killed_or_fails_the_second_does_the_step() {
    requires!("root", "busybox");
    for is_killed in [true, false] {
        let space = TestSpace::new();
        let server = busybox::serve(&space);
        let mut one = start_first(&space, &format!("{GATE}; false"), "echo second");
        let two = start_second(&space);
        if is_killed {
            one.child.kill().unwrap();
        } else {
            open_gate(&space);
        }
        assert!(!one.wait().status.success());
        two.wait().success().says(&["second"]);
        drop(server);
    }
}

#[test]
fn an_interruption_ends_the_waiting_and_nothing_else() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    let one = start_first(&space, GATE, "false");
    let two = start_second(&space);
    kill_process(Pid::from_child(&two.child), Signal::INT).unwrap();
    two.wait().fails_with(130);
    // What it waited for was under way all the time.
    open_gate(&space);
    one.wait().success();
    drop(server);
}

#[test]
fn a_build_without_cache_neither_waits_nor_makes_others_wait() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    let one = start_first(&space, GATE, "echo second");
    let outcome = space.build(&space.path("context")).arg("--no-cache").run().success();
    outcome.says(&["second"]).never_says(&["waits for"]);
    open_gate(&space);
    one.wait().success();
    drop(server);
}

#[test]
fn two_kilns_that_do_what_the_other_wants_do_not_wait_for_each_other() {
    requires!("root", "busybox", "timeout");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    let stage = |name: &str| format!("FROM busybox AS {name}\nRUN sleep 1; echo {name} > /{name}\n");
    let last = "FROM scratch\nCOPY --from=x /x /\nCOPY --from=y /y /\n";
    let contexts = [["x", "y"], ["y", "x"]].map(|[first, second]| {
        let dockerfile = format!("{}{}{last}", stage(first), stage(second));
        space.context(first, &[("Dockerfile", &dockerfile)])
    });
    let start = |context: &Path| space.build(context).args(["-j", "1"]).under(["timeout", "300"]).start();
    let started = contexts.map(|context| start(&context));
    let [one, two] = started.map(|running| running.wait().success().digest());
    assert_eq!(one, two);
    drop(server);
}

#[test]
fn two_kilns_that_pull_the_same_fetch_each_blob_once() {
    requires!("busybox");
    let space = TestSpace::new();
    let served = busybox::images();
    let fetched = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&fetched);
    let server = HttpServer::start(move |request| {
        let response = served.answer(request);
        if response.status == 200 && response.body.len() > 100_000 {
            counter.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(500));
        }
        response
    });
    space.config(&mirror_config(&server.host()));
    let started: Vec<Running> = (0..3).map(|_| space.kiln(["pull", "busybox"]).start()).collect();
    started.into_iter().for_each(|running| drop(running.wait().success()));
    assert_eq!(fetched.load(Ordering::SeqCst), 1);
}

/// Returns how often kilns are killed: `KILN_KILL_ROUNDS`, or a few times.
fn rounds() -> usize {
    std::env::var("KILN_KILL_ROUNDS").ok().map_or(15, |text| text.parse().unwrap())
}

/// Returns what decides when they are killed: `KILN_KILL_SEED`, or the same each time.
fn seed() -> u64 {
    std::env::var("KILN_KILL_SEED").ok().map_or(0x2545_f491_4f6c_dd1d, |text| text.parse().unwrap())
}

#[test]
fn kills_at_any_moment_leave_a_sound_store_and_the_next_build_is_right() {
    requires!("root", "busybox");
    let (space, other) = (TestSpace::new(), TestSpace::new());
    let server = busybox::serve(&space);
    let _far = busybox::serve(&other);
    let lines = "FROM busybox AS a\nCOPY data /data\nRUN seq 1 20000 > /numbers && cp -r /bin /copy\n\
        FROM busybox\nWORKDIR /w\nRUN --mount=type=cache,target=/c cat /c/n > n; echo $N >> /c/n; rm n\n\
        COPY --from=a /numbers /copy/ ./\nRUN ls -n . | busybox tail -n +2 > /list\nARG N\nRUN echo $N > /n\n";
    let place = |space: &TestSpace| {
        let context = space.context("context", &[("Dockerfile", lines)]);
        fs::write(context.join("data"), crate::faults::noise(2 << 20)).unwrap();
        context
    };
    let (context, fresh) = (place(&space), place(&other));
    let build = |space: &TestSpace, context: &Path, number: usize| {
        space.build(context).args(["--build-arg", &format!("N={number}"), "-t", "app"])
    };
    let expected = build(&other, &fresh, 0).run().success().digest();
    let mut state = seed();
    for round in 0..rounds() {
        let mut started: Vec<Running> =
            (0..4).map(|number| build(&space, &context, round * 4 + number).start()).collect();
        started.push(space.kiln(["prune", "-af", "--max", "1M"]).start());
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_millis((state >> 33) % 900));
        for mut running in started {
            running.child.kill().unwrap();
            drop(running.child.wait_with_output().unwrap());
        }
        let checked = space.kiln(["fsck"]).run();
        assert!(checked.status.success(), "round {round}: {checked}");
        assert_eq!(build(&space, &context, 0).run().success().digest(), expected, "round {round}");
    }
    drop(server);
}

#[test]
fn a_prune_takes_nothing_that_running_builds_use() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    let lines = "FROM busybox AS a\nCOPY data /data\nRUN seq 1 20000 > /numbers && cp -r /bin /copy\n\
        FROM busybox\nARG N\nRUN echo $N > /n\nWORKDIR /w\nCOPY --from=a /numbers /copy/ ./\nRUN ls -n . | busybox tail -n +2 > /list\n";
    let context = space.context("context", &[("Dockerfile", lines)]);
    fs::write(context.join("data"), crate::faults::noise(1 << 20)).unwrap();
    for round in 0..3 {
        let build = |number: usize| {
            let argument = format!("N={}", round * 2 + number);
            space.build(&context).args(["--build-arg", &argument, "-t", &format!("app{number}")]).start()
        };
        let mut running = [0, 1].map(build);
        while running.iter_mut().any(|running| running.child.try_wait().unwrap().is_none()) {
            space.kiln(["prune", "-af"]).on_a_damaged_store().run().success();
        }
        running.into_iter().for_each(|running| drop(running.wait().success()));
        space.kiln(["fsck"]).run().success();
    }
    drop(server);
}
