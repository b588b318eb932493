//! Repositories that try to reach out of their files, and surroundings that try to reach in.

use std::io::Write;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use super::Scene;
use crate::support::requires;

/// Writes a tree with names that git itself would not put there, and a commit with it on `main`.
fn commit_tree(scene: &Scene, entries: &[u8]) {
    let git = |arguments: &[&str], input: &[u8]| {
        let mut command = Command::new("git");
        command.args(arguments).current_dir(scene.repository.path(""));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let tree = git(&["hash-object", "-t", "tree", "-w", "--stdin", "--literally"], entries);
    let text = format!("tree {tree}\nauthor A <a> 1 +0000\ncommitter A <a> 1 +0000\n\nx\n");
    let commit = git(&["hash-object", "-t", "commit", "-w", "--stdin"], text.as_bytes());
    git(&["update-ref", "refs/heads/main", &commit], b"");
}

/// Returns an entry of a tree object: mode, name and the raw bytes of an id.
fn entry(mode: &str, name: &str, id: &str) -> Vec<u8> {
    let raw = (0..id.len()).step_by(2).map(|at| u8::from_str_radix(&id[at..at + 2], 16).unwrap());
    [format!("{mode} {name}\0").into_bytes(), raw.collect()].concat()
}

#[test]
fn names_that_lead_elsewhere_are_refused_and_nothing_is_written_there() {
    requires!("git");
    let scene = Scene::new();
    let blob = scene.repository.git(&["rev-parse", "HEAD:README"]);
    let tree = scene.repository.git(&["rev-parse", "HEAD:sub"]);
    for (entries, name) in [
        (vec![entry("100644", "..", &blob)], "dot dot"),
        (vec![entry("40000", "..", &tree)], "a directory dot dot"),
        (vec![entry("40000", ".git", &tree)], "a git directory"),
        (vec![entry("40000", ".GIT", &tree)], "a git directory in capitals"),
        (vec![entry("40000", "git~1", &tree)], "a short name"),
        (vec![entry("100644", "a/../../escaped", &blob)], "slashes"),
        (vec![entry("120000", "x", &blob), entry("40000", "x", &tree)], "a link and a directory"),
    ] {
        commit_tree(&scene, &entries.concat());
        let outcome = scene.add(&format!("{} /d", scene.url())).run();
        assert!(!outcome.crashed(), "{name}: {outcome}");
        for place in
            ["escaped", "store/escaped", "store/scratch/inner", "store/inner", "store/scratch/escaped"]
        {
            assert!(!scene.space.path(place).exists(), "{name}: {place}");
        }
        let left: Vec<_> = std::fs::read_dir(scene.space.path("store/scratch")).unwrap().collect();
        assert!(left.is_empty(), "{name}: {left:?}");
    }
}

#[test]
fn links_are_never_followed_out_of_the_repository() {
    requires!("git");
    let scene = Scene::new();
    symlink("/etc", scene.repository.path("etc")).unwrap();
    symlink("etc/passwd", scene.repository.path("Dockerfile")).unwrap();
    scene.repository.commit();
    let [etc, file] =
        ["etc", "Dockerfile"].map(|name| scene.repository.git(&["rev-parse", &format!("HEAD:{name}")]));
    scene.add(&format!("{} /", scene.url())).run().success();
    assert!(scene.listing().contains(&"etc -> /etc".to_owned()));
    scene.build_remote(&scene.url()).run().fails_with(1).says(&["cannot read the Dockerfile"]);
    let links = [entry("120000", ".gitattributes", &file), entry("120000", "etc", &etc)];
    commit_tree(&scene, &links.concat());
    scene.add(&format!("{} /", scene.url())).run().success();
    assert_eq!(scene.listing(), [".gitattributes -> etc/passwd", "etc -> /etc"]);
    commit_tree(&scene, &entry("120000", ".gitmodules", &file));
    scene.add(&format!("{} /", scene.url())).run().fails_with(1).says(&["invalid path '.gitmodules'"]);
}

#[test]
fn attributes_change_line_ends_and_run_no_filter() {
    requires!("git");
    let scene = Scene::new();
    let marker = scene.space.path("marker");
    scene.repository.write(".gitattributes", "*.bin filter=lfs\n*.bat text eol=crlf\n*.x filter=evil\n");
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:01\nsize 1\n";
    scene.repository.write("a.bin", pointer).write("b.bat", "x\n").write("c.x", "plain\n").commit();
    let config = format!(
        "[filter \"evil\"]\n\tsmudge = touch {0}\n[core]\n\thooksPath = {1}\n\tsshCommand = touch {0}\n[alias]\n\tfetch = !touch {0}\n\
         [filter \"lfs\"]\n\tsmudge = touch {0}\n\trequired = true\n[url \"http://127.0.0.1:1/\"]\n\tinsteadOf = http://\n",
        marker.display(),
        scene.space.path("hooks").display(),
    );
    scene.space.file("home/.gitconfig", &config);
    let hook = scene.space.file("hooks/post-checkout", format!("#!/bin/sh\ntouch {}\n", marker.display()));
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let call = scene.add(&format!("{} /", scene.url()));
    let call = call.env("GIT_DIR", "/nonexistent").env("GIT_CONFIG_PARAMETERS", "'core.bare=true'");
    let call = call.env("GIT_EXEC_PATH", "/nonexistent").env("GIT_PROXY_COMMAND", "/nonexistent");
    call.env("GIT_CONFIG_GLOBAL", scene.space.path("home/.gitconfig")).run().success();
    let expected = ["a.bin version https", "b.bat x\\r\\n", "c.x plain\\n"];
    let listing = scene.listing();
    for (index, start) in expected.iter().enumerate() {
        assert!(listing[index + 2].starts_with(start), "{listing:?}");
    }
    assert!(!marker.exists());
}
