//! What is made of a container: images, archives, lists of changes; the same on all ways of running.

use super::{EXTREMES, Scene, WAYS, Way};
use crate::roots::CHANGES;
use crate::support::flatten::Flat;
use crate::support::layer::{self, Kind};
use crate::support::requires;

/// What `kiln diff` says after the second step of [`CHANGES`].
const SAID: &str = include_str!("said.txt");

/// Returns an instruction of [`CHANGES`], without its first word.
fn script(line: usize) -> &'static str {
    CHANGES.lines().nth(line).unwrap().trim_start_matches("RUN ")
}

#[test]
fn a_layer_of_a_container_is_the_layer_that_a_step_makes_in_each_way_of_running() {
    requires!("root", "busybox", "setpriv", "newuidmap", "python3");
    let mut all = Vec::new();
    for way in WAYS {
        let scene = Scene::new(way);
        let base = format!("FROM busybox\nRUN {}\n", script(1));
        scene.build("base", &base);
        scene.build("built", &format!("{base}RUN {}\n", script(2)));
        scene.kiln(&["run", "--name=web", "base", "sh", "-c", script(2)]).run().success();
        assert_eq!(scene.said(&["diff", "web"]), SAID, "{way:?}");
        let id = scene.said(&["commit", "-m", "by hand", "-a", "me", "-c", "ENV A=$PATH", "web", "made"]);
        assert_eq!(scene.layers("made"), scene.layers("built"), "{way:?}");
        let history = scene.said(&["history", "made"]);
        assert!(history.lines().nth(1).unwrap().ends_with("by hand"), "{history}");
        // Two operands are images.
        scene.kiln(&["diff", "web", "made"]).run().fails_with(1).says(&[
            "no such image: `web`",
            "`web` is a container: `kiln diff web` shows what was changed in it, and `kiln commit web` makes an image",
        ]);
        // What was made of it once is made of it again.
        assert_eq!(scene.said(&["commit", "-m", "by hand", "-a", "me", "-c", "ENV A=$PATH", "web"]), id);
        assert_eq!(scene.said(&["ps", "-aq"]).lines().count(), 1);
        all.push((way, id, scene.layers("made")));
    }
    let differing: Vec<_> = all.iter().filter(|(_, id, _)| *id != all[0].1).collect();
    assert!(differing.is_empty(), "{all:#?}");
}

#[test]
fn an_export_has_the_files_of_the_container_with_their_owners() {
    requires!("root", "busybox", "setpriv", "newuidmap", "python3");
    for way in EXTREMES {
        let scene = Scene::new(way);
        let script = "mkdir /o && echo a > /o/f && chown 1:2 /o/f && ln -s f /o/l && chown -h 5:6 /o/l && ln /o/f /o/h \
            && rm /bin/yes && mkdir /v/in && echo kept > /v/in/f";
        scene.kiln(&["run", "--name=web", "-v", "/v", "busybox", "sh", "-c", script]).run().success();
        let archive = scene.kiln(&["export", "web"]).run().success().stdout;
        let mut flat = Flat::new();
        flat.apply(&layer::read_tar(&archive[..]).entries);
        let owner = |path: &str| flat.get(path.as_bytes()).map(|node| (node.uid, node.gid));
        let owners = ["o/f", "o/l", "bin/yes", "v", "v/in"].map(owner);
        let expected = [Some((1, 2)), Some((5, 6)), None, Some((0, 0)), None];
        assert_eq!(owners, expected, "{way:?}");
        let file = flat.get(b"o/h").unwrap();
        assert!(
            matches!(&file.kind, Kind::File(_, _, Some(content)) if content == b"a\n"),
            "{:?}",
            file.kind
        );
        // What lies in a volume stays with the container.
        assert!(scene.said(&["cp", "web:/v/in/f", "-"]).contains("kept"));
        let outcome = scene.kiln(&["diff", "--exit-code", "web"]).run().fails_with(3);
        assert_eq!(outcome.text(), "C /bin\nD /bin/yes\nA /o\nA /o/f\nA /o/h\nA /o/l\nA /v\n", "{way:?}");
        let document: serde_json::Value =
            serde_json::from_str(&scene.said(&["diff", "--format=json", "web"])).unwrap();
        assert_eq!(document["format"], 1);
        assert_eq!(document["changes"][1], serde_json::json!({ "change": "D", "path": "/bin/yes" }));
    }
}

#[test]
fn an_image_in_use_is_removed_only_by_force_and_its_container_goes_on() {
    requires!("root", "busybox");
    let scene = Scene::new(Way::Root);
    scene.build("app", "FROM busybox\nRUN echo x > /x\n");
    let image = scene.said(&["images", "-q", "app"]).trim().to_owned();
    let container = scene.said(&["create", "--name=web", "app", "cat", "/x"]);
    let container = &container[..12];
    let message = format!(
        "conflict: unable to remove repository reference \"app:latest\" (must force) - container {container} is using its referenced image {image}"
    );
    scene.kiln(&["rmi", "app"]).run().fails_with(1).says(&[&message]);
    let message = format!(
        "conflict: unable to delete {image} (must be forced) - image is being used by stopped container {container}"
    );
    scene.kiln(&["rmi", &image]).run().fails_with(1).says(&[&message]);
    scene.said(&["tag", "app", "other"]);
    assert_eq!(scene.said(&["rmi", "other"]), "Untagged: other:latest\n");
    assert!(scene.said(&["rmi", "-f", "app"]).starts_with("Untagged: app:latest\n"));
    scene.said(&["prune", "--all", "--force"]);
    scene.kiln(&["fsck"]).run().success();
    assert_eq!(scene.said(&["start", "-a", "web"]), "x\n");
    scene.said(&["commit", "web", "back"]);
    assert_eq!(scene.said(&["run", "--rm", "back"]), "x\n");
    scene.said(&["rm", "web"]);
    scene.said(&["rmi", "back"]);
    scene.said(&["prune", "--all", "--force"]);
    assert_eq!(
        scene
            .said(&["df", "--format=json"])
            .lines()
            .filter(|line| line.contains("\"type\":\"containers\"") && line.contains("\"count\":0"))
            .count(),
        1
    );
}

#[test]
fn what_a_change_says_is_in_the_image_and_what_it_cannot_say_is_an_error() {
    requires!("root", "busybox");
    let scene = Scene::new(Way::Root);
    scene.said(&["create", "--name=web", "-e", "A=1", "-l", "x=y", "-w", "/w", "-u", "7", "busybox", "sh"]);
    let changes = [
        "CMD [\"/c\"]",
        "ENTRYPOINT [\"/e\"]",
        "ENV B=$A",
        "EXPOSE 80",
        "LABEL z=1",
        "ONBUILD RUN true",
        "STOPSIGNAL TERM",
        "USER 8",
        "VOLUME /v",
        "WORKDIR d",
        "HEALTHCHECK NONE",
    ];
    let flags: Vec<String> = changes.iter().map(|change| format!("--change={change}")).collect();
    let call = scene.kiln(&["commit"]).args(&flags).args(["web", "made"]);
    call.run().success();
    let document: serde_json::Value = serde_json::from_str(&scene.said(&["inspect", "made"])).unwrap();
    let config = &document[0]["Config"];
    for (field, expected) in [
        ("Cmd", serde_json::json!(["/c"])),
        ("Entrypoint", serde_json::json!(["/e"])),
        ("User", "8".into()),
        ("WorkingDir", "/w/d".into()),
        ("StopSignal", "TERM".into()),
        ("OnBuild", serde_json::json!(["RUN true"])),
        ("Labels", serde_json::json!({"x": "y", "z": "1"})),
    ] {
        assert_eq!(config[field], expected, "{field}");
    }
    let env = config["Env"].as_array().unwrap();
    assert!(env.contains(&"A=1".into()) && env.contains(&"B=1".into()), "{env:?}");
    for (change, says) in
        [("RUN true", "`RUN` is none of"), ("ENV", "change `ENV`"), ("ENV A=1\nRUN x", "more than one line")]
    {
        scene.kiln(&["commit", "-c", change, "web"]).run().fails_with(1).says(&[says]);
    }
    scene
        .kiln(&[
            "commit",
            "web",
            "made@sha256:0000000000000000000000000000000000000000000000000000000000000000",
        ])
        .run()
        .fails_with(1);
}
