//! Files of the web: conditions, redirects and who is told who we are, broken connections.

use std::sync::Arc;

use kiln_registry::{
    Authorization, Client, ClientConfig, Known, Piece, ProxyConfig, Secret, WebAnswer, WebError, WebHead,
    WebRequest,
};

use crate::fake::{Fake, Reply, Seen, cut, reply};
use crate::support::{client_with_warnings, config, content, nobody};

fn request(url: impl AsRef<str>) -> WebRequest {
    WebRequest {
        url: url.as_ref().parse().unwrap(),
        authorization: None,
        known: Known::default(),
        is_verified: false,
    }
}

fn known(etag: &str) -> Known {
    Known { etags: vec![etag.to_owned()], last_modified: None }
}

/// What came of a request: nothing new, or the bytes, how often they began anew, and the last headers.
#[derive(Debug, PartialEq)]
enum Outcome {
    Unchanged,
    Bytes(Vec<u8>, usize, WebHead),
}

async fn fetch(client: &Client, request: WebRequest) -> Result<Outcome, WebError> {
    let mut body = match client.web(request).await? {
        WebAnswer::Unchanged => return Ok(Outcome::Unchanged),
        WebAnswer::File(body) => body,
    };
    let (mut bytes, mut restarts) = (Vec::new(), 0);
    loop {
        match body.next_piece().await? {
            Piece::Chunk(chunk) => bytes.extend_from_slice(&chunk),
            Piece::FromStart => {
                bytes.clear();
                restarts += 1;
            }
            Piece::End => return Ok(Outcome::Bytes(bytes, restarts, body.head().clone())),
        }
    }
}

/// Fetches and returns the bytes and how often they began anew.
async fn bytes_of(request: WebRequest) -> Result<(Vec<u8>, usize), String> {
    match fetch(&Client::new(config()), request).await {
        Ok(Outcome::Bytes(bytes, restarts, _)) => Ok((bytes, restarts)),
        Ok(Outcome::Unchanged) => Err("unchanged".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn start(answer: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> (Fake, String) {
    let fake = Fake::start(answer);
    let url = format!("http://{}/file", fake.address);
    (fake, url)
}

#[tokio::test]
async fn a_file_comes_with_what_its_headers_say() {
    let (fake, url) = start(|_, _| reply(200, &[("ETag", "\"a\"")], b"hello"));
    let outcome = fetch(&Client::new(config()), request(url)).await.unwrap();
    let head = WebHead { size: Some(5), etag: Some("\"a\"".to_owned()), ..WebHead::default() };
    assert_eq!(outcome, Outcome::Bytes(b"hello".to_vec(), 0, head));
    let seen = &fake.seen()[0];
    let sent = ["accept-encoding", "range", "authorization", "if-none-match"].map(|name| seen.header(name));
    assert_eq!(sent, [Some("identity"), None, None, None]);
}

#[tokio::test]
async fn what_is_known_is_asked_for_and_not_sent_again() {
    // What the server does with a condition, and whether the file is taken as unchanged.
    type Answer = fn() -> Reply;
    let cases: [(&str, Answer, bool); 6] = [
        ("\"a\"", || reply(304, &[("ETag", "\"a\"")], b""), true),
        ("\"a\"", || reply(304, &[], b""), true),
        ("W/\"a\"", || reply(304, &[("ETag", "\"a\"")], b""), true),
        ("\"a\"", || reply(200, &[("ETag", "\"a\"")], b"a"), true),
        ("\"a\"", || reply(200, &[("ETag", "\"b\"")], b"b"), false),
        ("\"a\"", || reply(200, &[], b"b"), false),
    ];
    for (etag, answer, is_unchanged) in cases {
        let (fake, url) = start(move |_, _| answer());
        let wanted = WebRequest { known: known(etag), ..request(url) };
        let outcome = fetch(&Client::new(config()), wanted).await.unwrap();
        assert_eq!(outcome == Outcome::Unchanged, is_unchanged, "{etag}: {outcome:?}");
        assert_eq!(fake.seen().len(), 1);
        assert_eq!(fake.seen()[0].header("if-none-match"), Some(etag));
    }
}

#[tokio::test]
async fn a_file_without_an_etag_is_asked_for_by_its_date() {
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    let (_fake, url) = start(move |seen, _| match seen.header("if-modified-since") {
        Some(since) if since == date => reply(304, &[], b""),
        _ => reply(200, &[], b"another"),
    });
    for (last_modified, expected) in [(Some(date.to_owned()), true), (None, false)] {
        let known = Known { etags: Vec::new(), last_modified };
        let outcome = fetch(&Client::new(config()), WebRequest { known, ..request(&url) }).await.unwrap();
        assert_eq!(outcome == Outcome::Unchanged, expected);
    }
}

#[tokio::test]
async fn a_proxy_is_used_but_for_this_machine() {
    let (proxy, _) = start(|_, _| reply(200, &[], b"through the proxy"));
    let (_fake, here) = start(|_, _| reply(200, &[], b"here"));
    let address = Some(Secret::new(format!("http://{}", proxy.address)));
    let proxies = ProxyConfig { http: address, ..ProxyConfig::default() };
    let client = Client::new(ClientConfig { proxy: proxies, ..config() });
    for (url, expected) in [("http://files.example/x", &b"through the proxy"[..]), (&here, b"here")] {
        let Outcome::Bytes(bytes, ..) = fetch(&client, request(url)).await.unwrap() else { panic!("{url}") };
        assert_eq!(bytes, expected, "{url}");
    }
    assert_eq!(proxy.lines(), ["GET http://files.example/x"]);
}

#[tokio::test]
async fn an_answer_about_a_version_that_is_not_known_is_asked_for_in_full() {
    let (fake, url) = start(|seen, _| match seen.header("if-none-match") {
        Some(_) => reply(304, &[("ETag", "\"other\"")], b""),
        None => reply(200, &[("ETag", "\"other\"")], b"other"),
    });
    let wanted = WebRequest { known: known("\"a\""), ..request(url) };
    assert_eq!(bytes_of(wanted).await, Ok((b"other".to_vec(), 0)));
    assert_eq!(fake.seen().len(), 2);
}

#[tokio::test]
async fn answers_that_nobody_asked_for_break_the_protocol() {
    for status in [206, 304] {
        let (_fake, url) = start(move |_, _| reply(status, &[], b""));
        let error = bytes_of(request(url)).await.unwrap_err();
        assert!(error.ends_with("it sends what was not asked for"), "{error}");
    }
}

#[tokio::test]
async fn who_we_are_is_told_to_the_host_it_is_for_and_no_other() {
    let (other, elsewhere) = start(|_, _| reply(200, &[], b"there"));
    let (fake, url) = start(move |seen, _| match seen.path.as_str() {
        "/file" => reply(302, &[("Location", "/here")], b""),
        _ => reply(307, &[("Location", &elsewhere)], b""),
    });
    let authorization = Authorization::new(b"Bearer canary");
    let wanted = WebRequest { authorization, ..request(&url) };
    assert_eq!(bytes_of(wanted).await, Ok((b"there".to_vec(), 0)));
    let told = |fake: &Fake| -> Vec<Option<String>> {
        fake.seen().iter().map(|seen| seen.header("authorization").map(str::to_owned)).collect()
    };
    let bearer = Some("Bearer canary".to_owned());
    assert_eq!((told(&fake), told(&other)), (vec![bearer.clone(), bearer], vec![None]));
}

#[tokio::test]
async fn user_and_password_of_an_address_are_sent_and_go_before_nothing_else() {
    let (fake, url) = start(|_, _| reply(200, &[], b""));
    let url = url.replace("http://", "http://me:pass@");
    bytes_of(request(&url)).await.unwrap();
    let authorization = Authorization::new(b"Bearer canary");
    bytes_of(WebRequest { authorization, ..request(&url) }).await.unwrap();
    let told: Vec<_> =
        fake.seen().iter().map(|seen| seen.header("authorization").map(str::to_owned)).collect();
    assert_eq!(told, [Some("Basic bWU6cGFzcw==".to_owned()), Some("Bearer canary".to_owned())]);
}

#[tokio::test]
async fn what_is_secret_in_a_redirect_is_not_shown() {
    let (other, elsewhere) = start(|_, _| reply(404, &[], b""));
    let elsewhere = format!("{}?canary", elsewhere.replace("http://", "http://me:canary@"));
    let (_fake, url) = start(move |_, _| reply(302, &[("Location", &elsewhere)], b""));
    let error = bytes_of(request(url)).await.unwrap_err();
    assert_eq!(error, format!("`{}` answered 404 Not Found", other.address));
}

#[tokio::test]
async fn redirects_in_a_circle_end() {
    let (fake, url) = start(|seen, _| reply(301, &[("Location", &seen.path)], b""));
    let error = bytes_of(request(url)).await.unwrap_err();
    assert!(error.ends_with("more redirects than are followed"), "{error}");
    assert_eq!(fake.seen().len(), 11);
}

#[tokio::test]
async fn an_error_names_the_host_and_the_status_and_a_passing_one_is_tried_again() {
    let (fake, url) = start(|_, number| match number {
        0 => reply(503, &[("Retry-After", "0")], b""),
        1 => cut(),
        _ => reply(404, &[], b"gone"),
    });
    let (client, warnings) = client_with_warnings(config());
    let error = fetch(&client, request(&url)).await.unwrap_err();
    assert_eq!(error.to_string(), format!("`{}` answered 404 Not Found", fake.address));
    assert_eq!(error.status(), Some(404));
    let warnings = warnings.lock().unwrap().clone();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    let first = format!("`{url}`: `{}` answered 503 Service Unavailable; trying again in", fake.address);
    assert!(warnings[0].starts_with(&first), "{warnings:?}");
}

/// Answers a request for the rest of a file.
type Rest = fn(&[u8], usize) -> Reply;

/// How a server that cuts its first answer deals with the request for the rest.
fn cutting(etag: &'static str, rest: Rest) -> (Fake, String, Vec<u8>) {
    let bytes = content(100_000).to_vec();
    let own = Arc::new(bytes.clone());
    let (fake, url) = start(move |seen, number| match (number, seen.header("range")) {
        (0, _) => reply(200, &[("ETag", etag)], &own).without_last(60_000),
        (_, Some(range)) => {
            let start = range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap();
            rest(&own, start)
        }
        (_, None) => reply(200, &[("ETag", etag)], &own),
    });
    (fake, url, bytes)
}

fn part(bytes: &[u8], start: usize, etag: &str) -> Reply {
    let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
    reply(206, &[("Content-Range", &range), ("ETag", etag)], &bytes[start..])
}

#[tokio::test]
async fn a_broken_file_is_continued_where_it_broke() {
    let (fake, url, bytes) = cutting("\"a\"", |bytes, start| part(bytes, start, "\"a\""));
    assert_eq!(bytes_of(request(url)).await, Ok((bytes, 0)));
    let seen = fake.seen();
    let asked = ["range", "if-range"].map(|name| seen[1].header(name).map(str::to_owned));
    assert_eq!((seen.len(), asked), (2, [Some("bytes=40000-".to_owned()), Some("\"a\"".to_owned())]));
}

#[tokio::test]
async fn a_broken_file_that_cannot_be_continued_begins_anew() {
    // A changed file, a server without ranges, two that send another part, one without the rest.
    let cases: [(&str, &'static str, Rest, usize); 6] = [
        ("changed", "\"a\"", |bytes, _| reply(200, &[("ETag", "\"b\"")], bytes), 2),
        ("no ranges", "\"a\"", |bytes, _| reply(200, &[("ETag", "\"a\"")], bytes), 2),
        ("other version", "\"a\"", |bytes, start| part(bytes, start, "\"b\""), 3),
        ("other part", "\"a\"", |bytes, start| part(bytes, start - 1, "\"a\""), 3),
        ("no rest", "\"a\"", |_, _| reply(416, &[], b""), 3),
        ("weak", "W/\"a\"", |_, _| panic!("not asked for a part"), 2),
    ];
    for (how, etag, rest, requests) in cases {
        let (fake, url, bytes) = cutting(etag, rest);
        assert_eq!(bytes_of(request(url)).await, Ok((bytes, 1)), "{how}");
        assert_eq!(fake.seen().len(), requests, "{how}");
    }
}

#[tokio::test]
async fn a_file_that_always_breaks_at_the_same_place_is_given_up() {
    let (fake, url) = start(|_, _| reply(200, &[], &[7; 1000]).without_last(600));
    let error = bytes_of(request(url)).await.unwrap_err();
    assert!(error.starts_with(&format!("`{}`: ", fake.address)), "{error}");
    assert_eq!(fake.seen().len(), usize::try_from(config().retry.attempts_max).unwrap());
}

#[tokio::test]
async fn a_host_that_does_not_answer_is_named() {
    let (_held, address) = nobody();
    let url = format!("http://{address}/file");
    let error = fetch(&Client::new(config()), request(url)).await.unwrap_err();
    assert!(error.is_unreachable() && error.to_string().starts_with(&format!("`{address}`")), "{error}");
}
