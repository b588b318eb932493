//! Path lookup that follows symlinks inside the root, as a kernel does after `chroot`.

use std::collections::VecDeque;

use crate::entry::Kind;
use crate::path::{ArchivePath, PathError};
use crate::tree::Tree;

/// How many symlinks one lookup may follow.
pub const SYMLINKS_MAX: usize = 255;

/// Where a lookup ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// The path without symlinks. When nothing is there, its longest existing part is free of symlinks and the rest is literal.
    pub path: ArchivePath,
    /// Whether something is there.
    pub exists: bool,
}

/// Why a lookup could not end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// Symlinks that lead in a circle, or too many.
    #[error("`{path}` leads through more than {SYMLINKS_MAX} symlinks")]
    TooManySymlinks {
        /// The path that was looked up.
        path: ArchivePath,
    },
    /// Something on the way is not a directory.
    #[error("`{path}` cannot be reached: `{obstacle}` is a {noun}, not a directory")]
    NotADirectory {
        /// The path that was looked up.
        path: ArchivePath,
        /// What is in the way.
        obstacle: ArchivePath,
        /// What kind of thing that is.
        noun: &'static str,
    },
    /// A symlink's target is no path.
    #[error("`{path}` leads through the symlink `{symlink}`, whose target is no path")]
    BadTarget {
        /// The path that was looked up.
        path: ArchivePath,
        /// The symlink.
        symlink: ArchivePath,
        /// What is wrong with its target.
        #[source]
        source: PathError,
    },
}

impl Tree {
    /// Looks `path` up, following symlinks everywhere, the last component included. Never leaves the root.
    ///
    /// # Errors
    /// Circles of symlinks, and components below something that is not a directory.
    pub fn resolve(&self, path: &ArchivePath) -> Result<Resolution, ResolveError> {
        self.resolve_in(&ArchivePath::root(), path)
    }

    /// Looks up `path` below `base` as [`Self::resolve`] does, with `base` as the root that is never left.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub fn resolve_in(&self, base: &ArchivePath, path: &ArchivePath) -> Result<Resolution, ResolveError> {
        resolve_by(|path| self.get(path).map(|entry| &entry.kind), base, path)
    }
}

/// Looks up `path` below `base` in whatever `lookup` knows.
pub(crate) fn resolve_by<'a>(
    lookup: impl Fn(&ArchivePath) -> Option<&'a Kind>,
    base: &ArchivePath,
    path: &ArchivePath,
) -> Result<Resolution, ResolveError> {
    let mut todo: VecDeque<Vec<u8>> = path.components().map(<[u8]>::to_vec).collect();
    let mut at = base.clone();
    let mut symlinks = 0;
    while let Some(component) = todo.pop_front() {
        if component == b"." || component.is_empty() {
            continue;
        }
        if component == b".." {
            if &at != base {
                at = at.parent().unwrap_or_else(ArchivePath::root);
            }
            continue;
        }
        let next = join(&at, &component, path)?;
        match lookup(&next) {
            None | Some(Kind::Directory) => at = next,
            Some(Kind::Symlink(target)) => {
                symlinks += 1;
                if symlinks > SYMLINKS_MAX || target.len() > crate::path::PATH_BYTES_MAX {
                    return Err(ResolveError::TooManySymlinks { path: path.clone() });
                }
                if target.first() == Some(&b'/') {
                    at = base.clone();
                }
                for piece in target.split(|byte| *byte == b'/').rev() {
                    todo.push_front(piece.to_vec());
                }
            }
            Some(_) if todo.iter().all(Vec::is_empty) => at = next,
            Some(kind) => {
                let noun = kind.noun();
                return Err(ResolveError::NotADirectory { path: path.clone(), obstacle: next, noun });
            }
        }
    }
    let exists = &at == base || lookup(&at).is_some();
    Ok(Resolution { path: at, exists })
}

fn join(at: &ArchivePath, component: &[u8], path: &ArchivePath) -> Result<ArchivePath, ResolveError> {
    at.join(component).map_err(|source| ResolveError::BadTarget {
        path: path.clone(),
        symlink: at.clone(),
        source,
    })
}
