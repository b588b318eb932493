//! Owners, modes, attributes and times of what was written.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::disk::Disk;
use super::{Ownership, UnpackError};
use crate::entry::{Entry, Kind, Metadata, Timestamp};
use crate::path::ArchivePath;

impl Disk<'_> {
    /// Owner before mode (a change of owner clears set-id bits) before attributes (it clears capabilities) before times.
    pub(super) fn set_handle_metadata(
        &mut self,
        path: &ArchivePath,
        handle: BorrowedFd<'_>,
        metadata: &Metadata,
    ) -> Result<(), UnpackError> {
        if self.options.ownership == Ownership::Real {
            rustix::fs::fchown(handle, Some(Uid::from_raw(metadata.uid)), Some(Gid::from_raw(metadata.gid)))
                .map_err(|error| self.fail("set the owner of", path, error))?;
        }
        rustix::fs::fchmod(handle, Mode::from_raw_mode(metadata.mode & 0o7777))
            .map_err(|error| self.fail("set the mode of", path, error))?;
        for (name, value) in metadata.xattrs.iter().filter(|(name, _)| !crate::walk::is_overlay_xattr(name)) {
            let wanted = self.options.ownership == Ownership::Real || is_for_all(name);
            match wanted.then(|| rustix::fs::fsetxattr(handle, name, value, XattrFlags::empty())) {
                Some(Ok(())) => {}
                Some(Err(error)) if !is_refusal(error) => {
                    return Err(self.fail("set an attribute of", path, error));
                }
                None | Some(Err(_)) => self.xattrs_refused += 1,
            }
        }
        rustix::fs::futimens(handle, &times(metadata.mtime))
            .map_err(|error| self.fail("set the time of", path, error))
    }

    pub(super) fn set_node_metadata(
        &self,
        parent: &OwnedFd,
        path: &ArchivePath,
        entry: &Entry,
    ) -> Result<(), UnpackError> {
        let name = path.file_name().unwrap_or_default();
        let Metadata { uid, gid, mode, mtime, .. } = entry.metadata;
        if self.options.ownership == Ownership::Real {
            let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            rustix::fs::chownat(parent, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|error| self.fail("set the owner of", path, error))?;
        }
        if !matches!(entry.kind, Kind::Symlink(_)) {
            // Just made beneath this handle, so no link can stand there; the umask may have taken bits.
            rustix::fs::chmodat(parent, name, Mode::from_raw_mode(mode & 0o7777), AtFlags::empty())
                .map_err(|error| self.fail("set the mode of", path, error))?;
        }
        rustix::fs::utimensat(parent, name, &times(mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| self.fail("set the time of", path, error))
    }
}

/// Whether an attribute is set where owners are only recorded: what a layer can carry, but for names that speak of owners there.
/// A capability belongs to the user namespace that it is set in, and so needs no more than that namespace's root.
fn is_for_all(name: &[u8]) -> bool {
    crate::walk::is_layer_xattr(name) && !name.starts_with(b"user.kiln.")
}

/// Whether a file system said no to this attribute, and not that it is broken: it has none of the kind, does not allow it to this
/// process, finds its name or value malformed or too long, or has no room for attributes of that size.
pub(crate) fn is_refusal(error: Errno) -> bool {
    matches!(
        error,
        Errno::NOTSUP
            | Errno::PERM
            | Errno::ACCESS
            | Errno::INVAL
            | Errno::RANGE
            | Errno::TOOBIG
            | Errno::NOSPC
    )
}

fn times(mtime: Timestamp) -> Timestamps {
    let time = Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_cannot_say_what_kiln_records() {
        let rows: [(&[u8], bool); 5] = [
            (b"security.capability", true),
            (b"user.note", true),
            (b"user.kiln.owner", false),
            (b"user.overlay.opaque", false),
            (b"trusted.note", false),
        ];
        for (name, expected) in rows {
            assert_eq!(is_for_all(name), expected, "{}", name.escape_ascii());
        }
    }
}
