//! kiln is interrupted or killed while a step is prepared, runs, and is looked at: nothing stays behind.

use std::fs;
use std::io::Read;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::faults::assert_nothing_left;
use crate::support::program::Running;
use crate::support::waiting::PATIENCE;
use crate::support::{TestSpace, busybox, requires};

/// When it happens.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// The files of a bind mount are laid out.
    Preparing,
    /// The step's program runs.
    Running,
    /// The program has ended, and its many files become a layer.
    Diffing,
}

/// Files that take a while to lay out, and to look at.
const FILES: usize = 1000;

fn start(space: &TestSpace, mark: &str, phase: Phase) -> Running {
    let dockerfile = match phase {
        // It does not end by itself, so that the files are there however late somebody looks.
        Phase::Preparing => {
            format!(
                "FROM busybox\nRUN --mount=type=bind,target=/c ls /c > /list; echo {mark}; while :; do sleep 100; done\n"
            )
        }
        Phase::Running => {
            format!("FROM busybox\nRUN echo at {mark}; trap '' TERM INT; while :; do sleep 100; done\n")
        }
        Phase::Diffing => {
            format!(
                "FROM busybox\nRUN mkdir /m && cd /m && seq 1 {FILES} | busybox xargs touch; echo at {mark}\n"
            )
        }
    };
    let context = space.context("context", &[("Dockerfile", &dockerfile)]);
    if let Phase::Preparing = phase {
        // Left out by the ignore file is one file, so that the context cannot be shown as it is.
        fs::write(context.join(".dockerignore"), "0\n").unwrap();
        (0..FILES)
            .for_each(|number| fs::write(context.join(number.to_string()), number.to_string()).unwrap());
    }
    space.build(&context).start()
}

/// Returns when a build has come to a phase.
fn await_phase(space: &TestSpace, running: &mut Running, mark: &str, phase: Phase) {
    let wanted = format!(" at {mark}\n");
    let (mut seen, mut buffer) = (String::new(), [0; 4096]);
    match phase {
        Phase::Preparing => {
            let scratch = space.store().join("scratch");
            let is_begun = || {
                let names = fs::read_dir(&scratch).into_iter().flatten().flatten();
                names.map(|entry| entry.file_name()).any(|name| name.to_string_lossy().contains("bind"))
            };
            let begun = Instant::now();
            // Often, for it does not last.
            while !is_begun() {
                assert!(begun.elapsed() < PATIENCE, "the step is never prepared");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        // The command's own text is shown first, with more behind it.
        Phase::Running | Phase::Diffing => {
            while !seen.contains(&wanted) {
                let count = running.child.stderr.as_mut().unwrap().read(&mut buffer).unwrap();
                assert!(count > 0, "the build ended early: {seen}");
                seen += &String::from_utf8_lossy(&buffer[..count]);
            }
        }
    }
}

#[test]
fn a_kill_in_any_phase_of_a_step_leaves_nothing() {
    requires!("root", "busybox");
    for phase in [Phase::Preparing, Phase::Running, Phase::Diffing] {
        let space = TestSpace::new();
        let server = busybox::serve(&space);
        let mark = space.path("").file_name().unwrap().to_string_lossy().into_owned();
        let mut running = start(&space, &mark, phase);
        await_phase(&space, &mut running, &mark, phase);
        running.child.kill().unwrap();
        let outcome = running.wait();
        // What was all but done may have ended well before.
        let may_have_ended = matches!(phase, Phase::Diffing) && outcome.status.success();
        assert!(outcome.status.code().is_none() || may_have_ended, "{phase:?}: {outcome}");
        assert_nothing_left(&space, &mark);
        drop(server);
    }
}

#[test]
fn an_interruption_in_any_phase_of_a_step_ends_the_build_and_leaves_nothing() {
    requires!("root", "busybox");
    for (phase, signal) in
        [(Phase::Preparing, Signal::INT), (Phase::Running, Signal::INT), (Phase::Diffing, Signal::TERM)]
    {
        let space = TestSpace::new();
        let server = busybox::serve(&space);
        let mark = space.path("").file_name().unwrap().to_string_lossy().into_owned();
        let mut running = start(&space, &mark, phase);
        await_phase(&space, &mut running, &mark, phase);
        kill_process(Pid::from_child(&running.child), signal).unwrap();
        let outcome = running.wait();
        // What was all but done may end well.
        assert!(matches!(outcome.status.code(), Some(130 | 0)), "{phase:?} {signal:?}: {outcome}");
        assert_nothing_left(&space, &mark);
        drop(server);
    }
}
