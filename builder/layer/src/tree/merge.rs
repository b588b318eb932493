//! Merging the layers of an image into one tree, from their listings alone.

use std::collections::BTreeMap;

use crate::content::Content;
use crate::entry::{Entry, Kind};
use crate::listing::{Item, Listing};
use crate::path::ArchivePath;
use crate::tree::{InodeId, Tree, TreeError};

impl Tree {
    /// Returns the tree of an image whose layers have these listings, base first.
    ///
    /// In each layer opaque directories count first, then whiteouts (both only for what lower layers brought), then entries.
    /// Every directory of the result has an entry.
    ///
    /// # Errors
    /// A hard link to a name that neither the layer nor those below it have.
    pub fn from_listings<'a>(listings: impl IntoIterator<Item = &'a Listing>) -> Result<Self, TreeError> {
        let mut tree = Self::new();
        tree.insert(ArchivePath::root(), Entry::implied_directory());
        for listing in listings {
            tree.add_layer(listing)?;
        }
        Ok(tree)
    }

    /// Puts one more layer on top.
    ///
    /// # Errors
    /// As [`Self::from_listings`].
    pub fn add_layer(&mut self, listing: &Listing) -> Result<(), TreeError> {
        // A link may lead to what the layer takes away from below.
        let linked: BTreeMap<&ArchivePath, InodeId> = listing
            .items
            .iter()
            .filter_map(|(_, item)| match item {
                Item::HardLink { target } => self.inode(target).map(|inode| (target, inode)),
                _ => None,
            })
            .collect();
        for (path, item) in &listing.items {
            if matches!(item, Item::Opaque) {
                self.remove_below(path);
            }
        }
        for (path, item) in &listing.items {
            if matches!(item, Item::Whiteout) {
                self.remove(path);
            }
        }
        let is_base = self.len() <= 1;
        let mut parent = ArchivePath::root();
        // Links last: their targets may stand anywhere in the layer.
        for (path, item) in &listing.items {
            // Neighbours mostly share their parent, which is then known to be there.
            let is_set = matches!(item, Item::Entry(_) | Item::Opaque);
            if is_set && !path.is_child_of(&parent) {
                self.imply_parents(path);
                parent = path.parent().unwrap_or_else(ArchivePath::root);
            }
            match item {
                Item::Opaque if self.get(path).is_none_or(|entry| !entry.is_directory()) => {
                    self.insert(path.clone(), Entry::implied_directory());
                }
                Item::Entry(entry) if is_base => {
                    self.append(path.clone(), located(entry, path, listing));
                }
                Item::Entry(entry) => {
                    self.insert(path.clone(), located(entry, path, listing));
                }
                _ => {}
            }
        }
        for (path, item) in &listing.items {
            if let Item::HardLink { target } = item {
                self.imply_parents(path);
                match linked.get(target).filter(|_| self.inode(target).is_none()) {
                    Some(inode) if !self.entry(*inode).is_directory() => {
                        self.remove_below(path);
                        self.link_inode(path.clone(), *inode);
                    }
                    _ => drop(self.link(path.clone(), target)?),
                }
            }
        }
        Ok(())
    }
}

/// The entry of a layer's listing with its content found in that layer.
fn located(entry: &Entry, path: &ArchivePath, listing: &Listing) -> Entry {
    match &entry.kind {
        Kind::File(content) => {
            let content = Content {
                origin: crate::content::Origin::Layer(listing.diff_id),
                path: path.clone(),
                size: content.size,
                digest: content.digest,
                identity: None,
            };
            Entry::file(entry.metadata.clone(), content)
        }
        _ => entry.clone(),
    }
}
