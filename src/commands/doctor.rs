//! `kiln doctor`: whether RUN works on this machine, what stands in the way, and the cure. Uses no network.
//!
//! What is looked at becomes a [`Report`] of plain words, which is printed as text or JSON.

use std::ffi::OsStr;

use kiln_builder::RootKind;
use kiln_builder::checkup::{Checkup, check_up};
use kiln_builder::transform::StepError;
use kiln_oci::Platform;
use kiln_sandbox::{Identity, Machine, Obstacle, SubordinateError, emulated, id_map_tool, probe};
use serde::Serialize;

use super::{Context, print};
use crate::cli::{DoctorArgs, DoctorFormat};
use crate::failure::{Failure, Kind};
use crate::settings::Settings;
use crate::ui::{human, table};

/// Looks at this machine.
pub(super) fn run(args: &DoctorArgs, context: Context) -> Result<(), Failure> {
    let settings = context.settings.clone();
    let rungs = rungs(&context.identity);
    let checkup = match context.open(1) {
        Ok((workshop, _)) => Ok(check_up(&workshop)),
        Err(failure) => Err(failure),
    };
    let report = report(rungs, checkup, &settings);
    print(&match args.format {
        DoctorFormat::Text => text(&report),
        DoctorFormat::Json => {
            format!("{}\n", serde_json::to_string(&report).expect("this type always serializes"))
        }
    })?;
    match report.is_run_possible {
        true => Ok(()),
        false => {
            // The report has said it.
            let failure = Failure::new(Kind::Machine, "steps of RUN cannot run on this machine");
            Err(Failure { is_shown: true, ..failure })
        }
    }
}

/// What was found. The format is number 1; a new field is no new format.
#[derive(Serialize)]
struct Report {
    format: u32,
    #[serde(rename = "run")]
    is_run_possible: bool,
    /// Why not, nearest first.
    reasons: Vec<String>,
    cures: Vec<String>,
    rungs: Vec<Rung>,
    /// Whether steps see the processes around them.
    shares_processes: bool,
    kernel: String,
    /// `overlay` or `copy`, when a step can be run.
    roots: Option<&'static str>,
    /// Why they are no overlays.
    #[serde(rename = "why_copies")]
    roots_reason: Option<String>,
    store: Store,
    tools: Vec<Tool>,
    /// Other platforms whose programs run here; absent when the kernel's list cannot be read.
    foreign: Option<Vec<Foreign>>,
    registries: Vec<String>,
}

/// One way of running steps, best first.
#[derive(Serialize)]
struct Rung {
    name: &'static str,
    state: State,
    why: String,
    cure: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Taken,
    OutOfReach,
    NotNeeded,
}

#[derive(Serialize)]
struct Store {
    path: String,
    free_bytes: Option<u64>,
}

#[derive(Serialize)]
struct Tool {
    name: &'static str,
    path: Option<String>,
    what_for: &'static str,
}

#[derive(Serialize)]
struct Foreign {
    platform: String,
    handler: String,
    #[serde(rename = "in_every_root")]
    is_in_every_root: bool,
}

fn report(rungs: Vec<Rung>, checkup: Result<Checkup, Failure>, settings: &Settings) -> Report {
    let (outcome, roots, shares_processes, free_bytes) = match checkup {
        Ok(Checkup { step, roots, shares_processes, free_bytes }) => {
            (step.map_err(|error| failure_of(&error)), roots, shares_processes, free_bytes)
        }
        Err(failure) => (Err(failure), None, false, None),
    };
    let is_run_possible = outcome.is_ok();
    let (roots, roots_reason) = match roots.filter(|_| is_run_possible) {
        None => (None, None),
        Some(RootKind::Overlay) => (Some("overlay"), None),
        Some(RootKind::Copy { reason }) => (Some("copy"), Some(reason)),
    };
    let (reasons, cures) = match outcome {
        Ok(()) => (Vec::new(), Vec::new()),
        Err(failure) => (std::iter::once(failure.message).chain(failure.causes).collect(), failure.hints),
    };
    let tool = |name, path, what_for| Tool { name, path, what_for };
    Report {
        format: 1,
        is_run_possible,
        reasons,
        cures,
        rungs,
        shares_processes,
        kernel: probe().kernel,
        roots,
        roots_reason,
        store: Store { path: settings.store.display().to_string(), free_bytes },
        tools: vec![
            tool("newuidmap", id_map_tool("newuidmap"), "subordinate ids"),
            tool("newgidmap", id_map_tool("newgidmap"), "subordinate ids"),
            tool("git", on_path(&settings.helper_path, "git"), "git repositories"),
        ],
        foreign: emulated().map(|found| found.into_iter().map(foreign).collect()),
        registries: settings.config.registries.keys().cloned().collect(),
    }
}

fn foreign((architecture, handler): (&str, kiln_sandbox::Handler)) -> Foreign {
    let platform = Platform::linux(architecture).to_string();
    Foreign { platform, handler: handler.name, is_in_every_root: handler.is_fixed }
}

fn failure_of(error: &StepError) -> Failure {
    let failure = Failure::of(Kind::Machine, error);
    match crate::failure::hint_of_machine(error) {
        // It would send the reader here.
        Some(hint) if !hint.contains("kiln doctor") => failure.with_hint(hint),
        _ => failure,
    }
}

fn on_path(path: &OsStr, name: &str) -> Option<String> {
    let mut places = std::env::split_paths(path).map(|directory| directory.join(name));
    places.find(|place| place.is_file()).map(|place| place.display().to_string())
}

/// Returns the ladder of docs/rootless.md, as this process stands on it.
fn rungs(identity: &Result<Identity, String>) -> Vec<Rung> {
    let place = match identity {
        Ok(Identity::Root) => 0,
        Ok(Identity::Subordinate { .. }) => 1,
        Ok(Identity::Single { .. }) => 2,
        Ok(Identity::Chroot { .. }) => 3,
        Err(_) => 4,
    };
    let rung = |number: usize, name, why: (String, Option<String>)| {
        let state = match number.cmp(&place) {
            std::cmp::Ordering::Less => State::OutOfReach,
            std::cmp::Ordering::Equal => State::Taken,
            std::cmp::Ordering::Greater => State::NotNeeded,
        };
        let (why, cure) = if state == State::NotNeeded { Default::default() } else { why };
        Rung { name, state, why, cure }
    };
    let refused = || match identity {
        Ok(Identity::Chroot { refused }) => refusal(Some(&refused.to_string())),
        _ => refusal(identity.as_ref().err()),
    };
    let has_namespace = place < 3;
    vec![
        rung(0, "root", why_not_root(identity)),
        rung(1, "subordinate ids", if has_namespace { why_not_subordinate(identity) } else { refused() }),
        rung(2, "single id", if has_namespace { Default::default() } else { refused() }),
        rung(3, "chroot", why_not_chroot(identity)),
        rung(4, "none", ("a RUN that is not cached is an error".to_owned(), None)),
    ]
}

const ORDINARY: &str = "this process is an ordinary user's";

fn why_not_root(identity: &Result<Identity, String>) -> (String, Option<String>) {
    let machine = probe();
    let is_root = rustix::process::geteuid().is_root();
    let (why, cure) = match identity {
        Ok(Identity::Root) => return Default::default(),
        Ok(Identity::Chroot { .. }) | Err(_) if machine.is_root => {
            ("this process is root, and something around it forbids mounts", cure(Obstacle::Filtered))
        }
        Ok(Identity::Subordinate { .. } | Identity::Single { .. }) if !machine.was_root => (ORDINARY, None),
        Err(_) if !is_root => (ORDINARY, None),
        _ => {
            let cure =
                "give the container the capability SYS_ADMIN, and unconfined seccomp and AppArmor profiles";
            ("this process is root without the right to mount", Some(cure))
        }
    };
    (why.to_owned(), cure.map(str::to_owned))
}

fn why_not_chroot(identity: &Result<Identity, String>) -> (String, Option<String>) {
    match identity {
        Ok(_) => ("steps have no /proc, and nothing but this container confines them".to_owned(), None),
        Err(reason) if rustix::process::geteuid().is_root() => (reason.clone(), None),
        Err(_) => (ORDINARY.to_owned(), None),
    }
}

fn why_not_subordinate(identity: &Result<Identity, String>) -> (String, Option<String>) {
    match identity {
        Ok(Identity::Subordinate { uid_count, gid_count }) => {
            (format!("{uid_count} user ids, {gid_count} group ids"), None)
        }
        Ok(Identity::Single { reason: Some(reason) }) => (said(reason), cure_of_ids(reason)),
        _ => Default::default(),
    }
}

/// Returns an error with its causes in one line.
fn said(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn cure_of_ids(reason: &SubordinateError) -> Option<String> {
    let cure = match reason {
        SubordinateError::NoEntry { .. } | SubordinateError::Unreadable { .. } => {
            "as root: `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER`, with a range that is nobody's yet"
        }
        SubordinateError::NoTool { .. } => "install the package `uidmap`",
        SubordinateError::ToolFailed { .. } => {
            "the tools must be set-user-id (`ls -l /usr/bin/newuidmap`), and the ranges in `/etc/subuid` and `/etc/subgid` valid"
        }
        SubordinateError::NotStarted { .. } => return None,
    };
    Some(cure.to_owned())
}

/// Returns what the kernel said to a new user namespace, and the cure of what is known to stand in the way.
fn refusal(answer: Option<&String>) -> (String, Option<String>) {
    // It may be root in name.
    let machine = Machine { is_root: false, ..probe() };
    let obstacle = machine.obstacles().into_iter().find(|obstacle| cure(*obstacle).is_some());
    let why = match (obstacle, answer) {
        (Some(obstacle), _) => obstacle.to_string(),
        (None, answer) => answer.cloned().unwrap_or_default(),
    };
    (why, obstacle.and_then(cure).map(str::to_owned))
}

/// What helps against what keeps user namespaces away; the table of docs/rootless.md.
fn cure(obstacle: Obstacle) -> Option<&'static str> {
    match obstacle {
        Obstacle::NoUserNamespaces => Some("as root: `sysctl -w user.max_user_namespaces=15000`"),
        Obstacle::OnlyForRoot => Some("as root: `sysctl -w kernel.unprivileged_userns_clone=1`"),
        Obstacle::AppArmor => Some(
            "an AppArmor profile for kiln with `userns,`, or `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`",
        ),
        Obstacle::Filtered => Some("run the container with unconfined seccomp and AppArmor profiles"),
        Obstacle::NoIdMapTools | Obstacle::NoOverlay => None,
    }
}

fn text(report: &Report) -> String {
    let taken = report.rungs.iter().find(|rung| rung.state == State::Taken).map_or("none", |rung| rung.name);
    let mut text = match report.is_run_possible {
        true => format!("RUN works here, on the rung \"{taken}\"\n"),
        false => format!("RUN does not work here: {}\n", report.reasons.join(": ")),
    };
    let cures = report.rungs.iter().filter_map(|rung| Some((rung.name, rung.cure.as_ref()?)));
    text.extend(report.cures.iter().map(|cure| format!("help: {cure}\n")));
    text.push('\n');
    let row = |rung: &Rung| vec![rung.name.to_owned(), word(rung.state).to_owned(), rung.why.clone()];
    text += &table::packed(&["RUNG", "STATE", "WHY"], &report.rungs.iter().map(row).collect::<Vec<_>>(), 3);
    text.extend(cures.map(|(name, cure)| format!("help: {name}: {cure}\n")));
    text.push('\n');
    text += &table::packed(&["WHAT", "HERE"], &facts(report), 3);
    text
}

fn word(state: State) -> &'static str {
    match state {
        State::Taken => "taken",
        State::OutOfReach => "out of reach",
        State::NotNeeded => "not needed",
    }
}

fn facts(report: &Report) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut row = |what: &str, here: String| rows.push(vec![what.to_owned(), here]);
    row("kernel", report.kernel.clone());
    row(
        "roots of steps",
        match (report.roots, &report.roots_reason) {
            (None, _) => "not tried to the end".to_owned(),
            (Some(_), None) => "overlayfs, tried in the store".to_owned(),
            (Some(_), Some(reason)) => format!("copies of their files: {reason}"),
        },
    );
    if report.shares_processes {
        row("processes of steps", SHARED.to_owned());
    }
    let free = report.store.free_bytes.map_or(String::new(), |free| format!(" ({} free)", human::size(free)));
    row("store", format!("{}{free}", report.store.path));
    for tool in &report.tools {
        let missing = || format!("not installed; {} need it", tool.what_for);
        row(tool.name, tool.path.clone().unwrap_or_else(missing));
    }
    let foreign = match &report.foreign {
        None => "cannot be told here; what a step runs decides".to_owned(),
        Some(list) if list.is_empty() => {
            "none: a RUN for another platform needs a handler such as `qemu-aarch64` (Debian: `qemu-user-static`, `binfmt-support`)"
                .to_owned()
        }
        Some(list) => list.iter().map(foreign_words).collect::<Vec<_>>().join(", "),
    };
    row("other platforms", foreign);
    let registries = &report.registries;
    row(
        "registries",
        if registries.is_empty() { "none configured".to_owned() } else { registries.join(", ") },
    );
    rows
}

/// What is said where no `/proc` can be mounted, with the cure.
const SHARED: &str = "those around them, for parts of /proc are covered; with Docker's `--security-opt systempaths=unconfined` steps \
    have their own";

fn foreign_words(foreign: &Foreign) -> String {
    let without =
        if foreign.is_in_every_root { "" } else { ", without the flag F: only if the image has it" };
    format!("{} (`{}`{without})", foreign.platform, foreign.handler)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(identity: &Result<Identity, String>) -> Vec<(&'static str, State)> {
        rungs(identity).into_iter().map(|rung| (rung.name, rung.state)).collect()
    }

    #[test]
    fn the_rungs_above_the_one_taken_are_out_of_reach_and_those_below_are_not_needed() {
        use State::{NotNeeded, OutOfReach, Taken};
        let chroot = Identity::Chroot { refused: std::io::ErrorKind::PermissionDenied.into() };
        let single = Identity::Single { reason: Some(SubordinateError::NoTool { tool: "newuidmap" }) };
        for (identity, expected) in [
            (Ok(Identity::Root), [Taken, NotNeeded, NotNeeded, NotNeeded, NotNeeded]),
            (
                Ok(Identity::Subordinate { uid_count: 9, gid_count: 9 }),
                [OutOfReach, Taken, NotNeeded, NotNeeded, NotNeeded],
            ),
            (Ok(single), [OutOfReach, OutOfReach, Taken, NotNeeded, NotNeeded]),
            (Ok(chroot), [OutOfReach, OutOfReach, OutOfReach, Taken, NotNeeded]),
            (Err("no".to_owned()), [OutOfReach, OutOfReach, OutOfReach, OutOfReach, Taken]),
        ] {
            let names = ["root", "subordinate ids", "single id", "chroot", "none"];
            assert_eq!(states(&identity), names.into_iter().zip(expected).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_rung_out_of_reach_says_why_and_what_helps() {
        let identity =
            Ok(Identity::Single { reason: Some(SubordinateError::NoEntry { file: "/etc/subuid" }) });
        let rung = &rungs(&identity)[1];
        assert_eq!(rung.why, "no subordinate ids for this user in `/etc/subuid`");
        assert!(rung.cure.as_ref().unwrap().contains("usermod --add-subuids"));
    }

    #[test]
    fn what_keeps_user_namespaces_away_has_a_cure() {
        use Obstacle::{AppArmor, Filtered, NoUserNamespaces, OnlyForRoot};
        for obstacle in [NoUserNamespaces, OnlyForRoot, AppArmor, Filtered] {
            assert!(cure(obstacle).is_some(), "{obstacle}");
        }
    }
}
