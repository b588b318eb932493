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
    let mut seen: HashSet<ArchivePath> = listing.items.iter().map(|(path, _)| path.clone()).collect();
    for (path, _) in &listing.items {
        for parent in path.ancestors().filter(|parent| !parent.is_root()) {
            let is_known = !seen.insert(parent.clone());
            let Some(entry) = below.get(&parent).filter(|_| !is_known) else { continue };
            let Metadata { mode, uid, gid, xattrs, mtime } = &entry.metadata;
            hasher.field("directory", parent.as_bytes());
            let numbers = format!("{mode:o} {uid} {gid} {}.{}", mtime.seconds, mtime.nanoseconds);
            hasher.field("metadata", numbers.as_bytes());
            for (name, value) in xattrs.iter() {
                hasher.field("attribute", name);
                hasher.field("value", value);
            }
        }
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
}
