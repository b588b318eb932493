//! The system calls that no safe wrapper covers, each as small as the call. All `unsafe` of kiln is here.

#![expect(unsafe_code, reason = "raw system calls; every block carries its proof")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::Pid;
use rustix::thread::UnshareFlags;

fn last_errno() -> Errno {
    // Always a system error just after a failed call; EIO stands in for the impossible other case.
    io::Error::last_os_error().raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)
}

fn check(result: c_int) -> Result<c_int, Errno> {
    if result < 0 { Err(last_errno()) } else { Ok(result) }
}

/// What [`spawn`] starts: a program with three standard streams and one more descriptor that stays open.
pub(crate) struct Spawn<'a> {
    pub(crate) program: &'a CStr,
    pub(crate) arguments: &'a [&'a CStr],
    pub(crate) streams: [RawFd; 3],
    pub(crate) kept: RawFd,
    /// Whether it is the first process of a new pid namespace.
    pub(crate) in_pid_namespace: bool,
}

struct SpawnFrame {
    program: *const c_char,
    argv: *const *const c_char,
    envp: *const *const c_char,
    streams: [RawFd; 3],
    kept: RawFd,
    errno: c_int,
}

/// Stack of the child between `clone` and `execve`; it makes five system calls.
const SPAWN_STACK_BYTES: usize = 64 << 10;

/// Starts a program; returns its id in the caller's pid namespace.
///
/// The child shares the caller's memory until `execve` and the caller's thread sleeps that long (as in `vfork`), so
/// this is safe in a program with threads. All signals are blocked meanwhile, also in the started program.
pub(crate) fn spawn(spawn: &Spawn<'_>) -> Result<Pid, Errno> {
    let argv: Vec<*const c_char> =
        spawn.arguments.iter().map(|argument| argument.as_ptr()).chain([std::ptr::null()]).collect();
    let envp = [std::ptr::null()];
    let mut frame = SpawnFrame {
        program: spawn.program.as_ptr(),
        argv: argv.as_ptr(),
        envp: envp.as_ptr(),
        streams: spawn.streams,
        kept: spawn.kept,
        errno: 0,
    };
    let mut stack = vec![MaybeUninit::<u128>::uninit(); SPAWN_STACK_BYTES / size_of::<u128>()];
    let namespace = if spawn.in_pid_namespace { libc::CLONE_NEWPID } else { 0 };
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | namespace | libc::SIGCHLD;
    let blocked = block_all_signals();
    // SAFETY: the stack is 16-byte aligned and lives until the child has left it (CLONE_VFORK: the call returns
    // only after `execve` or `_exit`); so do the frame and all it points to. The child runs `exec_frame`, which
    // makes only async-signal-safe calls.
    let pid = unsafe {
        libc::clone(exec_frame, stack.as_mut_ptr_range().end.cast::<c_void>(), flags, (&raw mut frame).cast())
    };
    let pid = check(pid);
    restore_signals(&blocked);
    let pid = pid?;
    let pid = Pid::from_raw(pid).expect("clone returns a positive id");
    if frame.errno != 0 {
        // The child is gone already; its status says nothing that `errno` does not.
        rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).ok();
        return Err(Errno::from_raw_os_error(frame.errno));
    }
    Ok(pid)
}

extern "C" fn exec_frame(frame: *mut c_void) -> c_int {
    // SAFETY: `frame` is the `SpawnFrame` of the parent, which sleeps until this child execs or exits. The calls
    // are async-signal-safe and touch only the child's own descriptor table.
    unsafe {
        let frame = &mut *frame.cast::<SpawnFrame>();
        let [stdin, stdout, stderr] = frame.streams;
        if libc::dup2(stdin, 0) >= 0
            && libc::dup2(stdout, 1) >= 0
            && libc::dup2(stderr, 2) >= 0
            && libc::fcntl(frame.kept, libc::F_SETFD, 0) >= 0
        {
            libc::execve(frame.program, frame.argv, frame.envp);
        }
        frame.errno = *libc::__errno_location();
        libc::_exit(127)
    }
}

fn block_all_signals() -> libc::sigset_t {
    let mut previous = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: both sets are valid for writing; `previous` is filled by the second call, which cannot fail with a
    // valid `how`.
    unsafe {
        let mut all = MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), previous.as_mut_ptr());
        previous.assume_init()
    }
}

fn restore_signals(previous: &libc::sigset_t) {
    // SAFETY: `previous` came from `block_all_signals`.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, previous, std::ptr::null_mut()) };
}

/// Unblocks all signals and gives each its default action.
pub(crate) fn reset_signals() {
    // SAFETY: an empty set is valid, and setting a default action affects no memory. Numbers that may not be
    // changed (SIGKILL, SIGSTOP, the C library's own) are refused, which is what is wanted.
    unsafe {
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none = MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
    }
}

/// Forks a process that has one thread; returns the child's id, or `None` in the child.
pub(crate) fn fork() -> Result<Option<Pid>, Errno> {
    // SAFETY: called only in processes with one thread (the keeper; `main` before any thread), so the child's
    // copy of every lock is free and all of Rust may be used in it.
    let pid = check(unsafe { libc::fork() })?;
    Ok(Pid::from_raw(pid))
}

/// Ends this process without running anything else.
pub(crate) fn exit_now(code: c_int) -> ! {
    // SAFETY: `_exit` does not return and touches no memory of this process.
    unsafe { libc::_exit(code) }
}

/// Moves this process into new namespaces.
pub(crate) fn unshare(flags: UnshareFlags) -> Result<(), Errno> {
    assert!(!flags.contains(UnshareFlags::FILES), "descriptor tables are never unshared");
    // SAFETY: only CLONE_FILES endangers descriptors of other threads, and it is excluded above.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// Takes ownership of a descriptor inherited over `execve`; refuses numbers that are not open.
pub(crate) fn inherited_fd(number: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: F_SETFD only sets a flag and reports whether the number is open.
    check(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: the number is open, was handed to this program by its parent for this use alone, and this is called
    // once, first in `main`, so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Marks every descriptor from `first` on to be closed at the next `execve`.
pub(crate) fn close_on_exec_from(first: u32) -> Result<(), Errno> {
    // SAFETY: sets a flag on descriptors; closes none.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    check(result as c_int).map(drop)
}

#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// What [`mount_setattr`] changes: `MOUNT_ATTR_*` bits.
#[derive(Default)]
pub(crate) struct Attributes {
    pub(crate) set: u64,
    pub(crate) clear: u64,
}

/// Changes the attributes of a mount, with `recursive` also of all below it.
pub(crate) fn mount_setattr(mount: impl AsFd, change: &Attributes, recursive: bool) -> Result<(), Errno> {
    let attributes =
        MountAttributes { set: change.set, clear: change.clear, propagation: 0, user_namespace: 0 };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty C string and the size is that of the structure behind the pointer.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<MountAttributes>(),
        )
    };
    check(result as c_int).map(drop)
}

/// Brings up an interface of the current network namespace.
pub(crate) fn interface_up(socket: impl AsFd, name: &CStr) -> Result<(), Errno> {
    // SAFETY: all bytes zero is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let name = name.to_bytes();
    assert!(name.len() < request.ifr_name.len(), "interface names are short");
    for (to, from) in request.ifr_name.iter_mut().zip(name) {
        *to = *from as c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    // SAFETY: SIOCSIFFLAGS reads an `ifreq`.
    check(unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) })
        .map(drop)
}

/// Leaves the session keyring of the caller for a new, empty one.
pub(crate) fn new_session_keyring() -> Result<(), Errno> {
    const KEYCTL_JOIN_SESSION_KEYRING: c_int = 1;
    // SAFETY: a null name asks for an anonymous keyring; no memory is touched.
    let result =
        unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<c_char>()) };
    check(result as c_int).map(drop)
}

/// Replaces this process by a program; returns only if that failed.
pub(crate) fn execve(program: &CStr, argv: &[CString], env: &[CString]) -> Errno {
    let pointers = |list: &[CString]| -> Vec<*const c_char> {
        list.iter().map(|item| item.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: both lists end in a null pointer and all strings live until the call returns.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    last_errno()
}

/// How a child ended and what it and its own children used.
pub(crate) struct Waited {
    /// The raw status of `wait4`.
    pub(crate) status: i32,
    pub(crate) user: Duration,
    pub(crate) system: Duration,
    pub(crate) memory_bytes_max: u64,
}

/// Waits for a child to end.
pub(crate) fn wait_with_usage(pid: Pid) -> Result<Waited, Errno> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    loop {
        // SAFETY: both out-parameters are valid for writing.
        let result =
            unsafe { libc::wait4(pid.as_raw_nonzero().get(), &raw mut status, 0, usage.as_mut_ptr()) };
        match check(result) {
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    // SAFETY: zeroed at first, which is a valid value, and then filled by the kernel.
    let usage = unsafe { usage.assume_init() };
    let duration = |time: libc::timeval| {
        Duration::new(time.tv_sec.unsigned_abs(), time.tv_usec.unsigned_abs() as u32 * 1000)
    };
    Ok(Waited {
        status,
        user: duration(usage.ru_utime),
        system: duration(usage.ru_stime),
        memory_bytes_max: usage.ru_maxrss.unsigned_abs() * 1024,
    })
}

/// Installs a system call filter for this thread and all it starts; with `notify`, returns the descriptor on which
/// notifications arrive. Needs `CAP_SYS_ADMIN` in the user namespace: `no_new_privs` is deliberately not set.
pub(crate) fn install_filter(program: &[libc::sock_filter], notify: bool) -> Result<Option<OwnedFd>, Errno> {
    let length = u16::try_from(program.len()).expect("filters are far below 65536 instructions");
    let code = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    let install = |flags: libc::c_ulong| {
        // SAFETY: `code` describes `program`, which the kernel only reads.
        let result = unsafe {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const code)
        };
        check(result as c_int)
    };
    let fd = match notify {
        false => install(0)?,
        // A call that is being answered is not interrupted by signals, else it would be made twice. Linux before 5.19
        // does not know that.
        true => {
            install(libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)
                .or_else(|errno| match errno {
                    Errno::INVAL => install(libc::SECCOMP_FILTER_FLAG_NEW_LISTENER),
                    errno => Err(errno),
                })?
        }
    };
    // SAFETY: with NEW_LISTENER the result is a new descriptor that nothing else owns.
    Ok(notify.then(|| unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// A system call that waits for a supervisor's answer.
pub(crate) struct Notification {
    pub(crate) id: u64,
    /// The calling thread, in the pid namespace of this process.
    pub(crate) pid: u32,
    pub(crate) number: i64,
    pub(crate) arguments: [u64; 6],
}

/// What a supervisor says to a system call.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It returns this value; nothing else happens.
    Return(i64),
    /// It returns a new descriptor of this file.
    Open(OwnedFd, Inheritance),
    /// It fails.
    Fail(Errno),
    /// The kernel carries it out as if nobody had looked.
    Continue,
}

/// Whether a program that the caller becomes keeps a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inheritance {
    /// It does.
    Kept,
    /// It does not (`O_CLOEXEC`).
    Closed,
}

/// Receives one notification; `ENOENT` when its caller died meanwhile.
pub(crate) fn receive_notification(listener: impl AsFd) -> Result<Notification, Errno> {
    // SAFETY: all bytes zero is a valid `seccomp_notif`, and the kernel demands it.
    let mut notification: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the request fills a `seccomp_notif`.
    let result = unsafe {
        libc::ioctl(listener.as_fd().as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut notification)
    };
    check(result)?;
    let data = notification.data;
    Ok(Notification {
        id: notification.id,
        pid: notification.pid,
        number: i64::from(data.nr),
        arguments: data.args,
    })
}

/// Whether the caller of a notification still waits for its answer.
pub(crate) fn is_waiting(listener: impl AsFd, id: u64) -> bool {
    // SAFETY: the request reads one `u64`.
    let result = unsafe {
        libc::ioctl(listener.as_fd().as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const id)
    };
    result == 0
}

/// Lets caller and supervisor hand the processor to each other instead of waking another one (Linux 6.6).
pub(crate) fn wake_in_turn(listener: impl AsFd) -> Result<(), Errno> {
    const SYNC_WAKE_UP: u64 = 1;
    // SAFETY: the request takes its flags by value.
    let result = unsafe {
        libc::ioctl(listener.as_fd().as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, SYNC_WAKE_UP)
    };
    check(result).map(drop)
}

/// Answers a notification; `ENOENT` when its caller died meanwhile.
pub(crate) fn answer_notification(listener: impl AsFd, id: u64, answer: Answer) -> Result<(), Errno> {
    let (val, error, flags) = match answer {
        Answer::Return(value) => (value, 0, 0),
        Answer::Fail(errno) => (0, -errno.raw_os_error(), 0),
        Answer::Continue => (0, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
        Answer::Open(file, inheritance) => return hand_over(listener, id, &file, inheritance),
    };
    let response = libc::seccomp_notif_resp { id, val, error, flags };
    // SAFETY: the request reads a `seccomp_notif_resp`.
    let result = unsafe {
        libc::ioctl(listener.as_fd().as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw const response)
    };
    check(result).map(drop)
}

/// Gives the caller a descriptor of `file`, and its number as the answer.
fn hand_over(listener: impl AsFd, id: u64, file: &OwnedFd, inheritance: Inheritance) -> Result<(), Errno> {
    let add = |flags: u32| {
        let newfd_flags = if inheritance == Inheritance::Closed { libc::O_CLOEXEC as u32 } else { 0 };
        let request =
            libc::seccomp_notif_addfd { id, flags, srcfd: file.as_raw_fd() as u32, newfd: 0, newfd_flags };
        // SAFETY: the request reads a `seccomp_notif_addfd`, whose source is open.
        check(unsafe {
            libc::ioctl(listener.as_fd().as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ADDFD, &raw const request)
        })
    };
    let answer = match add(libc::SECCOMP_ADDFD_FLAG_SEND as u32) {
        Ok(_) => return Ok(()),
        Err(Errno::NOENT) => return Err(Errno::NOENT),
        // Linux before 5.14 answers separately.
        Err(Errno::INVAL) => add(0).map_or_else(Answer::Fail, |number| Answer::Return(i64::from(number))),
        Err(errno) => Answer::Fail(errno),
    };
    answer_notification(listener, id, answer)
}

/// Reads memory of another process: fewer bytes where its memory ends, `EFAULT` when there is none at `address`.
pub(crate) fn read_memory(process: u32, address: u64, into: &mut [u8]) -> Result<usize, Errno> {
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let remote = libc::iovec { iov_base: address as usize as *mut c_void, iov_len: into.len() };
    // SAFETY: the kernel writes at most `into.len()` bytes to `into`; the other address is not one of this process.
    let count = unsafe {
        libc::process_vm_readv(process as libc::pid_t, &raw const local, 1, &raw const remote, 1, 0)
    };
    if count < 0 { Err(last_errno()) } else { Ok(count.unsigned_abs()) }
}

/// Writes memory of another process where that process itself could.
pub(crate) fn write_memory(process: u32, address: u64, bytes: &[u8]) -> Result<(), Errno> {
    let local = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: address as usize as *mut c_void, iov_len: bytes.len() };
    // SAFETY: the kernel only reads `bytes`; the other address is not one of this process.
    let count = unsafe {
        libc::process_vm_writev(process as libc::pid_t, &raw const local, 1, &raw const remote, 1, 0)
    };
    if usize::try_from(count) == Ok(bytes.len()) { Ok(()) } else { Err(Errno::FAULT) }
}

/// Returns what `stat` says of an open file, in the form of the machine's own programs.
pub(crate) fn stat(file: impl AsFd) -> Result<libc::stat, Errno> {
    // SAFETY: all bytes zero is a valid `stat`.
    let mut found: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the call fills a `stat`.
    check(unsafe { libc::fstat(file.as_fd().as_raw_fd(), &raw mut found) })?;
    Ok(found)
}

/// Returns what `statx` says of an open file.
pub(crate) fn statx(file: impl AsFd, flags: c_int, mask: u32) -> Result<libc::statx, Errno> {
    // SAFETY: all bytes zero is a valid `statx`.
    let mut found: libc::statx = unsafe { std::mem::zeroed() };
    let flags = flags | libc::AT_EMPTY_PATH;
    // SAFETY: the path is an empty C string, and the call fills a `statx`.
    let result = unsafe {
        libc::syscall(libc::SYS_statx, file.as_fd().as_raw_fd(), c"".as_ptr(), flags, mask, &raw mut found)
    };
    check(result as c_int)?;
    Ok(found)
}

/// A structure of the kernel's that programs get as bytes.
pub(crate) trait Plain: Copy {
    /// Returns its bytes.
    fn bytes(&self) -> &[u8] {
        // SAFETY: implementors have no bytes between their fields (asserted below), so all of them are initialized.
        unsafe { std::slice::from_raw_parts(std::ptr::from_ref(self).cast(), size_of::<Self>()) }
    }
}

impl Plain for libc::stat {}
impl Plain for libc::statx {}
const _: () = assert!(size_of::<libc::stat>() == if cfg!(target_arch = "x86_64") { 144 } else { 128 });
const _: () = assert!(size_of::<libc::statx>() == 256);

/// Returns the soft and hard limit `resource` of another process.
pub(crate) fn limits_of(process: u32, resource: ResourceKind) -> Result<(u64, u64), Errno> {
    let mut found = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call fills an `rlimit64` and sets nothing.
    let result = unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            process as libc::pid_t,
            resource,
            std::ptr::null::<libc::rlimit64>(),
            &raw mut found,
        )
    };
    check(result as c_int)?;
    Ok((found.rlim_cur, found.rlim_max))
}

/// Sets the soft and hard limit `resource` of another process.
pub(crate) fn limit(process: u32, resource: ResourceKind, (soft, hard): (u64, u64)) -> Result<(), Errno> {
    let wanted = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the call reads an `rlimit64` and fills nothing.
    let result = unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            process as libc::pid_t,
            resource,
            &raw const wanted,
            std::ptr::null_mut::<libc::rlimit64>(),
        )
    };
    check(result as c_int).map(drop)
}

/// One of libc's `RLIMIT_*`.
pub(crate) type ResourceKind = u32;
