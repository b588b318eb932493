//! What a step reads of its sources, as one digest: the same files give the same digest, wherever they come from.

use kiln_layer::content_hash::{MetadataOverrides, Naming, digest_of_selection, selected_names};
use kiln_layer::{
    ArchivePath, BadPattern, CopyError, Entry, ParentsPattern, Part, PathMatcher, Selected, Tree,
    select_sources,
};
use kiln_oci::{Digest, Hasher};

use super::StepError;
use crate::ignore::Matcher;
use crate::lower::nearest;
use crate::plan::key::KeySink;
use crate::plan::{CopyOp, CopySource, Op, RunMount, StepId};

/// What a source of a copy names, read from its text.
pub(super) struct Selector<'a> {
    /// What is looked up: the text, or with `--parents` what stands before `/./`.
    pub(super) pattern: &'a [u8],
    include: Option<Box<PathMatcher<'static>>>,
    required: Option<ArchivePath>,
}

impl<'a> Selector<'a> {
    pub(super) fn new(text: &'a str, parents: bool) -> Result<Self, CopyError> {
        if !parents {
            return Ok(Self { pattern: text.as_bytes(), include: None, required: None });
        }
        let ParentsPattern { base, below, is_literal } = ParentsPattern::parse(text.as_bytes())?;
        if below.is_root() {
            return Ok(Self { pattern: base, include: Some(Box::new(|_, _| true)), required: None });
        }
        // Not the wildcards of sources but those of ignore files, as in BuildKit.
        let matcher = Matcher::new([below.as_bytes()])
            .map_err(|_| CopyError::Pattern { pattern: text.to_owned(), source: BadPattern })?;
        let include = move |path: &ArchivePath, _: bool| matcher.excluded_by(path.as_bytes()).is_some();
        Ok(Self { pattern: base, include: Some(Box::new(include)), required: is_literal.then_some(below) })
    }

    /// What of the directories named is copied, when not everything is.
    pub(super) fn part(&self) -> Option<Part<'_>> {
        Some(Part { include: self.include.as_deref()?, required: self.required.as_ref() })
    }
}

/// What a step selects of files, as far as its digest depends on the step.
#[derive(Debug, Clone, Copy)]
pub enum Selection<'a> {
    /// A source of a copy.
    Copy {
        /// The step, for its flags.
        copy: &'a CopyOp,
        /// The source, as written.
        pattern: &'a str,
    },
    /// The source of a bind mount, as written.
    Mount(&'a str),
}

impl<'a> Selection<'a> {
    /// Returns what a step selects, and from which step.
    pub fn all_of(op: &'a Op) -> Vec<(StepId, Self)> {
        match op {
            Op::Copy(copy) => {
                let path = |source: &'a CopySource| match source {
                    CopySource::Path { from, pattern } => Some((*from, Self::Copy { copy, pattern })),
                    CopySource::Inline { .. } | CopySource::Remote { .. } => None,
                };
                copy.sources.iter().filter_map(path).collect()
            }
            Op::Run(run) => {
                let source =
                    |mount: &'a RunMount| Some((mount.kind.reads()?, Self::Mount(mount.kind.source()?)));
                run.mounts.iter().filter_map(source).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Returns the path or pattern.
    pub fn pattern(&self) -> &'a str {
        match self {
            Self::Copy { pattern, .. } => pattern,
            Self::Mount(source) => source,
        }
    }

    /// Returns what identifies the selection: of the same files, the same query selects the same.
    pub fn query(&self) -> Digest {
        let mut hasher = Hasher::new();
        match self {
            Self::Copy { copy, pattern } => {
                hasher.field("copy", pattern.as_bytes());
                hasher.field("parents", &[u8::from(copy.parents)]);
                copy.exclude.iter().for_each(|pattern| hasher.field("exclude", pattern.as_bytes()));
            }
            Self::Mount(source) => hasher.field("mount", source.as_bytes()),
        }
        hasher.finish()
    }

    /// Returns what is selected in `tree`, for people: the digest says whether it is the same.
    ///
    /// # Errors
    /// [`StepError`] for a missing source or malformed pattern.
    pub fn entries<'t>(&self, tree: &'t Tree) -> Result<Vec<(&'t ArchivePath, &'t Entry)>, StepError> {
        let mut entries = Vec::new();
        let mut add = |source: &ArchivePath, wanted: Option<&PathMatcher<'_>>| {
            let names = selected_names(tree, source, wanted);
            entries.extend(names.map(|(path, inode)| (path, tree.entry(inode))));
        };
        match self {
            Self::Copy { copy, pattern } => with_copied(tree, copy, pattern, |selected, wanted| {
                selected.iter().for_each(|selected| add(&selected.path, wanted));
                Ok(())
            })?,
            Self::Mount(source) => add(&mount_source(tree, source)?, None),
        }
        Ok(entries)
    }

    /// Returns the digest of what is selected in `tree`.
    ///
    /// # Errors
    /// [`StepError`] for a missing source or malformed pattern, and when a selected file was not hashed.
    pub fn digest(&self, tree: &Tree) -> Result<Digest, StepError> {
        match self {
            Self::Copy { copy, pattern } => copy_selection(tree, copy, pattern),
            Self::Mount(source) => mount_selection(tree, source),
        }
    }
}

/// Returns the digest of what `pattern` of a copy selects in `tree`, after `--exclude`.
///
/// # Errors
/// [`StepError`] for a missing source or malformed pattern, and when a selected file was not hashed.
pub(super) fn copy_selection(tree: &Tree, copy: &CopyOp, pattern: &str) -> Result<Digest, StepError> {
    with_copied(tree, copy, pattern, |selected, wanted| {
        Ok(digest_of_selection(tree, selected, Naming::FileName, MetadataOverrides::default(), wanted)?)
    })
}

/// Calls `with` with what `pattern` of a copy names in `tree`, and what of it is wanted.
fn with_copied<T>(
    tree: &Tree,
    copy: &CopyOp,
    pattern: &str,
    with: impl FnOnce(&[Selected], Option<&PathMatcher<'_>>) -> Result<T, StepError>,
) -> Result<T, StepError> {
    let selector = Selector::new(pattern, copy.parents)?;
    let part = selector.part();
    let selected = select_sources(tree, selector.pattern, part.as_ref()).map_err(|error| match error {
        CopyError::SourceNotFound { source_path: path } => {
            StepError::NoSource { meant: meant(tree, &path), path }
        }
        error => error.into(),
    })?;
    let matcher = exclude_matcher(&copy.exclude)?;
    let wanted = |path: &ArchivePath, is_directory: bool| {
        part.is_none_or(|part| (part.include)(path, is_directory))
            && matcher.excluded_by(path.as_bytes()).is_none()
    };
    let wanted = (part.is_some() || !matcher.is_empty()).then_some(&wanted as &PathMatcher<'_>);
    with(&selected, wanted)
}

/// Returns what may have been meant by a path that is not there: a name beside it that is written much alike, else the same name
/// in another directory.
fn meant(tree: &Tree, path: &ArchivePath) -> Option<String> {
    let text = |path: &ArchivePath| std::str::from_utf8(path.as_bytes()).ok().map(str::to_owned);
    let missing = path.ancestors().chain([path.clone()]).skip(1).find(|part| tree.get(part).is_none())?;
    let siblings: Vec<String> =
        tree.children(&missing.parent()?).filter_map(|(sibling, _)| text(sibling)).collect();
    if let Some(near) = nearest(&text(&missing)?, siblings.iter().map(String::as_str)) {
        let whole = format!("{near}{}", text(path)?.strip_prefix(&text(&missing)?)?);
        let is_there = ArchivePath::parse(whole.as_bytes()).is_ok_and(|whole| tree.get(&whole).is_some());
        return Some(if is_there { whole } else { near.to_owned() });
    }
    let namesakes = tree.iter().filter(|(other, _)| other.file_name() == path.file_name());
    text(namesakes.map(|(other, _)| other).min_by_key(|other| other.components().count())?)
}

/// Returns the digest of what a bind mount shows of `tree`.
///
/// # Errors
/// [`StepError`] for a missing source, and when a selected file was not hashed.
pub fn mount_selection(tree: &Tree, source: &str) -> Result<Digest, StepError> {
    let path = mount_source(tree, source)?;
    Ok(digest_of_selection(tree, &[path.into()], Naming::WholePath, MetadataOverrides::default(), None)?)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_source_is_told_from_what_is_near() {
        let mut tree = Tree::new();
        for path in [
            "src",
            "src/main.c",
            "src/lib",
            "src/lib/util.c",
            "Makefile",
            "a",
            "a/util.h",
            "b",
            "b/c",
            "b/c/util.h",
        ] {
            tree.insert(ArchivePath::parse(path.as_bytes()).unwrap(), Entry::implied_directory());
        }
        for (missing, expected) in [
            ("scr/main.c", Some("src/main.c")),
            ("src/mian.c", Some("src/main.c")),
            ("main.c", Some("src/main.c")),
            ("makefile", Some("Makefile")),
            ("srcs/other.c", Some("src")),
            ("util.h", Some("a/util.h")),
            ("nothing/like/it", None),
        ] {
            let path = ArchivePath::parse(missing.as_bytes()).unwrap();
            assert_eq!(meant(&tree, &path).as_deref(), expected, "{missing}");
        }
    }
}
