//! Downloads from a server that misbehaves.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kiln_oci::{Digest, Hasher, MediaType};
use kiln_registry::{BlobStream, Client, ClientConfig, Error, RegistryConfig, RetryPolicy, Timeouts};

use crate::fake::{Fake, cut, reply};
use crate::support::{
    client_with_warnings, config, config_for, content, layer, manifest, nobody, read, reference,
};

#[tokio::test]
async fn a_blob_is_continued_where_the_connection_broke() {
    let bytes = content(200_000);
    let whole = bytes.clone();
    let fake = Fake::start(move |seen, before| match (before, seen.header("range")) {
        (0, None) => reply(200, &[], &whole).without_last(150_000),
        (1, Some("bytes=50000-199999")) => {
            let range = [("Content-Range", "bytes 50000-199999/200000")];
            reply(206, &range, &whole[50_000..]).without_last(50_000)
        }
        // This time the server ignores what it is asked for.
        (2, Some("bytes=150000-199999")) => reply(200, &[], &whole),
        (_, range) => panic!("unexpected: {range:?}"),
    });
    let (client, warnings) = client_with_warnings(config());
    let name = reference(format!("{}/a:1", fake.address));
    let progress = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&progress);
    let blob = client.blob(&name, &layer(&bytes)).unwrap();
    let blob = blob.on_progress(Arc::new(move |done, total| sink.lock().unwrap().push((done, total))));
    assert_eq!(read(blob).await.unwrap(), bytes);
    assert_eq!(warnings.lock().unwrap().len(), 2);
    let progress = progress.lock().unwrap();
    assert!(progress.is_sorted() && progress.last() == Some(&(200_000, 200_000)), "{progress:?}");
}

#[tokio::test]
async fn an_earlier_transfer_is_continued_and_verified_as_a_whole() {
    let bytes = content(1000);
    let whole = bytes.clone();
    let fake = Fake::start(move |seen, _| {
        assert_eq!(seen.header("range"), Some("bytes=400-999"));
        reply(206, &[("Content-Range", "bytes 400-999/1000")], &whole[400..])
    });
    let client = Client::new(config());
    let name = reference(format!("{}/a:1", fake.address));
    for (earlier, is_right) in [(&bytes[..400], true), (&[0; 400][..], false)] {
        let mut hasher = Hasher::new();
        hasher.update(earlier);
        let blob = client.blob(&name, &layer(&bytes)).unwrap().resume(400, hasher);
        assert_eq!(read(blob).await.is_ok(), is_right);
    }
}

#[tokio::test]
async fn wrong_bytes_never_reach_the_end_of_a_blob() {
    let right = content(1000);
    for (name, sent, says) in [
        ("flipped", content(1000).iter().map(|byte| byte ^ 1).collect::<Vec<_>>(), "wrong digest"),
        ("long", content(1001).to_vec(), "longer than its 1000 bytes"),
        ("short", content(999).to_vec(), "ends after 999 of 1000 bytes"),
    ] {
        let fake = Fake::start(move |_, _| reply(200, &[], &sent));
        let client = Client::new(config());
        let from = reference(format!("{}/{name}:1", fake.address));
        let error = read(client.blob(&from, &layer(&right)).unwrap()).await.unwrap_err();
        assert!(matches!(error, Error::Verify { .. }) && error.to_string().contains(says), "{name}: {error}");
        assert_eq!(fake.seen().len(), 1, "{name}: it makes no sense to try again");
    }
}

/// Reads a blob to its end, from the start again where that is offered.
async fn read_to_the_end(mut blob: BlobStream) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    loop {
        match blob.next_chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return Ok(bytes),
            Err(error) => {
                bytes.clear();
                blob.start_over(error).await?;
            }
        }
    }
}

#[tokio::test]
async fn wrong_bytes_are_replaced_from_the_next_source_or_once_from_the_last() {
    let right = content(1000);
    let wrong: Vec<u8> = right.iter().map(|byte| byte ^ 1).collect();
    // How often the mirror, if there is one, and the registry lie; what is asked of each.
    for (mirror, registry, asked, is_ok) in
        [(None, 1, 2, true), (None, 2, 2, false), (Some(1), 0, 1, true), (Some(1), 1, 2, true)]
    {
        let lying = |times: usize| {
            let (right, wrong) = (right.clone(), wrong.clone());
            Fake::start(move |_, before| reply(200, &[], if before < times { &wrong } else { &right }))
        };
        let (mirror, registry) = (mirror.map(lying), lying(registry));
        let mirrors = mirror.iter().map(|mirror| mirror.address.clone()).collect();
        let table = RegistryConfig { mirrors, ..RegistryConfig::default() };
        let client = Client::new(config_for(&registry.address, table));
        let name = reference(format!("{}/a:1", registry.address));
        let result = read_to_the_end(client.blob(&name, &layer(&right)).unwrap()).await;
        assert_eq!(result.is_ok(), is_ok);
        assert!(result.is_err() || result.is_ok_and(|bytes| bytes == right));
        assert_eq!((mirror.map_or(1, |mirror| mirror.seen().len()), registry.seen().len()), (1, asked));
    }
}

#[tokio::test]
async fn a_server_that_sends_less_of_a_part_or_no_length_is_asked_until_all_is_there() {
    let bytes = content(1000);
    let whole = bytes.clone();
    let fake = Fake::start(move |seen, before| match (before, seen.header("range")) {
        (0, None) => {
            let chunks = [b"190\r\n", &whole[..400], b"\r\n0\r\n\r\n"].concat();
            // The length is a lie that the other header overrides.
            reply(200, &[("Transfer-Encoding", "chunked"), ("Content-Length", "0")], &chunks)
        }
        (1, Some("bytes=400-999")) => {
            reply(206, &[("Content-Range", "bytes 400-899/1000")], &whole[400..900])
        }
        (2, Some("bytes=900-999")) => reply(206, &[("Content-Range", "bytes 900-999/1000")], &whole[900..]),
        other => panic!("{other:?}"),
    });
    let (client, warnings) = client_with_warnings(config());
    let blob = client.blob(&reference(format!("{}/a:1", fake.address)), &layer(&bytes)).unwrap();
    assert_eq!(read(blob).await.unwrap(), bytes);
    assert_eq!(warnings.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_server_that_sends_no_parts_is_asked_for_all_of_it() {
    let bytes = content(1000);
    let whole = bytes.clone();
    let fake = Fake::start(move |seen, _| match seen.header("range") {
        Some(_) => reply(416, &[], b""),
        None => reply(200, &[], &whole),
    });
    let mut hasher = Hasher::new();
    hasher.update(&bytes[..400]);
    let name = reference(format!("{}/a:1", fake.address));
    let blob = Client::new(config()).blob(&name, &layer(&bytes)).unwrap().resume(400, hasher);
    assert_eq!(read(blob).await.unwrap(), bytes[400..]);
    assert_eq!(fake.seen().len(), 2);
}

#[tokio::test]
async fn a_blob_that_comes_in_many_pieces_is_borne_with_unless_they_are_tiny() {
    for (piece, pieces, is_ok) in [(1 << 20, 60, true), (1000, 60, false)] {
        let bytes = bytes::Bytes::from(vec![7; piece * pieces]);
        let whole = bytes.clone();
        let fake = Fake::start(move |_, before| {
            let (start, size) = (before * piece, whole.len());
            let range = format!("bytes {start}-{}/{size}", size - 1);
            let headers =
                [("Content-Range", range.as_str()), ("Content-Length", &(size - start).to_string())];
            let status = if start == 0 { 200 } else { 206 };
            reply(status, &headers, &whole[start..start + piece]).without_last(0)
        });
        let name = reference(format!("{}/a:1", fake.address));
        let blob = Client::new(config()).blob(&name, &layer(&bytes)).unwrap();
        assert_eq!(read(blob).await.is_ok(), is_ok, "{} requests", fake.seen().len());
    }
}

#[tokio::test]
async fn a_busy_server_is_asked_again_and_one_that_refuses_is_not() {
    let body = manifest(b"{}", b"x");
    for (status, retry_after, requests, is_ok) in
        [(429, "0", 3, true), (503, "0", 3, true), (429, "100000", 1, false), (400, "0", 1, false)]
    {
        let body = body.clone();
        let fake = Fake::start(move |_, before| match before {
            0 | 1 => reply(status, &[("Retry-After", retry_after)], b"{}"),
            _ => reply(200, &[], &body),
        });
        let (client, warnings) = client_with_warnings(config());
        let result = client.resolve(&reference(format!("{}/a:1", fake.address))).await;
        assert_eq!((result.is_ok(), fake.seen().len()), (is_ok, requests), "{status} {retry_after}");
        assert_eq!(warnings.lock().unwrap().len(), requests - 1);
    }
}

#[tokio::test]
async fn a_cut_answer_is_asked_for_again_and_the_number_of_attempts_has_an_end() {
    let fake = Fake::start(|_, _| cut());
    let error = Client::new(config()).resolve(&reference(format!("{}/a:1", fake.address))).await.unwrap_err();
    assert!(matches!(error, Error::Transport { .. }) && error.is_retryable(), "{error}");
    assert_eq!(fake.seen().len(), 5);
}

#[tokio::test]
async fn a_document_beyond_the_limit_is_refused_before_it_is_read() {
    let announced = Fake::start(|_, _| reply(200, &[("Content-Length", "1000000000000")], b"{"));
    let endless = Fake::start(|_, _| {
        let chunk = [b"100000\r\n", vec![b' '; 0x10_0000].as_slice(), b"\r\n"].concat();
        let mut bytes = Vec::new();
        for _ in 0..6 {
            bytes.extend_from_slice(&chunk);
        }
        // The length is a lie that the other header overrides.
        reply(200, &[("Transfer-Encoding", "chunked"), ("Content-Length", "0")], &bytes).without_last(0)
    });
    for fake in [announced, endless] {
        let error =
            Client::new(config()).resolve(&reference(format!("{}/a:1", fake.address))).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge { limit: 0x40_0000, .. }), "{error}");
    }
}

#[tokio::test]
async fn a_manifest_with_another_digest_than_asked_for_or_promised_is_refused() {
    let body = manifest(b"{}", b"x");
    let other = Digest::of(b"other");
    let promised = other.to_string();
    let fake = Fake::start(move |_, _| reply(200, &[("Docker-Content-Digest", &promised)], &body));
    let client = Client::new(config());
    let name = reference(format!("{}/a:1", fake.address));
    for name in [name.with_digest(other), name] {
        let error = client.resolve(&name).await.unwrap_err();
        assert!(matches!(error, Error::Verify { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_schema_1_manifest_is_refused_by_name() {
    let fake = Fake::start(|_, _| reply(200, &[], br#"{"schemaVersion":1,"fsLayers":[]}"#));
    let error = Client::new(config()).resolve(&reference(format!("{}/a:1", fake.address))).await.unwrap_err();
    assert!(matches!(error, Error::Schema1 { .. }), "{error}");
}

#[tokio::test]
async fn redirects_are_followed_but_not_for_ever() {
    let fake = Fake::start(|seen, _| {
        let next = format!("{}x", seen.path);
        reply(307, &[("Location", &next)], b"")
    });
    let error = Client::new(config()).resolve(&reference(format!("{}/a:1", fake.address))).await.unwrap_err();
    assert!(error.to_string().contains("more redirects"), "{error}");
    assert_eq!(fake.seen().len(), 11);
}

#[tokio::test]
async fn a_server_that_falls_silent_is_given_up() {
    let fake = Fake::start(|_, _| reply(200, &[("Content-Length", "10")], b"abc"));
    let timeouts = Timeouts { stall: Duration::from_millis(20), ..Timeouts::default() };
    let retry = RetryPolicy { attempts_max: 2, ..config().retry };
    let client = Client::new(ClientConfig { timeouts, retry, ..config() });
    let error = client.resolve(&reference(format!("{}/a:1", fake.address))).await.unwrap_err();
    assert!(error.to_string().contains("nothing was received"), "{error}");
}

#[tokio::test]
async fn a_blob_comes_from_the_address_its_descriptor_names_without_credentials() {
    let bytes = content(100);
    let whole = bytes.clone();
    let elsewhere = Fake::start_raw(move |_, _| reply(200, &[], &whole));
    let registry = Fake::start(|_, _| reply(404, &[], b""));
    let mut descriptor = layer(&bytes);
    descriptor.media_type = MediaType::new("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
    descriptor.urls = vec!["ftp://ignored".to_owned(), format!("http://{}/layer", elsewhere.address)];
    let client = Client::new(config());
    let blob = client.blob(&reference(format!("{}/a:1", registry.address)), &descriptor).unwrap();
    assert_eq!(read(blob).await.unwrap(), bytes);
    assert_eq!((elsewhere.lines(), registry.lines()), (vec!["GET /layer".to_owned()], vec![]));
}

#[tokio::test]
async fn a_broken_blob_goes_on_at_the_registry_when_its_mirror_fails() {
    let bytes = content(1000);
    let (head, whole) = (bytes.clone(), bytes.clone());
    let mirror = Fake::start(move |seen, before| match before {
        0 => reply(200, &[], &head).without_last(600),
        _ => {
            assert!(seen.header("range").is_some());
            reply(500, &[], b"")
        }
    });
    let upstream =
        Fake::start(move |_, _| reply(206, &[("Content-Range", "bytes 400-999/1000")], &whole[400..]));
    let mirrors = vec![format!("{}/hub", mirror.address)];
    let table = RegistryConfig { mirrors, ..RegistryConfig::default() };
    let (client, warnings) = client_with_warnings(config_for(&upstream.address, table));
    let name = reference(format!("{}/a:1", upstream.address));
    assert_eq!(read(client.blob(&name, &layer(&bytes)).unwrap()).await.unwrap(), bytes);
    let path = format!("GET /v2/hub/a/blobs/{}", Digest::of(&bytes));
    assert_eq!(mirror.lines(), [path.clone(), path]);
    assert_eq!(upstream.seen()[0].header("range"), Some("bytes=400-999"));
    assert!(warnings.lock().unwrap().last().unwrap().contains("is passed over"));
}

#[tokio::test]
async fn tags_are_collected_over_pages_of_the_registry_that_was_asked() {
    let link = r#"<https://another.invalid/v2/a/tags/list?last=c>; rel="next""#;
    let fake = Fake::start(move |seen, _| match seen.path.as_str() {
        "/v2/a/tags/list?n=1000" => reply(200, &[("Link", link)], br#"{"tags":["c","b"]}"#),
        "/v2/a/tags/list?last=c" => reply(200, &[], br#"{"tags":["a","b"]}"#),
        other => panic!("{other}"),
    });
    let tags = Client::new(config()).tags(&reference(format!("{}/a", fake.address))).await.unwrap();
    assert_eq!(tags, ["a", "b", "c"]);
}

#[tokio::test]
async fn a_list_of_tags_without_an_end_or_with_other_names_is_refused() {
    for (next, tags, says, requests) in [
        ("/v2/a/tags/list?last=a", r#"["a"]"#, "its list has no end", 3),
        ("", r#"["a","b\u001b[2J"]"#, "holds what is no tag", 1),
        ("", r#"["a","b/../c"]"#, "holds what is no tag", 1),
        ("", "7", "is not what it should be", 1),
        ("gopher://x", r#"["a"]"#, "the address of the next page is malformed", 1),
    ] {
        let body = format!(r#"{{"tags":{tags}}}"#);
        let fake = Fake::start(move |_, _| match next {
            "" => reply(200, &[], body.as_bytes()),
            next => reply(200, &[("Link", &format!("<{next}>; rel=next"))], body.as_bytes()),
        });
        let error = Client::new(config()).tags(&reference(format!("{}/a", fake.address))).await.unwrap_err();
        assert!(error.to_string().ends_with(says), "{error}");
        // The first has another address than the one that comes again and again.
        assert_eq!(fake.seen().len(), requests.min(2), "{says}");
    }
}

#[tokio::test]
async fn what_refers_to_an_image_is_listed_by_the_registry_or_under_a_tag() {
    let subject = Digest::of(b"image");
    let index = |types: &[&str]| {
        let entry = |kind: &&str| {
            let (media_type, digest) = (MediaType::OCI_MANIFEST, Digest::of(kind.as_bytes()));
            format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":1,"artifactType":"{kind}"}}"#)
        };
        let entries: Vec<_> = types.iter().map(entry).collect();
        let media_type = MediaType::OCI_INDEX;
        format!(r#"{{"schemaVersion":2,"mediaType":"{media_type}","manifests":[{}]}}"#, entries.join(","))
    };
    let (one, two, both) = (index(&["a/sig"]), index(&["a+b/sbom"]), index(&["a/sig", "a+b/sbom"]));
    let listing = Fake::start(move |seen, _| match seen.path.split_once("last=") {
        None => reply(200, &[("Link", "<?last=1>; rel=\"next\"")], one.as_bytes()),
        Some(_) => reply(200, &[], two.as_bytes()),
    });
    let tag = format!("/v2/a/manifests/sha256-{}", subject.hex());
    let tagging = Fake::start(move |seen, _| match seen.path == tag {
        true => reply(200, &[], both.as_bytes()),
        false => reply(404, &[], b"404 page not found"),
    });
    let neither = Fake::start(|_, _| reply(404, &[], b""));
    for (fake, wanted, expected) in [
        (&listing, None, vec!["a/sig", "a+b/sbom"]),
        (&listing, Some("a+b/sbom"), vec!["a+b/sbom"]),
        (&tagging, None, vec!["a/sig", "a+b/sbom"]),
        (&tagging, Some("a/sig"), vec!["a/sig"]),
        (&neither, None, vec![]),
    ] {
        let repository = reference(format!("{}/a", fake.address));
        let found = Client::new(config()).referrers(&repository, &subject, wanted).await.unwrap();
        let types: Vec<_> = found.iter().filter_map(|one| one.artifact_type.as_deref()).collect();
        assert_eq!(types, expected, "{:?}", fake.lines());
    }
    let asked = listing.lines();
    assert_eq!(asked[2], format!("GET /v2/a/referrers/{subject}?artifactType=a%2Bb%2Fsbom"));
}

#[tokio::test]
async fn what_refers_to_an_image_is_listed_under_a_tag_where_the_registry_lists_nothing() {
    let subject = layer(b"image");
    let document = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"a/config","digest":"{0}","size":2}},"layers":[],
            "subject":{{"mediaType":"{1}","digest":"{0}","size":5}},"annotations":{{"k":"v"}}}}"#,
        subject.digest,
        MediaType::OCI_MANIFEST
    );
    let tag = format!("/v2/a/manifests/sha256-{}", subject.digest.hex());
    // How often another takes our entry away, and how often the list is written then.
    for (lists_itself, lost, written, is_ok) in
        [(true, 0, 0, true), (false, 1, 2, true), (false, 9, 5, false)]
    {
        let kept: Mutex<Option<Vec<u8>>> = Mutex::default();
        let place = tag.clone();
        let fake = Fake::start(move |seen, before| {
            let mut kept = kept.lock().unwrap();
            match (seen.method.as_str(), seen.path == place) {
                ("PUT", true) => {
                    if before >= lost {
                        *kept = Some(seen.body.clone());
                    }
                    reply(201, &[], b"")
                }
                ("PUT", false) if lists_itself => reply(201, &[("OCI-Subject", "sha256:x")], b""),
                ("PUT", false) => reply(201, &[], b""),
                _ => kept.as_ref().map_or_else(|| reply(404, &[], b""), |kept| reply(200, &[], kept)),
            }
        });
        let client = Client::new(config());
        let to = reference(format!("{}/a:sig", fake.address));
        let pushed = client.push_manifest(&to, &MediaType::OCI_MANIFEST, document.clone().into()).await;
        let puts = fake.seen().into_iter().filter(|seen| seen.is("PUT", &tag)).count();
        assert_eq!((pushed.is_ok(), puts), (is_ok, written), "{pushed:?}");
        if is_ok && !lists_itself {
            let found = client.referrers(&to, &subject.digest, Some("a/config")).await.unwrap();
            assert_eq!((found.len(), found[0].digest), (1, pushed.unwrap()));
            assert_eq!(found[0].annotations["k"], "v");
        }
    }
}

#[tokio::test]
async fn a_document_is_sent_again_to_where_the_registry_says_without_what_proves_who_we_are() {
    let elsewhere = Fake::start_raw(|_, _| reply(201, &[], b""));
    for (status, is_followed) in [(307, true), (308, true), (302, false)] {
        let target = format!("http://{}/kept", elsewhere.address);
        let fake = Fake::start(move |_, _| reply(status, &[("Location", &target)], b""));
        let before = elsewhere.seen().len();
        let (to, body) = (reference(format!("{}/a:1", fake.address)), manifest(b"{}", b"x"));
        let result = Client::new(config()).push_manifest(&to, &MediaType::OCI_MANIFEST, body.clone()).await;
        assert_eq!(
            (result.is_ok(), elsewhere.seen().len() - before),
            (is_followed, usize::from(is_followed))
        );
        assert!(elsewhere.seen().iter().all(|seen| seen.method == "PUT" && seen.body == body));
    }
}

#[tokio::test]
async fn transfers_beyond_the_limit_of_a_registry_wait_and_none_is_lost() {
    let bytes = content(300_000);
    let whole = bytes.clone();
    let fake = Fake::start(move |_, _| reply(200, &[], &whole));
    let client = Client::new(ClientConfig { max_connections_per_registry: 1, ..config() });
    let name = reference(format!("{}/a:1", fake.address));
    // All are there before the first is read: none may hold what another needs.
    let blobs: Vec<_> = (0..4).map(|_| client.blob(&name, &layer(&bytes)).unwrap()).collect();
    for blob in blobs {
        assert_eq!(read(blob).await.unwrap(), bytes);
    }
}

#[tokio::test]
async fn an_answer_of_a_mirror_is_told_where_the_registry_itself_gives_none() {
    let (_held, closed) = nobody();
    let blob = layer(b"x");
    let only = |what: String| {
        format!(
            "answered 404 Not Found for `{closed}/a{what}`; `{closed}`, whose mirror it is, does not answer"
        )
    };
    let refused = || format!("registry `{closed}`: Connection refused (os error 111)");
    for (status, retries, says_of_name, says_of_blob) in
        [(404, 1, only(":1".to_owned()), only(format!("@{}", blob.digest))), (500, 4, refused(), refused())]
    {
        let (first, second) = (Fake::start(move |_, _| reply(status, &[], b"")), Fake::start(|_, _| cut()));
        let mirrors = vec![first.address.clone(), second.address.clone()];
        let table = RegistryConfig { mirrors, ..RegistryConfig::default() };
        let name = reference(format!("{closed}/a:1"));
        for says in [&says_of_name, &says_of_blob] {
            let (client, warnings) = client_with_warnings(config_for(&closed, table.clone()));
            let error = match says == &says_of_name {
                true => client.resolve(&name).await.map(drop).unwrap_err(),
                false => read(client.blob(&name, &blob).unwrap()).await.map(drop).unwrap_err(),
            };
            assert!(error.to_string().ends_with(says), "{error}");
            // One for each mirror, and one more for that which broke and was asked again.
            assert_eq!(warnings.lock().unwrap().len(), 3 + retries, "{warnings:?}");
            assert!(!error.is_not_found(), "nobody who knows has said so");
        }
    }
}

#[tokio::test]
async fn a_mirror_that_closed_an_idle_connection_is_asked_once_more() {
    let bytes = content(1000);
    let (document, whole) = (manifest(b"{}", &bytes), bytes.clone());
    // Whatever is asked first finds its connection closed.
    let mirror = Fake::start(move |seen, before| match (before % 2, seen.path.contains("/manifests/")) {
        (0, _) => cut(),
        (_, true) => reply(200, &[], &document),
        (_, false) => reply(200, &[], &whole),
    });
    let registry = Fake::start(|_, _| reply(500, &[], b""));
    let table = RegistryConfig { mirrors: vec![mirror.address.clone()], ..RegistryConfig::default() };
    let (client, warnings) = client_with_warnings(config_for(&registry.address, table));
    let name = reference(format!("{}/a:1", registry.address));
    assert_eq!(client.resolve(&name).await.unwrap().from, mirror.address);
    assert_eq!(read(client.blob(&name, &layer(&bytes)).unwrap()).await.unwrap(), bytes);
    assert_eq!((mirror.seen().len(), registry.seen().len(), warnings.lock().unwrap().len()), (4, 0, 2));
}

#[tokio::test]
async fn a_registry_that_is_not_there_fails_by_name() {
    let (_held, address) = nobody();
    let error = Client::new(config()).resolve(&reference(format!("{address}/a:1"))).await.unwrap_err();
    assert!(error.is_unreachable());
    assert_eq!(error.to_string(), format!("registry `{address}`: Connection refused (os error 111)"));
}

#[test]
fn calls_can_move_between_threads() {
    fn check<T: Send>(_: &T) {}
    let client = Client::new(config());
    let name = reference("a");
    check(&client.resolve(&name));
    let mut blob = client.blob(&name, &layer(b"x")).unwrap();
    check(&blob.next_chunk());
    check(&client.push_manifest(&name, &MediaType::OCI_MANIFEST, bytes::Bytes::new()));
}
