//! The same steps as root, as a user with subordinate ids, and as a user with a single id: one digest each.

mod beyond;
mod calls;
mod debian;

use std::path::Path;

use serde_json::json;

use crate::support::served::mirror_config;
use crate::support::space::program;
use crate::support::users::{self, User};
use crate::support::{TestSpace, busybox, requires};

/// A step, or several, after `FROM`.
struct Row {
    name: &'static str,
    steps: &'static str,
}

const fn row(name: &'static str, steps: &'static str) -> Row {
    Row { name, steps }
}

/// The small base, with more of its program's names and with users.
const BUSYBOX: &str = "FROM busybox AS base\n\
    RUN for name in chgrp chroot mkfifo mknod setsid su tar; do ln -s busybox /bin/$name; done\n\
    RUN echo app:x:1000:1000:app:/home:/bin/sh >> /etc/passwd && echo 'app:*:1::::::' > /etc/shadow\n\
    RUN echo mail:x:8:app >> /etc/group && echo app:x:1000: >> /etc/group && echo more:x:2001:app >> /etc/group\n\
    FROM base\n";

/// Files, a directory, a symlink and a FIFO of different owners in `/o`.
macro_rules! owned {
    ($rest:literal) => {
        concat!(
            "RUN mkdir -p /o/d && echo a > /o/f && echo b > /o/d/g && ln -s f /o/l && mkfifo /o/p && chown 1:2 /o/f \
             && chown 3:4 /o/d && chown 65534:7 /o/d/g && chown -h 5:6 /o/l && chown 8:9 /o/p && chmod 640 /o/f",
            $rest
        )
    };
}

const BUSYBOX_ROWS: &[Row] = &[
    row("copied in the same step", owned!(" && cp -a /o /p\n")),
    row(
        "copied in a later step",
        owned!("\nRUN cp -a /o /p && stat -c '%n %u %g %a %F' /o /o/* /o/d/* > /s\n"),
    ),
    row(
        "packed and unpacked",
        owned!(
            "\nRUN tar -cf /t.tar -C /o f d l && mkdir /x && tar -xpf /t.tar -C /x && tar -tvf /t.tar | wc -l > /n && rm /t.tar\n"
        ),
    ),
    row(
        "found by owner, changed, linked and renamed",
        owned!(
            "\nRUN for id in 1 3 5; do find / -xdev -user $id; done > /f; find /o -group 4 >> /f\n\
             RUN touch /o/f && chmod 600 /o/d/g && mv /o/l /o/l2 && ln /o/f /o/h\n"
        ),
    ),
    row(
        "symlinks made again, given away and put over others",
        owned!(
            "\nRUN rm /o/l && ln -s f /o/l\nRUN chown -h 5:6 /o/l && chown 9:9 /o/l && ln -s nowhere /o/n && chown -h 4:4 /o/n\n\
             RUN mv /o/n /o/n2 && ln -s x /tmp/a && mv /tmp/a /o/l\n"
        ),
    ),
    row(
        "a directory of an earlier step moved to where a symlink of somebody was",
        "RUN mkdir /a /b && ln -s x /a/l && ln -s x /b/l && chown -h 5:6 /a/l\n\
         RUN rm -r /a && mv /b /a && stat -c '%n %u %g' /a/l > /s\n",
    ),
    row(
        "symlinks in mounts, where the root has others",
        "RUN mkdir /c /t && ln -s x /c/l && ln -s x /t/l && chown -h 5:6 /c/l /t/l\n\
         RUN --mount=type=cache,target=/c --mount=type=tmpfs,target=/t ln -sf y /c/l && ln -s y /t/l && chown -h 7 /c/l \
         && mv /c/l /c/m && stat -c '%n %u %g' /t/l > /s\n\
         RUN stat -c '%n %u %g' /c/l /t/l > /s2\n",
    ),
    row(
        "hard links of symlinks of earlier steps",
        "RUN mkdir /o && ln -s x /o/a && ln -s x /o/b && chown -h 5:6 /o/a /o/b\n\
         RUN cd /o && ln a c && rm b && mv c b && chown -h 0:0 a && stat -c '%n %u %g' * > s\n",
    ),
    row(
        "names of symlinks of earlier steps that are refused",
        "RUN mkdir -p /o/d && ln -s x /o/a && ln /o/a /o/b && chown -h 5:6 /o/a\n\
         RUN cd /o && ! ln b a && ! mv -T b d && stat -c '%n %h %u' a b > s\n",
    ),
    row(
        "a directory made elsewhere and moved to where symlinks of an earlier step were",
        "RUN mkdir /o && ln -s x /o/a && chown -h 5:6 /o/a\n\
         RUN rm -r /o && mkdir /q && ln -s x /q/a && mv /q /o && stat -c '%n %u %g' /o/a > /s\n",
    ),
    row(
        "the output of the step, by the name that servers log to",
        "RUN mkdir /log && ln -s /dev/stdout /log/access && ln -s access /log/again && chown -R 5:6 /log && chown 7 /log/again \
         && stat -c '%n %u %g' /log/* > /s\n",
    ),
    row(
        "hard links",
        owned!(
            "\nRUN ln /o/f /o/h && chown 44:45 /o/h && ln /o/l /o/ll\nRUN chown 46 /o/f && stat -c '%n %h %u %g' /o/* > /s\n"
        ),
    ),
    row(
        "set-id bits that a change of owner clears, and ids that stay",
        "RUN mkdir /o && cd /o && touch a b c d e && chmod 4755 a && chmod 2755 b && chmod 2745 c && chmod 6777 d && mkdir m \
         && chmod 6755 m && chown 1 a && chown :2 b && chown 3:3 c && chown 0:0 d && chown 5:5 m && chmod u+s e \
         && chown -R 7:8 m && stat -c '%n %a %u %g' * > s\n",
    ),
    row(
        "set-group-id directories",
        "RUN mkdir /g && chown 7:42 /g && chmod 2775 /g && cd /g && touch a && mkdir b && ln -s a c && mkfifo d && echo > b/e \
         && cp -r /etc f && mv a a2\n\
         RUN cd /g && echo > late && mkdir b/deep && touch /tmp/out && mv /tmp/out in && stat -c '%n %u %g %a' * b/* > s\n\
         RUN chmod 2777 /g\nUSER 1000:1000\nRUN cd /g && touch mine && mkdir dir && ln -s x link && cp /etc/passwd .\n",
    ),
    row(
        "files of a user, and what it may not give away",
        "USER 1000:1001\nRUN cd /tmp && touch a && mkdir b && ln -s a c && mkfifo d && umask 027 && echo > b/e && mkdir b/f \
         && id > g && (set -C; echo > x) && ln -s y z && echo > z\n\
         RUN cd /tmp && cp -p /etc/passwd p && cp -a b q; for to in 0 :9; do chown $to a || echo refused; done > r 2>&1; \
         chown 1000:1001 a; echo more >> p; mv c c2\n",
    ),
    row(
        "supplementary groups",
        "USER app\nRUN cd /tmp && id > i && touch a b && chown :8 a && (chown :9 b || echo refused) > r 2>&1; \
         chgrp 2001 b && stat -c '%n %u %g' a b >> r\n",
    ),
    row(
        "another user in a step, and a process of it that has lost its parent",
        "RUN cd /tmp && su app -c \"touch a; id > b; mkdir c; (setsid sh -c 'sleep 0.2; id -u > daemon; touch mine; mv mine done' &)\" \
         && touch root && while [ ! -e done ]; do sleep 0.1; done; su app -c 'cp -p /etc/passwd p' && chown -R app:more c\n",
    ),
    row(
        "programs with set-id bits",
        "RUN mkdir -m 777 /w && cp /bin/busybox /w/id && chmod 4755 /w/id && cp /bin/busybox /w/ash && chown 55:66 /w/ash \
         && chmod 6755 /w/ash\nUSER 1000:1000\nRUN /w/id > /tmp/a; /w/ash -c 'id; touch /tmp/t' > /tmp/b 2>&1; id > /tmp/c\n",
    ),
    row(
        "another root in a step",
        "RUN mkdir -p /c/bin /c/d && cp /bin/busybox /c/bin/ && touch /c/d/f && ln -s /d/f /c/l && ln -s ../../../d/f /c/m \
         && chroot /c /bin/busybox chown 5:6 /l && cd /c && chroot . /bin/busybox stat -c '%u %g' /d/f ../d/f /l /m > /s \
         && chroot /c /bin/busybox chown 7 ../../d && chroot /c /bin/busybox sh -c 'cd d && busybox stat -c %u . ../d/f' >> /s\n",
    ),
    row(
        "files made through a symlink that leads to a set-group-id directory",
        "RUN mkdir /g && chown 7:42 /g && chmod 2775 /g && ln -s /g/a /a && ln -s a /b && echo > /b && stat -c '%u %g' /g/a > /s\n",
    ),
    row(
        "sticky directories",
        "RUN mkdir -m 1777 /st && touch /st/a && chown 9:9 /st/a /st && chmod 1733 /st\nRUN touch /st/b && cp -a /st /st2\n",
    ),
    row(
        "the root directory",
        "RUN chown 3:4 / /tmp && chmod 755 /\nRUN touch /x && stat -c '%u %g' / /tmp > /x\n",
    ),
    row(
        "a working directory",
        "USER 1000:1000\nWORKDIR /wd/deep\nRUN id > /tmp/x && stat -c %u /wd /wd/deep >> /tmp/x\n",
    ),
    row("files of COPY", "COPY --chown=11:12 . /c\nRUN cp -a /c /d && stat -c '%u:%g %n' /c/* > /s\n"),
    row(
        "the highest ids of a subordinate range",
        "RUN touch /a /b && chown 65534:65534 /a && mkdir /d && chown 65535:65535 /d && ln -s a /l && chown -h 65534:1 /l\n\
         RUN cp -a /a /b && cp -a /l /l2\n",
    ),
    row(
        "ids above any subordinate range",
        "RUN touch /a /b && chown 100000:4294967294 /a && mkdir /d && chown 4294967294:65536 /d && ln -s a /l \
         && chown -h 4294967294 /l\nRUN cp -a /a /c && cp -a /d /e && stat -c '%n %u %g' /a /c /d /e /l > /s\n",
    ),
    row(
        "a high id in a later step, after steps with real owners and a cache mount",
        "RUN --mount=type=cache,target=/k touch /k/a && chown 5:6 /k/a && echo 1 > /1 && chown 7:8 /1\n\
         RUN --mount=type=cache,target=/k cp -a /k/a /a && stat -c '%u %g' /k/a /1 > /s && chown 123456:7 /1\n\
         RUN --mount=type=cache,target=/k cp -a /k/a /a2 && chown 9 /k/a && stat -c '%u %g' /1 /a /k/a > /s2 && rm /k/a\n",
    ),
    row(
        "a set-user-id program of a high id, and a file with several names",
        "RUN mkdir -m 777 /w && cp /bin/busybox /w/ash && chown 123456:200000 /w/ash && chmod 6755 /w/ash && touch /f \
         && ln /f /g && chown 123456 /f\nUSER 1000:1000\nRUN /w/ash -c 'id; touch /w/t' > /tmp/b 2>&1; stat -c '%u %g %a' /w/* /f /g > /tmp/s\n",
    ),
    row(
        "files of COPY with a high owner",
        "COPY --chown=123456:123457 . /c\nRUN cp -a /c /d && stat -c '%u:%g %n' /c/* > /s\n",
    ),
    row(
        "a high USER",
        "USER 123456:200000\nWORKDIR /wd/deep\nRUN id > /tmp/x && stat -c '%u %g' /wd /wd/deep >> /tmp/x && mkdir /tmp/d && chmod 2700 /tmp/d\n\
         RUN <<EOF\nid -u > /tmp/d/y\nEOF\n",
    ),
    row(
        "mounts with high owners",
        "FROM base AS high\nCOPY --chown=123456:7 file /b/f\nFROM base\n\
         RUN --mount=type=cache,target=/high,uid=123456,gid=5 stat -c '%u %g' /high > /s && touch /high/x\n\
         RUN --mount=type=bind,from=high,source=/b,target=/b --mount=type=tmpfs,target=/t touch /t/x && stat -c '%u %g' /b/f > /s2 && cp -a /b /b2\n",
    ),
    row(
        "a high user made in a step, who does something",
        "RUN echo big:x:200000:200000:big:/home/big:/bin/sh >> /etc/passwd && echo big:x:200000: >> /etc/group \
         && echo 'big:*:1::::::' >> /etc/shadow && mkdir /home/big && chown big:big /home/big \
         && su big -c 'cd; touch a; mkdir b; id > c; ln -s a d' && stat -c '%U %G %u' /home/big/* > /s\n",
    ),
    row(
        "groups that exist in a list alone",
        "RUN echo far:x:300000:app >> /etc/group\nUSER app\nRUN id -G > /tmp/i && touch /tmp/f && chgrp far /tmp/f\n",
    ),
    row(
        "devices, given away, renamed and copied",
        "RUN mkdir /dv && cd /dv && mknod c c 1 3 && mknod -m 640 b b 7 9 && mknod p p && chown 5:6 c\n\
         RUN mv /dv/b /dv/b2 && chmod 600 /dv/c && rm /dv/p && ln /dv/c /dv/h\n",
    ),
    row(
        "devices that a later step touches and leaves as they are",
        "RUN mkdir /dv && cd /dv && mknod c c 1 3 && mknod b b 7 9 && ln b h && mknod d c 1 5\n\
         RUN cd /dv && chown 0:0 c b d && chmod 644 c && chmod 600 d\nRUN rm /dv/c && mv /dv/b /dv/e\n",
    ),
    row(
        "devices, looked at, copied and packed",
        "RUN mkdir /dv && cd /dv && mknod c c 1 3 && mknod -m 640 b b 7 9 && mknod p p && chown 5:6 c\n\
         RUN cd /dv && stat -c '%n %F %t %T %u' c b p > /s && cp -a /dv /dw && tar -cf /t -C /dv c b p && mkdir /dx \
         && tar -xpf /t -C /dx && rm /t\n",
    ),
];

/// Builds every row, which follows a base, on every rung and compares with root's digest.
fn check(space: &TestSpace, rows: &[(&str, &Row)]) {
    let (subordinate, single) = (users::with_subordinate_ids(space), users::with_single_id(space));
    // Not beside each other: who starts a program while a copy is written hands it on for a moment, and it cannot be run then.
    [&subordinate, &single].iter().for_each(|user| drop(user.copy_of(&program())));
    let context = |(number, (base, row)): (usize, &(&str, &Row))| {
        let dockerfile = format!("{base}{}", row.steps);
        space.context(&format!("row{number}"), &[("Dockerfile", &dockerfile), ("file", "x")])
    };
    let contexts: Vec<_> = rows.iter().enumerate().map(context).collect();
    let build_all = |user: Option<&User>| -> Vec<String> {
        contexts.iter().map(|context| digest(space, user, context)).collect()
    };
    let [root, subordinate, single] = std::thread::scope(|scope| {
        [None, Some(&subordinate), Some(&single)]
            .map(|user| scope.spawn(move || build_all(user)))
            .map(|thread| thread.join().unwrap())
    });
    let differing: Vec<_> = (0..rows.len())
        .filter(|at| single[*at] != root[*at] || subordinate[*at] != root[*at])
        .map(|at| (rows[at].1.name, &root[at], &subordinate[at], &single[at]))
        .collect();
    assert!(differing.is_empty(), "as root, with subordinate ids, with a single id: {differing:#?}");
}

fn digest(space: &TestSpace, user: Option<&User>, context: &Path) -> String {
    let call = space.build(context);
    let call = call.by(user);
    call.run().success().digest()
}

#[test]
fn steps_of_a_small_base_have_one_digest_on_all_rungs() {
    check_busybox("overlay");
}

#[test]
fn steps_of_a_small_base_have_one_digest_on_all_rungs_in_copies() {
    check_busybox("copy");
}

fn check_busybox(root: &str) {
    requires!("root", "busybox", "setpriv", "newuidmap");
    let space = TestSpace::in_memory();
    let server = busybox::serve(&space);
    let config = std::fs::read_to_string(space.path("config.toml")).unwrap();
    space.config(&format!("{config}\n[build]\nroot = \"{root}\"\n"));
    check(&space, &BUSYBOX_ROWS.iter().map(|row| (BUSYBOX, row)).collect::<Vec<_>>());
    drop(server);
}

/// A base with owners above any subordinate range, and with a device.
const HIGH: &str = "FROM high\n";

const HIGH_ROWS: &[Row] = &[
    row(
        "a base with high owners and a device",
        "RUN cp -a /high /copy && stat -c '%n %u %g %a %F' /high /high/* > /s\n",
    ),
    row(
        "a base with high owners, and another way to use it",
        "COPY --from=high /high /again\nRUN chown 5 /high/f && rm /high/d\n",
    ),
];

#[test]
fn a_base_with_high_owners_has_one_digest_on_all_rungs() {
    requires!("root", "busybox", "setpriv", "newuidmap");
    let space = TestSpace::in_memory();
    let mut served = busybox::images();
    let config = json!({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]}});
    served.add_archives("library/high:latest", config, &[busybox::rootfs(), high_owners()]);
    let server = served.start();
    space.config(&mirror_config(&server.host()));
    check(&space, &HIGH_ROWS.iter().map(|row| (HIGH, row)).collect::<Vec<_>>());
    drop(server);
}

/// A layer with a directory, a set-user-id file, a symlink and a device, all of high owners.
fn high_owners() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, kind, mode) in [
        ("high/", tar::EntryType::Directory, 0o2775),
        ("high/f", tar::EntryType::Regular, 0o4755),
        ("high/l", tar::EntryType::Symlink, 0o777),
        ("high/d", tar::EntryType::Char, 0o640),
    ] {
        let mut header = tar::Header::new_ustar();
        header.set_path(name).unwrap();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(123_456);
        header.set_gid(200_000);
        header.set_size(0);
        match kind {
            tar::EntryType::Symlink => header.set_link_name("f").unwrap(),
            tar::EntryType::Char => {
                header.set_device_major(1).unwrap();
                header.set_device_minor(3).unwrap();
            }
            _ => {}
        }
        header.set_cksum();
        builder.append(&header, std::io::empty()).unwrap();
    }
    builder.into_inner().unwrap()
}
