//! The git directory, where it is asked for.

use std::path::Path;
use std::process::Command;

use super::Scene;
use crate::support::git::Repository;
use crate::support::requires;

fn git(directory: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args(arguments).current_dir(directory).env("GIT_CONFIG_GLOBAL", "/dev/null");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn git_can_work_with_it_and_finds_nothing_changed() {
    requires!("git");
    let scene = Scene::new();
    let place = scene.space.path("srv");
    let other = Repository::new(&place, "other");
    let inner = other.write("file", "other\n").commit();
    let source = other.path("").display().to_string();
    let add = ["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", &source, "mod"];
    scene.repository.git(&add);
    scene.repository.git(&["config", "-f", ".gitmodules", "submodule.mod.url", "../other.git"]);
    scene.repository.write("run", "x");
    std::fs::set_permissions(
        scene.repository.path("run"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let commit = scene.repository.commit();
    scene.repository.git(&["tag", "-a", "-m", "x", "v1"]);
    let url = format!("http://me:canary@{}/repo.git", scene.server.host());
    let context = scene.space.context(
        "context",
        &[("Dockerfile", &format!("FROM scratch\nADD --keep-git-dir=true {url}#v1 /\n"))],
    );
    let files = scene.space.path("files");
    scene.space.build(&context).args(["-o", &files.display().to_string()]).run().success();
    assert_eq!(git(&files, &["status", "--porcelain", "--ignore-submodules=none"]), "");
    assert_eq!(git(&files, &["rev-parse", "HEAD"]), commit);
    assert_eq!(git(&files, &["describe", "--exact-match"]), "v1");
    assert_eq!(git(&files, &["remote", "get-url", "origin"]), scene.url());
    assert_eq!(git(&files, &["rev-list", "--count", "HEAD"]), "1");
    assert!(git(&files, &["submodule", "status"]).contains(&inner));
    git(&files, &["fsck", "--strict"]);
    assert_eq!(super::files_with(&files, "canary"), Vec::<std::path::PathBuf>::new());
}

#[test]
fn its_bytes_depend_on_no_git_and_no_umask() {
    requires!("git");
    let scene = Scene::new();
    let bulk: String = (0..30_000_u32).map(|number| format!("line {number}\n")).collect();
    scene.repository.write("bulk", &bulk).commit();
    let add = format!("--keep-git-dir=true {} /", scene.url());
    let first = scene.add(&add).run().success().digest();
    for (path, umask) in [("/usr/bin:/bin", "022"), ("/usr/local/bin:/usr/bin:/bin", "077")] {
        let script = format!("umask {umask}; exec \"$@\"");
        let call = scene.add(&add).env("PATH", path).under(["sh", "-c", &script, "sh"]);
        let again = call.store(&scene.space.path(&format!("store{umask}"))).run().success().digest();
        assert_eq!(again, first, "{path} {umask}");
    }
}

#[test]
fn the_ref_and_the_address_count_where_they_are_written_down() {
    requires!("git");
    let scene = Scene::new();
    scene.repository.git(&["branch", "other"]);
    let digest = |name: &str| {
        let add = format!("--keep-git-dir=true {}#{name} /", scene.url());
        scene.add(&add).run().success().digest()
    };
    assert_ne!(digest("main"), digest("other"));
    let plain = scene.add(&format!("--keep-git-dir=true {}?subdir=sub /", scene.url())).run().success();
    assert_eq!(scene.listing(), ["inner inner\\n"], "{plain}");
}
