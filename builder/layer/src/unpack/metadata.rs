//! Owners, modes, attributes and times of what was written.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use thiserror::Error;

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
                .map_err(|error| self.fail_owner(path, metadata, error))?;
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
                .map_err(|error| self.fail_owner(path, &entry.metadata, error))?;
        }
        if !matches!(entry.kind, Kind::Symlink(_)) {
            // Just made beneath this handle, so no link can stand there; the umask may have taken bits.
            rustix::fs::chmodat(parent, name, Mode::from_raw_mode(mode & 0o7777), AtFlags::empty())
                .map_err(|error| self.fail("set the mode of", path, error))?;
        }
        rustix::fs::utimensat(parent, name, &times(mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| self.fail("set the time of", path, error))
    }

    fn fail_owner(&self, path: &ArchivePath, metadata: &Metadata, error: Errno) -> UnpackError {
        let source = owner_error(metadata, error.into());
        UnpackError::Write { verb: "set the owner of", path: self.root.display(path), source }
    }
}

/// An id that the user namespace of this process does not have, so that the kernel cannot set it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{kind} id {id} is not available here: only {available} ids are mapped")]
pub struct MissingId {
    /// `user` or `group`.
    pub kind: &'static str,
    /// The id.
    pub id: u32,
    /// How many there are.
    pub available: u64,
}

/// Says which id is missing where the kernel only says that an owner is an invalid argument.
pub(crate) fn owner_error(metadata: &Metadata, error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::InvalidInput {
        return error;
    }
    let missing = [("user", metadata.uid, "uid"), ("group", metadata.gid, "gid")].into_iter().find_map(
        |(kind, id, name)| {
            let available =
                ids_without(id, &std::fs::read_to_string(format!("/proc/self/{name}_map")).ok()?)?;
            Some(MissingId { kind, id, available })
        },
    );
    missing.map_or(error, |missing| io::Error::new(io::ErrorKind::InvalidInput, missing))
}

/// Returns how many ids a map has, if this one is not among them. The format is that of user_namespaces(7).
fn ids_without(id: u32, map: &str) -> Option<u64> {
    let mut available = 0;
    for line in map.lines() {
        let mut fields = line.split_ascii_whitespace().map(str::parse::<u64>);
        let (first, count) = (fields.next()?.ok()?, fields.nth(1)?.ok()?);
        if (first..first + count).contains(&u64::from(id)) {
            return None;
        }
        available += count;
    }
    Some(available)
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
    fn a_map_that_lacks_an_id_says_how_many_it_has() {
        let user = "0 1000 1\n1 100000 65536\n";
        let rows = [
            (0, user, None),
            (65536, user, None),
            (65537, user, Some(65537)),
            (u32::MAX - 1, user, Some(65537)),
            (u32::MAX - 1, "         0          0 4294967295\n", None),
            (123_456, "0 1000 1\n123456 200000 1\n", None),
            (7, "nonsense", None),
        ];
        for (id, map, expected) in rows {
            assert_eq!(ids_without(id, map), expected, "{id} in {map}");
        }
    }

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
