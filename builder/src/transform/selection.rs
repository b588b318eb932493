//! What a step reads of its sources, as one digest: the same files give the same digest, wherever they come from.

use kiln_layer::content_hash::{MetadataOverrides, Naming, digest_of_selection};
use kiln_layer::{ArchivePath, CopyError, Tree, select_sources};
use kiln_oci::Digest;

use super::StepError;
use crate::ignore::Matcher;
use crate::plan::CopyOp;

/// Returns the digest of what `pattern` of a copy selects in `tree`, after `--exclude`.
///
/// # Errors
/// [`StepError`] for a missing source or malformed pattern, and when a selected file was not hashed.
pub fn copy_selection(tree: &Tree, copy: &CopyOp, pattern: &str) -> Result<Digest, StepError> {
    let paths = select_sources(tree, pattern.as_bytes(), copy.parents)?;
    let matcher = exclude_matcher(&copy.exclude)?;
    let excluded = |path: &ArchivePath, _is_directory: bool| matcher.excluded_by(path.as_bytes()).is_some();
    let excluded =
        (!matcher.is_empty() && !copy.parents).then_some(&excluded as &kiln_layer::PathMatcher<'_>);
    let naming = if copy.parents { Naming::WholePath } else { Naming::FileName };
    Ok(digest_of_selection(tree, &paths, naming, MetadataOverrides::default(), excluded)?)
}

/// Returns the digest of what a bind mount shows of `tree`.
///
/// # Errors
/// [`StepError`] for a missing source, and when a selected file was not hashed.
pub fn mount_selection(tree: &Tree, source: &str) -> Result<Digest, StepError> {
    let path = mount_source(tree, source)?;
    Ok(digest_of_selection(tree, &[path], Naming::WholePath, MetadataOverrides::default(), None)?)
}

/// Returns the entry that a mount's source names, symlinks followed.
pub(super) fn mount_source(tree: &Tree, source: &str) -> Result<ArchivePath, StepError> {
    let path = ArchivePath::clamp(source.as_bytes())
        .map_err(|error| CopyError::NotAPath { text: source.to_owned(), source: error })?;
    if path.is_root() {
        return Ok(path);
    }
    let resolved = tree
        .resolve(&path)
        .map_err(|error| CopyError::Source { source_path: path.clone(), source: error })?;
    if !resolved.exists {
        return Err(CopyError::SourceNotFound { source_path: path }.into());
    }
    Ok(resolved.path)
}

pub(super) fn exclude_matcher(patterns: &[String]) -> Result<Matcher, StepError> {
    Matcher::new(patterns.iter().map(|pattern| pattern.as_bytes()))
        .map_err(|error| StepError::Exclude { reason: error.to_string() })
}
