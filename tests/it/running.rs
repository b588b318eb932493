//! RUN in kiln's own sandbox: as root, as a user with subordinate ids, as a user with a single id.

use std::path::{Path, PathBuf};

use crate::support::image::{check_blobs, read_all, read_one};
use crate::support::layer::Kind;
use crate::support::users::{self, User};
use crate::support::waiting::until_none;
use crate::support::{Invocation, TestSpace, busybox, requires};

const DOCKERFILE: &str = "FROM busybox\nRUN mkdir /out && echo made > /out/file && ln -s file /out/link && rm /etc/group\n\
    WORKDIR /w\nRUN [\"sh\", \"-c\", \"id -u > /out/id; pwd > /out/pwd\"]\nUSER nobody\nRUN id -un > /tmp/who\n";

fn build_as(space: &TestSpace, user: Option<&User>, dockerfile: &str) -> Invocation {
    let context = space.context("context", &[("Dockerfile", dockerfile)]);
    let call = space.build(&context);
    call.by(user)
}

#[test]
fn root_and_users_run_steps_to_the_same_image() {
    requires!("root", "busybox", "setpriv", "newuidmap");
    let space = TestSpace::shared();
    let server = busybox::serve(&space);
    let layout = space.path("layout");
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    let expected = build_as(&space, None, DOCKERFILE).args(["-o", &output]).run().success().digest();
    let flat = read_one(&layout).flatten();
    let content = |path: &str| match &flat.get(path.as_bytes()).unwrap().kind {
        Kind::File(_, _, Some(content)) => String::from_utf8(content.clone()).unwrap(),
        other => panic!("{path}: {other:?}"),
    };
    assert_eq!(
        [content("out/file"), content("out/id"), content("out/pwd"), content("tmp/who")],
        ["made\n", "0\n", "/w\n", "nobody\n"]
    );
    assert!(flat.get(b"etc/group").is_none());
    let user = users::with_subordinate_ids(&space);
    assert_eq!(build_as(&space, Some(&user), DOCKERFILE).run().success().digest(), expected);
    drop(server);
}

#[test]
fn a_user_with_a_single_id_runs_steps_as_root_of_its_own() {
    requires!("root", "busybox", "setpriv");
    let space = TestSpace::shared();
    let server = busybox::serve(&space);
    let user = users::with_single_id(&space);
    let dockerfile = "FROM busybox\nRUN mkdir /out && echo made > /out/file && id -u > /out/id\n";
    let expected = build_as(&space, None, dockerfile).run().success().digest();
    assert_eq!(build_as(&space, Some(&user), dockerfile).run().success().digest(), expected);
    drop(server);
}

/// Owners given by `chown`, by COPY and by USER, on files, links and pipes; files copied up, renamed and removed.
const OWNERS: &str = "FROM busybox AS one\n\
    RUN mkdir /o && echo a > /o/a && ln /o/a /o/b && chown 1:2 /o/a && chmod 4755 /o/a && ln -s a /o/l && chown -h 3:4 /o/l\n\
    RUN mkdir -m 1777 /o/t && mkdir -m 2755 /o/g && chown 7:42 /o/g && rm /o/b && mv /o/a /o/c\n\
    COPY --chown=11:12 Dockerfile /o/d\n\
    RUN echo more >> /o/d && chown 9:9 /o/g && chmod 600 /o/t\n\
    USER 77:88\nRUN id > /tmp/mine && mkdir /tmp/dir\n\
    FROM busybox\nCOPY --from=one /o /o\nCOPY --from=one /tmp /tmp\nRUN touch /o/d && chown 0:0 /o/c && rm -r /o/t\n";

#[test]
fn owners_modes_and_links_are_the_same_for_root_and_all_users() {
    requires!("root", "busybox", "setpriv", "newuidmap");
    let space = TestSpace::shared();
    let server = busybox::serve(&space);
    let expected = build_as(&space, None, OWNERS).run().success().digest();
    for user in [users::with_subordinate_ids(&space), users::with_single_id(&space)] {
        let outcome = build_as(&space, Some(&user), OWNERS).run().success();
        assert_eq!(outcome.digest(), expected, "built by {}", user.name);
    }
    drop(server);
}

#[test]
fn nothing_of_a_step_is_left_when_it_ends() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    let mark = space.path("").file_name().unwrap().to_string_lossy().into_owned();
    let dockerfile = format!(
        "FROM busybox\nRUN (sh -c 'sleep 7777; echo {mark}' &) ; (sh -c 'trap \"\" TERM HUP; sleep 7777; echo {mark}' &) ; true\n"
    );
    build_as(&space, None, &dockerfile).run().success();
    // By the words of the step: a prune that looks after the store goes on behind the build, and has the store's name.
    assert_eq!(processes_mentioning(&format!("echo {mark}")), Vec::<String>::new());
    assert_eq!(mounts_mentioning(&mark), Vec::<String>::new());
    check_blobs(&space.store());
    drop(server);
}

#[test]
fn without_a_network_there_is_only_loopback() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    // A static `wget` may crash where it resolves names, so the bare connection is tried.
    let (address, port) =
        server.host().rsplit_once(':').map(|(host, port)| (host.to_owned(), port.to_owned())).unwrap();
    let dockerfile =
        format!("FROM busybox\nRUN ! nc -w 100 {address} {port} < /dev/null 2> /error && cat /error >&2\n");
    let call = build_as(&space, None, &dockerfile).arg("--network=none");
    call.run().success().says(&["connect to remote host"]);
    let reached = format!("FROM busybox\nRUN nc -w 100 {address} {port} < /dev/null\n");
    build_as(&space, None, &reached).run().success();
    drop(server);
}

#[test]
fn output_is_streamed_and_never_clipped() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    let outcome = build_as(&space, None, "FROM busybox\nRUN seq 1 300000\n").run().success();
    let lines = outcome
        .stderr
        .lines()
        .filter(|line| line.split_whitespace().last().is_some_and(|word| word.parse::<u32>().is_ok()))
        .count();
    assert!(lines >= 300_000, "{lines} of 300000 lines on the screen");
    let logs: u64 = files_below(&space.store().join("logs"));
    assert!(logs > 1_900_000, "the full output is kept in the store's logs: {logs} bytes");
    drop(server);
}

#[test]
fn independent_stages_run_side_by_side() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    // Each stage waits for the other: only side by side do both end.
    let wait = |own: &str, other: &str| {
        format!(
            "touch /shared/{own}; i=0; while [ ! -e /shared/{other} ]; do i=$((i+1)); [ $i -lt 3000 ] || exit 9; sleep 0.1; done; touch /{own}"
        )
    };
    let step = |own: &str, other: &str| {
        format!("FROM busybox AS {own}\nRUN --mount=type=cache,target=/shared {}\n", wait(own, other))
    };
    let dockerfile = format!(
        "{}{}FROM scratch\nCOPY --from=one /one /\nCOPY --from=two /two /\n",
        step("one", "two"),
        step("two", "one")
    );
    build_as(&space, None, &dockerfile).args(["-j", "4"]).run().success();
    drop(server);
}

#[test]
fn secrets_reach_the_step_and_nothing_else() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    let canary = "canary-5f3a9c";
    let secret = space.file("secret", canary);
    let dockerfile = "FROM busybox\nRUN --mount=type=secret,id=key test \"$(cat /run/secrets/key | wc -c)\" = 13 && ls -A /run > /ran\n";
    let layout = space.path("layout");
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    let argument = format!("id=key,src={}", secret.display());
    let outcome = build_as(&space, None, dockerfile)
        .args(["--secret", &argument, "-o", &output])
        .run()
        .success()
        .never_says(&[canary]);
    assert!(!outcome.text().contains(canary));
    let found = crate::support::peers::output(
        "grep",
        [std::ffi::OsStr::new("-rlF"), canary.as_ref(), space.store().as_os_str()],
    );
    assert_eq!(String::from_utf8_lossy(&found.stdout), "", "the secret is in the store");
    assert!(!read_all(&layout, &mut crate::support::image::LayerCache::new()).is_empty());
    drop(server);
}

/// Returns the mount points, seen from this process, that mention a text.
pub(crate) fn mounts_mentioning(text: &str) -> Vec<String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
}

/// Waits until no process and no mount mentions a text: the kernel ends a tree of processes, and its mounts with it, a moment after
/// their parent.
#[track_caller]
pub(crate) fn until_quiet(mark: &str) {
    until_none(|| [processes_mentioning(mark), keepers_in(mark), mounts_mentioning(mark)].concat());
}

/// Returns the command lines of processes that mention a text.
pub(crate) fn processes_mentioning(text: &str) -> Vec<String> {
    let lines = other_processes().into_iter().map(|process| command_line(&process));
    lines.filter(|line| line.contains(text)).collect()
}

/// Returns the processes that keep or become steps, and have something open in a place with this text in its path: their command
/// lines name none.
fn keepers_in(text: &str) -> Vec<String> {
    let is_there = |process: &PathBuf| {
        // Nothing of a process that has ended, and of another user's for who is not root.
        let open = std::fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        let mut leads = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        leads.any(|path| path.to_string_lossy().contains(text))
    };
    let keepers = other_processes()
        .into_iter()
        .filter(|process| command_line(process).starts_with("kiln-sandbox-child "));
    keepers.filter(is_there).map(|process| format!("a keeper, {}", process.display())).collect()
}

/// Returns the folders of all processes but this one.
fn other_processes() -> Vec<PathBuf> {
    let own = std::process::id().to_string();
    let entries = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap());
    let numbers = entries.filter(|entry| {
        entry.file_name().to_string_lossy().parse::<u32>().is_ok() && entry.file_name() != own.as_str()
    });
    numbers.map(|entry| entry.path()).collect()
}

/// Returns the command line of a process, which has none when it has ended.
fn command_line(process: &Path) -> String {
    let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ")
}

fn files_below(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    let sizes = entries.map(|entry| entry.unwrap()).map(|entry| {
        if entry.path().is_dir() { files_below(&entry.path()) } else { entry.metadata().unwrap().len() }
    });
    sizes.sum()
}
