//! Typed messages between caller, keeper and step: a length and a postcard value over a socket. The keeper is
//! trusted by the caller and the step (before its `execve`) by both; still every frame has a limit.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{ExecError, Operation};
use crate::ids::MissingId;
use crate::kept::Kept;
use crate::pty::Size;
use crate::spec::{ExitStatus, OwnershipRecord, RootPlan, RunSpec};
use crate::stubs::Footprint;

/// Largest message. Secrets, scripts and environments are far below it.
const MESSAGE_BYTES_MAX: usize = 256 << 20;

/// What the caller sends the keeper first; only signals for the command follow it.
#[derive(Serialize)]
pub(crate) struct JobRef<'a> {
    pub(crate) spec: &'a RunSpec,
    pub(crate) root: Root,
    pub(crate) streams: StreamKind,
    pub(crate) kept: Kept,
}

/// [`JobRef`] as received.
#[derive(Deserialize)]
pub(crate) struct Job {
    pub(crate) spec: RunSpec,
    pub(crate) root: Root,
    pub(crate) streams: StreamKind,
    pub(crate) kept: Kept,
    /// Where the controlling side of the step's terminal goes; received behind the job.
    #[serde(skip)]
    pub(crate) terminal: Option<OwnedFd>,
}

/// Whose standard streams a step has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum StreamKind {
    /// Pipes of the caller's, for the step alone.
    Captured,
    /// Open files of the caller's, which others use too.
    Own,
    /// A terminal of its own, of this size.
    Terminal(Size),
}

/// [`RootPlan`] with paths that need not be UTF-8.
#[derive(Serialize, Deserialize)]
pub(crate) enum Root {
    Overlay { lower: Vec<OsString>, upper: OsString, work: OsString },
    Directory(OsString),
    Chroot { root: OsString, aside: OsString },
}

impl Root {
    /// The directory that receives the step's changes.
    pub(crate) fn changes(&self) -> &OsString {
        match self {
            Root::Overlay { upper, .. } => upper,
            Root::Directory(path) | Root::Chroot { root: path, .. } => path,
        }
    }
}

impl From<&RootPlan> for Root {
    fn from(plan: &RootPlan) -> Self {
        match plan {
            RootPlan::Overlay { lower, upper, work } => Root::Overlay {
                lower: lower.iter().map(|path| path.clone().into_os_string()).collect(),
                upper: upper.clone().into_os_string(),
                work: work.clone().into_os_string(),
            },
            RootPlan::Directory(path) => Root::Directory(path.clone().into_os_string()),
            RootPlan::Chroot { root, aside } => {
                Root::Chroot { root: root.clone().into_os_string(), aside: aside.clone().into_os_string() }
            }
        }
    }
}

/// What the keeper tells the caller, once.
#[derive(Serialize, Deserialize)]
pub(crate) enum Report {
    Finished(Finished),
    Failed(Failure),
}

/// [`Exit`](crate::Exit) without what only the caller knows.
#[derive(Serialize, Deserialize)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stubs: Vec<OsString>,
    pub(crate) ownership: Vec<OwnershipRecord>,
    pub(crate) user_us: u64,
    pub(crate) system_us: u64,
    pub(crate) memory_bytes_max: u64,
}

/// What the step tells the keeper: `Mounted`, then nothing if its `execve` succeeds.
#[derive(Serialize, Deserialize)]
pub(crate) enum StepMessage {
    Mounted(Footprint),
    Failed(Failure),
}

/// [`ExecError`] that can travel.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Failure {
    NulByte { what: String },
    NotFound { program: String, searched: bool },
    BadInterpreter { program: String, interpreter: String },
    PermissionDenied { program: String },
    WrongFormat { program: String, machine: String },
    TooLong { program: String },
    WorkingDirectory { cwd: OsString, errno: i32 },
    Mount { target: OsString, errno: i32 },
    MountSource { path: OsString, errno: i32 },
    Setup { operation: Operation, errno: i32 },
    IdNotMapped { is_group: bool, id: u32, available: u64 },
    NoDevices,
    Unavailable { what: String },
    Misplaced { target: OsString },
}

impl Failure {
    /// Returns a function that turns an error of a system call into the failure of `operation`.
    pub(crate) fn during(operation: Operation) -> impl Fn(Errno) -> Failure {
        move |errno| Failure::Setup { operation, errno: errno.raw_os_error() }
    }

    /// The same for `std::io` errors.
    pub(crate) fn during_io(operation: Operation) -> impl Fn(io::Error) -> Failure {
        move |error| Failure::Setup { operation, errno: errno_of(&error).raw_os_error() }
    }
}

/// Errors that are not the kernel's (a short read) count as an I/O error.
fn errno_of(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

impl From<MissingId> for Failure {
    fn from(MissingId { is_group, id, available }: MissingId) -> Self {
        Failure::IdNotMapped { is_group, id, available }
    }
}

impl From<Failure> for ExecError {
    fn from(failure: Failure) -> Self {
        let os = io::Error::from_raw_os_error;
        match failure {
            Failure::NulByte { what } => ExecError::NulByte { what },
            Failure::NotFound { program, searched } => ExecError::NotFound { program, searched },
            Failure::BadInterpreter { program, interpreter } => {
                ExecError::BadInterpreter { program, interpreter }
            }
            Failure::PermissionDenied { program } => ExecError::PermissionDenied { program },
            Failure::WrongFormat { program, machine } => ExecError::WrongFormat { program, machine },
            Failure::TooLong { program } => ExecError::TooLong { program },
            Failure::WorkingDirectory { cwd, errno } => {
                ExecError::WorkingDirectory { cwd: PathBuf::from(cwd), source: os(errno) }
            }
            Failure::Mount { target, errno } => {
                ExecError::Mount { target: PathBuf::from(target), source: os(errno) }
            }
            Failure::MountSource { path, errno } => {
                ExecError::MountSource { path: PathBuf::from(path), source: os(errno) }
            }
            Failure::Setup { operation, errno } => ExecError::Setup { operation, source: os(errno) },
            Failure::NoDevices => ExecError::NoDevices,
            Failure::Unavailable { what } => ExecError::Unavailable { what },
            Failure::Misplaced { target } => ExecError::Misplaced { target: PathBuf::from(target) },
            Failure::IdNotMapped { is_group, id, available } => {
                ExecError::IdNotMapped { kind: if is_group { "group" } else { "user" }, id, available }
            }
        }
    }
}

/// Writes one message.
pub(crate) fn send(mut to: impl Write, message: &impl Serialize) -> io::Result<()> {
    let body =
        postcard::to_stdvec(message).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    if body.len() > MESSAGE_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "files, arguments and variables exceed 256 MiB",
        ));
    }
    let mut frame = Vec::with_capacity(4 + body.len());
    frame.extend_from_slice(&(body.len() as u32).to_le_bytes());
    frame.extend_from_slice(&body);
    to.write_all(&frame)
}

/// Reads one message; `None` when the other side closed without one.
pub(crate) fn receive<T: DeserializeOwned>(mut from: impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    let mut filled = 0;
    while filled < length.len() {
        match from.read(&mut length[filled..]) {
            Ok(0) => return Ok(None),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > MESSAGE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "message too long"));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    let message =
        postcard::from_bytes(&body).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(Some(message))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn a_path_that_is_not_utf8_survives_the_way() {
        let path = OsString::from_vec(b"/a\xff\n/b".to_vec());
        let mut bytes = Vec::new();
        send(&mut bytes, &Failure::MountSource { path: path.clone(), errno: 2 }).unwrap();
        match receive(&bytes[..]).unwrap() {
            Some(Failure::MountSource { path: received, errno: 2 }) => assert_eq!(received, path),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn hostile_frames_are_errors_or_nothing() {
        let rows: [&[u8]; 5] =
            [b"", b"\x01", b"\xff\xff\xff\xff", b"\x04\0\0\0\xff\xff\xff\xff", b"\x09\0\0\0a"];
        for row in rows {
            assert!(!matches!(receive::<StepMessage>(row), Ok(Some(_))), "{row:?}");
        }
    }
}
