//! How containers begin, run and end: exit codes, lists, names, signals, kills, a full disk.

use rustix::process::{Pid, Signal, kill_process};

use super::moving::started;
use super::{EXTREMES, Scene, Way};
use crate::entering::runs;
use crate::running::until_quiet;
use crate::support::mounts::{Filesystem, Mounted};
use crate::support::requires;
use crate::support::terminal::Terminal;
use crate::support::waiting::until;

#[test]
fn the_exit_code_is_the_commands_and_dockers_where_it_could_not_run() {
    requires!("root", "busybox", "setpriv", "newuidmap", "python3");
    for way in EXTREMES {
        let scene = Scene::new(way);
        let script = "cat; echo out; echo err >&2; exit 7";
        let call = scene.kiln(&["run", "--rm", "-i", "busybox", "sh", "-c", script]).stdin("in\n");
        let outcome = call.run().fails_with(7);
        assert_eq!(outcome.text(), "in\nout\n", "{way:?}");
        assert!(outcome.stderr.contains("err\n"), "{way:?}: {outcome}");
        scene
            .kiln(&["run", "--rm", "busybox", "sh", "-c", "sh -c 'kill -9 $$'; exit $?"])
            .run()
            .fails_with(137);
        scene.kiln(&["run", "--rm", "busybox", "missing"]).run().fails_with(127).says(&["missing"]);
        scene.kiln(&["run", "--rm", "busybox", "/etc"]).run().fails_with(126);
        assert_eq!(scene.said(&["ps", "-aq"]), "", "{way:?}");
    }
    let scene = Scene::new(Way::Root);
    scene.kiln(&["run", "--pull=never", "nowhere"]).run().fails_with(125).says(&["no such image: `nowhere`"]);
    scene.kiln(&["run", "-d", "busybox"]).run().fails_with(125).says(&["no flag `-d`", "there is no daemon"]);
    scene
        .kiln(&["run", "-it", "busybox"])
        .run()
        .fails_with(125)
        .says(&["the input device is not a terminal"]);
    scene.kiln(&["run", "--user=nobody2", "busybox"]).run().fails_with(125).says(&["nobody2"]);
    scene.build("none", "FROM scratch\nCOPY Dockerfile /\n");
    scene.kiln(&["run", "none"]).run().fails_with(125).says(&["no command specified"]);
}

#[test]
fn flags_say_what_the_command_finds_around_it() {
    requires!("root", "busybox");
    let scene = Scene::new(Way::Root);
    scene.build(
        "app",
        "FROM busybox\nENV A=image B=image\nENTRYPOINT [\"echo\", \"entry\"]\nCMD [\"cmd\"]\nWORKDIR /w\n",
    );
    let bind = scene.space.file("bind/f", "bound\n").parent().unwrap().display().to_string();
    let file = scene.space.file("env", "# no\nD=4\nHOME=/h\n").display().to_string();
    for (flags, command, expected) in [
        (vec![], vec![], "entry cmd\n"),
        (vec![], vec!["mine"], "entry mine\n"),
        (vec!["--entrypoint=busybox"], vec!["pwd"], "/w\n"),
        (vec!["--entrypoint=", "-e", "A=flag"], vec!["sh", "-c", "echo $A $B"], "flag image\n"),
        (vec!["--entrypoint=busybox", "-w", "/new/deep"], vec!["pwd"], "/new/deep\n"),
        (vec!["--entrypoint=id", "-u", "5:6"], vec![], "uid=5 gid=6 groups=6\n"),
        (vec!["--entrypoint=sh", "--env-file", &file], vec!["-c", "echo $D $HOME"], "4 /h\n"),
        (vec!["--entrypoint=cat", "-v", &format!("{bind}:/b:ro")], vec!["/b/f"], "bound\n"),
        (vec!["--entrypoint=sh", "--tmpfs", "/t"], vec!["-c", "echo x > /t/x; ls /t"], "x\n"),
        (
            vec!["--entrypoint=sh", "--hostname=me", "--add-host=far:10.0.0.1"],
            vec!["-c", "busybox hostname; busybox grep -c far /etc/hosts"],
            "me\n1\n",
        ),
        // Ends of tunnels may be there, too, and are down.
        (
            vec!["--entrypoint=sh", "--network=none"],
            vec!["-c", "busybox ip -o link show up | busybox cut -d: -f2"],
            " lo\n",
        ),
    ] {
        let call = scene.kiln(&["run", "--rm"]).args(&flags).arg("app").args(&command);
        assert_eq!(call.run().success().text(), expected, "{flags:?} {command:?}");
    }
    let call = scene.kiln(&[
        "run",
        "--rm",
        "--entrypoint=sh",
        "-v",
        &format!("{bind}:/b"),
        "app",
        "-c",
        "echo new > /b/g",
    ]);
    call.run().success();
    assert_eq!(std::fs::read_to_string(scene.space.path("bind/g")).unwrap(), "new\n");
    for (flag, says) in [
        ("--volume=name:/x", "volumes with a name"),
        ("--volume=/x:relative", "no absolute path"),
        ("--network=bridge", "no such network"),
        ("--workdir=w", "absolute path"),
        ("--mount=type=volume,target=/x", "`volume` is not built yet"),
    ] {
        scene.kiln(&["run", flag, "app"]).run().fails_with(125).says(&[says]);
    }
    let missing = format!("--volume={bind}/missing:/b");
    scene.kiln(&["run", "--rm", &missing, "app"]).run().fails_with(125).says(&["cannot mount `/b`"]);
}

#[test]
fn containers_are_listed_found_and_removed_by_name_id_or_how_it_begins() {
    requires!("root", "busybox");
    let scene = Scene::new(Way::Root);
    let one = scene.said(&[
        "create",
        "--name=one",
        "--label=k=v",
        "busybox",
        "echo",
        "a\nb",
        "c d e f g h i j k l",
    ]);
    let one = one.trim();
    scene.kiln(&["run", "--name=two", "busybox", "false"]).run().fails_with(1);
    // A name that kiln finds could have `one` in it, as `stone` has.
    scene.said(&["run", "--name=three", "busybox", "true"]);
    let table = scene.said(&["ps", "-a"]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("CONTAINER ID   IMAGE     COMMAND"), "{table}");
    assert_eq!(lines.len(), 4, "{table}");
    let line = lines.iter().find(|line| line.ends_with("one")).unwrap();
    assert!(
        line.starts_with(&one[..12])
            && line.contains("\"echo a b c d e f g …\"")
            && line.contains("Created  "),
        "{line}"
    );
    assert!(lines.iter().any(|line| line.ends_with("two") && line.contains("Exited (1)")), "{table}");
    assert_eq!(scene.said(&["ps"]).lines().count(), 1, "nothing runs");
    assert_filters_find(&scene, one);
    scene.kiln(&["ps", "--filter=color=red"]).run().fails_with(2).says(&["no such filter"]);
    assert_formats_are_dockers(&scene, one);
    for name in ["a b", "-x", "a\nb", "../x", ""] {
        scene
            .kiln(&["create", &format!("--name={name}"), "busybox"])
            .run()
            .fails_with(1)
            .says(&["invalid container name"]);
    }
    let hostile = scene.kiln(&["run", "--name=a\n\x1b[31mb", "busybox"]).run().fails_with(125);
    hostile.says(&["invalid container name `a\\x0a\\x1b[31mb`: only"]);
    let taken = scene.kiln(&["run", "--name=one", "busybox", "true"]).run().fails_with(125);
    taken.says(&["the container name `one` is already in use", one]);
    scene
        .kiln(&["rm", "tow", "two"])
        .run()
        .fails_with(1)
        .says(&["no such container: `tow` (did you mean `two`?)"]);
    assert_eq!(scene.said(&["rm", "-f", "gone", &one[..8]]), format!("{}\n", &one[..8]));
    assert_eq!(scene.said(&["ps", "-aq"]).lines().count(), 1);
    assert!(scene.said(&["container", "prune", "-f"]).starts_with("Deleted Containers:\n"));
    assert_eq!(scene.said(&["ps", "-aq"]), "");
}

/// How many containers each filter leaves of `one`, with the id given, which never ran, and of two that have ended.
#[track_caller]
fn assert_filters_find(scene: &Scene, one: &str) {
    for (filter, count) in [
        ("name=one", 1),
        ("label=k", 1),
        ("label=k=w", 0),
        ("status=exited", 2),
        ("status=created", 1),
        ("exited=1", 1),
        ("ancestor=busybox", 3),
        ("ancestor=other", 0),
        ("since=one", 2),
        ("before=one", 0),
        (&format!("id={}", &one[..6]), 1),
    ] {
        assert_eq!(
            scene.said(&["container", "ls", "-aq", "--filter", filter]).lines().count(),
            count,
            "{filter}"
        );
    }
}

/// The container `one`, with the id given, in the formats of Docker.
#[track_caller]
fn assert_formats_are_dockers(scene: &Scene, one: &str) {
    let json: serde_json::Value =
        serde_json::from_str(&scene.said(&["ps", "-a", "-f", "name=one", "--format=json"])).unwrap();
    assert_eq!([&json["Names"], &json["State"], &json["Image"]], ["one", "created", "busybox"]);
    for (flags, expected) in [
        (
            &["--format={{.Names}} {{.State}} {{.Labels}}|{{.Ports}}|{{.Networks}}"][..],
            "one created k=v||host\n",
        ),
        (
            &["--format=table {{.Names}}\\t{{.Image}}\\t{{.State}}"],
            "NAMES     IMAGE     STATE\none       busybox   created\n",
        ),
        (&["--no-trunc", "--format={{.ID}}"], &format!("{one}\n")),
    ] {
        let line = [&["ps", "-a", "-f", "name=one"], flags].concat();
        assert_eq!(scene.said(&line), expected, "{flags:?}");
    }
    let sized = scene.said(&["ps", "-a", "-s", "-f", "name=one"]);
    let lines: Vec<&str> = sized.lines().map(str::trim_end).collect();
    assert!(lines[0].ends_with("SIZE") && lines[1].ends_with('B'), "{sized}");
    scene
        .kiln(&["ps", "--format={{.Foo}}", "-a"])
        .run()
        .fails_with(1)
        .says(&["can't evaluate field Foo in type container"]);
}

/// Nothing of the place is mounted or running any more.
#[track_caller]
pub(super) fn is_quiet(scene: &Scene) {
    let mark = scene.space.path("").file_name().unwrap().to_string_lossy().into_owned();
    until_quiet(&mark);
}

#[test]
fn a_container_that_runs_is_one_kilns_alone_and_survives_its_kill_and_its_interruption() {
    requires!("root", "busybox", "setpriv", "newuidmap", "python3");
    for (way, signal, code) in [
        (Way::Root, Signal::KILL, None),
        (Way::Chroot, Signal::KILL, None),
        (Way::Single, Signal::TERM, Some(143)),
    ] {
        let scene = Scene::new(way);
        let mut child = started(&scene, &[], "echo x > /x; echo y > /y; echo ready; sleep 7777");
        until("it is listed", || scene.said(&["ps"]).contains(" Up "));
        for (words, code, says) in [
            (vec!["rm", "web"], 1, "cannot remove container `web`: it is running"),
            (vec!["start", "-a", "web"], 125, "cannot start container `web`: it is running"),
            (vec!["cp", "/etc/hosts", "web:/"], 1, "cannot copy into container `web`: it is running"),
        ] {
            scene.kiln(&words).run().fails_with(code).says(&[says]);
        }
        if way == Way::Root && signal == Signal::KILL {
            let image = scene.said(&["images", "-q"]).trim().to_owned();
            let says = ["(cannot be forced) - image is being used by running container"];
            scene.kiln(&["rmi", "-f", &image]).run().fails_with(1).says(&says);
        }
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code().filter(|_| code.is_some()), code);
        is_quiet(&scene);
        let listed = scene.said(&["ps", "-a"]);
        assert!(listed.contains(&format!("Exited ({})", code.unwrap_or(137))), "{listed}");
        let changes = scene.said(&["diff", "web"]);
        assert_eq!(changes, "A /x\nA /y\n", "{way:?} {signal:?}");
        scene.said(&["rm", "web"]);
        assert_eq!(scene.said(&["ps", "-aq"]), "");
        scene.kiln(&["fsck"]).run().success();
    }
}

#[test]
fn a_terminal_of_a_container_has_keys_and_a_size_and_is_given_back() {
    requires!("root", "busybox", "setsid");
    let scene = Scene::new(Way::Root);
    scene.said(&["pull", "busybox"]);
    let mut terminal = Terminal::start(scene.kiln(&["run", "-it", "--name=web", "busybox", "sh"]));
    let before = format!("{:?}", terminal.first_modes().local_modes);
    terminal.shows("/ # ");
    terminal.keys("busybox tty; echo is $TERM; echo x > /x\n");
    terminal.shows("/dev/pts/0\r\nis xterm\r\n");
    let job = format!("sleep 88{}", std::process::id());
    terminal.keys(&format!("{job}\n"));
    runs(&job);
    terminal.keys("\x03");
    terminal.keys("echo 'al'ive $?\n");
    terminal.shows("alive 130\r\n");
    terminal.keys("exit 3\n");
    until("it ends", || terminal.child.try_wait().unwrap().is_some());
    assert_eq!(format!("{:?}", terminal.modes().local_modes), before);
    assert_eq!(terminal.end().0.code(), Some(3));
    assert_eq!(scene.said(&["diff", "web"]), "A /x\n");
    // Without a terminal of its own it never sees the one that shows its output.
    let mut plain =
        Terminal::start(scene.kiln(&["run", "--rm", "busybox", "sh", "-c", "test -t 1 || echo 'no'ne"]));
    plain.shows("none\r\n");
    assert_eq!(plain.end().0.code(), Some(0));
}

#[test]
fn on_a_full_disk_the_command_fails_and_the_container_can_still_be_removed() {
    requires!("root", "busybox");
    let scene = Scene::new(Way::Root);
    let disk = Mounted::new(scene.space.path("disk"), Filesystem::Tmpfs("24m"));
    let store = disk.path.join("store");
    let kiln = |words: &[&str]| scene.kiln(words).store(&store);
    let fill = "dd if=/dev/urandom of=/big bs=1M count=60";
    let outcome = kiln(&["run", "--name=web", "busybox", "sh", "-c", fill]).run();
    assert!(matches!(outcome.status.code(), Some(1 | 125)), "{outcome}");
    outcome.says(&["o space left on device"]);
    kiln(&["commit", "web", "big"]).run().fails_with(1).says(&["o space left on device"]);
    kiln(&["rm", "web"]).run().success();
    kiln(&["run", "--rm", "busybox", "true"]).run().success();
    kiln(&["fsck"]).run().success();
    drop(disk);
}
