//! Unprivileged users: one with subordinate ids, one without. Made when absent; needs root.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::space::TestSpace;

/// A user of this machine that the tests run the program as.
pub(crate) struct User {
    /// The login name.
    pub(crate) name: String,
    /// The home directory.
    pub(crate) home: PathBuf,
    place: PathBuf,
}

/// Returns the user who has subordinate ids, with a home in `space`.
pub(crate) fn with_subordinate_ids(space: &TestSpace) -> User {
    ensure("kilntest", Some(300_000));
    User::new("kilntest", space)
}

/// Returns the user who has only one id, with a home in `space`.
pub(crate) fn with_single_id(space: &TestSpace) -> User {
    ensure("kilnsingle", None);
    User::new("kilnsingle", space)
}

impl User {
    fn new(name: &str, space: &TestSpace) -> Self {
        let place = space.path(&format!("of-{name}"));
        let user = Self { name: name.to_owned(), home: place.join("home"), place };
        // Once: a store that is there already has files of other ids, and set-id bits that a change of owner takes.
        if !user.home.exists() {
            fs::create_dir_all(&user.home).unwrap();
            user.own(&user.place);
        }
        user
    }

    /// Returns a path in the user's own place.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.place.join(relative)
    }

    /// Gives a path, and everything below it, to the user.
    pub(crate) fn own(&self, path: &Path) {
        check(Command::new("chown").arg("-Rh").arg(&self.name).arg(path));
    }

    /// Returns the words that run a program as this user.
    pub(crate) fn prefix(&self) -> Vec<OsString> {
        let name = &self.name;
        let words = [
            "setpriv",
            &format!("--reuid={name}"),
            &format!("--regid={name}"),
            "--init-groups",
            "--inh-caps=-all",
        ];
        words.iter().map(OsString::from).collect()
    }

    /// Puts a copy of a program where the user can read it.
    pub(crate) fn copy_of(&self, program: &Path) -> PathBuf {
        let copy = self.place.join(program.file_name().unwrap());
        if !copy.exists() && fs::hard_link(program, &copy).is_err() {
            // Written by another process: a child that a thread beside has just begun would have the copy open for writing, and nobody
            // may run it then.
            check(Command::new("cp").arg(program).arg(&copy));
        }
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
        copy
    }
}

/// Makes a user unless there is one; two tests may do so at once, so the answer is checked and not the call.
fn ensure(name: &str, subordinate_from: Option<u32>) {
    let lock = fs::File::create(std::env::temp_dir().join("kiln-test-users.lock")).unwrap();
    lock.lock().unwrap();
    if !exists(name) {
        check(
            Command::new("useradd")
                .args([
                    "--create-home",
                    "--no-user-group",
                    "--shell",
                    "/bin/sh",
                    "-K",
                    "SUB_UID_COUNT=0",
                    "-K",
                    "SUB_GID_COUNT=0",
                ])
                .arg(name),
        );
        check(Command::new("groupadd").args(["--force", name]));
        check(Command::new("usermod").args(["--gid", name, name]));
    }
    let listed = |file: &str| {
        fs::read_to_string(file).unwrap_or_default().lines().any(|line| line.starts_with(&format!("{name}:")))
    };
    if let Some(first) = subordinate_from
        && !(listed("/etc/subuid") && listed("/etc/subgid"))
    {
        let range = format!("{first}-{}", first + 65_535);
        check(Command::new("usermod").args(["--add-subuids", &range, "--add-subgids", &range, name]));
    }
    assert!(subordinate_from.is_some() || !listed("/etc/subuid"), "user {name} must have no subordinate ids");
}

fn exists(name: &str) -> bool {
    Command::new("id").arg(name).output().unwrap().status.success()
}

fn check(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
