//! Roots of steps without overlayfs: copies of the layers' files, with the same layers as with overlays.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use crate::faults::{assert_nothing_left, noise, start_sleeping};
use crate::support::http::HttpServer;
use crate::support::image::check_blobs;
use crate::support::mounts::{Filesystem, Mounted};
use crate::support::users::{self, User};
use crate::support::{Invocation, TestSpace, busybox, requires};

const COPY: &str = "copy";
const OVERLAY: &str = "overlay";
/// What a build says when its steps run in copies.
const NOTICE: &str = "in copies of their files, not overlays";

/// Every kind of change, over files of the base, of COPY and of earlier steps.
pub(crate) const CHANGES: &str = "FROM busybox AS one\n\
    RUN mkdir -p /d/opaque /d/gone /d/typed /keep/a/b /d/none; \
        for i in 1 2 3 4 5 6 7 8 9; do for f in /d/f$i /d/opaque/$i /d/gone/$i /keep/a/b/$i; do echo $i > $f; done; done; \
        ln -s f1 /d/link; echo t > /d/type; echo x > /d/typed/x; busybox mkfifo /d/pipe; mkdir -m 2775 /d/group; mkdir -m 1777 /d/sticky; \
        echo h > /d/h1; ln /d/h1 /d/h2; ln /d/h1 /d/h3; dd if=/dev/zero of=/d/sparse bs=1 count=1 seek=1000000 2> /dev/null\n\
    RUN echo new > /d/new; echo more >> /d/f1; echo 2 > /d/f2; chmod 4755 /d/f3; chown 5:6 /d/f4; rm /d/f5; \
        rm /d/type; mkdir /d/type; echo in > /d/type/in; rm -r /d/typed; echo file > /d/typed; \
        rm -r /d/opaque; mkdir /d/opaque; echo 3 > /d/opaque/3; echo n > /d/opaque/new; rm -r /d/gone; \
        ln /d/f6 /d/f6.hard; touch /d/f7 /d; mv /keep /moved; mkdir /l; ln -s x /l/owned; chown -h 7:7 /l/owned; mv /d/f8 /d/f8.moved; chown -h 7:7 /d/link; ln -s f9 /d/link2; \
        chmod 700 /d/sticky; chown 8:9 /d/group; rm /bin/nc; echo over > /etc/group; chmod 711 /root\n\
    WORKDIR /made/here\n\
    COPY --chown=3:4 Dockerfile /d/f9\n\
    RUN rm /d/h3; cat /d/h1 > /d/later; chmod 640 /d/f9; pwd > /pwd\n\
    RUN chown 9:9 /d/h1 /d/h2; rm /d/pipe; mv /l /l2\n\
    USER 7:8\n\
    RUN id > /tmp/mine; mkdir /tmp/own; ln -s a /tmp/own/l\n\
    USER 0\n\
    RUN chown -R 1:1 /tmp/own; cat /d/h1 >> /d/later; rm -r /moved/a\n\
    RUN true\n\
    FROM busybox AS two\n\
    COPY --from=one /d /d\n\
    RUN --mount=from=one,target=/one,rw ls /one/d > /seen; rm -r /one/d; touch /one/x; test -e /d/new\n\
    RUN --mount=type=tmpfs,target=/t --mount=type=cache,target=/c --mount=from=one,source=/d,target=/o ls /o > /listed; echo > /t/x; echo > /c/x\n";

/// Serves the base, and has roots made of what `kind` says.
fn serve(space: &TestSpace, kind: &str) -> HttpServer {
    let server = busybox::serve(space);
    let config = space.path("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{text}\n[build]\nroot = \"{kind}\"\n")).unwrap();
    server
}

fn build_as(space: &TestSpace, user: Option<&User>, store: &str, dockerfile: &str) -> Invocation {
    let call = space.build(&space.context("context", &[("Dockerfile", dockerfile)]));
    match user {
        Some(user) => call.user(user).store(&user.path(store)),
        None => call.store(&space.path(store)),
    }
}

#[test]
fn copies_give_the_layers_that_overlays_give() {
    requires!("root", "busybox", "setpriv", "newuidmap");
    let space = TestSpace::shared();
    let all = [None, Some(users::with_subordinate_ids(&space)), Some(users::with_single_id(&space))];
    for target in ["one", "two"] {
        let mut digests = Vec::new();
        for kind in [OVERLAY, COPY] {
            let server = serve(&space, kind);
            for user in &all {
                let call = build_as(&space, user.as_ref(), kind, CHANGES).args(["--target", target]);
                let outcome = call.run().success();
                let name = user.as_ref().map_or("root", |user| &user.name);
                digests.push((format!("{kind} by {name}"), outcome.digest()));
            }
            drop(server);
        }
        let differing: Vec<_> = digests.iter().filter(|(_, digest)| *digest != digests[0].1).collect();
        assert!(differing.is_empty(), "target `{target}`: {digests:#?}");
    }
}

#[test]
fn steps_after_cached_ones_go_on_from_the_layers() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let server = serve(&space, COPY);
    let lines = |count: usize| {
        let steps =
            ["RUN echo 1 > /one; rm /bin/nc", "COPY Dockerfile /two", "RUN cat /one > /three; rm /one"];
        format!("FROM busybox\n{}\n", steps[..count].join("\n"))
    };
    // What ran step by step is what one build makes, with a Dockerfile that does not reach the layers.
    for count in [1, 3] {
        build_as(&space, None, "stepwise", &lines(count)).run().success();
    }
    let again = build_as(&space, None, "stepwise", &lines(3)).run().success().digest();
    assert_eq!(build_as(&space, None, "at-once", &lines(3)).run().success().digest(), again);
    drop(server);
}

#[test]
fn a_store_on_an_overlay_runs_its_steps_in_copies_and_says_so() {
    requires!("root", "busybox", "setpriv", "newuidmap");
    let space = TestSpace::shared();
    let server = busybox::serve(&space);
    let disk = Mounted::new(space.path("disk"), Filesystem::Overlay);
    let dockerfile = "FROM busybox\nRUN echo 1 > /a\nRUN rm /a && rm -r /home && mkdir /home\n";
    let expected = build_as(&space, None, "store", dockerfile).run().success().never_says(&[NOTICE]).digest();
    let outcome = build_as(&space, None, "disk/store", dockerfile).run().success();
    let outcome = outcome.says(&[NOTICE, "Invalid argument"]);
    assert_eq!(outcome.stderr.matches(NOTICE).count(), 1, "it is said once");
    assert_eq!(outcome.digest(), expected);
    assert_eq!(scratch(&space.path("disk/store")), Vec::<String>::new());
    for user in [users::with_subordinate_ids(&space), users::with_single_id(&space)] {
        let own = disk.path.join(&user.name);
        fs::create_dir(&own).unwrap();
        user.own(&own);
        let call = build_as(&space, Some(&user), "", dockerfile).store(&own.join("store"));
        let outcome = call.run().success().says(&[NOTICE]);
        assert_eq!(outcome.digest(), expected, "{}", user.name);
    }
    drop((server, disk));
}

#[test]
fn a_store_that_must_have_overlays_and_cannot_is_a_limit_of_the_machine() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let server = serve(&space, OVERLAY);
    let disk = Mounted::new(space.path("disk"), Filesystem::Overlay);
    let call = build_as(&space, None, "disk/store", "FROM busybox\nRUN true\n");
    call.run().fails_with(4).says(&["mount the root as an overlay", "build.root"]);
    drop((server, disk));
}

#[test]
fn a_hundred_and_fifty_steps_stand_on_each_other() {
    requires!("root", "busybox");
    let steps: String =
        (0..150).map(|number| format!("RUN echo {number} > /last; mkdir /n{number}\n")).collect();
    let dockerfile =
        format!("FROM busybox\n{steps}RUN test $(ls -d /n* | wc -l) = 150 && test $(cat /last) = 149\n");
    let space = TestSpace::new();
    let digests = [OVERLAY, COPY].map(|kind| {
        let server = serve(&space, kind);
        let digest = build_as(&space, None, kind, &dockerfile).run().success().digest();
        drop(server);
        digest
    });
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn a_disk_that_a_copy_does_not_fit_on_is_one_clear_error() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let server = serve(&space, COPY);
    let disk = Mounted::new(space.path("disk"), Filesystem::Tmpfs("24m"));
    space.file("context/big", noise(9 << 20));
    let rows = [
        ("FROM busybox\nCOPY big /\nRUN true\n", "cannot make the root of the step"),
        ("FROM busybox\nRUN dd if=/dev/urandom of=/big bs=1M count=60\n", "the disk is full"),
    ];
    for (dockerfile, message) in rows {
        let outcome = build_as(&space, None, "disk/store", dockerfile).run().fails_with(1);
        outcome.says(&["o space left on device", message]);
        check_blobs(&space.path("disk/store"));
        assert_eq!(scratch(&space.path("disk/store")), Vec::<String>::new());
    }
    build_as(&space, None, "disk/store", "FROM busybox\nRUN echo small > /small\n").run().success();
    drop((server, disk));
}

#[test]
fn copies_share_their_blocks_with_the_layers_where_the_filesystem_can() {
    requires!("loop", "busybox", "mkfs.btrfs");
    let space = TestSpace::new();
    let server = serve(&space, COPY);
    // Room for the blob and the unpacked layer, and for no third time the file.
    let disk = Mounted::new(space.path("disk"), Filesystem::Btrfs("170m"));
    space.file("context/big", noise(60 << 20));
    let dockerfile = "FROM busybox\nCOPY big /\nRUN wc -c < /big > /size\nRUN cat /size\n";
    let outcome = build_as(&space, None, "disk/store", dockerfile).run().success();
    outcome.says(&[&(60 << 20).to_string()]);
    drop((server, disk));
}

#[test]
fn a_kill_leaves_nothing_of_a_copy() {
    requires!("root", "busybox");
    for signal in [Signal::KILL, Signal::TERM] {
        let space = TestSpace::new();
        let server = serve(&space, COPY);
        let (running, mark) = start_sleeping(&space);
        kill_process(Pid::from_child(&running.child), signal).unwrap();
        assert!(!running.wait().status.success());
        assert_nothing_left(&space, &mark);
        assert_eq!(scratch(&space.store()), Vec::<String>::new());
        drop(server);
    }
}

/// Returns what is in the scratch of a store.
fn scratch(store: &Path) -> Vec<String> {
    let entries = fs::read_dir(store.join("scratch")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}
