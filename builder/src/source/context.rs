//! Local directories as sources: what COPY, ADD and bind mounts can select, with the digests of their contents.
//!
//! A context is walked once a build, with its ignore file. Only what some step can select is hashed, and a file whose
//! identity (device, inode, size, times) is known from an earlier build is not read at all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_layer::content_hash::HashError;
use kiln_layer::digest_cache::CLOCK_SLACK_NS;
use kiln_layer::{
    ArchivePath, DirectoryOrigin, NoLayers, Rules, StatCache, Tree, Verdict, WalkError, WalkOptions,
    WalkOwner, WalkXattrs, hash_contents, walk_by_rules,
};
use kiln_oci::Digest;
use kiln_store::{Lookup, StoreError};

use crate::ignore::{Directory, Matcher};
use crate::source::archive::Files;
use crate::workshop::Workshop;

const STAT_CACHES: &str = "files";
/// Name of the ignore file.
const IGNORE_FILE: &str = ".dockerignore";
/// Largest ignore file that is read, in bytes.
const IGNORE_BYTES_MAX: u64 = 16 << 20;

/// Why a context cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// It cannot be walked.
    #[error("cannot read the build context")]
    Walk(#[from] WalkError),
    /// A file cannot be read.
    #[error("cannot read the build context")]
    Hash(#[from] HashError),
    /// The ignore file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Ignore {
        /// The file.
        path: PathBuf,
        /// What the file system says.
        source: std::io::Error,
    },
    /// The ignore file has a pattern that is none.
    #[error("error parsing `{}`: {reason}", path.display())]
    Pattern {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A context that was read.
#[derive(Debug)]
pub struct Context {
    /// Its files.
    pub tree: Arc<Tree>,
    /// The ignore file, for saying why a file is not there.
    pub ignore: Arc<Matcher>,
    /// Name of the ignore file, empty without one.
    pub ignore_name: String,
    /// Keeps what came as an archive.
    _archive: Option<Arc<Files>>,
}

impl Context {
    /// Returns the context that is an archive. No ignore file applies to it.
    pub fn of_archive(files: Arc<Files>) -> Self {
        Self {
            tree: Arc::clone(&files.tree),
            ignore: Arc::default(),
            ignore_name: String::new(),
            _archive: Some(files),
        }
    }
}

/// A context that is to be read.
#[derive(Debug, Clone)]
pub struct ContextSpec {
    /// The directory.
    pub directory: PathBuf,
    /// The ignore file that belongs to the Dockerfile, if there is one: it goes before the context's own.
    pub ignore_file: Option<PathBuf>,
    /// What steps select: paths or patterns, as written.
    pub selections: Vec<String>,
}

/// Walks a context and hashes what is selected.
///
/// # Errors
/// [`ContextError`], which names the file.
pub fn read(workshop: &Workshop, spec: &ContextSpec) -> Result<Context, ContextError> {
    let (ignore, ignore_name) = ignored(spec.ignore_file.as_deref(), Some(&spec.directory))?;
    let ignore = Arc::new(ignore);
    let options = WalkOptions { owner: WalkOwner::Root, xattrs: WalkXattrs::Layer };
    // Whoever changes a file later than this gives it a newer time, so unchanged identity means unchanged bytes.
    let origin = DirectoryOrigin::open(&spec.directory)
        .map_err(|source| WalkError::Root { path: spec.directory.clone(), source })?
        .trusting(workshop.started_ns - CLOCK_SLACK_NS);
    let key = Digest::of(spec.directory.as_os_str().as_encoded_bytes());
    let cache = stat_cache(workshop, &key);
    let mut tree = walk_by_rules(&Arc::new(origin), &Ignored(&ignore), options, &cache)?;
    let selected = Selected::new(&tree, &spec.selections);
    hash_contents(&mut tree, &|path| selected.contains(path), &cache, &NoLayers)?;
    if cache.is_changed() {
        workshop.store.records().put(STAT_CACHES, &key, &cache.encode(), &[])?;
    }
    Ok(Context { tree: Arc::new(tree), ignore, ignore_name, _archive: None })
}

/// Applies an ignore file to a walk.
struct Ignored<'a>(&'a Matcher);

impl<'a> Rules for Ignored<'a> {
    type Directory = Directory<'a>;

    fn root(&self) -> Directory<'a> {
        self.0.top()
    }

    fn judge(&self, above: &Directory<'a>, path: &ArchivePath) -> Verdict {
        match above.excludes(path.file_name().unwrap_or_default()) {
            true => Verdict::Skip,
            false => Verdict::Keep,
        }
    }

    fn enter(&self, above: &Directory<'a>, path: &ArchivePath) -> (Verdict, Directory<'a>) {
        let directory = above.enter(path.file_name().unwrap_or_default());
        let verdict = match (directory.is_excluded(), directory.can_prune()) {
            (false, _) => Verdict::Keep,
            (true, false) => Verdict::Skip,
            (true, true) => Verdict::Prune,
        };
        (verdict, directory)
    }
}

fn stat_cache(workshop: &Workshop, key: &Digest) -> StatCache {
    // A damaged or foreign record means that the files are read again.
    let record = workshop.store.records().get(STAT_CACHES, key).ok().and_then(Lookup::hit);
    record
        .and_then(|record| StatCache::decode(record.payload, workshop.started_ns).ok())
        .unwrap_or_else(|| StatCache::new(workshop.started_ns))
}

/// Returns where the ignore file is that belongs to a Dockerfile.
pub fn ignore_file_of(dockerfile: &Path) -> PathBuf {
    let mut name = dockerfile.as_os_str().to_owned();
    name.push(IGNORE_FILE);
    PathBuf::from(name)
}

/// Returns the patterns that hold for a context, and the name of the file that has them: that of the Dockerfile goes before
/// the context's own.
///
/// # Errors
/// [`ContextError`], when it cannot be read or has a pattern that is none.
pub fn ignored(
    of_dockerfile: Option<&Path>,
    directory: Option<&Path>,
) -> Result<(Matcher, String), ContextError> {
    let own = directory.map(|directory| directory.join(IGNORE_FILE));
    for path in of_dockerfile.into_iter().chain(own.as_deref()) {
        if let Some(bytes) = read_small(path)? {
            let matcher = Matcher::parse(&bytes).map_err(|error| ContextError::Pattern {
                path: path.to_owned(),
                reason: error.to_string(),
            })?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Ok((matcher, name));
        }
    }
    Ok((Matcher::default(), String::new()))
}

fn read_small(path: &Path) -> Result<Option<Vec<u8>>, ContextError> {
    let failed = |source| ContextError::Ignore { path: path.to_owned(), source };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error)
            if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    let mut limited = std::io::Read::take(file, IGNORE_BYTES_MAX + 1);
    std::io::Read::read_to_end(&mut limited, &mut bytes).map_err(failed)?;
    if bytes.len() as u64 > IGNORE_BYTES_MAX {
        return Err(failed(std::io::Error::other(format!("it is larger than {IGNORE_BYTES_MAX} bytes"))));
    }
    Ok(Some(bytes))
}

/// Which files of a context steps can select: everything at and below the fixed beginning of their patterns, where those
/// beginnings name no symlink; else everything.
#[derive(Debug)]
struct Selected {
    everything: bool,
    beginnings: Vec<ArchivePath>,
}

impl Selected {
    fn new(tree: &Tree, patterns: &[String]) -> Self {
        let mut selected = Self { everything: false, beginnings: Vec::new() };
        for pattern in patterns {
            let is_pattern = |part: &&str| part.contains(['*', '?', '[', '\\']);
            let parts = || pattern.split('/').filter(|part| !part.is_empty() && *part != ".");
            let beginning: Vec<&str> = parts().take_while(|part| !is_pattern(part)).collect();
            let has_wildcards = parts().any(|part| is_pattern(&part));
            match ArchivePath::clamp(beginning.join("/").as_bytes()) {
                Ok(path) if path.is_root() || crosses_symlink(tree, &path) => selected.everything = true,
                Ok(path) if has_wildcards && has_symlink(tree, &path) => selected.everything = true,
                Ok(path) => selected.beginnings.push(path),
                // It is no path at all: the step that wants it says so.
                Err(_) => {}
            }
        }
        selected
    }

    fn contains(&self, path: &ArchivePath) -> bool {
        self.everything || self.beginnings.iter().any(|beginning| path.is_within(beginning))
    }
}

fn crosses_symlink(tree: &Tree, path: &ArchivePath) -> bool {
    path.ancestors()
        .chain([path.clone()])
        .any(|part| tree.get(&part).is_some_and(|entry| entry.symlink_target().is_some()))
}

/// A wildcard may name a symlink, and the symlink any file.
fn has_symlink(tree: &Tree, path: &ArchivePath) -> bool {
    tree.within(path).any(|(_, entry)| entry.symlink_target().is_some())
}

/// Contexts by their name in the plan.
pub type Contexts = BTreeMap<String, Context>;
