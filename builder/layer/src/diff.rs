//! What a step changed on disk: from an overlay's upper directory, or from a whole root that was copied for it.
//!
//! overlayfs marks a deletion by a character device 0:0 (or an attribute) and a replaced directory as opaque; an opaque
//! directory becomes one deletion for each name below that is gone. Whatever is the same as below (metadata and content, times
//! only when layers keep them) is not recorded: directories copied up because of a child, files rewritten with the same bytes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::content::{DirectoryOrigin, FileIdentity, NoLayers};
use crate::content_hash::{HashError, hash_contents};
use crate::digest_cache::NoCache;
use crate::entry::{Entry, Kind, Metadata, WithTime};
use crate::hold::{Hold, HoldError, hold_still};
use crate::path::{ArchivePath, PathMatcher};
use crate::tree::{Changes, InodeId, Tree};
use crate::walk::{Verdict, WalkError, WalkOptions, WalkOwner, WalkXattrs, is_overlay_xattr, walk_origin};

/// Where the metadata of an entry comes from, when not from the disk: given the path and what the disk says.
pub type MetadataSource<'a> = dyn Fn(&ArchivePath, Metadata) -> Metadata + 'a;

/// How to find changes.
#[derive(Clone, Copy)]
pub struct DiffOptions<'a> {
    /// Says yes for what is no change of the step, stubs under mounts for instance; what lies below is ignored too.
    pub ignore: Option<&'a PathMatcher<'a>>,
    /// Overrides metadata, for processes that cannot set owners on disk.
    pub metadata: Option<&'a MetadataSource<'a>>,
    /// Whether times count.
    pub with_time: WithTime,
    /// How files are held still while somebody changes them.
    pub hold: Option<Hold<'a>>,
}

/// Why changes cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    /// The directory cannot be walked.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// A file that somebody changes cannot be held still.
    #[error(transparent)]
    Hold(#[from] HoldError),
    /// A file that may be unchanged cannot be read.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// A mark of a mount option that must be off.
    #[error("`{path}` has the attribute `{name}`: overlayfs was mounted with an option that hides changes")]
    Redirected {
        /// The entry.
        path: ArchivePath,
        /// The attribute.
        name: String,
    },
}

/// Returns what the upper directory of an overlay changes of `lower`.
///
/// # Errors
/// When the directory cannot be read, or was filled under `redirect_dir` or `metacopy`.
pub fn changes_from_overlay_upper(
    upper: &Arc<DirectoryOrigin>,
    lower: &Tree,
    options: DiffOptions<'_>,
) -> Result<Changes, DiffError> {
    let walked = walk_all(upper, options, WalkXattrs::LayerAndOverlay)?;
    let mut deletions = BTreeSet::new();
    let mut whiteouts: Vec<ArchivePath> = Vec::new();
    for (path, entry) in walked.iter() {
        if is_whiteout(entry) {
            whiteouts.push(path.clone());
            if lower.get(path).is_some() {
                deletions.insert(path.clone());
            }
            continue;
        }
        if let Some((name, _)) = entry.metadata.xattrs.iter().find(|(name, _)| is_redirection(name)) {
            return Err(DiffError::Redirected { path: path.clone(), name: crate::path::escape(name) });
        }
        if entry.is_directory() && is_opaque(entry) {
            let gone = lower.children(path).filter(|(child, _)| walked.get(child).is_none());
            deletions.extend(gone.map(|(child, _)| child.clone()));
        }
    }
    let mut upper_tree = walked;
    for path in whiteouts {
        upper_tree.remove(&path);
    }
    record(upper_tree, lower, None, options, deletions)
}

/// Returns what changed in a whole root since `before` was walked (see [`walk_for_diff`]), and what it holds now; `lower` is what
/// the root held then.
///
/// A file that `before` has with the same identity is unchanged and not read. Of what `lower` has and `before` has not (a device
/// that could not be made) nothing can be gone. A file with several names that was changed in place becomes as many files:
/// overlayfs copies each name on its own, and the layer is to be the same.
///
/// # Errors
/// When the directory cannot be read.
pub fn changes_from_directory(
    root: &Arc<DirectoryOrigin>,
    lower: &Tree,
    before: &Tree,
    options: DiffOptions<'_>,
) -> Result<(Changes, Tree), DiffError> {
    let after = walk_all(root, options, WalkXattrs::Layer)?;
    let ignored = |path: &ArchivePath| {
        let ignore = |path: &ArchivePath| options.ignore.is_some_and(|ignore| ignore(path, true));
        ignore(path) || path.ancestors().any(|ancestor| !ancestor.is_root() && ignore(&ancestor))
    };
    let gone = crate::tree::diff(lower, &after, WithTime::No).deletions;
    let was_there = |path: &ArchivePath| !path.is_root() && before.get(path).is_some();
    let deletions = gone.into_iter().filter(|path| was_there(path) && !ignored(path)).collect();
    let mut changes = record(after.clone(), lower, Some(before), options, deletions)?;
    part_changed_in_place(&mut changes, before);
    Ok((changes, after))
}

/// Whether nobody has changed a file or directory since the walk of `before`. Whose a link or pipe is may be known elsewhere only, and
/// to compare one costs nothing.
fn is_untouched(before: &Tree, path: &ArchivePath, entry: &Entry) -> bool {
    before.get(path).is_some_and(|old| {
        old.metadata == entry.metadata
            && (identity(old).is_some() && identity(old) == identity(entry)
                || entry.is_directory() && old.is_directory())
    })
}

fn identity(entry: &Entry) -> Option<&FileIdentity> {
    entry.content().and_then(|content| content.identity.as_deref())
}

/// Whether a file is, changed or not, the very one that had this name in `before`.
fn is_inode_of(before: &Tree, path: &ArchivePath, entry: &Entry) -> bool {
    let inode = |entry: &Entry| identity(entry).map(|identity| (identity.device, identity.inode));
    before.get(path).is_some_and(|old| inode(old).is_some() && inode(old) == inode(entry))
}

/// Makes one file of each name of a file that was changed in place and whose names are the same as before.
fn part_changed_in_place(changes: &mut Changes, before: &Tree) {
    let mut groups: BTreeMap<InodeId, Vec<ArchivePath>> = BTreeMap::new();
    for (path, id) in changes.entries.names().filter(|(_, id)| changes.entries.link_count(*id) > 1) {
        groups.entry(id).or_default().push(path.clone());
    }
    for (id, names) in groups {
        let entry = changes.entries.entry(id).clone();
        if names.iter().all(|path| is_inode_of(before, path, &entry)) {
            for path in names {
                let mut own = entry.clone();
                if let Kind::File(content) = &mut own.kind {
                    content.path = path.clone();
                }
                changes.entries.insert(path, own);
            }
        }
    }
}

/// Returns when a file of a walked tree last changed, in nanoseconds since 1970. Once the file system's clock is past it, any
/// later change shows in the identity of a file; see [`Tree::distrust_since`].
pub fn latest_change_ns(walked: &Tree) -> i64 {
    walked
        .iter()
        .filter_map(|(_, entry)| identity(entry))
        .map(|identity| identity.ctime_ns)
        .max()
        .unwrap_or(0)
}

/// Walks a root before a step, for [`changes_from_directory`] after it.
///
/// # Errors
/// When the directory cannot be read.
pub fn walk_for_diff(root: &Arc<DirectoryOrigin>, options: DiffOptions<'_>) -> Result<Tree, DiffError> {
    walk_all(root, options, WalkXattrs::Layer)
}

fn walk_all(
    root: &Arc<DirectoryOrigin>,
    options: DiffOptions<'_>,
    xattrs: WalkXattrs,
) -> Result<Tree, DiffError> {
    let filter = |path: &ArchivePath, is_directory| match options.ignore {
        Some(ignore) if ignore(path, is_directory) => Verdict::Prune,
        _ => Verdict::Keep,
    };
    let walking = WalkOptions { owner: WalkOwner::AsIs, xattrs };
    let walked = walk_origin(root, &filter, walking)?;
    match options.hold {
        Some(hold) => Ok(hold_still(&walked, hold, walking)?),
        None => Ok(walked),
    }
}

fn is_whiteout(entry: &Entry) -> bool {
    match &entry.kind {
        Kind::CharDevice(device) => device.major == 0 && device.minor == 0,
        Kind::File(content) => content.size == 0 && overlay_mark(entry, b"whiteout").is_some(),
        _ => false,
    }
}

fn is_opaque(entry: &Entry) -> bool {
    overlay_mark(entry, b"opaque") == Some(b"y")
}

fn is_redirection(name: &[u8]) -> bool {
    is_overlay_xattr(name) && (name.ends_with(b".redirect") || name.ends_with(b".metacopy"))
}

fn overlay_mark<'a>(entry: &'a Entry, mark: &[u8]) -> Option<&'a [u8]> {
    let xattrs = &entry.metadata.xattrs;
    let named = |prefix: &[u8]| xattrs.get(&[prefix, mark].concat());
    named(b"user.overlay.").or_else(|| named(b"trusted.overlay."))
}

/// Records what of `after` differs from `lower`. What is as in `before` is not looked at further.
fn record(
    mut after: Tree,
    lower: &Tree,
    before: Option<&Tree>,
    options: DiffOptions<'_>,
    deletions: BTreeSet<ArchivePath>,
) -> Result<Changes, DiffError> {
    let mut changed: BTreeSet<InodeId> = regrouped(&after, lower, before);
    let mut perhaps: BTreeMap<ArchivePath, InodeId> = BTreeMap::new();
    for (path, inode) in after.names() {
        let entry = after.entry(inode);
        if changed.contains(&inode) || before.is_some_and(|before| is_untouched(before, path, entry)) {
            continue;
        }
        // The root is the mount's own directory: its time says nothing about the step.
        let with_time = if path.is_root() { WithTime::No } else { options.with_time };
        match lower.get(path) {
            Some(old) if same_outside(old, &metadata_of(path, entry, options), entry, with_time) => {
                if entry.content().is_some() {
                    perhaps.insert(path.clone(), inode);
                }
            }
            // A root that says nothing new is no change.
            None if path.is_root() => {}
            _ => {
                changed.insert(inode);
            }
        }
    }
    hash_contents(&mut after, &|path| perhaps.contains_key(path), &NoCache, &NoLayers)?;
    for (path, inode) in &perhaps {
        let digest = |tree: &Tree| tree.get(path).and_then(Entry::content).and_then(|content| content.digest);
        if digest(lower).is_none() || digest(lower) != digest(&after) {
            changed.insert(*inode);
        }
    }
    Ok(Changes { entries: only(&after, &changed, options), deletions })
}

/// Inodes with several names whose group of names is another one below. One that only lost names is not among them.
fn regrouped(after: &Tree, lower: &Tree, before: Option<&Tree>) -> BTreeSet<InodeId> {
    let mut groups: HashMap<InodeId, Vec<&ArchivePath>> = HashMap::new();
    for (path, inode) in after.names().filter(|(_, inode)| after.link_count(*inode) > 1) {
        groups.entry(inode).or_default().push(path);
    }
    let is_same = |id: InodeId, names: &[&ArchivePath]| {
        let inodes: BTreeSet<Option<InodeId>> = names.iter().map(|name| lower.inode(name)).collect();
        let only_lost_names = || {
            before.is_some_and(|before| names.iter().all(|path| is_inode_of(before, path, after.entry(id))))
        };
        match inodes.first() {
            Some(Some(inode)) if inodes.len() == 1 => {
                lower.link_count(*inode) as usize == names.len() || only_lost_names()
            }
            _ => false,
        }
    };
    groups.into_iter().filter(|(id, names)| !is_same(*id, names)).map(|(id, _)| id).collect()
}

/// Tells whether all is the same but, for files, the bytes.
fn same_outside(old: &Entry, metadata: &Metadata, entry: &Entry, with_time: WithTime) -> bool {
    let kind = match (&old.kind, &entry.kind) {
        (Kind::File(left), Kind::File(right)) => left.size == right.size,
        (left, right) => left.is_same(right),
    };
    kind && old.metadata.same_but_time(metadata)
        && (with_time == WithTime::No || old.metadata.mtime == metadata.mtime)
}

fn metadata_of(path: &ArchivePath, entry: &Entry, options: DiffOptions<'_>) -> Metadata {
    let mut metadata = entry.metadata.clone();
    let marks: Vec<Vec<u8>> =
        metadata.xattrs.iter().map(|(name, _)| name.to_vec()).filter(|name| is_overlay_xattr(name)).collect();
    for mark in marks {
        metadata.xattrs.remove(&mark);
    }
    match options.metadata {
        Some(source) => source(path, metadata),
        None => metadata,
    }
}

/// The part of a tree that has these inodes.
fn only(after: &Tree, inodes: &BTreeSet<InodeId>, options: DiffOptions<'_>) -> Tree {
    let mut part = Tree::new();
    let mut placed: HashMap<InodeId, InodeId> = HashMap::new();
    for (path, inode) in after.names().filter(|(_, inode)| inodes.contains(inode)) {
        if let Some(first) = placed.get(&inode) {
            part.link_inode(path.clone(), *first);
            continue;
        }
        let entry = after.entry(inode);
        let metadata = metadata_of(path, entry, options);
        placed.insert(inode, part.append(path.clone(), Entry { metadata, kind: entry.kind.clone() }));
    }
    part
}
