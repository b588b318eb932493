//! What a step sees mounted: `/proc`, `/sys`, `/dev`, the system files, and the mounts of its spec.

use std::ffi::{CStr, OsStr, OsString};
use std::os::fd::OwnedFd;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, chmodat, chownat, makedev, mkdirat,
    mknodat, openat, symlinkat, utimensat,
};
use rustix::io::Errno;
use rustix::mount::{FsOpenFlags, MountAttrFlags, fsconfig_set_flag, fsconfig_set_string, fsopen};

use crate::ids::IdMap;
use crate::kept::Kept;
use crate::ownership;
use crate::root::{
    self, Layers, MountedRoot, attach, clone_tree, empty_directory, make, open_host, open_source, restrict,
};
use crate::spec::{Mount, MountKind, Owner, Owning, RunSpec};
use crate::stubs::Footprint;
use crate::sys::{Attributes, mount_setattr};
use crate::target::{Place, depth, find, find_or_make, place_for};
use crate::wire::Failure;

const READ_ONLY: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY;
const NO_DEVICES: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NODEV;
const STRICT: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// Paths that say too much about the machine; the list of containerd, and moby's `/proc/interrupts`.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
/// Paths through which root could change the machine; the list of containerd.
const READ_ONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
/// Devices a step may use, with their numbers.
pub(crate) const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
const DEVICE_LINKS: [(&str, &str); 6] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("/proc/kcore", "core"),
    ("pts/ptmx", "ptmx"),
];
/// Group `tty`, which owns terminals.
const TTY_GROUP: u32 = 5;

/// Mounts things into a root that is not entered yet.
pub(crate) struct Mounter<'a> {
    pub(crate) mounted: &'a MountedRoot,
    pub(crate) ids: &'a IdMap,
    /// What becomes of owners.
    pub(crate) owning: Owning,
    /// Which processes `/proc` shows.
    pub(crate) kept: Kept,
    pub(crate) footprint: Footprint,
    /// Files written to the stage so far; their names.
    pub(crate) written: usize,
}

impl Mounter<'_> {
    /// Mounts everything `spec` asks for and everything every step has.
    pub(crate) fn all(&mut self, spec: &RunSpec) -> Result<(), Failure> {
        self.named("/proc", |mounter| mounter.proc(spec))?;
        self.named("/sys", Self::sys)?;
        self.named("/dev", |mounter| mounter.dev(spec))?;
        let hostname = format!("{}\n", spec.hostname);
        self.system_file("/etc/hostname", Some(hostname.as_bytes()))?;
        self.system_file("/etc/hosts", spec.files.hosts.as_deref())?;
        self.system_file("/etc/resolv.conf", spec.files.resolv_conf.as_deref())?;
        let mut mounts: Vec<&Mount> = spec.mounts.iter().collect();
        mounts.sort_by_key(|mount| depth(&mount.target));
        mounts.into_iter().try_for_each(|mount| self.one(mount))?;
        MASKED.iter().try_for_each(|path| self.named(path, |mounter| mounter.mask(path)))?;
        READ_ONLY_PATHS.iter().try_for_each(|path| self.named(path, |mounter| mounter.write_protect(path)))
    }

    fn named(
        &mut self,
        target: &str,
        mount: impl FnOnce(&mut Self) -> Result<(), Errno>,
    ) -> Result<(), Failure> {
        mount(self)
            .map_err(|errno| Failure::Mount { target: OsString::from(target), errno: errno.raw_os_error() })
    }

    fn place(&mut self, path: impl AsRef<OsStr>, place: Place) -> Result<OwnedFd, Errno> {
        find_or_make(self.mounted, path.as_ref(), place, &mut self.footprint)
    }

    fn proc(&mut self, spec: &RunSpec) -> Result<(), Errno> {
        let proc = match self.kept {
            Kept::ByNamespace => {
                let proc = make(&context(c"proc")?, STRICT)?;
                crate::limits::bound_tasks(&spec.limits, &proc)?;
                proc
            }
            Kept::ByDescent => {
                let proc = clone_tree(root::own_proc()?)?;
                restrict(&proc, STRICT, true)?;
                proc
            }
        };
        attach(&proc, &self.place("/proc", Place::Directory)?)
    }

    /// Where the network namespace is not ours, the kernel refuses a new sysfs: then the machine's own is shown.
    fn sys(&mut self) -> Result<(), Errno> {
        let fresh = context(c"sysfs").and_then(|context| make(&context, STRICT | READ_ONLY));
        let sys = match fresh {
            Err(Errno::PERM) => {
                let sys = clone_tree(open_host("/sys")?)?;
                restrict(&sys, STRICT | READ_ONLY, true)?;
                sys
            }
            other => other?,
        };
        attach(&sys, &self.place("/sys", Place::Directory)?)
    }

    fn dev(&mut self, spec: &RunSpec) -> Result<(), Errno> {
        let nosuid_noexec = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let dev = tmpfs(Some(64 << 20), c"0755", STRICT)?;
        attach(&dev, &self.place("/dev", Place::Directory)?)?;
        for (name, major, minor) in DEVICES {
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
            drop(openat(&dev, name, flags, Mode::from_raw_mode(0o666))?);
            let point = openat(&dev, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            attach(&self.device(name, major, minor)?, &point)?;
        }
        for (link, name) in DEVICE_LINKS {
            symlinkat(link, &dev, name)?;
        }
        let devpts = context(c"devpts")?;
        fsconfig_set_flag(&devpts, c"newinstance")?;
        fsconfig_set_string(&devpts, c"ptmxmode", c"0666")?;
        fsconfig_set_string(&devpts, c"mode", c"0620")?;
        if self.ids.has_group(TTY_GROUP) {
            fsconfig_set_string(&devpts, c"gid", TTY_GROUP.to_string())?;
        }
        attach(&make(&devpts, nosuid_noexec)?, &below(&dev, "pts")?)?;
        attach(&tmpfs(Some(spec.limits.shm_size_bytes), c"1777", STRICT)?, &below(&dev, "shm")?)?;
        let mqueue = context(c"mqueue").and_then(|context| make(&context, STRICT));
        match mqueue {
            Ok(mqueue) => attach(&mqueue, &below(&dev, "mqueue")?),
            // A kernel built without message queues.
            Err(Errno::NODEV) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Returns a device node, attached nowhere. Real root makes its own, so that a step cannot change the mode of the
    /// machine's; in a user namespace that is neither allowed nor needed. All other mounts of a step refuse to open
    /// device nodes, so it can reach no device but these.
    fn device(&self, name: &str, major: u32, minor: u32) -> Result<OwnedFd, Errno> {
        if !self.ids.is_initial() {
            return clone_tree(open_host(&format!("/dev/{name}"))?);
        }
        let mode = Mode::from_raw_mode(0o666);
        mknodat(&self.mounted.files, name, FileType::CharacterDevice, mode, makedev(major, minor))?;
        chmodat(&self.mounted.files, name, mode, AtFlags::empty())?;
        let tree =
            clone_tree(openat(&self.mounted.files, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)?;
        let clear = u64::from(NO_DEVICES.bits());
        mount_setattr(&tree, &Attributes { set: 0, clear }, false)?;
        Ok(tree)
    }

    fn system_file(&mut self, path: &str, content: Option<&[u8]>) -> Result<(), Failure> {
        let Some(content) = content else { return Ok(()) };
        self.named(path, |mounter| mounter.file(OsStr::new(path), content, 0o644, Owner::default()))
    }

    fn file(&mut self, target: &OsStr, content: &[u8], mode: u32, owner: Owner) -> Result<(), Errno> {
        let name = self.written.to_string();
        self.written += 1;
        let file = root::write_file(self.mounted, &name, content, mode)?;
        if self.owning == Owning::Remember {
            ownership::remember(&file, owner)?;
        } else if owner != Owner::default() {
            let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
            chownat(&file, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
        }
        let tree = clone_tree(&file)?;
        restrict(&tree, READ_ONLY | NO_DEVICES | MountAttrFlags::MOUNT_ATTR_NOSUID, false)?;
        attach(&tree, &self.place(target, Place::File)?)
    }

    fn one(&mut self, mount: &Mount) -> Result<(), Failure> {
        let target = mount.target.as_os_str();
        let failure =
            |errno: Errno| Failure::Mount { target: target.to_owned(), errno: errno.raw_os_error() };
        match &mount.kind {
            MountKind::Bind { source } | MountKind::Socket { source } => {
                self.bind(target, &open_source(source, OFlags::PATH | OFlags::CLOEXEC)?, NO_DEVICES)
            }
            MountKind::BindReadOnly { source } => {
                let source = open_source(source, OFlags::PATH | OFlags::CLOEXEC)?;
                self.bind(target, &source, NO_DEVICES | READ_ONLY)
            }
            MountKind::BindDiscard { source, scratch } => {
                let source = open_source(source, OFlags::PATH | OFlags::CLOEXEC)?;
                let scratch = open_source(scratch, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC)?;
                self.discard(target, source, &scratch)
            }
            MountKind::Tmpfs { size_bytes } => tmpfs(*size_bytes, c"1777", STRICT_BUT_EXECUTABLE)
                .and_then(|tmpfs| attach(&tmpfs, &self.place(target, Place::Directory)?)),
            MountKind::File { content, mode, owner } => self.file(target, content, *mode, *owner),
        }
        .map_err(failure)
    }

    fn bind(&mut self, target: &OsStr, source: &OwnedFd, attributes: MountAttrFlags) -> Result<(), Errno> {
        let tree = clone_tree(source)?;
        restrict(&tree, attributes, true)?;
        attach(&tree, &self.place(target, place_for(source)?)?)
    }

    fn discard(&mut self, target: &OsStr, source: OwnedFd, scratch: &OwnedFd) -> Result<(), Errno> {
        let place = place_for(&source)?;
        let tree = if place == Place::Directory {
            let (upper, work) = (again_below(scratch, "upper")?, again_below(scratch, "work")?);
            resemble(scratch, "upper", &source)?;
            root::forget_earlier_use(&work)?;
            let in_user_namespace = !self.ids.is_initial();
            root::overlay(&Layers { lower: &[source], upper: &upper, work: &work, in_user_namespace })?
        } else {
            let tree = clone_tree(&copied_file(&source, scratch)?)?;
            restrict(&tree, NO_DEVICES, false)?;
            tree
        };
        attach(&tree, &self.place(target, place)?)
    }

    /// Hides a path if this machine has it.
    fn mask(&mut self, path: &str) -> Result<(), Errno> {
        let point = match find(self.mounted, OsStr::new(path)) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            found => found?,
        };
        let cover = match place_for(&point)? {
            Place::Directory => clone_tree(empty_directory(self.mounted)?)?,
            Place::File => clone_tree(find(self.mounted, OsStr::new("/dev/null"))?)?,
        };
        if place_for(&point)? == Place::Directory {
            restrict(&cover, STRICT | READ_ONLY, false)?;
        }
        attach(&cover, &point)
    }

    fn write_protect(&mut self, path: &str) -> Result<(), Errno> {
        let point = match find(self.mounted, OsStr::new(path)) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            found => found?,
        };
        let tree = clone_tree(&point)?;
        restrict(&tree, STRICT | READ_ONLY, true)?;
        attach(&tree, &point)
    }
}

const STRICT_BUT_EXECUTABLE: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV);

/// Opens a context for a file system of the kernel's own, named after itself in the list of mounts.
fn context(kind: &CStr) -> Result<OwnedFd, Errno> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, c"source", kind)?;
    Ok(context)
}

fn tmpfs(size_bytes: Option<u64>, mode: &CStr, attributes: MountAttrFlags) -> Result<OwnedFd, Errno> {
    let context = context(c"tmpfs")?;
    fsconfig_set_string(&context, c"mode", mode)?;
    if let Some(size) = size_bytes {
        fsconfig_set_string(&context, c"size", size.to_string())?;
    }
    make(&context, attributes)
}

/// Makes a directory and opens it.
fn below(parent: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    mkdirat(parent, name, Mode::from_raw_mode(0o755))?;
    openat(parent, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Gives a new directory the owner, mode and time of `source`: an overlay shows those of its upper directory.
fn resemble(parent: &OwnedFd, name: &str, source: &OwnedFd) -> Result<(), Errno> {
    let found = rustix::fs::fstat(source)?;
    let (uid, gid) = (Uid::from_raw(found.st_uid), Gid::from_raw(found.st_gid));
    match chownat(parent, name, Some(uid), Some(gid), AtFlags::empty()) {
        // An id that this namespace does not have.
        Ok(()) | Err(Errno::INVAL | Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    chmodat(parent, name, Mode::from_raw_mode(found.st_mode & 0o7777), AtFlags::empty())?;
    let time = Timespec { tv_sec: found.st_mtime, tv_nsec: found.st_mtime_nsec as i64 };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(parent, name, &times, AtFlags::empty())
}

/// The same, where the directory may be there from an earlier process of the same step.
fn again_below(parent: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    match below(parent, name) {
        Err(Errno::EXIST) => {
            openat(parent, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        }
        made => made,
    }
}

/// Returns the copy of a file in `scratch`, made unless an earlier process of the same step has it already.
fn copied_file(source: &OwnedFd, scratch: &OwnedFd) -> Result<OwnedFd, Errno> {
    match copy_into(source, scratch) {
        Err(Errno::EXIST) => openat(scratch, c"file", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()),
        made => made,
    }
}

/// Copies a file with its permission bits into a directory and opens the copy.
fn copy_into(source: &OwnedFd, directory: &OwnedFd) -> Result<OwnedFd, Errno> {
    let read_from = root::path_of_descriptor(source);
    let mode = Mode::from_raw_mode(rustix::fs::fstat(source)?.st_mode & 0o7777);
    let from = rustix::fs::open(read_from, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let to = openat(directory, c"file", flags, Mode::from_raw_mode(0o600))?;
    std::io::copy(
        &mut std::fs::File::from(from),
        &mut std::fs::File::from(to.try_clone().map_err(|_| Errno::MFILE)?),
    )
    .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    rustix::fs::fchmod(&to, mode)?;
    openat(directory, c"file", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}
