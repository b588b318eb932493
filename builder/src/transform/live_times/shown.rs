//! The directory that shows files of the layers with other times: copies, on top of all layers.
//!
//! ```text
//! <scratch>/
//!   root/       the lower directory
//!   contents    what it shows, as a digest
//! ```
//!
//! It is kept beside the cache mount and taken by the next step: as it is, when that is to see the same, else the files in it
//! that still count are moved over. Within one mount a path and a time belong to one content only, since a time is given once.
//! So a step costs what changed since the one before it.

use std::collections::HashMap;
use std::path::PathBuf;

use kiln_layer::{
    ArchivePath, ContentDigest, ContentHasher, Entry, InodeId, Kind, MaterializeOptions, Ownership,
    Timestamp as FileTime, Tree, materialize, materialize_again,
};
use kiln_store::{CacheMount, Memory, Scratch};

use super::Below;
use crate::layers::{self, UnpackedLayers};
use crate::transform::{Bench, StepError};
use crate::upper;

const ROOT: &str = "root";
const CONTENTS: &str = "contents";

/// A directory in use.
pub(super) struct Shown {
    scratch: Scratch,
    mount: Option<PathBuf>,
}

impl Shown {
    /// Returns the directory.
    pub(super) fn directory(&self) -> PathBuf {
        self.scratch.path().join(ROOT)
    }

    /// Gives the directory back to the cache mount that it was made for.
    pub(super) fn keep<'a>(self, mut caches: impl Iterator<Item = &'a CacheMount>) {
        let Some(mount) = caches.find(|cache| Some(cache.path()) == self.mount.as_deref()) else { return };
        // It is a cache: a step that cannot keep it has still succeeded.
        drop(mount.memory().and_then(|memory| memory.give_shown(self.scratch)));
    }
}

/// Makes the directory that shows `changed` paths with their times, or takes it from the memory of a mount.
pub(super) fn show(
    bench: &Bench,
    below: Below<'_>,
    changed: &[(ArchivePath, FileTime)],
    memory: Option<(&Memory, &CacheMount)>,
) -> Result<Option<Shown>, StepError> {
    if changed.is_empty() {
        return Ok(None);
    }
    let tree = part(below.tree, changed);
    let scratch = bench.workshop.store.scratch("shown")?;
    let failed =
        |source| StepError::Io { what: "cannot prepare the directory of live times".to_owned(), source };
    let (root, before) = (scratch.path().join(ROOT), scratch.path().join("before"));
    let contents = contents(&tree);
    let is_taken = match memory {
        Some((memory, _)) => memory.take_shown(&before)?,
        None => false,
    };
    if is_taken && fs_err::read(before.join(CONTENTS)).is_ok_and(|found| found == contents.as_bytes()) {
        fs_err::rename(before.join(ROOT), &root).map_err(failed)?;
    } else {
        fs_err::create_dir(&root).map_err(failed)?;
        write(bench, below, &tree, &scratch, is_taken)?;
    }
    if is_taken {
        fs_err::remove_dir_all(&before).map_err(failed)?;
    }
    fs_err::write(scratch.path().join(CONTENTS), contents.as_bytes()).map_err(failed)?;
    Ok(Some(Shown { scratch, mount: memory.map(|(_, mount)| mount.path().to_owned()) }))
}

fn write(
    bench: &Bench,
    below: Below<'_>,
    tree: &Tree,
    scratch: &Scratch,
    has_before: bool,
) -> Result<(), StepError> {
    let workshop = &bench.workshop;
    let (root, before) = (scratch.path().join(ROOT), scratch.path().join("before").join(ROOT));
    let stacks = [below.stack.to_vec()];
    let directories = UnpackedLayers { workshop, stacks: &stacks };
    let ownership = layers::ownership(workshop);
    let options = MaterializeOptions { ownership, devices: layers::devices(workshop), time: None };
    let written = match has_before {
        true => materialize_again(tree, &root, &before, &directories, options),
        false => materialize(tree, &ArchivePath::root(), &root, &directories, options).map(drop),
    };
    let failed =
        |source| StepError::Io { what: "cannot write the files that have live times".to_owned(), source };
    written.map_err(|error| failed(std::io::Error::other(error)))?;
    if ownership == Ownership::Recorded {
        upper::write_owners_of(tree, &ArchivePath::root(), &root).map_err(failed)?;
    }
    Ok(())
}

/// Returns the part of a tree that has these paths with these times, and their parents with their own. Files with several
/// names have the names that are listed.
fn part(tree: &Tree, changed: &[(ArchivePath, FileTime)]) -> Tree {
    let mut part = Tree::new();
    let mut names: HashMap<InodeId, &ArchivePath> = HashMap::new();
    for (path, time) in changed {
        let Some(inode) = tree.inode(path) else { continue };
        let missing = path.ancestors().filter(|parent| part.get(parent).is_none()).collect::<Vec<_>>();
        for parent in missing {
            let entry = tree.get(&parent).cloned().unwrap_or_else(Entry::implied_directory);
            part.insert(parent, entry);
        }
        match names.get(&inode) {
            Some(first) if part.link(path.clone(), first).is_ok() => {}
            _ => {
                let mut entry = tree.entry(inode).clone();
                entry.metadata.mtime = *time;
                part.insert(path.clone(), entry);
                names.insert(inode, path);
            }
        }
    }
    part
}

/// Returns the identity of everything that a written tree shows.
fn contents(tree: &Tree) -> ContentDigest {
    let mut hasher = ContentHasher::new();
    let mut field = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    let links = tree.hard_links();
    for (path, entry) in tree.iter() {
        let metadata = &entry.metadata;
        field(path.as_bytes());
        field(links.get(path).map_or(b"", |first| first.as_bytes()));
        field(entry.kind.noun().as_bytes());
        match &entry.kind {
            Kind::File(content) => field(content.digest.as_ref().map_or(&[][..], |digest| digest.as_bytes())),
            Kind::Symlink(target) => field(target),
            _ => {}
        }
        for number in [i64::from(metadata.mode), i64::from(metadata.uid), i64::from(metadata.gid)] {
            field(&number.to_le_bytes());
        }
        field(&metadata.mtime.seconds.to_le_bytes());
        field(&metadata.mtime.nanoseconds.to_le_bytes());
        field(&(metadata.xattrs.iter().count() as u64).to_le_bytes());
        for (name, value) in metadata.xattrs.iter() {
            field(name);
            field(value);
        }
    }
    hasher.finish()
}
