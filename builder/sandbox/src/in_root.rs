//! Paths as a process inside of a root sees them: symlinks and `..` never lead out of it.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::path::Arg;

/// How often the kernel is asked again. Each time something else has to be renamed or mounted in just that moment.
const TRIES_MAX: usize = 10_000;

/// Opens `path` inside `root`.
///
/// A `..` on the way makes the kernel give up with `EAGAIN` whenever anything in the system is renamed or mounted meanwhile,
/// by another build for example (openat2(2)): it could not be sure to have stayed inside.
pub(crate) fn open(root: impl AsFd, path: impl Arg + Copy, flags: OFlags) -> Result<OwnedFd, Errno> {
    // The first implies the second as kernels are today.
    open_by(root, path, flags, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
}

/// Opens `path` below `directory`; `EXDEV` where it leads out of it, even for a moment.
pub(crate) fn open_below(
    directory: impl AsFd,
    path: impl Arg + Copy,
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    open_by(directory, path, flags, ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS)
}

fn open_by(
    root: impl AsFd,
    path: impl Arg + Copy,
    flags: OFlags,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let mut tries = 0;
    loop {
        match openat2(&root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN) if tries < TRIES_MAX => tries += 1,
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{create_dir, rename, write};
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_path_is_opened_while_names_change_elsewhere() {
        let space = tempfile::tempdir().unwrap();
        create_dir(space.path().join("a")).unwrap();
        write(space.path().join("file"), "").unwrap();
        let root = std::fs::File::open(space.path()).unwrap();
        let (one, two) = (space.path().join("one"), space.path().join("two"));
        create_dir(&one).unwrap();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    rename(&one, &two).unwrap();
                    rename(&two, &one).unwrap();
                }
            });
            let failures: Vec<Errno> =
                (0..20_000).filter_map(|_| open(&root, "a/../a/../file", OFlags::PATH).err()).collect();
            is_over.store(true, Ordering::Relaxed);
            assert_eq!(failures, []);
        });
    }
}
