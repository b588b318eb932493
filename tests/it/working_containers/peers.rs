//! The same steps by buildah: the same files in the image that is made.

use super::{Scene, Way};
use crate::second_builder::described;
use crate::support::engine::Engine;
use crate::support::image::read_one;
use crate::support::{peers, requires};

const SCRIPT: &str = "mkdir -p /d/e && echo a > /d/f && ln /d/f /d/h && ln -s f /d/l && chown 3:4 /d/f && chmod 750 /d/e \
    && rm /bin/yes && rm -r /home && mkdir /home && echo n > /home/n && mv /root /root2 && chmod 4755 /bin/busybox";

/// Paths that are not compared: buildah leaves what it made to mount something on, kiln takes it away as after a RUN.
const MOUNT_POINTS: [&str; 4] = ["etc/hostname", "etc/hosts", "etc/resolv.conf", "run"];

#[test]
fn an_image_made_of_a_container_has_the_files_that_buildah_makes_of_the_same_steps() {
    requires!("root", "busybox", "buildah");
    let scene = Scene::new(Way::Root);
    scene.build("base", "FROM busybox\nCMD [\"sh\"]\n");
    let layout = |image: &str, name: &str| {
        let archive = scene.space.path(&format!("{name}.tar"));
        scene.kiln(&["save", "--format=oci", "-o"]).arg(&archive).arg(image).run().success();
        let directory = scene.space.path(name);
        std::fs::create_dir(&directory).unwrap();
        peers::run("tar", ["-xf", archive.to_str().unwrap(), "-C", directory.to_str().unwrap()]);
        directory
    };
    let file = scene.space.file("copied", "copied\n").display().to_string();
    scene.said(&["create", "--name=web", "base", "sh", "-c", SCRIPT]);
    scene.said(&["start", "-a", "web"]);
    scene.said(&["cp", &file, "web:/d/e/"]);
    scene.said(&["commit", "-c", "ENV A=1", "web", "made"]);
    let ours = layout("made", "ours");
    let base = scene.space.path("base.tar");
    scene.kiln(&["save", "-o"]).arg(&base).arg("base").run().success();
    let buildah = Engine::new("buildah", &scene.space.path("buildah"));
    let theirs = scene.space.path("theirs");
    let container = buildah.run(["from", &format!("docker-archive:{}", base.display())]);
    buildah.run(["run", "--isolation=chroot", &container, "sh", "-c", SCRIPT]);
    buildah.run(["copy", &container, &file, "/d/e/"]);
    buildah.run(["config", "--env", "A=1", &container]);
    let layout = format!("oci:{}:made", theirs.display());
    buildah.run(["commit", "--quiet", "--format=oci", &container, &layout]);
    buildah.run(["rm", &container]);
    let (ours_by_path, theirs_by_path) = (described(&ours), described(&theirs));
    let paths = ours_by_path.keys().chain(theirs_by_path.keys());
    let told: Vec<_> = paths
        .map(|path| (path, ours_by_path.get(path), theirs_by_path.get(path)))
        .filter(|(path, ours, theirs)| ours != theirs && !MOUNT_POINTS.contains(&path.as_str()))
        .collect();
    assert!(told.is_empty(), "{told:#?}");
    for layout in [ours, theirs] {
        let env = read_one(&layout).config["config"]["Env"].clone();
        assert!(env.as_array().unwrap().contains(&"A=1".into()), "{env}");
    }
}
