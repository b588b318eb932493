//! `chown` and its kin.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid, chmod, chownat, fstat};
use rustix::io::Errno;

use super::Supervisor;
use super::look::Target;
use crate::root::path_of_descriptor;
use crate::spec::Owner;
use crate::sys::{Answer, Notification};

/// Flags that `fchownat` takes.
const FLAGS: i32 = libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH;

impl Supervisor<'_> {
    /// Answers a call that changes an owner.
    pub(super) fn change_owner(&mut self, call: &Notification) -> Result<Answer, Errno> {
        let [first, second, third, fourth, fifth, _] = call.arguments;
        let path = |flags| Target::Path { directory: libc::AT_FDCWD, path: first, flags };
        let (target, uid, gid) = match call.number {
            #[cfg(target_arch = "x86_64")]
            libc::SYS_chown => (path(0), second, third),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_lchown => (path(libc::AT_SYMLINK_NOFOLLOW), second, third),
            libc::SYS_fchownat => {
                let target = Target::Path { directory: first as i32, path: second, flags: fifth as i32 };
                (target, third, fourth)
            }
            _ => (Target::Descriptor(first as i32), second, third),
        };
        if call.number == libc::SYS_fchownat && fifth as i32 & !FLAGS != 0 {
            return Err(Errno::INVAL);
        }
        if let Target::Descriptor(number) = target
            && self.proc.is_path_only(call.pid, number)
        {
            return Err(Errno::BADF);
        }
        let file = match self.open_target(call.pid, target) {
            // A way through the caller's `/proc/self`, which only the caller itself can go; or the kernel says the same.
            Err(Errno::LOOP | Errno::NOENT) => return Ok(Answer::Continue),
            opened => opened?,
        };
        let wanted = (given(uid), given(gid));
        self.give(call.pid, &file, wanted).map(|()| Answer::Return(0))
    }

    fn give(&mut self, pid: u32, file: &OwnedFd, wanted: (Option<u32>, Option<u32>)) -> Result<(), Errno> {
        let now = self.owners.of(file).unwrap_or_default().owner;
        let belief = self.belief(pid)?;
        if !belief.may_give(now, wanted) {
            return Err(Errno::PERM);
        }
        let keeps_group_bit = belief.may_keep_group_bit(now.gid);
        // Also copies the file up and clears what a change of owner clears.
        chownat(file, c"", Some(Uid::ROOT), Some(Gid::ROOT), AtFlags::EMPTY_PATH)?;
        let found = fstat(file)?.st_mode;
        let is_directory = FileType::from_raw_mode(found) == FileType::Directory;
        if found & libc::S_ISGID != 0 && !is_directory && !keeps_group_bit {
            chmod(path_of_descriptor(file), Mode::from_raw_mode(found & 0o5777))?;
        }
        let owner = Owner { uid: wanted.0.unwrap_or(now.uid), gid: wanted.1.unwrap_or(now.gid) };
        self.owners.set(file, owner)
    }

    /// Lets a name be changed or added. What was remembered of a symlink by its path is remembered of the symlink itself.
    pub(super) fn follow_name(&mut self, call: &Notification) -> Result<Answer, Errno> {
        if self.owners.has_no_list() {
            return Ok(Answer::Continue);
        }
        let [first, second, third, fourth, ..] = call.arguments;
        let (from, to) = match call.number {
            #[cfg(target_arch = "x86_64")]
            libc::SYS_rename | libc::SYS_link => ((libc::AT_FDCWD, first), (libc::AT_FDCWD, second)),
            _ => ((first as i32, second), (third as i32, fourth)),
        };
        self.pin(call.pid, from)?;
        // Two names may change places.
        match self.pin(call.pid, to) {
            Ok(()) | Err(Errno::NOENT) => Ok(Answer::Continue),
            Err(errno) => Err(errno),
        }
    }

    fn pin(&mut self, pid: u32, (directory, path): (i32, u64)) -> Result<(), Errno> {
        let target = Target::Path { directory, path, flags: libc::AT_SYMLINK_NOFOLLOW };
        let file = self.open_target(pid, target)?;
        if super::owners::carries_attributes(&file)? {
            return self.owners.pin_below(&file);
        }
        let owner = self.owners.of(&file).unwrap_or_default().owner;
        copy_up(&file)?;
        self.owners.record(&file, owner)
    }
}

/// Makes an overlay have its own copy of a symlink, FIFO or socket, of which nothing changes.
fn copy_up(file: &OwnedFd) -> Result<(), Errno> {
    let mode = fstat(file)?.st_mode;
    match FileType::from_raw_mode(mode) {
        FileType::Symlink => chownat(file, c"", Some(Uid::ROOT), Some(Gid::ROOT), AtFlags::EMPTY_PATH),
        // A change of owner would clear set-id bits.
        _ => chmod(path_of_descriptor(file), Mode::from_raw_mode(mode & 0o7777)),
    }
}

/// The largest id means "unchanged".
fn given(id: u64) -> Option<u32> {
    Some(id as u32).filter(|id| *id != u32::MAX)
}
