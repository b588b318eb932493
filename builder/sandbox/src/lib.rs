//! The sandbox: runs one process in a root of its own.
//!
//! * What it does: makes the namespaces, mounts, limits and filters of one step, runs it, streams its output and
//!   reports how it ended. Nothing it makes outlives the step, however the step or the caller dies.
//! * What it must not do: know what an image, a layer or a Dockerfile is; read names from `/etc/passwd` of a root.
//! * Main type: [`RunSpec`]. Main function: [`run()`].
//!
//! ```text
//!  caller (threads)           keeper (init of pid namespace A)          step (pid 1 of namespace B)
//!  run() ──vfork + exec of this binary──► child::run_if_child()
//!     │  RunSpec, RootPlan ─────────────► fork ──────────────────────► namespaces, root, mounts
//!     │                                     │ ◄── Mounted | Failure ── ids, capabilities, filter, exec
//!     │ ◄═══════════════ output (one pipe) ═══════════════════════════ stdout, stderr
//!     │ ◄──── Finished ─────────────────────│  waits, answers notifications, removes stubs
//! ```
//!
//! [`attend()`] is the same for a step that somebody attends: on a terminal that the step opens in its own `/dev/pts`, and whose
//! other end it sends to the caller, or with open files of the caller's. Signals that the caller is sent meanwhile may be handed on to it
//! ([`SignalLine`]).
//!
//! When the caller dies, the keeper sees its socket closed and ends; when the keeper dies, the kernel kills namespace A and
//! with it B; the last process of B takes the mount namespace with it. So nothing has to be cleaned up.
//!
//! Where no `/proc` of its own can be mounted for a pid namespace, a step shares the processes of its surroundings ([`shares_processes`]),
//! and the keeper ends its processes itself.
//!
//! Root of a container that allows neither namespaces nor mounts runs steps by `chroot`: then the keeper puts things into the root and
//! takes them out again, and ends all processes itself, also when the caller dies.
//!
//! | [`enter`] gives | Owners in the changed directory | Devices | A user other than root |
//! |---|---|---|---|
//! | [`Identity::Root`] | real | real, never opened (every mount is `nodev`) | real |
//! | [`Identity::Subordinate`] | real, as ids of the namespace, or as with a single id ([`Owning`]) | refused by the kernel, or as with a single id | real, or as with a single id |
//! | [`Identity::Chroot`] | real | real, if the container allows them, and they can be opened | real |
//! | [`Identity::Single`] | attribute [`OWNER_ATTRIBUTE`] or [`Exit::ownership`]; `stat` in the step says so | attribute [`DEVICE_ATTRIBUTE`] | pretended: it sees its ids, permissions are root's |
//!
//! ```no_run
//! use kiln_sandbox::{CancelToken, RootPlan, RunSpec, run, run_if_child};
//!
//! run_if_child(); // first thing in `main`: in a re-executed child this never returns
//! let spec = RunSpec::new(["/bin/sh", "-c", "echo hello"]);
//! let root = RootPlan::Directory("/srv/root".into());
//! let exit = run(&spec, &root, &CancelToken::new().unwrap(), &mut |bytes| print!("{}", bytes.escape_ascii()));
//! assert!(exit.unwrap().status.is_success());
//! ```

mod attend;

mod run;

mod terminal;

mod child;

mod chrooted;

mod step;

mod program;

mod covers;

mod descendants;

mod mounts;

mod ownership;

mod credentials;

mod target;

mod trial;

mod root;

mod network;

mod seccomp;

mod limits;

mod userns;

mod confinement;

mod own_program;

mod probe;

mod emulation;

mod conditions;

mod capabilities;

mod signals;

mod wire;

mod pty;

mod handover;

mod stubs;

mod ids;

mod in_root;

mod kept;

mod error;

mod spec;

mod cancel;

mod sys;

pub use attend::{Streams, attend};
pub use cancel::CancelToken;
pub use child::run_if_child;
pub use emulation::{Emulation, Handler, emulated, emulation, is_foreign};
pub use error::{ExecError, Operation};
pub use kept::shares_processes;
pub use ownership::{DEVICE_ATTRIBUTE, OWNER_ATTRIBUTE};
pub use probe::{Machine, Obstacle, id_map_tool, probe};
pub use run::{Spare, run, run_with};
pub use signals::{CommandSignal, Control, SignalLine};
pub use spec::{
    Conditions, DEFAULT_PATH, Exit, ExitStatus, Limits, Mount, MountKind, Network, Owner, OwnershipRecord,
    Owning, Remembered, ResourceUsage, RootPlan, RunSpec, SystemFiles, Ulimit, UlimitKind, User,
};
pub use terminal::Terminal;
pub use trial::try_overlay;
pub use userns::{IdMapping, Identity, SubordinateError, UserNamespaceError, UserNamespaceOptions, enter};
