//! Answers the system calls that fail, or tell something else, where owners are remembered, as with a single id, and remembers what
//! they asked for.
//!
//! | Call | Answer | Remembered |
//! |---|---|---|
//! | `chown` and kin | the file becomes root's, as `chown` would clear set-id bits | its owner |
//! | `mknod` of a device | an empty file | attribute [`DEVICE_ATTRIBUTE`] (`c` or `b`, `:major:minor`) |
//! | new files of others than root, or in set-group-id directories | the file is made here | its owner |
//! | `stat` and kin, `listxattr` | the kernel's, with what is remembered, without kiln's attributes | |
//! | `set…id`, `get…id`, groups, `execve` of set-id programs | as if it had happened | in a limit of the process, which its children inherit |
//!
//! An owner is in the attribute [`OWNER_ATTRIBUTE`] (`uid:gid`); of what cannot carry attributes there is a record.
//!
//! It runs in the keeper, which reads arguments from the caller's memory and opens its files through `/proc`. All of this
//! happens inside the sandbox and with its rights: a step that lies only deceives itself. What cannot be found out the kernel
//! is asked for, whose answer is then the caller's.
//!
//! Where the kernel sets owners nothing is answered here: see [`unmapped`].

mod create;

mod change;

mod identity;

mod look;

mod owners;

mod unmapped;

mod caller;

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::credentials::Beliefs;
use crate::error::Operation;
use crate::ids::IdMap;
use crate::seccomp::{Notified, When};
use crate::spec::{OwnershipRecord, Owning, RunSpec};
use crate::sys::{self, Answer, Notification, answer_notification, receive_notification};
use crate::wire::Failure;
pub(crate) use caller::start_numbers;
use caller::{NUMBER_LIMIT, Proc};
use look::Target;
use owners::Owners;
pub(crate) use owners::remember;

/// Extended attribute of files and directories in the changed directory: `uid:gid` as asked for, in decimal.
pub const OWNER_ATTRIBUTE: &str = "user.kiln.owner";
/// Extended attribute of an empty file that stands for a device: `c:major:minor` or `b:major:minor`, in decimal.
pub const DEVICE_ATTRIBUTE: &str = "user.kiln.device";

/// Flags of `open` that make files; the second is `O_TMPFILE` without `O_DIRECTORY`.
const MAKES_FILES: u32 = (libc::O_CREAT | (libc::O_TMPFILE & !libc::O_DIRECTORY)) as u32;

const fn always(number: i64) -> Notified {
    Notified { number, when: When::Always }
}

/// Returns the calls of a step that are looked at here; none where the kernel answers all.
pub(crate) fn notified(spec: &RunSpec, ids: &IdMap) -> Vec<Notified> {
    match spec.remembered.owners {
        Owning::Set => Vec::new(),
        Owning::SetOrEnd => unmapped::notified(ids),
        Owning::Remember => NOTIFIED.to_vec(),
    }
}

/// Where owners are remembered.
const NOTIFIED: &[Notified] = &[
    #[cfg(target_arch = "x86_64")]
    always(libc::SYS_chown),
    #[cfg(target_arch = "x86_64")]
    always(libc::SYS_lchown),
    always(libc::SYS_fchown),
    always(libc::SYS_fchownat),
    #[cfg(target_arch = "x86_64")]
    always(libc::SYS_stat),
    #[cfg(target_arch = "x86_64")]
    always(libc::SYS_lstat),
    always(libc::SYS_fstat),
    always(libc::SYS_newfstatat),
    always(libc::SYS_statx),
    always(libc::SYS_listxattr),
    always(libc::SYS_llistxattr),
    always(libc::SYS_flistxattr),
    #[cfg(target_arch = "x86_64")]
    Notified { number: libc::SYS_open, when: When::AnyBit(1, MAKES_FILES) },
    #[cfg(target_arch = "x86_64")]
    always(libc::SYS_creat),
    Notified { number: libc::SYS_openat, when: When::AnyBit(2, MAKES_FILES) },
    always(libc::SYS_openat2),
    #[cfg(target_arch = "x86_64")]
    always(libc::SYS_mkdir),
    always(libc::SYS_mkdirat),
    #[cfg(target_arch = "x86_64")]
    always(libc::SYS_symlink),
    always(libc::SYS_symlinkat),
    #[cfg(target_arch = "x86_64")]
    always(libc::SYS_mknod),
    always(libc::SYS_mknodat),
    #[cfg(target_arch = "x86_64")]
    always(libc::SYS_rename),
    #[cfg(target_arch = "x86_64")]
    always(libc::SYS_link),
    always(libc::SYS_renameat),
    always(libc::SYS_renameat2),
    always(libc::SYS_linkat),
    always(libc::SYS_chroot),
    always(libc::SYS_execve),
    always(libc::SYS_execveat),
    Notified { number: libc::SYS_getrlimit, when: When::Is(0, NUMBER_LIMIT) },
    Notified { number: libc::SYS_setrlimit, when: When::Is(0, NUMBER_LIMIT) },
    Notified { number: libc::SYS_prlimit64, when: When::Is(1, NUMBER_LIMIT) },
    Notified { number: libc::SYS_prctl, when: When::Is(0, libc::PR_SET_KEEPCAPS as u32) },
    always(libc::SYS_setuid),
    always(libc::SYS_setgid),
    always(libc::SYS_setreuid),
    always(libc::SYS_setregid),
    always(libc::SYS_setresuid),
    always(libc::SYS_setresgid),
    always(libc::SYS_setgroups),
    always(libc::SYS_setfsuid),
    always(libc::SYS_setfsgid),
    always(libc::SYS_getuid),
    always(libc::SYS_geteuid),
    always(libc::SYS_getgid),
    always(libc::SYS_getegid),
    always(libc::SYS_getresuid),
    always(libc::SYS_getresgid),
    always(libc::SYS_getgroups),
];

/// Answers notifications of one step.
pub(crate) struct Supervisor<'a> {
    listener: OwnedFd,
    proc: Proc,
    beliefs: Beliefs,
    owners: Owners<'a>,
    /// The ids that there are, where the kernel sets owners.
    set_for: Option<&'a IdMap>,
    /// Whether the root of the step is known, or is not one root any more.
    is_root_decided: bool,
}

impl<'a> Supervisor<'a> {
    /// Starts answering on `listener`. This process must have a mount namespace of its own.
    pub(crate) fn new(
        listener: OwnedFd,
        changes: &'a OwnedFd,
        spec: &RunSpec,
        ids: &'a IdMap,
    ) -> Result<Self, Errno> {
        match sys::wake_in_turn(&listener) {
            // Linux before 6.6: slower, that is all.
            Ok(()) | Err(Errno::INVAL | Errno::NOTTY) => {}
            Err(errno) => return Err(errno),
        }
        // What is made here gets the mask of its maker.
        rustix::process::umask(rustix::fs::Mode::empty());
        let (beliefs, owners) = (Beliefs::new(&spec.user), Owners::new(changes, spec));
        let set_for = (spec.remembered.owners != Owning::Remember).then_some(ids);
        Ok(Supervisor { listener, proc: Proc::new()?, beliefs, owners, set_for, is_root_decided: false })
    }

    /// Returns what could only be remembered in a list.
    pub(crate) fn into_records(self) -> Vec<OwnershipRecord> {
        self.owners.into_records()
    }

    /// Answers one notification that is there.
    ///
    /// # Errors
    /// When the step needs what the kernel would refuse: nobody answers it then, and it is to be ended.
    pub(crate) fn serve(&mut self) -> Result<(), Failure> {
        let supervising = Failure::during(Operation::Supervise);
        let notification = match receive_notification(&self.listener) {
            // The caller was killed before we looked.
            Err(Errno::NOENT | Errno::INTR) => return Ok(()),
            received => received.map_err(&supervising)?,
        };
        let answer = match self.set_for {
            Some(ids) => match unmapped::lack(&notification, ids, &self.proc) {
                Some(lack) if sys::is_waiting(&self.listener, notification.id) => return Err(lack),
                _ => Answer::Continue,
            },
            None => self.answer(&notification).unwrap_or_else(Answer::Fail),
        };
        match answer_notification(&self.listener, notification.id, answer) {
            Err(Errno::NOENT) => Ok(()),
            sent => sent.map_err(supervising),
        }
    }

    fn answer(&mut self, call: &Notification) -> Result<Answer, Errno> {
        if !self.is_root_decided {
            // The first call is the step's own, before it becomes its program.
            self.is_root_decided = true;
            self.proc.share_root(call.pid);
            // Without it paths alone decide.
            if let Ok(root) = self.proc.open(call.pid, libc::AT_FDCWD, b"/", OFlags::PATH) {
                self.owners.know_root(&root);
            }
        }
        let [first, second, third, fourth, ..] = call.arguments;
        let (pid, named) = (call.pid, (first as i32, second));
        let path = |flags| Target::Path { directory: libc::AT_FDCWD, path: first, flags };
        match call.number {
            #[cfg(target_arch = "x86_64")]
            libc::SYS_stat | libc::SYS_lstat => Ok(self.look(call)),
            libc::SYS_fstat | libc::SYS_newfstatat | libc::SYS_statx => Ok(self.look(call)),
            libc::SYS_listxattr => or_kernel(self.list_attributes(call, path(0))),
            libc::SYS_llistxattr => or_kernel(self.list_attributes(call, path(libc::AT_SYMLINK_NOFOLLOW))),
            libc::SYS_flistxattr => or_kernel(self.list_attributes(call, Target::Descriptor(first as i32))),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_open | libc::SYS_creat => made_or_kernel(self.open(call)),
            libc::SYS_openat | libc::SYS_openat2 => made_or_kernel(self.open(call)),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_mkdir => {
                made_or_kernel(self.make_directory(pid, (libc::AT_FDCWD, first), second as u32))
            }
            libc::SYS_mkdirat => made_or_kernel(self.make_directory(pid, named, third as u32)),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_symlink => made_or_kernel(self.make_symlink(pid, first, (libc::AT_FDCWD, second))),
            libc::SYS_symlinkat => made_or_kernel(self.make_symlink(pid, first, (second as i32, third))),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_mknod => {
                made_or_kernel(self.make_node(pid, (libc::AT_FDCWD, first), second as u32, third))
            }
            libc::SYS_mknodat => made_or_kernel(self.make_node(pid, named, third as u32, fourth)),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_rename | libc::SYS_link => or_kernel(self.follow_name(call)),
            libc::SYS_renameat | libc::SYS_renameat2 | libc::SYS_linkat => or_kernel(self.follow_name(call)),
            libc::SYS_chroot => {
                self.proc.forget_root();
                Ok(Answer::Continue)
            }
            libc::SYS_getrlimit | libc::SYS_setrlimit | libc::SYS_prlimit64 => self.pretend_limit(call),
            libc::SYS_execve | libc::SYS_execveat => or_kernel(self.become_program(call)),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_chown | libc::SYS_lchown => self.change_owner(call),
            libc::SYS_fchown | libc::SYS_fchownat => self.change_owner(call),
            _ => self.answer_identity(call),
        }
    }

    /// Writes a part of the answer into the caller's memory, if it is still there.
    fn write_back(&self, call: &Notification, address: u64, bytes: &[u8]) -> Result<(), Errno> {
        if !sys::is_waiting(&self.listener, call.id) {
            return Err(Errno::NOENT);
        }
        sys::write_memory(call.pid, address, bytes)
    }
}

/// Leaves a call that cannot be answered to the kernel, which has the right error for it.
fn or_kernel(answer: Result<Answer, Errno>) -> Result<Answer, Errno> {
    Ok(answer.unwrap_or(Answer::Continue))
}

/// The same for calls that make files. What is there, or is not, may have changed when the kernel looks, and then it would make
/// a file that nobody remembers the maker of: these answers are final. So are those about what was made here, which are no
/// `Err`: the kernel would find it there.
fn made_or_kernel(answer: Result<Answer, Errno>) -> Result<Answer, Errno> {
    match answer {
        Err(errno @ (Errno::NOENT | Errno::EXIST | Errno::NOTDIR)) => Err(errno),
        answer => or_kernel(answer),
    }
}

impl AsFd for Supervisor<'_> {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.listener.as_fd()
    }
}
