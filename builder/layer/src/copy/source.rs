//! Which entries of a tree a COPY source names.

use kiln_glob::{DoubleStar, PathGlob, has_wildcards};

use crate::content_hash::Selected;
use crate::copy::{CopyError, Part};
use crate::entry::Kind;
use crate::path::{ArchivePath, escape};
use crate::tree::Tree;

/// What a source means with `--parents`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentsPattern<'a> {
    /// What stands before `/./`: directories, whose own path is not kept.
    pub base: &'a [u8],
    /// What is copied below them, with its path; the root is everything. A pattern, but not with the wildcards of sources.
    pub below: ArchivePath,
    /// Whether there is no wildcard, so that it must exist.
    pub is_literal: bool,
}

impl<'a> ParentsPattern<'a> {
    /// Takes a source apart.
    ///
    /// # Errors
    /// When what is to be copied is no path.
    pub fn parse(pattern: &'a [u8]) -> Result<Self, CopyError> {
        let (base, below) = match pattern.windows(3).position(|window| window == b"/./") {
            Some(at) => (&pattern[..at], &pattern[at + 3..]),
            None => (&b""[..], pattern),
        };
        Ok(Self { base, below: parse(below)?, is_literal: !has_wildcards(pattern) })
    }
}

/// Returns the entries that the source `pattern` names in `tree`.
///
/// # Errors
/// A literal source that is missing, or a malformed pattern.
pub fn select_sources(
    tree: &Tree,
    pattern: &[u8],
    part: Option<&Part<'_>>,
) -> Result<Vec<Selected>, CopyError> {
    let path = parse(pattern)?;
    let found = if has_wildcards(path.as_bytes()) {
        wildcard(tree, &path)?
    } else {
        vec![Selected { path: follow(tree, &path)?, named: path }]
    };
    if let Some(required) = part.and_then(|part| part.required) {
        for base in &found {
            // Symlinks are not followed: what is copied keeps its path, and no entry's path leads through a symlink.
            if tree.get(&base.path.join_path(required)).is_none() {
                return Err(CopyError::SourceNotFound { source_path: base.named.join_path(required) });
            }
        }
    }
    Ok(found)
}

fn parse(text: &[u8]) -> Result<ArchivePath, CopyError> {
    ArchivePath::clamp(text).map_err(|source| CopyError::NotAPath { text: escape(text), source })
}

/// Follows symlinks to something that exists.
fn follow(tree: &Tree, path: &ArchivePath) -> Result<ArchivePath, CopyError> {
    let resolved =
        tree.resolve(path).map_err(|source| CopyError::Source { source_path: path.clone(), source })?;
    if resolved.exists {
        return Ok(resolved.path);
    }
    let is_link = tree.get(path).is_some_and(|entry| matches!(entry.kind, Kind::Symlink(_)));
    Err(if is_link {
        CopyError::SourceDangles { source_path: path.clone(), target: resolved.path }
    } else {
        CopyError::SourceNotFound { source_path: path.clone() }
    })
}

fn wildcard(tree: &Tree, pattern: &ArchivePath) -> Result<Vec<Selected>, CopyError> {
    let glob = PathGlob::new(pattern.as_bytes(), DoubleStar::Star)
        .map_err(|source| CopyError::Pattern { pattern: escape(pattern.as_bytes()), source })?;
    let base: Vec<&[u8]> = pattern.components().take_while(|component| !has_wildcards(component)).collect();
    let base_named = parse(&base.join(&b'/'))?;
    let base_place = follow(tree, &base_named)?;
    let depth = pattern.components().count();
    let mut found = Vec::new();
    for (place, _) in tree.below(&base_place) {
        let below = place.strip_prefix(&base_place).unwrap_or_else(|| place.clone());
        if base.len() + below.components().count() != depth {
            continue;
        }
        let named = base_named.join_path(&below);
        if glob.matches(named.as_bytes()) {
            found.push(Selected { path: follow(tree, place)?, named });
        }
    }
    Ok(found)
}
