//! What a layer has, as far as it was read: later members win, and what they replace never was.

use std::collections::{BTreeMap, BTreeSet};

use kiln_oci::DiffId;

use crate::listing::{Item, Listing};
use crate::path::ArchivePath;
use crate::tree::Tree;

/// What was read of a layer so far.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) entries: Tree,
    pub(super) whiteouts: BTreeSet<ArchivePath>,
    pub(super) opaques: BTreeSet<ArchivePath>,
    /// Hard links to names that the layer did not have when they were read, and their targets.
    pub(super) open_links: BTreeMap<ArchivePath, ArchivePath>,
}

impl Parts {
    /// Tells whether this layer has something at `path` or below it; an opaque directory is something.
    pub(super) fn has_within(&self, path: &ArchivePath) -> bool {
        self.entries.within(path).next().is_some()
            || self.opaques.range(path.clone()..).next().is_some_and(|directory| directory.is_within(path))
            || self.open_links.range(path.clone()..).next().is_some_and(|(link, _)| link.is_within(path))
    }

    /// Forgets what stood at `path` and below it, but for the entries there, because something else than a directory replaces it.
    /// A mark that lower layers have nothing at `path` stays.
    pub(super) fn forget_within(&mut self, path: &ArchivePath) {
        for name in names_within(self.open_links.range(path.clone()..).map(|(name, _)| name), path) {
            self.open_links.remove(&name);
        }
        for name in names_within(self.opaques.range(path.clone()..), path) {
            self.opaques.remove(&name);
        }
        for name in names_within(self.whiteouts.range(path.clone()..), path) {
            if name != *path {
                self.whiteouts.remove(&name);
            }
        }
    }

    pub(super) fn listing(&self, diff_id: DiffId) -> Listing {
        let mut items: Vec<(ArchivePath, Item)> = Vec::new();
        items.extend(self.opaques.iter().map(|path| (path.clone(), Item::Opaque)));
        items.extend(self.whiteouts.iter().map(|path| (path.clone(), Item::Whiteout)));
        let links = self.entries.hard_links();
        items.extend(self.entries.iter().map(|(path, entry)| {
            let item = match links.get(path) {
                Some(target) => Item::HardLink { target: (*target).clone() },
                None => Item::Entry(entry.clone()),
            };
            (path.clone(), item)
        }));
        let open = self.open_links.iter();
        items.extend(open.map(|(path, target)| (path.clone(), Item::HardLink { target: target.clone() })));
        let mut listing = Listing::sorted(diff_id, items);
        listing.locate_contents();
        listing
    }
}

/// Returns the names at the beginning of `names` that are `path` or lie below it.
pub(super) fn names_within<'a>(
    names: impl Iterator<Item = &'a ArchivePath>,
    path: &ArchivePath,
) -> Vec<ArchivePath> {
    names.take_while(|name| name.is_within(path)).cloned().collect()
}
