//! Archives that lie.

use kiln_builder::catalog::{self, ArchiveSource, Sizes};
use kiln_layer::Entry;
use kiln_oci::Digest;

use crate::support::{Space, described, file, silent, tar};

type Member = (String, Vec<u8>);

fn blob(bytes: &[u8]) -> Member {
    (format!("blobs/sha256/{}", Digest::of(bytes).hex()), bytes.to_vec())
}

fn descriptor(kind: &str, bytes: &[u8], size: usize) -> String {
    let digest = Digest::of(bytes);
    format!(r#"{{"mediaType":"application/vnd.oci.image.{kind}","digest":"{digest}","size":{size}}}"#)
}

/// An archive of one image; `spoil` may change its parts first.
fn image(name: &str, size_error: usize, diff_id: Option<Digest>) -> Vec<Member> {
    let layer = tar(&[("f", file(0o644, b"x"), b"x")]);
    let diff_id = diff_id.unwrap_or_else(|| Digest::of(&layer));
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#
    );
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{},"layers":[{}]}}"#,
        descriptor("config.v1+json", config.as_bytes(), config.len()),
        descriptor("layer.v1.tar", &layer, layer.len() + size_error),
    );
    let entry = descriptor("manifest.v1+json", manifest.as_bytes(), manifest.len());
    let names = format!(r#","annotations":{{"io.containerd.image.name":"{name}"}}}}"#);
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{}{names}]}}"#, entry.trim_end_matches('}'));
    vec![
        ("index.json".to_owned(), index.into_bytes()),
        blob(&layer),
        blob(config.as_bytes()),
        blob(manifest.as_bytes()),
    ]
}

fn pack(members: &[Member]) -> Vec<u8> {
    let entries: Vec<(&str, Entry, &[u8])> =
        members.iter().map(|(name, bytes)| (name.as_str(), file(0o644, bytes), bytes.as_slice())).collect();
    tar(&entries)
}

async fn load(archive: &[u8]) -> (Space, Result<usize, String>) {
    let space = Space::new();
    let path = space.path("image.tar");
    std::fs::write(&path, archive).unwrap();
    let loaded = catalog::load(&space.open(), ArchiveSource::File(&path), None, &silent()).await;
    (space, loaded.map(|loaded| loaded.len()).map_err(|error| described(&error)))
}

#[tokio::test]
async fn archives_that_lie_give_no_image_any_name() {
    assert_eq!(load(&pack(&image("docker.io/library/app:1", 0, None))).await.1, Ok(1));
    let mut wrong_blob = image("app:1", 0, None);
    wrong_blob[1].1[600] ^= 1;
    let mut no_layer = image("app:1", 0, None);
    no_layer.remove(1);
    let mut large = image("app:1", 0, None);
    large[0].1 = vec![b' '; 9 << 20];
    let whole = pack(&image("app:1", 0, None));
    let cut_to = |length: usize| whole[..length].to_vec();
    let legacy = |text: &str| vec![("manifest.json".to_owned(), text.as_bytes().to_vec())];
    for (archive, expected) in [
        (pack(&wrong_blob), "has the digest `sha256:"),
        (pack(&no_layer), "it lacks blob `sha256:"),
        (pack(&image("app:1", 1, None)), "bytes, not"),
        (pack(&image("Bad Name", 0, None)), "invalid reference format"),
        (pack(&image("app:1", 0, Some(Digest::of(b"other")))), "has the diff id"),
        (pack(&large), "`index.json` has more than"),
        (cut_to(100), "archive is cut short after 0 members"),
        (cut_to(700), "image.tar`: archive is cut short after 1 members, in `index.json`"),
        (cut_to(1500), "archive is cut short after "),
        (pack(&[]), "neither `index.json` nor `manifest.json`"),
        (b"no archive at all".to_vec(), "archive is cut short after 0 members"),
        (b"\x1f\x8b\x08\x00 no gzip".to_vec(), "cannot read the archive"),
        (Vec::new(), "neither `index.json` nor `manifest.json`"),
        (pack(&legacy("{}")), "`manifest.json`"),
        (pack(&legacy(r#"[{"Config":"../../etc/passwd","Layers":[]}]"#)), "which is not in it"),
        (
            pack(&legacy(r#"[{"Config":"manifest.json","RepoTags":["a:1"],"Layers":["x"]}]"#)),
            "which is not in it",
        ),
    ] {
        let (space, loaded) = load(&archive).await;
        let error = loaded.unwrap_err();
        assert!(error.contains(expected), "{expected}: {error}");
        let named = format!("cannot load `{}`: ", space.path("image.tar").display());
        assert!(error.starts_with(&named), "{expected}: {error}");
        assert_eq!(catalog::list(&space.open(), Sizes::Wanted).unwrap(), [], "{expected}");
    }
}

#[tokio::test]
async fn archives_of_old_dockers_load() {
    let layer = tar(&[("f", file(0o644, b"x"), b"x")]);
    let diff_id = Digest::of(&layer);
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#
    );
    let hex = Digest::of(config.as_bytes()).hex();
    let list = format!(r#"[{{"Config":"{hex}.json","RepoTags":["app:1"],"Layers":["abc/layer.tar"]}}]"#);
    let members = [
        ("abc/VERSION".to_owned(), b"1.0".to_vec()),
        ("abc/layer.tar".to_owned(), layer),
        (format!("{hex}.json"), config.into_bytes()),
        ("manifest.json".to_owned(), list.into_bytes()),
    ];
    let (space, loaded) = load(&pack(&members)).await;
    assert_eq!(loaded, Ok(1));
    assert_eq!(catalog::inspect(&space.open(), "app:1", None).unwrap().id.hex(), hex);
}
