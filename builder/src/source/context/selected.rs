//! Which files of a context must be hashed.

use kiln_layer::{ArchivePath, Tree};

/// Which files of a context steps can select: everything at and below the fixed beginning of their patterns, where those
/// beginnings name no symlink; else everything.
#[derive(Debug)]
pub(super) struct Selected {
    everything: bool,
    beginnings: Vec<ArchivePath>,
}

impl Selected {
    pub(super) fn new<'a>(tree: &Tree, patterns: impl Iterator<Item = &'a str>) -> Self {
        let mut selected = Self { everything: false, beginnings: Vec::new() };
        for pattern in patterns {
            let is_pattern = |part: &&str| part.contains(['*', '?', '[', '\\']);
            let parts = || pattern.split('/').filter(|part| !part.is_empty() && *part != ".");
            let beginning: Vec<&str> = parts().take_while(|part| !is_pattern(part)).collect();
            let has_wildcards = parts().any(|part| is_pattern(&part));
            match ArchivePath::clamp(beginning.join("/").as_bytes()) {
                Ok(path) if path.is_root() || crosses_symlink(tree, &path) => selected.everything = true,
                Ok(path) if has_wildcards && has_symlink(tree, &path) => selected.everything = true,
                Ok(path) => selected.beginnings.push(path),
                // It is no path at all: the step that wants it says so.
                Err(_) => {}
            }
        }
        selected
    }

    pub(super) fn contains(&self, path: &ArchivePath) -> bool {
        self.everything || self.beginnings.iter().any(|beginning| path.is_within(beginning))
    }
}

fn crosses_symlink(tree: &Tree, path: &ArchivePath) -> bool {
    path.ancestors()
        .chain([path.clone()])
        .any(|part| tree.get(&part).is_some_and(|entry| entry.symlink_target().is_some()))
}

/// A wildcard may name a symlink, and the symlink any file.
fn has_symlink(tree: &Tree, path: &ArchivePath) -> bool {
    tree.within(path).any(|(_, entry)| entry.symlink_target().is_some())
}
