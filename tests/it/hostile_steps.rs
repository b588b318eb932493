//! Steps that want more than they may have, through whole builds: the machine is as it was, and the build ends well or with
//! one clear error. What a step cannot do by a system call is proved in `builder/sandbox/tests/steps`.

use std::fs;
use std::path::Path;

use crate::running::{mounts_mentioning, processes_mentioning};
use crate::support::image::{check_blobs, read_one};
use crate::support::layer::Kind;
use crate::support::mounts::{Filesystem, Mounted};
use crate::support::space::repository;
use crate::support::users::{self, User};
use crate::support::{Invocation, TestSpace, busybox, requires};

fn build_as(space: &TestSpace, user: Option<&User>, dockerfile: &str) -> Invocation {
    let context = space.context("context", &[("Dockerfile", dockerfile)]);
    let call = space.build(&context).arg("--no-cache");
    call.by(user)
}

/// Returns a text that nothing else on this machine mentions.
fn mark(space: &TestSpace) -> String {
    space.path("").file_name().unwrap().to_string_lossy().into_owned()
}

/// Asserts that a store has no directories of steps left.
fn assert_no_scratch(store: &Path) {
    assert_eq!(fs::read_dir(store.join("scratch")).unwrap().count(), 0, "scratch is empty");
}

/// Daemons in every form, and a step that ends while all of them ignore every signal.
#[test]
fn daemons_end_with_their_step_for_every_user() {
    requires!("root", "busybox", "setpriv", "newuidmap");
    let space = TestSpace::shared();
    let server = busybox::serve(&space);
    let mark = mark(&space);
    let dockerfile = format!(
        "FROM busybox\n\
         RUN trap '' TERM INT HUP QUIT PIPE; sleeper() {{ sh -c 'trap \"\" TERM INT HUP; while :; do sleep 100; done; echo {mark}'; }}; \
         (busybox setsid sh -c 'sleep 7777; echo {mark}' &) ; ( (sleeper &) & ) ; busybox nohup sh -c 'sleep 7777; echo {mark}' >/dev/null 2>&1 & true\n"
    );
    let (granted, single) = (users::with_subordinate_ids(&space), users::with_single_id(&space));
    for user in [None, Some(&granted), Some(&single)] {
        build_as(&space, user, &dockerfile).run().success();
        // By the words of the step: a prune that looks after the store goes on behind the build, and has the store's name.
        assert_eq!(processes_mentioning(&format!("echo {mark}")), Vec::<String>::new());
        assert_eq!(mounts_mentioning(&mark), Vec::<String>::new());
    }
    drop(server);
}

/// Bytes of the flood. A gigabyte was measured once: 28 MiB at most, and all of it in the log.
const FLOOD_BYTES: u64 = 60_000_000;
/// More than any measurement is off by, and far below what it takes to hold the flood.
const MORE_BYTES_MAX: u64 = FLOOD_BYTES / 3;

#[test]
fn output_without_a_newline_takes_little_memory_and_is_kept_whole() {
    requires!("root", "busybox", "python3");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    // What a program takes for itself depends on how it was built, and on the machine.
    let (little, much) = (peak_of_output(&space, 1), peak_of_output(&space, FLOOD_BYTES));
    assert!(much < little + MORE_BYTES_MAX, "{much} bytes, where little output takes {little}");
    let logs = walk(&space.store().join("logs"));
    assert_eq!(logs.iter().map(|path| fs::metadata(path).unwrap().len()).max(), Some(FLOOD_BYTES));
    drop(server);
}

/// Returns the bytes of memory that kiln takes at most while a step writes so many bytes in one line.
fn peak_of_output(space: &TestSpace, bytes: u64) -> u64 {
    let dockerfile = format!("FROM busybox\nRUN yes | busybox tr -d '\\n' | head -c {bytes}\n");
    let context = space.context("context", &[("Dockerfile", &dockerfile)]);
    let (peak, measure) = (space.path("peak"), repository().join("tests/hostile/measure.py"));
    let call = space.kiln(["build", "--progress=quiet"]).arg(&context);
    call.under(["python3".as_ref(), "-B".as_ref(), measure.as_os_str(), peak.as_os_str()]).run().success();
    fs::read_to_string(&peak).unwrap().parse::<u64>().unwrap() << 10
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn files_that_are_deleted_and_held_open_are_gone_with_their_step() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    let disk = Mounted::new(space.path("disk"), Filesystem::Tmpfs("48m"));
    let store = disk.path.join("store");
    // The disk is small, and so is what a store may take of it: a prune beside the builds would have scratch, too.
    let config = fs::read_to_string(space.path("config.toml")).unwrap();
    space.config(&format!("{config}\n[store]\nmax = \"none\"\n"));
    let hold =
        "RUN exec 3>/held && rm /held && dd if=/dev/zero bs=1M count=20 >&3; (sleep 7777 >&3 &); true\n";
    // Each holds nearly half of the disk: three fit only one after the other.
    build_as(&space, None, &format!("FROM busybox\n{}", hold.repeat(3))).store(&store).run().success();
    let full = build_as(&space, None, "FROM busybox\nRUN dd if=/dev/zero of=/big bs=1M count=60\n");
    full.store(&store).run().fails_with(1).says(&["o space left on device", "Dockerfile:2"]);
    assert_no_scratch(&store);
    check_blobs(&store);
    build_as(&space, None, "FROM busybox\nRUN echo small > /small\n").store(&store).run().success();
    drop((server, disk));
}

/// Names that hold anything, many entries, deep directories.
const ODD: &str = "FROM busybox\n\
    RUN mkdir /odd && cd /odd && touch -- \"$(printf 'new\\nline')\" \"$(printf 'tab\\tand\\033[31m')\" '-rf' ' ' '\\' \"$(printf '\\377')\" && ln -s \"$(printf 'a\\nb')\" link\n\
    RUN mkdir /many && cd /many && seq 1 1000 | busybox xargs touch\n\
    RUN cd / && i=0; while [ $i -lt 100 ]; do mkdir d && cd d || exit 1; i=$((i+1)); done; echo deep > file\n";

#[test]
fn odd_names_many_files_and_deep_directories_are_the_same_for_root_and_users() {
    requires!("root", "busybox", "setpriv", "newuidmap");
    let space = TestSpace::shared();
    let server = busybox::serve(&space);
    let layout = space.path("layout");
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    let expected = build_as(&space, None, ODD).args(["-o", &output]).run().success().digest();
    let flat = read_one(&layout).flatten();
    let deep = ["d"; 100].join("/") + "/file";
    for path in [
        &b"odd/new\nline"[..],
        b"odd/tab\tand\x1b[31m",
        b"odd/-rf",
        b"odd/ ",
        b"odd/\\",
        b"odd/\xff",
        deep.as_bytes(),
    ] {
        assert!(flat.get(path).is_some(), "{}", path.escape_ascii());
    }
    assert_eq!(flat.iter().filter(|(path, ..)| path.starts_with(b"many/")).count(), 1000);
    let user = users::with_subordinate_ids(&space);
    assert_eq!(build_as(&space, Some(&user), ODD).run().success().digest(), expected);
    drop(server);
}

#[test]
fn a_path_longer_than_the_kernel_takes_is_one_error_and_leaves_nothing() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    let name = "n".repeat(200);
    let dockerfile = format!(
        "FROM busybox\nRUN i=0; while [ $i -lt 30 ]; do mkdir {name} && cd {name} || break; i=$((i+1)); done; true\n"
    );
    build_as(&space, None, &dockerfile).run().fails_with(1).says(&["Dockerfile:2", "ame too long"]);
    assert_no_scratch(&space.store());
    drop(server);
}

#[test]
fn a_hard_link_to_a_file_of_the_base_does_not_reach_the_base() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    let dockerfile = "FROM busybox AS hostile\nRUN ln /etc/passwd /x && chmod 777 /x && echo evil >> /x && stat -c %a:%h /etc/passwd\n\
        FROM busybox\nCOPY --from=hostile /x /x\nRUN stat -c %a:%h /etc/passwd && ! busybox grep evil /etc/passwd\n";
    build_as(&space, None, dockerfile).run().success().says(&[" 777:2\n", " 644:1\n"]);
    drop(server);
}

#[test]
fn a_mount_point_that_becomes_a_link_leads_nowhere_outside_the_image() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    let made = ["cache", "deep", "inside", "new"].map(|name| Path::new("/etc").join(name));
    let before = made.each_ref().map(|path| path.exists());
    let dockerfile = "FROM busybox\n\
        RUN --mount=type=cache,target=/a/b/cache mv /a/b /a/moved && ln -s /etc /a/b && echo one > /a/moved/cache/one && ln -s /etc /a/moved/cache/link\n\
        RUN --mount=type=cache,target=/a/b/cache ls /etc/cache && echo two > /a/b/cache/two && ls /a/b/cache/link/ && echo x > /a/b/cache/link/inside\n\
        RUN --mount=type=cache,id=/a/b/cache,target=/a/b/../../../../../../etc/deep echo three > /etc/deep/three && ls -l /etc/deep\n\
        RUN --mount=type=tmpfs,target=/a/b/new rm -f /a/b && ls /etc\n";
    let layout = space.path("layout");
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    build_as(&space, None, dockerfile).args(["-o", &output]).run().success();
    // No more is compared: whoever makes a user meanwhile has other files there.
    assert_eq!(made.each_ref().map(|path| path.exists()), before, "{made:?}");
    let flat = read_one(&layout).flatten();
    let names: Vec<String> =
        flat.iter().map(|(path, ..)| String::from_utf8_lossy(path).into_owned()).collect();
    assert!(
        !names.iter().any(|name| name.ends_with("one") || name.ends_with("two") || name.ends_with("three")),
        "{names:?}"
    );
    assert!(names.iter().any(|name| name == "etc/inside"), "{names:?}");
    drop(server);
}

#[test]
fn files_of_the_sandbox_never_reach_a_layer_whatever_a_step_does_with_them() {
    requires!("root", "busybox", "setpriv", "newuidmap");
    let space = TestSpace::shared();
    let server = busybox::serve(&space);
    let dockerfile = "FROM busybox\n\
        RUN for f in /etc/hosts /etc/resolv.conf /etc/hostname; do (echo mine > $f); rm -f $f; mv $f /moved; done 2>/dev/null; touch /dev/mine /dev/shm/mine; mkdir /proc/mine /sys/mine 2>/dev/null; true\n\
        RUN rm -rf /etc 2>/dev/null; echo kept > /etc/kept\n\
        RUN cat /etc/hosts > /seen\n";
    let layout = space.path("layout");
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    let expected = build_as(&space, None, dockerfile).args(["-o", &output]).run().success().digest();
    let flat = read_one(&layout).flatten();
    let content = |path: &str| match flat.get(path.as_bytes()).map(|node| &node.kind) {
        Some(Kind::File(_, _, Some(content))) => String::from_utf8(content.clone()).unwrap(),
        _ => String::new(),
    };
    assert_eq!(content("etc/kept"), "kept\n");
    assert!(
        content("seen").starts_with("127.0.0.1\tlocalhost buildkitsandbox\n"),
        "the next step has them again"
    );
    for path in [
        "etc/hosts",
        "etc/resolv.conf",
        "etc/hostname",
        "etc/passwd",
        "moved",
        "dev/mine",
        "dev/null",
        "dev/shm",
        "proc/mine",
        "proc/self",
        "sys/kernel",
    ] {
        assert!(flat.get(path.as_bytes()).is_none(), "{path}");
    }
    let user = users::with_subordinate_ids(&space);
    assert_eq!(build_as(&space, Some(&user), dockerfile).run().success().digest(), expected);
    drop(server);
}

#[test]
fn what_a_step_of_root_leaves_in_the_store_is_no_way_to_become_root() {
    requires!("root", "busybox", "setpriv");
    let space = TestSpace::shared();
    let server = busybox::serve(&space);
    let dockerfile = "FROM busybox\nRUN cp /bin/busybox /become-root && chmod 4755 /become-root\n\
        RUN --mount=type=cache,target=/c cp -p /become-root /c/ && chmod 4755 /c/become-root\n";
    build_as(&space, None, dockerfile).run().success();
    let kept = walk(&space.store().join("snapshots"));
    assert!(kept.iter().any(|path| path.ends_with("become-root")), "the test looks at the right place");
    let user = users::with_single_id(&space);
    let mut words = user.prefix();
    words.extend(["find".into(), space.store().into_os_string(), "-name".into(), "become-root".into()]);
    let found = crate::support::peers::output(words.remove(0).to_str().unwrap(), words);
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    drop(server);
}

#[test]
fn a_fork_bomb_of_a_user_is_stopped_by_its_limit_and_the_next_build_works() {
    requires!("root", "busybox", "setpriv", "newuidmap");
    let space = TestSpace::shared();
    let server = busybox::serve(&space);
    let user = users::with_subordinate_ids(&space);
    let bomb = "FROM busybox\nUSER 1000\nRUN mkfifo /tmp/f; exec 9<>/tmp/f; b() { b | b & }; b 2>/dev/null & read -t 1 x <&9; echo ended\n";
    let call = build_as(&space, Some(&user), bomb).args(["--ulimit", "nproc=200:200"]);
    call.under(["timeout", "120"]).run().success().says(&[" ended\n"]);
    build_as(&space, Some(&user), "FROM busybox\nRUN echo after\n").run().success();
    drop(server);
}
