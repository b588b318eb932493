//! The files of a commit, with those of its submodules, as a tree.
//!
//! | | |
//! |---|---|
//! | modes | 0644, 0755; git keeps no others, and the umask of whoever builds does not count |
//! | owner | root |
//! | symlinks | as they are; none is followed, also not to find the subdirectory |
//! | `.git` | nowhere, unless it is asked for |
//! | line ends, encodings | as the repository's `.gitattributes` say; filters (LFS) are not run |

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_layer::{
    ArchivePath, Entry, Kind, NoLayers, Timestamp, Tree, Verdict, WalkError, WalkOptions, WalkOwner,
    WalkXattrs, hash_contents,
};
use kiln_store::Scratch;

use super::bare::Bare;
use super::fetch::{Asked, format_of};
use super::kept::{GitDirectory, KeptSubmodule};
use super::submodules::{self, Submodule};
use super::{GitError, GitSources, PathProblem, Resolved, SubmoduleError};
use crate::git_reference::{GitReference, Mtime, Remote};
use crate::lanes::blocking;
use crate::secrets::without_logins;

/// How deep submodules may lie within submodules.
const SUBMODULE_DEPTH_MAX: usize = 16;
/// How many submodules there may be in all.
const SUBMODULES_MAX: usize = 2_000;

/// Files of a repository.
#[derive(Debug)]
pub(super) struct Checkout {
    /// The files, hashed.
    pub(super) tree: Arc<Tree>,
    /// Where they lie.
    _scratch: Vec<Scratch>,
}

/// What is wanted of one repository: the one that was named, or a submodule.
struct Wanted<'a> {
    asked: Asked<'a>,
    resolved: &'a Resolved,
    /// The part of it that is wanted; the root for all.
    part: ArchivePath,
    keeps_git_directory: bool,
    depth: usize,
}

/// What has been gathered so far.
struct Gathered {
    tree: Tree,
    scratch: Vec<Scratch>,
    submodules: usize,
}

/// What is known of a repository whose files were written.
struct Written {
    commit: String,
    time: i64,
    /// Its submodules with their paths and commits.
    submodules: Vec<(ArchivePath, Submodule, String)>,
}

impl GitSources {
    /// Returns the files of a reference.
    pub(super) async fn check_out(
        &self,
        reference: &GitReference,
        resolved: &Resolved,
        task: &str,
    ) -> Result<Checkout, GitError> {
        let part = part_of(reference)?;
        let asked = Asked { remote: &reference.remote, named: &reference.remote, task };
        let keeps_git_directory = reference.keeps_git_directory();
        let wanted = Wanted { asked, resolved, part: part.clone(), keeps_git_directory, depth: 0 };
        let mut gathered = Gathered { tree: Tree::new(), scratch: Vec::new(), submodules: 0 };
        let root = ArchivePath::root();
        let written = self.gather(&wanted, &root, reference.submodules, &mut gathered).await?;
        let failed = |problem| GitError::Subdirectory {
            repository: reference.remote.address.clone(),
            commit: written.commit.clone(),
            subdirectory: reference.subdirectory.clone(),
            problem,
        };
        check_part(&gathered.tree, &part).map_err(failed)?;
        let time = (reference.mtime == Mtime::Commit).then(|| Timestamp::from_seconds(written.time));
        let mut tree = normal(&gathered.tree, &part, time);
        let tree = self
            .workshop
            .lanes
            .cpu(move || hash_contents(&mut tree, &|_| true, &kiln_layer::NoCache, &NoLayers).map(|_| tree));
        Ok(Checkout { tree: Arc::new(tree.await?), _scratch: gathered.scratch })
    }

    /// Adds the files of a repository, and of its submodules, below `place`.
    async fn gather(
        &self,
        wanted: &Wanted<'_>,
        place: &ArchivePath,
        with_submodules: bool,
        gathered: &mut Gathered,
    ) -> Result<Written, GitError> {
        let written = self.write(wanted, place, with_submodules, gathered).await?;
        for (path, submodule, commit) in &written.submodules {
            if submodule.is_left_out || !(path.is_within(&wanted.part) || wanted.part.is_within(path)) {
                continue;
            }
            let added = Box::pin(self.add(wanted, place, path, submodule, commit, gathered)).await;
            added.map_err(|source| GitError::Submodule {
                repository: wanted.asked.remote.address.clone(),
                path: path.to_string(),
                source: Box::new(source),
            })?;
        }
        Ok(written)
    }

    async fn add(
        &self,
        of: &Wanted<'_>,
        place: &ArchivePath,
        path: &ArchivePath,
        submodule: &Submodule,
        commit: &str,
        gathered: &mut Gathered,
    ) -> Result<(), SubmoduleError> {
        gathered.submodules += 1;
        if of.depth >= SUBMODULE_DEPTH_MAX {
            return Err(SubmoduleError::TooDeep { limit: SUBMODULE_DEPTH_MAX });
        }
        if gathered.submodules > SUBMODULES_MAX {
            return Err(SubmoduleError::TooMany { limit: SUBMODULES_MAX });
        }
        let remote = submodule_remote(of.asked.remote, submodule)?;
        let resolved = Resolved { object: commit.to_owned(), peeled: None, name: None };
        let wanted = Wanted {
            asked: Asked { remote: &remote, ..of.asked },
            resolved: &resolved,
            part: of.part.strip_prefix(path).unwrap_or_else(ArchivePath::root),
            keeps_git_directory: of.keeps_git_directory,
            depth: of.depth + 1,
        };
        self.gather(&wanted, &place.join_path(path), true, gathered).await?;
        Ok(())
    }

    /// Writes the files of one repository and adds them to the tree.
    async fn write(
        &self,
        wanted: &Wanted<'_>,
        place: &ArchivePath,
        with_submodules: bool,
        gathered: &mut Gathered,
    ) -> Result<Written, GitError> {
        let Wanted { asked, resolved, part, .. } = wanted;
        let bare = self.open(*asked, format_of(&resolved.object)).await?;
        self.obtain(&bare, *asked, &resolved.object).await?;
        let commit = bare.commit_of(&resolved.object).await?;
        let facts = bare.facts(&commit).await?;
        let store = self.workshop.store.clone();
        let scratch = blocking(move || store.scratch("git")).await?;
        let files = scratch.path().join("files");
        fs_err::create_dir(&files).map_err(|error| bare.io(error))?;
        bare.write_files(&commit, &files, &scratch.path().join("index")).await?;
        let submodules = match with_submodules {
            true => submodules_of(&bare, &commit).await?,
            false => Vec::new(),
        };
        let tree = self.walk(files, part.clone()).await?;
        gathered.add(&tree, place);
        if wanted.keeps_git_directory {
            let kept = submodules.iter().filter(|(_, submodule, _)| !submodule.is_left_out);
            let submodules = kept.map(|(_, submodule, _)| {
                let remote = submodule_remote(asked.remote, submodule).ok()?;
                Some(KeptSubmodule { name: submodule.name.clone(), address: remote.address })
            });
            let directory = GitDirectory {
                commit: &commit,
                object: &resolved.object,
                name: resolved.name.as_deref(),
                address: &asked.remote.address,
                is_shallow: facts.has_parents,
                submodules: submodules.flatten().collect(),
            };
            let kept = scratch.path().join("git");
            directory.write(&bare, &kept).await?;
            let below = place.join(b".git").expect("a plain name");
            let tree = self.walk(kept, ArchivePath::root()).await?;
            gathered.add(&tree, &below);
        }
        gathered.scratch.push(scratch);
        Ok(Written { commit, time: facts.time, submodules })
    }

    async fn walk(&self, directory: PathBuf, part: ArchivePath) -> Result<Tree, GitError> {
        Ok(self.workshop.lanes.cpu(move || listed(&directory, &part)).await?)
    }
}

async fn submodules_of(bare: &Bare, commit: &str) -> Result<Vec<(ArchivePath, Submodule, String)>, GitError> {
    let links = bare.submodules(commit).await?;
    if links.is_empty() {
        return Ok(Vec::new());
    }
    let settings = bare.submodule_settings(commit).await?;
    let found = links.into_iter().map(|(name, commit)| {
        let path = ArchivePath::parse(&name).map_err(|error| bare.io(std::io::Error::other(error)))?;
        let submodule = submodules::at(&settings, &String::from_utf8_lossy(&name));
        // Without a description it is an error as soon as it is wanted.
        let unknown = || Submodule { name: String::new(), address: String::new(), is_left_out: false };
        Ok((path, submodule.unwrap_or_else(unknown), commit))
    });
    found.collect()
}

fn submodule_remote(of: &Remote, submodule: &Submodule) -> Result<Remote, SubmoduleError> {
    if submodule.address.is_empty() {
        return Err(SubmoduleError::NoAddress);
    }
    submodules::remote(of, &submodule.address)
        .map_err(|reason| SubmoduleError::Address { address: without_logins(&submodule.address), reason })
}

fn part_of(reference: &GitReference) -> Result<ArchivePath, GitError> {
    ArchivePath::clamp(reference.subdirectory.as_bytes()).map_err(|error| GitError::Io {
        repository: reference.remote.address.clone(),
        source: std::io::Error::other(error),
    })
}

/// Says what is wrong with the wanted part; symlinks are not followed.
fn check_part(tree: &Tree, part: &ArchivePath) -> Result<(), PathProblem> {
    for path in part.ancestors().chain([part.clone()]) {
        match tree.get(&path).map(|entry| &entry.kind) {
            Some(Kind::Directory) => {}
            Some(Kind::Symlink(_)) => return Err(PathProblem::Symlink),
            Some(_) => return Err(PathProblem::NoDirectory),
            None => return Err(PathProblem::Missing),
        }
    }
    Ok(())
}

/// Returns the wanted part with the modes that git knows.
fn normal(tree: &Tree, part: &ArchivePath, time: Option<Timestamp>) -> Tree {
    let mut normal = Tree::new();
    for (path, entry) in tree.within(part) {
        let Some(path) = path.strip_prefix(part) else { continue };
        let mut entry = entry.clone();
        entry.metadata.mode = mode(&entry);
        entry.metadata.mtime = time.unwrap_or(entry.metadata.mtime);
        normal.insert(path, entry);
    }
    normal
}

fn mode(entry: &Entry) -> u32 {
    match entry.kind {
        Kind::Symlink(_) => entry.metadata.mode,
        Kind::File(_) if entry.metadata.mode & 0o100 == 0 => 0o644,
        _ => 0o755,
    }
}

impl Gathered {
    fn add(&mut self, tree: &Tree, place: &ArchivePath) {
        for (path, entry) in tree.iter() {
            self.tree.insert(place.join_path(path), entry.clone());
        }
    }
}

/// Lists the part of a directory that is wanted, and what leads to it.
fn listed(directory: &Path, part: &ArchivePath) -> Result<Tree, WalkError> {
    let options = WalkOptions { owner: WalkOwner::Root, xattrs: WalkXattrs::None };
    let filter = |path: &ArchivePath, is_directory: bool| match path.is_within(part) || part.is_within(path) {
        true => Verdict::Keep,
        false if is_directory => Verdict::Prune,
        false => Verdict::Skip,
    };
    kiln_layer::walk(directory, &filter, options)
}
