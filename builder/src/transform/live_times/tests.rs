//! What a step sees as new, by what was seen before.

use std::sync::Arc;

use kiln_layer::{ArchivePath, Content, Entry, Kind, Metadata, Tree};
use proptest::prelude::*;

use super::table::{Known, Moment, Nanoseconds};
use super::view::{Bound, Viewed, view};

/// A tree of files, each with a content; a name that ends in `/` is a directory.
fn tree(files: &[(&str, &str)]) -> Tree {
    let mut tree = Tree::new();
    for (name, content) in files {
        let path = ArchivePath::parse(name.trim_end_matches('/').as_bytes()).unwrap();
        let metadata = Metadata::with_mode(0o644);
        let entry = match (name.ends_with('/'), content.strip_prefix("-> ")) {
            (true, _) => Entry::directory(metadata),
            (_, Some(target)) => Entry { metadata, kind: Kind::Symlink(target.as_bytes().into()) },
            _ => Entry::file(metadata, Content::inline(content.as_bytes())),
        };
        tree.insert(path, entry);
    }
    tree
}

fn seen(files: &[(&str, &str)]) -> Vec<Viewed> {
    view(&tree(files), &[])
}

fn alone(now: Nanoseconds) -> Moment {
    Moment { now, has_company: false }
}

fn in_company(now: Nanoseconds) -> Moment {
    Moment { now, has_company: true }
}

/// Returns the times of a view's paths, after it was seen at a moment; each table is kept and read again.
fn step(known: &mut Known, files: &[(&str, &str)], moment: Moment) -> Vec<Option<Nanoseconds>> {
    step_with(known, files, moment, &|_| true)
}

fn step_with(
    known: &mut Known,
    files: &[(&str, &str)],
    moment: Moment,
    is_source: &dyn Fn(&Viewed) -> bool,
) -> Vec<Option<Nanoseconds>> {
    let table = known.after(&seen(files), moment, is_source);
    *known = Known::read(Some(&table.encode()));
    assert!(known.is(&table), "what is kept is what is read");
    table.since().collect()
}

#[test]
fn a_content_is_as_old_as_its_last_change() {
    let mut known = Known::read(Some(b""));
    assert_eq!(known, Known::Unused);
    assert_eq!(step(&mut known, &[("a", "1"), ("b", "1")], alone(10)), [None, None]);
    assert_eq!(step(&mut known, &[("a", "1"), ("b", "1")], alone(20)), [None, None]);
    assert_eq!(step(&mut known, &[("a", "2"), ("b", "1")], alone(30)), [Some(30), None]);
    assert_eq!(step(&mut known, &[("a", "2"), ("b", "1")], alone(40)), [Some(30), None]);
    assert_eq!(step(&mut known, &[("a", "1"), ("b", "1")], alone(50)), [Some(50), None]);
    assert_eq!(known.latest(), 50);
}

#[test]
fn a_source_that_comes_or_comes_back_is_new_and_so_is_its_directory() {
    let mut known = Known::Unused;
    assert_eq!(step(&mut known, &[("d/", ""), ("d/a", "1")], alone(10)), [None, None]);
    assert_eq!(
        step(&mut known, &[("d/", ""), ("d/a", "1"), ("d/b", "1")], alone(20)),
        [Some(20), None, Some(20)]
    );
    assert_eq!(step(&mut known, &[("d/", ""), ("d/b", "1")], alone(30)), [Some(30), Some(20)]);
    assert_eq!(
        step(&mut known, &[("d/", ""), ("d/a", "1"), ("d/b", "1")], alone(40)),
        [Some(40), Some(40), Some(20)]
    );
}

#[test]
fn what_is_no_source_is_new_only_when_it_changed() {
    let mut known = Known::Unused;
    let source = |viewed: &Viewed| viewed.path.as_bytes().starts_with(b"src");
    let mut step = |files: &[(&str, &str)], now| step_with(&mut known, files, alone(now), &source);
    assert_eq!(step(&[("bin", "1"), ("src", "1")], 10), [None, None]);
    assert_eq!(step(&[("lib", "1")], 20), [None], "another base");
    assert_eq!(step(&[("bin", "1"), ("src", "1")], 30), [None, Some(30)], "the first again");
    assert_eq!(step(&[("bin", "2"), ("src", "1")], 40), [Some(40), Some(30)]);
    assert_eq!(step(&[("lib", "2")], 50), [Some(50)], "the other again, and it changed meanwhile");
}

#[test]
fn what_changes_beside_another_step_is_new_until_a_step_is_alone() {
    let mut known = Known::Unused;
    step(&mut known, &[("a", "1"), ("b", "1")], alone(10));
    assert_eq!(step(&mut known, &[("a", "2"), ("b", "1")], in_company(20)), [Some(20), None]);
    assert_eq!(step(&mut known, &[("a", "2"), ("b", "1")], in_company(30)), [Some(30), None]);
    assert_eq!(step(&mut known, &[("a", "2"), ("b", "1")], alone(40)), [Some(40), None]);
    assert_eq!(step(&mut known, &[("a", "2"), ("b", "1")], in_company(50)), [Some(40), None]);
}

#[test]
fn where_the_table_is_lost_everything_is_new() {
    let mut known = Known::Unused;
    let table = known.after(&seen(&[("a", "1")]), alone(10), &|_| true).encode();
    for damaged in [None, Some(&table[1..]), Some(&table[..table.len() - 1]), Some(&b"x"[..])] {
        assert_eq!(Known::read(damaged), Known::Lost);
    }
    known = Known::Lost;
    assert_eq!(step_with(&mut known, &[("a", "1")], alone(20), &|_| false), [Some(20)]);
}

#[test]
fn a_link_is_known_by_its_target_and_a_kind_by_itself() {
    let mut known = Known::Unused;
    assert_eq!(step(&mut known, &[("a", "-> x"), ("b", "y"), ("c/", "")], alone(10)), [None; 3]);
    let next = [("a", "-> z"), ("b", "-> y"), ("c", "")];
    assert_eq!(step(&mut known, &next, alone(20)), [Some(20); 3]);
}

#[test]
fn the_names_of_a_file_have_one_time() {
    let mut linked = tree(&[("a", "1"), ("c", "1")]);
    linked.link(ArchivePath::parse(b"b").unwrap(), &ArchivePath::parse(b"a").unwrap()).unwrap();
    let mut known = Known::Unused;
    step(&mut known, &[("a", "1"), ("b", "2"), ("c", "1")], alone(10));
    let table = known.after(&view(&linked, &[]), alone(20), &|_| true);
    assert_eq!(table.since().collect::<Vec<_>>(), [Some(20), Some(20), None]);
}

#[test]
fn the_names_of_a_file_that_a_mount_shows_have_one_time() {
    let shows = |tree: Tree| Bound {
        target: ArchivePath::parse(b"m").unwrap(),
        tree: Arc::new(tree),
        part: ArchivePath::root(),
    };
    let mut linked = tree(&[("b", "1")]);
    linked.link(ArchivePath::parse(b"a").unwrap(), &ArchivePath::parse(b"b").unwrap()).unwrap();
    // Of the root, and no name of that file.
    let root = tree(&[("x", "1")]);
    let mut known = Known::Unused;
    let before = known.after(&view(&root, &[shows(tree(&[("a", "2"), ("b", "1")]))]), alone(10), &|_| true);
    known = Known::Seen(before);
    let table = known.after(&view(&root, &[shows(linked)]), alone(20), &|_| true);
    assert_eq!(table.since().collect::<Vec<_>>(), [Some(20), Some(20), None]);
}

proptest! {
    /// Whatever happens, what a path was seen with under one time is one content: the copies of files rely on it.
    #[test]
    fn a_time_stands_for_one_content(
        steps in prop::collection::vec((prop::collection::btree_map("[a-d]", "[1-3]", 0..4), any::<bool>(), any::<bool>()), 1..12)
    ) {
        let mut known = Known::Unused;
        let mut stands_for = std::collections::BTreeMap::new();
        for (files, has_company, are_sources) in steps {
            let files: Vec<(&str, &str)> = files.iter().map(|(name, content)| (&**name, &**content)).collect();
            // The clock stands still; only the table makes time pass.
            let now = known.latest().max(100) + 1;
            let times = step_with(&mut known, &files, Moment { now, has_company }, &|_| are_sources);
            for ((name, content), time) in files.iter().zip(times) {
                let before = stands_for.entry(((*name).to_owned(), time)).or_insert((*content).to_owned());
                prop_assert_eq!(&**before, *content, "{} at {:?}", name, time);
            }
        }
    }

    #[test]
    fn hostile_bytes_are_lost_and_nothing_else(bytes: Vec<u8>) {
        prop_assume!(!bytes.is_empty());
        prop_assert_eq!(Known::read(Some(&bytes)), Known::Lost);
    }
}
