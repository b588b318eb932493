//! Which entries of a tree a COPY source names.

use kiln_glob::{DoubleStar, PathGlob, has_wildcards};

use crate::copy::CopyError;
use crate::entry::Kind;
use crate::path::{ArchivePath, escape};
use crate::tree::Tree;

/// One entry that a source names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Where it is, symlinks followed.
    pub(super) path: ArchivePath,
    /// As it was named; its last component is the name at the destination.
    pub(super) named: ArchivePath,
    /// With `--parents`: how many leading components of `named` are not kept.
    pub(super) pivot: usize,
}

/// Returns the entries that the source `pattern` names, where they are in `tree`: what a content key must cover.
///
/// # Errors
/// A literal source that is missing, or a malformed pattern.
pub fn select_sources(tree: &Tree, pattern: &[u8], parents: bool) -> Result<Vec<ArchivePath>, CopyError> {
    Ok(select(tree, pattern, parents)?.into_iter().map(|found| found.path).collect())
}

pub(super) fn select(tree: &Tree, pattern: &[u8], parents: bool) -> Result<Vec<Found>, CopyError> {
    let path = ArchivePath::clamp(pattern)
        .map_err(|source| CopyError::NotAPath { text: escape(pattern), source })?;
    let pivot = if parents { pivot_of(pattern)? } else { 0 };
    if has_wildcards(path.as_bytes()) {
        return wildcard(tree, &path, pivot, parents);
    }
    let place = if parents { keep_last(tree, &path)? } else { follow(tree, &path)? };
    Ok(vec![Found { path: place, named: path, pivot }])
}

/// How many components stand before `/./`.
fn pivot_of(pattern: &[u8]) -> Result<usize, CopyError> {
    let Some(at) = pattern.windows(3).position(|window| window == b"/./") else { return Ok(0) };
    let before = ArchivePath::clamp(&pattern[..at])
        .map_err(|source| CopyError::NotAPath { text: escape(pattern), source })?;
    Ok(before.components().count())
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

/// Follows symlinks in all but the last component: with `--parents` the link itself is copied.
fn keep_last(tree: &Tree, path: &ArchivePath) -> Result<ArchivePath, CopyError> {
    let missing = || CopyError::SourceNotFound { source_path: path.clone() };
    let Some(name) = path.file_name() else { return Ok(path.clone()) };
    let parent = path.parent().unwrap_or_else(ArchivePath::root);
    let parent = match follow(tree, &parent) {
        Err(CopyError::SourceNotFound { .. }) => return Err(missing()),
        result => result?,
    };
    let place = parent.join(name).map_err(|source| CopyError::NotAPath { text: escape(name), source })?;
    if tree.get(&place).is_some() { Ok(place) } else { Err(missing()) }
}

fn wildcard(
    tree: &Tree,
    pattern: &ArchivePath,
    pivot: usize,
    parents: bool,
) -> Result<Vec<Found>, CopyError> {
    let double_star = if parents { DoubleStar::Spans } else { DoubleStar::Star };
    let glob = PathGlob::new(pattern.as_bytes(), double_star)
        .map_err(|source| CopyError::Pattern { pattern: escape(pattern.as_bytes()), source })?;
    let base: Vec<&[u8]> = pattern.components().take_while(|component| !has_wildcards(component)).collect();
    let base_named = ArchivePath::clamp(&base.join(&b'/'))
        .map_err(|source| CopyError::NotAPath { text: escape(pattern.as_bytes()), source })?;
    let base_place = match follow(tree, &base_named) {
        Ok(place) => place,
        Err(CopyError::SourceNotFound { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let depth = pattern.components().count();
    let mut found = Vec::new();
    for (place, _) in tree.below(&base_place) {
        let below = place.strip_prefix(&base_place).unwrap_or_else(|| place.clone());
        if !glob.spans() && base.len() + below.components().count() != depth {
            continue;
        }
        let named = base_named.join_path(&below);
        if glob.matches(named.as_bytes()) {
            let path = if parents { place.clone() } else { follow(tree, place)? };
            found.push(Found { path, named, pivot });
        }
    }
    Ok(found)
}
