//! What is remembered of files: beside them where they carry attributes, else in a list. Unaware of calls.
//!
//! | Owner of | Is in |
//! |---|---|
//! | a file, a directory, a device | its attribute [`OWNER_ATTRIBUTE`]; without one it is root's |
//! | a symlink, FIFO or socket of this step | the list of records, by device and inode |
//! | one of an earlier step | the list that came with the step: by path in an overlay, else it is put among the records |

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{
    AtFlags, FileType, StatxFlags, XattrFlags, fstat, getxattr, removexattr, setxattr, statat, statx,
};
use rustix::io::Errno;

use super::{DEVICE_ATTRIBUTE, OWNER_ATTRIBUTE};
use crate::root::{path_of, path_of_descriptor};
use crate::spec::{MountKind, Owner, OwnershipRecord, RunSpec};

/// Records of symlinks, FIFOs and sockets kept; more are refused.
const RECORDS_MAX: usize = 1 << 20;

/// What is remembered of one file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) owner: Owner,
    pub(crate) device: Option<DeviceNode>,
}

/// A device that an empty file stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeviceNode {
    pub(crate) is_block: bool,
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

/// All that is remembered in a step.
pub(crate) struct Owners<'a> {
    /// The directory that receives the step's changes.
    changes: &'a OwnedFd,
    /// By device and inode in `changes`.
    records: BTreeMap<(u64, u64), OwnershipRecord>,
    records_max: usize,
    /// Whether earlier steps said anything.
    has_earlier: bool,
    /// Of earlier steps, by path from the root without the slash before it.
    earlier: BTreeMap<Vec<u8>, Owner>,
    /// The mount of the root: the lists go by path, and tell nothing of what other mounts have there.
    root_mount: Option<u64>,
    /// Whether any file at all may have an owner other than root.
    has_any: bool,
}

impl<'a> Owners<'a> {
    pub(crate) fn new(changes: &'a OwnedFd, spec: &RunSpec) -> Self {
        let remembered = &spec.remembered;
        let (mut records, mut earlier) = (BTreeMap::new(), BTreeMap::new());
        for (path, owner) in &remembered.links {
            // In a root that is no overlay the file itself is told, wherever it is moved.
            if let Ok(found) = statat(changes, path.as_bytes(), AtFlags::SYMLINK_NOFOLLOW) {
                let (device, inode) = (found.st_dev, found.st_ino);
                records.insert((device, inode), OwnershipRecord { device, inode, owner: *owner });
            } else {
                earlier.insert(path.as_bytes().to_vec(), *owner);
            }
        }
        // Directories of cache mounts and of other images may hold files that an earlier step gave away.
        let shows_others = spec.mounts.iter().any(|mount| match mount.kind {
            MountKind::Bind { .. } | MountKind::BindReadOnly { .. } | MountKind::BindDiscard { .. } => true,
            MountKind::File { owner, .. } => owner != Owner::default(),
            MountKind::Tmpfs { .. } | MountKind::Socket { .. } => false,
        });
        let has_any = remembered.has_any || !remembered.links.is_empty() || shows_others;
        let records_max = RECORDS_MAX + records.len();
        let has_earlier = !remembered.links.is_empty();
        Owners { changes, records, records_max, earlier, has_earlier, root_mount: None, has_any }
    }

    /// Says which directory is the root of the step.
    pub(crate) fn know_root(&mut self, root: &OwnedFd) {
        self.root_mount = mount_of(root);
    }

    fn is_below_root(&self, file: &OwnedFd) -> bool {
        self.root_mount.is_none() || mount_of(file) == self.root_mount
    }

    /// Returns what could only be remembered in a list.
    pub(crate) fn into_records(self) -> Vec<OwnershipRecord> {
        self.records.into_values().collect()
    }

    /// Whether nothing is remembered of any file.
    pub(crate) fn is_empty(&self) -> bool {
        !self.has_any
    }

    /// Whether nothing is remembered in a list.
    pub(crate) fn has_no_list(&self) -> bool {
        self.records.is_empty() && self.earlier.is_empty()
    }

    /// Returns what stands beside the file that a path leads to, which may go through `/proc/…/fd`.
    pub(crate) fn beside(&self, path: &CStr) -> Option<Memory> {
        let mut value = [0; 64];
        // What cannot be read was not written by us.
        let length = getxattr(path, OWNER_ATTRIBUTE, &mut value).ok()?;
        let owner = parse_owner(value.get(..length)?)?;
        let device = getxattr(path, DEVICE_ATTRIBUTE, &mut value).ok();
        Some(Memory { owner, device: device.and_then(|length| parse_device(value.get(..length)?)) })
    }

    /// Returns what is remembered of an open file, if anything is.
    pub(crate) fn of(&self, file: &OwnedFd) -> Option<Memory> {
        if let Some(memory) = self.beside(&path_of_descriptor(file)) {
            return Some(memory);
        }
        if self.has_no_list() || carries_attributes(file).ok()? || !self.is_below_root(file) {
            return None;
        }
        let path = path_of(file).ok()?;
        let inside = below_root(path.as_bytes());
        let recorded = statat(self.changes, inside, AtFlags::SYMLINK_NOFOLLOW)
            .ok()
            .and_then(|found| self.records.get(&(found.st_dev, found.st_ino)))
            .map(|record| record.owner);
        let owner = recorded.or_else(|| self.earlier.get(inside).copied())?;
        Some(Memory { owner, device: None })
    }

    /// Remembers an owner.
    pub(crate) fn set(&mut self, file: &OwnedFd, owner: Owner) -> Result<(), Errno> {
        self.has_any |= owner != Owner::default();
        if carries_attributes(file)? { remember(file, owner) } else { self.record(file, owner) }
    }

    /// Remembers that an empty file stands for a device.
    pub(crate) fn set_device(&mut self, file: &OwnedFd, device: DeviceNode) -> Result<(), Errno> {
        self.has_any = true;
        let letter = if device.is_block { 'b' } else { 'c' };
        let value = format!("{letter}:{}:{}", device.major, device.minor);
        let path = path_of_descriptor(file);
        match setxattr(path.as_c_str(), DEVICE_ATTRIBUTE, value.as_bytes(), XattrFlags::empty()) {
            // In memory, with kernels before 6.6: nothing of it reaches a layer.
            Ok(()) | Err(Errno::NOTSUP) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Remembers what an earlier step said of everything below a directory, whose name is about to change. Where the root is an
    /// overlay the kernel refuses that for directories of earlier steps, and nothing is found.
    pub(crate) fn pin_below(&mut self, directory: &OwnedFd) -> Result<(), Errno> {
        if !self.is_below_root(directory) {
            return Ok(());
        }
        let path = path_of(directory)?;
        let prefix = [below_root(path.as_bytes()), b"/"].concat();
        let below = self.earlier.range(prefix.clone()..).take_while(|(path, _)| path.starts_with(&prefix));
        for (inside, owner) in below {
            let Ok(found) = statat(self.changes, &inside[..], AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let (device, inode) = (found.st_dev, found.st_ino);
            let record = OwnershipRecord { device, inode, owner: *owner };
            self.records.entry((device, inode)).or_insert(record);
        }
        Ok(())
    }

    /// Remembers an owner in the list.
    pub(crate) fn record(&mut self, file: &OwnedFd, owner: Owner) -> Result<(), Errno> {
        // What lies on another mount never reaches a layer.
        if !self.is_below_root(file) {
            return Ok(());
        }
        let path = path_of(file)?;
        let inside = below_root(path.as_bytes());
        let Ok(found) = statat(self.changes, inside, AtFlags::SYMLINK_NOFOLLOW) else { return Ok(()) };
        let (device, inode) = (found.st_dev, found.st_ino);
        self.records.remove(&(device, inode));
        // Root's is what nothing is said of, unless earlier steps said something: of this path, or one that it comes to have.
        if owner != Owner::default() || self.has_earlier {
            if self.records.len() >= self.records_max {
                return Err(Errno::PERM);
            }
            self.records.insert((device, inode), OwnershipRecord { device, inode, owner });
        }
        Ok(())
    }
}

/// Remembers the owner of an open file or directory beside it.
pub(crate) fn remember(file: &OwnedFd, owner: Owner) -> Result<(), Errno> {
    let path = path_of_descriptor(file);
    let is_device = || getxattr(path.as_c_str(), DEVICE_ATTRIBUTE, &mut [0; 64]).is_ok();
    let outcome = if owner == Owner::default() && !is_device() {
        removexattr(path.as_c_str(), OWNER_ATTRIBUTE)
    } else {
        let value = format!("{}:{}", owner.uid, owner.gid);
        setxattr(path.as_c_str(), OWNER_ATTRIBUTE, value.as_bytes(), XattrFlags::empty())
    };
    match outcome {
        // In memory, with kernels before 6.6: nothing of it reaches a layer.
        Ok(()) | Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Returns the number of the mount that a file lies on; Linux before 5.8 gives all the same.
fn mount_of(file: &OwnedFd) -> Option<u64> {
    // Where it cannot be told, paths alone decide.
    statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok().map(|found| found.stx_mnt_id)
}

/// Whether the kernel keeps `user.*` attributes of such a file.
pub(crate) fn carries_attributes(file: &OwnedFd) -> Result<bool, Errno> {
    let kind = FileType::from_raw_mode(fstat(file)?.st_mode);
    Ok(matches!(kind, FileType::RegularFile | FileType::Directory))
}

fn below_root(path: &[u8]) -> &[u8] {
    path.strip_prefix(b"/").unwrap_or(path)
}

fn parse_owner(value: &[u8]) -> Option<Owner> {
    let (uid, gid) = std::str::from_utf8(value).ok()?.split_once(':')?;
    Some(Owner { uid: uid.parse().ok()?, gid: gid.parse().ok()? })
}

fn parse_device(value: &[u8]) -> Option<DeviceNode> {
    let mut parts = std::str::from_utf8(value).ok()?.split(':');
    let is_block = parts.next()? == "b";
    Some(DeviceNode { is_block, major: parts.next()?.parse().ok()?, minor: parts.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_attributes_are_read_or_are_not_ours() {
        assert_eq!(parse_owner(b"4294967294:7"), Some(Owner { uid: u32::MAX - 1, gid: 7 }));
        assert_eq!(parse_owner(b"4294967296:7"), None);
        assert_eq!(parse_owner(b"7"), None);
        assert_eq!(parse_device(b"b:7:0"), Some(DeviceNode { is_block: true, major: 7, minor: 0 }));
        assert_eq!(parse_device(b"c:x:0"), None);
    }
}
