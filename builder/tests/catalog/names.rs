//! Names, ids, and the rules by which they go.

use kiln_builder::catalog::{self, CatalogError, Layers, Removed, Sizes};
use kiln_oci::Reference;

use crate::support::{Space, reference, root_tar};

fn names(space: &Space) -> Vec<String> {
    let rows = catalog::list(&space.open(), Sizes::Wanted).unwrap();
    let shown =
        rows.iter().map(|row| row.reference.as_ref().map_or("<none>".to_owned(), Reference::familiar));
    let mut shown: Vec<String> = shown.collect();
    shown.sort();
    shown
}

#[tokio::test]
async fn names_and_images_are_removed_as_docker_removes_them() {
    // What is removed, with force or not, what is said first, what is left.
    let id = "ID";
    for (wanted, force, said, left) in [
        ("app:1", false, &["app:1"][..], &["app:2", "other:1"][..]),
        (id, false, &["conflict"], &["app:1", "app:2", "other:1"]),
        (id, true, &["app:1", "app:2", "deleted"], &["other:1"]),
        ("other:1", false, &["other:1", "deleted"], &["app:1", "app:2"]),
        ("OTHER", false, &["other:1", "deleted"], &["app:1", "app:2"]),
        ("missing", false, &["missing"], &["app:1", "app:2", "other:1"]),
    ] {
        let space = Space::new();
        let app = space.import(&root_tar("app"), Some("app:1")).await;
        let other = space.import(&root_tar("other"), Some("other:1")).await;
        catalog::tag(&space.open(), "app:1", &reference("app:2")).unwrap();
        let image = match wanted {
            "ID" => app.hex()[..12].to_owned(),
            "OTHER" => other.to_string(),
            name => name.to_owned(),
        };
        let shown = match catalog::remove(&space.open(), &image, force, Layers::Go) {
            Ok(removed) => removed
                .iter()
                .map(|row| match row {
                    Removed::Untagged(name) => name.familiar(),
                    Removed::Deleted(_) => "deleted".to_owned(),
                })
                .collect(),
            Err(CatalogError::Conflict { .. }) => vec!["conflict".to_owned()],
            Err(CatalogError::NotFound { .. }) => vec!["missing".to_owned()],
            Err(error) => panic!("{error}"),
        };
        assert_eq!(shown[..said.len()], *said, "{wanted} {force}");
        assert_eq!(names(&space), left, "{wanted} {force}");
    }
}

#[tokio::test]
async fn the_blobs_of_a_removed_image_go_and_those_of_others_stay() {
    let space = Space::new();
    space.import(&root_tar("app"), Some("app:1")).await;
    space.import(&root_tar("other"), Some("other:1")).await;
    let removed = catalog::remove(&space.open(), "app:1", false, Layers::Go).unwrap();
    assert!(removed.iter().filter(|row| matches!(row, Removed::Deleted(_))).count() > 1, "{removed:?}");
    let workshop = space.open();
    for row in &removed {
        if let Removed::Deleted(digest) = row {
            assert!(!workshop.store.blobs().contains(digest).unwrap(), "{digest}");
        }
    }
    let left = workshop.store.blobs().list().unwrap();
    assert_eq!(left.len(), 3, "manifest, configuration and layer of the other image");
    catalog::inspect(&workshop, "other:1", None).unwrap();
}

#[tokio::test]
async fn layers_that_are_left_stay_until_somebody_collects_them() {
    let space = Space::new();
    let id = space.import(&root_tar("app"), Some("app:1")).await;
    let workshop = space.open();
    let removed = catalog::remove(&workshop, "app:1", false, Layers::Stay).unwrap();
    assert_eq!(removed, [Removed::Untagged(reference("app:1")), Removed::Deleted(id)]);
    assert_eq!((names(&space), workshop.store.blobs().list().unwrap().len()), (Vec::new(), 3));
}

#[tokio::test]
async fn what_a_rule_means_goes_at_once_with_what_only_that_needs() {
    let space = Space::new();
    space.import(&root_tar("old"), Some("app:1")).await;
    let kept = space.import(&root_tar("new"), Some("app:1")).await;
    let two = space.import(&root_tar("two"), Some("two:1")).await;
    catalog::tag(&space.open(), "two:1", &reference("two:2")).unwrap();
    let dangling = catalog::prune(&space.open(), &|image| image.names.is_empty()).unwrap();
    assert_eq!(names(&space), ["app:1", "two:1", "two:2"]);
    assert_eq!(dangling.removed.len(), 2, "image and layer: {dangling:?}");
    assert!(dangling.reclaimed_bytes > 0);
    assert_eq!(catalog::inspect(&space.open(), "app:1", None).unwrap().id, kept);
    let nothing = catalog::prune(&space.open(), &|_| false).unwrap();
    assert_eq!((nothing.removed, nothing.reclaimed_bytes), (Vec::new(), 0));
    let pruned = catalog::prune(&space.open(), &|image| image.names.contains(&reference("two:1"))).unwrap();
    let expected = ["two:1", "two:2"].map(|name| Removed::Untagged(reference(name)));
    assert_eq!(pruned.removed[..2], expected);
    assert_eq!((&pruned.removed[2], names(&space)), (&Removed::Deleted(two), vec!["app:1".to_owned()]));
}

#[tokio::test]
async fn images_are_found_by_name_digest_and_the_beginning_of_an_id() {
    let space = Space::new();
    let id = space.import(&root_tar("app"), Some("app")).await;
    let workshop = space.open();
    let digest = catalog::inspect(&workshop, "app", None).unwrap().descriptor.digest;
    for image in [
        "app".to_owned(),
        "app:latest".to_owned(),
        "docker.io/library/app:latest".to_owned(),
        format!("app@{digest}"),
        format!("app:latest@{digest}"),
        id.to_string(),
        id.hex(),
        id.hex()[..12].to_owned(),
        digest.hex()[..12].to_owned(),
        format!("sha256:{}", &id.hex()[..12]),
    ] {
        assert_eq!(catalog::inspect(&workshop, &image, None).unwrap().id, id, "{image}");
    }
    for (image, expected) in [
        ("ap", "no such image: `ap` (did you mean `app`?)"),
        ("zebra", "no such image: `zebra`"),
        ("Not A Name", "no such image: `Not A Name`"),
        ("two\nlines", "no such image: `two\\x0alines`"),
    ] {
        assert_eq!(catalog::inspect(&workshop, image, None).unwrap_err().to_string(), expected);
    }
    let other = "linux/arm64".parse().unwrap();
    let error = catalog::inspect(&workshop, "app", Some(&other)).unwrap_err();
    assert_eq!(error.to_string(), "image `app` is not here for linux/arm64: it has linux/amd64");
}

#[tokio::test]
async fn an_image_whose_name_moves_stays_without_one() {
    let space = Space::new();
    let first = space.import(&root_tar("one"), Some("app")).await;
    space.import(&root_tar("two"), Some("app")).await;
    assert_eq!(names(&space), ["<none>", "app:latest"]);
    catalog::tag(&space.open(), &first.to_string(), &reference("old")).unwrap();
    assert_eq!(names(&space), ["app:latest", "old:latest"]);
    let digest = catalog::inspect(&space.open(), "app", None).unwrap().descriptor.digest;
    let pinned = "app".parse::<Reference>().unwrap().with_digest(digest);
    assert!(matches!(catalog::tag(&space.open(), "app", &pinned), Err(CatalogError::NamesDigest { .. })));
}

#[tokio::test]
async fn history_has_the_sizes_of_the_files() {
    let space = Space::new();
    let id = space.import(&root_tar("one"), Some("app")).await;
    let rows = catalog::history(&space.open(), "app", None).unwrap();
    let size = "#!/bin/sh\necho one\n".len() as u64 + 3;
    let [row] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!((row.id, row.size_bytes, row.comment.as_str()), (Some(id), size, "Imported from -"));
    assert_eq!(row.created.as_deref(), Some("1980-01-01T00:00:00Z"));
    assert_eq!(catalog::list(&space.open(), Sizes::Wanted).unwrap()[0].size_bytes, size);
}
