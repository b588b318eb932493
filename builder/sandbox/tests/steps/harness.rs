//! Lists and runs tests, each once per rung of privilege.

use std::os::unix::process::CommandExt;
use std::panic::catch_unwind;
use std::path::Path;
use std::process::{Command, exit};

use kiln_sandbox::{IdMapping, Identity, UserNamespaceOptions, enter};

/// One behaviour, and where it holds.
pub(crate) type Case = (&'static str, fn());

const RUNGS: [&str; 3] = ["root", "subordinate", "single"];
/// An id without an entry in `/etc/passwd` or `/etc/subuid`.
const STRANGER: u32 = 54321;
/// A user that has subordinate ids; made when missing.
const GRANTED_USER: &str = "kilntest";

pub(crate) fn main(cases: &[Case]) {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    if has("--victim") {
        // Started by a test that has entered its rung already.
        super::hostile::victim(Path::new(&arguments[1]));
    }
    if has("--change-own-program") {
        super::escapes::change_own_program();
    }
    let names: Vec<String> = RUNGS
        .iter()
        .flat_map(|rung| cases.iter().map(move |(name, _)| format!("{rung}::{name}")))
        .filter(|name| wanted(name, &arguments))
        .collect();
    if has("--list") {
        if !has("--ignored") {
            names.iter().for_each(|name| println!("{name}: test"));
        }
        return;
    }
    if let Some(rung) = arguments.iter().position(|argument| argument == "--inside") {
        return run_inside(&arguments[rung + 1], &arguments[rung + 2], cases);
    }
    let is_apart = has(APART) || !rustix::process::geteuid().is_root();
    let passes =
        |name: &str| if is_apart || !looks_at_mounts(name) { passes(name) } else { passes_apart(name) };
    let failed: Vec<&String> = names.iter().filter(|name| !passes(name)).collect();
    println!("{} passed, {} failed {failed:?}", names.len() - failed.len(), failed.len());
    exit(i32::from(!failed.is_empty()) * 101);
}

fn wanted(name: &str, arguments: &[String]) -> bool {
    let filters: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let exact = arguments.iter().any(|argument| argument == "--exact");
    let filters: Vec<_> =
        filters.into_iter().filter(|filter| !["terse", "pretty"].contains(&filter.as_str())).collect();
    filters.is_empty()
        || filters
            .iter()
            .any(|filter| if exact { name == filter.as_str() } else { name.contains(filter.as_str()) })
}

/// Runs one test in a process of its own, as the user its rung asks for.
fn passes(name: &str) -> bool {
    let (rung, _) = name.split_once("::").unwrap();
    let is_root = rustix::process::geteuid().is_root();
    let program = tempfile::Builder::new().prefix("kiln-steps").tempdir().unwrap();
    let mut command = if is_root && rung != "root" {
        // The build directory may be closed to other users.
        let copy = program.path().join("steps");
        std::fs::copy("/proc/self/exe", &copy).unwrap();
        open_to_all(program.path());
        let id = if rung == "single" { STRANGER } else { granted_user() };
        if name.ends_with(super::escapes::OWN_PROGRAM) {
            std::os::unix::fs::chown(&copy, Some(id), Some(id)).unwrap();
        }
        let mut command = Command::new(copy);
        command.uid(id).gid(id).current_dir("/");
        command
    } else if !is_root && rung == "root" {
        println!("{name} ... skipped: needs root");
        return true;
    } else {
        Command::new("/proc/self/exe")
    };
    let (_, case) = name.split_once("::").unwrap();
    let status = command.args(["--inside", rung, case]).status().unwrap();
    println!("{name} ... {}", if status.success() { "ok" } else { "FAILED" });
    status.success()
}

/// What this program is told where nobody else mounts.
const APART: &str = "--apart";

fn looks_at_mounts(name: &str) -> bool {
    [super::hostile::NO_MOUNT_IS_LEFT, super::cases::AN_OVERLAY_IS_TRIED]
        .iter()
        .any(|case| name.ends_with(case))
}

/// Runs one test where the mounts of others do not show: this machine has them come and go. What is mounted in a namespace made from that
/// one shows there all the same, unless it is kept from it.
fn passes_apart(name: &str) -> bool {
    let mut command = Command::new("unshare");
    let script = "mount --make-rshared / && exec \"$@\"";
    command.args(["--mount", "--propagation=private", "sh", "-c", script, "sh"]);
    command.arg(std::env::current_exe().unwrap()).args([APART, "--exact", name]);
    command.status().unwrap().success()
}

fn open_to_all(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn granted_user() -> u32 {
    // Tests of other packages make the same user, and what it is granted a moment later.
    let lock = std::fs::File::create(std::env::temp_dir().join("kiln-test-users.lock")).unwrap();
    lock.lock().unwrap();
    let id = || {
        let output = Command::new("id").args(["-u", GRANTED_USER]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse().ok()
    };
    id().unwrap_or_else(|| {
        Command::new("useradd").arg(GRANTED_USER).output().unwrap();
        id().expect("useradd makes the user")
    })
}

fn run_inside(rung: &str, name: &str, cases: &[Case]) {
    enter_rung(rung);
    let (_, case) = cases.iter().find(|(case, _)| *case == name).expect("a known test");
    let ended = catch_unwind(case);
    exit(i32::from(ended.is_err()));
}

/// Becomes what a rung promises; a rung that turns out to be another one is a failure, not a pass.
fn enter_rung(rung: &str) {
    let mapping = if rung == "single" { IdMapping::Single } else { IdMapping::Best };
    let identity = enter(&UserNamespaceOptions { mapping }).expect("this machine has user namespaces");
    match (rung, &identity) {
        ("root", Identity::Root)
        | ("subordinate", Identity::Subordinate { .. })
        | ("single", Identity::Single { .. }) => {}
        _ => panic!("wanted {rung}, got {identity:?}"),
    }
}

/// The rung of the running test.
pub(crate) fn rung() -> String {
    let arguments: Vec<String> = std::env::args().collect();
    arguments[2].clone()
}
