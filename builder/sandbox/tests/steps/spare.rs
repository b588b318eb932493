//! Keepers that are started before their step.

use std::fs;

use kiln_sandbox::{CancelToken, Spare, run_with};

use crate::harness::Case;
use crate::space::{Space, script_spec};

pub(crate) const ALL: &[Case] = &[
    ("a_keeper_started_by_a_thread_that_is_gone_runs_a_step", other_threads),
    ("a_keeper_waits_while_steps_are_expected_and_goes_with_its_owner", expected),
];

fn output(spare: &Spare, script: &str) -> String {
    let space = Space::new();
    let mut output = Vec::new();
    let mut keep = |bytes: &[u8]| output.extend_from_slice(bytes);
    let spec = script_spec(script);
    let exit = run_with(spare, &spec, &space.overlay(), &CancelToken::new().unwrap(), &mut keep).unwrap();
    assert!(exit.status.is_success());
    assert_eq!(space.changes(), Vec::<String>::new());
    String::from_utf8(output).unwrap()
}

fn other_threads() {
    let spare = Spare::default();
    spare.expect(3);
    for word in ["one", "two", "three", "four"] {
        std::thread::scope(|scope| {
            let step = scope.spawn(|| output(&spare, &format!("echo {word}")));
            assert_eq!(step.join().unwrap(), format!("{word}\n"));
        });
    }
}

fn expected() {
    let spare = Spare::default();
    spare.expect(2);
    let waiting: Vec<usize> = (0..3)
        .map(|_| {
            output(&spare, "true");
            keepers()
        })
        .collect();
    assert_eq!(waiting, [1, 0, 0]);
    spare.expect(9);
    output(&spare, "true");
    assert_eq!(keepers(), 1);
    drop(spare);
    assert_eq!(keepers(), 0);
}

/// How many keepers this process has.
fn keepers() -> usize {
    let parent = format!("PPid:\t{}", std::process::id());
    let is_keeper = |entry: &fs::DirEntry| {
        let read = |name: &str| fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        read("cmdline").starts_with("kiln-sandbox-child") && read("status").lines().any(|line| line == parent)
    };
    fs::read_dir("/proc").unwrap().filter_map(Result::ok).filter(is_keeper).count()
}
