//! The rules of COPY and ADD, as a pure function from trees to [`Changes`].
//!
//! | Source | Destination | Result |
//! |---|---|---|
//! | file | ends in `/`, or is a directory | `destination/name` |
//! | file | anything else | exactly `destination`; its symlinks, the last included, are followed inside the root |
//! | file | a directory stands at that name | error |
//! | file | a file or symlink stands at that name | replaced; other names of its inode keep it |
//! | directory | missing | made 0755 0:0 (or by the flags), then as below |
//! | directory | directory | *contents* merge in: the destination keeps its metadata, directories inside take the source's |
//! | directory | anything else | error; also inside, a symlink to a directory included |
//! | archive (ADD) | – | always a directory; members replace whatever is in their way |
//!
//! Missing parents are made 0755 0:0, or by `--chown` and an octal `--chmod`; below a set-group-id directory they inherit its group
//! and bit, as they do from a kernel. Sources follow symlinks inside their root; symlinks *in* a copied directory stay symlinks. A
//! literal source must exist, and so must what stands before a wildcard, which may match nothing. Hard links of files inside one
//! copied tree stay hard links. `--link` copies onto nothing. What is not changed is not recorded, but files always are.
//!
//! Where only some of a directory is copied (`--parents`, exceptions of `--exclude`), the directories on the way are made as the
//! source has them; one that is there already takes the mode of the source's, untouched by flags, and keeps its owner
//! (`createParentDirs` in BuildKit's `tonistiigi/fsutil/copy`).
//!
//! What was seen of the target is reported as [`Observed`]: two targets that look the same there give the same changes.

mod place;
mod source;

use std::collections::BTreeMap;

use kiln_oci::{Digest, Hasher};

use crate::chmod::Chmod;
use crate::content_hash::Selected;
use crate::entry::{Entry, Kind, WithTime};
use crate::owner::Owner;
use crate::path::{ArchivePath, PathError, PathMatcher};
use crate::tree::{Changes, ResolveError, Tree};
pub use kiln_glob::BadPattern;
use place::Placer;
pub use place::check_length;
pub use source::{ParentsPattern, select_sources};

/// One COPY or ADD.
pub struct CopyRequest<'a> {
    /// What is copied, in order; later ones win.
    pub sources: Vec<CopySource<'a>>,
    /// Where to, as written after expansion.
    pub destination: &'a [u8],
    /// The working directory, to which a relative destination is relative.
    pub workdir: &'a [u8],
    /// `--chown`, resolved.
    pub owner: Option<Owner>,
    /// `--chmod`.
    pub chmod: Option<Chmod>,
    /// `--link`.
    pub link: bool,
    /// `--exclude`: says yes for what stays out. Asked with the path below the source directory; must itself say yes for what
    /// lies in an excluded directory, unless an exception brings it back.
    pub exclude: Option<&'a PathMatcher<'a>>,
    /// Whether layers keep times, so that a change of times is a change.
    pub with_time: WithTime,
}

/// One source of a COPY or ADD.
#[derive(Clone)]
pub enum CopySource<'a> {
    /// A path in a tree: the context, a stage, an image.
    Path {
        /// Where it is looked up.
        tree: &'a Tree,
        /// As written after expansion; wildcards count.
        pattern: &'a [u8],
        /// `--parents`: `pattern` names directories, and this what of them is copied.
        part: Option<Part<'a>>,
    },
    /// One entry of a tree that was looked up already.
    Entry {
        /// Where it is.
        tree: &'a Tree,
        /// Which one.
        selected: Selected,
    },
    /// One file with a name of its own: a heredoc, a download.
    File {
        /// Its name where the destination is a directory.
        name: &'a [u8],
        /// The file.
        entry: Entry,
    },
    /// The contents of an archive.
    Archive {
        /// What was in it.
        tree: &'a Tree,
    },
}

/// What of a directory is copied, with its path from there.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    /// Says yes for what is copied. Asked as `exclude` is, and like that must say yes for what lies in a directory it takes.
    pub include: &'a PathMatcher<'a>,
    /// A path below the directory that must exist.
    pub required: Option<&'a ArchivePath>,
}

/// What a COPY does, and what it depended on.
#[derive(Debug, Clone)]
pub struct Copied {
    /// The layer.
    pub changes: Changes,
    /// What was seen of the target.
    pub observed: Observed,
}

/// What was seen of the target while copying onto it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    seen: BTreeMap<ArchivePath, Digest>,
    depends: bool,
    with_time: bool,
}

/// Why nothing was copied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// A literal source that is not there.
    #[error("source `/{source_path}` was not found")]
    SourceNotFound {
        /// The source, cleaned.
        source_path: ArchivePath,
    },
    /// A source that is a symlink to nothing.
    #[error("source `/{source_path}` leads to `/{target}`, which was not found")]
    SourceDangles {
        /// The source, cleaned.
        source_path: ArchivePath,
        /// Where it leads.
        target: ArchivePath,
    },
    /// A source that cannot be reached.
    #[error("source `/{source_path}` cannot be reached")]
    Source {
        /// The source, cleaned.
        source_path: ArchivePath,
        /// Why.
        #[source]
        source: ResolveError,
    },
    /// A source or destination that is no path.
    #[error("`{text}` is not a path")]
    NotAPath {
        /// The text as written, escaped.
        text: String,
        /// What is wrong.
        #[source]
        source: PathError,
    },
    /// A wildcard that is malformed.
    #[error("`{pattern}` is not a pattern")]
    Pattern {
        /// The pattern, escaped.
        pattern: String,
        /// What is wrong.
        source: BadPattern,
    },
    /// A destination that cannot be reached.
    #[error("destination `/{destination}` cannot be reached")]
    Destination {
        /// The destination, cleaned.
        destination: ArchivePath,
        /// Why.
        #[source]
        source: ResolveError,
    },
    /// Several sources for what may be one file.
    #[error("{count} sources need a directory as destination: end `{destination}` with `/`")]
    NeedsSlash {
        /// How many sources there are.
        count: usize,
        /// The destination as written, escaped.
        destination: String,
    },
    /// A file where a directory is.
    #[error("cannot replace the directory `/{destination}` with the file `/{source_path}`")]
    FileOverDirectory {
        /// The source.
        source_path: ArchivePath,
        /// The directory.
        destination: ArchivePath,
    },
    /// A directory where something else is.
    #[error("cannot copy the directory `/{source_path}` to `/{destination}`, which is a {noun}")]
    DirectoryOverOther {
        /// The source.
        source_path: ArchivePath,
        /// What is in the way.
        destination: ArchivePath,
        /// What that is.
        noun: &'static str,
    },
    /// A name or path that no file system takes.
    #[error(
        "`/{beginning}…` is too long: it has {length} bytes, more than the {max} of a {what}, and nobody could unpack the image"
    )]
    TooLong {
        /// How it begins.
        beginning: String,
        /// Whether it is a `name` or a `path`.
        what: &'static str,
        /// How long it is.
        length: usize,
        /// How long it may be.
        max: usize,
    },
    /// A destination that must be a directory and is something else.
    #[error("destination `/{destination}` is a {noun}, not a directory")]
    DestinationNotDirectory {
        /// The destination.
        destination: ArchivePath,
        /// What it is.
        noun: &'static str,
    },
}

/// Copies onto `target` and says what changed.
///
/// # Errors
/// See [`CopyError`]; every one names the path.
pub fn copy(target: &Tree, request: &CopyRequest<'_>) -> Result<Copied, CopyError> {
    let nothing = Tree::new();
    let target = if request.link { &nothing } else { target };
    let destination = Destination::of(request)?;
    let is_part = |source: &CopySource<'_>| matches!(source, CopySource::Path { part: Some(_), .. });
    if request.sources.len() > 1 && !destination.is_directory && !request.sources.iter().all(is_part) {
        return Err(needs_slash(request, request.sources.len()));
    }
    let mut placer = Placer::new(target, request, destination);
    for source in &request.sources {
        match source {
            CopySource::Path { tree, pattern, part } => {
                let found = select_sources(tree, pattern, part.as_ref())?;
                if found.len() > 1 && part.is_none() && placer.is_one_name()? {
                    return Err(needs_slash(request, found.len()));
                }
                for one in &found {
                    placer.place_found(tree, one, part.map(|part| part.include))?;
                }
            }
            CopySource::Entry { tree, selected } => placer.place_found(tree, selected, None)?,
            CopySource::File { name, entry } => placer.place_named(name, entry)?,
            CopySource::Archive { tree } => placer.place_archive(tree)?,
        }
    }
    Ok(placer.finish())
}

fn needs_slash(request: &CopyRequest<'_>, count: usize) -> CopyError {
    CopyError::NeedsSlash { count, destination: crate::path::escape(request.destination) }
}

/// Where to copy, before symlinks are followed.
#[derive(Debug, Clone)]
struct Destination {
    path: ArchivePath,
    /// Written as a directory.
    is_directory: bool,
}

impl Destination {
    fn of(request: &CopyRequest<'_>) -> Result<Self, CopyError> {
        let written = request.destination;
        let whole = match written.first() {
            Some(b'/') => written.to_vec(),
            _ => [request.workdir, b"/", written].concat(),
        };
        let path = ArchivePath::clamp(&whole)
            .map_err(|source| CopyError::NotAPath { text: crate::path::escape(written), source })?;
        let is_directory =
            written.is_empty() || written == b"." || written.ends_with(b"/") || written.ends_with(b"/.");
        Ok(Self { path, is_directory })
    }
}

impl Observed {
    /// Tells whether anything of the target was there to be seen, beyond its root. Without, any target that lacks the looked-up
    /// names gives the same changes.
    pub fn depends_on_target(&self) -> bool {
        self.depends
    }

    /// Returns a digest of what was seen. Two targets that give the same one give the same changes.
    pub fn digest(&self) -> Digest {
        let mut hasher = Hasher::new();
        for (path, seen) in &self.seen {
            hasher.update(&(path.as_bytes().len() as u64).to_le_bytes());
            hasher.update(path.as_bytes());
            hasher.update(seen.as_bytes());
        }
        hasher.finish()
    }

    fn new(with_time: WithTime) -> Self {
        Self { with_time: with_time == WithTime::Yes, ..Self::default() }
    }

    fn note(&mut self, path: &ArchivePath, entry: Option<&Entry>) {
        let absent = Digest::of(b"absent");
        // The root is always there, and only its set-group-id bit can decide anything.
        let is_plain_root = path.is_root() && !entry.is_some_and(Entry::has_set_gid);
        if is_plain_root || self.seen.contains_key(path) {
            return;
        }
        let seen = match entry {
            None if path.parent().is_some_and(|parent| self.seen.get(&parent) == Some(&absent)) => return,
            None => absent,
            Some(entry) => {
                self.depends = true;
                digest_of_seen(entry, self.with_time)
            }
        };
        self.seen.insert(path.clone(), seen);
    }
}

/// What of an entry in the target can decide anything: a directory's metadata, a symlink's target, else only what it is.
fn digest_of_seen(entry: &Entry, with_time: bool) -> Digest {
    let mut text = entry.kind.noun().as_bytes().to_vec();
    match &entry.kind {
        Kind::Symlink(target) => text.extend_from_slice(target),
        Kind::Directory => {
            let metadata = &entry.metadata;
            text.extend_from_slice(
                format!(" {:o} {} {}", metadata.mode, metadata.uid, metadata.gid).as_bytes(),
            );
            if with_time {
                let mtime = metadata.mtime;
                text.extend_from_slice(format!(" {}.{}", mtime.seconds, mtime.nanoseconds).as_bytes());
            }
            for (name, value) in metadata.xattrs.iter() {
                text.extend_from_slice(format!(" {} ", name.len()).as_bytes());
                text.extend_from_slice(name);
                text.extend_from_slice(format!(" {} ", value.len()).as_bytes());
                text.extend_from_slice(value);
            }
        }
        _ => text = b"other".to_vec(),
    }
    Digest::of(&text)
}
