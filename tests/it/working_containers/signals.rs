//! Signals reach the command of a container, and it has a say in what becomes of them.

use std::io::{BufRead, BufReader};

use rustix::process::{Pid, Signal, kill_process};

use super::lives::is_quiet;
use super::{Scene, Way};
use crate::support::program::Running;
use crate::support::requires;
use crate::support::terminal::Terminal;

/// What a command does when it has set its traps: it waits, and not for ever.
const WAITS: &str = "echo ready; for i in $(seq 3000); do sleep 0.02; done";

/// Starts a call, and signals it: each signal once the line before it has been said. Returns its exit code.
#[track_caller]
fn signalled(scene: &Scene, words: &[&str], signals: &[(&str, Signal)]) -> Option<i32> {
    let Running { mut child, .. } = scene.kiln(words).start();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for (line, signal) in signals {
        assert_eq!(lines.next().unwrap().unwrap(), *line, "{words:?}");
        kill_process(Pid::from_child(&child), *signal).unwrap();
    }
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    let code = child.wait().unwrap().code();
    assert_eq!(rest, if code == Some(7) { vec!["told"] } else { Vec::new() }, "{words:?}");
    is_quiet(scene);
    code
}

#[test]
fn a_signal_to_kiln_is_the_commands_who_answers_it_or_ends_of_it() {
    requires!("root", "busybox", "setpriv", "newuidmap", "python3");
    for way in [Way::Root, Way::Single, Way::Chroot] {
        let scene = Scene::new(way);
        let run = |traps: &str, signals: &[(&str, Signal)]| {
            let script = format!("{traps}; {WAITS}");
            signalled(&scene, &["run", "--rm", "busybox", "sh", "-c", &script], signals)
        };
        assert_eq!(run("trap 'echo told; exit 7' TERM", &[("ready", Signal::TERM)]), Some(7), "{way:?}");
        assert_eq!(run(":", &[("ready", Signal::USR2)]), Some(140), "{way:?}");
        let asked = [("ready", Signal::INT), ("int", Signal::TERM), ("term", Signal::INT)];
        assert_eq!(run("trap 'echo int' INT; trap 'echo term' TERM", &asked), Some(130), "{way:?}");
        assert_eq!(scene.said(&["ps", "-aq"]), "", "{way:?}");
    }
}

#[test]
fn a_container_that_is_started_again_and_one_with_a_terminal_get_signals_too() {
    requires!("root", "busybox", "setsid");
    let scene = Scene::new(Way::Root);
    let script = format!("trap 'echo told; exit 7' INT USR1; {WAITS}");
    scene.said(&["create", "--name=web", "busybox", "sh", "-c", &script]);
    assert_eq!(signalled(&scene, &["start", "-a", "web"], &[("ready", Signal::USR1)]), Some(7));
    let words = ["start", "-a", "--sig-proxy=false", "web"];
    assert_eq!(signalled(&scene, &words, &[("ready", Signal::INT)]), Some(130));
    for signal in [None, Some(Signal::USR1)] {
        let mut terminal =
            Terminal::start(scene.kiln(&["run", "--rm", "-it", "busybox", "sh", "-c", &script]));
        terminal.shows("ready\r\n");
        match signal {
            None => terminal.keys("\x03"),
            Some(signal) => kill_process(Pid::from_child(&terminal.child), signal).unwrap(),
        }
        terminal.shows("told\r\n");
        assert_eq!(terminal.end().0.code(), Some(7), "{signal:?}");
    }
    is_quiet(&scene);
}
