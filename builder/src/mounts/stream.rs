//! A mount as a stream: a tar archive of its entries in the order of their names, with owners as the step sees them and times to
//! the nanosecond.
//!
//! Left out, and counted: devices, and names that begin with `.wh.`, which mark deletions wherever such an archive is read.
//! Sockets are nothing that a walk sees.

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use kiln_layer::tar::write::{Member, WHITEOUT_PREFIX, append_end, append_header, append_padding};
use kiln_layer::{
    ArchivePath, ContentDigest, ContentHasher, DirectoryOrigin, Entry, Filter, InodeId, NoCache, NoLayers,
    Ownership, Survey, Tree, Verdict, WalkError, WalkOptions, WalkOwner, WalkXattrs,
};
use kiln_sandbox::{DEVICE_ATTRIBUTE, OWNER_ATTRIBUTE};

use crate::upper::parse_owner;
use crate::workshop::Workshop;
use crate::{clock, layers};

/// What of a mount travels.
pub(super) struct Content {
    pub(super) tree: Tree,
    /// What tells the state of its directory from any other; none where that cannot be told.
    pub(super) fingerprint: Option<ContentDigest>,
    /// The names that travel.
    names: Vec<(ArchivePath, InodeId)>,
    /// How many do not.
    pub(super) left_out: u64,
}

impl Content {
    /// Looks at a mount. Owners are on disk, or in attributes.
    pub(super) fn of(workshop: &Workshop, directory: &Path) -> Result<Self, WalkError> {
        let is_recorded = layers::ownership(workshop) == Ownership::Recorded;
        let survey = survey(workshop, directory)?;
        let fingerprint = survey.fingerprint();
        let tree = survey.into_tree(&NoCache)?;
        let mut travelling = Tree::new();
        let mut names = Vec::new();
        let mut placed: HashMap<InodeId, ArchivePath> = HashMap::new();
        let mut left_out = 0;
        for (path, inode) in tree.names() {
            if is_left_out(path, tree.entry(inode)) {
                left_out += 1;
                continue;
            }
            let linked = placed.get(&inode).map(|first| travelling.link(path.clone(), first));
            let own = match linked {
                Some(Ok(own)) => own,
                _ => {
                    placed.insert(inode, path.clone());
                    travelling.insert(path.clone(), seen_by_step(tree.entry(inode), is_recorded))
                }
            };
            names.push((path.clone(), own));
        }
        Ok(Self { tree: travelling, fingerprint, names, left_out })
    }

    /// Returns the digest of all that is said of the entries, contents left aside.
    pub(super) fn outline(&self, seen: Option<&[u8]>) -> io::Result<ContentDigest> {
        let mut hasher = ContentHasher::new();
        let mut headers = Headers::new(self);
        while let Some((header, _)) = headers.next_header()? {
            hasher.update(&header);
        }
        hasher.update(&[u8::from(seen.is_some())]);
        hasher.update(seen.unwrap_or_default());
        Ok(hasher.finish())
    }

    /// Returns the time of the newest entry, in nanoseconds since 1970.
    pub(super) fn newest_ns(&self) -> i64 {
        let time = |entry: &Entry| {
            let time = entry.metadata.mtime;
            time.seconds.saturating_mul(1_000_000_000).saturating_add(time.nanoseconds.into())
        };
        self.tree.iter().map(|(_, entry)| time(entry)).max().unwrap_or_default()
    }

    /// Returns how many names travel.
    pub(super) fn names(&self) -> u64 {
        self.names.len() as u64
    }

    pub(super) fn read(&self) -> TarStream<'_> {
        TarStream { headers: Headers::new(self), buffer: Vec::new(), at: 0, content: None, has_ended: false }
    }
}

/// Looks at what a mount that nobody else uses has. Whoever changes it later gives it a later time.
pub(super) fn survey(workshop: &Workshop, directory: &Path) -> Result<Survey, WalkError> {
    let origin = DirectoryOrigin::open(directory)
        .map_err(|source| WalkError::Root { path: directory.to_owned(), source })?;
    // Without a clock no state is known.
    let origin = match clock::outlast_now(&workshop.store) {
        Ok(now) => origin.trusting(now.into()),
        Err(_) => origin,
    };
    let keep: &Filter<'_> = &|_: &ArchivePath, _| Verdict::Keep;
    let options = WalkOptions { owner: WalkOwner::AsIs, xattrs: WalkXattrs::Layer };
    Survey::new(&Arc::new(origin), keep, options)
}

fn is_left_out(path: &ArchivePath, entry: &Entry) -> bool {
    let is_device =
        entry.kind.is_device() || entry.metadata.xattrs.get(DEVICE_ATTRIBUTE.as_bytes()).is_some();
    let has_equals = entry.metadata.xattrs.iter().any(|(name, _)| name.contains(&b'='));
    is_device || has_equals || path.components().any(|name| name.starts_with(WHITEOUT_PREFIX))
}

/// Returns an entry with the owner that a step sees.
fn seen_by_step(entry: &Entry, is_recorded: bool) -> Entry {
    let mut entry = entry.clone();
    let written = entry.metadata.xattrs.remove(OWNER_ATTRIBUTE.as_bytes());
    if is_recorded {
        let owner = written.and_then(|value| parse_owner(&value));
        (entry.metadata.uid, entry.metadata.gid) = owner.unwrap_or_default();
    }
    entry
}

struct Headers<'a> {
    content: &'a Content,
    next: usize,
    first: HashMap<InodeId, &'a ArchivePath>,
}

impl<'a> Headers<'a> {
    fn new(content: &'a Content) -> Self {
        Self { content, next: 0, first: HashMap::new() }
    }

    /// Returns the next header, with the file whose content follows.
    fn next_header(&mut self) -> io::Result<Option<(Vec<u8>, Option<&'a Entry>)>> {
        let Some((path, inode)) = self.content.names.get(self.next) else { return Ok(None) };
        self.next += 1;
        let entry = self.content.tree.entry(*inode);
        let first = self.first.get(inode).copied();
        let member = first.map_or(Member::Entry(entry), |first| Member::HardLink(entry, first));
        let mut header = Vec::new();
        append_header(&mut header, path, member, entry.metadata.mtime).map_err(io::Error::other)?;
        self.first.entry(*inode).or_insert(path);
        Ok(Some((header, first.is_none().then_some(entry))))
    }
}

/// The stream.
pub(super) struct TarStream<'a> {
    headers: Headers<'a>,
    buffer: Vec<u8>,
    at: usize,
    /// The file that is being read, with its size and how much of it is left.
    content: Option<(kiln_layer::ContentReader, u64, u64)>,
    has_ended: bool,
}

impl Read for TarStream<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.at < self.buffer.len() {
                let count = out.len().min(self.buffer.len() - self.at);
                out[..count].copy_from_slice(&self.buffer[self.at..self.at + count]);
                self.at += count;
                return Ok(count);
            }
            if let Some((file, size, left)) = &mut self.content {
                if *left > 0 {
                    let wanted = out.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    let count = file.read(&mut out[..wanted])?;
                    if count == 0 {
                        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a file became shorter"));
                    }
                    *left -= count as u64;
                    return Ok(count);
                }
                let size = *size;
                self.content = None;
                self.begin_buffer();
                append_padding(&mut self.buffer, size);
                continue;
            }
            if self.has_ended {
                return Ok(0);
            }
            self.begin_buffer();
            match self.headers.next_header()? {
                Some((header, file)) => {
                    self.buffer = header;
                    if let Some(content) = file.and_then(Entry::content) {
                        self.content = Some((content.open(&NoLayers)?, content.size, content.size));
                    }
                }
                None => {
                    append_end(&mut self.buffer);
                    self.has_ended = true;
                }
            }
        }
    }
}

impl TarStream<'_> {
    fn begin_buffer(&mut self) {
        self.buffer.clear();
        self.at = 0;
    }
}
