//! What differs between two trees, name by name, and in what: for people, and for all that has to say why two things are not
//! the same.

use std::iter::Peekable;

use super::Tree;
use crate::entry::Entry;
use crate::path::ArchivePath;

/// A name at which two trees differ.
#[derive(Debug, Clone)]
pub struct Difference<'a> {
    /// The name.
    pub path: &'a ArchivePath,
    /// What the first tree has there.
    pub before: Option<&'a Entry>,
    /// What the second tree has there.
    pub after: Option<&'a Entry>,
    /// In what these differ, where there are both; never empty then.
    pub aspects: Vec<Aspect>,
}

/// In what two entries differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Aspect {
    /// What they are. Nothing else is compared then.
    Kind,
    /// The bytes of files, the target of symlinks, the numbers of devices.
    Content,
    /// The mode.
    Mode,
    /// User or group.
    Owner,
    /// The time.
    Time,
    /// An extended attribute, by its name.
    Xattr(Vec<u8>),
    /// Of which file it is one more name: the first name of that, unless this is the first itself.
    Links {
        /// In the first tree.
        before: Option<ArchivePath>,
        /// In the second.
        after: Option<ArchivePath>,
    },
}

impl Tree {
    /// Returns where `other` differs, in the order of the names. Files whose digests are not both known are compared by where
    /// their bytes lie.
    pub fn differences<'a>(&'a self, other: &'a Self) -> Vec<Difference<'a>> {
        let (links_before, links_after) = (self.hard_links(), other.hard_links());
        let mut found = Vec::new();
        let (mut before, mut after) = (self.iter().peekable(), other.iter().peekable());
        while let Some(path) = first_of(&mut before, &mut after) {
            let old = before.next_if(|(name, _)| *name == path).map(|(_, entry)| entry);
            let new = after.next_if(|(name, _)| *name == path).map(|(_, entry)| entry);
            let aspects = match (old, new) {
                (Some(old), Some(new)) => {
                    let mut aspects = aspects(old, new);
                    let (before, after) = (links_before.get(path), links_after.get(path));
                    if before != after {
                        let first = |name: Option<&&ArchivePath>| name.map(|name| (*name).clone());
                        aspects.push(Aspect::Links { before: first(before), after: first(after) });
                    }
                    aspects
                }
                _ => Vec::new(),
            };
            if old.is_none() || new.is_none() || !aspects.is_empty() {
                found.push(Difference { path, before: old, after: new, aspects });
            }
        }
        found
    }
}

/// Returns the smaller of the next names.
fn first_of<'a, T, U>(
    before: &mut Peekable<impl Iterator<Item = (&'a ArchivePath, T)>>,
    after: &mut Peekable<impl Iterator<Item = (&'a ArchivePath, U)>>,
) -> Option<&'a ArchivePath> {
    match (before.peek(), after.peek()) {
        (Some((old, _)), Some((new, _))) => Some((*old).min(*new)),
        (Some((only, _)), None) | (None, Some((only, _))) => Some(*only),
        (None, None) => None,
    }
}

fn aspects(before: &Entry, after: &Entry) -> Vec<Aspect> {
    let (old, new) = (&before.metadata, &after.metadata);
    let mut aspects = Vec::new();
    if std::mem::discriminant(&before.kind) != std::mem::discriminant(&after.kind) {
        return vec![Aspect::Kind];
    }
    if !before.kind.is_same(&after.kind) {
        aspects.push(Aspect::Content);
    }
    if old.mode != new.mode {
        aspects.push(Aspect::Mode);
    }
    if (old.uid, old.gid) != (new.uid, new.gid) {
        aspects.push(Aspect::Owner);
    }
    if old.mtime != new.mtime {
        aspects.push(Aspect::Time);
    }
    if old.xattrs != new.xattrs {
        let names: std::collections::BTreeSet<&[u8]> =
            old.xattrs.iter().chain(new.xattrs.iter()).map(|(name, _)| name).collect();
        let differ = names.into_iter().filter(|name| old.xattrs.get(name) != new.xattrs.get(name));
        aspects.extend(differ.map(|name| Aspect::Xattr(name.to_vec())));
    }
    aspects
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Device, Kind, Metadata, Timestamp};
    use crate::{Content, ContentDigest, Origin};

    fn path(text: &str) -> ArchivePath {
        ArchivePath::parse(text.as_bytes()).unwrap()
    }

    fn file(text: &str, metadata: Metadata) -> Entry {
        let content = Content {
            origin: Origin::Inline(text.as_bytes().into()),
            path: ArchivePath::root(),
            size: text.len() as u64,
            digest: Some(ContentDigest::of(text.as_bytes())),
            identity: None,
        };
        Entry::file(metadata, content)
    }

    fn said(before: &Tree, after: &Tree) -> Vec<String> {
        let shown = |difference: Difference<'_>| {
            let mark = match (difference.before, difference.after) {
                (None, _) => "A",
                (_, None) => "D",
                _ => "C",
            };
            format!("{mark} {} {:?}", difference.path, difference.aspects)
        };
        before.differences(after).into_iter().map(shown).collect()
    }

    #[test]
    fn every_aspect_of_an_entry_is_told_apart() {
        let plain = || Metadata::with_mode(0o644);
        let entry = |kind| Entry { metadata: plain(), kind };
        let device = |minor| entry(Kind::CharDevice(Device { major: 1, minor }));
        let attribute = |value: &[u8]| {
            let xattrs = [(b"user.a".to_vec(), value.to_vec())].into_iter().collect();
            file("x", Metadata { xattrs, ..plain() })
        };
        for (before, after, expected) in [
            (file("x", plain()), file("y", plain()), "[Content]"),
            (entry(Kind::Symlink(b"a"[..].into())), entry(Kind::Symlink(b"b"[..].into())), "[Content]"),
            (device(1), device(2), "[Content]"),
            (file("x", plain()), entry(Kind::Fifo), "[Kind]"),
            (file("x", plain()), file("x", Metadata::with_mode(0o600)), "[Mode]"),
            (file("x", plain()), file("y", Metadata { gid: 7, ..plain() }), "[Content, Owner]"),
            (
                file("x", plain()),
                file("x", Metadata { mtime: Timestamp::from_seconds(9), ..plain() }),
                "[Time]",
            ),
            (attribute(b"1"), attribute(b"2"), "[Xattr([117, 115, 101, 114, 46, 97])]"),
        ] {
            let tree = |entry: Entry| Tree::from_iter([(path("f"), entry)]);
            let (before, after) = (tree(before), tree(after));
            assert_eq!(said(&before, &after), [format!("C f {expected}")]);
            assert_eq!(said(&before, &before), Vec::<String>::new());
        }
    }

    #[test]
    fn names_come_in_order_wherever_they_are() {
        let tree = |names: &[&str]| -> Tree {
            names.iter().map(|name| (path(name), file(name, Metadata::with_mode(0o644)))).collect()
        };
        let (before, after) = (tree(&["a", "b", "d"]), tree(&["b", "c", "d", "e"]));
        assert_eq!(said(&before, &after), ["D a []", "A c []", "A e []"]);
        assert_eq!(said(&after, &before), ["A a []", "D c []", "D e []"]);
    }

    #[test]
    fn a_hard_link_is_not_a_copy() {
        let mut linked = Tree::from_iter([(path("a"), file("x", Metadata::with_mode(0o644)))]);
        let mut copied = linked.clone();
        linked.link(path("b"), &path("a")).unwrap();
        copied.insert(path("b"), file("x", Metadata::with_mode(0o644)));
        assert_eq!(said(&linked, &copied), ["C b [Links { before: Some(`a`), after: None }]"]);
    }
}
