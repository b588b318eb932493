//! The process whose call is answered: its memory, its files, its paths, read through `/proc`. Unaware of owners.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{Mode, OFlags, openat, readlinkat};
use rustix::io::Errno;
use rustix::mount::{FsOpenFlags, MountAttrFlags, fsopen};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::root::{make, own_proc, path_of};
use crate::{in_root, sys};

const PATH_BYTES_MAX: usize = libc::PATH_MAX as usize;
/// Most paths are shorter than this, and end before the page does.
const PATH_BYTES: usize = 256;
/// The limit of a process that carries the number of what it believes: how far the soft one is below the hard one.
///
/// The kernel hands limits to children and keeps them over `execve`, as it does with ids, and this one means something
/// to processes of real-time classes only, which those of a step cannot be; for them it takes 10^19 microseconds. That a
/// step sets it is pretended: Debian's `pam_limits` gives all limits the values of process 1.
pub(crate) const NUMBER_LIMIT: sys::ResourceKind = libc::RLIMIT_RTTIME as sys::ResourceKind;

/// Symlinks followed on the way to one file, as many as the kernel does.
pub(crate) const LINKS_MAX: usize = 40;
/// Where a process finds its own descriptors; the last leads to the first.
const OWN_DESCRIPTORS: [&[u8]; 3] = [b"/proc/self/fd/", b"/proc/thread-self/fd/", b"/dev/fd/"];

/// Lets this process carry the number 0.
pub(crate) fn start_numbers() -> Result<(), Errno> {
    let hard = getrlimit(Resource::Rttime).maximum;
    setrlimit(Resource::Rttime, Rlimit { current: hard, maximum: hard })
}

/// A `/proc` of this process's pid namespace, and the root of the step.
pub(crate) struct Proc {
    files: OwnedFd,
    /// The root of all processes until one asks for another.
    root: Option<OwnedFd>,
}

impl Proc {
    /// Mounts it, or takes the one that is there where the kernel refuses. This process must have a mount namespace of its own.
    pub(crate) fn new() -> Result<Self, Errno> {
        let fresh = make(&fsopen(c"proc", FsOpenFlags::FSOPEN_CLOEXEC)?, MountAttrFlags::empty());
        let files = match fresh {
            Err(Errno::PERM) => own_proc()?,
            fresh => fresh?,
        };
        Ok(Proc { files, root: None })
    }

    /// Says that processes may have different roots from now on.
    pub(crate) fn forget_root(&mut self) {
        self.root = None;
    }

    /// Says that all processes have the root that this one has.
    pub(crate) fn share_root(&mut self, pid: u32) {
        // Without it each process is asked for its own.
        self.root = self.open_entry(pid, "root", OFlags::PATH).ok();
    }

    fn open_entry(&self, pid: u32, entry: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        openat(&self.files, format!("{pid}/{entry}"), flags | OFlags::CLOEXEC, Mode::empty())
    }

    /// Returns a path that leads to a descriptor's file, without opening it.
    pub(crate) fn path_to_descriptor(&self, pid: u32, number: i32) -> String {
        format!("/proc/self/fd/{}/{pid}/fd/{number}", self.files.as_raw_fd())
    }

    /// Opens a descriptor's file by path.
    pub(crate) fn descriptor(&self, pid: u32, number: i32) -> Result<OwnedFd, Errno> {
        match self.open_entry(pid, &format!("fd/{number}"), OFlags::PATH) {
            Err(Errno::NOENT) => Err(Errno::BADF),
            opened => opened,
        }
    }

    /// Whether a descriptor only stands for a path: the kernel refuses to change what is behind it.
    pub(crate) fn is_path_only(&self, pid: u32, number: i32) -> bool {
        let text = self.read_text(pid, &format!("fdinfo/{number}")).unwrap_or_default();
        let flags = field(&text, "flags:").and_then(|flags| u32::from_str_radix(flags, 8).ok());
        flags.is_some_and(|flags| flags & OFlags::PATH.bits() != 0)
    }

    /// Opens a path as the process itself would, inside its own root.
    pub(crate) fn open(
        &self,
        pid: u32,
        directory: i32,
        path: &[u8],
        flags: OFlags,
    ) -> Result<OwnedFd, Errno> {
        if path.is_empty() {
            return Err(Errno::NOENT);
        }
        let own;
        let root = match &self.root {
            Some(root) => root,
            None => {
                own = self.open_entry(pid, "root", OFlags::PATH)?;
                &own
            }
        };
        if path.starts_with(b"/") {
            return in_root::open(root, path, flags);
        }
        let start = if directory == libc::AT_FDCWD { "cwd".to_owned() } else { format!("fd/{directory}") };
        let start = self.open_entry(pid, &start, OFlags::PATH).map_err(|_| Errno::BADF)?;
        match in_root::open_below(&start, path, flags) {
            // Through the parent, or through a link that starts at the root.
            Err(Errno::XDEV) => {
                let start = inside(&start, root)?;
                in_root::open(root, [start.as_slice(), b"/", path].concat().as_slice(), flags)
            }
            opened => opened,
        }
    }

    /// Returns the number of the descriptor that a path leads to by the process's own `/proc/self/fd`, as that of `/dev/stdout`
    /// does. Nobody else can go that way.
    pub(crate) fn own_descriptor(&self, pid: u32, directory: i32, mut path: Vec<u8>) -> Option<i32> {
        for _ in 0..LINKS_MAX {
            let number = OWN_DESCRIPTORS.iter().find_map(|place| path.strip_prefix(*place));
            if let Some(number) = number.and_then(|text| std::str::from_utf8(text).ok()) {
                return number.parse().ok();
            }
            let link = self.open(pid, directory, &path, OFlags::PATH | OFlags::NOFOLLOW).ok()?;
            let target = readlinkat(&link, c"", Vec::new()).ok()?.into_bytes();
            if target.starts_with(b"/") {
                path.clear();
            }
            let parent = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
            path.truncate(parent);
            path.extend(target);
        }
        None
    }

    /// Returns the path that leads to a file from the root of the process.
    pub(crate) fn path_of(&self, pid: u32, file: &OwnedFd) -> Result<Vec<u8>, Errno> {
        inside(file, &self.open_entry(pid, "root", OFlags::PATH)?)
    }

    /// Reads a path from the process's memory.
    pub(crate) fn read_path(&self, pid: u32, address: u64) -> Result<Vec<u8>, Errno> {
        for room in [PATH_BYTES, PATH_BYTES_MAX] {
            let mut bytes = self.read_memory(pid, address, room)?;
            if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
                bytes.truncate(end);
                return Ok(bytes);
            }
        }
        Err(Errno::NAMETOOLONG)
    }

    /// Reads up to `length` bytes of the process's memory.
    pub(crate) fn read_memory(&self, pid: u32, address: u64, length: usize) -> Result<Vec<u8>, Errno> {
        let mut bytes = vec![0; length];
        let count = sys::read_memory(pid, address, &mut bytes)?;
        bytes.truncate(count);
        Ok(bytes)
    }

    /// Returns the number of what a process believes.
    pub(crate) fn number(&self, pid: u32) -> Result<u64, Errno> {
        let (soft, hard) = sys::limits_of(pid, NUMBER_LIMIT)?;
        Ok(hard.saturating_sub(soft))
    }

    /// Returns the limit of a process as if it carried no number, as programs get it.
    pub(crate) fn shown_limit(&self, pid: u32) -> Result<[u8; 16], Errno> {
        let hard = sys::limits_of(pid, NUMBER_LIMIT)?.1.to_ne_bytes();
        let mut shown = [0; 16];
        shown[..8].copy_from_slice(&hard);
        shown[8..].copy_from_slice(&hard);
        Ok(shown)
    }

    /// Gives a process the number of what it believes.
    pub(crate) fn set_number(&self, pid: u32, number: u64) -> Result<(), Errno> {
        let (_, hard) = sys::limits_of(pid, NUMBER_LIMIT)?;
        let soft = hard.checked_sub(number).ok_or(Errno::AGAIN)?;
        sys::limit(pid, NUMBER_LIMIT, (soft, hard))
    }

    fn read_text(&self, pid: u32, entry: &str) -> Option<String> {
        let file = self.open_entry(pid, entry, OFlags::RDONLY).ok()?;
        // The entry of a process that just died cannot be read, which is an answer.
        std::io::read_to_string(std::fs::File::from(file)).ok()
    }

    /// Whether a process has the capability to make devices, in its own user namespace.
    pub(crate) fn may_make_devices(&self, pid: u32) -> bool {
        const CAP_MKNOD: u64 = 1 << 27;
        let status = self.read_text(pid, "status").unwrap_or_default();
        let set = field(&status, "CapEff:").and_then(|text| u64::from_str_radix(text, 16).ok());
        set.is_some_and(|set| set & CAP_MKNOD != 0)
    }

    /// Whether a process gave up becoming somebody by a program's set-id bits (`no_new_privs`).
    pub(crate) fn gains_nothing(&self, pid: u32) -> bool {
        let status = self.read_text(pid, "status").unwrap_or_default();
        field(&status, "NoNewPrivs:") == Some("1")
    }

    /// Returns the bits that new files of a process do not get.
    pub(crate) fn umask(&self, pid: u32) -> u32 {
        let status = self.read_text(pid, "status").unwrap_or_default();
        field(&status, "Umask:").and_then(|text| u32::from_str_radix(text, 8).ok()).unwrap_or(0o022)
    }
}

/// Returns the path of a file below a root.
fn inside(file: &OwnedFd, root: &OwnedFd) -> Result<Vec<u8>, Errno> {
    let (path, root) = (path_of(file)?, path_of(root)?);
    let root = root.as_bytes().strip_suffix(b"/").unwrap_or(root.as_bytes());
    Ok(path.as_bytes().strip_prefix(root).unwrap_or(path.as_bytes()).to_vec())
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}
