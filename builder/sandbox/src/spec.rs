//! What a step is and how it ended: plain values. Unaware of how any of it is carried out.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Everything that decides what the step sees and may do. Deliberately without `Debug`: it may carry secrets.
#[derive(Clone, Serialize, Deserialize)]
pub struct RunSpec {
    /// The program and its arguments; the program is looked up in the spec's `PATH` inside the root.
    pub argv: Vec<OsString>,
    /// The whole environment; nothing of the caller's is added.
    pub env: Vec<(OsString, OsString)>,
    /// The working directory inside the root; must exist.
    pub cwd: OsString,
    /// Whom the step runs as.
    pub user: User,
    /// The host name the step sees.
    pub hostname: String,
    /// Which network the step sees.
    pub network: Network,
    /// Mounts beside the standard ones; outer targets are mounted before inner ones, else in this order.
    pub mounts: Vec<Mount>,
    /// Resource limits.
    pub limits: Limits,
    /// Contents of the files that the sandbox puts over the root's own.
    pub files: SystemFiles,
    /// What becomes of owners, and what the kernel cannot see of the root's.
    pub remembered: Remembered,
    /// What it finds otherwise than it is here.
    pub conditions: Conditions,
}

/// What a step finds otherwise than it is here, so that one can see whether it matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conditions {
    /// How many process ids are used up before the step has its first child.
    pub burned_pids: u32,
    /// Whether it may use one processor only.
    pub has_one_processor: bool,
}

impl RunSpec {
    /// Returns a spec that runs `argv` as root in `/` with the default `PATH`, host network and no mounts.
    pub fn new<I: IntoIterator<Item = S>, S: Into<OsString>>(argv: I) -> Self {
        RunSpec {
            argv: argv.into_iter().map(Into::into).collect(),
            env: vec![("PATH".into(), DEFAULT_PATH.into())],
            cwd: "/".into(),
            user: User::default(),
            hostname: DEFAULT_HOSTNAME.to_owned(),
            network: Network::Host,
            mounts: Vec::new(),
            limits: Limits::default(),
            files: SystemFiles::default(),
            remembered: Remembered::default(),
            conditions: Conditions::default(),
        }
    }

    pub(crate) fn variable(&self, name: &str) -> Option<&OsStr> {
        self.env.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_os_str())
    }
}

/// The `PATH` of a step that names none.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The host name BuildKit gives its steps.
const DEFAULT_HOSTNAME: &str = "buildkitsandbox";

/// Numeric identity of a step, already resolved from names by the caller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// User id inside the root.
    pub uid: u32,
    /// Primary group id inside the root.
    pub gid: u32,
    /// Supplementary group ids; the primary one need not be repeated.
    pub groups: Vec<u32>,
}

/// Which network a step sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// The caller's own network.
    Host,
    /// A network namespace with nothing but a loopback interface.
    None,
}

/// One mount of a step.
#[derive(Clone, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path inside the root; symlinks are followed inside the root. Made when missing, removed afterwards.
    pub target: OsString,
    /// What is mounted there.
    pub kind: MountKind,
}

/// What a [`Mount`] shows. Deliberately without `Debug`: files may be secrets.
#[derive(Clone, Serialize, Deserialize)]
pub enum MountKind {
    /// A file or directory of the host that the step may write to for good (cache mounts).
    Bind {
        /// Absolute path on the host.
        source: OsString,
    },
    /// A file or directory of the host that the step cannot write to.
    BindReadOnly {
        /// Absolute path on the host.
        source: OsString,
    },
    /// A directory or file of the host that the step may write to without changing it.
    BindDiscard {
        /// Absolute path on the host.
        source: OsString,
        /// An empty directory of the host that receives what the step writes; the caller throws it away.
        scratch: OsString,
    },
    /// An empty directory in memory.
    Tmpfs {
        /// Upper bound of its size; the kernel's default (half of memory) when absent.
        size_bytes: Option<u64>,
    },
    /// A file that exists in memory only (secrets, heredoc scripts). The step cannot write to it.
    File {
        /// Its content.
        content: Vec<u8>,
        /// Its permission bits.
        mode: u32,
        /// Its owner.
        owner: Owner,
    },
    /// A Unix socket of the host (an ssh agent).
    Socket {
        /// Absolute path of the socket on the host.
        source: OsString,
    },
}

/// A user id and a group id inside the root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// Resource limits of a step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Limits {
    /// Limits set with `setrlimit`.
    pub ulimits: Vec<Ulimit>,
    /// Size of `/dev/shm`.
    pub shm_size_bytes: u64,
    /// Most processes and threads at one time, at least 301. Kernels before 6.14 cannot bound one step.
    pub tasks_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { ulimits: Vec::new(), shm_size_bytes: 64 << 20, tasks_max: 16 << 10 }
    }
}

/// One resource limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// What is limited.
    pub kind: UlimitKind,
    /// The limit in force; `None` is unlimited.
    pub soft: Option<u64>,
    /// The ceiling up to which the step may raise it; `None` is unlimited.
    pub hard: Option<u64>,
}

/// What a [`Ulimit`] limits, by the names of `docker build --ulimit`.
#[expect(missing_docs, reason = "the names are those of getrlimit(2)")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UlimitKind {
    Core,
    Cpu,
    Data,
    Fsize,
    Locks,
    Memlock,
    Msgqueue,
    Nice,
    Nofile,
    Nproc,
    Rss,
    Rtprio,
    Rttime,
    Sigpending,
    Stack,
    As,
}

/// Contents of the files that are mounted over the root's own; an absent one is left as the root has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemFiles {
    /// `/etc/resolv.conf`.
    pub resolv_conf: Option<Vec<u8>>,
    /// `/etc/hosts`, with added hosts.
    pub hosts: Option<Vec<u8>>,
}

/// What the maker of the root knows of it and the kernel does not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// Whether any file or directory carries an [`OWNER_ATTRIBUTE`](crate::OWNER_ATTRIBUTE). If none does, a step costs less.
    pub has_any: bool,
    /// Symlinks, FIFOs and sockets that do not belong to root: paths from the root without a slash before them.
    pub links: Vec<(OsString, Owner)>,
    /// What becomes of owners that are set.
    pub owners: Owning,
}

/// What becomes of owners and devices that a step asks the kernel for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Owning {
    /// The kernel sets and makes them, or refuses.
    #[default]
    Set,
    /// The same, but where the kernel would refuse for want of an id or of real rights, the step is ended, with
    /// [`ExecError::IdNotMapped`](crate::ExecError::IdNotMapped) or [`ExecError::NoDevices`](crate::ExecError::NoDevices).
    SetOrEnd,
    /// They are remembered, and who a process is is pretended. With a single id that is always so.
    Remember,
}

/// Where the root of a step comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootPlan {
    /// Layers seen as one; mounted by the sandbox where nobody else can see it.
    Overlay {
        /// Unpacked layers, base first. May be empty.
        lower: Vec<PathBuf>,
        /// A directory, empty at first, that receives what the step changes: whiteouts are character devices 0/0, opaque
        /// directories carry `trusted.overlay.opaque` (or `user.overlay.opaque` in a user namespace).
        upper: PathBuf,
        /// An empty directory on the same file system as `upper`, for this `upper` alone.
        work: PathBuf,
    },
    /// A plain directory that the step changes in place.
    Directory(PathBuf),
    /// The same for processes that may neither make namespaces nor mount: see [`Identity::Chroot`](crate::Identity::Chroot).
    Chroot {
        /// The directory.
        root: PathBuf,
        /// An empty directory on the same file system, for what has to make room meanwhile. Sources of mounts lie there, too.
        aside: PathBuf,
    },
}

impl RootPlan {
    /// Returns the directory that receives the step's changes.
    pub fn changes(&self) -> &Path {
        match self {
            RootPlan::Overlay { upper, .. } => upper,
            RootPlan::Directory(path) | RootPlan::Chroot { root: path, .. } => path,
        }
    }
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Exit code or signal.
    pub status: ExitStatus,
    /// Paths inside the root that were made as mount points only, outermost first. They have been removed again
    /// unless the step changed them; a caller that diffs should leave out those still there.
    pub stubs: Vec<PathBuf>,
    /// Owners of symlinks, FIFOs and sockets that the kernel would not set and that the step believes are set. Those of
    /// files and directories, and devices, are in attributes beside them: [`OWNER_ATTRIBUTE`](crate::OWNER_ATTRIBUTE),
    /// [`DEVICE_ATTRIBUTE`](crate::DEVICE_ATTRIBUTE). What has neither belongs to root, or to whom it belonged before.
    pub ownership: Vec<OwnershipRecord>,
    /// What the step used.
    pub usage: ResourceUsage,
}

/// Exit code or signal of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitStatus {
    /// It ended by itself with this code.
    Code(u8),
    /// A signal killed it.
    Signal(i32),
}

impl ExitStatus {
    /// Whether the step ended with code 0.
    pub fn is_success(self) -> bool {
        self == ExitStatus::Code(0)
    }

    /// Returns the code as a shell would show it: the exit code, or 128 plus the signal's number.
    pub fn shell_code(self) -> i32 {
        match self {
            ExitStatus::Code(code) => i32::from(code),
            ExitStatus::Signal(signal) => 128 + signal,
        }
    }
}

/// An owner that a single-id sandbox could neither set nor write beside the file, because symlinks, FIFOs and sockets
/// carry no extended attributes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnershipRecord {
    /// Device of the file in [`RootPlan::changes`].
    pub device: u64,
    /// Inode of the file in [`RootPlan::changes`]; stays when it is renamed. Look for it among symlinks, FIFOs and
    /// sockets only: the number of a deleted file is used again.
    pub inode: u64,
    /// The owner asked for.
    pub owner: Owner,
}

/// What a step used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceUsage {
    /// From the start of the sandbox to its end.
    pub wall: Duration,
    /// Processor time in user mode.
    pub user: Duration,
    /// Processor time in the kernel.
    pub system: Duration,
    /// Largest resident set of any of its processes.
    pub memory_bytes_max: u64,
}
