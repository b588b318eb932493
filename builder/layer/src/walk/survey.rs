//! [`Survey`]: what the kernel says of every name below a directory, before any link, attribute or content is read.
//!
//! Directories are read in waves, those of one depth side by side, so that no depth is too much for the stack. A survey holds
//! about a hundred bytes a name and has a [fingerprint](Survey::fingerprint), by which an unchanged directory is known again
//! without making a tree of it.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rayon::prelude::*;
use rustix::fs::{AtFlags, FileType, RawDir, Stat};

use super::{Place, Rules, Verdict, WalkError, WalkOptions};
use crate::content::{DirectoryOrigin, FileIdentity};
use crate::content_digest::{ContentDigest, ContentHasher};
use crate::path::{ArchivePath, check_component};

/// Names of a directory and what is below, with what `stat` says of each.
#[derive(Debug)]
pub struct Survey {
    pub(super) origin: Arc<DirectoryOrigin>,
    pub(super) options: WalkOptions,
    pub(super) root: Seen,
    /// The directories, the root first. One has a smaller number than those in it.
    pub(super) listings: Vec<Listing>,
}

/// What one directory has, in order.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) path: ArchivePath,
    /// All names, one after the other.
    names: Vec<u8>,
    pub(super) items: Vec<Item>,
}

/// A name in a listing.
#[derive(Debug)]
pub(super) struct Item {
    name_start: u32,
    name_bytes: u16,
    /// False for a skipped directory, which stays only as a parent of something kept.
    kept: bool,
    /// The number of a directory's own listing.
    pub(super) below: Option<u32>,
    pub(super) seen: Seen,
}

/// What `stat` says, as far as it counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) identity: FileIdentity,
    /// Kind and permissions.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime_nanoseconds: u32,
    pub(super) mtime_seconds: i64,
    pub(super) device: u64,
    /// Whether there are other names of it.
    pub(super) is_linked: bool,
}

impl Seen {
    pub(super) fn new(stat: &Stat) -> Self {
        Self {
            identity: FileIdentity::from_stat(stat),
            mode: stat.st_mode,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime_nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
            mtime_seconds: stat.st_mtime,
            device: stat.st_rdev,
            is_linked: stat.st_nlink > 1,
        }
    }

    pub(super) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.mode)
    }
}

impl Listing {
    pub(super) fn name(&self, item: &Item) -> &[u8] {
        let start = item.name_start as usize;
        &self.names[start..start + usize::from(item.name_bytes)]
    }

    fn push(&mut self, name: &[u8], seen: Seen, kept: bool, below: Option<u32>) {
        let name_bytes = u16::try_from(name.len()).expect("a kernel's names are short");
        self.items.push(Item { name_start: number(self.names.len()), name_bytes, kept, below, seen });
        self.names.extend_from_slice(name);
    }

    fn sort(&mut self) {
        let mut items = std::mem::take(&mut self.items);
        items.sort_unstable_by(|left, right| self.name(left).cmp(self.name(right)));
        self.items = items;
    }

    fn digest(&self) -> ContentDigest {
        let mut bytes = Vec::with_capacity(self.names.len() + self.items.len() * size_of::<Seen>());
        for item in &self.items {
            let Seen { identity, mode, uid, gid, device, .. } = &item.seen;
            bytes.extend_from_slice(&item.name_bytes.to_le_bytes());
            bytes.extend_from_slice(self.name(item));
            // Times are part of the identity, and what is linked is told by the inode.
            for number in [mode, uid, gid] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
            for number in [*device, identity.device, identity.inode, identity.size] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
            for time in [identity.mtime_ns, identity.ctime_ns] {
                bytes.extend_from_slice(&time.to_le_bytes());
            }
            bytes.extend_from_slice(&item.below.map_or(u32::MAX, |number| number).to_le_bytes());
        }
        ContentDigest::of(&bytes)
    }
}

impl Survey {
    /// Looks at everything below an open directory that `rules` keep, and at the parents of that.
    ///
    /// # Errors
    /// With the path of what cannot be read. What vanishes meanwhile is an error too: the result would be neither state.
    pub fn new<R: Rules + ?Sized>(
        origin: &Arc<DirectoryOrigin>,
        rules: &R,
        options: WalkOptions,
    ) -> Result<Self, WalkError> {
        let stat = rustix::fs::fstat(origin.as_fd())
            .map_err(|source| WalkError::Stat { path: origin.path().to_owned(), source: source.into() })?;
        let mut listings = Surveyor { origin, rules }.below_root()?;
        drop_empty(&mut listings);
        Ok(Self { origin: Arc::clone(origin), options, root: Seen::new(&stat), listings })
    }

    /// Returns how many regular files there are, counted by name.
    pub fn file_count(&self) -> usize {
        self.items().filter(|item| item.seen.kind() == FileType::RegularFile).count()
    }

    /// Returns what tells this state of the directory from any other: equal fingerprints mean the same names with the same
    /// kinds, owners, links, attributes and contents. None when something changed too lately to be told by its times.
    pub fn fingerprint(&self) -> Option<ContentDigest> {
        let is_settled = |seen: &Seen| self.origin.is_settled(&seen.identity);
        if !is_settled(&self.root) || !self.items().all(|item| is_settled(&item.seen)) {
            return None;
        }
        let digests: Vec<ContentDigest> = self.listings.par_iter().map(Listing::digest).collect();
        let mut hasher = ContentHasher::new();
        hasher.update(&self.root.mode.to_le_bytes());
        hasher.update(&self.root.identity.ctime_ns.to_le_bytes());
        hasher.update(&self.root.identity.inode.to_le_bytes());
        digests.iter().for_each(|digest| hasher.update(digest.as_bytes()));
        Some(hasher.finish())
    }

    fn items(&self) -> impl Iterator<Item = &Item> {
        self.listings.iter().flat_map(|listing| &listing.items)
    }
}

/// Drops skipped directories without anything kept below.
fn drop_empty(listings: &mut [Listing]) {
    for number in (0..listings.len()).rev() {
        let mut items = std::mem::take(&mut listings[number].items);
        let is_empty = |below: u32| listings[below as usize].items.is_empty();
        items.retain(|item| item.kept || item.below.is_some_and(|below| !is_empty(below)));
        listings[number].items = items;
    }
}

struct Surveyor<'a, R: ?Sized> {
    origin: &'a Arc<DirectoryOrigin>,
    rules: &'a R,
}

/// A directory that is to be read, and what is known of it.
type Next<D> = (ArchivePath, D);

/// A directory that was read, and those in it, in the same order.
struct Surveyed<D> {
    listing: Listing,
    below: Vec<Next<D>>,
}

/// A name that is to be in the tree; with a directory, what is known of it.
struct Looked<D> {
    seen: Seen,
    kept: bool,
    inside: Option<D>,
}

impl<R: Rules + ?Sized> Surveyor<'_, R> {
    fn below_root(&self) -> Result<Vec<Listing>, WalkError> {
        let mut listings: Vec<Listing> = Vec::new();
        let mut wave = vec![(ArchivePath::root(), self.rules.root())];
        while !wave.is_empty() {
            let read = |(path, known): &Next<R::Directory>| self.one_directory(path, known);
            let found: Result<Vec<_>, WalkError> = wave.par_iter().with_max_len(1).map(read).collect();
            let first = listings.len() + wave.len();
            wave.clear();
            for Surveyed { mut listing, below } in found? {
                let mut below = below.into_iter();
                for item in listing.items.iter_mut().filter(|item| item.below.is_some()) {
                    item.below = Some(number(first + wave.len()));
                    wave.extend(below.next());
                }
                listings.push(listing);
            }
        }
        Ok(listings)
    }

    /// What lies directly in `path`, and its directories. Its handle is closed before anything below is opened.
    fn one_directory(
        &self,
        path: &ArchivePath,
        known: &R::Directory,
    ) -> Result<Surveyed<R::Directory>, WalkError> {
        let fail = |source: io::Error| WalkError::ReadDirectory { path: self.origin.display(path), source };
        let mut listing = Listing { path: path.clone(), names: Vec::new(), items: Vec::new() };
        let directory = match self.origin.open_directory(path) {
            Err(error) if self.origin.is_gone(&error) => return Ok(Surveyed { listing, below: Vec::new() }),
            opened => opened.map_err(fail)?,
        };
        let mut below = Vec::new();
        let mut buffer: [MaybeUninit<u8>; 32 * 1024] = [MaybeUninit::uninit(); 32 * 1024];
        let mut names = RawDir::new(&directory, &mut buffer);
        while let Some(item) = names.next() {
            let item = match item.map_err(io::Error::from) {
                Err(error) if self.origin.is_gone(&error) => break,
                item => item.map_err(fail)?,
            };
            let name = item.file_name();
            let place = Place { directory: path, name: name.to_bytes() };
            if matches!(place.name, b"." | b"..") {
                continue;
            }
            check_component(place.name)
                .map_err(|source| WalkError::Name { path: self.origin.display(path), source })?;
            if let Some(looked) = self.look(&directory, name, place, item.file_type(), known)? {
                let at = looked.inside.is_some().then(|| number(below.len()));
                listing.push(place.name, looked.seen, looked.kept, at);
                below.extend(looked.inside.map(Some));
            }
        }
        listing.sort();
        let in_order = listing.items.iter().filter_map(|item| {
            let inside = below[item.below? as usize].take()?;
            Some((path.join_checked(listing.name(item)), inside))
        });
        let below = in_order.collect();
        Ok(Surveyed { listing, below })
    }

    /// Looks at a name, unless it is left out.
    fn look(
        &self,
        directory: &OwnedFd,
        name: &CStr,
        place: Place<'_>,
        kind: FileType,
        known: &R::Directory,
    ) -> Result<Option<Looked<R::Directory>>, WalkError> {
        // The directory says what kind of thing it is, so what is pruned need not be looked at.
        let mut judged = (kind != FileType::Unknown).then(|| self.judge(known, place, kind));
        if judged.as_ref().is_some_and(|(verdict, inside)| is_left_out(*verdict, inside.is_some())) {
            return Ok(None);
        }
        let stat =
            match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from) {
                Err(error) if self.origin.is_gone(&error) => return Ok(None),
                stat => stat
                    .map_err(|source| WalkError::Stat { path: self.origin.display(&place.path()), source })?,
            };
        let seen = Seen::new(&stat);
        // It may have become something else meanwhile.
        if seen.kind() != kind {
            judged = None;
        }
        let (verdict, inside) = judged.unwrap_or_else(|| self.judge(known, place, seen.kind()));
        let is_nothing = matches!(seen.kind(), FileType::Socket | FileType::Unknown);
        if is_nothing || is_left_out(verdict, inside.is_some()) {
            return Ok(None);
        }
        Ok(Some(Looked { seen, kept: verdict == Verdict::Keep, inside }))
    }

    fn judge(
        &self,
        known: &R::Directory,
        place: Place<'_>,
        kind: FileType,
    ) -> (Verdict, Option<R::Directory>) {
        if kind != FileType::Directory {
            return (self.rules.judge(known, place), None);
        }
        let (verdict, inside) = self.rules.enter(known, place);
        (verdict, Some(inside))
    }
}

fn is_left_out(verdict: Verdict, is_directory: bool) -> bool {
    verdict == Verdict::Prune || (verdict == Verdict::Skip && !is_directory)
}

/// Counts of names and directories, and bytes of the names of one directory.
fn number(count: usize) -> u32 {
    u32::try_from(count).expect("a walk finds fewer than 2^32 names")
}
