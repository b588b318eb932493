//! Answers the system calls that fail where only one id exists, and remembers what they asked for.
//!
//! | Call | Answer | Remembered |
//! |---|---|---|
//! | `chown` and kin | the file becomes root's, as `chown` would clear set-id bits | attribute [`OWNER_ATTRIBUTE`] (`uid:gid`); for what cannot carry attributes a record |
//! | `mknod` of a device | an empty file | attribute [`DEVICE_ATTRIBUTE`] (`c` or `b`, `:major:minor`) |
//! | `set…id`, `get…id`, groups | as if it had happened | for the life of the process |
//!
//! It runs in the keeper, which reads arguments from the caller's memory and opens its files through `/proc`. All of this
//! happens inside the sandbox and with its rights: a step that lies only deceives itself.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Uid, XattrFlags, chownat, fstat, getxattr, major, minor, openat,
    readlinkat, removexattr, setxattr, statat,
};
use rustix::io::Errno;
use rustix::mount::{FsOpenFlags, MountAttrFlags, fsopen};

use crate::credentials::{Beliefs, Change, Credentials, Process, ProcessTable, apply};
use crate::in_root;
use crate::root::{make, path_of, path_of_descriptor};
use crate::spec::{Owner, OwnershipRecord, User};
use crate::sys::{Answer, Notification, answer_notification, receive_notification};

/// Extended attribute of files and directories in the changed directory: `uid:gid` as asked for, in decimal.
pub const OWNER_ATTRIBUTE: &str = "user.kiln.owner";
/// Extended attribute of an empty file that stands for a device: `c:major:minor` or `b:major:minor`, in decimal.
pub const DEVICE_ATTRIBUTE: &str = "user.kiln.device";

/// The calls that are answered here.
pub(crate) const NOTIFIED: &[i64] = &[
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mknod,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_mknodat,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getresuid,
    libc::SYS_getresgid,
    libc::SYS_getgroups,
];

const PATH_BYTES_MAX: usize = libc::PATH_MAX as usize;
const GROUPS_MAX: usize = 65536;
/// Records of symlinks, FIFOs and sockets kept; more are dropped by the kernel's answer `EPERM`.
const RECORDS_MAX: usize = 1 << 20;

/// Answers notifications of one step.
pub(crate) struct Supervisor<'a> {
    listener: OwnedFd,
    /// The directory that receives the step's changes.
    changes: &'a OwnedFd,
    proc: Proc,
    beliefs: Beliefs,
    /// By device and inode in `changes`.
    records: BTreeMap<(u64, u64), OwnershipRecord>,
}

impl<'a> Supervisor<'a> {
    /// Starts answering on `listener`. This process must have a mount namespace of its own.
    pub(crate) fn new(listener: OwnedFd, changes: &'a OwnedFd, user: &User) -> Result<Self, Errno> {
        let proc = Proc(make(&fsopen(c"proc", FsOpenFlags::FSOPEN_CLOEXEC)?, MountAttrFlags::empty())?);
        Ok(Supervisor { listener, changes, proc, beliefs: Beliefs::new(user), records: BTreeMap::new() })
    }

    /// Returns what could only be remembered in a list.
    pub(crate) fn into_records(self) -> Vec<OwnershipRecord> {
        self.records.into_values().collect()
    }

    /// Answers one notification that is there.
    pub(crate) fn serve(&mut self) -> Result<(), Errno> {
        let notification = match receive_notification(&self.listener) {
            // The caller was killed before we looked.
            Err(Errno::NOENT | Errno::INTR) => return Ok(()),
            received => received?,
        };
        let answer = self.answer(&notification).unwrap_or_else(Answer::Fail);
        match answer_notification(&self.listener, notification.id, answer) {
            Err(Errno::NOENT) => Ok(()),
            sent => sent,
        }
    }

    fn answer(&mut self, call: &Notification) -> Result<Answer, Errno> {
        let [first, second, third, ..] = call.arguments;
        let pid = call.pid;
        match call.number {
            #[cfg(target_arch = "x86_64")]
            libc::SYS_chown => self.chown_path(pid, libc::AT_FDCWD, first, (second, third), 0),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_lchown => {
                self.chown_path(pid, libc::AT_FDCWD, first, (second, third), libc::AT_SYMLINK_NOFOLLOW)
            }
            libc::SYS_fchownat => {
                let flags = call.arguments[4] as i32;
                self.chown_path(pid, first as i32, second, (third, call.arguments[3]), flags)
            }
            libc::SYS_fchown => {
                let file = self.proc.descriptor(pid, first as i32)?;
                self.chown(&file, (second, third))
            }
            #[cfg(target_arch = "x86_64")]
            libc::SYS_mknod => self.mknod(pid, libc::AT_FDCWD, first, (second, third)),
            libc::SYS_mknodat => self.mknod(pid, first as i32, second, (third, call.arguments[3])),
            _ => self.answer_identity(call),
        }
    }

    fn chown_path(
        &mut self,
        pid: u32,
        directory: i32,
        path: u64,
        owner: (u64, u64),
        flags: i32,
    ) -> Result<Answer, Errno> {
        let path = self.proc.read_path(pid, path)?;
        let file = if path.is_empty() && flags & libc::AT_EMPTY_PATH != 0 {
            self.proc.descriptor(pid, directory)?
        } else {
            let no_follow =
                if flags & libc::AT_SYMLINK_NOFOLLOW == 0 { OFlags::empty() } else { OFlags::NOFOLLOW };
            match self.proc.open(pid, directory, &path, OFlags::PATH | no_follow) {
                // A way through `/proc/…/fd`, which only the caller itself can go.
                Err(Errno::LOOP) => return Ok(Answer::Continue),
                opened => opened?,
            }
        };
        self.chown(&file, owner)
    }

    fn chown(&mut self, file: &OwnedFd, owner: (u64, u64)) -> Result<Answer, Errno> {
        // Also copies the file up and clears what a change of owner clears.
        chownat(file, c"", Some(Uid::ROOT), Some(Gid::ROOT), AtFlags::EMPTY_PATH)?;
        let kind = FileType::from_raw_mode(fstat(file)?.st_mode);
        if !matches!(kind, FileType::RegularFile | FileType::Directory) {
            return self.record(file, owner);
        }
        let owner = merged(owner, remembered_owner(file));
        let path = path_of_descriptor(file);
        if owner == Owner::default() {
            match removexattr(path.as_c_str(), OWNER_ATTRIBUTE) {
                Ok(()) | Err(Errno::NODATA | Errno::NOTSUP) => {}
                Err(errno) => return Err(errno),
            }
        } else {
            let value = format!("{}:{}", owner.uid, owner.gid);
            setxattr(path.as_c_str(), OWNER_ATTRIBUTE, value.as_bytes(), XattrFlags::empty())?;
        }
        Ok(Answer::Return(0))
    }

    /// Remembers an owner in the list; the wanted ids still hold "unchanged".
    fn record(&mut self, file: &OwnedFd, wanted: (u64, u64)) -> Result<Answer, Errno> {
        let path = path_of(file)?;
        let inside = path.as_bytes().strip_prefix(b"/").unwrap_or(path.as_bytes());
        // What lies on another mount never reaches a layer.
        let Ok(found) = statat(self.changes, inside, AtFlags::SYMLINK_NOFOLLOW) else {
            return Ok(Answer::Return(0));
        };
        let (device, inode) = (found.st_dev, found.st_ino);
        let before = self.records.remove(&(device, inode)).map_or_else(Owner::default, |record| record.owner);
        let owner = merged(wanted, before);
        if owner != Owner::default() {
            if self.records.len() >= RECORDS_MAX {
                return Err(Errno::PERM);
            }
            self.records.insert((device, inode), OwnershipRecord { path, device, inode, owner });
        }
        Ok(Answer::Return(0))
    }

    fn mknod(&mut self, pid: u32, directory: i32, path: u64, what: (u64, u64)) -> Result<Answer, Errno> {
        let (mode, device) = (what.0 as u32, what.1);
        let letter = match FileType::from_raw_mode(mode) {
            FileType::CharacterDevice => 'c',
            FileType::BlockDevice => 'b',
            // Files, FIFOs and sockets need no privilege.
            _ => return Ok(Answer::Continue),
        };
        let path = self.proc.read_path(pid, path)?;
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (path[..=slash].to_vec(), &path[slash + 1..]),
            None => (b".".to_vec(), &path[..]),
        };
        let parent = self.proc.open(pid, directory, &parent, OFlags::PATH | OFlags::DIRECTORY)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(mode & 0o7777 & !self.proc.umask(pid));
        let file = openat(&parent, name, flags, mode)?;
        let value = format!("{letter}:{}:{}", major(device), minor(device));
        setxattr(
            path_of_descriptor(&file).as_c_str(),
            DEVICE_ATTRIBUTE,
            value.as_bytes(),
            XattrFlags::empty(),
        )?;
        Ok(Answer::Return(0))
    }

    fn answer_identity(&mut self, call: &Notification) -> Result<Answer, Errno> {
        let [first, second, third, ..] = call.arguments.map(|argument| argument as u32);
        let mut now = self.beliefs.of(call.pid, &self.proc);
        let is_privileged = now.user[1] == 0;
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
        self.beliefs.set(call.pid, now, &self.proc);
        Ok(Answer::Return(0))
    }

    fn write_ids(&self, call: &Notification, ids: [u32; 3]) -> Result<Answer, Errno> {
        for (address, id) in call.arguments.iter().zip(ids) {
            self.proc.write_memory(call.pid, *address, &id.to_ne_bytes())?;
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
            self.proc.write_memory(call.pid, address, &bytes)?;
        }
        Ok(Answer::Return(count as i64))
    }

    fn read_groups(&self, call: &Notification) -> Result<Vec<u32>, Errno> {
        let count = call.arguments[0] as usize;
        if count > GROUPS_MAX {
            return Err(Errno::INVAL);
        }
        let bytes = self.proc.read_memory(call.pid, call.arguments[1], count * 4)?;
        if bytes.len() < count * 4 {
            return Err(Errno::FAULT);
        }
        let (ids, _) = bytes.as_chunks::<4>();
        Ok(ids.iter().map(|id| u32::from_ne_bytes(*id)).collect())
    }
}

/// What cannot be read was not written by us.
fn remembered_owner(file: &OwnedFd) -> Owner {
    let mut value = [0; 32];
    let length = getxattr(path_of_descriptor(file).as_c_str(), OWNER_ATTRIBUTE, &mut value).unwrap_or(0);
    let text = std::str::from_utf8(&value[..length]).unwrap_or_default();
    let ids = text.split_once(':').and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?)));
    ids.map_or_else(Owner::default, |(uid, gid)| Owner { uid, gid })
}

/// Replaces what is not "unchanged".
fn merged(wanted: (u64, u64), before: Owner) -> Owner {
    let keep = |wanted: u64, old: u32| if wanted as u32 == u32::MAX { old } else { wanted as u32 };
    Owner { uid: keep(wanted.0, before.uid), gid: keep(wanted.1, before.gid) }
}

impl AsFd for Supervisor<'_> {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

/// A `/proc` of this process's pid namespace.
struct Proc(OwnedFd);

impl Proc {
    fn open_entry(&self, pid: u32, entry: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        openat(&self.0, format!("{pid}/{entry}"), flags | OFlags::CLOEXEC, Mode::empty())
    }

    fn descriptor(&self, pid: u32, number: i32) -> Result<OwnedFd, Errno> {
        match self.open_entry(pid, &format!("fd/{number}"), OFlags::PATH) {
            Err(Errno::NOENT) => Err(Errno::BADF),
            opened => opened,
        }
    }

    /// Opens a path as the process itself would, inside its own root.
    fn open(&self, pid: u32, directory: i32, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        if path.is_empty() {
            return Err(Errno::NOENT);
        }
        let root = self.open_entry(pid, "root", OFlags::PATH)?;
        let full = if path.starts_with(b"/") {
            path.to_vec()
        } else {
            let start =
                if directory == libc::AT_FDCWD { "cwd".to_owned() } else { format!("fd/{directory}") };
            let start = readlinkat(&self.0, format!("{pid}/{start}"), Vec::new()).map_err(|_| Errno::BADF)?;
            let chroot = readlinkat(&self.0, format!("{pid}/root"), Vec::new())?;
            let chroot = chroot.to_bytes().strip_suffix(b"/").unwrap_or(chroot.to_bytes());
            let start = start.to_bytes();
            [start.strip_prefix(chroot).unwrap_or(start), b"/", path].concat()
        };
        in_root::open(root, full.as_slice(), flags)
    }

    fn read_memory(&self, pid: u32, address: u64, length: usize) -> Result<Vec<u8>, Errno> {
        let memory = self.open_entry(pid, "mem", OFlags::RDONLY)?;
        let mut bytes = vec![0; length];
        let count = rustix::io::pread(memory, &mut bytes, address).map_err(|_| Errno::FAULT)?;
        bytes.truncate(count);
        Ok(bytes)
    }

    fn write_memory(&self, pid: u32, address: u64, bytes: &[u8]) -> Result<(), Errno> {
        let memory = self.open_entry(pid, "mem", OFlags::WRONLY)?;
        match rustix::io::pwrite(memory, bytes, address) {
            Ok(count) if count == bytes.len() => Ok(()),
            _ => Err(Errno::FAULT),
        }
    }

    fn read_path(&self, pid: u32, address: u64) -> Result<Vec<u8>, Errno> {
        let mut bytes = self.read_memory(pid, address, PATH_BYTES_MAX)?;
        let end = bytes.iter().position(|byte| *byte == 0).ok_or(Errno::NAMETOOLONG)?;
        bytes.truncate(end);
        Ok(bytes)
    }

    fn read_text(&self, pid: u32, entry: &str) -> Option<String> {
        let file = self.open_entry(pid, entry, OFlags::RDONLY).ok()?;
        // The entry of a process that just died cannot be read, which is an answer.
        std::io::read_to_string(std::fs::File::from(file)).ok()
    }

    fn umask(&self, pid: u32) -> u32 {
        let status = self.read_text(pid, "status").unwrap_or_default();
        field(&status, "Umask:").and_then(|text| u32::from_str_radix(text, 8).ok()).unwrap_or(0o022)
    }
}

impl ProcessTable for Proc {
    fn look_up(&self, id: u32) -> Option<(Process, u32)> {
        let status = self.read_text(id, "status")?;
        let process = field(&status, "Tgid:")?.parse().ok()?;
        let parent = field(&status, "PPid:")?.parse().ok()?;
        let stat = self.read_text(process, "stat")?;
        // Fields are counted after the name, which may hold anything; the start time is the 22nd of all.
        let started = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()?;
        Some((Process { id: process, started }, parent))
    }
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}
