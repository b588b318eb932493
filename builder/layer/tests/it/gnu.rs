//! GNU tar as a second reader: it lists of random trees what was meant. And what decides about bytes, and what does not.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use kiln_layer::tar::write::{Member, append_header};
use kiln_layer::{
    ArchivePath, Compression, Content, Device, Entry, Kind, Metadata, Timestamp, Tree, WithTime,
};
use proptest::prelude::*;

use crate::commit::pool;
use crate::properties::trees;
use crate::support::{changes_of, committed, gnu_tar, gnu_tar_of_file, path, tar_of};

const LISTING: [&str; 5] = ["-tv", "--numeric-owner", "--utc", "--full-time", "--quoting-style=escape"];

/// The line that GNU tar prints of an entry, blanks squeezed.
fn line(name: &ArchivePath, entry: &Entry, first: Option<&ArchivePath>) -> String {
    let Metadata { mode, uid, gid, .. } = entry.metadata;
    let (letter, size, end) = match (&entry.kind, first) {
        (_, Some(first)) => ('h', "0".to_owned(), format!(" link to {}", escaped(first.as_bytes()))),
        (Kind::File(content), _) => ('-', content.size.to_string(), String::new()),
        (Kind::Directory, _) => ('d', "0".to_owned(), if name.is_root() { "./" } else { "/" }.to_owned()),
        (Kind::Symlink(target), _) => ('l', "0".to_owned(), format!(" -> {}", escaped(target))),
        (Kind::CharDevice(Device { major, minor }), _) => ('c', format!("{major},{minor}"), String::new()),
        (Kind::BlockDevice(Device { major, minor }), _) => ('b', format!("{major},{minor}"), String::new()),
        (Kind::Fifo, _) => ('p', "0".to_owned(), String::new()),
    };
    let name = escaped(name.as_bytes());
    let line = format!("{letter}{} {uid}/{gid} {size} 1980-01-01 00:00:00 {name}{end}", permissions(mode));
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn permissions(mode: u32) -> String {
    let mut text: Vec<u8> =
        (0..9).map(|bit| if mode & (0o400 >> bit) == 0 { b'-' } else { b"rwxrwxrwx"[bit] }).collect();
    for (special, at, letter) in [(0o4000, 2, b's'), (0o2000, 5, b's'), (0o1000, 8, b't')] {
        if mode & special != 0 {
            text[at] = if text[at] == b'x' { letter } else { letter.to_ascii_uppercase() };
        }
    }
    String::from_utf8(text).unwrap()
}

/// GNU's `escape` style in the C locale.
fn escaped(name: &[u8]) -> String {
    let escape = |byte: &u8| match byte {
        b'\\' => "\\\\".to_owned(),
        7..=13 => format!("\\{}", char::from(b"abtnvfr"[usize::from(byte - 7)])),
        0x20..=0x7e => char::from(*byte).to_string(),
        _ => format!("\\{byte:03o}"),
    };
    name.iter().map(escape).collect()
}

/// The same tree, its entries given in another order; links come when their files are there.
fn in_order(tree: &Tree, order: &[prop::sample::Index]) -> Tree {
    let links = tree.hard_links();
    let mut entries: Vec<(ArchivePath, Entry)> = tree
        .iter()
        .filter(|(path, _)| !links.contains_key(*path))
        .map(|(path, entry)| (path.clone(), entry.clone()))
        .collect();
    let mut shuffled = Tree::new();
    for index in order.iter().cycle() {
        if entries.is_empty() {
            break;
        }
        let (path, entry) = entries.swap_remove(index.index(entries.len()));
        shuffled.imply_parents(&path);
        shuffled.insert(path, entry);
    }
    for (path, target) in links.iter().collect::<BTreeMap<_, _>>() {
        shuffled.link((*path).clone(), target).unwrap();
    }
    shuffled
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn gnu_tar_lists_any_tree_as_it_was_meant(tree in trees()) {
        let links = tree.hard_links();
        let meant: Vec<String> = tree.iter().map(|(path, entry)| line(path, entry, links.get(path).copied())).collect();
        prop_assert_eq!(gnu_tar(&tar_of(&changes_of(tree)), &LISTING), meant);
    }

    #[test]
    fn the_order_in_which_entries_arrive_does_not_count(
        tree in trees(),
        order in prop::collection::vec(any::<prop::sample::Index>(), 1..30),
    ) {
        let shuffled = in_order(&tree, &order);
        prop_assert!(shuffled.is_same(&tree, WithTime::No));
        prop_assert_eq!(tar_of(&changes_of(shuffled)), tar_of(&changes_of(tree)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]

    #[test]
    fn the_number_of_threads_does_not_count(sizes in prop::collection::vec(0..700_000_usize, 1..12), step in 1..9_usize) {
        let mut tree = Tree::new();
        for (number, size) in sizes.iter().enumerate() {
            let bytes: Vec<u8> = (0..*size).map(|at| (at / step) as u8).collect();
            tree.insert(path(&format!("f{number}")), Entry::file(Metadata::with_mode(0o644), Content::inline(bytes)));
        }
        let changes = changes_of(tree);
        for compression in [Compression::default(), Compression::Zstd(3)] {
            let by = |threads| pool(threads).install(|| {
                let (done, blob) = committed(&changes, compression);
                (done.digest, done.size, done.diff_id, blob)
            });
            let alone = by(1);
            prop_assert!([2, 3, 8].into_iter().all(|threads| by(threads) == alone));
        }
    }
}

#[test]
fn files_beyond_what_ustar_can_say_have_headers_that_gnu_tar_reads() {
    let space = tempfile::tempdir().unwrap();
    for size in [(8 << 30) - 1, 8 << 30, 9 << 30, 1 << 42] {
        let content = Content { size, ..Content::inline(*b"") };
        let entry = Entry::file(Metadata::with_mode(0o644), content);
        let mut header = Vec::new();
        append_header(
            &mut header,
            &path("large"),
            Member::Entry(&entry),
            Timestamp::from_seconds(315_532_800),
        )
        .unwrap();
        // A hole stands for the content: GNU tar seeks over it.
        let at = space.path().join("large.tar");
        let file = File::create(&at).unwrap();
        file.write_all_at(&header, 0).unwrap();
        file.set_len(header.len() as u64 + size.next_multiple_of(512) + 1024).unwrap();
        let expected = format!("-rw-r--r-- 0/0 {size} 1980-01-01 00:00:00 large");
        assert_eq!(gnu_tar_of_file(&at, &LISTING), [expected]);
        let is_extended = header.len() > 512;
        assert_eq!(is_extended, size >= 8 << 30, "{size}");
    }
}
