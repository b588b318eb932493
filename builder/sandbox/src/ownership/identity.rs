//! Ids that are asked for and changed: as if the kernel knew them.

use rustix::fs::{FileType, OFlags, StatVfsMountFlags, fstatvfs, open};
use rustix::io::Errno;

use super::Supervisor;
use super::look::Target;
use crate::credentials::{Change, Credentials, apply};
use crate::root::path_of_descriptor;
use crate::sys::{self, Answer, Notification};

const GROUPS_MAX: usize = 65536;

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
            libc::SYS_geteuid | libc::SYS_setfsuid => return Ok(Answer::Return(i64::from(now.user[1]))),
            libc::SYS_getgid => return Ok(Answer::Return(i64::from(now.group[0]))),
            libc::SYS_getegid | libc::SYS_setfsgid => return Ok(Answer::Return(i64::from(now.group[1]))),
            libc::SYS_getresuid => return self.write_ids(call, now.user),
            libc::SYS_getresgid => return self.write_ids(call, now.group),
            libc::SYS_getgroups => return self.write_groups(call, &now),
            libc::SYS_setgroups if !is_privileged => return Err(Errno::PERM),
            libc::SYS_setgroups => now.groups = self.read_groups(call)?,
            libc::SYS_prctl => now.keeps_capabilities = second != 0,
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
        let has_bits = found.st_mode & (libc::S_ISUID | libc::S_ISGID) != 0;
        let counts = has_bits
            && FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
            && !fstatvfs(&file)?.f_flag.contains(StatVfsMountFlags::NOSUID)
            && is_binary(&path_of_descriptor(&file));
        let owner = self.owners.of(&file).unwrap_or_default().owner;
        let now = self.belief(call.pid)?;
        let new = now.after_exec(if counts { found.st_mode } else { 0 }, owner);
        if new != *now {
            self.set_belief(call.pid, new)?;
        }
        Ok(Answer::Continue)
    }

    fn write_ids(&self, call: &Notification, ids: [u32; 3]) -> Result<Answer, Errno> {
        for (address, id) in call.arguments.iter().zip(ids) {
            self.write_back(call, *address, &id.to_ne_bytes())?;
        }
        Ok(Answer::Return(0))
    }

    fn write_groups(&self, call: &Notification, now: &Credentials) -> Result<Answer, Errno> {
        let [room, address, ..] = call.arguments;
        let count = now.groups.len();
        if room as u32 != 0 {
            if (room as u32 as usize) < count {
                return Err(Errno::INVAL);
            }
            let bytes: Vec<u8> = now.groups.iter().flat_map(|id| id.to_ne_bytes()).collect();
            self.write_back(call, address, &bytes)?;
        }
        Ok(Answer::Return(count as i64))
    }

    fn read_groups(&self, call: &Notification) -> Result<Vec<u32>, Errno> {
        let count = call.arguments[0] as usize;
        if count > GROUPS_MAX {
            return Err(Errno::INVAL);
        }
        if count == 0 {
            return Ok(Vec::new());
        }
        let bytes = self.proc.read_memory(call.pid, call.arguments[1], count * 4)?;
        if bytes.len() < count * 4 {
            return Err(Errno::FAULT);
        }
        let (ids, _) = bytes.as_chunks::<4>();
        let mut ids: Vec<u32> = ids.iter().map(|id| u32::from_ne_bytes(*id)).collect();
        ids.sort_unstable();
        Ok(ids)
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
