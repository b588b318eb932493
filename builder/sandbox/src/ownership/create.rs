//! Calls that make new files: those that belong to somebody else than root are made here, and remembered.
//!
//! A new file belongs to whom its maker believes to be, or to the group of its directory if that has its set-group-id bit.
//! Root's own files in ordinary directories, nearly all, are left to the kernel. Here nothing is opened that was not made
//! here, so no FIFO or device of a step can keep this process waiting.

use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Mode, OFlags, fstat, mkdirat, mknodat, openat, readlinkat, symlinkat};
use rustix::io::Errno;

use super::Supervisor;
use super::caller::LINKS_MAX;
use super::owners::DeviceNode;
use crate::spec::Owner;
use crate::sys::{Answer, Inheritance, Notification};

const NEW: OFlags = OFlags::CREATE.union(OFlags::EXCL).union(OFlags::CLOEXEC);
pub(super) const FOUND: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A file that `open` would make.
struct Opening {
    directory: i32,
    path: u64,
    flags: OFlags,
    mode: u32,
}

/// Where a new name goes.
pub(super) struct Place {
    pub(super) parent: OwnedFd,
    pub(super) name: Vec<u8>,
    /// Whom a file made there belongs to.
    owner: Owner,
}

impl Supervisor<'_> {
    /// Answers a call that opens a file and makes it if it is missing.
    pub(super) fn open(&mut self, call: &Notification) -> Result<Answer, Errno> {
        let [first, second, third, fourth, ..] = call.arguments;
        let flags = |bits: u64| OFlags::from_bits_retain(bits as u32);
        let opening = match call.number {
            #[cfg(target_arch = "x86_64")]
            libc::SYS_open => {
                Opening { directory: libc::AT_FDCWD, path: first, flags: flags(second), mode: third as u32 }
            }
            #[cfg(target_arch = "x86_64")]
            libc::SYS_creat => Opening {
                directory: libc::AT_FDCWD,
                path: first,
                flags: OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC,
                mode: second as u32,
            },
            libc::SYS_openat2 => match self.opening_of_openat2(call)? {
                Some(opening) => opening,
                None => return Ok(Answer::Continue),
            },
            _ => Opening { directory: first as i32, path: second, flags: flags(third), mode: fourth as u32 },
        };
        // No file is made, and for the second no directory either: it is an error.
        let is_refused = opening.flags.contains(OFlags::CREATE | OFlags::DIRECTORY);
        if opening.flags.contains(OFlags::PATH) || is_refused {
            return Ok(Answer::Continue);
        }
        self.make_file(call.pid, &opening)
    }

    /// Reads the structure that `openat2` gets. Who restricts the way to a file is left to the kernel.
    fn opening_of_openat2(&self, call: &Notification) -> Result<Option<Opening>, Errno> {
        let [directory, path, how, size, ..] = call.arguments;
        let bytes = self.proc.read_memory(call.pid, how, (size as usize).min(24))?;
        let ([flags, mode, resolve], []) = bytes.as_chunks::<8>() else { return Ok(None) };
        let flags = OFlags::from_bits_retain(u64::from_ne_bytes(*flags) as u32);
        // The flag for unnamed files has the one for directories in it.
        let makes_file = flags.contains(OFlags::CREATE) || flags.contains(OFlags::TMPFILE);
        if u64::from_ne_bytes(*resolve) != 0 || !makes_file {
            return Ok(None);
        }
        let mode = u64::from_ne_bytes(*mode) as u32;
        Ok(Some(Opening { directory: directory as i32, path, flags, mode }))
    }

    fn make_file(&mut self, pid: u32, opening: &Opening) -> Result<Answer, Errno> {
        let mut path = self.proc.read_path(pid, opening.path)?;
        if opening.flags.contains(OFlags::TMPFILE) {
            let parent = self.proc.open(pid, opening.directory, &path, OFlags::PATH | OFlags::DIRECTORY)?;
            let place = self.place_in(pid, parent, b".")?;
            return self.make_at(pid, opening, &place, OFlags::CLOEXEC);
        }
        let mut directory = opening.directory;
        for _ in 0..LINKS_MAX {
            let place = match self.place(pid, directory, &path) {
                // Of the caller itself, which this process is not.
                Err(Errno::NOENT) if path.starts_with(b"/proc/") || path.starts_with(b"/dev/fd/") => {
                    return Ok(Answer::Continue);
                }
                place => place?,
            };
            let is_ordinary = place.owner == Owner::default();
            match self.make_at(pid, opening, &place, NEW) {
                Err(Errno::EXIST) if !opening.flags.contains(OFlags::EXCL) => {}
                // A symlink may lead to a set-group-id directory.
                Ok(Answer::Continue) if !opening.flags.contains(OFlags::EXCL) => {}
                made => return made,
            }
            // A symlink that leads nowhere yet, or a file that is there: that one the kernel opens.
            let link = match readlinkat(&place.parent, &place.name[..], Vec::new()) {
                Err(Errno::NOENT) if is_ordinary => return Ok(Answer::Continue),
                // Removed meanwhile.
                Err(Errno::NOENT) => continue,
                link => link?.into_bytes(),
            };
            if opening.flags.contains(OFlags::NOFOLLOW) {
                return Ok(Answer::Fail(Errno::LOOP));
            }
            if self.proc.open(pid, directory, &path, OFlags::PATH).is_ok() {
                return Ok(Answer::Continue);
            }
            path = match link.starts_with(b"/") {
                true => link,
                false => [self.proc.path_of(pid, &place.parent)?, b"/".to_vec(), link].concat(),
            };
            directory = libc::AT_FDCWD;
        }
        Err(Errno::LOOP)
    }

    fn make_at(&mut self, pid: u32, opening: &Opening, place: &Place, how: OFlags) -> Result<Answer, Errno> {
        if place.owner == Owner::default() {
            return Ok(Answer::Continue);
        }
        let mode = Mode::from_raw_mode(opening.mode & 0o7777 & !self.proc.umask(pid));
        let file = openat(&place.parent, &place.name[..], opening.flags | how, mode)?;
        if let Err(errno) = self.owners.set(&file, place.owner) {
            return Ok(Answer::Fail(errno));
        }
        let is_closed = opening.flags.contains(OFlags::CLOEXEC);
        let inheritance = if is_closed { Inheritance::Closed } else { Inheritance::Kept };
        Ok(Answer::Open(file, inheritance))
    }

    /// Answers a call that makes a directory.
    pub(super) fn make_directory(
        &mut self,
        pid: u32,
        (directory, path): (i32, u64),
        mode: u32,
    ) -> Result<Answer, Errno> {
        let mut path = self.proc.read_path(pid, path)?;
        // Only names of directories may end in a slash.
        let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
        path.truncate(end);
        let place = self.place(pid, directory, &path)?;
        if place.owner == Owner::default() {
            return Ok(Answer::Continue);
        }
        let mode = Mode::from_raw_mode(mode & 0o1777 & !self.proc.umask(pid));
        mkdirat(&place.parent, &place.name[..], mode)?;
        self.remember_new(&place)
    }

    /// Answers a call that makes a symlink.
    pub(super) fn make_symlink(
        &mut self,
        pid: u32,
        target: u64,
        (directory, path): (i32, u64),
    ) -> Result<Answer, Errno> {
        let path = self.proc.read_path(pid, path)?;
        let place = self.place(pid, directory, &path)?;
        if place.owner == Owner::default() && self.owners.has_no_list() {
            return Ok(Answer::Continue);
        }
        let target = self.proc.read_path(pid, target)?;
        symlinkat(&target[..], &place.parent, &place.name[..])?;
        self.remember_new(&place)
    }

    /// Answers a call that makes a device, FIFO, socket or file.
    pub(super) fn make_node(
        &mut self,
        pid: u32,
        (directory, path): (i32, u64),
        mode: u32,
        device: u64,
    ) -> Result<Answer, Errno> {
        let kind = FileType::from_raw_mode(mode);
        let is_device = matches!(kind, FileType::CharacterDevice | FileType::BlockDevice);
        if is_device && !(self.belief(pid)?.is_root_of_files() && self.proc.may_make_devices(pid)) {
            return Err(Errno::PERM);
        }
        let path = self.proc.read_path(pid, path)?;
        let place = self.place(pid, directory, &path)?;
        let is_ordinary = place.owner == Owner::default() && self.owners.has_no_list();
        if !is_device && is_ordinary {
            return Ok(Answer::Continue);
        }
        let mode = Mode::from_raw_mode(mode & 0o7777 & !self.proc.umask(pid));
        if is_device {
            let file = openat(&place.parent, &place.name[..], NEW | OFlags::WRONLY, mode)?;
            let is_block = kind == FileType::BlockDevice;
            let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
            let remembered = self.owners.set_device(&file, DeviceNode { is_block, major, minor });
            let remembered = remembered.and_then(|()| self.owners.set(&file, place.owner));
            return Ok(remembered.map_or_else(Answer::Fail, |()| Answer::Return(0)));
        }
        let kind = if kind == FileType::Unknown { FileType::RegularFile } else { kind };
        mknodat(&place.parent, &place.name[..], kind, mode, 0)?;
        self.remember_new(&place)
    }

    fn remember_new(&mut self, place: &Place) -> Result<Answer, Errno> {
        let file = openat(&place.parent, &place.name[..], FOUND, Mode::empty())?;
        let remembered = self.owners.set(&file, place.owner);
        Ok(remembered.map_or_else(Answer::Fail, |()| Answer::Return(0)))
    }

    /// Finds where a new name goes; `EINVAL` for what can be no new name.
    pub(super) fn place(&self, pid: u32, directory: i32, path: &[u8]) -> Result<Place, Errno> {
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&path[..=slash], &path[slash + 1..]),
            None => (&b"."[..], path),
        };
        match name {
            b"" | b"." | b".." => return Err(Errno::INVAL),
            _ => {}
        }
        let parent = self.proc.open(pid, directory, parent, OFlags::PATH | OFlags::DIRECTORY)?;
        self.place_in(pid, parent, name)
    }

    fn place_in(&self, pid: u32, parent: OwnedFd, name: &[u8]) -> Result<Place, Errno> {
        let mut owner = self.belief(pid)?.owner();
        if fstat(&parent)?.st_mode & libc::S_ISGID != 0 {
            owner.gid = self.owners.of(&parent).unwrap_or_default().owner.gid;
        }
        Ok(Place { parent, name: name.to_vec(), owner })
    }
}
