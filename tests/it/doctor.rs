//! `kiln doctor` in different worlds: what it says of each, and that its exit code is what a build would find.

use serde_json::Value;

use crate::support::users::{self, User};
use crate::support::{Invocation, Outcome, TestSpace, requires};

fn doctor(space: &TestSpace, user: Option<&User>) -> Invocation {
    let call = space.kiln(["doctor", "--format=json"]);
    call.by(user)
}

fn report(outcome: &Outcome) -> Value {
    serde_json::from_slice(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome}"))
}

/// Returns the state of each rung.
fn states(report: &Value) -> String {
    let rungs = report["rungs"].as_array().unwrap();
    rungs
        .iter()
        .map(|rung| format!("{}={} ", rung["name"].as_str().unwrap(), rung["state"].as_str().unwrap()))
        .collect()
}

const OUT: &str = "out-of-reach";

#[test]
fn each_user_stands_on_a_rung_and_those_above_say_why_not() {
    requires!("root", "setpriv", "newuidmap");
    let space = TestSpace::shared();
    let (granted, single) = (users::with_subordinate_ids(&space), users::with_single_id(&space));
    let rest = "chroot=not-needed none=not-needed ";
    for (user, expected, says) in [
        (None, "root=taken subordinate ids=not-needed single id=not-needed ".to_owned(), ""),
        (Some(&granted), format!("root={OUT} subordinate ids=taken single id=not-needed "), "user ids"),
        (Some(&single), format!("root={OUT} subordinate ids={OUT} single id=taken "), "/etc/subuid"),
    ] {
        let report = report(&doctor(&space, user).run().success());
        assert_eq!(states(&report), expected + rest);
        assert!(report["rungs"][1]["why"].as_str().unwrap().contains(says), "{report}");
        assert_eq!(
            (&report["run"], &report["roots"], &report["format"]),
            (&true.into(), &"overlay".into(), &1.into())
        );
        assert!(report["store"]["free_bytes"].as_u64().unwrap() > 0);
        assert!(report["tools"][0]["path"].as_str().unwrap().ends_with("newuidmap"));
    }
    let text = space.kiln(["doctor"]).run().success().text();
    assert!(text.starts_with("RUN works here, on the rung \"root\"\n"), "{text}");
}

#[test]
fn a_tool_that_fails_is_named_and_leaves_a_single_id() {
    requires!("root", "setpriv", "newuidmap", "unshare", "busybox");
    let space = TestSpace::shared();
    let server = crate::support::busybox::serve(&space);
    let user = users::with_subordinate_ids(&space);
    let context = space.context("context", &[("Dockerfile", "FROM busybox\nRUN chown 1:2 /bin\n")]);
    for tool in ["newuidmap", "newgidmap"] {
        let script = format!("mount --bind /bin/false \"$(command -v {tool})\" && exec \"$@\"");
        let broken = || ["unshare", "--mount", "sh", "-c", &script, "sh"].map(str::to_owned);
        let report = report(&doctor(&space, Some(&user)).under(broken()).run().success());
        assert!(states(&report).contains(" single id=taken"), "{report}");
        assert!(
            report["rungs"][1]["why"].as_str().unwrap().contains(&format!("`{tool}` failed")),
            "{report}"
        );
        space.build(&context).by(Some(&user)).under(broken()).arg("--no-cache").run().success();
    }
    drop(server);
}

/// Returns the words that run a program in a user namespace in which no other can be made, without its rights.
fn without_namespaces() -> Vec<String> {
    let script = "echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --bounding-set=-all --inh-caps=-all \"$@\"";
    ["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh"].map(str::to_owned).to_vec()
}

#[test]
fn where_user_namespaces_are_switched_off_the_switch_is_named_and_run_is_impossible() {
    requires!("root", "unshare", "setpriv", "busybox");
    let space = TestSpace::new();
    let report = report(&doctor(&space, None).under(without_namespaces()).run().fails_with(4));
    assert_eq!(report["run"], false);
    assert!(states(&report).ends_with("none=taken "), "{report}");
    for rung in [1, 2] {
        let rung = &report["rungs"][rung];
        assert!(rung["why"].as_str().unwrap().contains("user.max_user_namespaces"), "{report}");
        assert!(rung["cure"].as_str().unwrap().contains("sysctl -w"), "{report}");
    }
    let server = crate::support::busybox::serve(&space);
    let context = space.context("context", &[("Dockerfile", "FROM busybox\nRUN true\n")]);
    let outcome = space.build(&context).under(without_namespaces()).run().fails_with(4);
    outcome.says(&["Dockerfile:2", "`kiln doctor` says what this machine lacks"]);
    drop(server);
}

#[test]
fn in_a_container_with_a_filter_the_filter_is_named() {
    requires!("root", "setpriv", "perl");
    // Installs a filter that answers `unshare` with EPERM, as a container's does: four instructions of 8 bytes.
    let script = r#"
        sub op { pack('S C C L', @_) }
        my $f = op(0x20,0,0,0) . op(0x15,0,1,272) . op(6,0,0,0x00050001) . op(6,0,0,0x7fff0000);
        my $prog = pack('S x6 P', 4, $f);
        syscall(157, 38, 1, 0, 0, 0) == 0 or die "no_new_privs: $!";
        syscall(157, 22, 2, $prog) == 0 or die "filter: $!";
        exec @ARGV or die;
    "#;
    let words = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--inh-caps=-all",
        "perl",
        "-e",
        script,
    ];
    let shared = TestSpace::shared();
    let store = shared.path("store");
    std::fs::create_dir(&store).unwrap();
    std::os::unix::fs::chown(&store, Some(65534), Some(65534)).unwrap();
    let program = shared.path("kiln");
    std::fs::copy(crate::support::space::program(), &program).unwrap();
    let call = shared.kiln(["doctor", "--format=json"]).program(&program).under(words);
    let report = report(&call.run().fails_with(4));
    let rung = &report["rungs"][2];
    assert!(
        rung["why"].as_str().unwrap().contains("a system call filter surrounds this process"),
        "{report}"
    );
    assert!(rung["cure"].as_str().unwrap().contains("unconfined seccomp"), "{report}");
}

#[test]
fn a_store_that_cannot_hold_overlays_is_found_by_trying() {
    requires!("root");
    let space = TestSpace::new();
    let disk = crate::support::mounts::Mounted::new(
        space.path("overlay"),
        crate::support::mounts::Filesystem::Overlay,
    );
    let report = report(&doctor(&space, None).store(&disk.path.join("store")).run().success());
    assert_eq!((&report["run"], &report["roots"]), (&true.into(), &"copy".into()));
    assert!(report["why_copies"].as_str().is_some_and(|why| !why.is_empty()), "{report}");
    drop(disk);
}
