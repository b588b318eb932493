//! Files of keys for `RUN --mount=type=ssh`: `--ssh ID=KEY`, served by an agent of the build's own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::agents::{BASE, context};
use crate::support::users;
use crate::support::waiting::{until, until_none};
use crate::support::{TestSpace, busybox, peers, requires};

/// Makes a key with its name as the comment.
fn make_key(folder: &Path, name: &str, passphrase: &str, kind: &[&str]) -> PathBuf {
    fs::create_dir_all(folder).unwrap();
    let key = folder.join(name);
    let words = ["-q", "-N", passphrase, "-C", name, "-f", key.to_str().unwrap(), "-t"];
    let made = peers::output("ssh-keygen", words.iter().chain(kind));
    assert!(made.status.success(), "{made:?}");
    key
}

/// Returns the agents that run in a store, by the directory that they were started in.
fn agents_of(store: &Path) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let directories = processes.filter_map(|process| fs::read_link(process.path().join("cwd")).ok());
    directories.filter(|place| place.starts_with(store)).map(|place| place.display().to_string()).collect()
}

#[test]
fn keys_of_files_are_asked_by_steps_whoever_builds_and_cannot_be_changed_by_them() {
    requires!("root", "busybox", "setpriv", "newuidmap", "ssh-agent", "ssh-keygen", "ldd");
    let space = TestSpace::shared();
    let server = busybox::serve(&space);
    let dockerfile = format!(
        "{BASE}RUN --mount=type=ssh,id=git,required ssh-add -l | tee /listed && test $(ssh-add -L | grep -c ^ssh-) = 2\n\
         RUN --mount=type=ssh,id=git ! ssh-add -D && ! ssh-add -x </dev/null && test $(ssh-add -L | grep -c ^ssh-) = 2\n\
         RUN --mount=type=ssh,id=git ssh-add -L | while read key; do echo \"$key\" > /tmp/key && ssh-add -T /tmp/key || exit 1; done; rm -f /tmp/key\n\
         USER nobody\n\
         RUN --mount=type=ssh,id=git,uid=65534 ssh-add -l\n"
    );
    for user in [None, Some(users::with_subordinate_ids(&space)), Some(users::with_single_id(&space))] {
        let name = user.as_ref().map_or("root", |user| &user.name);
        let folder = space.path(&format!("keys-{name}"));
        let keys = [
            make_key(&folder, "first-key", "", &["ed25519"]),
            make_key(&folder, "second-key", "", &["rsa", "-m", "PEM"]),
        ];
        if let Some(user) = &user {
            user.own(&folder);
        }
        let flag = format!("--ssh=git={},{}", keys[0].display(), keys[1].display());
        let call = space.build(&context(&space, &dockerfile)).by(user.as_ref()).arg(flag);
        call.run().success().says(&["first-key", "(RSA)"]);
        let store = user.as_ref().map_or(space.store(), |user| user.path("store"));
        // The agent ends when the pipe from kiln does, which is a moment after kiln itself.
        until_none(|| agents_of(&store));
        for key in &keys {
            let text = fs::read_to_string(key).unwrap();
            let line = text.lines().nth(2).unwrap();
            let found = peers::output("grep", ["-rlF", "--", line, store.to_str().unwrap()]);
            assert_eq!(String::from_utf8_lossy(&found.stdout), "", "the key is in the store");
        }
    }
    drop(server);
}

#[test]
fn a_key_that_cannot_be_used_is_an_error_before_anything_runs() {
    requires!("ssh-agent", "ssh-keygen");
    let space = TestSpace::new();
    let folder = space.path("keys");
    let key = make_key(&folder, "key", "", &["ed25519"]);
    make_key(&folder, "locked", "a passphrase", &["ed25519"]);
    fs::copy(&key, folder.join("open")).unwrap();
    fs::set_permissions(folder.join("open"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::write(folder.join("text"), "no key\n").unwrap();
    fs::set_permissions(folder.join("text"), fs::Permissions::from_mode(0o600)).unwrap();
    let context = space.context("context", &[("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")]);
    for (name, code, expected) in [
        (
            "locked",
            1,
            &["locked` has a passphrase, and a build asks for none", "help: an agent asks for it"][..],
        ),
        ("open", 1, &["open` has the mode 0640: others than its owner get at it", "help: `chmod 600 "]),
        (
            "text",
            1,
            &["text` is no key of the secure shell: Error loading key", "help: a private key is wanted"],
        ),
        ("missing", 2, &["cannot use `default=", "missing`: No such file or directory"]),
    ] {
        let flag = format!("--ssh=default={}", folder.join(name).display());
        let outcome = space.build(&context).arg(flag).run();
        outcome.fails_with(code).says(expected);
    }
    let flag = format!("--ssh=default={}", key.display());
    let outcome = space.build(&context).arg(&flag).env("PATH", "/var/empty").run();
    outcome.fails_with(1).says(&["`ssh-agent` does not start", "help: install OpenSSH's client"]);
    space.build(&context).arg(&flag).run().success();
}

#[test]
fn the_agent_of_a_build_that_is_killed_ends_with_it() {
    requires!("root", "busybox", "ssh-agent", "ssh-keygen");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    let key = make_key(&space.path("keys"), "key", "", &["ed25519"]);
    let dockerfile = "FROM busybox\nRUN --mount=type=ssh while :; do sleep 100; done\n";
    let context = space.context("context", &[("Dockerfile", dockerfile)]);
    let mut running = space.build(&context).arg(format!("--ssh=default={}", key.display())).start();
    let agents = || agents_of(&space.store().join("scratch"));
    until("an agent listens", || agents().iter().any(|place| Path::new(place).join("socket").exists()));
    running.child.kill().and_then(|()| running.child.wait()).unwrap();
    until("the agent ends", || agents().is_empty());
    drop(server);
}
