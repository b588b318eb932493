//! What must hold for any tree and any bytes.

use std::io::Read;
use std::sync::Arc;

use kiln_layer::content_hash::Naming;
use kiln_layer::tar::read::Limits;
use kiln_layer::{
    ArchivePath, Compression, Content, CopyRequest, CopySource, Device, Entry, Kind, Listing, Metadata,
    Timestamp, Tree, WithTime, compress, copy, diff, digest_of_selection, read_listing,
};
use proptest::prelude::*;

use crate::support::{changes_of, committed, listing_of, tar_of};

fn component() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => "[a-d]".prop_map(String::into_bytes),
        1 => "[a-z]{90,120}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 1..6),
    ]
    .prop_filter("a plain component", |name| {
        ArchivePath::root().join(name).is_ok() && !name.starts_with(b".wh.")
    })
}

fn metadata() -> impl Strategy<Value = Metadata> {
    let id = prop_oneof![Just(0_u32), 0..100_u32, any::<u32>()];
    let xattrs = prop::collection::vec((0..3_u8, prop::collection::vec(any::<u8>(), 0..9)), 0..2);
    (0..0o10000_u32, id.clone(), id, xattrs).prop_map(|(mode, uid, gid, xattrs)| Metadata {
        mode,
        uid,
        gid,
        mtime: Timestamp::from_seconds(315_532_800),
        xattrs: xattrs
            .into_iter()
            .map(|(name, value)| (format!("user.x{name}").into_bytes(), value))
            .collect(),
    })
}

fn entry() -> impl Strategy<Value = Entry> {
    let device = (0..5_u32, 1..5_u32).prop_map(|(major, minor)| Device { major, minor });
    let kind = prop_oneof![
        4 => Just(Kind::Directory),
        4 => prop::collection::vec(any::<u8>(), 0..1500).prop_map(|bytes| Kind::File(Content::inline(bytes))),
        2 => prop::collection::vec(1..=255_u8, 1..150).prop_map(|target| Kind::Symlink(Arc::from(target))),
        1 => device.clone().prop_map(Kind::CharDevice),
        1 => device.prop_map(Kind::BlockDevice),
        1 => Just(Kind::Fifo),
    ];
    (metadata(), kind).prop_map(|(mut metadata, kind)| {
        if matches!(kind, Kind::Symlink(_)) {
            metadata.mode = 0o777;
        }
        Entry { metadata, kind }
    })
}

/// A whole tree: parents are implied; each name may be a link to an earlier file instead.
pub(crate) fn trees() -> impl Strategy<Value = Tree> {
    let name = prop::collection::vec(component(), 1..4);
    prop::collection::vec((name, entry(), any::<prop::sample::Index>(), 0..6_u8), 0..25).prop_map(|items| {
        let mut tree = Tree::new();
        tree.insert(ArchivePath::root(), Entry::implied_directory());
        for (name, entry, other, link) in items {
            let path = ArchivePath::parse(&name.join(&b'/')).unwrap();
            let files: Vec<ArchivePath> = tree
                .iter()
                .filter(|(_, entry)| entry.content().is_some())
                .map(|(path, _)| path.clone())
                .filter(|file| !file.is_within(&path) && !path.is_within(file))
                .collect();
            tree.imply_parents(&path);
            match (link, files.is_empty()) {
                (0, false) => {
                    let target = other.get(&files).clone();
                    if tree.get(&target).is_some() {
                        tree.link(path, &target).unwrap();
                    }
                }
                _ => {
                    tree.insert(path, entry);
                }
            }
        }
        tree
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_layer_reads_back_as_it_was_written(tree in trees()) {
        let listing = listing_of(&changes_of(tree.clone()));
        let back = Tree::from_listings([&listing]).unwrap();
        prop_assert!(back.is_same(&tree, WithTime::No));
        prop_assert_eq!(Listing::decode(&listing.encode()).unwrap().encode(), listing.encode());
    }

    #[test]
    fn applying_a_difference_gives_the_other_tree(before in trees(), after in trees()) {
        let changes = diff(&before, &after, WithTime::No);
        let mut applied = before.clone();
        applied.apply(&changes);
        prop_assert!(applied.is_same(&after, WithTime::No));
        prop_assert!(diff(&after, &after, WithTime::No).is_empty());
    }

    #[test]
    fn a_difference_as_a_layer_gives_the_other_tree(before in trees(), after in trees()) {
        let listings = [changes_of(before.clone()), diff(&before, &after, WithTime::No)].map(|changes| listing_of(&changes));
        let merged = Tree::from_listings(&listings).unwrap();
        prop_assert!(merged.is_same(&after, WithTime::No));
    }

    #[test]
    fn compressed_layers_decompress_to_their_tar(tree in trees(), level in 1..9_u32) {
        let changes = changes_of(tree);
        let plain = tar_of(&changes);
        for compression in [Compression::Gzip(level), Compression::Zstd(3)] {
            let mut bytes = Vec::new();
            let blob = committed(&changes, compression).1;
            compress::decompress_layer(&blob[..], None).unwrap().read_to_end(&mut bytes).unwrap();
            prop_assert_eq!(&bytes, &plain);
        }
    }

    #[test]
    fn copying_a_tree_to_nothing_gives_the_same_tree(tree in trees()) {
        let request = CopyRequest {
            sources: vec![CopySource::Path { tree: &tree, pattern: b".", part: None }],
            destination: b"/x/",
            workdir: b"/",
            owner: None,
            chmod: None,
            link: false,
            exclude: None,
            with_time: WithTime::No,
        };
        let copied = copy(&Tree::new(), &request).unwrap();
        prop_assert_eq!(copied.changes.entries.len(), tree.len());
        let x = ArchivePath::parse(b"x").unwrap();
        let digest = |tree: &Tree, at: ArchivePath| digest_of_selection(tree, &[at.into()], Naming::FileName, Default::default(), None).unwrap();
        prop_assert_eq!(digest(&copied.changes.entries, x), digest(&tree, ArchivePath::root()));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let limits = Limits { archive_bytes_max: 1 << 20, ..Limits::default() };
        prop_assert!(read_listing(&bytes[..], limits).is_err() || bytes.is_empty() || bytes.starts_with(&[0; 512]));
        prop_assert!(Listing::decode(&bytes).is_err());
    }

    #[test]
    fn a_damaged_layer_is_read_or_refused(tree in trees(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut archive = tar_of(&changes_of(tree));
        *at.get_mut(&mut archive) = byte;
        let limits = Limits { archive_bytes_max: 1 << 20, ..Limits::default() };
        if let Ok(read) = read_listing(&archive[..], limits) {
            prop_assert_eq!(read.uncompressed_size, archive.len() as u64);
        }
    }
}
