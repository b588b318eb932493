//! What containers there are, and what was changed in one.

use std::collections::BTreeMap;
use std::sync::Arc;

use kiln_layer::{ArchivePath, Changes, Entry, Tree, WithTime};
use kiln_store::ContainerId;

use super::create::OpenContainer;
use super::find::{Purpose, locate};
use super::root::{ContainerRoot, Needed, Volumes};
use super::{ContainerError, run};
use crate::catalog::{self, Sizes};
use crate::container_record::{ContainerRecord, ContainerState, all};
use crate::lanes::blocking;
use crate::progress::Progress;
use crate::workshop::Workshop;

/// One container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerRow {
    /// Its id.
    pub id: ContainerId,
    /// What is known of it; a damaged record says why nothing is.
    pub known: Result<(ContainerRecord, ContainerState), String>,
    /// Names of its image now.
    pub image_names: Vec<kiln_oci::Reference>,
}

/// Returns all containers, newest first.
///
/// # Errors
/// When the store cannot be read.
pub fn list(workshop: &Workshop) -> Result<Vec<ContainerRow>, ContainerError> {
    let images = catalog::list(workshop, Sizes::Unwanted)?;
    let row = |found: crate::container_record::FoundContainer| {
        let mut image_names = Vec::new();
        let known = found.known.map(|known| {
            let same = images.iter().filter(|image| image.manifest == known.image.digest);
            image_names.extend(same.filter_map(|image| image.reference.clone()));
            (known.record, known.state)
        });
        ContainerRow { id: found.id, known, image_names }
    };
    let mut rows: Vec<ContainerRow> = all(&workshop.store)?.into_iter().map(row).collect();
    let created = |row: &ContainerRow| row.known.as_ref().map_or(0, |(record, _)| record.created_ns);
    rows.sort_by(|a, b| created(b).cmp(&created(a)).then_with(|| a.id.cmp(&b.id)));
    Ok(rows)
}

/// Returns one container.
///
/// # Errors
/// [`ContainerError::NotFound`], [`ContainerError::Ambiguous`], or when the store cannot be read.
pub fn inspect(workshop: &Workshop, container: &str) -> Result<ContainerRow, ContainerError> {
    let id = locate(&workshop.store, container)?.id;
    let row = list(workshop)?.into_iter().find(|row| row.id == id);
    row.ok_or_else(|| ContainerError::NotFound { container: container.to_owned(), suggestion: None })
}

/// What became of a path in a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerChange {
    /// It is new.
    Added,
    /// It was changed, or something below it was.
    Changed,
    /// It is gone, with everything below it.
    Deleted,
}

/// Returns what was changed in a container, as `docker diff` says it: by path, a directory before what is in it.
///
/// # Errors
/// [`ContainerError`]: what cannot be read, or that somebody changes it.
pub async fn changes(
    workshop: &Arc<Workshop>,
    container: &str,
    progress: &Arc<dyn Progress>,
) -> Result<Vec<(ArchivePath, ContainerChange)>, ContainerError> {
    let open = run::open(workshop, container, Purpose::Read, progress).await?;
    blocking(move || {
        let root = open.root()?;
        Ok(said(&root.changes(WithTime::Yes, Volumes::LeftOut, Needed::None)?, &root.lower))
    })
    .await
}

impl OpenContainer {
    /// Opens its files.
    pub(super) fn root(&self) -> Result<ContainerRoot, ContainerError> {
        ContainerRoot::open(&self.workshop, &self.held, &self.record, self.layers.clone())
    }
}

/// Returns changes as lines. A directory whose time alone differs is none, unless something in it does.
fn said(changes: &Changes, lower: &Tree) -> Vec<(ArchivePath, ContainerChange)> {
    let mut said = BTreeMap::new();
    for (path, entry) in changes.entries.iter().filter(|(path, _)| !path.is_root()) {
        let change = match lower.get(path) {
            None => ContainerChange::Added,
            Some(old) if is_only_touched(old, entry) => continue,
            Some(_) => ContainerChange::Changed,
        };
        said.insert(path.clone(), change);
    }
    for path in changes.deletions.iter().filter(|path| changes.entries.get(path).is_none()) {
        said.insert(path.clone(), ContainerChange::Deleted);
    }
    let parents: Vec<ArchivePath> =
        said.keys().flat_map(|path| path.ancestors().collect::<Vec<_>>()).collect();
    for parent in parents.into_iter().filter(|parent| !parent.is_root()) {
        said.entry(parent).or_insert(ContainerChange::Changed);
    }
    said.into_iter().collect()
}

fn is_only_touched(old: &Entry, new: &Entry) -> bool {
    old.is_directory() && new.is_directory() && old.metadata.same_but_time(&new.metadata)
}

#[cfg(test)]
mod tests {
    use kiln_layer::{Content, Metadata, Timestamp};

    use super::*;

    #[test]
    fn changes_are_said_with_the_directories_around_them_and_no_others() {
        let path = |text: &str| ArchivePath::parse(text.as_bytes()).unwrap();
        let directory = |mode| Entry::directory(Metadata::with_mode(mode));
        let file =
            |text: &'static str| Entry::file(Metadata::with_mode(0o644), Content::inline(text.as_bytes()));
        let mut lower = Tree::new();
        for name in ["a", "a/b", "only-touched", "gone", "mode"] {
            lower.insert(path(name), directory(0o755));
        }
        lower.insert(path("a/b/f"), file("1"));
        let mut changes = Changes::new();
        let touched = Metadata { mtime: Timestamp::from_seconds(9), ..Metadata::with_mode(0o755) };
        changes.entries.insert(path("only-touched"), Entry::directory(touched));
        changes.entries.insert(path("mode"), directory(0o700));
        changes.entries.insert(path("a/b/f"), file("2"));
        changes.entries.insert(path("n"), directory(0o755));
        changes.entries.insert(path("n/x"), file("3"));
        changes.deletions.insert(path("gone"));
        let said: Vec<String> =
            said(&changes, &lower).iter().map(|(path, change)| format!("{change:?} /{path}")).collect();
        let expected = [
            "Changed /a",
            "Changed /a/b",
            "Changed /a/b/f",
            "Deleted /gone",
            "Changed /mode",
            "Added /n",
            "Added /n/x",
        ];
        assert_eq!(said, expected);
    }
}
