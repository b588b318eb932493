//! Layers as bytes: order, headers, compression, and that other tools read them.

use std::io::Read;

use std::sync::Arc;

use kiln_layer::{
    Changes, CommitError, Committed, Compression, Content, ContentDigest, DirectoryOrigin, EarlierBlocks,
    Entry, Item, Kind, Metadata, NoCache, NoLayers, Tree, Verdict, WalkOptions, WalkOwner, WalkXattrs,
    commit, commit_with, compress, hash_contents, walk_origin,
};

use crate::support::{changes_of, committed, file, gnu_tar, kinds, listing_of, options, path, tar_of, tree};

fn many_files() -> Tree {
    let mut tree = Tree::new();
    let mut state: u32 = 1;
    for number in 0..900_u32 {
        let mut bytes = Vec::new();
        for _ in 0..(number * 7 % 3000) {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            bytes.push(b'a' + (state >> 27) as u8);
        }
        let name = format!("d{}/f{number}", number % 7);
        tree.imply_parents(&path(&name));
        tree.insert(path(&name), Entry::file(Metadata::with_mode(0o644), Content::inline(bytes)));
    }
    let big: Vec<u8> = (0..3_000_000_u32).map(|at| (at / 7) as u8).collect();
    tree.insert(path("big"), Entry::file(Metadata::with_mode(0o600), Content::inline(big)));
    tree
}

pub(crate) fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
}

#[test]
fn the_bytes_do_not_depend_on_the_number_of_threads() {
    let changes = changes_of(many_files());
    for compression in [Compression::None, Compression::Gzip(6), Compression::Zstd(3)] {
        let blobs: Vec<Vec<u8>> = [1, 2, 8]
            .iter()
            .map(|threads| pool(*threads).install(|| committed(&changes, compression).1))
            .collect();
        assert!(blobs.iter().all(|blob| *blob == blobs[0]), "{compression:?}");
        let mut plain = Vec::new();
        compress::decompress_layer(&blobs[0][..], None).unwrap().read_to_end(&mut plain).unwrap();
        assert_eq!(plain, tar_of(&changes), "{compression:?}");
    }
}

#[test]
fn digests_and_sizes_are_those_of_the_bytes() {
    let changes = changes_of(many_files());
    let (done, blob) = committed(&changes, Compression::Gzip(6));
    let plain = tar_of(&changes);
    assert_eq!(done.digest, kiln_oci::Digest::of(&blob));
    assert_eq!(done.size, blob.len() as u64);
    assert_eq!(done.diff_id.0, kiln_oci::Digest::of(&plain));
    assert_eq!(done.uncompressed_size, plain.len() as u64);
}

#[test]
fn a_file_that_did_not_change_since_it_was_hashed_is_hashed_again_only_where_its_times_prove_nothing() {
    let space = tempfile::tempdir().unwrap();
    std::fs::write(space.path().join("f"), "text").unwrap();
    let options = WalkOptions { owner: WalkOwner::Root, xattrs: WalkXattrs::None };
    // A digest that is not the file's shows which way was taken.
    let mark = ContentDigest::of(b"something else");
    let marked = |settled_before_ns: i128| {
        let origin = Arc::new(DirectoryOrigin::open(space.path()).unwrap().trusting(settled_before_ns));
        let mut tree = walk_origin(&origin, &|_, _| Verdict::Keep, options).unwrap();
        hash_contents(&mut tree, &|_| true, &NoCache, &NoLayers).unwrap();
        let inode = tree.inode(&path("f")).unwrap();
        tree.set_digest(inode, mark);
        changes_of(tree)
    };
    let written =
        |changes: &Changes| commit(changes, &NoLayers, &self::options(Compression::None), &mut Vec::new());
    let (settled, young) = (marked(i128::MAX), marked(0));

    let listing = written(&settled).unwrap().listing;
    let found = listing.items.iter().find_map(|(_, item)| match item {
        Item::Entry(entry) => entry.content(),
        Item::HardLink { .. } | Item::Whiteout | Item::Opaque => None,
    });
    assert_eq!(found.unwrap().digest, Some(mark));
    assert!(matches!(written(&young), Err(CommitError::ContentChanged { .. })));

    std::fs::write(space.path().join("f"), "TEXT").unwrap();
    // All of this may happen within one tick of the file system's clock.
    let file = std::fs::File::options().write(true).open(space.path().join("f")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    assert!(matches!(written(&settled), Err(CommitError::ContentChanged { .. })), "its identity is another");
}

#[test]
fn one_changed_file_leaves_most_compressed_bytes_as_they_were() {
    let before = many_files();
    let mut after = before.clone();
    after.insert(path("d3/f10"), file("something new"));
    let blob = |tree: Tree| committed(&changes_of(tree), Compression::Gzip(6)).1;
    let (before, after) = (blob(before), blob(after));
    let tail =
        before.iter().rev().skip(8).zip(after.iter().rev().skip(8)).take_while(|(left, right)| left == right);
    let head = before.iter().zip(&after).take_while(|(left, right)| left == right);
    let (head, tail) = (head.count(), tail.count());
    assert!(head + tail > before.len() / 2, "{head} + {tail} of {}", before.len());
}

#[test]
fn entries_stand_in_order_with_parents_and_link_targets_first() {
    let entries = tree(&["z: f", "a/", "a/b = z", "a-b: g", "a/b-c/", "a/b-c/d: h"]);
    let mut changes = changes_of(entries);
    changes.deletions.extend([path("a/gone"), path("top")]);
    let names: Vec<String> = gnu_tar(&tar_of(&changes), &["-t"]);
    assert_eq!(names, ["./", ".wh.top", "a/", "a/.wh.gone", "a/b", "a/b-c/", "a/b-c/d", "a-b", "z"]);
    assert_eq!(
        kinds(&listing_of(&changes)),
        [
            "directory .",
            "directory a",
            "file a/b",
            "directory a/b-c",
            "file a/b-c/d",
            "whiteout a/gone",
            "file a-b",
            "whiteout top",
            "link z"
        ]
    );
}

#[test]
fn gnu_tar_lists_what_was_written() {
    let long = format!("{}/{}", "d".repeat(120), "n".repeat(140));
    let mut entries = tree(&["l -> target/of/link", "p|", "s: text @4755,3000000,7", "null%", "u\u{fc}: f"]);
    entries.imply_parents(&path(&long));
    entries.insert(path(&long), file("deep"));
    entries.insert(kiln_layer::ArchivePath::parse(b"raw-\xe9").unwrap(), file("bytes"));
    let lines = gnu_tar(&tar_of(&changes_of(entries)), &["-tv", "--numeric-owner", "--utc", "--full-time"]);
    let expected = [
        "drwxr-xr-x 0/0 0 1980-01-01 00:00:00 ./".to_owned(),
        format!("drwxr-xr-x 0/0 0 1980-01-01 00:00:00 {}/", "d".repeat(120)),
        format!("-rw-r--r-- 0/0 4 1980-01-01 00:00:00 {long}"),
        "lrwxrwxrwx 0/0 0 1980-01-01 00:00:00 l -> target/of/link".to_owned(),
        "crw-r--r-- 0/0 1,5 1980-01-01 00:00:00 null".to_owned(),
        "prw-r--r-- 0/0 0 1980-01-01 00:00:00 p".to_owned(),
        "-rw-r--r-- 0/0 5 1980-01-01 00:00:00 raw-\\351".to_owned(),
        "-rwsr-xr-x 3000000/7 4 1980-01-01 00:00:00 s".to_owned(),
        "-rw-r--r-- 0/0 1 1980-01-01 00:00:00 u\\303\\274".to_owned(),
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_file_that_is_not_what_it_was_is_an_error() {
    let with = |change: fn(&mut Content)| {
        let mut content = Content::inline(*b"12345");
        change(&mut content);
        let entry = Entry::file(Metadata::with_mode(0o644), content);
        let changes = changes_of([(path("f"), entry)].into_iter().collect());
        commit(&changes, &NoLayers, &options(Compression::None), &mut Vec::new()).unwrap_err().to_string()
    };
    assert_eq!(
        with(|content| content.size = 7),
        "`f` changed while it was read: 7 bytes were expected, 5 found"
    );
    assert_eq!(
        with(|content| content.size = 3),
        "`f` changed while it was read: 3 bytes were expected, 4 found"
    );
    assert!(with(|content| content.digest = Some(ContentDigest::of(b""))).starts_with("`f` changed since"));
}

#[test]
fn names_that_mean_deletions_are_refused() {
    let changes = changes_of(tree(&["d/", "d/.wh.x: f"]));
    let error = commit(&changes, &NoLayers, &options(Compression::None), &mut Vec::new()).unwrap_err();
    assert!(matches!(error, CommitError::ReservedName { .. }), "{error}");
}

#[test]
fn no_changes_make_the_empty_archive() {
    let (done, blob) = committed(&Changes::new(), Compression::None);
    assert_eq!(blob, [0; 1024]);
    assert_eq!(done.uncompressed_size, 1024);
}

#[test]
fn a_full_disk_is_an_error() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let error = commit(&changes_of(many_files()), &NoLayers, &options(Compression::Gzip(1)), &mut Full);
    assert!(matches!(error, Err(CommitError::Write { .. })));
}

const COMPRESSIONS: [Compression; 3] = [Compression::None, Compression::Gzip(5), Compression::Zstd(3)];

/// Small files; their contents can be read only when `are_readable`.
fn small_files(are_readable: bool) -> Tree {
    let mut tree = Tree::new();
    for number in 0..3000_u32 {
        let name = path(&format!("d{}/f{number:04}", number % 7));
        let content = Content::inline(format!("{number}\n").repeat(number as usize % 90).into_bytes());
        let elsewhere = || {
            let (size, digest) = (content.size, content.digest.unwrap());
            Content::of_layer(kiln_oci::DiffId(kiln_oci::Digest::of(b"")), name.clone(), size, digest)
        };
        let content = if are_readable { content } else { elsewhere() };
        tree.imply_parents(&name);
        tree.insert(name, Entry::file(Metadata::with_mode(0o644), content));
    }
    tree
}

/// The blocks of a layer whose blob has these bytes now.
fn blocks_of(done: &Committed, blob: &[u8]) -> EarlierBlocks {
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, blob).unwrap();
    let mut earlier = EarlierBlocks::default();
    earlier.add(file, done.blocks.clone());
    earlier
}

fn committed_with(
    changes: &Changes,
    compression: Compression,
    earlier: &EarlierBlocks,
) -> Result<(Committed, Vec<u8>), CommitError> {
    let mut blob = Vec::new();
    let done = commit_with(changes, &NoLayers, &options(compression), earlier, &mut blob)?;
    Ok((done, blob))
}

#[test]
fn what_an_earlier_layer_has_is_copied_and_not_read() {
    let (readable, unreadable) = (changes_of(small_files(true)), changes_of(small_files(false)));
    for compression in COMPRESSIONS {
        let (first, blob) = committed(&readable, compression);
        let (again, copy) = committed_with(&unreadable, compression, &blocks_of(&first, &blob)).unwrap();
        assert!(copy == blob, "{compression}");
        assert_eq!(
            (again.diff_id, again.digest, &again.blocks),
            (first.diff_id, first.digest, &first.blocks)
        );
        assert_eq!(again.listing.encode(), first.listing.encode());
        // Without, or under another compression, there is nothing to copy.
        assert!(committed_with(&unreadable, compression, &EarlierBlocks::default()).is_err());
        let other = if compression == Compression::None { Compression::Gzip(1) } else { Compression::None };
        assert!(committed_with(&unreadable, other, &blocks_of(&first, &blob)).is_err());
    }
}

#[test]
fn the_bytes_do_not_depend_on_what_there_was_to_copy() {
    let before = many_files();
    let mut after = before.clone();
    after.insert(path("d3/f10"), file("something new"));
    after.insert(path("d5/new"), file("one more"));
    after.remove(&path("d1/f8"));
    let (before, after) = (changes_of(before), changes_of(after));
    for compression in COMPRESSIONS {
        let (first, blob) = committed(&before, compression);
        let (fresh, expected) = committed(&after, compression);
        let mut flipped = blob.clone();
        for at in (0..flipped.len()).step_by(50_000) {
            flipped[at] ^= 1;
        }
        let rows: [(&str, &[u8]); 4] =
            [("sound", &blob), ("damaged", &flipped), ("cut short", &blob[..blob.len() / 2]), ("gone", b"")];
        for (state, bytes) in rows {
            let (done, found) = committed_with(&after, compression, &blocks_of(&first, bytes)).unwrap();
            assert!(found == expected, "{compression}, {state}");
            assert_eq!((done.diff_id, done.blocks), (fresh.diff_id, fresh.blocks.clone()), "{state}");
        }
    }
}

#[test]
fn files_whose_digests_are_not_known_yet_are_read_and_their_blocks_copied_all_the_same() {
    let known = small_files(true);
    let mut unknown = Tree::new();
    for (path, entry) in known.iter() {
        let mut entry = entry.clone();
        if let Kind::File(content) = &mut entry.kind {
            content.digest = None;
        }
        unknown.insert(path.clone(), entry);
    }
    let (known, unknown) = (changes_of(known), changes_of(unknown));
    let (first, blob) = committed(&unknown, Compression::default());
    assert!(committed(&known, Compression::default()).1 == blob);
    let (again, copy) = committed_with(&unknown, Compression::default(), &blocks_of(&first, &blob)).unwrap();
    assert!(copy == blob && again.blocks == first.blocks);
}
