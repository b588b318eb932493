//! Where a copy goes: Docker's rules, which are those of `cp -a` with one for `/.`. Pure.
//!
//! | Source | Destination | Goes |
//! |---|---|---|
//! | file | is a directory | into it, under its own name |
//! | file | is something else | in its place |
//! | file | is missing, and ends in `/` | nowhere: an error |
//! | file | is missing | there, under that name |
//! | directory | is a directory | into it, under its own name; with `/.` only what is in it |
//! | directory | is something else | nowhere: an error |
//! | directory | is missing | there, under that name |

use kiln_layer::{ArchivePath, Entry, Tree};

use super::ContainerError;

/// What is at a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Missing,
    Directory,
    Other,
}

/// What is to be copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SourceKind {
    /// A directory.
    Directory,
    /// What is in one.
    Contents,
    /// Anything else.
    Other,
}

/// Where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placement {
    /// Into the directory, under its own name.
    Within,
    /// What is in it, into the directory.
    Merged,
    /// To the very path.
    There,
}

/// Says where a copy goes, or why it cannot.
pub(super) fn place(
    source: SourceKind,
    target: Target,
    ends_in_slash: bool,
) -> Result<Placement, &'static str> {
    match (target, source) {
        (Target::Directory, SourceKind::Contents) => Ok(Placement::Merged),
        (Target::Directory, _) => Ok(Placement::Within),
        (Target::Other, SourceKind::Directory | SourceKind::Contents) => {
            Err("it is no directory, and a directory is to be copied there")
        }
        (Target::Other, SourceKind::Other) if ends_in_slash => Err("it is no directory"),
        (Target::Missing, SourceKind::Other) if ends_in_slash => Err("there is no such directory"),
        (Target::Other | Target::Missing, _) => Ok(Placement::There),
    }
}

/// Whether a path asks for what is in a directory.
pub(super) fn is_contents(text: &str) -> bool {
    text == "." || text.ends_with("/.")
}

/// Refuses what would make a directory of something else, or the other way round. `kept` are the directories that stay.
pub(super) fn check(present: &Tree, path: &ArchivePath, entry: &Entry) -> Result<Kept, ContainerError> {
    let refused = |reason| ContainerError::Place { path: format!("/{path}"), reason };
    match (present.get(path).map(Entry::is_directory), entry.is_directory()) {
        (Some(true), true) => Ok(Kept::Yes),
        (Some(true), false) => Err(refused("it is a directory, and something else is to be copied there")),
        (Some(false), true) => Err(refused("it is no directory, and a directory is to be copied there")),
        _ => Ok(Kept::No),
    }
}

/// Whether what is there stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    Yes,
    No,
}

/// Returns a part of a tree by its own paths: what is below `part`, and the part itself as `name`.
pub(super) fn part_of(tree: &Tree, part: &ArchivePath, name: &ArchivePath) -> Result<Tree, ContainerError> {
    let mut own = Tree::new();
    let mut made = std::collections::HashMap::new();
    for (path, inode) in tree.names_within(part) {
        let below = path.strip_prefix(part).unwrap_or_else(ArchivePath::root);
        let placed = name.join_path(&below);
        if placed.is_root() {
            continue;
        }
        match made.get(&inode) {
            Some(first) => _ = own.link(placed, first)?,
            None => {
                own.insert(placed.clone(), tree.entry(inode).clone());
                made.insert(inode, placed);
            }
        }
    }
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_source_and_destination_goes_where_docker_puts_it() {
        use Placement::{Merged, There, Within};
        use SourceKind::{Contents, Directory, Other};
        for (source, target, ends_in_slash, expected) in [
            (Other, Target::Missing, false, Some(There)),
            (Other, Target::Missing, true, None),
            (Other, Target::Other, false, Some(There)),
            (Other, Target::Other, true, None),
            (Other, Target::Directory, false, Some(Within)),
            (Other, Target::Directory, true, Some(Within)),
            (Directory, Target::Missing, false, Some(There)),
            (Directory, Target::Missing, true, Some(There)),
            (Directory, Target::Other, false, None),
            (Directory, Target::Directory, false, Some(Within)),
            (Contents, Target::Missing, false, Some(There)),
            (Contents, Target::Other, false, None),
            (Contents, Target::Directory, true, Some(Merged)),
        ] {
            let found = place(source, target, ends_in_slash).ok();
            assert_eq!(found, expected, "{source:?} {target:?} {ends_in_slash}");
        }
        for (text, expected) in
            [(".", true), ("a/.", true), ("/.", true), ("a/", false), ("a.", false), ("..", false)]
        {
            assert_eq!(is_contents(text), expected, "{text}");
        }
    }
}
