//! Local directories as sources: what COPY, ADD and bind mounts can select, with the digests of their contents.
//!
//! A context is walked once a build, with its ignore file. Where nothing changed since steps selected the same of it, that is
//! all. Else a tree is made of it: only what some step can select is hashed, and a file whose identity (device, inode, size,
//! times) is known from an earlier build is not read at all.

mod ignored;
mod known;
mod selected;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use kiln_layer::content_hash::HashError;
use kiln_layer::digest_cache::CLOCK_SLACK_NS;
use kiln_layer::{
    DirectoryOrigin, NoLayers, StatCache, Survey, Tree, WalkError, WalkOptions, WalkOwner, WalkXattrs,
    hash_contents,
};
use kiln_oci::Digest;
use kiln_store::{Lookup, Store, StoreError};

use self::ignored::Ignored;
pub use self::ignored::{ignore_file_of, ignored};
use self::known::KnownSelections;
use self::selected::Selected;
use crate::ignore::Matcher;
use crate::source::archive::Files;
use crate::workshop::Workshop;

const STAT_CACHES: &str = "files";

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

/// A context whose files can be asked for.
#[derive(Debug)]
pub struct Context {
    /// The ignore file, for saying why a file is not there.
    pub ignore: Matcher,
    /// Name of the ignore file, empty without one.
    pub ignore_name: String,
    /// How many files it has, counted by name.
    pub file_count: usize,
    files: ContextFiles,
}

#[derive(Debug)]
enum ContextFiles {
    Archive(Arc<Files>),
    Directory(Box<DirectoryFiles>),
}

/// A context that is to be read.
#[derive(Debug, Clone)]
pub struct ContextSpec {
    /// The directory.
    pub directory: PathBuf,
    /// The ignore file that belongs to the Dockerfile, if there is one: it goes before the context's own.
    pub ignore_file: Option<PathBuf>,
    /// What steps select: what identifies it, and the path or pattern as written.
    pub selections: BTreeMap<Digest, String>,
}

impl Context {
    /// Returns the context that is an archive. No ignore file applies to it.
    pub fn of_archive(files: Arc<Files>) -> Self {
        Self {
            ignore: Matcher::default(),
            ignore_name: String::new(),
            file_count: files.tree.iter().filter(|(_, entry)| entry.content().is_some()).count(),
            files: ContextFiles::Archive(files),
        }
    }

    /// Walks a directory, and reads it unless everything that is selected is known.
    ///
    /// # Errors
    /// [`ContextError`], which names the file.
    pub fn read(workshop: &Workshop, spec: ContextSpec) -> Result<Self, ContextError> {
        let (ignore, ignore_name) = ignored(spec.ignore_file.as_deref(), Some(&spec.directory))?;
        let options = WalkOptions { owner: WalkOwner::Root, xattrs: WalkXattrs::Layer };
        // Whoever changes a file later than this gives it a newer time, so unchanged identity means unchanged bytes.
        let origin = DirectoryOrigin::open(&spec.directory)
            .map_err(|source| WalkError::Root { path: spec.directory.clone(), source })?
            .trusting(workshop.started_ns - CLOCK_SLACK_NS);
        let survey = Survey::new(&Arc::new(origin), &Ignored(&ignore), options)?;
        let file_count = survey.file_count();
        let key = Digest::of(spec.directory.as_os_str().as_encoded_bytes());
        let known = KnownSelections::load(&workshop.store, key, survey.fingerprint());
        let is_known = spec.selections.keys().all(|query| known.get(query).is_some());
        let files = DirectoryFiles {
            store: workshop.store.clone(),
            started_ns: workshop.started_ns,
            key,
            selections: spec.selections,
            known,
            survey: Mutex::default(),
            tree: OnceLock::new(),
        };
        if is_known {
            *files.survey.lock().unwrap_or_else(PoisonError::into_inner) = Some(survey);
        } else {
            let tree = files.read(survey)?;
            files.tree.get_or_init(|| Ok(Arc::new(tree)));
        }
        Ok(Self { ignore, ignore_name, file_count, files: ContextFiles::Directory(Box::new(files)) })
    }

    /// Returns the files, with the digests of those that are selected. Reads them if that was not needed before: not for a
    /// thread that must not block.
    ///
    /// # Errors
    /// [`ContextError`], which names the file.
    pub fn tree(&self) -> Result<Arc<Tree>, Arc<ContextError>> {
        match &self.files {
            ContextFiles::Archive(files) => Ok(Arc::clone(&files.tree)),
            ContextFiles::Directory(files) => files.tree(),
        }
    }

    /// Returns the files if somebody needed them.
    pub fn tree_if_read(&self) -> Option<Arc<Tree>> {
        match &self.files {
            ContextFiles::Archive(files) => Some(Arc::clone(&files.tree)),
            ContextFiles::Directory(files) => files.tree.get().and_then(|tree| tree.clone().ok()),
        }
    }

    /// Returns the digest of what `query` stands for: the one that is known, or what `find` finds in the files.
    ///
    /// # Errors
    /// Those of `find`, and when the files cannot be read.
    pub fn selection<E: From<Arc<ContextError>>>(
        &self,
        query: Digest,
        find: impl FnOnce(&Tree) -> Result<Digest, E>,
    ) -> Result<Digest, E> {
        let ContextFiles::Directory(files) = &self.files else { return find(&*self.tree()?) };
        if let Some(known) = files.known.get(&query) {
            return Ok(known);
        }
        let found = find(&*files.tree()?)?;
        files.known.add(query, found);
        Ok(found)
    }

    /// Remembers the digests of selections for later builds.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn remember_selections(&self) -> Result<(), StoreError> {
        match &self.files {
            ContextFiles::Archive(_) => Ok(()),
            ContextFiles::Directory(files) => files.known.keep(&files.store),
        }
    }
}

/// The files of a directory, which become a tree when somebody asks for it.
#[derive(Debug)]
struct DirectoryFiles {
    store: Store,
    started_ns: i128,
    /// Names the directory in records.
    key: Digest,
    selections: BTreeMap<Digest, String>,
    known: KnownSelections,
    survey: Mutex<Option<Survey>>,
    tree: OnceLock<Result<Arc<Tree>, Arc<ContextError>>>,
}

impl DirectoryFiles {
    fn tree(&self) -> Result<Arc<Tree>, Arc<ContextError>> {
        let read = || {
            let survey = self.survey.lock().unwrap_or_else(PoisonError::into_inner).take();
            let survey = survey.expect("a survey becomes a tree once");
            self.read(survey).map(Arc::new).map_err(Arc::new)
        };
        self.tree.get_or_init(read).clone()
    }

    /// Makes the tree, and hashes what is selected.
    fn read(&self, survey: Survey) -> Result<Tree, ContextError> {
        let cache = self.stat_cache();
        let mut tree = survey.into_tree(&cache)?;
        let selected = Selected::new(&tree, self.selections.values().map(String::as_str));
        hash_contents(&mut tree, &|path| selected.contains(path), &cache, &NoLayers)?;
        if cache.is_changed() {
            self.store.records().put(STAT_CACHES, &self.key, &cache.encode(), &[])?;
        }
        Ok(tree)
    }

    fn stat_cache(&self) -> StatCache {
        // A damaged or foreign record means that the files are read again.
        let record = self.store.records().get(STAT_CACHES, &self.key).ok().and_then(Lookup::hit);
        record
            .and_then(|record| StatCache::decode(record.payload, self.started_ns).ok())
            .unwrap_or_else(|| StatCache::new(self.started_ns))
    }
}

/// Contexts by their name in the plan.
pub type Contexts = BTreeMap<String, Context>;
