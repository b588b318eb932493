//! `chown` and its kin.

use std::os::fd::OwnedFd;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, RenameFlags, Uid, chmod, chownat, fstat, linkat, openat, renameat_with,
};
use rustix::io::Errno;

use super::Supervisor;
use super::create::{FOUND, Place};
use super::look::Target;
use super::owners::carries_attributes;
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
        let [first, second, third, fourth, fifth, _] = call.arguments;
        let here = libc::AT_FDCWD as u64;
        let (from, to, how) = match call.number {
            #[cfg(target_arch = "x86_64")]
            libc::SYS_rename => ((here, first), (here, second), How::Move(RenameFlags::empty())),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_link => ((here, first), (here, second), How::Link(0)),
            libc::SYS_linkat => ((first, second), (third, fourth), How::Link(fifth as i32)),
            libc::SYS_renameat2 => {
                let flags = RenameFlags::from_bits_retain(fifth as u32);
                ((first, second), (third, fourth), How::Move(flags))
            }
            _ => ((first, second), (third, fourth), How::Move(RenameFlags::empty())),
        };
        match how {
            How::Link(flags) => self.add_name(call.pid, from, to, flags),
            How::Move(flags) => self.move_name(call.pid, from, to, flags),
        }
    }

    fn add_name(&mut self, pid: u32, from: Name, to: Name, flags: i32) -> Result<Answer, Errno> {
        let follow = if flags & libc::AT_SYMLINK_FOLLOW == 0 { libc::AT_SYMLINK_NOFOLLOW } else { 0 };
        let file = self.open_target(pid, named(from, follow | flags & libc::AT_EMPTY_PATH))?;
        if carries_attributes(&file)? {
            return Ok(Answer::Continue);
        }
        let owner = self.owners.of(&file).unwrap_or_default().owner;
        let to = self.place_of(pid, to)?;
        // The symlink itself: only the way through `/proc` is followed.
        let linked =
            linkat(CWD, path_of_descriptor(&file), &to.parent, &to.name[..], AtFlags::SYMLINK_FOLLOW);
        Ok(self.remembered_at(linked, &to, owner))
    }

    fn move_name(&mut self, pid: u32, from: Name, to: Name, flags: RenameFlags) -> Result<Answer, Errno> {
        let file = self.open_target(pid, named(from, libc::AT_SYMLINK_NOFOLLOW))?;
        let is_exchange = flags.contains(RenameFlags::EXCHANGE);
        let there = is_exchange.then(|| self.open_target(pid, named(to, libc::AT_SYMLINK_NOFOLLOW)));
        let there = there.transpose()?;
        let mut is_list_enough = true;
        for moved in [Some(&file), there.as_ref()].into_iter().flatten() {
            if carries_attributes(moved)? {
                self.owners.pin_below(moved)?;
            } else {
                is_list_enough = false;
            }
        }
        if is_list_enough {
            return Ok(Answer::Continue);
        }
        let owner = self.owners.of(&file).unwrap_or_default().owner;
        let owner_there = there.map(|there| self.owners.of(&there).unwrap_or_default().owner);
        let (from, to) = (self.place_of(pid, from)?, self.place_of(pid, to)?);
        let moved = renameat_with(&from.parent, &from.name[..], &to.parent, &to.name[..], flags);
        if let (Ok(()), Some(owner)) = (moved, owner_there)
            && let answer @ Answer::Fail(_) = self.remembered_at(moved, &from, owner)
        {
            return Ok(answer);
        }
        Ok(self.remembered_at(moved, &to, owner))
    }

    /// Remembers who owns the symlink, FIFO or socket that came to have a name, if it did.
    fn remembered_at(&mut self, outcome: Result<(), Errno>, place: &Place, owner: Owner) -> Answer {
        let remembered = outcome.and_then(|()| {
            let file = openat(&place.parent, &place.name[..], FOUND, Mode::empty())?;
            if carries_attributes(&file)? { Ok(()) } else { self.owners.record(&file, owner) }
        });
        remembered.map_or_else(Answer::Fail, |()| Answer::Return(0))
    }

    fn place_of(&self, pid: u32, (directory, path): Name) -> Result<Place, Errno> {
        self.place(pid, directory as i32, &self.proc.read_path(pid, path)?)
    }
}

/// A path in the caller's memory, and the directory where it starts.
type Name = (u64, u64);

/// How a file comes to a name.
enum How {
    /// Besides its others, with flags of `linkat`.
    Link(i32),
    /// From another one.
    Move(RenameFlags),
}

fn named((directory, path): Name, flags: i32) -> Target {
    Target::Path { directory: directory as i32, path, flags }
}

/// The largest id means "unchanged".
fn given(id: u64) -> Option<u32> {
    Some(id as u32).filter(|id| *id != u32::MAX)
}
