//! The members of a layer's archive, in the order of their names there.

use std::collections::HashMap;
use std::iter::Peekable;

use super::CommitError;
use crate::content::Content;
use crate::entry::Entry;
use crate::path::ArchivePath;
use crate::tar::write::{Member, WHITEOUT_PREFIX};
use crate::tree::Changes;

/// A member with its name.
pub(super) struct Named<'a> {
    /// Its name in the archive.
    pub(super) name: ArchivePath,
    /// What it is.
    pub(super) member: Member<'a>,
    /// The content that follows its header, with its path.
    pub(super) file: Option<(&'a ArchivePath, &'a Content)>,
}

type Entries<'a> = Box<dyn Iterator<Item = (&'a ArchivePath, &'a Entry)> + Send + 'a>;

/// Yields the members of a layer.
pub(super) struct Members<'a> {
    entries: Peekable<Entries<'a>>,
    links: HashMap<&'a ArchivePath, &'a ArchivePath>,
    whiteouts: Peekable<std::vec::IntoIter<ArchivePath>>,
}

impl<'a> Members<'a> {
    pub(super) fn of(changes: &'a Changes) -> Result<Self, CommitError> {
        let both = |path: &&ArchivePath| changes.entries.get(path).is_some_and(Entry::is_directory);
        if let Some(path) = changes.deletions.iter().find(both) {
            return Err(CommitError::DeletedAndSet { path: path.clone() });
        }
        let mut whiteouts = changes.whiteouts().map(whiteout_name).collect::<Result<Vec<_>, _>>()?;
        whiteouts.sort();
        let entries: Entries<'a> = Box::new(changes.entries.iter());
        Ok(Self {
            entries: entries.peekable(),
            links: changes.entries.hard_links(),
            whiteouts: whiteouts.into_iter().peekable(),
        })
    }

    fn entry(&self, path: &'a ArchivePath, entry: &'a Entry) -> Result<Named<'a>, CommitError> {
        if path.file_name().is_some_and(|name| name.starts_with(WHITEOUT_PREFIX)) {
            return Err(CommitError::ReservedName { path: path.clone() });
        }
        let (member, file) = match self.links.get(path) {
            Some(target) => (Member::HardLink(entry, target), None),
            None => (Member::Entry(entry), entry.content().map(|content| (path, content))),
        };
        Ok(Named { name: path.clone(), member, file })
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Result<Named<'a>, CommitError>;

    fn next(&mut self) -> Option<Self::Item> {
        let deletes_next = match (self.entries.peek(), self.whiteouts.peek()) {
            (Some((path, _)), Some(whiteout)) => whiteout < *path,
            (None, Some(_)) => true,
            (_, None) => false,
        };
        if deletes_next {
            let name = self.whiteouts.next()?;
            return Some(Ok(Named { name, member: Member::Whiteout, file: None }));
        }
        let (path, entry) = self.entries.next()?;
        Some(self.entry(path, entry))
    }
}

fn whiteout_name(path: &ArchivePath) -> Result<ArchivePath, CommitError> {
    let name = [WHITEOUT_PREFIX, path.file_name().unwrap_or_default()].concat();
    let parent = path.parent().unwrap_or_else(ArchivePath::root);
    parent.join(&name).map_err(|source| CommitError::Name { path: path.clone(), source })
}
