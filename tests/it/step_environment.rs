//! What a step finds: variables, user, directory, files, limits, network. One table, built as each kind of user.

use std::collections::BTreeSet;

use crate::support::users::{self, User};
use crate::support::{Outcome, TestSpace, busybox, requires};

/// Instructions that stay in force, a script, and what it prints.
type Row = (&'static str, &'static str, &'static str);

const ROWS: &[Row] = &[
    ("", "echo $PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    (
        "",
        "env | sort | busybox cut -d= -f1 | busybox tr '\\n' ' '",
        "HOME HTTP_PROXY NO_PROXY PATH PWD SHLVL SOURCE_DATE_EPOCH http_proxy no_proxy ",
    ),
    ("", "echo $HOME; id -u; id -g", "/root 0 0"),
    ("", "echo $0 $$; busybox hostname; umask; busybox wc -c; pwd", "/bin/sh 1 buildkitsandbox 0022 0 /"),
    ("ENV HOME=/own", "echo $HOME", "/own"),
    ("ENV HOME=", "echo \"[$HOME]\"", "[]"),
    // The rows below want the home of the list of users.
    ("FROM", "", ""),
    ("RUN echo 'more:x:77:nobody,root' >> /etc/group", "id -G", "0 77"),
    ("USER nobody", "echo $HOME; id -u; id -g; id -G", "/home 65534 65534 65534 77"),
    ("USER nobody:nogroup", "id -u; id -G", "65534 65534"),
    ("USER nobody:77", "id -u; id -g; id -G", "65534 77 77"),
    ("USER 65534", "echo $HOME; id -u; id -G", "/home 65534 65534 77"),
    ("USER 1234", "echo $HOME; id -u; id -g; id -G", "/ 1234 0 0"),
    ("USER 1234:more", "id -u; id -g; id -G", "1234 77 77"),
    (
        "USER 1234:5678",
        "id -u; id -g; id -G; busybox grep -E '^CapBnd' /proc/self/status | busybox cut -f2",
        "1234 5678 5678 00000000a80425fb",
    ),
    (
        "USER root",
        "busybox grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status | busybox cut -f2",
        "0000000000000000 00000000a80425fb 00000000a80425fb 00000000a80425fb 0000000000000000 0 2",
    ),
    ("", "busybox awk 'BEGIN{print ENVIRON[\"HTTP_PROXY\"], ENVIRON[\"no_proxy\"]}'", "http://proxy:1 local"),
    ("", "ulimit -n; ulimit -Hn; ulimit -c", "512 1024 0"),
    ("", "busybox df -k /dev/shm | busybox awk 'NR==2{print $2}'", "32768"),
    (
        "",
        "cat /etc/hosts",
        "127.0.0.1\tlocalhost buildkitsandbox ::1\tlocalhost ip6-localhost ip6-loopback 1.2.3.4\tone fe80::1\tsix 127.0.0.1\tgateway",
    ),
    (
        "",
        "(echo x > /etc/hosts) 2>/dev/null || echo no; rm /etc/hosts 2>/dev/null || echo no; cat /etc/hostname",
        "no no buildkitsandbox",
    ),
    (
        "",
        "ls /dev | busybox tr '\\n' ' '",
        "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero ",
    ),
    (
        "",
        "test $(ls -d /proc/[0-9]* | busybox wc -l) -lt 9 && echo alone; busybox wc -c < /proc/keys; mkdir /sys/x 2>/dev/null || echo no; (echo > /proc/sys/kernel/hostname) 2>/dev/null || echo no",
        "alone 0 no no",
    ),
    ("WORKDIR /made/by/root", "pwd; echo $PWD", "/made/by/root /made/by/root"),
    ("WORKDIR deeper", "pwd", "/made/by/root/deeper"),
    // Without the list of users numbers are still users.
    ("USER 0\nRUN mv /etc/passwd /etc/users", "id -u; echo $HOME", "0 /"),
    ("USER 42", "id -u; id -g; echo $HOME", "42 0 /"),
    ("USER 0\nRUN ln -s ../../../../../etc/users /etc/passwd", "echo $HOME", "/root"),
    ("RUN rm /etc/passwd && ln -s /proc/self/environ /etc/passwd", "echo $HOME", "/"),
    ("RUN rm /etc/passwd && mkdir /etc/passwd", "echo $HOME", "/"),
];

fn dockerfile(rows: &[Row]) -> String {
    let mut text = "FROM busybox\n".to_owned();
    for (number, (instructions, script, _)) in rows.iter().enumerate() {
        match *instructions {
            "FROM" => text += "ENV HOME=\nFROM busybox\n",
            other => {
                text +=
                    &format!("{other}\nRUN ({script}) < /dev/stdin 2>&1 | busybox sed 's/^/@{number} /'\n")
            }
        }
    }
    text
}

/// Returns what each row printed, lines joined by a space.
fn printed(outcome: &Outcome, count: usize) -> Vec<String> {
    let mut rows = vec![String::new(); count];
    for line in outcome.stderr.lines() {
        // `#7 0.123 @4 text`
        let Some((number, text)) =
            line.splitn(3, ' ').nth(2).and_then(|text| text.strip_prefix('@')?.split_once(' '))
        else {
            continue;
        };
        let Ok(number) = number.parse::<usize>() else { continue };
        let row = &mut rows[number];
        *row = if row.is_empty() { text.to_owned() } else { format!("{row} {text}") };
    }
    rows
}

fn flags() -> [&'static str; 10] {
    [
        "--ulimit=nofile=512:1024",
        "--ulimit=core=0:0",
        "--shm-size=32m",
        "--add-host=one:1.2.3.4",
        "--add-host=six:[fe80::1]",
        "--add-host=gateway:host-gateway",
        "--build-arg=HTTP_PROXY=http://proxy:1",
        "--build-arg=no_proxy=local",
        "--no-cache",
        "--network=default",
    ]
}

#[test]
fn every_user_gives_steps_the_surroundings_that_docker_gives_them() {
    requires!("root", "busybox", "setpriv", "newuidmap");
    let space = TestSpace::shared();
    let server = busybox::serve(&space);
    let (granted, single) = (users::with_subordinate_ids(&space), users::with_single_id(&space));
    let (first, second) = ROWS.split_at(ROWS.iter().position(|row| row.0 == "FROM").unwrap());
    for rows in [first, &second[1..]] {
        let context = space.context("context", &[("Dockerfile", &dockerfile(rows))]);
        for user in [None, Some(&granted), Some(&single)] {
            let call = space.build(&context).args(flags());
            let call = call.by(user);
            let outcome = call.run().success();
            let name = user.map_or("root", |user: &User| &user.name);
            let found = printed(&outcome, rows.len());
            let wrong: Vec<_> = rows.iter().zip(&found).filter(|(row, found)| row.2 != **found).collect();
            assert!(wrong.is_empty(), "as {name}: {wrong:#?}\n{outcome}");
        }
    }
    drop(server);
}

#[test]
fn a_new_working_directory_belongs_to_the_user_of_its_place() {
    requires!("root", "busybox", "setpriv", "newuidmap");
    let space = TestSpace::shared();
    let server = busybox::serve(&space);
    let dockerfile =
        "FROM busybox\nUSER nobody\nWORKDIR /made/deep\nRUN stat -c %u:%g:%a . .. && touch mine\n";
    let context = space.context("context", &[("Dockerfile", dockerfile)]);
    let user = users::with_subordinate_ids(&space);
    for call in [space.build(&context), space.build(&context).user(&user).store(&user.path("store"))] {
        let outcome = call.run().success();
        assert_eq!(outcome.stderr.matches(" 65534:65534:755\n").count(), 2, "{outcome}");
    }
    drop(server);
}

#[test]
fn a_list_of_users_that_is_too_large_is_named() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    let dockerfile = "FROM busybox\nRUN dd if=/dev/zero of=/etc/passwd bs=1M count=11\nRUN true\n";
    let context = space.context("context", &[("Dockerfile", dockerfile)]);
    let outcome = space.build(&context).run().fails_with(1);
    outcome.says(&["Dockerfile:3", "cannot read `/etc/passwd` of the image", "larger than 10485760 bytes"]);
    drop(server);
}

#[test]
fn proxies_reach_steps_and_neither_the_cache_nor_the_history() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    let context = space.context("context", &[("Dockerfile", "FROM busybox\nRUN echo \"[$https_proxy]\"\n")]);
    let build = |proxy: &str| {
        let argument = format!("--build-arg=https_proxy={proxy}");
        space.build(&context).args([argument.as_str(), "-t", "app"]).run().success()
    };
    let first = build("http://canary-one:1").says(&["[http://canary-one:1]"]).digest();
    assert_eq!(build("http://canary-two:1").says(&["CACHED"]).digest(), first);
    for words in [["history", "--no-trunc", "app"].as_slice(), &["inspect", "app"]] {
        assert!(!space.kiln(words).run().success().text().contains("canary"), "{words:?}");
    }
    drop(server);
}

/// Returns the names of this machine's network interfaces.
fn interfaces() -> BTreeSet<String> {
    let entries = std::fs::read_dir("/sys/class/net").unwrap().map(|entry| entry.unwrap());
    // A driver has files there, too.
    let interfaces = entries.filter(|entry| entry.path().is_dir());
    interfaces.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn networks_are_those_that_run_asks_for_and_more_privileges_are_refused() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    let dockerfile: String = ["none", "host", "default"]
        .map(|network| {
            let show =
                "$(readlink /proc/self/ns/net) $(ls /sys/class/net) $(busybox grep -c : /proc/net/dev)";
            format!("RUN --network={network} echo @ {network} {show} .\n")
        })
        .concat();
    let context = space.context("context", &[("Dockerfile", &format!("FROM busybox\n{dockerfile}"))]);
    let (before, outcome, after) = (interfaces(), space.build(&context).run().success(), interfaces());
    let seen = |network: &str| -> Vec<String> {
        let mut lines = outcome.stderr.lines();
        let line = lines.find_map(|line| line.split_once(&format!(" @ {network} net:"))).unwrap().1;
        line.split_whitespace().map(str::to_owned).collect()
    };
    let own = std::fs::read_link("/proc/self/ns/net").unwrap().display().to_string();
    for network in ["host", "default"] {
        let seen = seen(network);
        assert_eq!(format!("net:{}", seen[0]), own, "{network}: {outcome}");
        // Others may add one to those of the machine at any time, or take one away.
        let lasting = before.intersection(&after);
        assert!(lasting.into_iter().all(|name| seen.contains(name)), "{network}: {outcome}");
    }
    let none = seen("none");
    assert_ne!(format!("net:{}", none[0]), own, "{outcome}");
    assert_eq!(none[1..], ["lo", "1", "."], "{outcome}");
    let context =
        space.context("insecure", &[("Dockerfile", "FROM busybox\nRUN --security=insecure true\n")]);
    let outcome = space.build(&context).run().fails_with(1);
    outcome.says(&["Dockerfile:2", "`RUN --security=insecure` is not allowed", "never gets more privileges"]);
    drop(server);
}
