//! What the sandbox leaves in the files of a container, and nobody has changed.

use std::collections::BTreeSet;
use std::path::Path;

use kiln_layer::{ArchivePath, Tree};

use crate::container_record::{RootForm, RootRecord};

/// What the sandbox makes in a root that has no such thing: empty, it is no change.
const POINTS: [&str; 6] = ["proc", "sys", "dev", "etc/hosts", "etc/hostname", "etc/resolv.conf"];

/// What the sandbox puts in the place of other things while a command runs where nothing can be mounted.
const COVERED: [&str; 4] = ["dev", "etc/hostname", "etc/hosts", "etc/resolv.conf"];

/// What tells that.
pub(super) struct Left<'a> {
    pub(super) directory: &'a Path,
    pub(super) root: &'a RootRecord,
    pub(super) lower: &'a Tree,
    /// Where the command finds what is mounted.
    pub(super) mounts: &'a [ArchivePath],
    /// Whether the command may run.
    pub(super) is_moving: bool,
}

impl Left<'_> {
    /// Returns mount points that are left: what a command's end remembers, and what one that has not ended, or was killed, made to mount
    /// something on. That is empty, or a directory in which there is nothing else.
    pub(super) fn paths(&self) -> BTreeSet<ArchivePath> {
        let known =
            self.root.stubs.iter().filter_map(|stub| ArchivePath::clamp(stub.as_encoded_bytes()).ok());
        let mut ignored: BTreeSet<ArchivePath> = known.filter(|path| !path.is_root()).collect();
        let named =
            |names: &'static [&str]| names.iter().filter_map(|name| ArchivePath::parse(name.as_bytes()).ok());
        if self.is_moving && matches!(self.root.form, RootForm::Copy { .. }) {
            // What was there waits elsewhere; nobody else can have changed it meanwhile.
            ignored.extend(named(&COVERED).chain(self.mounts.iter().cloned()));
        }
        let is_made = |path: &ArchivePath| !path.is_root() && self.lower.get(path).is_none();
        for point in named(&POINTS).chain(self.mounts.iter().cloned()) {
            let mut next = Some(point).filter(|point| is_made(point) && self.is_empty(point));
            while let Some(path) = next {
                next = path.parent().filter(|parent| is_made(parent) && self.has_one_name(parent));
                ignored.insert(path);
            }
        }
        ignored
    }

    fn has_one_name(&self, directory: &ArchivePath) -> bool {
        self.is_directory(directory)
            && self.directory.join(directory.as_path()).read_dir().is_ok_and(|names| names.count() == 1)
    }

    /// Whether a path is a directory, and no symlink is on the way: that would lead out of the container.
    fn is_directory(&self, path: &ArchivePath) -> bool {
        let is_one = |path: ArchivePath| {
            self.directory.join(path.as_path()).symlink_metadata().is_ok_and(|found| found.is_dir())
        };
        path.ancestors().chain([path.clone()]).filter(|path| !path.is_root()).all(is_one)
    }

    fn is_empty(&self, point: &ArchivePath) -> bool {
        if !point.parent().is_none_or(|parent| self.is_directory(&parent)) {
            return false;
        }
        let place = self.directory.join(point.as_path());
        match place.symlink_metadata() {
            Ok(found) if found.is_dir() => place.read_dir().is_ok_and(|mut names| names.next().is_none()),
            Ok(found) => found.is_file() && found.len() == 0,
            Err(_) => false,
        }
    }
}
