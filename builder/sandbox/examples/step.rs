//! Runs one command in a root: `step [-n] [-s] [-r] [-u UID] ROOT COMMAND…`, or `step -b N ROOT COMMAND…` to time it.
//! `-s` uses a single id, and `-r` says that files of the root have remembered owners.

#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::io::Write;
use std::time::Instant;

use kiln_sandbox::{
    CancelToken, IdMapping, Network, RootPlan, RunSpec, UserNamespaceOptions, enter, run, run_if_child,
};

fn main() {
    run_if_child();
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let (mut network, mut mapping, mut repeat, mut uid) = (Network::Host, IdMapping::Best, 1, 0);
    let mut has_remembered = false;
    while arguments.first().is_some_and(|argument| argument.starts_with('-')) {
        match arguments.remove(0).as_str() {
            "-n" => network = Network::None,
            "-s" => mapping = IdMapping::Single,
            "-r" => has_remembered = true,
            "-u" => uid = arguments.remove(0).parse().expect("a user id"),
            "-b" => repeat = arguments.remove(0).parse().expect("a number"),
            other => panic!("unknown option {other}"),
        }
    }
    let begin = Instant::now();
    let identity = enter(&UserNamespaceOptions { mapping }).expect("a user namespace");
    let entered = begin.elapsed();
    let lower = arguments.remove(0);
    let mut spec = RunSpec::new(arguments);
    spec.network = network;
    spec.user.uid = uid;
    spec.remembered.has_any = has_remembered;
    let cancel = CancelToken::new().expect("an event");
    let mut times = Vec::new();
    for _ in 0..repeat {
        let scratch = tempfile::tempdir().expect("a directory");
        let (upper, work) = (scratch.path().join("upper"), scratch.path().join("work"));
        std::fs::create_dir(&upper).expect("upper");
        std::fs::create_dir(&work).expect("work");
        let root = RootPlan::Overlay { lower: vec![lower.clone().into()], upper, work };
        let exit =
            run(&spec, &root, &cancel, &mut |bytes| std::io::stdout().write_all(bytes).expect("output"));
        if repeat == 1 {
            println!("{identity:?}: {exit:?}");
            let left = std::process::Command::new("find").arg(scratch.path()).output().expect("find");
            println!("{}", String::from_utf8_lossy(&left.stdout));
        }
        times.push(exit.expect("a step").usage.wall);
    }
    times.sort();
    println!("{identity:?} entered in {entered:?}; median {:?} of {repeat}", times[repeat / 2]);
}
