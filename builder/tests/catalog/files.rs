//! Files of images: imported from archives, exported to archives and directories.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use kiln_builder::catalog::{self, ArchiveSource, CatalogError, ImportRequest, Sizes};
use kiln_builder::export::{write_directory, write_flat_archive};
use kiln_builder::request::Destination;
use kiln_oci::Descriptor;

use crate::support::{Space, described, root_tar, run, silent, text};

fn descriptor(space: &Space) -> Descriptor {
    catalog::inspect(&space.open(), "app", None).unwrap().descriptor
}

#[tokio::test]
async fn an_import_depends_on_the_files_and_not_on_their_packing() {
    let one = Space::new();
    let id = one.import(&root_tar("one"), Some("app")).await;
    let two = Space::new();
    std::fs::write(two.path("root.tar"), root_tar("one")).unwrap();
    if run("xz", &[text(&two.path("root.tar"))]).is_none() {
        return;
    }
    let packed = std::fs::read(two.path("root.tar.xz")).unwrap();
    assert_eq!(two.import(&packed, Some("app")).await, id);
    assert_eq!(descriptor(&one), descriptor(&two));
}

#[tokio::test]
async fn what_cannot_be_imported_says_why() {
    let space = Space::new();
    for (content, expected) in [
        (&b"\0\0"[..], "archive is cut short after 0 members"),
        (b"", "the archive has no files"),
        (b"\x1f\x8b\x08\x00 no gzip", "cannot read the archive"),
    ] {
        let path = space.path("bad.tar");
        std::fs::write(&path, content).unwrap();
        let source = ArchiveSource::File(&path);
        let request =
            ImportRequest { source, name: None, changes: vec![], message: None, platform: None, epoch: None };
        let error = catalog::import(&space.open(), request.clone()).await.unwrap_err();
        assert_eq!(error.to_string(), format!("cannot import `{}`", path.display()));
        assert!(described(&error).contains(expected), "{error:?}");
        let request = ImportRequest { changes: vec!["RUN true".to_owned()], ..request };
        let error = catalog::import(&space.open(), request).await.unwrap_err();
        assert!(matches!(error, CatalogError::Change(_)), "{error}");
    }
    assert_eq!(catalog::list(&space.open(), Sizes::Wanted).unwrap(), []);
}

#[tokio::test]
async fn the_flat_archive_has_owners_devices_and_modes_without_privilege() {
    let space = Space::new();
    space.import(&root_tar("one"), Some("app")).await;
    let path = space.path("flat.tar");
    let destination = Destination::Path(path.clone());
    write_flat_archive(&space.open(), &descriptor(&space), &destination, &silent()).await.unwrap();
    let listed = run("tar", &["--numeric-owner", "--utc", "--full-time", "-tvf", text(&path)]).unwrap();
    let expected = "\
dr-xr-xr-x 0/0               0 1980-01-01 00:00:00 bin/
-rwsr-xr-x 7/8              19 1980-01-01 00:00:00 bin/hello
lrwxrwxrwx 0/0               0 1980-01-01 00:00:00 bin/hi -> hello
drwxr-xr-x 0/0               0 1980-01-01 00:00:00 dev/
crw-rw-rw- 0/0             1,3 1980-01-01 00:00:00 dev/null
drwxr-xr-x 0/0               0 1980-01-01 00:00:00 etc/
-rw------- 7/8               3 1980-01-01 00:00:00 etc/motd
";
    assert_eq!(listed, expected);
}

#[tokio::test]
async fn a_directory_keeps_what_it_has_and_is_never_left_through_a_link() {
    let space = Space::new();
    space.import(&root_tar("one"), Some("app")).await;
    let (target, outside) = (space.path("out"), space.path("outside"));
    std::fs::create_dir_all(&target).unwrap();
    std::fs::create_dir_all(&outside).unwrap();
    std::fs::write(target.join("mine"), "mine").unwrap();
    std::fs::write(outside.join("motd"), "safe").unwrap();
    symlink(&outside, target.join("etc")).unwrap();
    for _ in 0..2 {
        write_directory(&space.open(), &descriptor(&space), &target, &silent()).await.unwrap();
    }
    assert_eq!(std::fs::read_to_string(target.join("mine")).unwrap(), "mine");
    assert_eq!(std::fs::read_to_string(outside.join("motd")).unwrap(), "safe");
    assert_eq!(std::fs::read_to_string(target.join("etc/motd")).unwrap(), "hi\n");
    assert_eq!(std::fs::read_link(target.join("bin/hi")).unwrap().to_str(), Some("hello"));
    let hello = std::fs::metadata(target.join("bin/hello")).unwrap();
    assert_eq!((hello.permissions().mode() & 0o7777, hello.mtime()), (0o4755, 315_532_800));
    let own = std::fs::metadata(target.join("mine")).unwrap();
    assert_eq!((hello.uid(), hello.gid()), (own.uid(), own.gid()));
    std::fs::set_permissions(target.join("bin"), std::fs::Permissions::from_mode(0o755)).unwrap();
}
