//! What goes wrong outside: a full disk, a registry that lies or is away, an interruption, a kill. Nothing
//! half-written, no process and no mount may stay, and the next build has to succeed.

use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

use crate::running::{processes_mentioning, until_quiet};
use crate::support::files::{File, FileServer};
use crate::support::http::{HttpServer, Response, plain_config};
use crate::support::image::check_blobs;
use crate::support::mounts::{Filesystem, Mounted};
use crate::support::ports::Port;
use crate::support::program::Running;
use crate::support::served::mirror_config;
use crate::support::waiting::until;
use crate::support::{Outcome, TestSpace, busybox, peers, requires};

#[test]
fn a_full_disk_is_one_clear_error_and_leaves_no_bad_blob() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    let disk = Mounted::new(space.path("disk"), Filesystem::Tmpfs("24m"));
    let store = disk.path.join("store");
    let context = space.context("context", &[("Dockerfile", "FROM scratch\nCOPY big /\n")]);
    space.file("context/big", noise(40 << 20));
    space.build(&context).store(&store).run().fails_with(1).says(&["o space left on device"]);
    check_blobs(&store);
    let step = space
        .context("step", &[("Dockerfile", "FROM busybox\nRUN dd if=/dev/urandom of=/big bs=1M count=60\n")]);
    space.build(&step).store(&store).run().fails_with(1).says(&["o space left on device", "Dockerfile:2"]);
    check_blobs(&store);
    let small = space.context("small", &[("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")]);
    space.build(&small).store(&store).run().success();
    drop((server, disk));
}

/// Returns bytes that do not compress: a simple generator's, the same every time.
pub(crate) fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let word = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(word).flatten().take(size).collect()
}

#[test]
fn a_file_of_the_web_that_does_not_fit_leaves_nothing() {
    requires!("root");
    let space = TestSpace::new();
    let server = FileServer::start();
    let disk = Mounted::new(space.path("disk"), Filesystem::Tmpfs("24m"));
    let store = disk.path.join("store");
    server.put("/big", File::new(noise(40 << 20), "1"));
    let dockerfile = format!("FROM scratch\nADD {} /\n", server.url("/big"));
    let context = space.context("context", &[("Dockerfile", &dockerfile)]);
    let outcome = space.build(&context).store(&store).run().fails_with(1);
    outcome.says(&["o space left on device", "Dockerfile:2", "the disk is full"]);
    check_blobs(&store);
    for folder in ["blobs/sha256", "scratch"] {
        assert_eq!(fs::read_dir(store.join(folder)).unwrap().count(), 0, "{folder}");
    }
    server.put("/big", File::new("small", "2"));
    space.build(&context).store(&store).run().success();
    drop(disk);
}

#[test]
fn an_interruption_ends_a_download_at_once_and_leaves_nothing() {
    let space = TestSpace::new();
    // The listener takes connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/file", silent.local_addr().unwrap());
    let digest = "0".repeat(64);
    for line in [format!("ADD {url} /"), format!("ADD --checksum=sha256:{digest} {url} /")] {
        let context = space.context("context", &[("Dockerfile", &format!("FROM scratch\n{line}\n"))]);
        let is_soon = || {
            let running = space.build(&context).start();
            let connection = silent.accept().unwrap();
            let interrupted = std::time::Instant::now();
            kill_process(Pid::from_child(&running.child), Signal::INT).unwrap();
            running.wait().fails_with(130).says(&["interrupted"]);
            let elapsed = interrupted.elapsed();
            drop(connection);
            assert_eq!(fs::read_dir(space.store().join("scratch")).unwrap().count(), 0, "{line}");
            elapsed.as_secs() < 5
        };
        // A process would be waited for five seconds long every time; a socket is not, however busy the machine is otherwise.
        assert!((0..20).any(|_| is_soon()), "{line}");
    }
}

#[test]
fn an_unreachable_registry_is_named_and_nothing_waits_for_long() {
    let space = TestSpace::new();
    let nobody = Port::claim();
    let host = nobody.host();
    space.config(&plain_config(&host));
    let dockerfile = format!("FROM {host}/team/app:1\n");
    let context = space.context("context", &[("Dockerfile", &dockerfile)]);
    space.build(&context).under(["timeout", "100"]).run().fails_with(1).says(&[&host, "Dockerfile:1"]);
    space
        .kiln(["pull", &format!("{host}/team/app:1")])
        .under(["timeout", "100"])
        .run()
        .fails_with(1)
        .says(&[&host]);
}

#[test]
fn an_image_that_is_not_there_is_named() {
    requires!("busybox");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    let context = space.context("context", &[("Dockerfile", "FROM busybox:no-such-tag\n")]);
    space.build(&context).run().fails_with(1).says(&["Dockerfile:1", "busybox:no-such-tag"]);
    drop(server);
}

/// How a server's answer for a layer is spoiled.
fn spoil(how: &str, mut response: Response) -> Response {
    match how {
        "flipped" => response.body[1000] ^= 1,
        "short" => response.body.truncate(5000),
        "long" => response.body.extend_from_slice(&[0; 4096]),
        "cut" => response.cut_after = Some(5000),
        other => panic!("no such way: {other}"),
    }
    response
}

#[test]
fn bytes_that_are_not_what_their_digest_says_never_enter_the_store() {
    requires!("root", "busybox");
    for how in ["flipped", "short", "long", "cut"] {
        let space = TestSpace::new();
        let served = busybox::images();
        let server = HttpServer::start(move |request| {
            let response = served.answer(request);
            if response.status == 200 && response.body.len() > 100_000 {
                spoil(how, response)
            } else {
                response
            }
        });
        space.config(&mirror_config(&server.host()));
        let context = space.context("context", &[("Dockerfile", "FROM busybox\nRUN true\n")]);
        let outcome = space.build(&context).under(["timeout", "100"]).run().fails_with(1);
        assert!(outcome.stderr.contains("sha256:"), "{how}: the digest is named: {outcome}");
        check_blobs(&space.store());
        // The same store gets the right bytes from an honest server.
        let honest = busybox::serve(&space);
        space.build(&context).run().success();
        drop((server, honest));
    }
}

#[test]
fn a_passing_fault_of_the_registry_is_retried() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let served = busybox::images();
    let count = std::sync::atomic::AtomicUsize::new(0);
    let server = HttpServer::start(move |request| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let response = served.answer(request);
        match number {
            1 => Response::new(503, "later"),
            2 => Response::new(429, "slower").header("Retry-After", "0"),
            _ if response.body.len() > 100_000 && number < 8 => spoil("cut", response),
            _ => response,
        }
    });
    // The registry itself: a mirror that fails is not asked twice, the next place is asked instead.
    let host = server.host();
    space.config(&plain_config(&host));
    let dockerfile = format!("FROM {host}/library/busybox\nRUN true\n");
    let context = space.context("context", &[("Dockerfile", &dockerfile)]);
    space.build(&context).under(["timeout", "100"]).run().success().says(&["again"]);
    check_blobs(&space.store());
}

#[test]
fn a_mirror_that_fails_is_named_and_the_next_is_asked() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let (broken, good) = (HttpServer::start(|_| Response::new(500, "broken")), busybox::images().start());
    let (first, second) = (broken.host(), good.host());
    space.config(&format!(
        "[registry.\"docker.io\"]\nmirrors = [\"{first}\", \"{second}\"]\n{}{}",
        plain_config(&first),
        plain_config(&second)
    ));
    let context = space.context("context", &[("Dockerfile", "FROM busybox\nRUN true\n")]);
    space.build(&context).run().success().says(&["warning", &first]);
    drop((broken, good));
}

/// Starts a build whose RUN sleeps, and returns when the step has said that it runs.
pub(crate) fn start_sleeping(space: &TestSpace) -> (Running, String) {
    start_sleeping_under(space, Vec::new())
}

/// The same under another program.
pub(crate) fn start_sleeping_under(space: &TestSpace, prefix: Vec<OsString>) -> (Running, String) {
    let mark = space.path("").file_name().unwrap().to_string_lossy().into_owned();
    let dockerfile =
        format!("FROM busybox\nRUN echo ready {mark}; sh -c 'trap \"\" TERM INT; sleep 8888; echo {mark}'\n");
    let context = space.context("context", &[("Dockerfile", &dockerfile)]);
    let mut running = space.build(&context).under(prefix).start();
    let mut seen = Vec::new();
    let wanted = format!("ready {mark}");
    let mut buffer = [0; 4096];
    // The command's own text is shown first; the second time it is the step's output.
    while String::from_utf8_lossy(&seen).matches(&wanted).count() < 2 {
        let count = running.child.stderr.as_mut().unwrap().read(&mut buffer).unwrap();
        assert!(count > 0, "the build ended early: {}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&buffer[..count]);
    }
    (running, mark)
}

#[test]
fn a_build_under_nohup_goes_on_when_its_terminal_hangs_up() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    let dockerfile = "FROM busybox\nRUN --mount=type=cache,target=/c until test -e /c/go; do sleep 0.05; done; echo wa''ited\n";
    let context = space.context("context", &[("Dockerfile", dockerfile)]);
    let go = space
        .context("go", &[("Dockerfile", "FROM busybox\nRUN --mount=type=cache,target=/c touch /c/go\n")]);
    let deaf = ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh"];
    let running = space.build(&context).under(deaf).start();
    until("the step runs", || !processes_mentioning("until test -e /c/go").is_empty());
    kill_process(Pid::from_child(&running.child), Signal::HUP).unwrap();
    space.build(&go).run().success();
    running.wait().success().says(&["waited"]);
    drop(server);
}

#[test]
fn an_interruption_ends_the_step_and_the_next_build_succeeds() {
    requires!("root", "busybox");
    for signal in [Signal::INT, Signal::TERM] {
        let space = TestSpace::new();
        let server = busybox::serve(&space);
        let (running, mark) = start_sleeping(&space);
        kill_process(Pid::from_child(&running.child), signal).unwrap();
        let outcome = running.wait();
        assert_eq!(outcome.status.code(), Some(130), "{outcome}");
        assert_nothing_left(&space, &mark);
        drop(server);
    }
}

#[test]
fn an_interruption_ends_a_build_that_waits_for_its_dockerfile() {
    requires!("mkfifo");
    let space = TestSpace::new();
    let context = space.context("context", &[]);
    peers::run("mkfifo", [context.join("Dockerfile")]);
    let running = space.build(&context).start();
    // It can be opened when the build has opened it, too, and then nothing comes.
    let silent = fs::File::options().write(true).open(context.join("Dockerfile")).unwrap();
    kill_process(Pid::from_child(&running.child), Signal::INT).unwrap();
    running.wait().fails_with(130).says(&["interrupted"]);
    drop(silent);
}

#[test]
fn a_kill_leaves_a_sound_store_and_no_process() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    let (mut running, mark) = start_sleeping(&space);
    running.child.kill().unwrap();
    assert!(!running.wait().status.success());
    assert_nothing_left(&space, &mark);
    drop(server);
}

/// Asserts that no process and no mount mentions the place, and that the store still builds.
pub(crate) fn assert_nothing_left(space: &TestSpace, mark: &str) {
    until_quiet(mark);
    check_blobs(&space.store());
    let context = space.context("after", &[("Dockerfile", "FROM busybox\nRUN echo after > /after\n")]);
    space.build(&context).run().success();
    assert_eq!(scratch_left(&space.store()), Vec::<PathBuf>::new(), "scratch directories are cleared");
}

fn scratch_left(store: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(store.join("scratch")) else { return Vec::new() };
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir() && fs::read_dir(path).is_ok_and(|mut inside| inside.next().is_some()))
        .collect()
}

#[test]
fn two_builds_at_once_in_one_store_agree() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    let context = space.context(
        "context",
        &[("Dockerfile", "FROM busybox\nRUN seq 1 10000 > /numbers\nCOPY Dockerfile /\n")],
    );
    let started: Vec<Running> = (0..3).map(|_| space.build(&context).args(["-t", "app"]).start()).collect();
    let outcomes: Vec<Outcome> = started.into_iter().map(|running| running.wait().success()).collect();
    assert!(outcomes.windows(2).all(|pair| pair[0].digest() == pair[1].digest()));
    check_blobs(&space.store());
    drop(server);
}
