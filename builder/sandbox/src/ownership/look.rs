//! `stat` and its kin, and lists of attributes: a file with a remembered owner shows it, all others are left to the kernel.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;

use rustix::fs::{OFlags, listxattr};
use rustix::io::Errno;

use super::Supervisor;
use super::owners::Memory;
use crate::root::path_of_descriptor;
use crate::sys::{self, Answer, Notification, Plain};

/// Names of attributes that a step is not shown.
const OWN_ATTRIBUTES: &[u8] = b"user.kiln.";
/// The kernel lists no more (`XATTR_LIST_MAX`).
const LIST_BYTES_MAX: usize = 64 << 10;

/// Flags that the calls of the family take; with others they are an error.
const FLAGS: i32 =
    libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH | libc::AT_NO_AUTOMOUNT | libc::AT_STATX_SYNC_TYPE;

/// Which file a call means.
#[derive(Clone, Copy)]
pub(super) enum Target {
    /// An open one.
    Descriptor(i32),
    /// The one that a path in the caller's memory leads to.
    Path { directory: i32, path: u64, flags: i32 },
}

/// Into what a call wants its answer.
enum Form {
    Stat,
    Statx { flags: i32, mask: u32 },
}

impl Supervisor<'_> {
    /// Answers a call of the family of `stat`. What cannot be answered here the kernel answers, also with its error.
    pub(super) fn look(&self, call: &Notification) -> Answer {
        if self.owners.is_empty() {
            return Answer::Continue;
        }
        let [first, second, third, fourth, fifth, _] = call.arguments;
        let path = |flags| Target::Path { directory: libc::AT_FDCWD, path: first, flags };
        let (target, address, form) = match call.number {
            #[cfg(target_arch = "x86_64")]
            libc::SYS_stat => (path(0), second, Form::Stat),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_lstat => (path(libc::AT_SYMLINK_NOFOLLOW), second, Form::Stat),
            libc::SYS_fstat => (Target::Descriptor(first as i32), second, Form::Stat),
            libc::SYS_newfstatat => {
                let (directory, flags) = (first as i32, fourth as i32);
                (Target::Path { directory, path: second, flags }, third, Form::Stat)
            }
            libc::SYS_statx => {
                let (directory, flags) = (first as i32, third as i32);
                let form = Form::Statx { flags: flags & libc::AT_STATX_SYNC_TYPE, mask: fourth as u32 };
                (Target::Path { directory, path: second, flags }, fifth, form)
            }
            _ => return Answer::Continue,
        };
        match target {
            Target::Path { flags, .. } if flags & !FLAGS != 0 => Answer::Continue,
            _ => self.show(call, target, address, &form).unwrap_or(Answer::Continue),
        }
    }

    fn show(&self, call: &Notification, target: Target, address: u64, form: &Form) -> Result<Answer, Errno> {
        let Some((file, memory)) = self.recall(call.pid, target)? else { return Ok(Answer::Continue) };
        match form {
            Form::Stat => self.write(call, address, &shown_stat(sys::stat(&file)?, memory)),
            Form::Statx { flags, mask } => {
                self.write(call, address, &shown_statx(sys::statx(&file, *flags, *mask)?, memory))
            }
        }
    }

    /// Returns a file and what is remembered of it; `None` when nothing is.
    fn recall(&self, pid: u32, target: Target) -> Result<Option<(OwnedFd, Memory)>, Errno> {
        if let Some(number) = self.number_of(pid, target)? {
            let path = CString::new(self.proc.path_to_descriptor(pid, number)).map_err(|_| Errno::INVAL)?;
            if self.owners.has_no_list() && self.owners.beside(&path).is_none() {
                return Ok(None);
            }
        }
        let file = self.open_target(pid, target)?;
        let memory = self.owners.of(&file);
        Ok(memory.map(|memory| (file, memory)))
    }

    /// Returns the descriptor that a call means, if it means one.
    fn number_of(&self, pid: u32, target: Target) -> Result<Option<i32>, Errno> {
        match target {
            Target::Descriptor(number) => Ok(Some(number)),
            Target::Path { directory, path, flags } => {
                let is_own = directory >= 0
                    && flags & libc::AT_EMPTY_PATH != 0
                    && (path == 0 || self.proc.read_memory(pid, path, 1)? == [0]);
                Ok(is_own.then_some(directory))
            }
        }
    }

    /// Opens the file that a call means.
    pub(super) fn open_target(&self, pid: u32, target: Target) -> Result<OwnedFd, Errno> {
        let (directory, path, flags) = match target {
            Target::Descriptor(number) => return self.proc.descriptor(pid, number),
            Target::Path { directory, path, flags } => (directory, path, flags),
        };
        let has_empty = flags & libc::AT_EMPTY_PATH != 0;
        let path = if has_empty && path == 0 { Vec::new() } else { self.proc.read_path(pid, path)? };
        if !path.is_empty() {
            let is_link = flags & libc::AT_SYMLINK_NOFOLLOW != 0;
            let no_follow = if is_link { OFlags::NOFOLLOW } else { OFlags::empty() };
            return match self.proc.open(pid, directory, &path, OFlags::PATH | no_follow) {
                Err(errno @ (Errno::LOOP | Errno::NOENT)) if !is_link => {
                    let own = self.proc.own_descriptor(pid, directory, path);
                    own.map_or(Err(errno), |number| self.proc.descriptor(pid, number))
                }
                opened => opened,
            };
        }
        match directory {
            _ if !has_empty => Err(Errno::NOENT),
            libc::AT_FDCWD => self.proc.open(pid, directory, b".", OFlags::PATH),
            number => self.proc.descriptor(pid, number),
        }
    }

    fn write(&self, call: &Notification, address: u64, value: &impl Plain) -> Result<Answer, Errno> {
        self.write_back(call, address, value.bytes()).map(|()| Answer::Return(0))
    }

    /// Lists the attributes of a file without those that are kiln's.
    pub(super) fn list_attributes(&self, call: &Notification, target: Target) -> Result<Answer, Errno> {
        if self.owners.is_empty() {
            return Ok(Answer::Continue);
        }
        let [_, address, room, ..] = call.arguments;
        let file = self.open_target(call.pid, target)?;
        let path = path_of_descriptor(&file);
        // Nearly all files: there is nothing to hide.
        if self.owners.beside(&path).is_none() {
            return Ok(Answer::Continue);
        }
        let names = shown_names(&path)?;
        if room != 0 && (room as usize) < names.len() {
            return Ok(Answer::Fail(Errno::RANGE));
        }
        if room != 0 {
            self.write_back(call, address, &names)?;
        }
        Ok(Answer::Return(names.len() as i64))
    }
}

fn shown_names(path: &CStr) -> Result<Vec<u8>, Errno> {
    let mut names = vec![0; LIST_BYTES_MAX];
    let length = listxattr(path, &mut names[..])?;
    names.truncate(length);
    let shown = names.split_inclusive(|byte| *byte == 0).filter(|name| !name.starts_with(OWN_ATTRIBUTES));
    Ok(shown.collect::<Vec<_>>().concat())
}

fn kind(is_block: bool) -> u32 {
    if is_block { libc::S_IFBLK } else { libc::S_IFCHR }
}

fn shown_stat(mut found: libc::stat, memory: Memory) -> libc::stat {
    (found.st_uid, found.st_gid) = (memory.owner.uid, memory.owner.gid);
    if let Some(device) = memory.device {
        found.st_mode = (found.st_mode & !libc::S_IFMT) | kind(device.is_block);
        found.st_rdev = rustix::fs::makedev(device.major, device.minor);
    }
    found
}

fn shown_statx(mut found: libc::statx, memory: Memory) -> libc::statx {
    (found.stx_uid, found.stx_gid) = (memory.owner.uid, memory.owner.gid);
    if let Some(device) = memory.device {
        found.stx_mode = (found.stx_mode & !(libc::S_IFMT as u16)) | kind(device.is_block) as u16;
        (found.stx_rdev_major, found.stx_rdev_minor) = (device.major, device.minor);
    }
    found
}
