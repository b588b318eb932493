//! Tags that are taken away.

use std::collections::BTreeMap;
use std::sync::Mutex;

use bytes::Bytes;
use kiln_oci::{Digest, MediaType};
use kiln_registry::{Client, Error};

use crate::fake::{Fake, Seen, reply};
use crate::real_registry::{RealRegistry, Setup};
use crate::support::{config, content, manifest, reference};

#[tokio::test]
async fn a_registry_that_knows_tags_is_asked_to_remove_one() {
    let digest = Digest::of(b"x").to_string();
    // What HEAD says, and GET where that tells nothing.
    for (head, get, is_there) in [(200, 500, true), (404, 404, false), (405, 200, true), (405, 404, false)] {
        let digest = digest.clone();
        let fake = Fake::start(move |seen, _| match seen.method.as_str() {
            "DELETE" => reply(202, &[], b""),
            "HEAD" => {
                let headers = [("Docker-Content-Digest", digest.as_str()), ("Content-Type", "x/y")];
                reply(head, &headers, b"")
            }
            _ => reply(get, &[], &manifest(b"{}", b"x")),
        });
        let name = reference(format!("{}/a:1", fake.address));
        assert_eq!(Client::new(config()).untag(&name).await.unwrap(), is_there);
        let deleted = fake.lines().into_iter().filter(|line| line.starts_with("DELETE")).collect::<Vec<_>>();
        assert_eq!(deleted, vec!["DELETE /v2/a/manifests/1"; usize::from(is_there)]);
    }
}

/// A registry of manifests that knows digests only, and may refuse to remove them from then on.
fn knowing_digests(allowed: usize) -> Fake {
    let tags = Mutex::new(BTreeMap::from([("1".to_owned(), b"image".to_vec())]));
    let deleted = Mutex::new(0);
    Fake::start(move |seen, _| {
        let mut tags = tags.lock().unwrap();
        let name = seen.path.rsplit('/').next().unwrap_or_default().to_owned();
        let is_digest = name.starts_with("sha256:");
        match seen.method.as_str() {
            "DELETE" if !is_digest => reply(405, &[], br#"{"errors":[{"code":"UNSUPPORTED"}]}"#),
            "DELETE" => {
                let mut deleted = deleted.lock().unwrap();
                *deleted += 1;
                if *deleted > allowed {
                    return reply(405, &[], br#"{"errors":[{"code":"UNSUPPORTED"}]}"#);
                }
                tags.retain(|_, bytes| Digest::of(bytes).to_string() != name);
                reply(202, &[], b"")
            }
            "PUT" if seen.path.contains("/manifests/") => {
                let bytes = seen.body.clone();
                tags.insert(name, bytes);
                reply(201, &[], b"")
            }
            "POST" => reply(202, &[("Location", "/up/1")], b""),
            "PUT" => reply(201, &[], b""),
            _ => match tags.get(&name) {
                None => reply(404, &[], b""),
                Some(bytes) => {
                    let digest = Digest::of(bytes).to_string();
                    let media_type = MediaType::DOCKER_INDEX;
                    reply(
                        200,
                        &[("Docker-Content-Digest", &digest), ("Content-Type", media_type.as_str())],
                        b"",
                    )
                }
            },
        }
    })
}

#[tokio::test]
async fn where_only_digests_are_known_a_placeholder_goes_and_nothing_is_touched_before_that_is_sure() {
    for (allowed, is_ok, puts) in [(2, true, 2), (0, false, 1)] {
        let fake = knowing_digests(allowed);
        let client = Client::new(config());
        let name = reference(format!("{}/a:1", fake.address));
        let result = client.untag(&name).await;
        let is_put = |seen: &Seen| seen.method == "PUT" && seen.path.starts_with("/v2/a/manifests/");
        let put: Vec<_> = fake.seen().into_iter().filter(is_put).collect();
        assert_eq!((result.is_ok(), put.len()), (is_ok, puts), "{result:?} {:?}", fake.lines());
        assert!(put[0].path.starts_with("/v2/a/manifests/sha256:"), "the first has no tag");
        assert_eq!(put[0].header("content-type"), Some(MediaType::DOCKER_MANIFEST.as_str()));
        let left = client.head(&name).await.unwrap().map(|left| left.digest);
        assert_eq!(left, (!is_ok).then(|| Digest::of(b"image")));
    }
}

async fn push(client: &Client, name: &str, tags: &[&str], registry: &RealRegistry) -> Digest {
    let (config, blob) = (Bytes::from_static(b"{}"), content(100));
    for bytes in [&config, &blob] {
        let to = reference(format!("{}/{name}", registry.address));
        let open = crate::support::opener(bytes.clone());
        let layer = crate::support::layer(bytes);
        client.push_blob(kiln_registry::Upload::new(&to, &layer, &open)).await.unwrap();
    }
    let mut digest = None;
    for tag in tags {
        let to = reference(format!("{}/{name}:{tag}", registry.address));
        let document = manifest(&config, &blob);
        digest = Some(client.push_manifest(&to, &MediaType::OCI_MANIFEST, document).await.unwrap());
    }
    digest.unwrap()
}

#[tokio::test]
async fn of_several_tags_of_one_image_only_the_named_one_goes() {
    for setup in [Setup::Open, Setup::Kept] {
        let Some(registry) = RealRegistry::start(setup) else { return };
        let client = Client::new(config());
        let digest = push(&client, "a", &["1", "2"], &registry).await;
        let name = |tag: &str| reference(format!("{}/a:{tag}", registry.address));
        assert!(!client.untag(&name("none")).await.unwrap());
        match client.untag(&name("1")).await {
            Ok(was_there) => {
                assert!(was_there && setup == Setup::Open);
                assert_eq!(client.tags(&name("1")).await.unwrap(), ["2"]);
                assert!(!client.untag(&name("1")).await.unwrap());
                // The same tag is made and taken away again.
                push(&client, "a", &["1"], &registry).await;
                assert!(client.untag(&name("1")).await.unwrap());
            }
            Err(error) => {
                assert!(
                    setup == Setup::Kept && matches!(error, Error::Status { status: 405, .. }),
                    "{error}"
                );
                assert_eq!(client.tags(&name("1")).await.unwrap(), ["1", "2"]);
                assert_eq!(client.resolve(&name("1")).await.unwrap().descriptor.digest, digest);
            }
        }
        assert_eq!(client.resolve(&name("2")).await.unwrap().descriptor.digest, digest);
    }
}
