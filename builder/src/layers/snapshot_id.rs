//! Under which name a layer's unpacked directory is kept.
//!
//! | The name covers | Because |
//! |---|---|
//! | [`SNAPSHOT_FORMAT`] | another program may unpack in another way |
//! | what the directory is for | without marks of overlayfs it is another one |
//! | whether owners and devices are on disk or recorded | a user who gets subordinate ids later has both |
//! | the diff id | it says the rest |
//! | directories that the layer has and does not list, with the metadata they have below | overlayfs shows the topmost one |

use std::collections::HashSet;

use kiln_layer::{ArchivePath, Devices, Listing, Metadata, OverlayMarks, Ownership, Tree, UnpackForm};
use kiln_oci::{DiffId, Hasher};

use crate::plan::key::KeySink;

/// How layers are unpacked, and steps' directories kept. Another number unpacks everything once more. 2 records owners and devices that
/// cannot be set; 1 was before there was a number.
const SNAPSHOT_FORMAT: u32 = 2;

/// How this process unpacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Manner {
    pub(super) form: UnpackForm,
    pub(super) ownership: Ownership,
    pub(super) devices: Devices,
}

impl Manner {
    /// Returns all the manners that there are.
    fn all() -> impl Iterator<Item = Self> {
        let marks = [OverlayMarks::Trusted, OverlayMarks::User].map(UnpackForm::Overlay);
        let forms = [UnpackForm::Contents, UnpackForm::Flat].into_iter().chain(marks);
        forms.flat_map(|form| {
            [Ownership::Real, Ownership::Recorded].into_iter().flat_map(move |ownership| {
                [Devices::Create, Devices::Record].map(|devices| Self { form, ownership, devices })
            })
        })
    }
}

/// Returns the names that directories of a layer may have which lists all its parents, as those of this program do.
pub(super) fn snapshot_ids_alone(listing: &Listing) -> impl Iterator<Item = DiffId> {
    Manner::all().map(|manner| snapshot_id(manner, listing, &Tree::new()))
}

/// Returns the name of the directory of a layer over the tree `below`.
pub(super) fn snapshot_id(manner: Manner, listing: &Listing, below: &Tree) -> DiffId {
    let mut hasher = Hasher::new();
    hasher.field("format", &SNAPSHOT_FORMAT.to_le_bytes());
    let form = match manner.form {
        UnpackForm::Contents => "contents",
        UnpackForm::Flat => "flat",
        UnpackForm::Overlay(OverlayMarks::Trusted) => "overlay, trusted",
        UnpackForm::Overlay(OverlayMarks::User) => "overlay, user",
    };
    hasher.field("form", form.as_bytes());
    hasher.field("real owners", &[u8::from(manner.ownership == Ownership::Real)]);
    hasher.field("real devices", &[u8::from(manner.devices == Devices::Create)]);
    hasher.field("layer", listing.diff_id.0.as_bytes());
    let listed: HashSet<&ArchivePath> = listing.items.iter().map(|(path, _)| path).collect();
    let mut met: HashSet<ArchivePath> = HashSet::new();
    for (path, _) in &listing.items {
        // Upwards, until one that was met before: its own parents were, too. So deep directories cost what their names do.
        let is_new = |parent: &ArchivePath| !parent.is_root() && !met.contains(parent);
        let parents =
            std::iter::successors(path.parent().filter(is_new), |path| path.parent().filter(is_new));
        let parents: Vec<ArchivePath> = parents.collect();
        for parent in &parents {
            let entry = if listed.contains(parent) { None } else { below.get(parent) };
            let Some(entry) = entry else { continue };
            let Metadata { mode, uid, gid, xattrs, mtime } = &entry.metadata;
            hasher.field("directory", parent.as_bytes());
            let numbers = format!("{mode:o} {uid} {gid} {}.{}", mtime.seconds, mtime.nanoseconds);
            hasher.field("metadata", numbers.as_bytes());
            for (name, value) in xattrs.iter() {
                hasher.field("attribute", name);
                hasher.field("value", value);
            }
        }
        met.extend(parents);
    }
    DiffId(hasher.finish())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use kiln_layer::{Entry, Item};
    use kiln_oci::Digest;

    use super::*;

    fn path(text: &str) -> ArchivePath {
        ArchivePath::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn whatever_makes_another_directory_makes_another_name() {
        let entry = || Item::Entry(Entry::implied_directory());
        let listing = |name: &[u8], paths: &[&str]| Listing {
            diff_id: DiffId(Digest::of(name)),
            items: paths.iter().map(|text| (path(text), entry())).collect(),
        };
        let below = |mode| {
            let mut tree = Tree::new();
            tree.insert(path("a"), Entry::directory(Metadata::with_mode(mode)));
            tree
        };
        let (free, over) = (listing(b"1", &["a/b"]), below(0o755));
        let manner =
            Manner { form: UnpackForm::Contents, ownership: Ownership::Real, devices: Devices::Create };
        let [trusted, user] = [OverlayMarks::Trusted, OverlayMarks::User].map(UnpackForm::Overlay);
        let ids = [
            snapshot_id(manner, &free, &over),
            snapshot_id(manner, &listing(b"2", &["a/b"]), &over),
            snapshot_id(manner, &free, &Tree::new()),
            snapshot_id(manner, &free, &below(0o700)),
            snapshot_id(Manner { form: trusted, ..manner }, &free, &over),
            snapshot_id(Manner { form: user, ..manner }, &free, &over),
            snapshot_id(Manner { ownership: Ownership::Recorded, ..manner }, &free, &over),
            snapshot_id(Manner { devices: Devices::Record, ..manner }, &free, &over),
        ];
        assert_eq!(ids.iter().map(|id| id.0).collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
        let whole = listing(b"1", &["a", "a/b"]);
        assert_eq!(snapshot_id(manner, &whole, &over), snapshot_id(manner, &whole, &below(0o700)));
    }

    #[test]
    fn each_directory_above_is_in_the_name_once_however_many_entries_lie_below_it() {
        let below: Tree = ["a", "a/b", "a/b/c", "e"]
            .into_iter()
            .map(|name| (path(name), Entry::implied_directory()))
            .collect();
        let manner =
            Manner { form: UnpackForm::Contents, ownership: Ownership::Real, devices: Devices::Create };
        let id = |lines: &[(&str, Item)]| {
            let items = lines.iter().map(|(name, item)| (path(name), item.clone())).collect();
            snapshot_id(manner, &Listing { diff_id: DiffId(Digest::of(b"layer")), items }, &below)
        };
        let lines = [("a/b/c/x", Item::Whiteout), ("a/b/y", Item::Whiteout), ("e/x", Item::Whiteout)];
        assert_eq!(id(&lines[..1]), id(&lines[..2]));
        assert_ne!(id(&lines[..2]), id(&lines));
        assert_ne!(id(&lines[1..]), id(&lines));
    }

    #[test]
    fn the_name_of_a_deep_directory_costs_little_more_than_its_paths() {
        let steps: Vec<String> = (1..1800).map(|depth| vec!["d"; depth].join("/")).collect();
        let mut below = Tree::new();
        let items = steps.iter().map(|step| {
            below.insert(path(step), Entry::implied_directory());
            (path(step), Item::Entry(Entry::implied_directory()))
        });
        let listing = Listing { diff_id: DiffId(Digest::of(b"layer")), items: items.collect() };
        let manner =
            Manner { form: UnpackForm::Contents, ownership: Ownership::Real, devices: Devices::Create };
        // All parents of all paths would be some five billion bytes to compare.
        assert_eq!(snapshot_id(manner, &listing, &below), snapshot_id(manner, &listing, &Tree::new()));
    }
}
