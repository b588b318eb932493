//! `kiln build --check-repro`: steps are done a second time, and what is not the same is named.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::faults::assert_nothing_left;
use crate::running::processes_mentioning;
use crate::support::waiting::until;
use crate::support::{Outcome, TestSpace, busybox, confined, requires, users};

/// Steps, and for those that do not make the same again what is said of them.
const STEPS: [(&str, Option<&str>); 12] = [
    ("echo same > /same; touch -d 2001-02-03 /same", None),
    ("date +%s > /seconds", Some("(perhaps a time in seconds since 1970)")),
    (
        "hostname > /hostname",
        Some("/hostname differs at byte 0 of 16: `buildkitsandbox` and `another-machine`"),
    ),
    ("sh -c 'echo $$' > /pid; true", Some("/pid differs at byte ")),
    ("find /many > /order", Some("/order differs at byte ")),
    ("cat /proc/sys/kernel/random/uuid > /uuid", Some("/uuid differs at byte ")),
    ("echo x | gzip > /x.gz", None),
    ("touch \"/$(cat /proc/sys/kernel/random/uuid)\"", Some("made the ")),
    ("chmod $(test $(hostname) = buildkitsandbox && echo 600 || echo 640) /same", Some("/same (mode ")),
    ("ls /many | sort > /sorted; rm /many/1", None),
    ("mkdir -p /deep/er && ln -s er /deep/link && ln /sorted /hard", None),
    ("test \"$(hostname)\" = buildkitsandbox", Some("exit code: 1, the second time: see `")),
];

fn dockerfile(steps: impl Iterator<Item = String>) -> String {
    let head = "FROM scratch AS first\nCOPY busybox /bin/busybox\n\
        RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n\
        RUN mkdir /many && cd /many && for name in $(seq 1 30); do echo $name > $name; done\n";
    steps.fold(head.to_owned(), |text, step| text + &step)
}

fn context(space: &TestSpace, text: &str) -> PathBuf {
    let context = space.context("context", &[("Dockerfile", text)]);
    fs::copy("/bin/busybox", context.join("busybox")).unwrap();
    context
}

fn check(space: &TestSpace, context: &Path, flag: &str) -> Outcome {
    space.build(context).arg(flag).run()
}

/// Asserts that exactly the steps that should differ are named, with what they should say.
fn assert_named(outcome: &Outcome) {
    for (command, expected) in STEPS {
        let line = outcome.stderr.lines().find(|line| {
            let instruction: String = format!("RUN {command}").chars().take(40).collect();
            line.starts_with(&format!("  because: {instruction}"))
        });
        match (line, expected) {
            (Some(line), Some(expected)) => assert!(line.contains(expected), "{line}"),
            (None, None) => {}
            (found, _) => panic!("{command}: {found:?}\n{outcome}"),
        }
    }
}

#[test]
fn what_is_not_the_same_is_named_by_step_file_and_byte_whether_it_was_cached_or_not() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let steps = STEPS.iter().map(|(command, _)| format!("RUN {command}\n"));
    let context = context(&space, &dockerfile(steps));
    let first = check(&space, &context, "--check-repro").fails_with(1);
    assert_named(&first);
    let differing = STEPS.iter().filter(|(_, expected)| expected.is_some()).count();
    let said = format!("error: {differing} of {} steps did not make the same", STEPS.len() + 3);
    let first = first.says(&[&said, "(Dockerfile:6)"]);
    let second = check(&space, &context, "--check-repro").fails_with(1);
    assert_named(&second);
    assert!(second.stderr.contains("CACHED"), "{second}");
    let log = space.kiln(["log", "last"]).run().success().text();
    assert!(log.contains("\ndiffers after "), "{log}");
    assert_eq!(log.lines().filter(|line| line.starts_with("not the same: RUN ")).count(), differing, "{log}");
    // The image is there all the same, and the second results are nowhere: the next build finds the first ones.
    assert_eq!(second.digest(), first.digest());
    assert_eq!(space.build(&context).run().success().digest(), first.digest());
}

#[test]
fn the_number_of_processors_is_another_where_there_are_several() {
    requires!("root", "busybox");
    // What a program may run on; a share of time that a control group has makes the number of them no smaller.
    let several = rustix::thread::sched_getaffinity(None).unwrap().count() > 1;
    let space = TestSpace::new();
    let context = context(&space, &dockerfile(["RUN nproc > /nproc\n".to_owned()].into_iter()));
    let outcome = check(&space, &context, "--check-repro");
    match several {
        true => drop(outcome.fails_with(1).says(&["/nproc differs at byte 0"])),
        false => drop(outcome.success()),
    }
}

#[test]
fn steps_of_one_stage_can_be_chosen_and_bad_ones_below_make_no_other_bad() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let text = dockerfile(["RUN cat /proc/sys/kernel/random/uuid > /uuid\n".to_owned()].into_iter())
        + "FROM first AS second\nRUN cp /uuid /copied\nFROM first\nCOPY --from=second /copied /\n\
           RUN --mount=type=bind,from=second,target=/second cp /second/copied /bound\n";
    let context = context(&space, &text);
    check(&space, &context, "--check-repro=second").success();
    check(&space, &context, "--check-repro=stage-2").success();
    let said = "error: 1 of 7 steps did not make the same";
    check(&space, &context, "--check-repro").fails_with(1).says(&[said, "RUN cat"]);
    check(&space, &context, "--check-repro=first,second").fails_with(1).says(&["1 of 5 steps"]);
    let unknown = check(&space, &context, "--check-repro=secnod").fails_with(1);
    unknown.says(&["no step of a stage `secnod` is built, so none can be done again"]);
}

#[test]
fn a_step_is_compared_with_what_it_made_of_the_same_inputs() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let uuid = "RUN cat /proc/sys/kernel/random/uuid > /uuid\n".to_owned();
    let text = dockerfile([uuid].into_iter()) + "FROM scratch AS last\nCOPY --from=first /uuid /\n";
    let context = context(&space, &text);
    space.build(&context).run().success();
    // The first stage is another one now, of which the last stage has not been made.
    space.build(&context).args(["--no-cache=first", "--target=first"]).run().success();
    check(&space, &context, "--check-repro=last").success();
}

#[test]
fn programs_are_told_in_events() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let step = "RUN cat /proc/sys/kernel/random/uuid > /uuid; echo 1 > /x\n".to_owned();
    let context = context(&space, &dockerfile([step].into_iter()));
    let call = space.kiln(["build", "--progress=json", "--check-repro"]).arg(&context);
    let outcome = call.run().fails_with(1);
    let events: Vec<Value> = outcome.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let repeated: Vec<&Value> = events.iter().filter(|event| event["event"] == "step-repeated").collect();
    let verdicts: Vec<&str> = repeated.iter().map(|event| event["verdict"].as_str().unwrap()).collect();
    assert_eq!(verdicts.iter().filter(|verdict| **verdict == "same").count(), 3);
    let differing = repeated.iter().find(|event| event["verdict"] == "differs").unwrap();
    assert_eq!((&differing["count"], &differing["files"][0]["path"]), (&1.into(), &"uuid".into()));
    assert_eq!(differing["files"][0]["first_byte"]["sizes"], serde_json::json!([37, 37]));
    let last = events.last().unwrap();
    assert_eq!((&last["event"], &last["exit_code"]), (&"failed".into(), &1.into()));
}

#[test]
fn copies_are_checked_where_no_steps_run_and_steps_for_a_user_with_a_single_id() {
    requires!("root", "busybox");
    let space = TestSpace::shared();
    let copies = space.context("copies", &[("Dockerfile", "FROM scratch\nCOPY a /\nADD a /b\n"), ("a", "a")]);
    let call = space.build(&copies).arg("--check-repro").under(confined::prefix(&["sys_chroot"]));
    let outcome = call.run().success();
    assert_eq!(outcome.stderr.matches(" SAME ").count(), 2, "{outcome}");
    let space = TestSpace::shared();
    let user = users::with_single_id(&space);
    let step = "RUN chown 7:8 /many; hostname > /hostname\n".to_owned();
    let context = context(&space, &dockerfile([step].into_iter()));
    let outcome = space.build(&context).arg("--check-repro").by(Some(&user)).run().fails_with(1);
    outcome.says(&["error: 1 of 4 steps", "/hostname differs at byte 0"]);
}

#[test]
fn a_cache_mount_is_as_the_first_time_left_it_and_secrets_and_other_roots_are_there_again() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let steps = "RUN --mount=type=cache,target=/cache echo x >> /cache/log; cp /cache/log /made\n\
        RUN --mount=type=secret,id=token,required wc -c < /run/secrets/token > /length\n\
        RUN names=$(ls /); echo $names > /names\n";
    let context = context(&space, &dockerfile([steps.to_owned()].into_iter()));
    let secret = format!("id=token,src={}", space.file("token", "a secret").display());
    for root in ["overlay", "copy"] {
        space.config(&format!("[build]\nroot = \"{root}\"\n"));
        let call = space.build(&context).args(["--check-repro", "--no-cache", "--secret", &secret]);
        let outcome = call.run().fails_with(1);
        let hint = "the second time a cache mount is as the first time left it";
        outcome
            .says(&["error: 1 of 6 steps", "/made differs at byte ", "where one of them ends", hint])
            .never_says(&["a secret"]);
    }
}

#[test]
fn an_interruption_ends_the_second_time_and_the_image_has_its_name() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    let mark = space.path("").file_name().unwrap().to_string_lossy().into_owned();
    let step = format!("test $(hostname) = buildkitsandbox || sh -c 'sleep 7777; echo {mark}'");
    let context = space.context("context", &[("Dockerfile", &format!("FROM busybox\nRUN {step}\n"))]);
    let running = space.build(&context).args(["-t", "named", "--check-repro"]).start();
    until("the step runs again", || {
        processes_mentioning(&mark).iter().any(|line| line.starts_with("sh -c "))
    });
    kill_process(Pid::from_child(&running.child), Signal::INT).unwrap();
    running.wait().fails_with(130);
    space.kiln(["inspect", "named"]).run().success();
    assert_nothing_left(&space, &mark);
    drop(server);
}
