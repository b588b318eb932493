//! Attempts to reach the machine from a step, each by a system call or a file. They run in perl, which can make any call;
//! it is the machine's own, shown to the step with all of `/usr`.

use std::fmt::Write;
use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{SocketAddr, UnixListener};

use kiln_sandbox::{MountKind, Network, RunSpec};

use super::harness::{Case, rung};
use super::space::{Space, mounted, script_spec};

pub(crate) const ALL: &[Case] = &[
    ("calls_that_reach_the_machine_are_refused", refused_calls),
    ("calls_that_programs_need_are_allowed", allowed_calls),
    ("no_way_leads_out_of_the_root", ways_out),
    ("no_descriptor_of_the_caller_is_open_in_a_step", descriptors),
    ("the_files_that_a_step_begins_with_are_not_the_machines", first_files),
    (OWN_PROGRAM, own_program),
    ("switches_of_the_kernel_cannot_be_moved", switches),
    ("devices_of_memory_and_disks_cannot_be_opened", devices),
    ("a_step_without_network_reaches_no_abstract_socket", abstract_sockets),
    ("processes_of_the_machine_get_no_signal", signals),
    ("a_program_that_changes_its_user_works", setuid_programs),
    ("memory_that_is_a_file_system_is_bounded", shared_memory),
];

/// A root in which perl works.
fn perl_space() -> Space {
    let space = Space::new();
    for name in ["lib", "lib64"] {
        symlink(format!("usr/{name}"), space.path("base").join(name)).unwrap();
    }
    space
}

fn perl_spec(script: &str) -> RunSpec {
    let mut spec = mounted("/usr", MountKind::BindReadOnly { source: "/usr".into() }, "");
    spec.argv = ["/usr/bin/perl", "-e", script].map(Into::into).to_vec();
    spec
}

fn perl(script: &str) -> String {
    perl_space().output(&perl_spec(script))
}

/// One system call: its name, its number and its arguments in perl.
type Call = (&'static str, i64, &'static str);

/// What Docker's default profile refuses with `EPERM`. Each would do something else, or succeed, if it got through.
const REFUSED: &[Call] = &[
    ("mount", libc::SYS_mount, r#""none", "/tmp", "tmpfs", 0, 0"#),
    ("umount2", libc::SYS_umount2, r#""/proc", 2"#),
    ("pivot_root", libc::SYS_pivot_root, r#""/tmp", "/tmp""#),
    ("open_tree", libc::SYS_open_tree, r#"-100, "/", 1"#),
    ("move_mount", libc::SYS_move_mount, r#"-100, "/tmp", -100, "/root", 0"#),
    ("fsopen", libc::SYS_fsopen, r#""tmpfs", 0"#),
    ("fspick", libc::SYS_fspick, r#"-100, "/", 0"#),
    ("mount_setattr", libc::SYS_mount_setattr, r#"-100, "/", 0, 0, 0"#),
    ("unshare a user namespace", libc::SYS_unshare, "0x10000000"),
    ("unshare a mount namespace", libc::SYS_unshare, "0x00020000"),
    ("setns", libc::SYS_setns, "0, 0"),
    ("sethostname", libc::SYS_sethostname, r#""x", 1"#),
    ("setdomainname", libc::SYS_setdomainname, r#""x", 1"#),
    ("add_key", libc::SYS_add_key, r#""user", "name", "value", 5, -4"#),
    ("keyctl", libc::SYS_keyctl, "0, -3, 0"),
    ("request_key", libc::SYS_request_key, r#""user", "name", 0, -3"#),
    ("kexec_load", libc::SYS_kexec_load, "0, 0, 0, 0"),
    ("kexec_file_load", libc::SYS_kexec_file_load, "-1, -1, 0, 0, 0"),
    ("reboot", libc::SYS_reboot, "0, 0, 0, 0"),
    ("swapon", libc::SYS_swapon, r#""/none", 0"#),
    ("swapoff", libc::SYS_swapoff, r#""/none""#),
    ("settimeofday", libc::SYS_settimeofday, "0, 0"),
    ("clock_settime", libc::SYS_clock_settime, "0, 0"),
    ("init_module", libc::SYS_init_module, r#"0, 0, """#),
    ("finit_module", libc::SYS_finit_module, r#"-1, "", 0"#),
    ("delete_module", libc::SYS_delete_module, r#""none", 0"#),
    ("bpf", libc::SYS_bpf, "0, 0, 0"),
    ("perf_event_open", libc::SYS_perf_event_open, "0, 0, -1, -1, 0"),
    ("userfaultfd", libc::SYS_userfaultfd, "1"),
    ("io_uring_setup", libc::SYS_io_uring_setup, "1, 0"),
    ("io_uring_enter", libc::SYS_io_uring_enter, "-1, 0, 0, 0, 0"),
    ("open_by_handle_at", libc::SYS_open_by_handle_at, "-1, 0, 0"),
    ("fanotify_init", libc::SYS_fanotify_init, "0, 0"),
    ("quotactl", libc::SYS_quotactl, "0, 0, 0, 0"),
    ("acct", libc::SYS_acct, r#""/none""#),
    ("syslog", libc::SYS_syslog, "10, 0, 0"),
    ("kcmp", libc::SYS_kcmp, "1, 1, 0, 0, 0"),
    ("pidfd_getfd", libc::SYS_pidfd_getfd, "-1, 0, 0"),
    ("move_pages", libc::SYS_move_pages, "1, 0, 0, 0, 0, 0"),
    ("mbind", libc::SYS_mbind, "0, 0, 0, 0, 0, 0"),
    ("vhangup", libc::SYS_vhangup, ""),
    ("personality without random addresses", libc::SYS_personality, "0x0040000"),
    ("a socket to the hypervisor", libc::SYS_socket, "40, 1, 0"),
];

/// Returns a program that makes each call and says how it ended.
fn calls(rows: &[Call]) -> String {
    let mut script = String::new();
    for (name, number, arguments) in rows {
        // Constants of the program itself may not be handed to a call that could write to them.
        writeln!(
            script,
            "@a = ({arguments}); $r = syscall({number}, @a); print '{name}: ', $r < 0 ? $! + 0 : 0, \"\\n\";"
        )
        .unwrap();
    }
    script
}

fn answers(rows: &[Call], errno: i32) -> String {
    rows.iter().map(|(name, ..)| format!("{name}: {errno}\n")).collect()
}

fn refused_calls() {
    assert_eq!(perl(&calls(REFUSED)), answers(REFUSED, libc::EPERM));
    let unknown = [("clone3", libc::SYS_clone3, "0, 0"), ("of the x32 table", 0x4000_0000 + 39, "")];
    assert_eq!(perl(&calls(&unknown)), answers(&unknown, libc::ENOSYS));
}

fn allowed_calls() {
    let allowed = [
        ("ptrace of oneself", libc::SYS_ptrace, "0, 0, 0, 0"),
        ("personality", libc::SYS_personality, "0"),
        ("a socket", libc::SYS_socket, "1, 1, 0"),
        ("a socket of netlink", libc::SYS_socket, "16, 3, 0"),
        ("inotify_init1", libc::SYS_inotify_init1, "0"),
        ("memfd_create", libc::SYS_memfd_create, r#""m", 0"#),
        ("getrandom", libc::SYS_getrandom, "0, 0, 0"),
        ("epoll_create1", libc::SYS_epoll_create1, "0"),
        ("getsid", libc::SYS_getsid, "0"),
        ("chroot", libc::SYS_chroot, r#""/""#),
    ];
    assert_eq!(perl(&calls(&allowed)), answers(&allowed, 0));
    let expected = if rung() == "root" { 0 } else { libc::EPERM };
    let raw = [("a raw socket of the shared network", libc::SYS_socket, "2, 3, 1")];
    assert_eq!(perl(&calls(&raw)), answers(&raw, expected));
}

fn ways_out() {
    let space = perl_space();
    fs::write(space.path("base/inside"), "").unwrap();
    let outside = space.path("base");
    let outside = outside.display();
    // Keeps a handle on the root, moves the root below it, and climbs (the classic escape from `chroot`).
    let climb = format!(
        "mkdir '/tmp/x'; opendir(D, '/'); chroot('/tmp/x') or die; chdir(D) or die; chdir('..') for 1..200; chroot('.'); \
         print -e '/inside' ? 'in' : 'lost', -e '{outside}' ? ' out' : '', \"\\n\";"
    );
    assert_eq!(space.output(&perl_spec(&climb)), "in\n");
    for path in ["/proc/1/root", "/proc/self/root", "/proc/1/cwd", "/proc/self/cwd/..", "/proc/1/task/1/root"]
    {
        let script = format!(
            "test -e {path}/inside && echo in; ls {path}/{outside} 2>/dev/null; ls -a {path} | wc -l; ls -a / | wc -l"
        );
        let said = space.shell(&script);
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!((lines.len(), lines[0], lines[1]), (3, "in", lines[2]), "{path}: {said}");
    }
    let mounts = space
        .shell("cut -d' ' -f5 /proc/self/mountinfo | grep -v -e '^/proc' -e '^/sys' -e '^/dev' -e '^/etc'");
    assert_eq!(mounts, "/\n", "no mount of the machine is left");
    let nested = "unshare -r true 2>/dev/null || echo no; unshare -U -m true 2>/dev/null || echo no; mount -o remount,rw /proc/sys 2>/dev/null || echo no; \
                  umount /proc/sys 2>/dev/null || echo no; mount --bind / /tmp 2>/dev/null || echo no";
    assert_eq!(space.shell(nested), "no\n".repeat(5));
}

fn descriptors() {
    let space = Space::new();
    let said = space.shell("cd /proc/1/fd; for fd in *; do echo \"$fd $(readlink $fd | tr -d '0-9[]')\"; done | grep -v '^[^012]'; ls -d /proc/[0-9]*");
    assert_eq!(said, "0 /dev/null\n1 pipe:\n2 pipe:\n/proc/1\n");
}

/// Runs a program that belongs to the user of the rung; of the others, it is root's.
pub(crate) const OWN_PROGRAM: &str = "a_program_of_the_users_own_is_out_of_reach_of_steps";

/// What the step of [`change_program`] does when it is this program, as `/proc/self/exe`.
pub(crate) fn change_own_program() -> ! {
    let changed = fs::set_permissions("/proc/self/exe", fs::Permissions::from_mode(0o4711)).is_ok();
    let written = fs::OpenOptions::new().write(true).open("/proc/self/exe").and_then(|file| file.set_len(0));
    println!("changed {changed} written {}", written.is_ok());
    std::process::exit(0)
}

fn first_files() {
    let state = |path: &str| {
        let found = fs::metadata(path).unwrap();
        (found.mode(), found.uid(), found.gid(), found.ctime(), found.ctime_nsec(), found.len())
    };
    let before = (state("/dev/null"), state("/proc/self/exe"));
    let space = perl_space();
    space.shell("chmod 600 /dev/stdin /proc/self/fd/0; chown 1 /proc/self/fd/0; chmod 600 /dev/full /dev/tty; true 2>/dev/null");
    // Root's is out of reach of a user's namespace without a copy.
    let changed = rung() == "root";
    assert_eq!(change_program(&space), format!("changed {changed} written false\n"));
    assert_eq!((state("/dev/null"), state("/proc/self/exe")), before);
}

/// Returns what a step says that is this program and tries to change it.
fn change_program(space: &Space) -> String {
    let mut spec = perl_spec("");
    spec.argv = ["/proc/self/exe", "--change-own-program"].map(Into::into).to_vec();
    space.output(&spec)
}

fn own_program() {
    let state = || {
        let found = fs::metadata("/proc/self/exe").unwrap();
        (found.mode(), found.ctime(), found.ctime_nsec(), found.len())
    };
    let before = state();
    // What it changes is a copy.
    assert_eq!(change_program(&perl_space()), "changed true written false\n");
    assert_eq!(state(), before);
}

fn switches() {
    let space = Space::new();
    let paths = [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/hostname",
        "/proc/sys/vm/drop_caches",
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/sysrq-trigger",
        "/proc/irq/default_smp_affinity",
        "/sys/kernel/uevent_helper",
        "/sys/power/state",
        "/sys/fs/cgroup/cgroup.procs",
    ];
    for path in paths {
        let script = format!(
            "test -e {path} || exit 0; (echo 1 > {path}) 2>/dev/null && echo written; chmod 777 {path} 2>/dev/null && echo changed; true"
        );
        assert_eq!(space.shell(&script), "", "{path}");
    }
    let masked = "for path in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts /proc/sched_debug; do test -e $path && wc -c < $path; done | sort -u";
    assert_eq!(space.shell(masked), "0\n");
}

fn devices() {
    let space = Space::new();
    let script = "for d in / /dev /tmp /dev/shm /root; do mknod $d/mem c 1 1; mknod $d/kmsg c 1 11; mknod $d/disk b 8 0; mknod $d/loop b 7 0; mknod $d/fuse c 10 229; \
                  for n in mem kmsg disk loop fuse; do (: < $d/$n) && echo opened $d/$n; rm -f $d/$n; done; done 2>/dev/null; echo end";
    if rung() == "single" {
        // There such nodes are made only in the image: here they are files.
        return;
    }
    assert_eq!(space.shell(script), "end\n");
}

fn abstract_sockets() {
    let name = format!("kiln-test-{}", std::process::id());
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let script = format!(
        "use Socket; socket(S, PF_UNIX, SOCK_STREAM, 0); print connect(S, pack('S a*', 1, \"\\0{name}\")) ? 'reached' : 'nobody', \"\\n\";"
    );
    let mut spec = perl_spec(&script);
    assert_eq!(perl_space().output(&spec), "reached\n", "the network of the machine has its sockets");
    spec.network = Network::None;
    assert_eq!(perl_space().output(&spec), "nobody\n");
    drop(listener);
}

fn signals() {
    let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let script = format!(
        "kill -9 {} {} 2>/dev/null; kill -9 -- -1 2>/dev/null; echo end",
        child.id(),
        std::process::id()
    );
    assert_eq!(Space::new().shell(&script), "end\n");
    assert!(child.try_wait().unwrap().is_none(), "the process still runs");
    child.kill().unwrap();
    child.wait().unwrap();
}

fn setuid_programs() {
    if rung() == "single" {
        return;
    }
    let space = perl_space();
    fs::copy("/usr/bin/perl", space.path("base/bin/root-perl")).unwrap();
    fs::set_permissions(space.path("base/bin/root-perl"), fs::Permissions::from_mode(0o4755)).unwrap();
    let mut spec = perl_spec("");
    spec.argv = ["/bin/root-perl", "-e", "print \"$< $>\\n\""].map(Into::into).to_vec();
    (spec.user.uid, spec.user.gid) = (1001, 1001);
    assert_eq!(space.output(&spec), "1001 0\n");
}

fn shared_memory() {
    let space = Space::new();
    let script = "dd if=/dev/zero of=/dev/shm/x bs=1M count=100 2>&1 | grep -c 'No space'; stat -c %s /dev/shm/x; rm /dev/shm/x; \
                  dd if=/dev/zero of=/dev/x bs=1M count=100 2>&1 | grep -c 'No space'; stat -c %s /dev/x";
    let mut spec = script_spec(script);
    spec.limits.shm_size_bytes = 8 << 20;
    assert_eq!(space.output(&spec), "1\n8388608\n1\n67108864\n");
}
