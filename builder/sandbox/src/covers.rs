//! What a step that may not mount sees in the place of mounts: files and directories that are put into its root for the time of the
//! step. What the root has in such a place waits aside meanwhile.
//!
//! Nothing of it may stay: a step that gave a file another name, or moved a directory around it, fails.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, chmodat, chownat, fstat, makedev, mkdirat,
    mknodat, openat, openat2, renameat, statat, unlinkat,
};
use rustix::io::Errno;

use crate::mounts::DEVICES;
use crate::root::{MountedRoot, path_of, path_of_descriptor, relative, write_file};
use crate::spec::{Mount, MountKind, Owner, RunSpec};
use crate::stubs::{Footprint, parent_of};
use crate::target::{Place, depth, find_or_make};
use crate::wire::Failure;

/// Everything that was put into one root.
pub(crate) struct Covers<'a> {
    mounted: &'a MountedRoot,
    pub(crate) footprint: Footprint,
    placed: Vec<Placed>,
    count: usize,
}

struct Placed {
    /// As the spec has it.
    target: OsString,
    /// Relative to the root, symlinks resolved.
    path: OsString,
    /// What was put there.
    handle: OwnedFd,
    /// Where it is to go again.
    returns_to: Option<OsString>,
    /// The name, aside, of what was there before.
    covered: Option<String>,
}

const HANDLE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl<'a> Covers<'a> {
    /// Begins with an untouched root; `mounted.files` is the directory aside.
    pub(crate) fn new(mounted: &'a MountedRoot) -> Self {
        Covers { mounted, footprint: Footprint::default(), placed: Vec::new(), count: 0 }
    }

    /// Puts everything in its place that `spec` asks for and that every step has.
    pub(crate) fn put(&mut self, spec: &RunSpec) -> Result<(), Failure> {
        self.named(OsStr::new("/dev"), |covers| covers.dev())?;
        let hostname = format!("{}\n", spec.hostname);
        let files = [
            ("/etc/hostname", Some(hostname.as_bytes())),
            ("/etc/hosts", spec.files.hosts.as_deref()),
            ("/etc/resolv.conf", spec.files.resolv_conf.as_deref()),
        ];
        for (path, content) in files {
            let Some(content) = content else { continue };
            let path = OsStr::new(path);
            self.named(path, |covers| covers.file(path, content, 0o644, Owner::default()))?;
        }
        let mut mounts: Vec<&Mount> = spec.mounts.iter().collect();
        mounts.sort_by_key(|mount| depth(&mount.target));
        mounts.into_iter().try_for_each(|mount| self.one(mount))
    }

    fn named(
        &mut self,
        target: &OsStr,
        put: impl FnOnce(&mut Self) -> Result<(), Errno>,
    ) -> Result<(), Failure> {
        put(self).map_err(|errno| Failure::Mount { target: target.to_owned(), errno: errno.raw_os_error() })
    }

    fn one(&mut self, mount: &Mount) -> Result<(), Failure> {
        let unavailable = |what: &str| {
            let what = format!("{what} at `{}`", mount.target.to_string_lossy());
            Err(Failure::Unavailable { what })
        };
        let target = mount.target.as_os_str();
        match &mount.kind {
            MountKind::Bind { source } => self.named(target, |covers| covers.bind(target, source)),
            MountKind::Tmpfs { .. } => self.named(target, |covers| {
                let name = covers.next_name();
                covers.directory(&name, 0o1777)?;
                covers.place(target, Place::Directory, &name, None)
            }),
            MountKind::File { content, mode, owner } => {
                self.named(target, |covers| covers.file(target, content, *mode, *owner))
            }
            MountKind::BindReadOnly { .. } => unavailable("a mount that cannot be written to"),
            MountKind::BindDiscard { .. } => unavailable("a mount whose changes are thrown away"),
            MountKind::Socket { .. } => unavailable("a socket"),
        }
    }

    fn next_name(&mut self) -> String {
        self.count += 1;
        self.count.to_string()
    }

    fn directory(&self, name: &str, mode: u32) -> Result<(), Errno> {
        mkdirat(&self.mounted.files, name, Mode::from_raw_mode(0o700))?;
        chmodat(&self.mounted.files, name, Mode::from_raw_mode(mode), AtFlags::empty())
    }

    /// The devices that this process may make; the links of `/dev` lead to `/proc`, which is not there.
    fn dev(&mut self) -> Result<(), Errno> {
        let name = self.next_name();
        self.directory(&name, 0o755)?;
        let dev = openat(&self.mounted.files, &name, HANDLE, Mode::empty())?;
        let mode = Mode::from_raw_mode(0o666);
        for (device, major, minor) in DEVICES {
            match mknodat(&dev, device, FileType::CharacterDevice, mode, makedev(major, minor)) {
                Ok(()) => chmodat(&dev, device, mode, AtFlags::empty())?,
                Err(Errno::PERM) => {}
                Err(errno) => return Err(errno),
            }
        }
        mkdirat(&dev, "shm", Mode::from_raw_mode(0o700))?;
        chmodat(&dev, "shm", Mode::from_raw_mode(0o1777), AtFlags::empty())?;
        self.place(OsStr::new("/dev"), Place::Directory, &name, None)
    }

    fn file(&mut self, target: &OsStr, content: &[u8], mode: u32, owner: Owner) -> Result<(), Errno> {
        let name = self.next_name();
        let file = write_file(self.mounted, &name, content, mode)?;
        if owner != Owner::default() {
            let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
            chownat(&file, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
        }
        self.place(target, Place::File, &name, None)
    }

    fn bind(&mut self, target: &OsStr, source: &OsStr) -> Result<(), Errno> {
        let name = self.next_name();
        renameat(CWD, source, &self.mounted.files, &name)?;
        let kind = statat(&self.mounted.files, &name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode;
        let is_directory = FileType::from_raw_mode(kind) == FileType::Directory;
        let place = if is_directory { Place::Directory } else { Place::File };
        let placed = self.place(target, place, &name, Some(source.to_owned()));
        if placed.is_err() {
            renameat(&self.mounted.files, &name, CWD, source)?;
        }
        placed
    }

    /// Moves what is aside as `name` to `target`.
    fn place(
        &mut self,
        target: &OsStr,
        place: Place,
        name: &str,
        returns_to: Option<OsString>,
    ) -> Result<(), Errno> {
        let stubs = self.footprint.paths().len();
        let found = find_or_make(self.mounted, target, place, &mut self.footprint)?;
        let path = relative(self.mounted, &path_of(&found)?);
        let is_new = self.footprint.paths().len() > stubs;
        let (parent, last) = self.parent(&path)?;
        self.footprint.note_parent(&path, &fstat(&parent)?);
        let covered = if is_new {
            let flags = if place == Place::Directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
            unlinkat(&parent, &last, flags)?;
            None
        } else {
            let covered = format!("{name}.covered");
            renameat(&parent, &last, &self.mounted.files, &covered)?;
            Some(covered)
        };
        renameat(&self.mounted.files, name, &parent, &last)?;
        let handle = openat(&parent, &last, HANDLE, Mode::empty())?;
        self.placed.push(Placed { target: target.to_owned(), path, handle, returns_to, covered });
        Ok(())
    }

    /// Opens the directory around a path of the root, through no symlink; also returns the last name.
    fn parent(&self, path: &OsStr) -> Result<(OwnedFd, OsString), Errno> {
        let last = path.as_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        if last.is_empty() {
            // The root itself cannot be covered.
            return Err(Errno::BUSY);
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = openat2(&self.mounted.root, parent_of(path), flags, Mode::empty(), resolve)?;
        Ok((parent, OsStr::from_bytes(last).to_owned()))
    }

    /// Takes everything out again, last placed first, also when something is amiss. The step and all its processes have ended.
    pub(crate) fn take_back(&mut self) -> Result<(), Failure> {
        let mut outcome = Ok(());
        while let Some(placed) = self.placed.pop() {
            let failure =
                |errno: Errno| Failure::Mount { target: placed.target.clone(), errno: errno.raw_os_error() };
            let taken = match self.take_out(&placed) {
                Ok(true) => Ok(()),
                Ok(false) => Err(Failure::Misplaced { target: placed.target.clone() }),
                Err(errno) => Err(failure(errno)),
            };
            outcome = outcome.and(taken);
        }
        outcome
    }

    /// Tells whether nothing of it is left in the root.
    fn take_out(&self, placed: &Placed) -> Result<bool, Errno> {
        let (parent, last) = match self.parent(&placed.path) {
            // The step removed or replaced the directory around it.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return is_gone(&placed.handle),
            found => found?,
        };
        let own = fstat(&placed.handle)?;
        let there = statat(&parent, &last, AtFlags::SYMLINK_NOFOLLOW);
        let is_ours = there.is_ok_and(|there| (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino));
        match &placed.returns_to {
            Some(home) if is_ours => renameat(&parent, &last, CWD, home)?,
            _ => remove(&parent, &last)?,
        }
        if let Some(covered) = &placed.covered {
            renameat(&self.mounted.files, covered, &parent, &last)?;
        }
        let is_home = is_ours && placed.returns_to.is_some();
        Ok(is_home || is_gone(&placed.handle)?)
    }
}

/// Whether a file or directory has no name any more.
fn is_gone(handle: &OwnedFd) -> Result<bool, Errno> {
    Ok(fstat(handle)?.st_nlink == 0)
}

/// Removes whatever has a name in an open directory.
fn remove(parent: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(Errno::NOENT) => return Ok(()),
        outcome => return outcome,
    }
    let directory = path_of_descriptor(parent);
    let path = std::path::Path::new(OsStr::from_bytes(directory.to_bytes())).join(name);
    std::fs::remove_dir_all(path).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}
