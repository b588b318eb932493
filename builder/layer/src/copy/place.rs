//! Placing entries onto a target, one after the other.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};

use super::{Copied, CopyError, CopyRequest, Destination, Observed};
use crate::chmod::Chmod;
use crate::content_hash::Selected;
use crate::entry::{Entry, Kind, Metadata, Timestamp, WithTime};
use crate::owner::Owner;
use crate::path::{ArchivePath, PathMatcher};
use crate::tree::{Changes, InodeId, ResolveError, Tree, resolve_by};
use crate::walk::is_layer_xattr;

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

/// `NAME_MAX` and `PATH_MAX` of Linux, the latter without the root's slash and the final NUL.
const LENGTHS_MAX: [(&str, usize); 2] = [("name", 255), ("path", 4094)];

/// How much of a name that is too long is shown.
const BEGINNING_BYTES: usize = 40;

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

    /// Places one entry of a source tree, by the rules for files or directories; of a directory what `include` says.
    pub(super) fn place_found(
        &mut self,
        tree: &Tree,
        found: &Selected,
        include: Option<&PathMatcher<'_>>,
    ) -> Result<(), CopyError> {
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
        self.place_below(tree, &found.path, &place, include)
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
        let owner = self.request.owner;
        self.make_missing(&base, |inherited| match owner {
            Some(Owner { uid, gid }) => Metadata { uid, gid, ..inherited },
            None => inherited,
        })?;
        let mut links = Links::new();
        for (path, inode) in tree.names().filter(|(path, _)| !path.is_root()) {
            let entry = tree.entry(inode);
            let parent = path.parent().unwrap_or_else(ArchivePath::root);
            // As after `chroot` to the destination: its symlinks lead, but never out of it.
            let parent = self.resolve_in(&base, &parent)?;
            if let Some(noun) = self.obstacle(&parent) {
                return Err(CopyError::DestinationNotDirectory { destination: parent, noun });
            }
            // What the archive only implies is root's, whatever the flags say.
            self.make_missing(&parent, |inherited| Metadata { gid: 0, ..inherited })?;
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

    /// Places what is wanted of what lies below the directory `from` below `to`.
    fn place_below(
        &mut self,
        tree: &Tree,
        from: &ArchivePath,
        to: &ArchivePath,
        include: Option<&PathMatcher<'_>>,
    ) -> Result<(), CopyError> {
        let is_partial = include.is_some() || self.request.exclude.is_some();
        if !is_partial && self.is_fresh(to) && self.changes.entries.below(to).next().is_none() {
            return self.place_all(tree, from, to);
        }
        let mut links = Links::new();
        let mut made: HashSet<ArchivePath> = HashSet::new();
        for (path, entry) in tree.below(from) {
            let below = path.strip_prefix(from).unwrap_or_else(|| path.clone());
            let says = |matcher: &PathMatcher<'_>| matcher(&below, entry.is_directory());
            if !include.is_none_or(says) || self.request.exclude.is_some_and(says) {
                continue;
            }
            if is_partial {
                for ancestor in below.ancestors().skip(1) {
                    if made.insert(ancestor.clone()) {
                        self.place_on_the_way(tree, &from.join_path(&ancestor), to.join_path(&ancestor))?;
                    }
                }
                if entry.is_directory() {
                    made.insert(below.clone());
                }
            }
            let is_linked = |inode: &InodeId| entry.content().is_some() && tree.link_count(*inode) > 1;
            let link = tree.inode(path).filter(is_linked).map(|inode| (inode, &mut links));
            let dressed = self.dressed(entry);
            self.place_at(path, to.join_path(&below), dressed, link, Conflict::Refuse)?;
        }
        Ok(())
    }

    /// Places all that lies below the directory `from` below `to`, where nothing is: in one go, without looking anything up.
    fn place_all(&mut self, tree: &Tree, from: &ArchivePath, to: &ArchivePath) -> Result<(), CopyError> {
        let mut first: HashMap<InodeId, usize> = HashMap::new();
        let mut items = Vec::new();
        for (path, inode) in tree.names_below(from) {
            let entry = tree.entry(inode);
            let moved = || to.join_path(&path.strip_prefix(from).unwrap_or_else(|| path.clone()));
            let place = if from == to { path.clone() } else { moved() };
            check_length(&place)?;
            let is_linked = entry.content().is_some() && tree.link_count(inode) > 1;
            let earlier = if is_linked { *first.entry(inode).or_insert(items.len()) } else { items.len() };
            items.push((place, if earlier < items.len() { Err(earlier) } else { Ok(self.dressed(entry)) }));
        }
        self.changes.entries.append_sorted(items);
        Ok(())
    }

    /// Places a directory that is not itself wanted, but something in it.
    fn place_on_the_way(
        &mut self,
        tree: &Tree,
        source: &ArchivePath,
        place: ArchivePath,
    ) -> Result<(), CopyError> {
        let implied = Entry::implied_directory();
        let entry = tree.get(source).unwrap_or(&implied);
        let entry = match self.get(&place).filter(|existing| existing.is_directory()) {
            Some(existing) => {
                let metadata = Metadata { mode: entry.metadata.mode, ..existing.metadata.clone() };
                Entry::directory(metadata)
            }
            None => self.dressed(entry),
        };
        self.place_at(source, place, entry, None, Conflict::Refuse)
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
        check_length(&place)?;
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
                    let mut metadata = self.implied(&directory);
                    metadata.mode |=
                        self.request.chmod.as_ref().and_then(Chmod::of_implied_directory).unwrap_or(0o755);
                    self.own(&mut metadata);
                    metadata.mtime = mtime.filter(|_| &directory == path).unwrap_or_default();
                    metadata
                }
            };
            let source = directory.clone();
            self.place_at(&source, directory, Entry::directory(metadata), None, Conflict::Refuse)?;
        }
        Ok(())
    }

    /// Makes `path` and its parents 0755 where nothing is, owned as `own` makes of what they inherit.
    fn make_missing(
        &mut self,
        path: &ArchivePath,
        own: impl Fn(Metadata) -> Metadata,
    ) -> Result<(), CopyError> {
        for directory in path.ancestors().chain([path.clone()]).skip(1).collect::<Vec<_>>() {
            if self.get(&directory).is_none() {
                let mut metadata = own(self.implied(&directory));
                metadata.mode |= 0o755;
                let entry = Entry::directory(metadata);
                self.place_at(&directory.clone(), directory, entry, None, Conflict::Refuse)?;
            }
        }
        Ok(())
    }

    /// What a new directory has of the one it is made in.
    fn implied(&self, directory: &ArchivePath) -> Metadata {
        Metadata::inherited(directory.parent().and_then(|parent| self.get(&parent)))
    }

    /// An entry as the flags want it.
    fn dressed(&self, entry: &Entry) -> Entry {
        let mut entry = entry.clone();
        // Layers of others may have attributes that belong in none.
        entry.metadata.xattrs.retain(is_layer_xattr);
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

/// Refuses what could be written in an archive but nowhere else: a name or path that no file system takes.
///
/// # Errors
/// [`CopyError::TooLong`].
pub fn check_length(place: &ArchivePath) -> Result<(), CopyError> {
    let lengths = [place.file_name().unwrap_or_default().len(), place.as_bytes().len()];
    for ((what, max), length) in LENGTHS_MAX.into_iter().zip(lengths) {
        if length > max {
            let beginning = crate::path::escape(&place.as_bytes()[..BEGINNING_BYTES]);
            return Err(CopyError::TooLong { beginning, what, length, max });
        }
    }
    Ok(())
}
