//! Steps that do not want to end, or want more than they may have.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use kiln_sandbox::{CancelToken, ExecError, ExitStatus, MountKind, RunSpec, run};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::harness::{Case, rung};
use super::space::{Space, mounted, mounts, script_spec};

pub(crate) const ALL: &[Case] = &[
    ("processes_left_behind_die_with_the_step", left_behind),
    ("a_cancelled_step_dies_whatever_it_ignores", cancelled),
    ("a_step_does_not_start_when_cancelled_before", cancelled_before),
    ("nothing_outlives_a_caller_that_is_killed", killed_caller),
    (NO_MOUNT_IS_LEFT, no_mount_is_left),
    ("tasks_are_bounded", tasks_are_bounded),
    ("a_fork_bomb_ends_with_its_step", fork_bomb),
    ("output_without_newlines_streams_in_order", output_streams),
    ("device_nodes_reach_no_device", device_nodes),
    ("the_standard_devices_of_the_machine_cannot_be_changed", standard_devices),
    ("steps_run_side_by_side", side_by_side),
    ("calls_cut_short_by_a_kill_harm_nobody", calls_cut_short),
    ("new_files_stay_inside_the_root_whatever_links_say", new_files_stay_inside),
];

/// A step whose processes hold a FIFO open: its reader sees the end when the last of them is gone.
struct Watched {
    space: Space,
    spec: RunSpec,
}

impl Watched {
    fn new(script: &str) -> Self {
        let space = Space::new();
        let shared = space.directory("shared");
        mknodat(CWD, shared.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let script = format!("exec 3>/shared/fifo; {script}");
        let spec = mounted("/shared", MountKind::Bind { source: shared.into() }, &script);
        Watched { space, spec }
    }
}

/// Reads until every writer is gone.
fn all_gone(fifo: &mut File) {
    let mut rest = Vec::new();
    fifo.read_to_end(&mut rest).unwrap();
}

const STUBBORN: &str = "trap '' TERM INT HUP; (trap '' TERM; setsid sleep 1000) & echo ready >&3; echo ready; sleep 1000; sleep 1000";

fn left_behind() {
    let watched = Watched::new("setsid sleep 1000 & (sleep 1000 &) ; exit 3");
    std::thread::scope(|scope| {
        let fifo = watched.space.path("shared/fifo");
        let reader = scope.spawn(move || all_gone(&mut File::open(fifo).unwrap()));
        let outcome = watched.space.try_run(&watched.spec).unwrap();
        assert_eq!(outcome.exit.status, ExitStatus::Code(3));
        reader.join().unwrap();
    });
}

fn cancelled() {
    let watched = Watched::new(STUBBORN);
    let token = CancelToken::new().unwrap();
    let (root, switch) = (watched.space.overlay(), token.clone());
    std::thread::scope(|scope| {
        let fifo = watched.space.path("shared/fifo");
        let reader = scope.spawn(move || all_gone(&mut File::open(fifo).unwrap()));
        let result = run(&watched.spec, &root, &token, &mut |_| switch.cancel());
        assert!(matches!(result, Err(ExecError::Cancelled)), "{result:?}");
        reader.join().unwrap();
    });
}

fn cancelled_before() {
    let space = Space::new();
    let token = CancelToken::new().unwrap();
    token.cancel();
    let result = run(&script_spec("touch /f"), &space.overlay(), &token, &mut |_| {});
    assert!(matches!(result, Err(ExecError::Cancelled)));
    assert_eq!(space.changes(), Vec::<String>::new());
}

/// The program that is killed: runs the stubborn step in a root made by the test.
pub(crate) fn victim(shared: &Path) -> ! {
    let space = Space::new();
    let spec = mounted(
        "/shared",
        MountKind::Bind { source: shared.into() },
        &format!("exec 3>/shared/fifo; {STUBBORN}"),
    );
    let result = space.try_run(&spec);
    panic!("the step ended: {:?}", result.err());
}

fn killed_caller() {
    let watched = Watched::new("true");
    let shared = watched.space.path("shared");
    let mut victim =
        Command::new("/proc/self/exe").arg("--victim").arg(&shared).stderr(Stdio::inherit()).spawn().unwrap();
    let mut fifo = File::open(shared.join("fifo")).unwrap();
    let mut ready = [0; 6];
    fifo.read_exact(&mut ready).unwrap();
    victim.kill().unwrap();
    all_gone(&mut fifo);
    victim.wait().unwrap();
}

/// Wants to be alone with its mounts.
pub(crate) const NO_MOUNT_IS_LEFT: &str = "no_mount_is_left_or_seen_by_the_caller";

fn no_mount_is_left() {
    let space = Space::new();
    let before = mounts();
    let mut during = String::new();
    let outcome = run(&script_spec("echo x"), &space.overlay(), &CancelToken::new().unwrap(), &mut |_| {
        during = mounts()
    });
    assert!(outcome.unwrap().status.is_success());
    assert_eq!(space.try_run(&script_spec("exit 1")).unwrap().exit.status, ExitStatus::Code(1));
    assert!(space.try_run(&RunSpec::new(["/none"])).is_err());
    assert_eq!((during, mounts()), (before.clone(), before));
}

fn tasks_are_bounded() {
    let space = Space::new();
    let mut spec = script_spec("i=0; while [ $i -lt 400 ]; do sleep 100 & i=$((i+1)); done; echo all");
    spec.limits.tasks_max = 310;
    let outcome = space.try_run(&spec).unwrap();
    assert_ne!(outcome.exit.status, ExitStatus::Code(0));
    assert!(outcome.output.ends_with("can't fork: Resource temporarily unavailable\n"), "{}", outcome.output);
}

fn fork_bomb() {
    // The shell itself forks once and never again: where no task is left, it would end.
    let script = "mkfifo /f; exec 9<>/f; b() { b | b & }; b 2>/dev/null & read -t 1 x <&9; echo end";
    let mut watched = Watched::new(script);
    watched.spec.limits.tasks_max = 400;
    std::thread::scope(|scope| {
        let fifo = watched.space.path("shared/fifo");
        let reader = scope.spawn(move || all_gone(&mut File::open(fifo).unwrap()));
        let outcome = watched.space.try_run(&watched.spec).unwrap();
        assert_eq!((outcome.exit.status, outcome.output.as_str()), (ExitStatus::Code(0), "end\n"));
        reader.join().unwrap();
    });
}

fn output_streams() {
    let space = Space::new();
    let (mut size, mut pieces_max) = (0, 0);
    let spec = script_spec("yes | tr -d '\\n' | head -c 50000000; printf E >&2");
    let mut last = 0;
    let exit = run(&spec, &space.overlay(), &CancelToken::new().unwrap(), &mut |bytes| {
        size += bytes.len();
        pieces_max = pieces_max.max(bytes.len());
        last = bytes[bytes.len() - 1];
    });
    assert!(exit.unwrap().status.is_success());
    assert_eq!((size, last), (50_000_001, b'E'));
    assert!(pieces_max <= 64 << 10);
}

fn device_nodes() {
    let space = Space::new();
    let script = "for d in / /dev /tmp /dev/shm; do mknod $d/disk b 254 0 2>/dev/null; \
                  test $(dd if=$d/disk bs=1 count=1 2>/dev/null | wc -c) = 0 || echo read $d; done; echo end";
    assert_eq!(space.shell(script), "end\n");
}

fn standard_devices() {
    use std::os::unix::fs::MetadataExt;
    let before = std::fs::metadata("/dev/null").unwrap().mode();
    let space = Space::new();
    space.shell("chmod 600 /dev/null 2>&1; rm -f /dev/null 2>&1; echo > /dev/zero");
    assert_eq!(std::fs::metadata("/dev/null").unwrap().mode(), before);
}

fn side_by_side() {
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for number in 0..4 {
            scope.spawn(move || {
                let space = Space::new();
                for _ in 0..10 {
                    assert_eq!(space.shell(&format!("echo {number}; rm -rf /tmp/* ")), format!("{number}\n"));
                }
            });
        }
    });
    println!("{}: 40 steps, 4 at a time: {:?}", rung(), begin.elapsed());
}

fn calls_cut_short() {
    let space = Space::new();
    let script = "cd /tmp; i=0; while [ $i -lt 60 ]; do (while :; do touch f; stat f; mknod d p; chown 1 f; rm -f f d; done) >/dev/null 2>&1 & \
                  p=$!; echo > x; kill -9 $p; wait $p; i=$((i+1)); done 2>/dev/null; touch last; stat -c %u last";
    let mut spec = script_spec(script);
    spec.remembered.has_any = true;
    (spec.user.uid, spec.user.gid) = if rung() == "single" { (1000, 1000) } else { (0, 0) };
    let expected = format!("{}\n", spec.user.uid);
    assert_eq!(space.output(&spec), expected);
}

fn new_files_stay_inside() {
    let space = Space::new();
    let outside = space.path("outside");
    let up = "../".repeat(30);
    let script = format!(
        "cd /tmp; for to in {up}{outside} {outside}; do ln -s $to l; mkdir -p {parent}; echo > l; readlink -f l; rm l; done; \
         ln -s l l; (echo > l) 2>/dev/null || echo loop; mkdir {up}{up}d; stat -c %n /d",
        outside = outside.display(),
        parent = space.path("").display(),
    );
    let mut spec = script_spec(&script);
    (spec.user.uid, spec.user.gid) = if rung() == "single" { (1000, 1000) } else { (0, 0) };
    let expected = format!("{0}\n{0}\nloop\n/d\n", outside.display());
    assert_eq!(space.output(&spec), expected);
    assert!(!outside.exists());
}
