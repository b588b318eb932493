//! Uploads to a server that misbehaves.

use std::io;
use std::sync::Mutex;

use bytes::Bytes;
use futures_util::StreamExt;
use kiln_oci::{Descriptor, Digest};
use kiln_registry::{ByteStream, Client, Error, Upload};

use crate::fake::{Fake, cut, reply};
use crate::support::{config, content, layer, opener, reference};

const LARGE: usize = 2 << 20;

async fn upload(fake: &Fake, bytes: &Bytes) -> Result<(), Error> {
    upload_blob(fake, &layer(bytes), bytes).await
}

async fn upload_blob(fake: &Fake, blob: &Descriptor, bytes: &Bytes) -> Result<(), Error> {
    let to = reference(format!("{}/a", fake.address));
    let open = opener(bytes.clone());
    Client::new(config()).push_blob(Upload::new(&to, blob, &open)).await
}

#[tokio::test]
async fn a_small_blob_goes_in_one_piece_to_a_relative_address_with_a_query() {
    let bytes = content(1000);
    let fake = Fake::start(|seen, _| match seen.method.as_str() {
        "POST" => reply(202, &[("Location", "/up/1?state=a%2Bb")], b""),
        _ => reply(201, &[], b""),
    });
    upload(&fake, &bytes).await.unwrap();
    let digest = Digest::of(&bytes).to_string().replace(':', "%3A");
    assert_eq!(
        fake.lines(),
        ["POST /v2/a/blobs/uploads/".to_owned(), format!("PUT /up/1?state=a%2Bb&digest={digest}")]
    );
    assert_eq!(fake.seen()[1].body, bytes);
}

#[tokio::test]
async fn how_a_registry_is_spoken_to_is_found_out_once_for_all_questions_at_a_time() {
    let fake = Fake::start(|_, _| reply(200, &[], b""));
    let (client, to) = (Client::new(config()), reference(format!("{}/a", fake.address)));
    let digests: Vec<_> = (0..6).map(|size| Digest::of(&content(size))).collect();
    let questions = digests.iter().map(|digest| client.blob_exists(&to, digest));
    let answers = futures_util::future::join_all(questions).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap()));
    assert_eq!((fake.looks(), fake.seen().len()), (1, 6));
}

#[tokio::test]
async fn a_large_upload_is_continued_where_the_registry_says_it_stands() {
    let bytes = content(LARGE);
    let fake = Fake::start(|seen, _| match (seen.method.as_str(), seen.path.as_str()) {
        ("POST", _) => reply(202, &[("Location", "/up/1")], b""),
        ("PATCH", "/up/1") => cut(),
        ("GET", "/up/1") => reply(204, &[("Location", "/up/2"), ("Range", "0-999999")], b""),
        ("PATCH", "/up/2") => reply(202, &[("Location", "/up/3"), ("Range", "0-2097151")], b""),
        ("PUT", _) => reply(201, &[], b""),
        other => panic!("{other:?}"),
    });
    upload(&fake, &bytes).await.unwrap();
    let seen = fake.seen();
    let methods: Vec<_> = seen.iter().map(|seen| seen.method.as_str()).collect();
    assert_eq!(methods, ["POST", "PATCH", "GET", "PATCH", "PUT"]);
    assert_eq!(seen[3].header("content-range"), Some("1000000-2097151"));
    assert_eq!(seen[3].body, bytes[1_000_000..]);
}

#[tokio::test]
async fn a_session_that_is_forgotten_is_opened_again() {
    let bytes = content(LARGE);
    let fake = Fake::start(|seen, before| match (seen.method.as_str(), before) {
        ("POST", 0) => reply(202, &[("Location", "/up/1")], b""),
        ("POST", _) => reply(202, &[("Location", "/up/2")], b""),
        ("PATCH", _) if seen.path == "/up/1" => {
            reply(404, &[], br#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}"#)
        }
        ("PATCH", _) => reply(202, &[("Location", "/up/2"), ("Range", "0-2097151")], b""),
        ("HEAD", _) => reply(404, &[], b""),
        _ => reply(201, &[], b""),
    });
    upload(&fake, &bytes).await.unwrap();
    assert_eq!(fake.seen().last().unwrap().path.split('?').next(), Some("/up/2"));
}

#[tokio::test]
async fn an_upload_whose_last_answer_was_lost_is_found_to_be_done() {
    let bytes = content(1000);
    let fake = Fake::start(|seen, _| match seen.method.as_str() {
        "POST" => reply(202, &[("Location", "/up/1")], b""),
        "PUT" => cut(),
        _ => reply(200, &[], b""),
    });
    upload(&fake, &bytes).await.unwrap();
    assert_eq!(fake.seen().last().unwrap().method, "HEAD");
}

#[tokio::test]
async fn content_that_cannot_be_read_or_has_another_size_is_not_the_registry_s_fault() {
    for (name, pieces, says) in [
        (
            "broken",
            vec![Ok(Bytes::from_static(b"ab")), Err(io::Error::other("disk on fire"))],
            "disk on fire",
        ),
        ("short", vec![Ok(Bytes::from_static(b"ab"))], "end of file"),
        ("long", vec![Ok(Bytes::from_static(b"abcdef"))], "more of it than its size"),
    ] {
        let fake = Fake::start(|_, _| reply(202, &[("Location", "/up/1")], b""));
        let pieces = Mutex::new(Some(pieces));
        let open = move |_| {
            let pieces = pieces.lock().unwrap().take().expect("it is not opened again");
            let stream = futures_util::stream::iter(pieces).boxed() as ByteStream;
            Box::pin(async { Ok(stream) }) as futures_util::future::BoxFuture<'static, io::Result<ByteStream>>
        };
        let to = reference(format!("{}/a", fake.address));
        let blob = layer(b"abcd");
        let error = Client::new(config()).push_blob(Upload::new(&to, &blob, &open)).await.unwrap_err();
        assert!(matches!(error, Error::Source { .. }) && error.to_string().contains(says), "{name}: {error}");
    }
}

#[tokio::test]
async fn a_refused_upload_is_not_tried_again_unless_its_bytes_were_changed_on_the_way() {
    for (code, requests) in [("NAME_INVALID", 2), ("DIGEST_INVALID", 5)] {
        let body = format!(r#"{{"errors":[{{"code":"{code}","message":"no"}}]}}"#);
        let fake = Fake::start(move |seen, _| match seen.method.as_str() {
            "POST" => reply(202, &[("Location", "/up/1")], b""),
            "HEAD" => reply(404, &[], b""),
            _ => reply(400, &[], body.as_bytes()),
        });
        let error = upload(&fake, &content(1000)).await.unwrap_err();
        assert!(error.to_string().ends_with(&format!("{code}: no")), "{error}");
        assert_eq!(fake.seen().len(), requests, "{:?}", fake.lines());
    }
}

#[tokio::test]
async fn a_registry_that_takes_hardly_anything_of_each_part_is_given_up() {
    for (part, is_ok) in [(100 << 10, true), (1, false)] {
        let kept = Mutex::new(0);
        let fake = Fake::start(move |seen, _| {
            let mut kept = kept.lock().unwrap();
            if seen.method == "PATCH" {
                *kept += seen.body.len().min(part);
            }
            let range = format!("0-{}", kept.saturating_sub(1));
            let status = if seen.method == "PUT" { 201 } else { 202 };
            reply(status, &[("Location", "/up/1"), ("Range", &range)], b"")
        });
        match upload(&fake, &content(LARGE)).await {
            Ok(()) => assert!(is_ok),
            Err(error) => {
                assert!(!is_ok && error.to_string().ends_with("takes hardly anything of what it is sent"));
                assert_eq!(fake.seen().len(), 52, "one POST, and as many parts as are borne with");
            }
        }
    }
}

/// A registry that keeps what it is sent, and says so.
struct Keeping {
    /// Parts that are longer are refused.
    part_max: usize,
    /// Whether a second part is refused.
    wants_all: bool,
    minimum: &'static str,
}

impl Keeping {
    fn start(self) -> Fake {
        let kept = Mutex::new(0);
        Fake::start(move |seen, _| {
            let mut kept = kept.lock().unwrap();
            let stands = |kept: usize| format!("0-{}", kept.saturating_sub(1));
            let place =
                [("Location", "/up/1"), ("Range", &stands(*kept)), ("OCI-Chunk-Min-Length", self.minimum)];
            match seen.method.as_str() {
                "POST" => {
                    *kept = 0;
                    reply(202, &[("Location", "/up/1"), ("OCI-Chunk-Min-Length", self.minimum)], b"")
                }
                "GET" => reply(204, &place, b""),
                "HEAD" => reply(404, &[], b""),
                "PATCH" if seen.body.len() > self.part_max => reply(413, &[], b""),
                "PATCH" if self.wants_all && *kept > 0 => reply(400, &[], b""),
                "PATCH" => {
                    *kept += seen.body.len();
                    reply(202, &[("Location", "/up/1"), ("Range", &stands(*kept))], b"")
                }
                _ => reply(201, &[], b""),
            }
        })
    }
}

#[tokio::test]
async fn parts_are_as_long_as_the_registry_likes_them() {
    const MIB: usize = 1 << 20;
    let usual = || Keeping { part_max: usize::MAX, wants_all: false, minimum: "" };
    let bytes = Bytes::from(vec![7; 65 * MIB]);
    let blob = layer(&bytes);
    for (registry, expected) in [
        (usual(), vec![64, 1]),
        (Keeping { minimum: "70000000", ..usual() }, vec![65]),
        (Keeping { part_max: 20 * MIB, ..usual() }, vec![64, 16, 16, 16, 16, 1]),
        (Keeping { wants_all: true, ..usual() }, vec![64, 1, 65]),
    ] {
        let fake = registry.start();
        upload_blob(&fake, &blob, &bytes).await.unwrap();
        let parts: Vec<_> = fake.seen().into_iter().filter(|seen| seen.method == "PATCH").collect();
        let lengths: Vec<_> = parts.iter().map(|seen| seen.body.len() / MIB).collect();
        assert_eq!(lengths, expected, "{:?}", fake.lines());
    }
}

#[tokio::test]
async fn uploads_side_by_side_all_learn_that_a_registry_takes_no_parts() {
    let bytes = Bytes::from(vec![7; 65 << 20]);
    let blob = layer(&bytes);
    // Each upload has a place of its own; its second part is refused.
    let count = Mutex::new(0);
    let fake = Fake::start(move |seen, before| match seen.method.as_str() {
        "POST" => {
            let mut count = count.lock().unwrap();
            *count += 1;
            reply(202, &[("Location", &format!("/up/{count}"))], b"")
        }
        "PATCH" if before > 0 => reply(400, &[], b""),
        "PATCH" => reply(202, &[("Location", &seen.path)], b""),
        "HEAD" => reply(404, &[], b""),
        "GET" => reply(404, &[], b""),
        _ => reply(201, &[], b""),
    });
    let client = Client::new(config());
    let (to, open) = (reference(format!("{}/a", fake.address)), opener(bytes.clone()));
    let uploads = (0..2).map(|_| client.push_blob(Upload::new(&to, &blob, &open)));
    futures_util::future::try_join_all(uploads).await.unwrap();
}

#[tokio::test]
async fn an_upload_of_an_earlier_process_is_continued_and_its_address_kept_until_it_is_over() {
    let bytes = content(LARGE);
    for (range, is_continued) in [("0-999999", true), ("0-0", false), ("0-99999999", false)] {
        let fake = Fake::start(move |seen, _| match (seen.method.as_str(), seen.path.as_str()) {
            ("GET", "/up/old?state=1") => reply(204, &[("Location", "/up/2"), ("Range", range)], b""),
            ("POST", _) => reply(202, &[("Location", "/up/new")], b""),
            ("PATCH", _) => reply(202, &[("Location", "/up/3"), ("Range", "0-2097151")], b""),
            ("HEAD", _) => reply(404, &[], b""),
            ("PUT", _) => reply(201, &[], b""),
            other => panic!("{other:?}"),
        });
        let kept = Mutex::new(Vec::new());
        let keep = |address: Option<&str>| kept.lock().unwrap().push(address.map(str::to_owned));
        let (to, blob, open) =
            (reference(format!("{}/a", fake.address)), layer(&bytes), opener(bytes.clone()));
        let at = |path: &str| Some(format!("http://{}{path}", fake.address));
        let earlier = at("/up/old?state=1");
        let upload = Upload { earlier, keep: Some(&keep), ..Upload::new(&to, &blob, &open) };
        Client::new(config()).push_blob(upload).await.unwrap();
        let sent = fake.seen().into_iter().find(|seen| seen.method == "PATCH").unwrap().body;
        let kept = kept.into_inner().unwrap();
        match is_continued {
            true => {
                assert_eq!(sent, bytes[1_000_000..]);
                assert_eq!(kept, [at("/up/2"), at("/up/3"), None]);
            }
            false => {
                assert_eq!(sent, bytes);
                assert_eq!(kept, [None, at("/up/new"), at("/up/3"), None]);
            }
        }
    }
}

#[tokio::test]
async fn an_address_at_another_host_is_neither_kept_nor_taken_from_what_was_kept() {
    let bytes = content(LARGE);
    let elsewhere = Fake::start_raw(|seen, _| match seen.method.as_str() {
        "PATCH" => reply(202, &[("Location", "/up?key=canary"), ("Range", "0-2097151")], b""),
        _ => reply(201, &[], b""),
    });
    let target = format!("http://{}/up?key=canary", elsewhere.address);
    let fake = Fake::start(move |_, _| reply(202, &[("Location", &target)], b""));
    let kept = Mutex::new(Vec::new());
    let keep = |address: Option<&str>| kept.lock().unwrap().push(address.map(str::to_owned));
    let (to, blob, open) = (reference(format!("{}/a", fake.address)), layer(&bytes), opener(bytes.clone()));
    let earlier = Some(format!("http://{}/old", elsewhere.address));
    let upload = Upload { earlier, keep: Some(&keep), ..Upload::new(&to, &blob, &open) };
    Client::new(config()).push_blob(upload).await.unwrap();
    assert!(kept.into_inner().unwrap().into_iter().all(|address| address.is_none()));
    let methods: Vec<_> = elsewhere.seen().into_iter().map(|seen| seen.method).collect();
    assert_eq!(methods, ["PATCH", "PUT"]);
}

#[tokio::test]
async fn a_mount_that_is_refused_in_any_way_is_no_failure() {
    for status in [400, 404, 405, 409, 500, 501] {
        let fake = Fake::start(move |_, _| reply(status, &[], b""));
        let to = reference(format!("{}/a", fake.address));
        assert!(!Client::new(config()).mount(&to, &Digest::of(b"x"), "b").await.unwrap(), "{status}");
    }
}

#[tokio::test]
async fn a_mount_that_turns_into_an_upload_is_given_up() {
    let fake = Fake::start(|_, _| reply(202, &[("Location", "/up/1")], b""));
    let to = reference(format!("{}/a", fake.address));
    assert!(!Client::new(config()).mount(&to, &Digest::of(b"x"), "b").await.unwrap());
    assert_eq!(fake.lines()[1], "DELETE /up/1");
}
