//! `RUN --mount=type=ssh` and `--ssh`: a real agent with a key, asked by a real client from within a step.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::users::{self, User};
use crate::support::waiting::until;
use crate::support::{Invocation, TestSpace, busybox, peers, requires};

/// Text that belongs to the key, and by which a client shows that it has reached the agent.
const COMMENT: &str = "canary-of-the-key";

/// An agent with one key, which ends with the test.
struct Agent {
    socket: PathBuf,
    process: Child,
}

impl Agent {
    fn start(folder: &Path, user: Option<&User>) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let (socket, key) = (folder.join("agent.sock"), folder.join("key"));
        let made = peers::output(
            "ssh-keygen",
            ["-q", "-t", "ed25519", "-N", "", "-C", COMMENT, "-f", key.to_str().unwrap()],
        );
        assert!(made.status.success(), "{made:?}");
        if let Some(user) = user {
            user.own(folder);
        }
        let mut words = user.map(User::prefix).unwrap_or_default();
        words.extend(["ssh-agent", "-D", "-a"].map(Into::into));
        words.push(socket.clone().into());
        let mut command = Command::new(&words[0]);
        let process = command.args(&words[1..]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let agent = Self { socket, process };
        // Its socket is there a moment before it listens.
        until("the agent listens", || UnixStream::connect(&agent.socket).is_ok());
        let added =
            Command::new("ssh-add").arg("-q").arg(&key).env("SSH_AUTH_SOCK", &agent.socket).output().unwrap();
        assert!(added.status.success(), "{added:?}");
        agent
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.process.kill().and_then(|()| self.process.wait()).unwrap();
    }
}

/// Writes a context with `ssh-add` and the libraries that it needs.
pub(crate) fn context(space: &TestSpace, dockerfile: &str) -> PathBuf {
    let context = space.context("context", &[("Dockerfile", dockerfile)]);
    let listed = peers::output("ldd", ["/usr/bin/ssh-add"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    let libraries = listed.split_whitespace().filter(|word| word.starts_with('/'));
    for file in libraries.chain(["/usr/bin/ssh-add"]) {
        let place = context.join("root").join(file.trim_start_matches('/'));
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::copy(file, place).unwrap();
    }
    context
}

fn build(space: &TestSpace, user: Option<&User>, dockerfile: &str) -> Invocation {
    let call = space.build(&context(space, dockerfile));
    call.by(user)
}

pub(crate) const BASE: &str = "FROM busybox\nCOPY root /\n";

#[test]
fn a_step_of_root_and_of_a_user_asks_the_agent_whoever_builds() {
    requires!("root", "busybox", "setpriv", "newuidmap", "ssh-agent", "ssh-keygen", "ldd");
    let space = TestSpace::shared();
    let server = busybox::serve(&space);
    let dockerfile = format!(
        "{BASE}RUN --mount=type=ssh,required ssh-add -l && echo $SSH_AUTH_SOCK > /place && stat -c %a:%u:%g $SSH_AUTH_SOCK > /mode\n\
         USER nobody\n\
         RUN --mount=type=ssh,uid=65534,gid=65534 ssh-add -l && test $(stat -c %u $SSH_AUTH_SOCK) = $(id -u)\n\
         USER root\n\
         RUN --mount=type=ssh,id=other,target=/a --mount=type=ssh,mode=0666 test ! -e /a && SSH_AUTH_SOCK=/run/buildkit/ssh_agent.1 ssh-add -l\n\
         RUN test ! -e /run/buildkit && test \"$(cat /place /mode | tr '\\n' ' ')\" = '/run/buildkit/ssh_agent.0 600:0:0 '\n"
    );
    let mut digests = Vec::new();
    for user in [None, Some(users::with_subordinate_ids(&space)), Some(users::with_single_id(&space))] {
        let name = user.as_ref().map_or("root", |user| &user.name);
        let dockerfile = match name {
            // There a step of nobody is one of root that believes otherwise.
            "kilnsingle" => dockerfile.replace(" && test $(stat -c %u $SSH_AUTH_SOCK) = $(id -u)", ""),
            _ => dockerfile.clone(),
        };
        let agent = Agent::start(&space.path(&format!("agent-{name}")), user.as_ref());
        let call = build(&space, user.as_ref(), &dockerfile).arg("--ssh=default");
        let outcome = call.env("SSH_AUTH_SOCK", &agent.socket).run().success().says(&[COMMENT]);
        let flag = format!("--ssh=default={}", agent.socket.display());
        let again = build(&space, user.as_ref(), &dockerfile).args(["--no-cache", &flag]).run().success();
        assert_eq!(outcome.digest(), again.digest());
        digests.push(outcome.digest());
        // Of the agent nothing is kept but the flag that named it, for `kiln enter` and `kiln log`.
        let store = user.as_ref().map_or(space.store(), |user| user.path("store"));
        let path = agent.socket.to_str().unwrap();
        let records = ["--exclude-dir=last-build", "--exclude=journal.jsonl"];
        let found = peers::output("grep", ["-rlF", records[0], records[1], path, store.to_str().unwrap()]);
        assert_eq!(String::from_utf8_lossy(&found.stdout), "", "the agent's place is in the store");
    }
    assert_eq!(digests[0], digests[1]);
    drop(server);
}

#[test]
fn an_agent_that_is_missing_is_an_error_only_where_it_is_required() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    let optional = "FROM busybox\nRUN --mount=type=ssh test ! -e $SSH_AUTH_SOCK\n";
    space.build(&space.context("optional", &[("Dockerfile", optional)])).run().success();
    let required = "FROM busybox\nRUN --mount=type=ssh,id=git,required true\n";
    let outcome = space.build(&space.context("required", &[("Dockerfile", required)])).run();
    outcome.fails_with(1).says(&[
        "ssh agent `git` is required, but the build was not given it",
        "Dockerfile:2:1",
        "help: `--ssh git` hands on the agent of SSH_AUTH_SOCK, `--ssh git=SOCKET` another, `--ssh git=KEY` the key of a file",
    ]);
    drop(server);
}
