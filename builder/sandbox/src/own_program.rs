//! A sealed copy of this program in memory, which becomes the keeper and the step.
//!
//! Until a step executes its own program, `/proc/self/exe` in it is the sandbox's. An image whose command is
//! `/proc/self/exe` and that brings its own loader thus runs code with a handle on that file, and as root it may change the
//! file's mode or wait until it can be written (CVE-2019-5736 of runc). With a copy, there is nothing of the machine to reach.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Mutex;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;

/// The copy of this process, made when it is first needed.
static COPY: Mutex<Option<OwnedFd>> = Mutex::new(None);

/// Returns the path by which this process executes the copy of its own program.
///
/// # Errors
/// When the kernel refuses memory that can be executed (sysctl `vm.memfd_noexec`), or there is none.
pub(crate) fn path() -> io::Result<CString> {
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
    io::copy(&mut File::open("/proc/self/exe")?, &mut file)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(&file, seals)?;
    Ok(file.into())
}
