//! Mounts the root of a step where only the step can see it, and makes it the root.
//!
//! ```text
//! <changes>/        covered, in the step's mount namespace only, by a small tmpfs:
//!   root/           the overlay, or the plain directory
//!   files/          contents of files that are bound into the root
//!   empty/          an empty directory, to mask others
//! ```
//!
//! Layers are handed to the kernel as `/proc/self/fd/N`, so neither their number nor the length or bytes of their
//! paths matter, with the new mount API (Linux 6.5) as well as with the old one.

use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::{
    AtFlags, CWD, Dir, Mode, OFlags, chmodat, mkdirat, open, openat, readlink, readlinkat, unlinkat,
};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount, move_mount, open_tree,
    unmount,
};

use rustix::process::getpid;

use crate::error::Operation;
use crate::sys::{Attributes, mount_setattr};
use crate::wire::{Failure, Root};

/// A root that is mounted but not entered yet.
pub(crate) struct MountedRoot {
    /// The directory that will be `/`.
    pub(crate) root: OwnedFd,
    /// Directory for contents of files.
    pub(crate) files: OwnedFd,
    /// Where `root` is at the moment.
    pub(crate) path: OsString,
}

const PATH_ONLY: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);
const DIRECTORY: OFlags = PATH_ONLY.union(OFlags::DIRECTORY);

/// Mounts the root. `in_user_namespace` decides where overlayfs keeps its attributes.
pub(crate) fn prepare(plan: &Root, in_user_namespace: bool) -> Result<MountedRoot, Failure> {
    let anchor = open_source(plan.changes(), DIRECTORY)?;
    let source = match plan {
        Root::Overlay { lower, upper: _, work } => {
            let lower =
                lower.iter().map(|path| open_source(path, DIRECTORY)).collect::<Result<Vec<_>, _>>()?;
            let work = open_source(work, DIRECTORY)?;
            forget_earlier_use(&work).map_err(Failure::during(Operation::Overlay))?;
            Source::Overlay { lower, work }
        }
        Root::Directory(_) | Root::Chroot { .. } => {
            Source::Directory(clone_tree(&anchor).map_err(Failure::during(Operation::BindRoot))?)
        }
    };
    let stage = stage(&anchor).map_err(Failure::during(Operation::BindRoot))?;
    let operation =
        if matches!(source, Source::Overlay { .. }) { Operation::Overlay } else { Operation::BindRoot };
    place(source, &anchor, &stage, in_user_namespace).map_err(Failure::during(operation))
}

/// Whether a directory of the host has nothing in it.
pub(crate) fn is_empty(path: &OsStr) -> Result<bool, Failure> {
    let directory = open_source(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC)?;
    let failure = |errno: Errno| Failure::MountSource { path: path.to_owned(), errno: errno.raw_os_error() };
    for entry in Dir::new(directory).map_err(failure)? {
        if !matches!(entry.map_err(failure)?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Removes the mark that keeps a work directory from being used after a crash of the machine; whoever uses it again
/// in the same run of the machine loses nothing.
pub(crate) fn forget_earlier_use(work: &OwnedFd) -> Result<(), Errno> {
    let marks = [
        (c"work/incompat/volatile/dirty", AtFlags::empty()),
        (c"work/incompat/volatile", AtFlags::REMOVEDIR),
        (c"work/incompat", AtFlags::REMOVEDIR),
    ];
    for (name, flags) in marks {
        match unlinkat(work, name, flags) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

enum Source {
    Overlay { lower: Vec<OwnedFd>, work: OwnedFd },
    Directory(OwnedFd),
}

fn place(
    source: Source,
    anchor: &OwnedFd,
    stage: &OwnedFd,
    in_user_namespace: bool,
) -> Result<MountedRoot, Errno> {
    for name in [c"root", c"files", c"empty"] {
        mkdirat(stage, name, Mode::from_raw_mode(0o755))?;
    }
    let point = openat(stage, c"root", DIRECTORY, Mode::empty())?;
    match source {
        Source::Overlay { mut lower, work } => {
            if lower.is_empty() {
                lower.push(openat(stage, c"empty", DIRECTORY, Mode::empty())?);
            }
            let layers = Layers { lower: &lower, upper: anchor, work: &work, in_user_namespace };
            overlay_at(&layers, &point)?;
        }
        Source::Directory(tree) => {
            restrict(&tree, MountAttrFlags::MOUNT_ATTR_NODEV, true)?;
            attach(&tree, &point)?;
        }
    }
    let root = openat(stage, c"root", DIRECTORY, Mode::empty())?;
    let files = openat(stage, c"files", DIRECTORY, Mode::empty())?;
    let path = path_of(&root)?;
    Ok(MountedRoot { root, files, path })
}

/// Covers `anchor` with a tmpfs and returns the tmpfs's root.
fn stage(anchor: &OwnedFd) -> Result<OwnedFd, Errno> {
    let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, c"source", c"kiln")?;
    fsconfig_set_string(&context, c"mode", c"0755")?;
    let mounted = make(&context, MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV)?;
    attach(&mounted, anchor)?;
    Ok(mounted)
}

/// Finishes a file system context and returns the mount, attached nowhere yet.
pub(crate) fn make(context: &OwnedFd, attributes: MountAttrFlags) -> Result<OwnedFd, Errno> {
    fsconfig_create(context)?;
    fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Adds attributes to a mount, with `recursive` also to all below it.
pub(crate) fn restrict(mounted: &OwnedFd, set: MountAttrFlags, recursive: bool) -> Result<(), Errno> {
    mount_setattr(mounted, &Attributes { set: u64::from(set.bits()), clear: 0 }, recursive)
}

/// Attaches a detached mount at `point`, a directory or file opened by path.
pub(crate) fn attach(mounted: &OwnedFd, point: &OwnedFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mounted, c"", point, c"", flags)
}

/// Returns a detached copy of what is mounted at and below an open path.
pub(crate) fn clone_tree(source: impl AsFd) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(source, c"", flags)
}

/// Opens a path of the host; a symlink as its last part is refused, not followed.
pub(crate) fn open_source(path: &OsStr, flags: OFlags) -> Result<OwnedFd, Failure> {
    let failure = |errno: Errno| Failure::MountSource { path: path.to_owned(), errno: errno.raw_os_error() };
    open(path, flags | OFlags::NOFOLLOW, Mode::empty()).map_err(failure)
}

/// Returns the path by which an open file can be reached now.
pub(crate) fn path_of(file: impl AsFd) -> Result<OsString, Errno> {
    Ok(OsString::from_vec(readlink(proc_path(file.as_fd()), Vec::new())?.into_bytes()))
}

/// Returns a path that names an open file itself, however it was opened.
pub(crate) fn path_of_descriptor(file: impl AsFd) -> CString {
    proc_path(file.as_fd())
}

fn proc_path(file: BorrowedFd<'_>) -> CString {
    CString::new(format!("/proc/self/fd/{}", file.as_raw_fd())).expect("digits have no NUL")
}

/// What an overlay is made of, all open.
pub(crate) struct Layers<'a> {
    /// Base first.
    pub(crate) lower: &'a [OwnedFd],
    pub(crate) upper: &'a OwnedFd,
    pub(crate) work: &'a OwnedFd,
    pub(crate) in_user_namespace: bool,
}

/// Mounts an overlay at `point`, as this kernel can.
pub(crate) fn overlay_at(layers: &Layers<'_>, point: &OwnedFd) -> Result<(), Errno> {
    match overlay(layers) {
        Ok(overlay) => attach(&overlay, point),
        Err(Errno::INVAL | Errno::NOSYS) => overlay_by_old_api(layers, point),
        Err(errno) => Err(errno),
    }
}

/// Makes an overlay, attached nowhere. Moves and copies leave no redirects or partial copies in `upper`, and nothing
/// is synced: a step's changes are thrown away when anything goes wrong.
pub(crate) fn overlay(layers: &Layers<'_>) -> Result<OwnedFd, Errno> {
    let context = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, c"source", c"overlay")?;
    for layer in layers.lower.iter().rev() {
        fsconfig_set_string(&context, c"lowerdir+", proc_path(layer.as_fd()))?;
    }
    fsconfig_set_string(&context, c"upperdir", proc_path(layers.upper.as_fd()))?;
    fsconfig_set_string(&context, c"workdir", proc_path(layers.work.as_fd()))?;
    fsconfig_set_string(&context, c"index", c"off")?;
    fsconfig_set_flag(&context, c"volatile")?;
    if layers.in_user_namespace {
        // Implies the other two, and refuses to hear them.
        fsconfig_set_flag(&context, c"userxattr")?;
    } else {
        fsconfig_set_string(&context, c"redirect_dir", c"off")?;
        fsconfig_set_string(&context, c"metacopy", c"off")?;
    }
    make(&context, MountAttrFlags::MOUNT_ATTR_NODEV)
}

/// The same for kernels without `lowerdir+`.
fn overlay_by_old_api(layers: &Layers<'_>, point: &OwnedFd) -> Result<(), Errno> {
    let list: Vec<String> =
        layers.lower.iter().rev().map(|layer| format!("/proc/self/fd/{}", layer.as_raw_fd())).collect();
    let options = format!(
        "lowerdir={},upperdir=/proc/self/fd/{},workdir=/proc/self/fd/{},index=off,volatile,{}",
        list.join(":"),
        layers.upper.as_raw_fd(),
        layers.work.as_raw_fd(),
        if layers.in_user_namespace { "userxattr" } else { "redirect_dir=off,metacopy=off" },
    );
    let options = CString::new(options).expect("digits and names have no NUL");
    mount(c"overlay", proc_path(point.as_fd()), c"overlay", MountFlags::NODEV, options.as_c_str())
}

/// Makes the mounted root the root of this process and leaves everything else behind.
pub(crate) fn enter(mounted: &MountedRoot) -> Result<(), Errno> {
    rustix::process::fchdir(&mounted.root)?;
    rustix::process::pivot_root(c".", c".")?;
    unmount(c".", UnmountFlags::DETACH)?;
    rustix::process::chdir(c"/")
}

/// Writes a file of the stage and returns it, ready to be bound somewhere.
pub(crate) fn write_file(
    mounted: &MountedRoot,
    name: &str,
    content: &[u8],
    mode: u32,
) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = openat(&mounted.files, name, flags, Mode::from_raw_mode(0o600))?;
    let mut rest = content;
    while !rest.is_empty() {
        match rustix::io::write(&file, rest) {
            Ok(count) => rest = &rest[count..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    chmodat(&mounted.files, name, Mode::from_raw_mode(mode), AtFlags::empty())?;
    openat(&mounted.files, name, PATH_ONLY, Mode::empty())
}

/// Strips the path of the mounted root from the path of something in it.
pub(crate) fn relative(mounted: &MountedRoot, path: &OsStr) -> OsString {
    let bytes = path.as_bytes().strip_prefix(mounted.path.as_bytes()).unwrap_or(path.as_bytes());
    OsStr::from_bytes(bytes.strip_prefix(b"/").unwrap_or(bytes)).to_owned()
}

/// Opens the stage's empty directory.
pub(crate) fn empty_directory(mounted: &MountedRoot) -> Result<OwnedFd, Errno> {
    openat(&mounted.files, c"../empty", DIRECTORY, Mode::empty())
}

/// Opens the `/proc` that is mounted already, if it is of this process's pid namespace.
pub(crate) fn own_proc() -> Result<OwnedFd, Errno> {
    let proc = open_host("/proc")?;
    let own = readlinkat(&proc, c"self", Vec::new())?;
    let is_own = own.to_str() == Ok(getpid().as_raw_nonzero().to_string().as_str());
    if is_own { Ok(proc) } else { Err(Errno::PERM) }
}

/// Opens a path of the host.
pub(crate) fn open_host(path: &str) -> Result<OwnedFd, Errno> {
    openat(CWD, path, PATH_ONLY, Mode::empty())
}
