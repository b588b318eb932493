//! The digest of what a COPY selects: the content key of its source.
//!
//! | Hashed | Why |
//! |---|---|
//! | name below the source, and what the source was named as, its last component or all of it | decides names in the image |
//! | kind, mode, uid, gid | metadata after `--chmod` and `--chown`, so that what a flag overrides does not count |
//! | link target, device number | raw |
//! | `user.*` and `security.capability` attributes | they reach the layer |
//! | content digest and size | – |
//! | which names are one inode | COPY keeps hard links |
//! | **not** mtime | it never reaches a layer with fixed times |
//!
//! Everything is length-prefixed and little-endian; [`SELECTION_FORMAT`] comes first.

use std::collections::{HashMap, HashSet};

use kiln_oci::Digest;

use crate::content_digest::ContentHasher;
use crate::entry::{Entry, Kind};
use crate::path::{ArchivePath, PathMatcher};
use crate::tree::{InodeId, Tree};

/// The number of this form; part of the digest.
pub const SELECTION_FORMAT: u32 = 4;

const BUFFER_BYTES: usize = 32 * 1024;

/// One entry that a source names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selected {
    /// Where it is, symlinks followed.
    pub path: ArchivePath,
    /// As it was named; its last component is the name at the destination.
    pub named: ArchivePath,
}

impl From<ArchivePath> for Selected {
    fn from(path: ArchivePath) -> Self {
        Self { named: path.clone(), path }
    }
}

/// What flags of a COPY put in place of the files' own metadata.
#[derive(Clone, Copy, Default)]
pub struct MetadataOverrides<'a> {
    /// Owner and group from `--chown`.
    pub owner: Option<(u32, u32)>,
    /// What `--chmod` makes of a mode: given the mode and whether it is a directory's.
    pub mode: Option<&'a (dyn Fn(u32, bool) -> u32 + Sync)>,
}

/// Which part of a source's own path enters the digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// Its last component, for files only: a directory's name is not copied.
    FileName,
    /// All of it, as `--parents` copies it.
    WholePath,
}

/// Why a selection has no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// A file whose content was not hashed before.
    #[error("`{path}` has no digest yet")]
    NotHashed {
        /// The file.
        path: ArchivePath,
    },
}

/// Returns the digest of the entries `sources` with all that is below them and that `wanted` says yes to (called with the path
/// below the source), and the directories on the way there. Attributes and names count as the table in the module says.
///
/// # Errors
/// When a file has no digest; see [`crate::content_hash::hash_contents`].
pub fn digest_of_selection(
    tree: &Tree,
    sources: &[Selected],
    naming: Naming,
    overrides: MetadataOverrides<'_>,
    wanted: Option<&PathMatcher<'_>>,
) -> Result<Digest, SelectionError> {
    let mut sink = Sink { hasher: ContentHasher::new(), buffer: Vec::with_capacity(2 * BUFFER_BYTES) };
    sink.number(u64::from(SELECTION_FORMAT));
    sink.number(sources.len() as u64);
    for Selected { path: source, named } in sources {
        let is_directory = tree.get(source).is_some_and(Entry::is_directory);
        match naming {
            Naming::WholePath => sink.bytes(named.as_bytes()),
            Naming::FileName if is_directory => sink.bytes(b""),
            Naming::FileName => sink.bytes(named.file_name().unwrap_or_default()),
        }
        let mut groups: HashMap<InodeId, u64> = HashMap::new();
        for (path, inode) in selected_names(tree, source, wanted) {
            let entry = tree.entry(inode);
            sink.bytes(path.bytes_below(source).unwrap_or_else(|| path.as_bytes()));
            hash_entry(&mut sink, path, entry, overrides)?;
            let number = groups.len() as u64 + 1;
            let is_linked = tree.link_count(inode) > 1;
            sink.number(if is_linked { *groups.entry(inode).or_insert(number) } else { 0 });
        }
        sink.number(u64::MAX);
    }
    Ok(sink.finish())
}

/// Returns the names that a source selects: its own, and those below it that `wanted` says yes to, with the directories on the
/// way there.
pub fn selected_names<'a>(
    tree: &'a Tree,
    source: &ArchivePath,
    wanted: Option<&PathMatcher<'_>>,
) -> impl Iterator<Item = (&'a ArchivePath, InodeId)> + use<'a> {
    let selected = wanted.map(|wanted| below_wanted(tree, source, wanted));
    let source = source.clone();
    tree.names_within(&source).filter(move |(path, _)| {
        let Some(selected) = &selected else { return true };
        let below = path.strip_prefix(&source).filter(|below| !below.is_root());
        below.is_none_or(|below| selected.contains(&below))
    })
}

/// Returns what is wanted below `source`, with the directories on the way.
fn below_wanted(tree: &Tree, source: &ArchivePath, wanted: &PathMatcher<'_>) -> HashSet<ArchivePath> {
    let mut selected = HashSet::new();
    for (path, entry) in tree.below(source) {
        let below = path.strip_prefix(source).unwrap_or_else(|| path.clone());
        if wanted(&below, entry.is_directory()) {
            selected.extend(below.ancestors());
            selected.insert(below);
        }
    }
    selected
}

fn hash_entry(
    sink: &mut Sink,
    path: &ArchivePath,
    entry: &Entry,
    overrides: MetadataOverrides<'_>,
) -> Result<(), SelectionError> {
    let metadata = &entry.metadata;
    let (uid, gid) = overrides.owner.unwrap_or((metadata.uid, metadata.gid));
    let is_symlink = matches!(entry.kind, Kind::Symlink(_));
    let mode = match overrides.mode {
        Some(change) if !is_symlink => change(metadata.mode, entry.is_directory()),
        _ => metadata.mode,
    };
    sink.bytes(entry.kind.noun().as_bytes());
    sink.number(u64::from(mode));
    sink.number(u64::from(uid));
    sink.number(u64::from(gid));
    for (name, value) in metadata.xattrs.iter() {
        sink.bytes(name);
        sink.bytes(value);
    }
    sink.bytes(b"");
    match &entry.kind {
        Kind::File(content) => {
            let digest = content.digest.ok_or_else(|| SelectionError::NotHashed { path: path.clone() })?;
            sink.number(content.size);
            sink.bytes(digest.as_bytes());
        }
        Kind::Symlink(target) => sink.bytes(target),
        Kind::CharDevice(device) | Kind::BlockDevice(device) => {
            sink.number(u64::from(device.major));
            sink.number(u64::from(device.minor));
        }
        Kind::Directory | Kind::Fifo => {}
    }
    Ok(())
}

/// Hashes many short fields in few long pieces, by the quicker of the two hashes.
struct Sink {
    hasher: ContentHasher,
    buffer: Vec<u8>,
}

impl Sink {
    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES {
            self.hasher.update(&self.buffer);
            self.buffer.clear();
        }
    }

    fn number(&mut self, number: u64) {
        self.buffer.extend_from_slice(&number.to_le_bytes());
    }

    fn finish(mut self) -> Digest {
        self.hasher.update(&self.buffer);
        Digest::of(self.hasher.finish().as_bytes())
    }
}
