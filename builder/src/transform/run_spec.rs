//! The process of a RUN: its environment, user, network, limits and the files that every step has.

use kiln_layer::owner::User;
use kiln_sandbox::{Limits, RunSpec, SystemFiles, Ulimit, UlimitKind};

use super::Bench;
use super::run_mounts::Mounts;
use crate::plan::{Network, RunOp};

/// Returns the process of a step.
pub(super) fn spec(bench: &Bench, op: &RunOp, user: &User, mounts: &Mounts) -> RunSpec {
    let mut spec = RunSpec::new(&op.argv);
    let pairs = op.env.iter().chain(&op.unkeyed_env).map(|(name, value)| (name.into(), value.into()));
    spec.env = pairs.collect();
    if !op.env.iter().any(|(name, _)| name == "HOME") {
        let home = user.home.as_deref().filter(|home| !home.is_empty()).unwrap_or(b"/");
        let home = std::os::unix::ffi::OsStringExt::from_vec(home.to_vec());
        spec.env.push(("HOME".into(), home));
    }
    spec.env.extend(mounts.variables.iter().cloned());
    spec.cwd = op.cwd.clone().into();
    spec.user = kiln_sandbox::User { uid: user.owner.uid, gid: user.owner.gid, groups: user.groups.clone() };
    spec.hostname = op.hostname.clone();
    spec.network = match op.network {
        Network::Host => kiln_sandbox::Network::Host,
        Network::None => kiln_sandbox::Network::None,
    };
    spec.mounts = mounts.mounts.clone();
    let default = Limits::default();
    spec.limits = Limits {
        ulimits: op.ulimits.iter().filter_map(ulimit).collect(),
        shm_size_bytes: op.shm_size_bytes.filter(|size| *size > 0).unwrap_or(default.shm_size_bytes),
        tasks_max: default.tasks_max,
    };
    spec.files = SystemFiles { resolv_conf: bench.workshop.resolv_conf.clone(), hosts: Some(hosts(op)) };
    spec
}

fn ulimit(limit: &crate::plan::Ulimit) -> Option<Ulimit> {
    use UlimitKind::{
        As, Core, Cpu, Data, Fsize, Locks, Memlock, Msgqueue, Nice, Nofile, Nproc, Rss, Rtprio, Rttime,
        Sigpending, Stack,
    };
    let kind = match limit.name.as_str() {
        "as" => As,
        "core" => Core,
        "cpu" => Cpu,
        "data" => Data,
        "fsize" => Fsize,
        "locks" => Locks,
        "memlock" => Memlock,
        "msgqueue" => Msgqueue,
        "nice" => Nice,
        "nofile" => Nofile,
        "nproc" => Nproc,
        "rss" => Rss,
        "rtprio" => Rtprio,
        "rttime" => Rttime,
        "sigpending" => Sigpending,
        "stack" => Stack,
        // The request was checked when it was read.
        _ => return None,
    };
    Some(Ulimit { kind, soft: limit.soft, hard: limit.hard })
}

/// Returns `/etc/hosts` of a step, in the form BuildKit gives it.
fn hosts(op: &RunOp) -> Vec<u8> {
    let mut text =
        format!("127.0.0.1\tlocalhost {}\n::1\tlocalhost ip6-localhost ip6-loopback\n", op.hostname);
    for (name, address) in &op.extra_hosts {
        text.push_str(&format!("{address}\t{name}\n"));
    }
    text.into_bytes()
}
