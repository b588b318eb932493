//! Ids that are asked for and changed: as if the kernel knew them.

use rustix::fs::{FileType, OFlags, StatVfsMountFlags, fstatvfs, open};
use rustix::io::Errno;

use super::Supervisor;
use super::look::Target;
use super::unmapped::groups_of;
use crate::credentials::{Change, Credentials, Ids, apply};
use crate::root::path_of_descriptor;
use crate::sys::{self, Answer, Notification};

impl Supervisor<'_> {
    /// Returns what a process believes.
    pub(super) fn belief(&self, pid: u32) -> Result<&Credentials, Errno> {
        Ok(self.beliefs.at(self.proc.number(pid)?))
    }

    fn set_belief(&mut self, pid: u32, belief: Credentials) -> Result<(), Errno> {
        let number = self.beliefs.number(belief)?;
        self.proc.set_number(pid, number)
    }

    /// Answers calls that ask for ids or change them.
    pub(super) fn answer_identity(&mut self, call: &Notification) -> Result<Answer, Errno> {
        let [first, second, third, ..] = call.arguments.map(|argument| argument as u32);
        let mut now = self.belief(call.pid)?.clone();
        let is_privileged = now.may_take_ids();
        match call.number {
            libc::SYS_getuid => return Ok(Answer::Return(i64::from(now.user[0]))),
            libc::SYS_geteuid => return Ok(Answer::Return(i64::from(now.user[1]))),
            libc::SYS_getgid => return Ok(Answer::Return(i64::from(now.group[0]))),
            libc::SYS_getegid => return Ok(Answer::Return(i64::from(now.group[1]))),
            libc::SYS_getresuid => return self.write_ids(call, now.user),
            libc::SYS_getresgid => return self.write_ids(call, now.group),
            libc::SYS_getgroups => return self.write_groups(call, &now),
            libc::SYS_setgroups if !is_privileged => return Err(Errno::PERM),
            libc::SYS_setgroups => now.groups = groups_of(call, &self.proc)?,
            // With another value it is the kernel's error.
            libc::SYS_prctl if second > 1 => return Ok(Answer::Continue),
            libc::SYS_prctl => now.keeps_capabilities = second == 1,
            libc::SYS_setfsuid | libc::SYS_setfsgid => return self.set_id_of_files(call, now),
            libc::SYS_setuid => now.user = apply(now.user, is_privileged, Change::All(first))?,
            libc::SYS_setgid => now.group = apply(now.group, is_privileged, Change::All(first))?,
            libc::SYS_setreuid => {
                now.user = apply(now.user, is_privileged, Change::RealEffective(first, second))?;
            }
            libc::SYS_setregid => {
                now.group = apply(now.group, is_privileged, Change::RealEffective(first, second))?;
            }
            libc::SYS_setresuid => {
                now.user = apply(now.user, is_privileged, Change::Each([first, second, third]))?;
            }
            libc::SYS_setresgid => {
                now.group = apply(now.group, is_privileged, Change::Each([first, second, third]))?;
            }
            _ => return Ok(Answer::Continue),
        }
        self.set_belief(call.pid, now)?;
        // Capabilities are the kernel's in any case.
        Ok(if call.number == libc::SYS_prctl { Answer::Continue } else { Answer::Return(0) })
    }

    /// Answers the calls that return the id that was, whether or not it changes.
    fn set_id_of_files(&mut self, call: &Notification, mut now: Credentials) -> Result<Answer, Errno> {
        let is_privileged = now.may_take_ids();
        let ids = if call.number == libc::SYS_setfsuid { &mut now.user } else { &mut now.group };
        let old = ids[3];
        *ids = apply(*ids, is_privileged, Change::OfFiles(call.arguments[0] as u32))?;
        if ids[3] != old {
            self.set_belief(call.pid, now)?;
        }
        Ok(Answer::Return(i64::from(old)))
    }

    /// Answers calls about the limit in which the number of a belief is carried: it looks unused, and setting it has no effect.
    pub(super) fn pretend_limit(&self, call: &Notification) -> Result<Answer, Errno> {
        let into = match call.number {
            libc::SYS_getrlimit => call.arguments[1],
            libc::SYS_prlimit64 => call.arguments[3],
            _ => 0,
        };
        if into != 0 {
            self.write_back(call, into, &self.proc.shown_limit(call.pid)?)?;
        }
        Ok(Answer::Return(0))
    }

    /// Lets a process become a program, and believe what that program's set-id bits say. Should the kernel refuse the program
    /// for a reason that cannot be seen here, the process has gained nothing: they are all root's to the kernel.
    pub(super) fn become_program(&mut self, call: &Notification) -> Result<Answer, Errno> {
        let [first, second, ..] = call.arguments;
        let target = match call.number {
            libc::SYS_execveat => {
                Target::Path { directory: first as i32, path: second, flags: call.arguments[4] as i32 }
            }
            _ => Target::Path { directory: libc::AT_FDCWD, path: first, flags: 0 },
        };
        let file = self.open_target(call.pid, target)?;
        let found = sys::stat(&file)?;
        let is_program = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
            && found.st_mode & (libc::S_IXUSR | libc::S_IXGRP | libc::S_IXOTH) != 0;
        if !is_program {
            return Ok(Answer::Continue);
        }
        let counts = found.st_mode & (libc::S_ISUID | libc::S_ISGID) != 0
            && !fstatvfs(&file)?.f_flag.contains(StatVfsMountFlags::NOSUID)
            && !self.proc.gains_nothing(call.pid)
            && is_binary(&path_of_descriptor(&file));
        let owner = self.owners.of(&file).unwrap_or_default().owner;
        let now = self.belief(call.pid)?;
        let new = now.after_exec(if counts { found.st_mode } else { 0 }, owner);
        if new != *now {
            self.set_belief(call.pid, new)?;
        }
        Ok(Answer::Continue)
    }

    fn write_ids(&self, call: &Notification, ids: Ids) -> Result<Answer, Errno> {
        for (address, id) in call.arguments[..3].iter().zip(ids) {
            self.write_back(call, *address, &id.to_ne_bytes())?;
        }
        Ok(Answer::Return(0))
    }

    fn write_groups(&self, call: &Notification, now: &Credentials) -> Result<Answer, Errno> {
        let [room, address, ..] = call.arguments;
        let count = now.groups.len();
        // It is signed: where less than nothing fits, nothing does.
        let Ok(room) = usize::try_from(room as i32) else { return Err(Errno::INVAL) };
        if room != 0 {
            if room < count {
                return Err(Errno::INVAL);
            }
            let bytes: Vec<u8> = now.groups.iter().flat_map(|id| id.to_ne_bytes()).collect();
            self.write_back(call, address, &bytes)?;
        }
        Ok(Answer::Return(count as i64))
    }
}

/// Whether a regular file is a program by itself and not a script, whose set-id bits do not count.
fn is_binary(path: &std::ffi::CStr) -> bool {
    let mut magic = [0; 4];
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    // What cannot be read is not run either.
    open(path, flags, rustix::fs::Mode::empty())
        .and_then(|file| rustix::io::pread(file, &mut magic, 0))
        .is_ok_and(|count| count == magic.len() && magic == *b"\x7fELF")
}
