//! The trees of stacks.

use kiln_layer::{Entry, Item, WithTime};
use kiln_oci::{Descriptor, MediaType};

use super::*;
use crate::workshop::WorkshopOptions;

fn workshop(space: &tempfile::TempDir) -> Workshop {
    let options = WorkshopOptions {
        store: space.path().join("store"),
        registry: Default::default(),
        identity: Err("no steps".to_owned()),
        resolv_conf: None,
        git: Default::default(),
        jobs: 1,
        roots: Default::default(),
        started_ns: 0,
    };
    Workshop::open(options).unwrap()
}

/// A layer with these lines, known to the workshop.
fn layer(workshop: &Workshop, lines: &[(&str, Item)]) -> Layer {
    let digest = Digest::of(format!("{lines:?}").as_bytes());
    let path = |text: &str| ArchivePath::parse(text.as_bytes()).unwrap();
    let items = lines.iter().map(|(name, item)| (path(name), item.clone())).collect();
    know_listing(workshop, Listing { diff_id: DiffId(digest), items });
    Layer { diff_id: DiffId(digest), blob: Descriptor::new(MediaType::OCI_LAYER_GZIP, digest, 1) }
}

#[test]
fn a_tree_is_the_same_whichever_was_asked_for_before() {
    let space = tempfile::tempdir().unwrap();
    let workshop = workshop(&space);
    let directory = || Item::Entry(Entry::implied_directory());
    let layers = [
        layer(&workshop, &[("a", directory()), ("a/b", directory())]),
        layer(&workshop, &[]),
        layer(&workshop, &[("a/b", Item::Whiteout), ("c", directory())]),
        layer(&workshop, &[("a", Item::Opaque), ("a/d", directory())]),
    ];
    let branch = [&layers[..2], &[layer(&workshop, &[("e", directory())])]].concat();
    let stacks = [&layers[..1], &layers[..2], &layers[..3], &branch, &layers, &layers[..2], &[]];
    for order in [[0, 1, 2, 3, 4, 5, 6], [4, 3, 2, 1, 0, 6, 5], [2, 0, 4, 6, 3, 1, 5]] {
        for stack in order.map(|number| stacks[number]) {
            let listings: Vec<_> =
                stack.iter().map(|layer| known_listing(&workshop, &layer.diff_id).unwrap()).collect();
            let expected = Tree::from_listings(listings.iter().map(|listing| &**listing)).unwrap();
            let held = tree(&workshop, &stack[..stack.len().min(1)]).unwrap();
            assert!(tree(&workshop, stack).unwrap().is_same(&expected, WithTime::Yes));
            assert_eq!(held.len(), 1 + 2 * stack.len().min(1), "what others hold does not change");
        }
    }
}

#[test]
fn a_stage_of_many_steps_costs_one_tree() {
    let space = tempfile::tempdir().unwrap();
    let workshop = workshop(&space);
    let mut stack = Vec::new();
    for step in 0..20 {
        let name = format!("file{}", step / 2 * 2);
        // Every second step changes nothing.
        let lines = [(&*name, Item::Entry(Entry::implied_directory()))];
        stack.push(layer(&workshop, if step % 2 == 0 { &lines } else { &[] }));
        assert_eq!(tree(&workshop, &stack).unwrap().len(), 2 + step / 2);
        assert_eq!(locked(&workshop.trees).len(), 1);
    }
}
