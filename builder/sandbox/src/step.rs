//! The last life of the sandbox's child: from a forked process with all privileges to the step's own program.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, mkdir, open};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{Gid, Signal, Uid, chdir, set_parent_process_death_signal, setsid, umask};
use rustix::thread::{
    CapabilitySet, UnshareFlags, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use crate::error::Operation;
use crate::ids::IdMap;
use crate::mounts::Mounter;
use crate::ownership::{notified, start_numbers};
use crate::program::Program;
use crate::seccomp::Notified;
use crate::spec::{MountKind, Network, Owning, RunSpec, User};
use crate::stubs::Footprint;
use crate::wire::{Failure, Job, Root, StepMessage, StreamKind, send};
use crate::{capabilities, conditions, handover, limits, network, pty, root, seccomp, sys};

/// Exit code of a child that could not become the step; the reason went over the channel.
pub(crate) const NOT_STARTED: i32 = 70;

/// Turns this process, the first of a new pid namespace, into the step.
pub(crate) fn become_step(job: &Job, ids: &IdMap, mut channel: UnixStream, listeners: UnixStream) -> ! {
    let Err(failure) = prepare_and_execute(job, ids, &mut channel, &listeners);
    // If the keeper is gone this process is about to be killed with it.
    send(&mut channel, &StepMessage::Failed(failure)).unwrap_or_default();
    sys::exit_now(NOT_STARTED)
}

fn prepare_and_execute(
    job: &Job,
    ids: &IdMap,
    channel: &mut UnixStream,
    listeners: &UnixStream,
) -> Result<Infallible, Failure> {
    let spec = &job.spec;
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(Failure::during(Operation::Fork))?;
    let is_remembered = spec.remembered.owners == Owning::Remember;
    if !is_remembered {
        check_ids(spec, ids)?;
    }
    let program = Program::new(spec)?;
    make_namespaces(spec)?;
    make_root(job, ids, channel)?;
    if job.streams == StreamKind::Captured {
        empty_input().map_err(Failure::during(Operation::Input))?;
    }
    set_process_state(spec)?;
    if let (StreamKind::Terminal(size), Some(give_to)) = (job.streams, &job.terminal) {
        let taken = pty::open_new().and_then(|master| pty::take_control(&master, size, give_to));
        taken.map_err(Failure::during(Operation::Terminal))?;
    }
    if job.streams != StreamKind::Own && !is_remembered {
        own_output(&spec.user).map_err(Failure::during(Operation::User))?;
    }
    capabilities::bound(CapabilitySet::empty()).map_err(Failure::during(Operation::Capabilities))?;
    match is_remembered {
        true => start_numbers().map_err(Failure::during(Operation::Limits))?,
        false => set_groups(&spec.user).map_err(Failure::during(Operation::User))?,
    }
    // From here on the keeper answers for what the kernel cannot do.
    install_filter(&notified(spec, ids), listeners)?;
    if !is_remembered {
        let uid = Uid::from_raw(spec.user.uid);
        set_thread_res_uid(uid, uid, uid).map_err(Failure::during(Operation::User))?;
    }
    capabilities::limit(CapabilitySet::empty()).map_err(Failure::during(Operation::Capabilities))?;
    // The kernel has forgotten it with the change of user.
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(Failure::during(Operation::Fork))?;
    sys::close_on_exec_from(3).map_err(Failure::during(Operation::Fork))?;
    sys::reset_signals();
    Err(program.execute())
}

fn install_filter(notified: &[Notified], listeners: &UnixStream) -> Result<(), Failure> {
    match seccomp::install(notified).map_err(Failure::during(Operation::Filter))? {
        Some(listener) => handover::give(listeners, &listener).map_err(Failure::during(Operation::Talk)),
        None => Ok(()),
    }
}

/// Refuses users and owners of files that the kernel has no ids for.
pub(crate) fn check_ids(spec: &RunSpec, ids: &IdMap) -> Result<(), Failure> {
    let owners = spec.mounts.iter().filter_map(|mount| match &mount.kind {
        MountKind::File { owner, .. } => Some(*owner),
        _ => None,
    });
    let (mut users, mut groups) = (vec![spec.user.uid], vec![spec.user.gid]);
    groups.extend(&spec.user.groups);
    for owner in owners {
        users.push(owner.uid);
        groups.push(owner.gid);
    }
    ids.lack(&users, &groups).map_or(Ok(()), |missing| Err(missing.into()))
}

fn make_namespaces(spec: &RunSpec) -> Result<(), Failure> {
    let mut flags =
        UnshareFlags::NEWNS | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS | UnshareFlags::NEWCGROUP;
    if spec.network == Network::None {
        flags |= UnshareFlags::NEWNET;
    }
    sys::unshare(flags).map_err(Failure::during(Operation::Unshare))?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change(c"/", private).map_err(Failure::during(Operation::Private))?;
    rustix::system::sethostname(spec.hostname.as_bytes()).map_err(Failure::during(Operation::Hostname))?;
    match spec.network {
        Network::Host => Ok(()),
        Network::None => network::loopback_up().map_err(Failure::during(Operation::Loopback)),
    }
}

/// Mounts the root and enters it; tells the keeper, also on failure, what has to be removed again.
fn make_root(job: &Job, ids: &IdMap, channel: &mut UnixStream) -> Result<(), Failure> {
    let changes = root::open_source(job.root.changes(), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC)?;
    // Directories found there later are our copies only if there is nothing yet.
    let is_fresh = matches!(job.root, Root::Overlay { .. }) && root::is_empty(job.root.changes())?;
    let mounted = root::prepare(&job.root, !ids.is_initial())?;
    let (kept, owning) = (job.kept, job.spec.remembered.owners);
    let footprint = Footprint::default();
    let mut mounter = Mounter { mounted: &mounted, ids, owning, kept, footprint, written: 0 };
    let mounts = mounter.all(&job.spec);
    let mut footprint = mounter.footprint;
    footprint.seal(&changes, is_fresh).map_err(Failure::during(Operation::Stubs))?;
    send(&mut *channel, &StepMessage::Mounted(footprint)).map_err(Failure::during_io(Operation::Talk))?;
    mounts?;
    root::enter(&mounted).map_err(Failure::during(Operation::Pivot))
}

/// Gives the step its own `/dev/null` to read. The caller's is the machine's: real root could change the mode of that file
/// by `/proc/self/fd/0`.
pub(crate) fn empty_input() -> Result<(), Errno> {
    let null = open(c"/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)
}

pub(crate) fn set_process_state(spec: &RunSpec) -> Result<(), Failure> {
    setsid().map_err(Failure::during(Operation::Fork))?;
    match sys::new_session_keyring() {
        // A kernel without keyrings, or a filter around us that forbids them: then there is none to inherit.
        Ok(()) | Err(Errno::NOSYS | Errno::PERM) => {}
        Err(errno) => return Err(Failure::during(Operation::Fork)(errno)),
    }
    conditions::apply(spec.conditions).map_err(Failure::during(Operation::Limits))?;
    limits::apply(&spec.limits).map_err(Failure::during(Operation::Limits))?;
    umask(Mode::from_raw_mode(0o022));
    enter_directory(&spec.cwd)
        .map_err(|errno| Failure::WorkingDirectory { cwd: spec.cwd.clone(), errno: errno.raw_os_error() })
}

/// Enters the working directory, making it first where it is missing, as runc does.
fn enter_directory(cwd: &OsStr) -> Result<(), Errno> {
    match chdir(cwd) {
        Err(Errno::NOENT) => {}
        outcome => return outcome,
    }
    let mut path = PathBuf::new();
    for part in Path::new(cwd).components() {
        path.push(part);
        match mkdir(&path, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    chdir(cwd)
}

/// Gives the step its output, so that `/dev/stdout` can be opened by name.
pub(crate) fn own_output(user: &User) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    rustix::fs::fchown(rustix::stdio::stdout(), Some(uid), Some(gid))
}

pub(crate) fn set_groups(user: &User) -> Result<(), Errno> {
    let gid = Gid::from_raw(user.gid);
    let mut groups = vec![gid];
    groups.extend(user.groups.iter().filter(|id| **id != user.gid).map(|id| Gid::from_raw(*id)));
    set_thread_groups(&groups)?;
    set_thread_res_gid(gid, gid, gid)
}
