//! What a step changed on disk: from an overlay's upper directory, or from a whole root that was copied for it.
//!
//! overlayfs marks a deletion by a character device 0:0 (or an attribute) and a replaced directory as opaque; an opaque
//! directory becomes one deletion for each name below that is gone. Whatever is the same as below (metadata and content, times
//! only when layers keep them) is not recorded: directories copied up because of a child, files rewritten with the same bytes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::content::{DirectoryOrigin, NoLayers};
use crate::content_hash::{HashError, hash_contents};
use crate::digest_cache::NoCache;
use crate::entry::{Entry, Kind, Metadata, WithTime};
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
}

/// Why changes cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    /// The directory cannot be walked.
    #[error(transparent)]
    Walk(#[from] WalkError),
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
    record(upper_tree, lower, options, &|_, _| false, deletions)
}

/// Returns what changed in a whole root since `before` was walked (see [`walk_for_diff`]); `lower` is what the root held then.
///
/// # Errors
/// When the directory cannot be read.
pub fn changes_from_directory(
    root: &Arc<DirectoryOrigin>,
    lower: &Tree,
    before: &Tree,
    options: DiffOptions<'_>,
) -> Result<Changes, DiffError> {
    let after = walk_all(root, options, WalkXattrs::Layer)?;
    let ignored = |path: &ArchivePath| {
        let ignore = |path: &ArchivePath| options.ignore.is_some_and(|ignore| ignore(path, true));
        ignore(path) || path.ancestors().any(|ancestor| !ancestor.is_root() && ignore(&ancestor))
    };
    let gone = crate::tree::diff(lower, &after, WithTime::No).deletions;
    let deletions = gone.into_iter().filter(|path| !path.is_root() && !ignored(path)).collect();
    let untouched = |path: &ArchivePath, entry: &Entry| {
        before.get(path).is_some_and(|old| {
            let identity = |entry: &Entry| entry.content().and_then(|content| content.identity.clone());
            old.metadata == entry.metadata
                && (identity(old).is_some() && identity(old) == identity(entry)
                    || entry.content().is_none() && old.kind.is_same(&entry.kind))
        })
    };
    record(after, lower, options, &untouched, deletions)
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
    Ok(walk_origin(root, &filter, WalkOptions { owner: WalkOwner::AsIs, xattrs })?)
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

/// Records what of `after` differs from `lower`. What is `untouched` is not looked at further.
fn record(
    mut after: Tree,
    lower: &Tree,
    options: DiffOptions<'_>,
    untouched: &dyn Fn(&ArchivePath, &Entry) -> bool,
    deletions: BTreeSet<ArchivePath>,
) -> Result<Changes, DiffError> {
    let regrouped = regrouped(&after, lower);
    let mut changed: BTreeSet<InodeId> = regrouped;
    let mut perhaps: BTreeMap<ArchivePath, InodeId> = BTreeMap::new();
    for (path, inode) in after.names() {
        let entry = after.entry(inode);
        if changed.contains(&inode) || untouched(path, entry) {
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

/// Inodes with several names whose group of names is another one below.
fn regrouped(after: &Tree, lower: &Tree) -> BTreeSet<InodeId> {
    let mut groups: HashMap<InodeId, Vec<&ArchivePath>> = HashMap::new();
    for (path, inode) in after.names().filter(|(_, inode)| after.link_count(*inode) > 1) {
        groups.entry(inode).or_default().push(path);
    }
    let is_same = |names: &[&ArchivePath]| {
        let inodes: BTreeSet<Option<InodeId>> = names.iter().map(|name| lower.inode(name)).collect();
        match inodes.first() {
            Some(Some(inode)) if inodes.len() == 1 => lower.link_count(*inode) as usize == names.len(),
            _ => false,
        }
    };
    let mut regrouped: Vec<InodeId> =
        groups.into_iter().filter(|(_, names)| !is_same(names)).map(|(inode, _)| inode).collect();
    regrouped.sort();
    regrouped.into_iter().collect()
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
