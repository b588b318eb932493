//! What mount points leave behind in the directory that receives a step's changes, and how it is taken away again.
//!
//! Making `/etc/hosts` as a mount point makes an empty file and, in an overlay, a copy of the directory `/etc` with a new
//! time. Both are removed when the step has ended, unless the step itself changed them: a directory counts as
//! unchanged while its change time is the one it had when the step started.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, Stat, Timespec, Timestamps, UTIME_OMIT, statat, unlinkat, utimensat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// Everything the mount points of one step left, in the order it was made.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Footprint {
    stubs: Vec<Stub>,
    parents: BTreeMap<OsString, Parent>,
    /// Whether parents exist in the changed directory only because of us.
    parents_are_copies: bool,
}

#[derive(Serialize, Deserialize)]
struct Stub {
    /// Relative to the root, symlinks resolved.
    path: OsString,
    is_directory: bool,
    /// Device and inode in the changed directory.
    identity: (u64, u64),
}

#[derive(Default, Serialize, Deserialize)]
struct Parent {
    /// Modification time before we came: seconds and nanoseconds. Known for direct parents only.
    modified: Option<(i64, i64)>,
    /// Change time when the step started.
    changed: (i64, i64),
}

const NO_FOLLOW: AtFlags = AtFlags::SYMLINK_NOFOLLOW;

impl Footprint {
    /// Adds a mount point that was just made in a directory which was `parent` before.
    pub(crate) fn add(&mut self, path: OsString, is_directory: bool, parent: &Stat) {
        self.note_parent(&path, parent);
        self.stubs.push(Stub { path, is_directory, identity: (0, 0) });
    }

    /// Notes what the directory around `path` was before something was done in it.
    pub(crate) fn note_parent(&mut self, path: &OsStr, parent: &Stat) {
        let modified = Some((parent.st_mtime, parent.st_mtime_nsec as i64));
        self.parents.entry(parent_of(path)).or_insert(Parent { modified, changed: (0, 0) });
    }

    /// Notes the state of all of it in the changed directory just before the step starts.
    pub(crate) fn seal(&mut self, changes: &OwnedFd, parents_are_copies: bool) -> Result<(), Errno> {
        self.parents_are_copies = parents_are_copies;
        for stub in &mut self.stubs {
            let found = statat(changes, &stub.path, NO_FOLLOW)?;
            stub.identity = (found.st_dev, found.st_ino);
            let mut parent = parent_of(&stub.path);
            while parent != "." {
                self.parents.entry(parent.clone()).or_default();
                parent = parent_of(&parent);
            }
        }
        for stub in &self.stubs {
            self.parents.remove(&stub.path);
        }
        for (path, parent) in &mut self.parents {
            let found = statat(changes, path, NO_FOLLOW)?;
            parent.changed = change_time(&found);
        }
        Ok(())
    }

    /// Returns the paths of the mount points that were made, outermost first.
    pub(crate) fn paths(&self) -> Vec<OsString> {
        self.stubs.iter().map(|stub| stub.path.clone()).collect()
    }

    /// Takes everything away that the step did not change.
    pub(crate) fn remove(&self, changes: &OwnedFd) -> Result<(), Errno> {
        self.take_away(changes, &self.untouched(changes))
    }

    /// Returns the directories that the step left as they were.
    pub(crate) fn untouched(&self, changes: &OwnedFd) -> BTreeSet<OsString> {
        let is_untouched = |(path, parent): &(&OsString, &Parent)| {
            statat(changes, *path, NO_FOLLOW).is_ok_and(|found| change_time(&found) == parent.changed)
        };
        self.parents.iter().filter(is_untouched).map(|(path, _)| path.clone()).collect()
    }

    /// Removes mount points, and gives `untouched` directories back the time they had.
    pub(crate) fn take_away(&self, changes: &OwnedFd, untouched: &BTreeSet<OsString>) -> Result<(), Errno> {
        for stub in self.stubs.iter().rev() {
            stub.remove(changes)?;
        }
        // The map's order puts a directory before what is in it.
        for (path, parent) in self.parents.iter().rev().filter(|(path, _)| untouched.contains(*path)) {
            if self.parents_are_copies && path != "." {
                unless_gone(unlinkat(changes, path, AtFlags::REMOVEDIR))?;
            } else if let Some(modified) = parent.modified {
                unless_gone(restore_modified(changes, path, modified))?;
            }
        }
        Ok(())
    }
}

impl Stub {
    fn remove(&self, changes: &OwnedFd) -> Result<(), Errno> {
        let Ok(found) = statat(changes, &self.path, NO_FOLLOW) else {
            // Moved or deleted with its directory: then it is the step's doing.
            return Ok(());
        };
        if (found.st_dev, found.st_ino) != self.identity || (!self.is_directory && found.st_size != 0) {
            return Ok(());
        }
        let flags = if self.is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        unless_gone(unlinkat(changes, &self.path, flags))
    }
}

/// What is gone or was filled meanwhile belongs to the step.
fn unless_gone(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => Ok(()),
        other => other,
    }
}

fn restore_modified(changes: &OwnedFd, path: &OsStr, modified: (i64, i64)) -> Result<(), Errno> {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: modified.0, tv_nsec: modified.1 },
    };
    utimensat(changes, path, &times, NO_FOLLOW)
}

fn change_time(found: &Stat) -> (i64, i64) {
    (found.st_ctime, found.st_ctime_nsec as i64)
}

pub(crate) fn parent_of(path: &OsStr) -> OsString {
    let bytes = path.as_bytes();
    match bytes.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => OsStr::from_bytes(&bytes[..slash]).to_owned(),
        None => OsString::from("."),
    }
}
