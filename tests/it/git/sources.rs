//! ADD: what a reference means, and which files come.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::Scene;
use crate::support::layer::Kind;
use crate::support::requires;

#[test]
fn a_reference_names_a_branch_a_tag_a_commit_or_nothing() {
    requires!("git");
    let scene = Scene::new();
    let first = scene.repository.git(&["rev-parse", "HEAD"]);
    scene.repository.git(&["tag", "light"]);
    scene.repository.git(&["tag", "-a", "-m", "heavy", "heavy"]);
    scene.repository.git(&["update-ref", "refs/pull/7/head", "HEAD"]);
    scene.repository.git(&["branch", "both", "HEAD"]);
    scene.repository.write("README", "second\n").commit();
    scene.repository.git(&["tag", "both"]);
    let url = scene.url();
    for (fragment, expected) in [
        (String::new(), "second"),
        ("#main".to_owned(), "second"),
        ("#light".to_owned(), "first"),
        ("#heavy".to_owned(), "first"),
        ("?tag=heavy".to_owned(), "first"),
        ("#both".to_owned(), "first"),
        ("?tag=both".to_owned(), "second"),
        ("#refs/pull/7/head".to_owned(), "first"),
        ("#pull/7/head".to_owned(), "first"),
        (format!("#{first}"), "first"),
        (format!("#{}", &first[..9]), "first"),
        (format!("?fetch-by-commit&checksum={first}#main"), "first"),
        (format!("?checksum={}#heavy", &first[..8]), "first"),
    ] {
        scene.add(&format!("{url}{fragment} /")).arg("--no-cache").run().success();
        assert!(scene.listing()[0].starts_with(&format!("README {expected}")), "{fragment}");
    }
}

#[test]
fn a_short_commit_in_the_middle_of_the_history_is_found() {
    requires!("git");
    let scene = Scene::new();
    let middle = scene.repository.write("README", "middle\n").commit();
    scene.repository.write("README", "last\n").commit();
    scene.add(&format!("{}#{} /", scene.url(), &middle[..7])).run().success().says(&["whole history"]);
    assert!(scene.listing()[0].starts_with("README middle"));
    scene.add(&format!("{}#main /", scene.url())).run().success();
    assert!(scene.listing()[0].starts_with("README last"));
}

#[test]
fn names_of_any_bytes_modes_and_links_arrive_as_git_keeps_them() {
    requires!("git");
    let scene = Scene::new();
    scene.repository.write(OsStr::from_bytes(b"new\nline"), "a").write(OsStr::from_bytes(b"no\xffutf"), "b");
    scene.repository.write("group", "c").write("run", "d").write("empty/.keep", "");
    let mode = |name: &str, mode| {
        std::fs::set_permissions(scene.repository.path(name), PermissionsExt::from_mode(mode)).unwrap();
    };
    mode("group", 0o664);
    mode("run", 0o744);
    symlink("/etc/passwd", scene.repository.path("out")).unwrap();
    symlink("README", scene.repository.path("in")).unwrap();
    scene.repository.commit();
    let call = scene.add(&format!("{} /", scene.url()));
    call.under(["sh", "-c", "umask 077; exec \"$@\"", "sh"]).run().success();
    let expected = [
        "README first\\n",
        "empty/.keep ",
        "group c",
        "in -> README",
        "new\\nline a",
        "no\\xffutf b",
        "out -> /etc/passwd",
        "run d",
        "sub/inner inner\\n",
    ];
    assert_eq!(scene.listing(), expected);
    for (name, node, _) in scene.files().iter() {
        let expected = match (&node.kind, name) {
            (Kind::Symlink(_), _) => continue,
            (Kind::Directory, _) | (_, b"run") => 0o755,
            _ => 0o644,
        };
        let name = name.escape_ascii();
        assert_eq!((node.mode, node.uid, node.gid), (expected, 0, 0), "{name}");
    }
}

#[test]
fn flags_of_add_apply_to_a_repository() {
    requires!("git");
    let scene = Scene::new();
    let what = format!("--chown=5:6 --chmod=600 --exclude=sub --link {} /d/", scene.url());
    let outcome = scene.add(&what).run().success();
    assert_eq!(scene.listing(), ["d/README first\\n"]);
    let files = scene.files();
    let node = files.get(b"d/README").unwrap();
    assert_eq!((node.mode, node.uid, node.gid), (0o600, 5, 6), "{outcome}");
    scene.add(&format!("{0} {0}?subdir=sub /d/", scene.url())).run().success();
    assert_eq!(scene.listing(), ["d/README first\\n", "d/inner inner\\n", "d/sub/inner inner\\n"]);
}

#[test]
fn files_have_the_time_of_the_commit_when_times_are_kept_and_it_is_asked_for() {
    requires!("git");
    let scene = Scene::new();
    for (flags, time) in [(&["--timestamp", "preserve"][..], 1_577_934_245), (&[], 315_532_800)] {
        scene.add(&format!("{}?mtime=commit /d", scene.url())).args(flags).run().success();
        let times: Vec<i64> = scene.files().iter().map(|(_, node, _)| node.mtime).collect();
        assert!(times[1..].iter().all(|found| *found == time), "{times:?}");
    }
}

#[test]
fn what_is_not_there_is_an_error_that_says_what_is() {
    requires!("git");
    let scene = Scene::new();
    symlink("/etc", scene.repository.path("out")).unwrap();
    scene.repository.commit();
    scene.repository.git(&["branch", "release"]);
    let url = scene.url();
    for (what, says) in [
        (
            "#relaese",
            &["has no branch, tag or commit `relaese`", "did you mean `release`?", "Dockerfile:2"][..],
        ),
        ("#nowhere", &["has no branch, tag or commit `nowhere`", "among others it has `main`, `release`"]),
        ("#0123456789012345678901234567890123456789", &["no branch, tag or commit `0123456789"]),
        ("#:nothing", &["cannot use `nothing`", "it does not exist"]),
        ("#:README/x", &["cannot use `README/x`", "it is no directory"]),
        ("#:out", &["cannot use `out`", "a symlink is on the way"]),
        ("#:out/ssh", &["a symlink is on the way"]),
        ("?checksum=0123456789", &["checksum mismatch", "not `0123456789`"]),
        ("?subdri=x", &["unexpected query `subdri`", "did you mean `subdir`?"]),
        ("?tag=a&branch=b", &["ref conflicts"]),
    ] {
        scene.add(&format!("{url}{what} /d")).run().fails_with(1).says(says);
    }
    scene
        .add(&format!("{}/none.git /d", scene.server.url()))
        .run()
        .fails_with(1)
        .says(&["none.git", "help:"]);
    scene.add("--keep-git-dir=true README /d").run().fails_with(1).says(&["no source is a git repository"]);
    let empty = crate::support::git::Repository::new(&scene.space.path("srv"), "empty");
    scene.add(&format!("{}/empty.git /d", scene.server.url())).run().fails_with(1).says(&["is empty"]);
    drop(empty);
}

#[test]
fn a_machine_without_git_is_told_what_to_install() {
    let scene = Scene::new();
    let call = scene.add(&format!("{} /d", scene.url())).env("PATH", "/nonexistent:.");
    call.run().fails_with(4).says(&["the program `git` is not installed", "install the package `git`"]);
    let old = scene.space.file("old/git", "#!/bin/sh\necho git version 2.31.9\n");
    std::fs::set_permissions(&old, PermissionsExt::from_mode(0o755)).unwrap();
    let call = scene.add(&format!("{} /d", scene.url())).env("PATH", old.parent().unwrap());
    call.run().fails_with(4).says(&["git 2.32 or a newer one is needed, and this is `git version 2.31.9`"]);
}

#[test]
fn history_has_the_instruction_without_user_and_password() {
    requires!("git");
    let scene = Scene::new();
    let url = format!("http://me:canary@{}/repo.git", scene.server.host());
    let outcome = scene.add(&format!("{url}#main /d")).args(["--compat", "buildkit"]).run().success();
    let image = crate::support::image::read_one(&scene.space.path("layout"));
    let expected = format!("ADD {}#main /d # buildkit", scene.url());
    assert_eq!(image.config["history"][0]["created_by"], expected.as_str());
    assert!(!outcome.stderr.contains("canary"), "{outcome}");
    assert_eq!(super::files_with(&scene.space.store(), "canary"), Vec::<std::path::PathBuf>::new());
}
