//! What every step has something mounted on: the lowest layer of all, so that mounting changes nothing.
//!
//! Where an image has no `/proc` or `/etc/hosts`, the sandbox makes one for the time of the step, in the directory that takes the
//! step's changes, and takes it away again. That is a dozen directories and files, which a busy disk has time for when it is less
//! busy. Below all layers they are there already, hidden by whatever the image has of the same name; a step that changes
//! something beside them (`/etc` of an image without one) makes it as it would have.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use fs_err as fs;
use kiln_store::{Scratch, Store};

const DIRECTORIES: [&str; 4] = ["proc", "sys", "dev", "etc"];
const FILES: [&str; 2] = ["etc/hostname", "etc/hosts"];
/// Mounted only where the machine has one; it must not be seen otherwise.
const RESOLVER: &str = "etc/resolv.conf";

/// The directory with the mount points, made when it is first wanted, and gone with the build.
#[derive(Debug, Default)]
pub struct MountPoints(OnceLock<Option<Scratch>>);

impl MountPoints {
    /// Returns the directory. Where it cannot be made there is none, and the sandbox does without.
    pub(crate) fn directory(&self, store: &Store, has_resolver: bool) -> Option<PathBuf> {
        let made = self.0.get_or_init(|| {
            let scratch = store.scratch("points").ok()?;
            // A scratch that is half filled goes at once.
            fill(scratch.path(), has_resolver).ok().map(|()| scratch)
        });
        made.as_ref().map(|scratch| scratch.path().to_owned())
    }
}

fn fill(directory: &Path, has_resolver: bool) -> std::io::Result<()> {
    for name in DIRECTORIES {
        let path = directory.join(name);
        fs::create_dir(&path)?;
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755))?;
    }
    for name in FILES.into_iter().chain(has_resolver.then_some(RESOLVER)) {
        let path = directory.join(name);
        fs::write(&path, "")?;
        fs::set_permissions(&path, PermissionsExt::from_mode(0o644))?;
    }
    Ok(())
}
