//! Files of a directory that somebody changes meanwhile are held still: each is copied aside as it is at one moment, and the tree tells
//! the size, owner and mode that it had then.
//!
//! | While it is copied, the file | What is held |
//! |---|---|
//! | stays as it is | it |
//! | is replaced by another one | the one that was there when it was opened, with its own owner and mode |
//! | is written to | what was copied while nobody wrote; after some attempts, or of a large one, what was copied at last |
//! | is gone | nothing: it is not in the tree any more |
//!
//! So what is made of the tree is whole: no file is shorter or longer than the tree says, and none has the bytes of two. Files that are
//! written together may be of different moments; only who stops the writer can do better.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io;
use std::sync::Arc;

use rayon::prelude::*;

use crate::content::{Content, DirectoryOrigin, FileIdentity, Origin};
use crate::entry::{Entry, Kind};
use crate::holes;
use crate::path::ArchivePath;
use crate::tree::{InodeId, Tree};
use crate::walk::{WalkOptions, entry_of};

/// How often a file that does not hold still is copied.
const ATTEMPTS_MAX: usize = 5;
/// A file from this size on is copied once, whoever writes to it: it would not hold still, and cost much.
const LARGE_BYTES: u64 = 64 << 20;

/// Says yes for the files that are held.
pub type Wanted<'a> = dyn Fn(&ArchivePath, &Entry) -> bool + Sync + 'a;

/// Where files are held, and which.
#[derive(Clone, Copy)]
pub struct Hold<'a> {
    /// An empty directory that nobody else writes to.
    pub aside: &'a Arc<DirectoryOrigin>,
    /// Which files are held. The contents of the others are not to be read.
    pub wanted: &'a Wanted<'a>,
}

/// Why a file cannot be held still.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// It cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: ArchivePath,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It cannot be copied.
    #[error("cannot copy `{path}` aside")]
    Copy {
        /// The file.
        path: ArchivePath,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Holds the wanted files of a tree that was walked with `options`.
///
/// # Errors
/// When a file cannot be read or copied.
pub fn hold_still(tree: &Tree, hold: Hold<'_>, options: WalkOptions) -> Result<Tree, HoldError> {
    let mut seen = HashSet::new();
    let is_held = |path: &ArchivePath, inode: InodeId| {
        let entry = tree.entry(inode);
        is_of_directory(entry) && (hold.wanted)(path, entry)
    };
    let first_names: Vec<(&ArchivePath, InodeId)> =
        tree.names().filter(|(path, inode)| is_held(path, *inode) && seen.insert(*inode)).collect();
    let held: Result<HashMap<InodeId, Option<Entry>>, HoldError> = first_names
        .into_par_iter()
        .enumerate()
        .map(|(number, (path, inode))| {
            let aside = ArchivePath::parse(number.to_string().as_bytes()).expect("a number is a name");
            Ok((inode, one(path, tree.entry(inode), (hold.aside, aside), options)?))
        })
        .collect();
    let held = held?;
    let mut still = Tree::new();
    let mut placed: HashMap<InodeId, InodeId> = HashMap::new();
    for (path, inode) in tree.names() {
        let entry = match held.get(&inode) {
            Some(None) => continue,
            Some(Some(entry)) => entry,
            None => tree.entry(inode),
        };
        if let Some(first) = placed.get(&inode) {
            still.link_inode(path.clone(), *first);
        } else {
            placed.insert(inode, still.append(path.clone(), entry.clone()));
        }
    }
    Ok(still)
}

fn is_of_directory(entry: &Entry) -> bool {
    entry.content().is_some_and(|content| matches!(content.origin, Origin::Directory(_)))
}

/// Holds one file; nothing where it has gone, or is no file any more.
fn one(
    path: &ArchivePath,
    entry: &Entry,
    (aside, name): (&Arc<DirectoryOrigin>, ArchivePath),
    options: WalkOptions,
) -> Result<Option<Entry>, HoldError> {
    let Some(Origin::Directory(origin)) = entry.content().map(|content| &content.origin) else {
        return Ok(None);
    };
    let failed = |source| HoldError::Read { path: path.clone(), source };
    let mut attempt = 0;
    loop {
        attempt += 1;
        let file = match origin.open_file(path) {
            Err(error) if origin.is_gone(&error) => return Ok(None),
            opened => opened.map_err(failed)?,
        };
        // The walk may have seen another file, or another owner and mode.
        let Some(now) = entry_of(&file, path, origin, options).map_err(failed)? else { return Ok(None) };
        let before = FileIdentity::of(&file).map_err(failed)?;
        let size =
            copied(&file, aside, &name).map_err(|source| HoldError::Copy { path: path.clone(), source })?;
        let is_last = attempt == ATTEMPTS_MAX || size >= LARGE_BYTES;
        if is_last || FileIdentity::of(&file).map_err(failed)? == before {
            let origin = Origin::Directory(Arc::clone(aside));
            let held = Content { origin, path: name, size, digest: None, identity: None };
            return Ok(Some(Entry { kind: Kind::File(held), ..now }));
        }
    }
}

/// Writes a copy, in the place of an earlier attempt.
fn copied(file: &File, aside: &DirectoryOrigin, name: &ArchivePath) -> io::Result<u64> {
    let target = OpenOptions::new().write(true).create(true).truncate(true).open(aside.display(name))?;
    holes::copy_file(file, &target)
}
