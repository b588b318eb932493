//! A sealed copy of this program in memory, which becomes the keeper and the step.
//!
//! Until a step executes its own program, `/proc/self/exe` in it is the sandbox's. An image whose command is
//! `/proc/self/exe` and that brings its own loader thus runs code with a handle on that file, and as root it may change the
//! file's mode or wait until it can be written (CVE-2019-5736 of runc). With a copy, there is nothing of the machine to reach.
//!
//! A user whose namespace does not have the file's owner has no such right over it, whatever capabilities the step has: the kernel
//! counts them over files of mapped owners only. Such a program, installed by root, needs no copy, which takes some milliseconds and the
//! program's size of memory.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};

use crate::ids::IdMap;

const PROGRAM: &str = "/proc/self/exe";
/// How often pages may be found busy, and how long is waited in between; the kernel waits, too.
const BUSY_MAX: u32 = 20;
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// The copy of this process, made when it is first needed.
static COPY: Mutex<Option<OwnedFd>> = Mutex::new(None);

/// Whether no process of this user namespace can change the program.
static IS_OUT_OF_REACH: AtomicBool = AtomicBool::new(false);

/// Who may change the program, as seen before a user namespace is entered, in which other owners look like one.
pub(crate) struct Seen {
    owner: (u32, u32),
    mode: u32,
    /// Whether its owner or group is the caller's, who is in every namespace that it enters.
    is_own: bool,
}

/// Looks at the program; `None` when it cannot be seen, and then it is copied.
pub(crate) fn look() -> Option<Seen> {
    let found = std::fs::metadata(PROGRAM).ok()?;
    let owner = (found.uid(), found.gid());
    let is_own = owner.0 == geteuid().as_raw() || owner.1 == getegid().as_raw();
    Some(Seen { owner, mode: found.mode(), is_own })
}

impl Seen {
    /// Notes whether a process with these ids can change it, now that the namespace has been entered.
    pub(crate) fn judge(&self, ids: &IdMap) {
        const WRITABLE_BY_OTHERS: u32 = 0o022;
        let (uid, gid) = self.owner;
        let is_reached = self.is_own
            || ids.has_outer_user(uid)
            || ids.has_outer_group(gid)
            || self.mode & WRITABLE_BY_OTHERS != 0;
        IS_OUT_OF_REACH.store(!is_reached, Ordering::Relaxed);
    }
}

/// Returns the path by which this process executes its own program, or the copy of it.
///
/// # Errors
/// When the kernel refuses memory that can be executed (sysctl `vm.memfd_noexec`), or there is none.
pub(crate) fn path() -> io::Result<CString> {
    if IS_OUT_OF_REACH.load(Ordering::Relaxed) {
        return Ok(CString::new(PROGRAM).expect("a constant without NUL"));
    }
    let mut copy = COPY.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let file = match copy.take() {
        Some(file) => file,
        None => sealed_copy()?,
    };
    let path = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd())).expect("digits have no NUL");
    *copy = Some(file);
    Ok(path)
}

fn sealed_copy() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = match memfd_create(c"kiln", flags | MemfdFlags::EXEC) {
        // Before Linux 6.3 there is no such flag, and all of them can be executed.
        Err(Errno::INVAL) => memfd_create(c"kiln", flags)?,
        other => other?,
    };
    let mut file = File::from(file);
    io::copy(&mut File::open(PROGRAM)?, &mut file)?;
    seal(&file)?;
    Ok(file.into())
}

/// Seals a copy. While the kernel itself still holds pages of it, as it may for a moment after they were written, it says that they are
/// busy (`memfd_wait_for_pins`).
fn seal(file: &File) -> io::Result<()> {
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    for _ in 0..BUSY_MAX {
        match fcntl_add_seals(file, seals) {
            Err(Errno::BUSY) => std::thread::sleep(BUSY_PAUSE),
            outcome => return Ok(outcome?),
        }
    }
    Ok(fcntl_add_seals(file, seals)?)
}
