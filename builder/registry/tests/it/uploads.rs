//! Uploads to a server that misbehaves.

use std::io;

use bytes::Bytes;
use futures_util::StreamExt;
use kiln_oci::Digest;
use kiln_registry::{ByteStream, Client, Error, Upload};

use crate::fake::{Fake, cut, reply};
use crate::support::{config, content, layer, opener, reference};

const LARGE: usize = 2 << 20;

async fn upload(fake: &Fake, bytes: &Bytes) -> Result<(), Error> {
    let to = reference(format!("{}/a", fake.address));
    let open = opener(bytes.clone());
    Client::new(config())
        .push_blob(Upload { to: &to, blob: &layer(bytes), open: &open, progress: None })
        .await
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
        let pieces = std::sync::Mutex::new(Some(pieces));
        let open = move |_| {
            let pieces = pieces.lock().unwrap().take().expect("it is not opened again");
            let stream = futures_util::stream::iter(pieces).boxed() as ByteStream;
            Box::pin(async { Ok(stream) }) as futures_util::future::BoxFuture<'static, io::Result<ByteStream>>
        };
        let to = reference(format!("{}/a", fake.address));
        let blob = layer(b"abcd");
        let error = Client::new(config())
            .push_blob(Upload { to: &to, blob: &blob, open: &open, progress: None })
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Source { .. }) && error.to_string().contains(says), "{name}: {error}");
    }
}

#[tokio::test]
async fn a_refused_upload_is_not_tried_again() {
    let fake = Fake::start(|seen, _| match seen.method.as_str() {
        "POST" => reply(202, &[("Location", "/up/1")], b""),
        _ => reply(400, &[], br#"{"errors":[{"code":"DIGEST_INVALID","message":"no"}]}"#),
    });
    let error = upload(&fake, &content(1000)).await.unwrap_err();
    assert!(error.to_string().contains("DIGEST_INVALID: no"), "{error}");
    assert_eq!(fake.seen().len(), 2);
}

#[tokio::test]
async fn a_mount_that_turns_into_an_upload_is_given_up() {
    let fake = Fake::start(|_, _| reply(202, &[("Location", "/up/1")], b""));
    let to = reference(format!("{}/a", fake.address));
    assert!(!Client::new(config()).mount(&to, &Digest::of(b"x"), "b").await.unwrap());
    assert_eq!(fake.lines()[1], "DELETE /up/1");
}
