//! Placing entries onto a target, one after the other.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};

use super::source::Found;
use super::{Copied, CopyError, CopyRequest, Destination, Observed};
use crate::entry::{Entry, Kind, Metadata, Timestamp, WithTime};
use crate::path::ArchivePath;
use crate::tree::{Changes, InodeId, ResolveError, Tree, resolve_by};

/// The target with what was placed so far on top.
pub(super) struct Placer<'a> {
    target: &'a Tree,
    request: &'a CopyRequest<'a>,
    destination: Destination,
    changes: Changes,
    /// Where something placed hides what the target has there and below.
    hidden: BTreeSet<ArchivePath>,
    /// A directory that the target lacks: below it nothing of the target needs to be looked at.
    fresh: Option<ArchivePath>,
    observed: RefCell<Observed>,
}

/// What happens to something in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Conflict {
    /// COPY: kinds must fit.
    Refuse,
    /// Archives: the member wins.
    Replace,
}

/// Inodes of a source that were placed, by their inode there.
type Links = HashMap<InodeId, InodeId>;

impl<'a> Placer<'a> {
    pub(super) fn new(target: &'a Tree, request: &'a CopyRequest<'a>, destination: Destination) -> Self {
        Self {
            target,
            request,
            destination,
            changes: Changes::new(),
            hidden: BTreeSet::new(),
            fresh: None,
            observed: RefCell::new(Observed::new(request.with_time)),
        }
    }

    pub(super) fn finish(self) -> Copied {
        Copied { changes: self.changes, observed: self.observed.into_inner() }
    }

    /// Tells whether the destination is neither written as a directory nor is one.
    pub(super) fn is_one_name(&self) -> Result<bool, CopyError> {
        let place = self.resolve_destination()?;
        Ok(!self.destination.is_directory && !self.is_directory(&place))
    }

    /// Places one entry of a source tree, by the rules for files or directories.
    pub(super) fn place_found(&mut self, tree: &Tree, found: &Found) -> Result<(), CopyError> {
        if self.request.parents {
            return self.place_with_parents(tree, found);
        }
        let implied = Entry::implied_directory();
        let entry = tree.get(&found.path).unwrap_or(&implied);
        if !entry.is_directory() {
            return self.place_named(found.named.file_name().unwrap_or_default(), entry);
        }
        let place = self.resolve_destination()?;
        if let Some(noun) = self.obstacle(&place) {
            let source_path = found.path.clone();
            return Err(CopyError::DirectoryOverOther { source_path, destination: place, noun });
        }
        self.make_directories(&place, Some(entry.metadata.mtime))?;
        self.place_below(tree, &found.path, &place, &ArchivePath::root())
    }

    /// Places one file under the destination's rules for files.
    pub(super) fn place_named(&mut self, name: &[u8], entry: &Entry) -> Result<(), CopyError> {
        let place = self.resolve_destination()?;
        let into = self.destination.is_directory || self.is_directory(&place);
        let (directory, place) = if into {
            if let Some(noun) = self.obstacle(&place) {
                return Err(CopyError::DestinationNotDirectory { destination: place, noun });
            }
            let file = place
                .join(name)
                .map_err(|source| CopyError::NotAPath { text: crate::path::escape(name), source })?;
            (place, file)
        } else {
            (place.parent().unwrap_or_else(ArchivePath::root), place)
        };
        self.make_directories(&directory, None)?;
        let source = ArchivePath::clamp(name)
            .map_err(|source| CopyError::NotAPath { text: crate::path::escape(name), source })?;
        let dressed = self.dressed(entry);
        self.place_at(&source, place, dressed, None, Conflict::Refuse).map(|_| ())
    }

    /// Places the contents of an archive; `--chmod` does not reach them.
    pub(super) fn place_archive(&mut self, tree: &Tree) -> Result<(), CopyError> {
        let base = self.resolve_destination()?;
        if let Some(noun) = self.obstacle(&base) {
            return Err(CopyError::DestinationNotDirectory { destination: base, noun });
        }
        self.make_archive_root(&base)?;
        let mut links = Links::new();
        for (path, inode) in tree.names().filter(|(path, _)| !path.is_root()) {
            let entry = tree.entry(inode);
            let parent = path.parent().unwrap_or_else(ArchivePath::root);
            // As after `chroot` to the destination: its symlinks lead, but never out of it.
            let parent = self.resolve_in(&base, &parent)?;
            if let Some(noun) = self.obstacle(&parent) {
                return Err(CopyError::DestinationNotDirectory { destination: parent, noun });
            }
            self.make_archive_root(&parent)?;
            let name = path.file_name().unwrap_or_default();
            let place = parent
                .join(name)
                .map_err(|source| CopyError::NotAPath { text: crate::path::escape(name), source })?;
            let mut entry = entry.clone();
            self.own(&mut entry.metadata);
            let link = (tree.link_count(inode) > 1).then_some((inode, &mut links));
            self.place_at(path, place, entry, link, Conflict::Replace)?;
        }
        Ok(())
    }

    fn place_with_parents(&mut self, tree: &Tree, found: &Found) -> Result<(), CopyError> {
        let base = self.resolve_destination()?;
        if let Some(noun) = self.obstacle(&base) {
            return Err(CopyError::DestinationNotDirectory { destination: base, noun });
        }
        self.make_directories(&base, None)?;
        let kept: Vec<&[u8]> = found.named.components().skip(found.pivot).collect();
        let path_of = |components: &[&[u8]]| {
            ArchivePath::clamp(&components.join(&b'/'))
                .map_err(|source| CopyError::NotAPath { text: found.named.to_string(), source })
        };
        let relative = path_of(&kept)?;
        let implied = Entry::implied_directory();
        let entry = tree.get(&found.path).unwrap_or(&implied);
        let is_excluded = |path: &ArchivePath, is_directory| {
            self.request.exclude.is_some_and(|exclude| !path.is_root() && exclude(path, is_directory))
        };
        if !entry.is_directory() && is_excluded(&relative, false) {
            return Ok(());
        }
        for length in 1..kept.len() {
            let source = path_of(&found.named.components().take(found.pivot + length).collect::<Vec<_>>())?;
            let resolved = tree.resolve(&source).ok().map(|resolution| resolution.path);
            let directory = resolved.and_then(|path| tree.get(&path)).filter(|entry| entry.is_directory());
            let dressed = self.dressed(directory.unwrap_or(&implied));
            self.place_at(
                &source,
                base.join_path(&path_of(&kept[..length])?),
                dressed,
                None,
                Conflict::Refuse,
            )?;
        }
        let place = base.join_path(&relative);
        if !relative.is_root() {
            let dressed = self.dressed(entry);
            self.place_at(&found.path, place.clone(), dressed, None, Conflict::Refuse)?;
        }
        if entry.is_directory() { self.place_below(tree, &found.path, &place, &relative) } else { Ok(()) }
    }

    /// Places everything below the directory `from` below `to`. Exclusions see paths below `from`, with `prefix` in front.
    fn place_below(
        &mut self,
        tree: &Tree,
        from: &ArchivePath,
        to: &ArchivePath,
        prefix: &ArchivePath,
    ) -> Result<(), CopyError> {
        let mut links = Links::new();
        let mut made: HashSet<ArchivePath> = HashSet::new();
        for (path, entry) in tree.below(from) {
            let below = path.strip_prefix(from).unwrap_or_else(|| path.clone());
            if let Some(exclude) = self.request.exclude {
                if exclude(&prefix.join_path(&below), entry.is_directory()) {
                    continue;
                }
                // An exception inside an excluded directory brings the directories on the way back.
                for ancestor in below.ancestors().skip(1) {
                    if made.insert(ancestor.clone()) {
                        let source = from.join_path(&ancestor);
                        let dressed = tree.get(&source).map(|entry| self.dressed(entry));
                        let dressed = dressed.unwrap_or_else(Entry::implied_directory);
                        self.place_at(&source, to.join_path(&ancestor), dressed, None, Conflict::Refuse)?;
                    }
                }
                if entry.is_directory() {
                    made.insert(below.clone());
                }
            }
            let inode = tree.inode(path).filter(|inode| tree.link_count(*inode) > 1);
            let link = inode.map(|inode| (inode, &mut links));
            let dressed = self.dressed(entry);
            self.place_at(path, to.join_path(&below), dressed, link, Conflict::Refuse)?;
        }
        Ok(())
    }

    /// Sets one entry at a place whose parents exist.
    fn place_at(
        &mut self,
        source: &ArchivePath,
        place: ArchivePath,
        entry: Entry,
        link: Option<(InodeId, &mut Links)>,
        conflict: Conflict,
    ) -> Result<(), CopyError> {
        let existing = self.get(&place);
        let is_new = existing.is_none();
        let clash = existing.is_some_and(|old| old.is_directory() != entry.is_directory());
        if let Some(old) = existing.filter(|_| clash && conflict == Conflict::Refuse) {
            return Err(if entry.is_directory() {
                let noun = old.kind.noun();
                CopyError::DirectoryOverOther { source_path: source.clone(), destination: place, noun }
            } else {
                CopyError::FileOverDirectory { source_path: source.clone(), destination: place }
            });
        }
        if entry.is_directory() {
            let with_time = self.request.with_time;
            if !clash && existing.is_some_and(|old| old.is_same(&entry, with_time)) {
                return Ok(());
            }
            if is_new && !self.is_fresh(&place) && self.target.get(&place).is_none() {
                self.fresh = Some(place.clone());
            }
        }
        if clash {
            self.hidden.insert(place.clone());
        }
        match link {
            Some((inode, links)) => match links.get(&inode) {
                Some(placed) if self.changes.entries.link_count(*placed) > 0 => {
                    let placed = *placed;
                    self.changes.entries.remove_below(&place);
                    self.changes.entries.link_inode(place, placed);
                }
                _ => {
                    links.insert(inode, self.set(place, entry, is_new));
                }
            },
            None => {
                self.set(place, entry, is_new);
            }
        }
        Ok(())
    }

    /// Where nothing is, nothing lies below.
    fn set(&mut self, place: ArchivePath, entry: Entry, is_new: bool) -> InodeId {
        if is_new {
            self.changes.entries.append(place, entry)
        } else {
            self.changes.entries.insert(place, entry)
        }
    }

    /// Makes `path` and its parents where they are missing, as the flags say.
    fn make_directories(&mut self, path: &ArchivePath, mtime: Option<Timestamp>) -> Result<(), CopyError> {
        let parents: Vec<ArchivePath> = path.ancestors().chain([path.clone()]).skip(1).collect();
        for directory in parents {
            let existing = self.get(&directory).map(|entry| (entry.is_directory(), entry.metadata.clone()));
            let metadata = match existing {
                Some((true, metadata)) => {
                    let time =
                        mtime.filter(|_| &directory == path && self.request.with_time == WithTime::Yes);
                    match time.filter(|time| *time != metadata.mtime) {
                        Some(mtime) => Metadata { mtime, ..metadata },
                        None => continue,
                    }
                }
                _ => {
                    let mut metadata = self.dressed(&Entry::implied_directory()).metadata;
                    metadata.mtime = mtime.filter(|_| &directory == path).unwrap_or_default();
                    metadata
                }
            };
            let source = directory.clone();
            self.place_at(&source, directory, Entry::directory(metadata), None, Conflict::Refuse)?;
        }
        Ok(())
    }

    /// As [`Self::make_directories`], by `--chown` only.
    fn make_archive_root(&mut self, path: &ArchivePath) -> Result<(), CopyError> {
        for directory in path.ancestors().chain([path.clone()]).skip(1).collect::<Vec<_>>() {
            if self.get(&directory).is_none() {
                let mut entry = Entry::implied_directory();
                self.own(&mut entry.metadata);
                self.place_at(&directory.clone(), directory, entry, None, Conflict::Refuse)?;
            }
        }
        Ok(())
    }

    /// An entry as the flags want it.
    fn dressed(&self, entry: &Entry) -> Entry {
        let mut entry = entry.clone();
        self.own(&mut entry.metadata);
        if let Some(chmod) = &self.request.chmod
            && !matches!(entry.kind, Kind::Symlink(_))
        {
            entry.metadata.mode = chmod.apply(entry.metadata.mode, entry.is_directory());
        }
        entry
    }

    fn own(&self, metadata: &mut Metadata) {
        if let Some(owner) = self.request.owner {
            (metadata.uid, metadata.gid) = (owner.uid, owner.gid);
        }
    }

    fn resolve_destination(&self) -> Result<ArchivePath, CopyError> {
        self.resolve_in(&ArchivePath::root(), &self.destination.path)
    }

    fn resolve_in(&self, base: &ArchivePath, path: &ArchivePath) -> Result<ArchivePath, CopyError> {
        match resolve_by(|path| self.get(path).map(|entry| &entry.kind), base, path) {
            Ok(resolution) => Ok(resolution.path),
            Err(ResolveError::NotADirectory { obstacle, noun, .. }) => {
                Err(CopyError::DestinationNotDirectory { destination: obstacle, noun })
            }
            Err(source) => Err(CopyError::Destination { destination: path.clone(), source }),
        }
    }

    /// What stands at `path` if it is neither nothing nor a directory.
    fn obstacle(&self, path: &ArchivePath) -> Option<&'static str> {
        self.get(path).filter(|entry| !entry.is_directory()).map(|entry| entry.kind.noun())
    }

    fn is_directory(&self, path: &ArchivePath) -> bool {
        path.is_root() || self.get(path).is_some_and(Entry::is_directory)
    }

    fn is_fresh(&self, path: &ArchivePath) -> bool {
        self.fresh.as_ref().is_some_and(|fresh| path.is_within(fresh))
    }

    /// What is at `path` now. Notes what was looked up in the target.
    fn get(&self, path: &ArchivePath) -> Option<&Entry> {
        if let Some(entry) = self.changes.entries.get(path) {
            return Some(entry);
        }
        if self.is_fresh(path) || self.hidden.iter().any(|hidden| path.is_within(hidden)) {
            return None;
        }
        let entry = self.target.get(path);
        self.observed.borrow_mut().note(path, entry);
        entry
    }
}
