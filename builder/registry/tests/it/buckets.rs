//! Objects of a bucket, at a server that misbehaves; and whether signatures are those of AWS's own library.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::StreamExt;
use kiln_oci::{Descriptor, Digest, Hasher, MediaType};
use kiln_registry::{
    AwsKey, AwsSettings, Bucket, ByteStream, Client, ClientConfig, Error, ObjectUpload, Opener, Secret,
};

use crate::fake::{Fake, Reply, Seen, cut, reply};
use crate::support::{config, content, layer, opener};

const BUCKET: &str = "team-caches";
/// What an upload is called.
const BEGUN: &[u8] =
    b"<InitiateMultipartUploadResult><UploadId>u/1+2</UploadId></InitiateMultipartUploadResult>";
/// Goes in two parts.
const LARGE: usize = 65 << 20;
const PIECE: usize = 1 << 20;

fn bucket(fake: &Fake) -> Bucket {
    let endpoint = Some(format!("http://{}", fake.address));
    Bucket { name: BUCKET.to_owned(), region: "eu-west-1".to_owned(), endpoint, is_path_style: true }
}

fn large() -> Descriptor {
    let mut hasher = Hasher::new();
    (0..LARGE / PIECE).for_each(|_| hasher.update(&[7; PIECE]));
    Descriptor::new(MediaType::OCI_LAYER, hasher.finish(), LARGE as u64)
}

/// Opens so many bytes of one value, from any offset on.
fn same_bytes(value: u8, size: usize) -> Box<Opener<'static>> {
    Box::new(move |offset| {
        let left = size - usize::try_from(offset).unwrap();
        let pieces = (0..left / PIECE).map(move |_| Ok(Bytes::from(vec![value; PIECE])));
        Box::pin(async move { Ok(futures_util::stream::iter(pieces).boxed() as ByteStream) })
    })
}

/// What a request does to an upload in parts.
fn act(seen: &Seen) -> &'static str {
    match seen.method.as_str() {
        "POST" if seen.path.contains("uploadId=") => "complete",
        "POST" => "begin",
        "PUT" if seen.path.contains("partNumber=") => "part",
        "DELETE" => "give up",
        "HEAD" => "ask",
        _ => "other",
    }
}

fn acts(fake: &Fake) -> Vec<&'static str> {
    fake.seen().iter().map(act).collect()
}

/// A server that takes parts, and says how putting them together goes.
fn parts_server(complete: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Fake {
    let completed = AtomicUsize::new(0);
    Fake::start(move |seen, _| match act(seen) {
        "begin" => reply(200, &[], BEGUN),
        "part" => reply(200, &[("ETag", "\"tag\"")], b""),
        "complete" => complete(completed.fetch_add(1, Ordering::SeqCst)),
        "ask" => reply(200, &[("Content-Length", &LARGE.to_string())], b""),
        _ => reply(204, &[], b""),
    })
}

async fn upload(client: &Client, fake: &Fake, blob: &Descriptor, open: &Opener<'_>) -> Result<(), Error> {
    let bucket = bucket(fake);
    client.upload_object(ObjectUpload { bucket: &bucket, key: "k", blob, open, progress: None }).await
}

#[tokio::test]
async fn parts_are_put_together_although_the_server_fails_and_an_answer_is_lost() {
    let fake = parts_server(|before| match before {
        0 => reply(200, &[], b"<Error><Code>InternalError</Code><Message>again</Message></Error>"),
        1 => cut(),
        _ => reply(404, &[], b"<Error><Code>NoSuchUpload</Code></Error>"),
    });
    upload(&Client::new(config()), &fake, &large(), &*same_bytes(7, LARGE)).await.unwrap();
    assert_eq!(acts(&fake), ["begin", "part", "part", "complete", "complete", "complete", "ask"]);
}

#[tokio::test]
async fn parts_that_cannot_be_put_together_are_given_up() {
    let fake = parts_server(|_| reply(400, &[], b"<Error><Code>InvalidPart</Code></Error>"));
    let error = upload(&Client::new(config()), &fake, &large(), &*same_bytes(7, LARGE)).await.unwrap_err();
    assert!(error.to_string().contains("InvalidPart"), "{error}");
    assert_eq!(acts(&fake), ["begin", "part", "part", "complete", "give up"]);
}

#[tokio::test]
async fn parts_of_other_bytes_than_the_digest_says_are_never_put_together() {
    let fake = parts_server(|_| reply(200, &[], b""));
    let error = upload(&Client::new(config()), &fake, &large(), &*same_bytes(8, LARGE)).await.unwrap_err();
    assert!(matches!(error, Error::Verify { .. }), "{error}");
    assert_eq!(acts(&fake), ["begin", "part", "part", "give up"]);
}

#[tokio::test]
async fn an_upload_that_is_stopped_in_the_middle_is_given_up_when_that_is_asked_for() {
    let fake = parts_server(|_| reply(200, &[], b""));
    let client = Client::new(config());
    let is_open = Arc::new(tokio::sync::Notify::new());
    let opened = Arc::clone(&is_open);
    let open = move |_| {
        opened.notify_one();
        Box::pin(async { Ok(futures_util::stream::pending().boxed() as ByteStream) })
            as futures_util::future::BoxFuture<'static, std::io::Result<ByteStream>>
    };
    let blob = large();
    tokio::select! {
        outcome = upload(&client, &fake, &blob, &open) => panic!("{outcome:?}"),
        () = is_open.notified() => {}
    }
    client.give_up_uploads().await;
    assert_eq!(acts(&fake), ["begin", "give up"]);
    assert!(fake.seen()[1].path.contains("uploadId=u%2F1%2B2"), "{:?}", fake.lines());
    client.give_up_uploads().await;
    assert_eq!(fake.seen().len(), 2, "once is enough");
}

#[tokio::test]
async fn an_object_of_another_size_is_refused_at_once() {
    let fake = Fake::start(|_, _| reply(200, &[], &[0; 1000]));
    let client = Client::new(config());
    for size in [999, 1001, 1 << 63, u64::MAX] {
        let before = fake.seen().len();
        let mut stream = client.object_stream(&bucket(&fake), "k", size);
        let error = stream.next_chunk().await.unwrap_err();
        assert!(error.to_string().contains("the object has another size"), "{size}: {error}");
        assert_eq!(fake.seen().len() - before, 1, "{size}");
    }
}

#[tokio::test]
async fn an_object_is_continued_where_the_connection_broke() {
    let bytes = content(1000);
    let whole = bytes.clone();
    let fake = Fake::start(move |seen, _| match seen.header("range") {
        None => reply(200, &[], &whole).without_last(600),
        Some("bytes=400-") => reply(206, &[("Content-Range", "bytes 400-999/1000")], &whole[400..]),
        other => panic!("{other:?}"),
    });
    let mut stream = Client::new(config()).object_stream(&bucket(&fake), "k", 1000);
    let mut read = Vec::new();
    while let Some(chunk) = stream.next_chunk().await.unwrap() {
        read.extend_from_slice(&chunk);
    }
    assert_eq!(read, bytes);
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_an_error_and_an_object_that_is_not_there_is_none() {
    for (code, expected) in [("NoSuchKey", Ok(None)), ("NoSuchBucket", Err(()))] {
        let body = format!("<Error><Code>{code}</Code></Error>");
        let fake = Fake::start(move |_, _| reply(404, &[], body.as_bytes()));
        let read = Client::new(config()).object(&bucket(&fake), "k", 10).await;
        assert_eq!(read.map_err(drop), expected, "{code}");
    }
}

#[tokio::test]
async fn a_busy_object_store_is_asked_again_after_as_long_as_it_says() {
    let asked = Arc::new(Mutex::new(0));
    let count = Arc::clone(&asked);
    let fake = Fake::start(move |_, _| {
        let mut count = count.lock().unwrap();
        *count += 1;
        match *count {
            1 => reply(503, &[("Retry-After", "0")], b"<Error><Code>SlowDown</Code></Error>"),
            2 => reply(429, &[("Retry-After", "0")], b""),
            _ => reply(200, &[], b""),
        }
    });
    Client::new(config()).put_object(&bucket(&fake), "k", content(10)).await.unwrap();
    assert_eq!(*asked.lock().unwrap(), 3);
}

/// Does each kind of request once. Keys are as unpleasant as those of users may be.
async fn ask_everything(client: &Client, fake: &Fake, key: &str) {
    let bucket = bucket(fake);
    let bytes = content(1000);
    let mut stream = client.object_stream(&bucket, key, 1000);
    while stream.next_chunk().await.unwrap().is_some() {}
    client.object(&bucket, key, 1000).await.unwrap();
    client.object_size(&bucket, key).await.unwrap();
    client.put_object(&bucket, key, bytes.clone()).await.unwrap();
    let (blob, open) = (layer(&bytes), opener(bytes));
    client
        .upload_object(ObjectUpload { bucket: &bucket, key, blob: &blob, open: &open, progress: None })
        .await
        .unwrap();
    // Its parts are not what its digest says, so it is given up.
    let (blob, open) =
        (Descriptor::new(MediaType::OCI_LAYER, Digest::of(b""), LARGE as u64), same_bytes(7, LARGE));
    client
        .upload_object(ObjectUpload { bucket: &bucket, key, blob: &blob, open: &*open, progress: None })
        .await
        .unwrap_err();
}

#[tokio::test]
async fn signatures_are_those_of_aws_own_library() {
    let Some(mut botocore) = botocore() else { return };
    let (id, secret) = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
    let mut lines = String::new();
    let mut sent = 0;
    for (key, token) in [("a/sha256/0", None), ("a b+c~d/é=&?#%41/*'()", Some("tok/en+=="))] {
        let is_cut = AtomicBool::new(false);
        let fake = Fake::start(move |seen, _| match (act(seen), seen.header("range")) {
            ("begin", _) => reply(200, &[], BEGUN),
            ("part", _) => reply(200, &[("ETag", "\"tag\"")], b""),
            ("other", Some(_)) => reply(206, &[], &[0; 600]),
            ("other", None) if seen.method == "GET" => match is_cut.swap(true, Ordering::SeqCst) {
                false => reply(200, &[], &[0; 1000]).without_last(600),
                true => reply(200, &[], &[0; 1000]),
            },
            _ => reply(200, &[], b""),
        });
        let aws_key = AwsKey {
            id: id.to_owned(),
            secret: Secret::new(secret.to_owned()),
            token: token.map(|token| Secret::new(token.to_owned())),
        };
        let aws = AwsSettings { key: Some(aws_key), ..AwsSettings::default() };
        let client = Client::new(ClientConfig { aws, ..config() });
        ask_everything(&client, &fake, key).await;
        for seen in fake.seen() {
            let line = serde_json::json!({
                "method": seen.method, "url": format!("http://{}{}", fake.address, seen.path), "headers": seen.headers,
                "bucket": BUCKET, "key": key, "id": id, "secret": secret, "token": token, "region": "eu-west-1",
            });
            lines += &format!("{line}\n");
            sent += 1;
        }
    }
    botocore.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = botocore.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{sent}\n"));
}

/// Starts the checker. `None`, with a message, where botocore is not installed; on CI that is an error.
fn botocore() -> Option<std::process::Child> {
    let python = || {
        let mut python = Command::new("/usr/bin/python3");
        python.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        python
    };
    let is_there = python().args(["-c", "import botocore"]).output().is_ok_and(|out| out.status.success());
    if !is_there {
        assert!(option_env!("CI").is_none(), "there is no botocore: install python3-botocore");
        eprintln!("skipped: there is no botocore: install python3-botocore");
        return None;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/signatures.py");
    Some(python().arg(script).spawn().unwrap())
}
