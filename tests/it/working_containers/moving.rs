//! Containers are read while their command runs: each file as it is at one moment, and nothing is ever damaged.

use std::io::{BufRead, BufReader};
use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};

use super::lives::is_quiet;
use super::{Scene, Way};
use crate::support::flatten::Flat;
use crate::support::layer::{self, Kind};
use crate::support::program::Running;
use crate::support::requires;

/// Runs a script in the container `web` until it has said `ready`.
#[track_caller]
pub(super) fn started(scene: &Scene, flags: &[&str], script: &str) -> Child {
    let words = [&["run", "--name=web"], flags, &["busybox", "sh", "-c", script]].concat();
    let Running { mut child, .. } = scene.kiln(&words).start();
    let mut said = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "ready\n");
    child
}

#[track_caller]
fn end(scene: &Scene, mut child: Child) {
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    child.wait().unwrap();
    is_quiet(scene);
}

#[test]
fn a_container_that_runs_is_listed_exported_copied_and_made_an_image_of_in_each_way_of_running() {
    requires!("root", "busybox", "setpriv", "newuidmap", "python3");
    for way in [Way::Root, Way::Single, Way::Chroot] {
        let scene = Scene::new(way);
        let bind = scene.space.file("bind/f", "bound\n").parent().unwrap().display().to_string();
        let (flag, is_bound) = (format!("{bind}:/mnt/a/b"), way != Way::Chroot);
        let flags = ["-v", "/v", "-v", &flag];
        let script = "mkdir /d; echo x > /d/x; ln /d/x /d/y; chown 3:4 /d/x; echo kept > /v/f; rm /bin/yes; \
            cat /etc/passwd > /w; cat /w > /etc/passwd; echo ready; sleep 7777";
        let child = started(&scene, if is_bound { &flags } else { &flags[..2] }, script);
        let changes = "C /bin\nD /bin/yes\nA /d\nA /d/x\nA /d/y\nC /etc\nC /etc/passwd\nA /v\nA /w\n";
        assert_eq!(scene.said(&["diff", "web"]), changes, "{way:?}");
        let warned = scene.kiln(&["commit", "web", "made"]).run().success();
        let id = warned.says(&["container `web` is running, and kiln cannot pause it"]).text();
        for flag in ["--pause=false", "--no-pause"] {
            let outcome = scene.kiln(&["commit", flag, "web"]).run().success();
            assert_eq!((outcome.text(), outcome.stderr.as_str()), (id.clone(), ""), "{way:?} {flag}");
        }
        scene
            .kiln(&["commit", "-p", "web"])
            .run()
            .fails_with(1)
            .says(&["kiln cannot pause it; end its command"]);
        let mut flat = Flat::new();
        flat.apply(&layer::read_tar(&scene.kiln(&["export", "web"]).run().success().stdout[..]).entries);
        let file = flat.get(b"d/y").unwrap();
        assert!(
            matches!(&file.kind, Kind::File(_, _, Some(content)) if content == b"x\n"),
            "{:?}",
            file.kind
        );
        assert_eq!((file.uid, file.gid, flat.get(b"v/f").is_none()), (3, 4, true), "{way:?}");
        for (path, text) in [("/d/x", "x"), ("/v/f", "kept"), ("/etc/passwd", "root:")] {
            assert!(scene.said(&["cp", &format!("web:{path}"), "-"]).contains(text), "{way:?} {path}");
        }
        end(&scene, child);
        // Nothing has changed since, so it is the same image.
        let after = scene.kiln(&["commit", "--pause", "web"]).run().success();
        assert_eq!((after.text(), after.stderr.as_str()), (id, ""), "{way:?}");
        assert_eq!(scene.said(&["diff", "web"]), changes, "{way:?}");
        assert_eq!(scene.said(&["run", "--rm", "made", "cat", "/d/y"]), "x\n");
        scene.said(&["rm", "web"]);
    }
}

#[test]
fn whatever_is_read_while_a_command_writes_all_the_time_is_whole() {
    requires!("root", "busybox", "setpriv", "newuidmap", "python3");
    // A file that grows, one that is always another one, one whose content is replaced, and directories that come and go.
    let script = "i=0; mkdir /d; a=aaaaaaaaaaaaaaaa; b=bbbbbbbb; echo $a > /s; echo ready; while :; do i=$((i+1)); \
        echo line >> /log; echo $i$a$a > /d/new; mv /d/new /d/always; mkdir -p /d/$i/e; echo $i > /d/$i/e/f; \
        test -e /d/$((i-3)) && rm -r /d/$((i-3)); ln -sf $i /d/l; done";
    for way in [Way::Root, Way::Single] {
        let scene = Scene::new(way);
        let child = started(&scene, &[], script);
        for round in 0..3 {
            assert!(scene.said(&["diff", "web"]).contains("A /d\nA /d/"), "{way:?} {round}");
            scene.said(&["commit", "--no-pause", "web", &format!("made:{round}")]);
            let archive = scene.kiln(&["export", "web"]).run().success().stdout;
            let mut flat = Flat::new();
            flat.apply(&layer::read_tar(&archive[..]).entries);
            let Kind::File(_, _, Some(log)) = &flat.get(b"log").unwrap().kind else { panic!("no log") };
            let lines = String::from_utf8(log.clone()).unwrap();
            assert!(lines.strip_suffix('\n').unwrap().split('\n').all(|line| line == "line"), "{lines}");
            let copied = scene.said(&["cp", "web:/d", "-"]);
            assert!(copied.contains("d/always"), "{way:?} {round}");
        }
        end(&scene, child);
        assert_eq!(scene.said(&["run", "--rm", "made:2", "cat", "/s"]), "aaaaaaaaaaaaaaaa\n");
        scene.kiln(&["fsck"]).run().success();
    }
}
