//! What a step sees: each path of its root, bind mounts included, with the identity of what is there.

use std::sync::Arc;

use kiln_layer::{ArchivePath, ContentDigest, Entry, InodeId, Kind, Timestamp, Tree};
use serde::{Deserialize, Serialize};

/// What tells one state of a path from another: a kind, and the beginning of a digest over what somebody can make something
/// of. Of a file that is its content, of a link its target, of a directory the names in it. Owner, mode and time do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity([u8; 16]);

/// One path.
#[derive(Debug, Clone)]
pub(super) struct Viewed {
    /// The path in the root of the step.
    pub(super) path: ArchivePath,
    /// What is there.
    pub(super) identity: Identity,
    /// Its time, as the layers have it.
    pub(super) time: Timestamp,
    /// Whether its time says anything: that of a file, a directory or a link does.
    pub(super) is_dated: bool,
    /// The file, where it has several names: one of a mount, or of the root.
    pub(super) group: Option<(Option<usize>, InodeId)>,
    /// Which bind mount shows it; none for the root itself.
    pub(super) bound: Option<usize>,
}

/// Files of another tree that a mount shows.
#[derive(Debug, Clone)]
pub(super) struct Bound {
    /// Where.
    pub(super) target: ArchivePath,
    /// The tree they are from.
    pub(super) tree: Arc<Tree>,
    /// Which part of it.
    pub(super) part: ArchivePath,
}

impl Identity {
    const UNKNOWN: u8 = 0;

    fn of(entry: &Entry) -> Self {
        match &entry.kind {
            Kind::File(content) => {
                content.digest.map_or(Self([Self::UNKNOWN; 16]), |digest| Self::new(1, &digest))
            }
            Kind::Symlink(target) => Self::new(2, &ContentDigest::of(target)),
            Kind::Directory => Self::of_names(b""),
            Kind::CharDevice(device) | Kind::BlockDevice(device) => {
                Self::new(4, &ContentDigest::of(format!("{}:{}", device.major, device.minor).as_bytes()))
            }
            Kind::Fifo => Self::new(5, &ContentDigest::of(b"")),
        }
    }

    fn of_names(names: &[u8]) -> Self {
        Self::new(3, &ContentDigest::of(names))
    }

    fn new(kind: u8, digest: &ContentDigest) -> Self {
        let mut bytes = [kind; 16];
        bytes[1..].copy_from_slice(&digest.as_bytes()[..15]);
        Self(bytes)
    }

    /// Tells whether both are known to be the same.
    pub(super) fn is_same(self, other: Self) -> bool {
        self == other && self.0[0] != Self::UNKNOWN
    }
}

/// Returns what a step over `root` with these mounts sees, sorted by path. The root itself is left out: it is the mount's own.
pub(super) fn view(root: &Tree, mounts: &[Bound]) -> Vec<Viewed> {
    let top = ArchivePath::root();
    let mut seen = Vec::with_capacity(root.len());
    add(root, &top, &top, None, &mut seen);
    for (index, bound) in mounts.iter().enumerate() {
        // What lies under a mount is not seen.
        seen.retain(|viewed| !viewed.path.is_within(&bound.target));
        add(&bound.tree, &bound.part, &bound.target, Some(index), &mut seen);
    }
    seen.retain(|viewed| !viewed.path.is_root());
    if !mounts.is_empty() {
        seen.sort_by(|left, right| left.path.cmp(&right.path));
    }
    seen
}

/// Adds what `tree` has at and below `part` as seen at `target`.
fn add(tree: &Tree, part: &ArchivePath, target: &ArchivePath, bound: Option<usize>, seen: &mut Vec<Viewed>) {
    let mut open: Vec<Directory> = Vec::new();
    for (path, inode) in tree.names_within(part) {
        while let Some(directory) = open.pop_if(|directory| !path.is_within(&directory.path)) {
            seen[directory.index].identity = Identity::of_names(&directory.names);
        }
        if let Some(directory) = open.last_mut() {
            // A tree of a context may lack a directory; then its parent has the whole rest of the name.
            let name = path.bytes_below(&directory.path).unwrap_or_default();
            directory.names.extend_from_slice(name);
            directory.names.push(0);
        }
        let entry = tree.entry(inode);
        let shown = match path.bytes_below(part) {
            _ if bound.is_none() => path.clone(),
            None | Some(b"") => target.clone(),
            Some(_) => path.strip_prefix(part).map_or_else(|| path.clone(), |below| target.join_path(&below)),
        };
        if entry.is_directory() {
            open.push(Directory { path: path.clone(), index: seen.len(), names: Vec::new() });
        }
        let group = (tree.link_count(inode) > 1).then_some((bound, inode));
        let is_dated = matches!(entry.kind, Kind::File(_) | Kind::Directory | Kind::Symlink(_));
        let (identity, time) = (Identity::of(entry), entry.metadata.mtime);
        seen.push(Viewed { path: shown, identity, time, is_dated, group, bound });
    }
    for directory in open {
        seen[directory.index].identity = Identity::of_names(&directory.names);
    }
}

/// A directory whose names are being gathered.
struct Directory {
    path: ArchivePath,
    index: usize,
    names: Vec<u8>,
}
