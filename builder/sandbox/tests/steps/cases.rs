//! What a step sees and may do.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use kiln_sandbox::{
    DEVICE_ATTRIBUTE, ExecError, ExitStatus, Mount, MountKind, Network, OWNER_ATTRIBUTE, Owner,
    OwnershipRecord, Owning, RootPlan, RunSpec, Ulimit, UlimitKind, try_overlay,
};

use super::harness::{Case, rung};
use super::space::{Space, mounted, script_spec};

pub(crate) const ALL: &[Case] = &[
    ("a_step_sees_what_docker_shows", a_step_sees_what_docker_shows),
    ("environment_and_directory_are_those_of_the_spec", environment_and_directory),
    ("exit_codes_and_signals_are_reported", exit_codes_and_signals),
    ("a_program_that_cannot_start_is_named_with_the_reason", programs_that_cannot_start),
    ("a_user_other_than_root_has_no_capability", a_user_other_than_root),
    ("a_network_of_none_has_only_loopback", a_network_of_none),
    ("system_files_replace_those_of_the_root_and_leave_no_trace", system_files),
    ("mount_points_made_for_a_mount_are_gone_afterwards", mount_points_are_gone),
    ("directories_keep_the_times_that_they_had", directories_keep_times),
    ("changed_directories_around_mount_points_are_kept", changed_directories_are_kept),
    ("dangling_symlinks_are_followed_inside_the_root", dangling_symlinks),
    ("binds_are_kept_refused_or_discarded", binds),
    ("tmpfs_and_files_exist_in_memory_only", tmpfs_and_files),
    ("nested_targets_are_mounted_outside_in", nested_targets),
    ("limits_are_those_of_the_spec", limits),
    ("a_hundred_and_fifty_layers_are_one_root", many_layers),
    ("a_plain_directory_can_be_the_root", a_plain_directory),
    ("a_root_is_entered_by_chroot_and_given_back_as_it_was", a_root_by_chroot),
    (AN_OVERLAY_IS_TRIED, an_overlay_is_tried),
    ("owners_and_deletions_arrive_in_the_upper_directory", owners_and_deletions),
    ("what_the_kernel_would_not_do_is_remembered", owners_are_remembered),
    ("what_is_remembered_is_seen_in_the_step", remembered_is_seen),
    ("errors_of_new_names_are_the_kernels", errors_of_new_names),
    ("ids_that_do_not_exist_are_pretended", ids_are_pretended),
];

fn check(space: &Space, rows: &[(&str, &str)]) {
    for (script, expected) in rows {
        assert_eq!(space.shell(script), *expected, "{script}");
    }
}

fn a_step_sees_what_docker_shows() {
    let space = Space::new();
    check(
        &space,
        &[
            (
                "awk '/^Cap/{print $2}' /proc/self/status | tr '\\n' ' '",
                "0000000000000000 00000000a80425fb 00000000a80425fb 00000000a80425fb 0000000000000000 ",
            ),
            ("echo $$", "1\n"),
            ("hostname; cat /etc/hostname", "buildkitsandbox\nbuildkitsandbox\n"),
            ("umask", "0022\n"),
            ("wc -c < /dev/stdin; test -t 0 || echo no terminal", "0\nno terminal\n"),
            (
                "ls /dev | tr '\\n' ' '",
                "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero ",
            ),
            ("wc -c < /proc/keys; ls /sys/firmware | wc -l; ls /proc/acpi 2>/dev/null | wc -l", "0\n0\n0\n"),
            ("echo 1 2>/dev/null > /proc/sys/kernel/sysrq || echo refused", "refused\n"),
            ("echo b 2>/dev/null > /proc/sysrq-trigger || echo refused", "refused\n"),
            ("mkdir /sys/x 2>/dev/null || echo refused", "refused\n"),
            ("mkdir /m; mount -t tmpfs none /m 2>/dev/null || echo refused", "refused\n"),
            (
                "unshare -U true 2>/dev/null || echo refused; unshare -m true 2>/dev/null || echo refused",
                "refused\nrefused\n",
            ),
            ("awk '$2==\"/proc\"{print $3}' /proc/mounts", "proc\n"),
            ("touch /dev/mine && echo made; echo /proc/[0-9]*", "made\n/proc/1\n"),
            ("echo out; echo err >&2; echo again > /dev/stdout", "out\nerr\nagain\n"),
            ("awk '/^(NoNewPrivs|Seccomp):/{print $2}' /proc/self/status", "0\n2\n"),
            ("df -k /dev/shm | awk 'NR==2{print $2}'", "65536\n"),
        ],
    );
}

fn environment_and_directory() {
    let space = Space::new();
    let mut spec = RunSpec::new(["env"]);
    spec.env =
        vec![("PATH".into(), "/none:/bin".into()), ("B".into(), "2".into()), ("A".into(), "x y\nz".into())];
    assert_eq!(space.output(&spec), "PATH=/none:/bin\nB=2\nA=x y\nz\n");
    let mut spec = RunSpec::new(["pwd"]);
    spec.cwd = "/root".into();
    assert_eq!(space.output(&spec), "/root\n");
    spec.cwd = "/not/there".into();
    assert_eq!(space.output(&spec), "/not/there\n", "a missing directory is made");
    spec.cwd = "/bin/busybox".into();
    assert!(
        matches!(space.try_run(&spec), Err(ExecError::WorkingDirectory { cwd, .. }) if cwd.ends_with("busybox"))
    );
}

fn exit_codes_and_signals() {
    let space = Space::new();
    let rows = [
        ("exit 0", ExitStatus::Code(0)),
        ("exit 37", ExitStatus::Code(37)),
        ("sh -c 'kill -9 $$'; exit $?", ExitStatus::Code(137)),
        ("exec awk 'BEGIN{exit 255}'", ExitStatus::Code(255)),
    ];
    for (script, expected) in rows {
        assert_eq!(space.try_run(&script_spec(script)).unwrap().exit.status, expected, "{script}");
    }
}

fn programs_that_cannot_start() {
    let space = Space::new();
    let file = |name: &str, content: &[u8], mode: u32| {
        let path = space.path("base/bin").join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    file("plain", b"echo", 0o644);
    file("script", b"#!/no/such -x\n", 0o755);
    file("text", b"echo hi\n", 0o755);
    file("arm", &[&b"\x7fELF\x02\x01\x01"[..], &[0; 9], &[2, 0, 183, 0], &[0; 44]].concat(), 0o755);
    let rows = [
        ("nothing", "exec: `nothing`: not found in PATH", Some(127)),
        ("/bin/nothing", "exec: `/bin/nothing`: no such file or directory", Some(127)),
        ("plain", "exec: `plain`: permission denied", Some(126)),
        ("script", "exec: `script`: its interpreter `/no/such` does not exist in the root", Some(127)),
        (
            "text",
            "exec: `text`: exec format error (a program for no program; a script needs a first line `#!…`)",
            Some(126),
        ),
        ("arm", "exec: `arm`: exec format error (a program for arm64)", Some(126)),
        ("", "exec: ``: not found in PATH", Some(127)),
    ];
    for (program, message, code) in rows {
        let Err(error) = space.try_run(&RunSpec::new([program])) else { panic!("{program} ran") };
        assert_eq!((error.to_string().as_str(), error.shell_code()), (message, code));
    }
    let nul = space.try_run(&RunSpec::new(["echo", "a\0b"]));
    assert!(matches!(nul, Err(ExecError::NulByte { .. })));
    assert!(matches!(space.try_run(&RunSpec::new::<[&str; 0], _>([])), Err(ExecError::EmptyCommand)));
    assert_eq!(space.changes(), Vec::<String>::new());
}

fn a_user_other_than_root() {
    if rung() == "single" {
        return;
    }
    let space = Space::new();
    let mut spec = script_spec(
        "id -u; id -g; id -G; awk '/^Cap(Eff|Prm|Bnd)/{print $2}' /proc/self/status; touch /f 2>/dev/null || echo refused; \
         echo shown > /dev/stdout",
    );
    (spec.user.uid, spec.user.gid, spec.user.groups) = (1001, 1002, vec![1002, 2001, 2002]);
    assert_eq!(
        space.output(&spec),
        "1001\n1002\n1002 2001 2002\n0000000000000000\n0000000000000000\n00000000a80425fb\nrefused\nshown\n"
    );
}

fn a_network_of_none() {
    let space = Space::new();
    // A kernel with tunnels puts the ends of some into each network, where they are down.
    let mut spec = script_spec(
        "busybox ip -o link show up | cut -d: -f2 | tr -d ' '; tail -n +2 /proc/net/route | wc -l",
    );
    spec.network = Network::None;
    assert_eq!(space.output(&spec), "lo\n0\n");
}

fn system_files() {
    let space = Space::new();
    fs::write(space.path("base/etc/hosts"), "1.2.3.4 image\n").unwrap();
    let mut spec =
        script_spec("cat /etc/hosts /etc/resolv.conf; echo more 2>/dev/null >> /etc/hosts || echo refused");
    spec.files.hosts = Some(b"10.9.8.7 special\n".to_vec());
    spec.files.resolv_conf = Some(b"nameserver 9.9.9.9\n".to_vec());
    assert_eq!(space.output(&spec), "10.9.8.7 special\nnameserver 9.9.9.9\nrefused\n");
    assert_eq!(space.changes(), Vec::<String>::new());
}

fn mount_points_are_gone() {
    let space = Space::new();
    fs::create_dir_all(space.path("base/usr/share/doc")).unwrap();
    let tmpfs = || MountKind::Tmpfs { size_bytes: None };
    let secret = || MountKind::File { content: b"s".to_vec(), mode: 0o400, owner: Owner::default() };
    let mut spec = script_spec("ls /usr/share/doc /new/deep");
    for target in ["/new/deep/dir", "/usr/share/doc/a/b"] {
        spec.mounts.push(Mount { target: target.into(), kind: tmpfs() });
    }
    spec.mounts.push(Mount { target: "/usr/share/doc/secret".into(), kind: secret() });
    let outcome = space.try_run(&spec).unwrap();
    assert_eq!(outcome.output, "/new/deep:\ndir\n\n/usr/share/doc:\na\nsecret\n");
    assert_eq!(space.changes(), Vec::<String>::new());
    let stubs: Vec<_> = outcome.exit.stubs.iter().map(|path| path.to_str().unwrap()).collect();
    assert_eq!(
        stubs,
        [
            "proc",
            "sys",
            "dev",
            "etc/hostname",
            "new",
            "new/deep",
            "new/deep/dir",
            "usr/share/doc/secret",
            "usr/share/doc/a",
            "usr/share/doc/a/b"
        ]
    );
}

fn changed_directories_are_kept() {
    let space = Space::new();
    let kind = MountKind::Tmpfs { size_bytes: None };
    space.output(&mounted("/var/cache/x", kind, "chmod 700 /etc; touch /var/kept; echo > /var/cache/x/gone"));
    assert_eq!(space.changes(), ["etc", "var", "var/kept"]);
}

fn dangling_symlinks() {
    let space = Space::new();
    symlink("../run/systemd/resolv.conf", space.path("base/etc/resolv.conf")).unwrap();
    symlink("/../../../../../../etc/real", space.path("base/etc/hosts")).unwrap();
    symlink("loop", space.path("base/loop")).unwrap();
    let mut spec = script_spec("cat /etc/resolv.conf /run/systemd/resolv.conf /etc/real");
    spec.files.resolv_conf = Some(b"r\n".to_vec());
    spec.files.hosts = Some(b"h\n".to_vec());
    assert_eq!(space.output(&spec), "r\nr\nh\n");
    assert_eq!(space.changes(), Vec::<String>::new());
    let spec = mounted("/loop/x", MountKind::Tmpfs { size_bytes: None }, "true");
    assert!(
        matches!(space.try_run(&spec), Err(ExecError::Mount { target, .. }) if target.ends_with("loop/x"))
    );
}

fn binds() {
    let space = Space::new();
    let (source, scratch) = (space.directory("source"), space.directory("scratch"));
    fs::write(source.join("a"), "old\n").unwrap();
    let source = source.into_os_string();
    let read_only = MountKind::BindReadOnly { source: source.clone() };
    assert_eq!(
        space.output(&mounted("/c", read_only, "cat /c/a; touch /c/x 2>/dev/null || echo refused")),
        "old\nrefused\n"
    );
    let discard = MountKind::BindDiscard { source: source.clone(), scratch: scratch.into() };
    assert_eq!(
        space.output(&mounted("/c", discard, "echo new > /c/a; touch /c/x; cat /c/a; ls /c")),
        "new\na\nx\n"
    );
    let file = space.path("source/a").into_os_string();
    let discard = MountKind::BindDiscard { source: file, scratch: space.directory("scratch2").into() };
    assert_eq!(space.output(&mounted("/etc/f", discard, "echo new > /etc/f; cat /etc/f")), "new\n");
    assert_eq!(fs::read_to_string(space.path("source/a")).unwrap(), "old\n");
    assert!(!space.path("source/x").exists());
    space.output(&mounted("/c", MountKind::Bind { source }, "echo kept > /c/k"));
    assert_eq!(fs::read_to_string(space.path("source/k")).unwrap(), "kept\n");
    let missing = MountKind::Bind { source: space.path("missing").into() };
    assert!(matches!(space.try_run(&mounted("/c", missing, "true")), Err(ExecError::MountSource { .. })));
    assert_eq!(space.changes(), Vec::<String>::new());
}

fn directories_keep_times() {
    let space = Space::new();
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(315_532_800);
    for name in ["base/etc", "source"] {
        fs::File::open(space.directory(name)).unwrap().set_modified(old).unwrap();
    }
    fs::set_permissions(space.path("source"), fs::Permissions::from_mode(0o750)).unwrap();
    assert_eq!(space.shell("stat -c %Y /etc"), "315532800\n", "with mount points in it");
    let (source, scratch) = (space.path("source").into(), space.directory("scratch").into());
    let mut spec =
        mounted("/etc/s", MountKind::BindDiscard { source, scratch }, "stat -c '%Y %a' /etc/s /etc");
    spec.mounts.push(Mount { target: "/etc/s/t".into(), kind: MountKind::Tmpfs { size_bytes: None } });
    assert_eq!(space.output(&spec), "315532800 750\n315532800 755\n");
    assert_eq!(space.changes(), Vec::<String>::new());
}

fn tmpfs_and_files() {
    let space = Space::new();
    let tmpfs = MountKind::Tmpfs { size_bytes: Some(2 << 20) };
    let script = "df -k /t | awk 'NR==2{print $2}'; stat -c %a /t; echo x > /t/x";
    assert_eq!(space.output(&mounted("/t", tmpfs, script)), "2048\n1777\n");
    let owner = Owner { uid: 5, gid: 6 };
    let secret = MountKind::File { content: b"s3cret\0\n".to_vec(), mode: 0o440, owner };
    let script = "wc -c < /run/secrets/token; stat -c '%a %u %g' /run/secrets/token; echo 2>/dev/null >> /run/secrets/token || echo refused";
    let expected = format!("8\n440 {} {}\nrefused\n", owner.uid, owner.gid);
    assert_eq!(space.output(&mounted("/run/secrets/token", secret, script)), expected);
    assert_eq!(space.changes(), Vec::<String>::new());
}

fn nested_targets() {
    let space = Space::new();
    let source = space.directory("source");
    fs::write(source.join("a"), "").unwrap();
    let mut spec =
        mounted("/t/ctx", MountKind::BindReadOnly { source: source.into() }, "ls /t/ctx; touch /t/y");
    spec.mounts.push(Mount { target: "/t".into(), kind: MountKind::Tmpfs { size_bytes: None } });
    assert_eq!(space.output(&spec), "a\n");
    assert_eq!(space.changes(), Vec::<String>::new());
}

fn limits() {
    let space = Space::new();
    let mut spec = script_spec("ulimit -n; ulimit -Hn; df -k /dev/shm | awk 'NR==2{print $2}'");
    spec.limits.ulimits.push(Ulimit { kind: UlimitKind::Nofile, soft: Some(512), hard: Some(1024) });
    spec.limits.shm_size_bytes = 128 << 20;
    assert_eq!(space.output(&spec), "512\n1024\n131072\n");
}

fn many_layers() {
    let space = Space::new();
    // Names far longer than the 256 bytes of a mount option.
    let long = "l".repeat(200);
    let mut lower = vec![space.path("base")];
    for number in 0..150 {
        let layer = space.directory(&format!("layers,:\\/{long}/{number}"));
        fs::write(layer.join(format!("f{number}")), "").unwrap();
        fs::write(layer.join("top"), number.to_string()).unwrap();
        lower.push(layer);
    }
    let root = RootPlan::Overlay { lower, upper: space.path("upper"), work: space.path("work") };
    let outcome = space.try_run_in(&script_spec("ls / | grep -c '^f[0-9]'; cat /top"), &root).unwrap();
    assert_eq!(outcome.output, "150\n149");
}

fn a_plain_directory() {
    let space = Space::new();
    let base = space.path("base");
    let modified = |name: &str| base.join(name).metadata().unwrap().mtime_nsec();
    let before = (modified(""), modified("etc"));
    let outcome = space.try_run_in(
        &script_spec("cat /etc/hostname; echo x > /tmp/made"),
        &RootPlan::Directory(base.clone()),
    );
    assert_eq!(outcome.unwrap().output, "buildkitsandbox\n");
    assert_eq!((modified(""), modified("etc")), before);
    let mut left: Vec<_> = fs::read_dir(&base).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["bin", "etc", "root", "tmp"]);
    assert_eq!(fs::read_to_string(base.join("tmp/made")).unwrap(), "x\n");
}

fn a_root_by_chroot() {
    if rung() == "single" {
        return;
    }
    let space = Space::new();
    let (base, aside) = (space.path("base"), space.directory("aside"));
    fs::write(base.join("etc/hosts"), "own").unwrap();
    let modified = |name: &str| base.join(name).metadata().unwrap().mtime_nsec();
    let before = (modified(""), modified("etc"), modified("etc/hosts"));
    let mut spec = script_spec(
        "cat /etc/hosts /deep/secret && test -d /dev/shm && echo x > /tmp/made && echo x > /t/lost",
    );
    spec.files.hosts = Some(b"given\n".to_vec());
    let file = MountKind::File { content: b"secret\n".to_vec(), mode: 0o400, owner: Owner::default() };
    spec.mounts.push(Mount { target: "/deep/secret".into(), kind: file });
    spec.mounts.push(Mount { target: "/t".into(), kind: MountKind::Tmpfs { size_bytes: None } });
    let root = RootPlan::Chroot { root: base.clone(), aside: aside.clone() };
    assert_eq!(space.try_run_in(&spec, &root).unwrap().output, "given\nsecret\n");
    assert_eq!((modified(""), modified("etc"), modified("etc/hosts")), before);
    assert_eq!(fs::read_to_string(base.join("etc/hosts")).unwrap(), "own");
    let names = |path: &std::path::Path| {
        let mut names: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&base), ["bin", "etc", "root", "tmp"]);
    assert_eq!(names(&base.join("etc")), ["hosts"]);
    assert!(base.join("tmp/made").exists() && names(&aside).is_empty());
    spec.network = Network::None;
    let error = space.try_run_in(&spec, &root).err().unwrap();
    assert!(matches!(error, ExecError::Unavailable { .. }), "{error:?}");
}

/// Wants to be alone with its mounts.
pub(crate) const AN_OVERLAY_IS_TRIED: &str = "an_overlay_is_tried_without_a_trace";

fn an_overlay_is_tried() {
    let space = Space::new();
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap();
    let before = mounts();
    try_overlay(&space.directory("place")).unwrap();
    assert_eq!(mounts(), before);
    assert!(try_overlay(&space.path("no-such-place")).is_err());
}

fn owners_and_deletions() {
    if rung() == "single" {
        return;
    }
    let space = Space::new();
    fs::write(space.path("base/old"), "").unwrap();
    space.shell("touch /a; chown 5:6 /a; chmod 4755 /a; rm /old; mknod /d c 1 3; rm -r /tmp; mkdir /tmp");
    let found = |name: &str| space.path("upper").join(name).symlink_metadata().unwrap();
    let a = found("a");
    assert_eq!((a.uid(), a.gid(), a.mode() & 0o7777), (5, 6, 0o4755));
    assert_eq!((found("old").mode() & 0o170_000, found("old").rdev()), (0o020_000, 0));
    if rung() == "root" {
        assert_eq!(found("d").rdev(), rustix::fs::makedev(1, 3));
    }
}

fn attribute(space: &Space, name: &str, attribute: &str) -> Option<String> {
    let mut value = [0; 64];
    let length = rustix::fs::getxattr(space.path("upper").join(name), attribute, &mut value).ok()?;
    Some(String::from_utf8(value[..length].to_vec()).unwrap())
}

fn owners_are_remembered() {
    if rung() == "root" {
        return;
    }
    let space = Space::new();
    fs::write(space.path("base/old"), "").unwrap();
    let script = "touch /a /b /suid; mkdir /q; chown 5:6 /q; chown 5:7 /a; chmod 4755 /suid; chown 1 /suid; stat -c %a /suid; \
                  chown 5:6 /b; chown 0:0 /b; ln -s x /l; chown -h 8:9 /l; mv /l /l2; ln -s x /m; chown -h 1:1 /m; chown -h 0:0 /m; mknod -m 600 /c c 1 3; mknod /dev/loop b 7 0; \
                  mv /a /moved; cd /q; touch r; chown 70000:80000 ./r; chown 3:4 /old; chown 1 /none 2>/dev/null || echo missing; \
                  mknod /fifo p; chown 2 /proc/version 2>/dev/null || echo refused";
    let mut spec = script_spec(script);
    spec.remembered.owners = Owning::Remember;
    let outcome = space.try_run(&spec).unwrap();
    assert_eq!(outcome.output, "755\nmissing\nrefused\n");
    let rows = [
        ("moved", Some("5:7")),
        ("q", Some("5:6")),
        ("q/r", Some("70000:80000")),
        ("b", None),
        ("suid", Some("1:0")),
        ("old", Some("3:4")),
    ];
    for (name, expected) in rows {
        assert_eq!(attribute(&space, name, OWNER_ATTRIBUTE).as_deref(), expected, "{name}");
    }
    assert_eq!(attribute(&space, "c", DEVICE_ATTRIBUTE).as_deref(), Some("c:1:3"));
    assert_eq!(fs::metadata(space.path("upper/c")).unwrap().mode() & 0o7777, 0o600);
    let found = fs::symlink_metadata(space.path("upper/l2")).unwrap();
    let owner = Owner { uid: 8, gid: 9 };
    let link = OwnershipRecord { device: found.dev(), inode: found.ino(), owner };
    assert_eq!(outcome.exit.ownership, [link]);
}

fn remembered_is_seen() {
    if rung() == "root" {
        return;
    }
    let space = Space::new();
    fs::write(space.path("base/old"), "").unwrap();
    set_attribute(&space.path("base/old"), OWNER_ATTRIBUTE, "7:8");
    symlink("old", space.path("base/link")).unwrap();
    let rows = [
        ("stat -c '%u %g' /old; stat -Lc '%u %g' /link; cd /; stat -c '%u' ./bin/../old", "7 8\n7 8\n7\n"),
        (
            "stat -c '%u %g' /link; mv /link /l2; stat -c '%u %g' /l2; ln -s x /link; stat -c %u /link",
            "9 9\n9 9\n0\n",
        ),
        ("chown 1 /old; stat -c '%u %g' /old; stat /none 2>/dev/null || echo missing", "1 8\nmissing\n"),
        ("mknod /c c 4 5; stat -c '%F %t %T' /c; touch /plain; stat -c '%F %u' /plain", CHARACTER_DEVICE),
    ];
    for (script, expected) in rows {
        let mut spec = script_spec(script);
        spec.remembered.owners = Owning::Remember;
        spec.remembered.has_any = true;
        spec.remembered.links = vec![("link".into(), Owner { uid: 9, gid: 9 })];
        assert_eq!(space.output(&spec), expected, "{script}");
    }
}

fn errors_of_new_names() {
    let space = Space::new();
    let script = "cd /tmp; mkdir d/; mkdir d; mkdir d/.; mkdir none/d; ln -s x l/; mknod p/ p; echo > f/; echo > d; ln -s l l; echo > l; \
                  echo out > /dev/stdout; echo err > /dev/fd/2; echo > none/f; set -C; echo > g; echo > g; ls | tr '\\n' ' '";
    let mut spec = RunSpec::new(["/bin/sh", "-c", &format!("exec 2>&1; {script}")]);
    let expected = space.output(&spec);
    assert!(expected.ends_with("d g l "), "{expected}");
    if rung() != "root" {
        let other = Space::new();
        spec.remembered.owners = Owning::Remember;
        (spec.user.uid, spec.user.gid) = (1000, 1000);
        assert_eq!(other.output(&spec), expected);
    }
}

const CHARACTER_DEVICE: &str = "character special file 4 5\nregular empty file 0\n";

fn set_attribute(path: &std::path::Path, name: &str, value: &str) {
    rustix::fs::setxattr(path, name, value.as_bytes(), rustix::fs::XattrFlags::empty()).unwrap();
}

fn ids_are_pretended() {
    let space = Space::new();
    fs::write(space.path("base/etc/passwd"), "root:x:0:0::/:/bin/sh\napp:x:42:43::/:/bin/sh\n").unwrap();
    fs::write(space.path("base/etc/group"), "app:x:43:\nmore:x:44:app\n").unwrap();
    fs::write(space.path("base/etc/shadow"), "app:*:1::::::\n").unwrap();
    let script = "id -u; id -g; su -s /bin/sh app -c 'id -u; id -g; id -G; sh -c \"id -ur\"; chroot / true 2>/dev/null'; id -u";
    assert_eq!(space.output(&script_spec(script)), "0\n0\n42\n43\n43 44\n42\n0\n");
    let mut spec = script_spec("id -u; id -G");
    (spec.user.uid, spec.user.gid, spec.user.groups) = (1001, 1002, vec![1002, 2001]);
    assert_eq!(space.output(&spec), "1001\n1002 2001\n");
}
