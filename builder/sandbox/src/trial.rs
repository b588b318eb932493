//! Whether overlayfs can take changes in a place, found out by trying: what a kernel, a container and a file system allow together
//! cannot be told from their names. Leaves no mount behind.

use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, openat, unlinkat};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::UnshareFlags;

use crate::ids::IdMap;
use crate::root::{Layers, overlay_at};
use crate::sys;

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Mounts an overlay whose upper directory lies in `place`, where only this call can see it, and deletes and makes a directory in it,
/// which needs all that overlayfs marks on a file system. `place` is an empty directory; what is left in it is the caller's to remove.
///
/// Meant for a process that may mount: after [`enter`](crate::enter).
///
/// # Errors
/// Why no overlay can be used there: `EINVAL` (the place lies on an overlay itself), `ENODEV` (a kernel without overlayfs), `EPERM`,
/// `EOPNOTSUPP` and `EIO` (a file system without the attributes that are needed), a full disk.
pub fn try_overlay(place: &Path) -> io::Result<()> {
    let in_user_namespace = !IdMap::of_this_process()?.is_initial();
    for name in ["lower", "lower/seen", "upper", "work", "root"] {
        fs::create_dir(place.join(name))?;
    }
    // A mount namespace belongs to a thread, and goes away with it.
    let tried = std::thread::scope(|scope| scope.spawn(|| attempt(place, in_user_namespace)).join());
    match tried {
        Ok(outcome) => Ok(outcome?),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn attempt(place: &Path, in_user_namespace: bool) -> Result<(), Errno> {
    sys::unshare(UnshareFlags::NEWNS)?;
    mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let open = |name: &str| rustix::fs::open(place.join(name), DIRECTORY, Mode::empty());
    let (lower, upper, work, point) = (open("lower")?, open("upper")?, open("work")?, open("root")?);
    overlay_at(&Layers { lower: &[lower], upper: &upper, work: &work, in_user_namespace }, &point)?;
    let mounted = openat(&open("root")?, c".", DIRECTORY, Mode::empty())?;
    unlinkat(&mounted, c"seen", AtFlags::REMOVEDIR)?;
    mkdirat(&mounted, c"seen", Mode::from_raw_mode(0o755))
}
