//! Archives and layouts go out and come back the same, and others read them.

use kiln_builder::catalog::{self, ArchiveKind, ArchiveSource, Loaded, Selection, Sizes};
use kiln_builder::export::{NamedDescriptor, write_oci_directory};
use kiln_builder::request::Destination;

use crate::support::{Space, reference, root_tar, run, silent, text};

async fn save(space: &Space, images: &[&str], kind: ArchiveKind, file: &str) -> std::path::PathBuf {
    let path = space.path(file);
    let images: Vec<String> = images.iter().map(|&image| image.to_owned()).collect();
    let destination = Destination::Path(path.clone());
    let selection = Selection { images: &images, platform: None };
    catalog::save(&space.open(), selection, kind, &destination, &silent()).await.unwrap();
    path
}

#[tokio::test]
async fn what_is_saved_loads_elsewhere_with_the_same_digests_names_and_bytes() {
    let one = Space::new();
    let id = one.import(&root_tar("one"), Some("app:1")).await;
    one.import(&root_tar("two"), Some("localhost:5000/team/other:2")).await;
    for kind in [ArchiveKind::Docker, ArchiveKind::Oci] {
        let images = ["app:1", "localhost:5000/team/other:2"];
        let archive = save(&one, &images, kind, "images.tar").await;
        let two = Space::new();
        let loaded =
            catalog::load(&two.open(), ArchiveSource::File(&archive), None, &silent()).await.unwrap();
        assert_eq!(loaded, images.map(|image| Loaded::Name(reference(image))));
        assert_eq!(catalog::inspect(&two.open(), "app:1", None).unwrap().id, id);
        let rows = catalog::list(&one.open(), Sizes::Wanted).unwrap();
        assert_eq!(catalog::list(&two.open(), Sizes::Wanted).unwrap(), rows);
        let again = save(&two, &images, kind, "again.tar").await;
        assert!(std::fs::read(archive).unwrap() == std::fs::read(again).unwrap(), "{kind:?}");
    }
}

#[tokio::test]
async fn archives_load_however_they_are_compressed() {
    let one = Space::new();
    let id = one.import(&root_tar("one"), Some("app:1")).await;
    let archive = save(&one, &[&id.hex()[..12]], ArchiveKind::Docker, "image.tar").await;
    for (program, suffix) in [("gzip", "gz"), ("bzip2", "bz2"), ("xz", "xz"), ("zstd", "zst")] {
        if run(program, &["-k", text(&archive)]).is_none() {
            continue;
        }
        let two = Space::new();
        let packed = one.path(&format!("image.tar.{suffix}"));
        let loaded = catalog::load(&two.open(), ArchiveSource::File(&packed), None, &silent()).await.unwrap();
        assert_eq!(loaded, [Loaded::Id(id)], "{program}");
    }
}

#[tokio::test]
async fn a_layout_in_a_directory_takes_more_images_and_loads() {
    let one = Space::new();
    let layout = one.path("layout");
    for (content, name) in [("one", "app:1"), ("two", "app:2"), ("three", "app:1")] {
        one.import(&root_tar(content), Some(name)).await;
        let workshop = one.open();
        let descriptor = catalog::inspect(&workshop, name, None).unwrap().descriptor;
        let named = NamedDescriptor { descriptor, names: vec![reference(name)] };
        write_oci_directory(&workshop, &[named], &layout, &silent()).await.unwrap();
    }
    let two = Space::new();
    let loaded = catalog::load(&two.open(), ArchiveSource::File(&layout), None, &silent()).await.unwrap();
    assert_eq!(loaded, ["app:2", "app:1"].map(|name| Loaded::Name(reference(name))));
    let id = |space: &Space| catalog::inspect(&space.open(), "app:1", None).unwrap().id;
    assert_eq!(id(&one), id(&two));
    let Some(listed) = run("umoci", &["ls", "--layout", text(&layout)]) else { return };
    assert_eq!(listed, "2\n1\n");
}

#[tokio::test]
async fn others_read_the_archives() {
    let space = Space::new();
    let id = space.import(&root_tar("one"), Some("app:1")).await;
    let digest = catalog::inspect(&space.open(), "app:1", None).unwrap().descriptor.digest;
    let oci = save(&space, &["app:1"], ArchiveKind::Oci, "oci.tar").await;
    let docker = save(&space, &["app:1"], ArchiveKind::Docker, "docker.tar").await;
    let inspect = |image: String| run("skopeo", &["inspect", "--format", "{{.Digest}}", &image]);
    let Some(found) = inspect(format!("oci-archive:{}:1", text(&oci))) else { return };
    assert_eq!(found.trim(), digest.to_string());
    let config = run("skopeo", &["inspect", "--raw", &format!("docker-archive:{}", text(&docker))]).unwrap();
    assert!(config.contains(&id.hex()), "{config}");
    let copied = space.path("copied.tar");
    let target = format!("docker-archive:{}:app:1", text(&copied));
    run("skopeo", &["--insecure-policy", "copy", &format!("oci-archive:{}:1", text(&oci)), &target]);
    let two = Space::new();
    let loaded = catalog::load(&two.open(), ArchiveSource::File(&copied), None, &silent()).await.unwrap();
    assert_eq!(loaded, [Loaded::Name(reference("app:1"))]);
    let kept = |space: &Space| catalog::inspect(&space.open(), "app:1", None).unwrap().config.rootfs;
    assert_eq!(kept(&two), kept(&space));
}

#[tokio::test]
async fn an_archive_that_cannot_be_finished_leaves_nothing() {
    let space = Space::new();
    space.import(&root_tar("one"), Some("app:1")).await;
    let workshop = space.open();
    let details = catalog::inspect(&workshop, "app:1", None).unwrap();
    let blobs = space.path("store/blobs/sha256");
    let mut layer = std::fs::read_dir(&blobs).unwrap().map(|entry| entry.unwrap().path());
    let is_gzip = |path: &std::path::PathBuf| std::fs::read(path).unwrap().starts_with(&[0x1f, 0x8b]);
    let layer = layer.find(is_gzip).unwrap();
    let mut bytes = std::fs::read(&layer).unwrap();
    bytes[20] ^= 1;
    std::fs::remove_file(&layer).unwrap();
    std::fs::write(&layer, bytes).unwrap();
    assert!(details.size_bytes > 0);
    std::fs::create_dir(space.path("out")).unwrap();
    let destination = Destination::Path(space.path("out/image.tar"));
    let images = ["app:1".to_owned()];
    let saved = catalog::save(
        &workshop,
        Selection { images: &images, platform: None },
        ArchiveKind::Oci,
        &destination,
        &silent(),
    )
    .await;
    assert!(crate::support::described(&saved.unwrap_err()).contains("cannot read blob"));
    assert_eq!(std::fs::read_dir(space.path("out")).unwrap().count(), 0);
}
