//! From a [`Survey`] to a [`Tree`]: reads what `stat` does not tell, link targets and extended attributes.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rayon::prelude::*;
use rustix::buffer::Buffer;
use rustix::fs::FileType;

use super::survey::{Item, Listing, Seen, Survey};
use super::{WalkError, WalkOptions, WalkOwner, WalkXattrs, is_layer_xattr, is_overlay_xattr};
use crate::content::{Content, DirectoryOrigin, FileIdentity, Origin};
use crate::content_digest::ContentDigest;
use crate::digest_cache::{DigestCache, NoCache};
use crate::entry::{Device, Entry, Kind, Metadata, Timestamp, Xattrs};
use crate::path::ArchivePath;
use crate::tree::Tree;

/// Attributes of one entry, names and values together, may not be longer.
const XATTR_BYTES_MAX: usize = 1 << 20;

/// A name with its entry; with a directory, the number of its listing.
type Gathered = (Found, Option<u32>);

struct Found {
    path: ArchivePath,
    entry: Entry,
    /// Device and inode, for files with several names.
    links: Option<(u64, u64)>,
}

/// Something that has attributes.
enum Attributed<'a> {
    /// Whatever has this name, be it a symlink.
    Path(Vec<u8>),
    Open(&'a File),
}

impl Attributed<'_> {
    fn list<Buf: Buffer<u8>>(&self, names: Buf) -> rustix::io::Result<Buf::Output> {
        match self {
            Self::Path(path) => rustix::fs::llistxattr(path.as_slice(), names),
            Self::Open(file) => rustix::fs::flistxattr(file, names),
        }
    }

    fn get(&self, name: &[u8], value: &mut Vec<u8>) -> rustix::io::Result<()> {
        let value = rustix::buffer::spare_capacity(value);
        match self {
            Self::Path(path) => rustix::fs::lgetxattr(path.as_slice(), name, value),
            Self::Open(file) => rustix::fs::fgetxattr(file, name, value),
        }
        .map(drop)
    }
}

/// Returns what stands for an open file in a tree; nothing if it is no regular file.
pub(crate) fn entry_of(
    file: &File,
    path: &ArchivePath,
    origin: &Arc<DirectoryOrigin>,
    options: WalkOptions,
) -> io::Result<Option<Entry>> {
    let seen = Seen::new(&rustix::fs::fstat(file)?);
    if seen.kind() != FileType::RegularFile {
        return Ok(None);
    }
    let gatherer = Gatherer { origin, options, known: &NoCache };
    let xattrs = match options.xattrs {
        WalkXattrs::None => Xattrs::default(),
        _ => gatherer.xattrs_of(&Attributed::Open(file))?,
    };
    let kind = Kind::File(gatherer.content(path, seen.identity, None));
    Ok(Some(Entry { metadata: gatherer.metadata(&seen, xattrs), kind }))
}

impl Survey {
    /// Makes the tree of what was found. It has an entry for the root and for every parent of what is kept. Files that `known`
    /// has get their digest from there, and are not asked for attributes when they are known to have none.
    ///
    /// # Errors
    /// With the path of what cannot be read any more.
    pub fn into_tree(self, known: &dyn DigestCache) -> Result<Tree, WalkError> {
        let Self { origin, options, root, listings } = self;
        let gatherer = Gatherer { origin: &origin, options, known };
        let own = ArchivePath::root();
        let top = gatherer
            .found(&Parent::new(&origin, &own), b".", &root)
            .map_err(|source| WalkError::Stat { path: origin.display(&own), source })?;
        let gathered: Result<Vec<Vec<Gathered>>, WalkError> =
            listings.into_par_iter().with_max_len(1).map(|listing| gatherer.listing(&listing)).collect();
        let gathered = gathered?;
        let count = 1 + gathered.iter().map(Vec::len).sum::<usize>();
        Ok(assemble(std::iter::once(top).chain(in_order(gathered)), count))
    }
}

/// Puts the listing of each directory behind it.
fn in_order(mut listings: Vec<Vec<Gathered>>) -> impl Iterator<Item = Found> {
    let mut open = vec![std::mem::take(&mut listings[0]).into_iter()];
    std::iter::from_fn(move || {
        loop {
            match open.last_mut()?.next() {
                Some((item, below)) => {
                    open.extend(
                        below.map(|number| std::mem::take(&mut listings[number as usize]).into_iter()),
                    );
                    return Some(item);
                }
                None => drop(open.pop()),
            }
        }
    })
}

/// Makes a tree, and joins hard links in it.
fn assemble(found: impl Iterator<Item = Found>, count: usize) -> Tree {
    let mut first: HashMap<(u64, u64), usize> = HashMap::new();
    let items = found.enumerate().map(|(at, item)| match item.links {
        Some(key) => match *first.entry(key).or_insert(at) {
            earlier if earlier != at => (item.path, Err(earlier)),
            _ => (item.path, Ok(item.entry)),
        },
        None => (item.path, Ok(item.entry)),
    });
    Tree::from_sorted(items, count)
}

/// A directory, opened when something in it is to be read by its name.
struct Parent<'a> {
    origin: &'a DirectoryOrigin,
    path: &'a ArchivePath,
    handle: OnceCell<OwnedFd>,
}

impl<'a> Parent<'a> {
    fn new(origin: &'a DirectoryOrigin, path: &'a ArchivePath) -> Self {
        Self { origin, path, handle: OnceCell::new() }
    }

    fn handle(&self) -> io::Result<BorrowedFd<'_>> {
        if self.handle.get().is_none() {
            let opened = self.origin.open_directory(self.path)?;
            return Ok(self.handle.get_or_init(|| opened).as_fd());
        }
        Ok(self.handle.get().expect("it is open").as_fd())
    }
}

struct Gatherer<'a> {
    origin: &'a Arc<DirectoryOrigin>,
    options: WalkOptions,
    known: &'a dyn DigestCache,
}

impl Gatherer<'_> {
    fn listing(&self, listing: &Listing) -> Result<Vec<Gathered>, WalkError> {
        let parent = Parent::new(self.origin, &listing.path);
        let gather = |item: &Item| {
            let name = listing.name(item);
            match self.found(&parent, name, &item.seen) {
                Err(error) if self.origin.is_gone(&error) => None,
                Ok(found) => Some(Ok((found, item.below))),
                Err(source) => {
                    let path = self.origin.display(&listing.path.join_checked(name));
                    Some(Err(WalkError::Stat { path, source }))
                }
            }
        };
        listing.items.iter().filter_map(gather).collect()
    }

    /// What stands for a name in the tree; `.` is the directory itself.
    fn found(&self, parent: &Parent<'_>, name: &[u8], seen: &Seen) -> io::Result<Found> {
        let path = if name == b"." { parent.path.clone() } else { parent.path.join_checked(name) };
        let device = Device { major: rustix::fs::major(seen.device), minor: rustix::fs::minor(seen.device) };
        let mut is_plain = false;
        let kind = match seen.kind() {
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Symlink(self.target(parent, name)?),
            FileType::CharacterDevice => Kind::CharDevice(device),
            FileType::BlockDevice => Kind::BlockDevice(device),
            FileType::Fifo => Kind::Fifo,
            _ => {
                let known = self.known.get(&seen.identity);
                is_plain = known.is_some_and(|known| known.is_plain);
                Kind::File(self.content(&path, seen.identity, known.map(|known| known.digest)))
            }
        };
        let xattrs = if is_plain { Xattrs::default() } else { self.xattrs(parent, name)? };
        let mut metadata = self.metadata(seen, xattrs);
        if matches!(kind, Kind::Symlink(_)) {
            metadata.mode = 0o777;
        }
        let is_file = seen.kind() != FileType::Directory;
        let links = (seen.is_linked && is_file).then_some((seen.identity.device, seen.identity.inode));
        Ok(Found { path, entry: Entry { metadata, kind }, links })
    }

    fn metadata(&self, seen: &Seen, xattrs: Xattrs) -> Metadata {
        let (uid, gid) = match self.options.owner {
            WalkOwner::Root => (0, 0),
            WalkOwner::AsIs => (seen.uid, seen.gid),
        };
        let mtime = Timestamp { seconds: seen.mtime_seconds, nanoseconds: seen.mtime_nanoseconds };
        Metadata { mode: seen.mode & 0o7777, uid, gid, mtime, xattrs }
    }

    fn content(&self, path: &ArchivePath, identity: FileIdentity, digest: Option<ContentDigest>) -> Content {
        Content {
            origin: Origin::Directory(Arc::clone(self.origin)),
            path: path.clone(),
            size: identity.size,
            digest,
            identity: Some(Arc::new(identity)),
        }
    }

    fn target(&self, parent: &Parent<'_>, name: &[u8]) -> io::Result<Arc<[u8]>> {
        let target = rustix::fs::readlinkat(parent.handle()?, name, Vec::new())?;
        Ok(Arc::from(target.as_bytes()))
    }

    /// The attributes that count. There is no call that takes a directory handle, so the handle goes in by `/proc`.
    fn xattrs(&self, parent: &Parent<'_>, name: &[u8]) -> io::Result<Xattrs> {
        if self.options.xattrs == WalkXattrs::None {
            return Ok(Xattrs::default());
        }
        let mut path = format!("/proc/self/fd/{}/", parent.handle()?.as_raw_fd()).into_bytes();
        path.extend_from_slice(name);
        self.xattrs_of(&Attributed::Path(path))
    }

    fn xattrs_of(&self, place: &Attributed<'_>) -> io::Result<Xattrs> {
        let mut list = [0_u8; 512];
        let list = match place.list(&mut list[..]) {
            Ok(0) | Err(rustix::io::Errno::NOTSUP) => return Ok(Xattrs::default()),
            Ok(length) => list[..length].to_vec(),
            Err(rustix::io::Errno::RANGE) => {
                let mut list = Vec::with_capacity(XATTR_BYTES_MAX);
                place.list(rustix::buffer::spare_capacity(&mut list))?;
                list
            }
            Err(error) => return Err(error.into()),
        };
        let mut xattrs = Xattrs::default();
        for name in list.split(|byte| *byte == 0).filter(|name| self.wants_xattr(name)) {
            let mut value = Vec::with_capacity(64 * 1024);
            match place.get(name, &mut value) {
                // It was taken away since it was listed.
                Err(rustix::io::Errno::NODATA) => continue,
                outcome => outcome?,
            }
            value.shrink_to_fit();
            xattrs.insert(name.to_vec(), value);
        }
        Ok(xattrs)
    }

    fn wants_xattr(&self, name: &[u8]) -> bool {
        if is_overlay_xattr(name) {
            return self.options.xattrs == WalkXattrs::LayerAndOverlay;
        }
        is_layer_xattr(name)
    }
}
