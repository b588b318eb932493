//! Removing a tree, however deep it is: directories found below are moved to its top and emptied there, so that neither the
//! stack nor the number of open files grows with the depth.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

/// Removes `name` with everything below it, never through a symlink. Not being there is success.
pub(crate) fn remove_tree(parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    if unlinked(parent, name)? {
        return Ok(());
    }
    let top = open(parent, name)?;
    let mut todo = names_in(&top)?;
    let mut moved = 0;
    while let Some(child) = todo.pop() {
        if unlinked(top.as_fd(), &child)? {
            continue;
        }
        let directory = open(top.as_fd(), &child)?;
        for below in names_in(&directory)? {
            if !unlinked(directory.as_fd(), &below)? {
                todo.push(move_up(&directory, &below, &top, &mut moved)?);
            }
        }
        rustix::fs::unlinkat(&top, &child, AtFlags::REMOVEDIR)?;
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

/// Lists a directory.
pub(super) fn names_in(directory: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for item in rustix::fs::Dir::read_from(directory)? {
        let name = item?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    Ok(names)
}

/// Unlinks what is no directory; tells whether nothing is there any more.
fn unlinked(parent: BorrowedFd<'_>, name: &[u8]) -> Result<bool, Errno> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::ISDIR | Errno::PERM) => Ok(false),
        Err(error) => Err(error),
    }
}

fn open(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// Moves a directory into `top` under a name that is free there.
fn move_up(from: &OwnedFd, name: &[u8], top: &OwnedFd, moved: &mut u64) -> Result<Vec<u8>, Errno> {
    loop {
        *moved += 1;
        let free = format!(".kiln-removing-{moved}").into_bytes();
        // Asked first, because an empty directory of that name would be replaced without a word.
        match rustix::fs::statat(top, &free, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => continue,
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
        rustix::fs::renameat(from, name, top, &free)?;
        return Ok(free);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_deeper_than_any_path_goes_with_few_open_files() {
        let space = tempfile::tempdir().unwrap();
        let root: OwnedFd = std::fs::File::open(space.path()).unwrap().into();
        let mut at = root.try_clone().unwrap();
        for name in std::iter::once("top").chain(std::iter::repeat_n(".kiln-removing-2", 3000)) {
            rustix::fs::mkdirat(&at, name, Mode::RWXU).unwrap();
            rustix::fs::symlinkat("/", &at, "link").unwrap();
            at = open(at.as_fd(), name.as_bytes()).unwrap();
        }
        drop(at);
        remove_tree(root.as_fd(), b"top").unwrap();
        assert_eq!(names_in(&root).unwrap(), [b"link"]);
        remove_tree(root.as_fd(), b"top").unwrap();
    }
}
