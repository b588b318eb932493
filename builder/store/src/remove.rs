//! Removing a directory tree that a build left behind.
//!
//! Such a tree may be deeper than any path may be long, hold directories without write permission and files of other
//! owners, or (in another mount namespace's view) mount points. So no path is ever built from it: each directory found is
//! moved to the top of the tree first and emptied there, never through a symlink and never into a mount. What cannot be
//! removed is counted and named; what somebody else removes meanwhile is gone, and that is all that is wanted.

use std::collections::VecDeque;
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, fchmod, openat, openat2, renameat, unlinkat,
};
use rustix::io::Errno;

use crate::error::{IoContext, Result, StoreError, optional};

/// Removes `root` and all below it; absent is success.
pub(crate) fn remove_tree(root: &Path) -> Result<()> {
    let Some(metadata) = optional(std::fs::symlink_metadata(root)).on("inspect", root)? else {
        return Ok(());
    };
    if !metadata.is_dir() {
        return optional(std::fs::remove_file(root)).on("remove", root).map(drop);
    }
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = openat(CWD, root, flags, Mode::empty()).or_else(|error| {
        // A directory without permissions is ours to open up; then the answer counts.
        rustix::fs::chmod(root, Mode::RWXU).map_err(|_| error)?;
        openat(CWD, root, flags, Mode::empty())
    });
    let top = top.map_err(io::Error::from).on("open", root)?;
    let mut emptying =
        Emptying { top: top.as_fd(), found: 0, queue: VecDeque::new(), kept: None, kept_count: 0 };
    emptying.run();
    match emptying.kept {
        None => optional(std::fs::remove_dir(root)).on("remove", root).map(drop),
        Some((name, source)) => Err(StoreError::Unremovable {
            root: root.to_owned(),
            first: root.join(OsStr::from_bytes(name.to_bytes())),
            count: emptying.kept_count,
            source,
        }),
    }
}

struct Emptying<'a> {
    top: BorrowedFd<'a>,
    /// Number of directories moved to the top so far; part of their new names.
    found: u64,
    /// Directories at the top that are to be emptied.
    queue: VecDeque<CString>,
    kept: Option<(CString, io::Error)>,
    kept_count: usize,
}

impl Emptying<'_> {
    fn run(&mut self) {
        if let Err((name, error)) = self.empty(self.top, true) {
            self.keep(name, error);
        }
        while let Some(name) = self.queue.pop_front() {
            let emptied = open_directory(self.top, &name)
                .map_err(|error| (name.clone(), error))
                .and_then(|directory| self.empty(directory.as_fd(), false));
            let removed = emptied.and_then(|()| {
                unlinkat(self.top, &name, AtFlags::REMOVEDIR).map_err(|error| (name.clone(), error))
            });
            match removed {
                // A directory moved onto an empty one of its new name is queued under it twice.
                Ok(()) | Err((_, Errno::NOENT)) => {}
                Err((name, error)) => self.keep(name, error),
            }
        }
    }

    fn keep(&mut self, name: CString, error: Errno) {
        self.kept_count += 1;
        self.kept.get_or_insert((name, error.into()));
    }

    /// Unlinks the files of a directory and queues its directories.
    fn empty(
        &mut self,
        directory: BorrowedFd<'_>,
        is_top: bool,
    ) -> std::result::Result<(), (CString, Errno)> {
        let nameless = |error| (CString::default(), error);
        for entry in Dir::read_from(directory).map_err(nameless)? {
            let entry = entry.map_err(nameless)?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            if let Err(error) = self.remove_entry(directory, name, entry.file_type(), is_top) {
                self.keep(name.to_owned(), error);
            }
        }
        Ok(())
    }

    fn remove_entry(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &CStr,
        kind: FileType,
        is_top: bool,
    ) -> std::result::Result<(), Errno> {
        if kind != FileType::Directory {
            match unlinkat(directory, name, AtFlags::empty()) {
                Err(Errno::ISDIR) => {}
                // An agent that ends removes its socket itself.
                Err(Errno::NOENT) => return Ok(()),
                answer => return answer,
            }
        }
        if is_top {
            self.queue.push_back(name.to_owned());
            return Ok(());
        }
        // Often it is empty.
        if unlinkat(directory, name, AtFlags::REMOVEDIR).is_ok() {
            return Ok(());
        }
        match self.move_to_top(directory, name) {
            Err(Errno::NOENT) => {}
            moved => self.queue.push_back(moved?),
        }
        Ok(())
    }

    fn move_to_top(&mut self, directory: BorrowedFd<'_>, name: &CStr) -> std::result::Result<CString, Errno> {
        let mut is_opened_up = false;
        loop {
            self.found += 1;
            let free = CString::new(format!(".kiln-removing-{}", self.found)).expect("no zero byte in it");
            match renameat(directory, name, self.top, &free) {
                Ok(()) => return Ok(free),
                // The name is taken; the next one may not be.
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
                // Moving a directory to another parent needs write permission on it.
                Err(Errno::ACCESS) if !is_opened_up => {
                    drop(open_directory(directory, name)?);
                    is_opened_up = true;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Opens a directory that is no symlink and no mount point, and makes it writable for its owner.
fn open_directory(parent: BorrowedFd<'_>, name: &CStr) -> std::result::Result<OwnedFd, Errno> {
    let opened = open_beneath(parent, name).or_else(|error| match error {
        Errno::ACCESS => {
            rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
            open_beneath(parent, name)
        }
        error => Err(error),
    })?;
    let mode = Mode::from_raw_mode(rustix::fs::fstat(&opened)?.st_mode);
    if !mode.contains(Mode::RWXU) {
        // Where the owner is someone else this fails, and the removals below it say so.
        fchmod(&opened, Mode::RWXU).ok();
    }
    Ok(opened)
}

fn open_beneath(parent: BorrowedFd<'_>, name: &CStr) -> std::result::Result<OwnedFd, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
    match openat2(parent, name, flags, Mode::empty(), resolve) {
        // An old kernel, or a seccomp filter that does not know the call.
        Err(Errno::NOSYS | Errno::PERM) => open_on_same_device(parent, name, flags),
        answer => answer,
    }
}

fn open_on_same_device(
    parent: BorrowedFd<'_>,
    name: &CStr,
    flags: OFlags,
) -> std::result::Result<OwnedFd, Errno> {
    let opened = openat(parent, name, flags, Mode::empty())?;
    let is_same = rustix::fs::fstat(&opened)?.st_dev == rustix::fs::fstat(parent)?.st_dev;
    if is_same { Ok(opened) } else { Err(Errno::XDEV) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// Makes a tree that is deeper than any path may be long.
    pub(crate) fn make_deep_tree(root: &Path) {
        std::fs::create_dir(root).unwrap();
        let mut at: OwnedFd = std::fs::File::open(root).unwrap().into();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&at, "deep", Mode::RWXU).unwrap();
            at = openat(&at, "deep", OFlags::DIRECTORY, Mode::empty()).unwrap();
        }
    }

    #[test]
    fn a_tree_with_read_only_directories_symlinks_and_odd_names_goes() {
        let space = tempfile::tempdir().unwrap();
        let (root, outside) = (space.path().join("root"), space.path().join("outside"));
        std::fs::create_dir_all(root.join("a/b/c")).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("precious"), "x").unwrap();
        std::fs::write(root.join("a/b/c").join(OsStr::from_bytes(b"\xff\n")), "x").unwrap();
        std::fs::create_dir(root.join(".kiln-removing-1")).unwrap();
        std::fs::write(root.join(".kiln-removing-1/file"), "x").unwrap();
        symlink(&outside, root.join("a/b/link")).unwrap();
        std::fs::set_permissions(root.join("a/b"), std::fs::Permissions::from_mode(0o555)).unwrap();
        std::fs::set_permissions(root.join("a"), std::fs::Permissions::from_mode(0o000)).unwrap();
        remove_tree(&root).unwrap();
        assert!(!root.exists() && outside.join("precious").exists());
        remove_tree(&root).unwrap();
    }

    #[test]
    fn what_somebody_else_removes_meanwhile_is_no_failure() {
        let root = tempfile::tempdir().unwrap();
        let top = std::fs::File::open(root.path()).unwrap();
        let mut emptying =
            Emptying { top: top.as_fd(), found: 0, queue: VecDeque::new(), kept: None, kept_count: 0 };
        // Both were listed, and are not there any more.
        for (kind, is_top) in
            [(FileType::Socket, true), (FileType::Directory, true), (FileType::Directory, false)]
        {
            emptying.remove_entry(top.as_fd(), c"gone", kind, is_top).unwrap();
        }
        emptying.run();
        assert!(emptying.kept.is_none());
    }

    #[test]
    fn a_tree_deeper_than_any_path_goes() {
        let space = tempfile::tempdir().unwrap();
        let root = space.path().join("root");
        make_deep_tree(&root);
        remove_tree(&root).unwrap();
        assert!(!root.exists());
    }
}
