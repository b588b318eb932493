//! Why a step could not be run. A step that ran and failed is no error: see [`Exit`](crate::Exit).

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a step did not run to its end.
#[derive(Debug, Error)]
pub enum ExecError {
    /// The caller's [`CancelToken`](crate::CancelToken) was turned on; all processes of the step are gone.
    #[error("cancelled")]
    Cancelled,
    /// `argv` is empty.
    #[error("nothing to run: the command is empty")]
    EmptyCommand,
    /// Arguments, variables or paths with a NUL byte cannot be handed to a program.
    #[error("{what} contains a NUL byte")]
    NulByte {
        /// What holds it.
        what: String,
    },
    /// The program is in no directory of `PATH`, or its path does not exist in the root.
    #[error("exec: `{program}`: {}", if *.searched { "not found in PATH" } else { "no such file or directory" })]
    NotFound {
        /// The program as written.
        program: String,
        /// Whether `PATH` was searched.
        searched: bool,
    },
    /// The program exists, its interpreter or dynamic loader does not.
    #[error("exec: `{program}`: its interpreter `{interpreter}` does not exist in the root")]
    BadInterpreter {
        /// The program as written.
        program: String,
        /// The missing interpreter or loader.
        interpreter: String,
    },
    /// The program is not executable for the step's user.
    #[error("exec: `{program}`: permission denied")]
    PermissionDenied {
        /// The program as written.
        program: String,
    },
    /// The program is for another machine, or is no program.
    #[error("exec: `{program}`: exec format error (a program for {machine})")]
    WrongFormat {
        /// The program as written.
        program: String,
        /// What the file is for.
        machine: String,
    },
    /// Arguments and environment are too large for the kernel.
    #[error("exec: `{program}`: argument list too long")]
    TooLong {
        /// The program as written.
        program: String,
    },
    /// The working directory cannot be entered.
    #[error("cannot enter working directory `{}`", .cwd.display())]
    WorkingDirectory {
        /// The directory inside the root.
        cwd: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A mount could not be made.
    #[error("cannot mount `{}`", .target.display())]
    Mount {
        /// The mount's target inside the root.
        target: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The source of a bind mount cannot be opened.
    #[error("cannot open mount source `{}`", .path.display())]
    MountSource {
        /// Path on the host.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel refused something else that the sandbox needs.
    #[error("sandbox: cannot {operation}")]
    Setup {
        /// What was being done.
        operation: Operation,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The step needs an id that this user namespace does not have.
    #[error("sandbox: {kind} id {id} is not available here: only {available} ids are mapped")]
    IdNotMapped {
        /// `user` or `group`.
        kind: &'static str,
        /// The id asked for.
        id: u32,
        /// How many ids there are.
        available: u64,
    },
    /// The step makes a device, which the kernel lets only real root do.
    #[error("sandbox: the kernel does not let this process make devices")]
    NoDevices,
    /// A step without namespaces and mounts cannot have it.
    #[error("steps that run by chroot cannot have {what}")]
    Unavailable {
        /// What was asked for.
        what: String,
    },
    /// A step without mounts kept something that was placed in its root for the time of the step.
    #[error("the step moved or linked `{}`, which is there for its time only", .target.display())]
    Misplaced {
        /// Where it was placed.
        target: PathBuf,
    },
    /// The sandbox's own process died without a report.
    #[error("sandbox: its process ended unexpectedly ({how})")]
    Lost {
        /// Exit code or signal.
        how: String,
    },
}

/// What the sandbox was doing when the kernel refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each message says it")]
pub enum Operation {
    #[error("make a pipe to the step")]
    Pipe,
    #[error("keep a copy of this program in memory")]
    CopyProgram,
    #[error("start a process in a new pid namespace")]
    Spawn,
    #[error("start the step's process")]
    Fork,
    #[error("wait for the step")]
    Wait,
    #[error("talk to its process")]
    Talk,
    #[error("make namespaces")]
    Unshare,
    #[error("make mounts private")]
    Private,
    #[error("set the host name")]
    Hostname,
    #[error("bring up the loopback interface")]
    Loopback,
    #[error("mount the root as an overlay")]
    Overlay,
    #[error("bind the root directory")]
    BindRoot,
    #[error("make the root the root")]
    Pivot,
    #[error("enter the root by chroot")]
    Chroot,
    #[error("give the step an empty input")]
    Input,
    #[error("set resource limits")]
    Limits,
    #[error("make a terminal for the step")]
    Terminal,
    #[error("set user and groups")]
    User,
    #[error("drop capabilities")]
    Capabilities,
    #[error("install the system call filter")]
    Filter,
    #[error("answer the step's system calls")]
    Supervise,
    #[error("remove mount points that the step did not need to keep")]
    Stubs,
}

impl ExecError {
    /// Whether the step's own command is to blame, as a shell's exit codes 126 and 127 say; `None` when not.
    pub fn shell_code(&self) -> Option<i32> {
        match self {
            ExecError::NotFound { .. } => Some(127),
            ExecError::BadInterpreter { .. } => Some(127),
            ExecError::PermissionDenied { .. }
            | ExecError::WrongFormat { .. }
            | ExecError::TooLong { .. } => Some(126),
            _ => None,
        }
    }

    /// Whether this machine, not the build, is to blame (no namespaces, no overlay, a `/proc` that may not be mounted).
    pub fn is_machine_limit(&self) -> bool {
        match self {
            ExecError::Setup { .. } | ExecError::Unavailable { .. } => true,
            ExecError::Mount { target, source } => {
                let is_ours =
                    ["/proc", "/sys", "/dev"].iter().any(|path| target.as_path() == Path::new(path));
                is_ours && source.kind() == io::ErrorKind::PermissionDenied
            }
            _ => false,
        }
    }
}
